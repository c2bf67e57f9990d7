package replica

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
	"github.com/prometheus/client_golang/prometheus"
	"pgregory.net/rapid"
)

// held is a machine that waits before it applies the command "hold".
type held struct {
	*machine
	hold chan struct{}
}

func (h held) ApplyBatch(entries []Entry) ([]any, error) {
	if bytes.HasSuffix(entries[0].Data, []byte("|hold")) {
		<-h.hold
	}
	return h.machine.ApplyBatch(entries)
}

// TestLimits: a caller who gives up after proposing is told that the outcome is unknown; one who found no
// room is told that nothing was proposed; both are right.
func TestLimits(t *testing.T) {
	n := cluster(t, 1)[0]
	h := held{n.machine, make(chan struct{})}
	metrics := prometheus.NewRegistry()
	n.tune = func(c *Config) { c.Machine, c.MaxInFlight, c.Registerer = h, 1, metrics }
	r := n.start(t)
	propose(t, r, "a")
	if _, _, err := r.Propose(within(t, 100*time.Millisecond), []byte("hold")); !errors.Is(err, ErrUnknown) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("given up after proposing: %v, want ErrUnknown", err)
	}
	if _, _, err := r.Propose(within(t, 100*time.Millisecond), []byte("b")); !errors.Is(err, ErrOverloaded) {
		t.Errorf("no room: %v, want ErrOverloaded", err)
	}
	close(h.hold)
	propose(t, r, "c")
	if got, want := n.machine.commands(), []string{"a", "hold", "c"}; !slices.Equal(got, want) {
		t.Errorf("commands %v, want %v", got, want)
	}
	want := map[string]float64{"ok": 2, "unknown": 1, "overloaded": 1}
	if got := outcomes(t, metrics); !maps.Equal(got, want) {
		t.Errorf("commands counted as %v, want %v", got, want)
	}
	n.stop(t)
	if families, err := metrics.Gather(); err != nil || len(families) > 0 {
		t.Errorf("%d metrics are left after the stop, %v", len(families), err)
	}
}

// outcomes returns the counts of commands by outcome.
func outcomes(t *testing.T, from prometheus.Gatherer) map[string]float64 {
	t.Helper()
	families, err := from.Gather()
	if err != nil {
		t.Fatal(err)
	}
	counts := make(map[string]float64)
	for _, f := range families {
		if f.GetName() != "consort_propose_total" {
			continue
		}
		for _, m := range f.GetMetric() {
			counts[m.GetLabel()[0].GetValue()] = m.GetCounter().GetValue()
		}
	}
	return counts
}

// TestClock: whatever the clocks say, times are whole microseconds after the last of the state, and increase.
func TestClock(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := time.Now()
		var last time.Time
		if rapid.Bool().Draw(t, "has a past") {
			last = now.Add(time.Duration(rapid.Int64Range(-int64(time.Hour), int64(time.Hour)).Draw(t, "offset")))
		}
		c := newClock(now, last)
		last = last.Truncate(time.Microsecond)
		for range 50 {
			next := c.now()
			if !next.After(last) || next.Nanosecond()%1000 != 0 {
				t.Fatalf("%v after %v", next, last)
			}
			last = next
		}
	})
}

// TestClockGoesOn: the clock follows the monotonic clock from where it began.
func TestClockGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ahead := time.Now().Add(time.Hour)
		c := newClock(time.Now(), ahead)
		time.Sleep(time.Minute)
		if got := c.now().Sub(ahead).Round(time.Millisecond); got != time.Minute {
			t.Errorf("a minute later the clock has gone on by %v", got)
		}
	})
}

// TestCoalescer: callers share answers, but never one that was asked for before they came.
func TestCoalescer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := new(Replica)
		r.ctx, r.cancel = context.WithCancel(t.Context())
		var asked int
		var now atomic.Uint64
		c := &coalescer{run: func() (uint64, error) {
			asked++
			answer := now.Load()
			time.Sleep(time.Second)
			return answer, nil
		}}
		var wg sync.WaitGroup
		for i := range 100 {
			wg.Go(func() {
				time.Sleep(time.Duration(i) * 100 * time.Millisecond)
				came := now.Add(1)
				if got, err := c.get(t.Context(), r); err != nil || got < came {
					t.Errorf("answer %d, %v for who came at %d", got, err, came)
				}
			})
		}
		wg.Wait()
		r.wg.Wait()
		if asked < 10 || asked > 13 {
			t.Errorf("%d questions for 100 callers in 10 seconds of a second each", asked)
		}
		r.cancel()
		if _, err := c.get(t.Context(), r); !errors.Is(err, ErrStopped) {
			t.Errorf("after the stop: %v", err)
		}
	})
}

func TestNoSnapshotWhileReplaying(t *testing.T) {
	f := &fsm{replica: new(Replica), machine: new(machine), applied: 5}
	f.ApplyBatch([]*raft.Log{{Index: 4, Type: raft.LogCommand}})
	if _, err := f.Snapshot(); !errors.Is(err, errReplaying) {
		t.Errorf("Snapshot at entry 4 of a state of 5: %v", err)
	}
}
