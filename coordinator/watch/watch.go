// Package watch is the event hub of one node: whoever waits for a change of a job, a definition or a
// site waits here, and nothing inside the coordinator polls.
//
// The contract has three steps: subscribe, then read the state, then wait. An event is a hint that
// something changed and never the change itself, so after a wake-up the waiter reads again. Hints may be
// merged, and after an overflow, a restart or a restored snapshot everybody is woken to read again.
//
// The hub is not a queue of record: it keeps nothing for those who were not subscribed.
package watch

import (
	"sync"
)

// Event says that something changed. Job, Definition and Site name what is concerned; empty ones are not.
type Event struct {
	Kind       string // what sort of change, in the publisher's words: "phase", "log", "lease", …
	Job        string // id of the job
	Definition string // name of the definition, which is also the name of its job list
	Site       string // name of the site
	Version    uint64 // version of the changed record, 0 if it has none
	Index      uint64 // Raft index of the entry that made the change, 0 if none did
}

// Topic is what a subscription listens to. Make one with Job, Definition or Site, or use All.
type Topic struct {
	kind byte
	key  string
}

// All is the topic of every event.
var All = Topic{kind: 'a'}

// Job is the topic of one job.
func Job(id string) Topic { return Topic{'j', id} }

// Definition is the topic of a definition and of the list of its jobs.
func Definition(name string) Topic { return Topic{'d', name} }

// Site is the topic of one site.
func Site(name string) Topic { return Topic{'s', name} }

// subscriber is one end of a topic: a Sub or a Queue.
type subscriber interface {
	deliver(Event) // must not block
	wake()         // must not block: tells the subscriber to read everything again
}

// Hub passes events to subscriptions. Its zero value is not usable; see New.
type Hub struct {
	mu     sync.Mutex
	topics map[Topic]map[subscriber]struct{}
	closed bool
}

// New returns an empty hub.
func New() *Hub { return &Hub{topics: make(map[Topic]map[subscriber]struct{})} }

// Publish hands the events to the subscriptions of their topics. It never blocks on a subscriber.
func (h *Hub) Publish(events []Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, e := range events {
		h.deliver(All, e)
		if e.Job != "" {
			h.deliver(Job(e.Job), e)
		}
		if e.Definition != "" {
			h.deliver(Definition(e.Definition), e)
		}
		if e.Site != "" {
			h.deliver(Site(e.Site), e)
		}
	}
}

func (h *Hub) deliver(t Topic, e Event) {
	for s := range h.topics[t] {
		s.deliver(e)
	}
}

// WakeAll tells every subscription to read again: after a restart of the state, a restored snapshot,
// a change of leader, or before a stop.
func (h *Hub) WakeAll() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.wakeAll()
}

func (h *Hub) wakeAll() {
	for _, subs := range h.topics {
		for s := range subs {
			s.wake()
		}
	}
}

// Close wakes everybody for the last time. A waiter that finds Closed true gives up its wait;
// a subscription made later is awake from the start.
func (h *Hub) Close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	h.wakeAll()
}

// Closed tells whether Close was called.
func (h *Hub) Closed() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.closed
}

// Len returns the number of subscriptions, counted once for each of their topics.
func (h *Hub) Len() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := 0
	for _, subs := range h.topics {
		n += len(subs)
	}
	return n
}

func (h *Hub) add(s subscriber, topics []Topic) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, t := range topics {
		if h.topics[t] == nil {
			h.topics[t] = make(map[subscriber]struct{})
		}
		h.topics[t][s] = struct{}{}
	}
	if h.closed {
		s.wake()
	}
}

func (h *Hub) remove(s subscriber, topics []Topic) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, t := range topics {
		delete(h.topics[t], s)
		if len(h.topics[t]) == 0 {
			delete(h.topics, t)
		}
	}
}
