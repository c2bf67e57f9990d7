package agent

import (
	"testing"

	"consort/agent/agenttest"
	"consort/shared/siteapi"
)

func TestMuch(t *testing.T) {
	for _, c := range []struct {
		now, was int
		want     bool
	}{{0, 0, false}, {1, 0, true}, {1, 1, false}, {2, 1, true}, {3, 2, false}, {4, 2, true}, {3, 4, false}} {
		if got := much(c.now, c.was); got != c.want {
			t.Errorf("%d after %d: %v", c.now, c.was, got)
		}
	}
}

// TestFullSitePollsQuietly: a site that has nothing to offer holds one poll.
func TestFullSitePollsQuietly(t *testing.T) {
	w := newWorld(t)
	lease, started := w.c.Marking("sleep 2; " + agenttest.Hello)
	lease.Resources.Cores = 4 // all of them, but only one of the slots
	ref := w.c.Queue(lease)
	w.start()
	w.c.Wait(ref, "running", func(j agenttest.Job) bool { return j.Phase == "EXECUTING" && started() == 1 })
	w.c.WaitPhase(ref, "COMPLETED")
	if n := len(w.c.Polls()); n > 12 {
		t.Errorf("the site polled %d times for one job", n)
	}
}

func TestFreeIsBounded(t *testing.T) {
	a := &Agent{cfg: Config{Batch: Batch{Slots: 2, Cores: 2, MemoryBytes: 1}}}
	if got, want := a.free(), (siteapi.Capacity{Slots: 2, Cores: 2, MemoryBytes: 1}); got != want {
		t.Errorf("an idle site offers %+v, want %+v", got, want)
	}
}
