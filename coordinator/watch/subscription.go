package watch

import "sync"

// Sub is a subscription that only says "read again". Any number of events between two reads of C are
// one signal, so that thousands of waiters cost one flag each.
type Sub struct {
	hub    *Hub
	topics []Topic
	signal chan struct{}
}

// Subscribe returns a subscription to the topics. The caller must Close it.
func (h *Hub) Subscribe(topics ...Topic) *Sub {
	s := &Sub{hub: h, topics: topics, signal: make(chan struct{}, 1)}
	h.add(s, topics)
	return s
}

// C receives a value when something may have changed since the last receive. It is never closed.
func (s *Sub) C() <-chan struct{} { return s.signal }

// Closed tells whether the hub is stopping, so that waiting makes no more sense.
func (s *Sub) Closed() bool { return s.hub.Closed() }

// Close ends the subscription. It may be repeated.
func (s *Sub) Close() { s.hub.remove(s, s.topics) }

func (s *Sub) deliver(Event) { s.wake() }

func (s *Sub) wake() { raise(s.signal) }

// Queue is a subscription that keeps the events themselves, up to a limit. Past the limit it drops them
// all and says so: the reader must then read the whole state again.
type Queue struct {
	hub    *Hub
	topics []Topic
	signal chan struct{}
	limit  int

	mu       sync.Mutex
	events   []Event
	overflow bool
}

// SubscribeQueue returns a queueing subscription of at most limit events (at least 1) to the topics. The
// caller must Close it. An event of several of the topics is queued once for each.
func (h *Hub) SubscribeQueue(limit int, topics ...Topic) *Queue {
	q := &Queue{hub: h, topics: topics, signal: make(chan struct{}, 1), limit: max(limit, 1)}
	h.add(q, topics)
	return q
}

// C receives a value when Take has something to give. It is never closed.
func (q *Queue) C() <-chan struct{} { return q.signal }

// Take returns the events since the last call, in the order of their publication. When again is true,
// events were lost or everything may have changed: the reader must read the whole state.
func (q *Queue) Take() (events []Event, again bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	events, again = q.events, q.overflow
	q.events, q.overflow = nil, false
	return events, again
}

// Closed tells whether the hub is stopping.
func (q *Queue) Closed() bool { return q.hub.Closed() }

// Close ends the subscription. It may be repeated.
func (q *Queue) Close() { q.hub.remove(q, q.topics) }

func (q *Queue) deliver(e Event) {
	q.mu.Lock()
	switch {
	case q.overflow: // the reader reads everything anyway
	case len(q.events) == q.limit:
		q.events, q.overflow = nil, true
	default:
		q.events = append(q.events, e)
	}
	q.mu.Unlock()
	raise(q.signal)
}

func (q *Queue) wake() {
	q.mu.Lock()
	q.events, q.overflow = nil, true
	q.mu.Unlock()
	raise(q.signal)
}

// raise sets a flag channel of capacity 1.
func raise(signal chan struct{}) {
	select {
	case signal <- struct{}{}:
	default:
	}
}
