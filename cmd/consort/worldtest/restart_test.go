package worldtest

import (
	"fmt"
	"testing"

	"consort/shared/userapi"
	"consort/shared/uws"
)

// TestRestart stops and starts everything while jobs run: one ends meanwhile, one goes on.
func TestRestart(t *testing.T) {
	for _, c := range []struct {
		name string
		make func(*testing.T) *world
	}{
		{"in one process", newInProcess},
		{"dev", func(t *testing.T) *world { return newDev(t, "").world }},
		{"standalone", func(t *testing.T) *world { return newStandalone(t, "", "").world }},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := c.make(t)
			u := w.in(t)
			done := u.run("probe")
			u.wait(done, uws.Completed)
			short, long := u.working("2"), u.working("6")
			u.lasting(func() { w.stop(t) }, short)
			w.start(t)
			for _, ref := range []userapi.Ref{short, long} {
				u.wait(ref, uws.Completed)
				u.once(ref)
				if answer := u.results(ref)["answer"]; answer != "done\n" {
					u.Errorf("the answer is %q", answer)
				}
				if log := u.log(ref, "stdout"); log != "working\nfinished\n" {
					u.Errorf("the log is %q", log)
				}
				u.provenance(ref)
				u.noneAlive(ref)
			}
			u.wait(done, uws.Completed)
			u.results(done)
		})
	}
}

// TestCutOff kills one side while a job runs, and brings it back after the job has ended.
func TestCutOff(t *testing.T) {
	s := newStandalone(t, "", "")
	for _, c := range []struct {
		name        string
		kill, start func()
	}{
		// What is started lives as long as the whole test.
		{"coordinator", func() { s.coordinator.kill() }, func() { s.startCoordinator(t, "") }},
		{"agent", func() { s.agent.kill() }, func() { s.startAgent(t, "") }},
	} {
		t.Run(c.name, func(t *testing.T) {
			u := s.in(t)
			ref := u.working("1.5")
			u.lasting(c.kill, ref)
			c.start()
			u.wait(ref, uws.Completed)
			u.once(ref)
			if answer := u.results(ref)["answer"]; answer != "done\n" {
				u.Errorf("the answer is %q", answer)
			}
			u.provenance(ref)
		})
	}
}

// TestKillInTheMiddle is what the README invites to: kill -9 while a job runs, start again, it completes.
func TestKillInTheMiddle(t *testing.T) {
	d := newDev(t, "")
	u := d.in(t)
	ref := u.working("2")
	d.server.kill()
	if len(alive(t, ref.ID)) == 0 {
		t.Error("the job was killed, too")
	}
	d.launch(t, "")
	u.wait(ref, uws.Completed)
	u.once(ref)
	u.results(ref)
}

// working returns when a job runs that takes some seconds.
func (u *user) working(seconds string) userapi.Ref {
	u.Helper()
	ref := u.run("work", "seconds", seconds)
	u.reach(ref, uws.Executing)
	eventually(u, "the code has begun", func() error {
		if n := len(u.starts(u, ref.ID)); n != 1 {
			return fmt.Errorf("it was started %d times", n)
		}
		return nil
	})
	return ref
}

// lasting stops something, and waits until the job has ended by itself; that it was not stopped, too, shows
// in what it left.
func (u *user) lasting(stop func(), ref userapi.Ref) {
	u.Helper()
	stop()
	u.noneAlive(ref)
}
