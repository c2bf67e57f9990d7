package watch

import (
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func raised(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func TestTopics(t *testing.T) {
	e := Event{Kind: "phase", Job: "j1", Definition: "probe", Site: "paris"}
	for _, tt := range []struct {
		name  string
		topic Topic
		want  bool
	}{
		{"its job", Job("j1"), true},
		{"another job", Job("j2"), false},
		{"its list", Definition("probe"), true},
		{"another list", Definition("fold"), false},
		{"its site", Site("paris"), true},
		{"a site named like the job", Site("j1"), false},
		{"all", All, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := New()
			s := h.Subscribe(tt.topic)
			defer s.Close()
			h.Publish([]Event{e, e, e})
			if got := raised(s.C()); got != tt.want {
				t.Errorf("woken: %t, want %t", got, tt.want)
			}
			if raised(s.C()) {
				t.Error("three events were not merged into one signal")
			}
		})
	}
}

func TestEmptyNamesAreNoTopics(t *testing.T) {
	h := New()
	s := h.Subscribe(Job(""), Site(""), Definition(""))
	defer s.Close()
	h.Publish([]Event{{Kind: "cluster"}})
	if raised(s.C()) {
		t.Error("an event that concerns no job woke a subscription to the empty job id")
	}
}

func TestClose(t *testing.T) {
	h := New()
	s, q := h.Subscribe(Job("j1")), h.SubscribeQueue(4, All)
	h.Close()
	h.Close()
	if !raised(s.C()) || !s.Closed() {
		t.Error("the waiter was not woken for the stop")
	}
	if _, again := q.Take(); !raised(q.C()) || !again || !q.Closed() {
		t.Error("the queue's reader was not woken for the stop")
	}
	late := h.Subscribe(Job("j2"))
	if !raised(late.C()) {
		t.Error("a subscription made after the stop would wait for ever")
	}
	for _, c := range []interface{ Close() }{s, s, q, q, late} {
		c.Close()
	}
	if h.Len() != 0 || len(h.topics) != 0 {
		t.Errorf("%d subscriptions, %d topics are left", h.Len(), len(h.topics))
	}
}

func TestQueueOverflow(t *testing.T) {
	h := New()
	q := h.SubscribeQueue(2, All)
	defer q.Close()
	h.Publish([]Event{{Job: "a"}, {Job: "b"}})
	if got, again := q.Take(); again || len(got) != 2 || got[0].Job != "a" {
		t.Fatalf("Take() = %v, %t", got, again)
	}
	h.Publish([]Event{{Job: "a"}, {Job: "b"}, {Job: "c"}, {Job: "d"}})
	if got, again := q.Take(); !again || len(got) != 0 {
		t.Fatalf("after an overflow Take() = %v, %t", got, again)
	}
	h.WakeAll()
	if _, again := q.Take(); !again {
		t.Error("WakeAll did not ask to read again")
	}
	h.Publish([]Event{{Job: "e"}})
	if got, again := q.Take(); again || len(got) != 1 {
		t.Errorf("after the overflow was seen Take() = %v, %t", got, again)
	}
}

// TestQueueLosesNothingSilently: whatever the order of publishing and taking, the reader sees all events
// in order, or is told that it did not.
func TestQueueLosesNothingSilently(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := New()
		limit := rapid.IntRange(1, 5).Draw(t, "limit")
		q := h.SubscribeQueue(limit, All)
		defer q.Close()
		var next uint64
		var pending []uint64
		for _, publish := range rapid.SliceOf(rapid.Bool()).Draw(t, "steps") {
			if publish {
				next++
				pending = append(pending, next)
				h.Publish([]Event{{Index: next}})
				continue
			}
			events, again := q.Take()
			var got []uint64
			for _, e := range events {
				got = append(got, e.Index)
			}
			if again != (len(pending) > limit) || !again && !slices.Equal(got, pending) {
				t.Fatalf("Take() = %v, %t with %v pending and a limit of %d", got, again, pending, limit)
			}
			pending = nil
		}
	})
}

// TestThousandWaiters is the promise of WAIT: one event wakes 1,000 waiters of one job, p99 ≤ 100 ms.
func TestThousandWaiters(t *testing.T) {
	const n = 1000
	h := New()
	var ready, done sync.WaitGroup
	woken := make([]time.Time, n)
	for i := range n {
		ready.Add(1)
		done.Go(func() {
			s := h.Subscribe(Job("j1"))
			defer s.Close()
			ready.Done()
			<-s.C()
			woken[i] = time.Now()
		})
	}
	ready.Wait()
	start := time.Now()
	h.Publish([]Event{{Job: "j1"}})
	done.Wait()
	slices.SortFunc(woken, time.Time.Compare)
	if p99 := woken[n*99/100].Sub(start); p99 > 100*time.Millisecond {
		t.Errorf("p99 of the wake-up is %v", p99)
	}
}

func BenchmarkPublish(b *testing.B) {
	h := New()
	for range 1000 {
		s := h.Subscribe(Job("busy"))
		defer s.Close()
	}
	for b.Loop() {
		h.Publish([]Event{{Job: "idle", Definition: "probe", Site: "paris"}})
	}
}
