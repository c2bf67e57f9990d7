package state

import (
	"fmt"
	"testing"

	"google.golang.org/protobuf/proto"

	"consort/coordinator/command"
)

// TestRan: code that ended before it was reported to run has started between its lease and its end, whatever the
// site's clock says.
func TestRan(t *testing.T) {
	w := newWorld(t).furnish()
	n := 0
	exited := proto.Int32(0)
	for _, c := range []struct {
		facts *command.Facts
		want  func(leased, ended int64) int64
	}{
		{nil, func(_, _ int64) int64 { return 0 }},
		{&command.Facts{StagedUs: 1}, func(_, _ int64) int64 { return 0 }},
		{&command.Facts{ExitCode: exited}, func(_, ended int64) int64 { return ended }},
		{&command.Facts{StartedUs: 1}, func(leased, _ int64) int64 { return leased }},
		{&command.Facts{StartedUs: 1 << 60, ExitCode: exited}, func(_, ended int64) int64 { return ended }},
		{&command.Facts{StartedUs: -1}, func(_, _ int64) int64 { return 0 }},
	} {
		for _, how := range []string{"commit", "fail", "abort"} {
			n++
			w.ok(createJob(n))
			epoch := w.lease(n)
			leased := w.attempt(n, epoch).LeasedUs
			switch how {
			case "commit":
				commit := w.staged(n, epoch)
				commit.Facts = c.facts
				w.ok(commit)
			case "fail":
				w.ok(&command.FailAttempt{Job: jobID(n), Epoch: epoch, Site: "obs", Class: "user", Facts: c.facts})
			case "abort":
				w.ok(&command.AbortJob{Id: jobID(n)})
				w.ok(&command.CloseAttempt{Job: jobID(n), Epoch: epoch, Site: "obs", Facts: c.facts})
			}
			j, a := w.head(jobID(n)), w.attempt(n, epoch)
			want := c.want(leased, j.EndedUs)
			if got := []int64{j.StartedUs, a.RunningUs}; j.EndedUs == 0 || got[0] != want || got[1] != want {
				t.Errorf("%s with %v: started %d, want %d (ended %d)", how, c.facts, got, want, j.EndedUs)
			}
		}
	}
}

// TestRanWithinTheLease: a time that lies between is told as it is, and the first attempt's stays.
func TestRanWithinTheLease(t *testing.T) {
	w := newWorld(t).furnish()
	w.ok(createJob(1))
	var first int64
	for try := range 2 {
		epoch := w.lease(1)
		w.time += 60e6
		started := w.attempt(1, epoch).LeasedUs + 5e6
		w.ok(&command.FailAttempt{Job: jobID(1), Epoch: epoch, Site: "obs", Class: ClassLost, Message: fmt.Sprint(try),
			Facts: &command.Facts{StartedUs: started}})
		if try == 0 {
			first = started
			w.ok(&command.RunJob{Id: jobID(1)}) // it was held
		}
		if a, j := w.attempt(1, epoch), w.head(jobID(1)); a.RunningUs != started || j.StartedUs != first {
			t.Errorf("try %d: %v, %v; want %d, job %d", try, a, j, started, first)
		}
	}
}

func (w *world) attempt(n int, epoch uint64) *Attempt {
	w.t.Helper()
	var a *Attempt
	w.view(func(v *View) (err error) { a, err = v.Attempt(jobID(n), epoch); return err })
	return a
}
