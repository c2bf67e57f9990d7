package agent

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"consort/agent/agenttest"
	"consort/agent/client"
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

// TestTrouble: who reads the log learns whether to look at the enrolment or at the network.
func TestTrouble(t *testing.T) {
	for _, c := range []struct {
		status int
		code   string
		want   string
	}{
		{http.StatusUnauthorized, siteapi.CodeRefused, "do not accept this site's key"},
		{http.StatusForbidden, siteapi.CodeRevoked, "do not accept this site's key"},
		{http.StatusUnauthorized, "", "cannot be asked"}, // a proxy's
		{http.StatusServiceUnavailable, siteapi.CodeBusy, "cannot be asked"},
	} {
		err := fmt.Errorf("poll: %w", &client.Error{Status: c.status, Code: c.code})
		if got := trouble(err); !strings.Contains(got, c.want) {
			t.Errorf("%d %s: %q, want %q", c.status, c.code, got, c.want)
		}
	}
}
