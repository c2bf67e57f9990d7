package state

import (
	"testing"

	"google.golang.org/protobuf/proto"

	"consort/coordinator/command"
)

func TestGrantLease(t *testing.T) {
	w := newWorld(t).furnish()
	w.ok(createJob(1))
	grant := &command.GrantLease{Job: jobID(1), Epoch: 1, Site: "obs", WorkLeaseSeconds: 10}
	w.do(command.Result_STALE_EPOCH, &command.GrantLease{Job: jobID(1), Epoch: 2, Site: "obs"})
	w.do(command.Result_NOT_FOUND, &command.GrantLease{Job: jobID(1), Epoch: 1, Site: "nowhere"})
	w.do(command.Result_NOT_FOUND, &command.GrantLease{Job: jobID(9), Epoch: 1, Site: "obs"})
	w.ok(&command.AddSite{Name: "new", TokenSha256: make([]byte, 32), ExpiresUs: maxTimeUs})
	w.do(command.Result_REFUSED, &command.GrantLease{Job: jobID(1), Epoch: 1, Site: "new"})
	w.ok(grant)
	version := w.head(jobID(1)).Version
	w.ok(grant) // repeated
	if j := w.head(jobID(1)); j.Version != version || j.WorkLeaseUntilUs != w.time-1e6+10e6 {
		t.Errorf("the repeated grant changed the job: %v", j)
	}
	w.do(command.Result_STALE_EPOCH, &command.GrantLease{Job: jobID(1), Epoch: 2, Site: "obs"})
	draft := createJob(2)
	draft.Run = false
	w.ok(draft)
	w.do(command.Result_ILLEGAL_PHASE, &command.GrantLease{Job: jobID(2), Epoch: 1, Site: "obs"})
	w.ok(&command.RevokeSite{Name: "obs"})
	w.ok(createJob(3))
	w.do(command.Result_REFUSED, &command.GrantLease{Job: jobID(3), Epoch: 1, Site: "obs"})
}

func TestStaleAttempts(t *testing.T) {
	w := newWorld(t).furnish()
	w.enrol("other")
	c := createJob(1)
	c.Retry = &command.Retry{Max: 1, On: []string{"transfer"}}
	w.ok(c)
	w.lease(1)
	commit := w.staged(1, 1)
	w.do(command.Result_STALE_EPOCH, &command.ReportAttempt{Job: jobID(1), Epoch: 1, Site: "other", State: AttemptRunning})
	w.do(command.Result_STALE_EPOCH, &command.CloseAttempt{Job: jobID(1), Epoch: 2, Site: "obs"})
	w.do(command.Result_ILLEGAL_PHASE, &command.CloseAttempt{Job: jobID(1), Epoch: 1, Site: "obs"})
	fail := &command.FailAttempt{Job: jobID(1), Epoch: 1, Site: "obs", Class: "transfer"}
	w.ok(fail)
	w.lease(1)
	for _, late := range []proto.Message{commit,
		&command.ReportAttempt{Job: jobID(1), Epoch: 1, Site: "obs", State: AttemptRunning},
		&command.StageManifest{Job: jobID(1), Epoch: 1, Site: "obs", Files: []*command.File{{Sha256: sha("x")}}},
		&command.CloseAttempt{Job: jobID(1), Epoch: 1, Site: "obs"},
	} {
		w.do(command.Result_STALE_EPOCH, late)
	}
	if r := w.ok(fail); r.Epoch != 2 || r.Phase != "QUEUED" {
		t.Errorf("the repeated failure answers %v", r)
	}
	w.ok(w.staged(1, 2))
	w.do(command.Result_STALE_EPOCH, &command.FailAttempt{Job: jobID(1), Epoch: 2, Site: "obs", Class: "user"})
	w.phase(jobID(1), "COMPLETED")
	w.purgeAll(64)
	w.view(func(v *View) error { // of both epochs: held by the second alone
		for p, err := range v.ManifestParts(jobID(1), 1, 0) {
			t.Errorf("a part of the abandoned epoch: %v, %v", p, err)
		}
		if c, err := v.Content(sha("plot")); err != nil || c.Refs != 1 {
			t.Errorf("content: %v, %v", c, err)
		}
		return nil
	})
}

func TestFailAttempt(t *testing.T) {
	tests := []struct {
		name   string
		retry  *command.Retry
		class  string
		queued bool // fails before it runs
		want   string
	}{
		{"user", nil, "user", false, "ERROR"},
		{"while queued", nil, "site-config", true, "ERROR"},
		{"retry", &command.Retry{Max: 1, On: []string{"transfer"}}, "transfer", false, "QUEUED"},
		{"retry while queued", &command.Retry{Max: 1, On: []string{"transfer"}}, "transfer", true, "QUEUED"},
		{"other class", &command.Retry{Max: 1, On: []string{"transfer"}}, "user", false, "ERROR"},
		{"no more", &command.Retry{Max: 0, On: []string{"transfer"}}, "transfer", false, "ERROR"},
		{"preempted", &command.Retry{Max: 0, On: []string{"preempted"}}, "preempted", false, "QUEUED"},
		{"quota", nil, "quota", false, "HELD"},
		{"quota while queued", nil, "quota", true, "HELD"},
		{"time limit", &command.Retry{Max: 9, On: []string{"timelimit"}}, "timelimit", false, "ABORTED"},
		{"lost, hold", nil, "lost", false, "HELD"},
		{"lost, stop", &command.Retry{Lost: "stop"}, "lost", false, "ERROR"},
		{"lost, requeue", &command.Retry{Lost: "requeue"}, "lost", false, "QUEUED"},
	}
	w := newWorld(t).furnish()
	for i, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w.t = t
			c := createJob(i)
			c.Retry = test.retry
			w.ok(c)
			w.lease(i)
			if !test.queued {
				w.ok(&command.ReportAttempt{Job: jobID(i), Epoch: 1, Site: "obs", State: AttemptRunning})
			}
			w.ok(&command.FailAttempt{Job: jobID(i), Epoch: 1, Site: "obs", Class: test.class, Message: "why", RetryAfterSeconds: 30})
			j := w.phase(jobID(i), test.want)
			if j.AttemptOpen || j.Reason != "why" {
				t.Errorf("after the failure: %v", j)
			}
			if isFinal := j.EndedUs != 0; isFinal != final(j) {
				t.Errorf("end time %d in %s", j.EndedUs, j.Phase)
			}
			if test.want == "ERROR" && (j.Failure.GetClass() != test.class || j.Failure.GetMessage() != "why") {
				t.Errorf("failure: %v", j.Failure)
			}
			if test.want != "QUEUED" {
				return
			}
			w.do(command.Result_ILLEGAL_PHASE, &command.GrantLease{Job: jobID(i), Epoch: 2, Site: "obs"}) // too early
			w.time += 30e6
			w.ok(&command.GrantLease{Job: jobID(i), Epoch: 2, Site: "obs"})
		})
	}
}

func TestRetriesEnd(t *testing.T) {
	w := newWorld(t).furnish()
	c := createJob(1)
	c.Retry = &command.Retry{Max: 2, On: []string{"transfer", "preempted"}}
	w.ok(c)
	for _, step := range []struct{ class, want string }{
		{"transfer", "QUEUED"}, {"preempted", "QUEUED"}, {"transfer", "QUEUED"}, {"preempted", "QUEUED"}, {"transfer", "ERROR"},
	} {
		w.ok(&command.FailAttempt{Job: jobID(1), Epoch: w.lease(1), Site: "obs", Class: step.class})
		w.phase(jobID(1), step.want)
	}
}

func TestHeldJobRunsAgain(t *testing.T) {
	w := newWorld(t).furnish()
	epoch := w.running(1)
	w.ok(&command.FailAttempt{Job: jobID(1), Epoch: epoch, Site: "obs", Class: "quota", Message: "disk full"})
	w.ok(&command.RunJob{Id: jobID(1)})
	if j := w.phase(jobID(1), "QUEUED"); j.Failure != nil || j.Reason != "" || j.StartedUs == 0 {
		t.Errorf("run again: %v", j)
	}
	w.ok(w.staged(1, w.lease(1)))
	w.do(command.Result_ILLEGAL_PHASE, &command.RunJob{Id: jobID(1)})
}

func TestSuspendedPassesThroughExecuting(t *testing.T) {
	w := newWorld(t).furnish()
	w.ok(createJob(1))
	w.lease(1)
	before := len(w.events)
	w.ok(&command.ReportAttempt{Job: jobID(1), Epoch: 1, Site: "obs", State: AttemptSuspended})
	var phases []string
	for _, e := range w.events[before:] {
		phases = append(phases, e.Phase)
	}
	diff(t, []string{"EXECUTING", "SUSPENDED"}, phases)
	w.ok(&command.FailAttempt{Job: jobID(1), Epoch: 1, Site: "obs", Class: "quota"}) // cannot be HELD from here
	w.phase(jobID(1), "ERROR")
}

func TestManifest(t *testing.T) {
	w := newWorld(t).furnish()
	epoch := w.running(1)
	part := func(n int32, names ...string) *command.StageManifest {
		m := &command.StageManifest{Job: jobID(1), Epoch: epoch, Site: "obs", Part: n}
		for _, name := range names {
			m.Files = append(m.Files, &command.File{Output: "o", Path: name, Sha256: sha(name), Size: 1})
		}
		return m
	}
	hash := func(parts ...*command.StageManifest) []byte {
		var hashes [][]byte
		for _, p := range parts {
			hashes = append(hashes, command.PartHash(p.Files))
		}
		return command.ManifestHash(hashes)
	}
	a, b, other := part(0, "a", "b"), part(1, "c"), part(1, "d")
	w.ok(a)
	w.ok(a)
	w.ok(other)
	commit := &command.Commit{Job: jobID(1), Epoch: epoch, Site: "obs", Parts: 2, Hash: hash(a, b)}
	w.do(command.Result_INCOMPLETE, commit)
	w.ok(b) // replaces
	w.do(command.Result_INCOMPLETE, &command.Commit{Job: jobID(1), Epoch: epoch, Site: "obs", Parts: 3, Hash: hash(a, b)})
	w.do(command.Result_INVALID, part(2))
	w.do(command.Result_INVALID, &command.StageManifest{Job: jobID(1), Epoch: epoch, Site: "obs", Part: 2, Files: []*command.File{{Sha256: "x"}}})
	w.do(command.Result_INVALID, part(-1, "e"))
	w.ok(commit)
	w.view(func(v *View) error {
		var names []string
		for p, err := range v.ManifestParts(jobID(1), epoch, 0) {
			if err != nil {
				return err
			}
			for _, f := range p.Files {
				names = append(names, f.Path)
			}
		}
		diff(t, []string{"a", "b", "c"}, names)
		return nil
	})
}

func TestLargestManifestPart(t *testing.T) {
	w := newWorld(t).furnish()
	epoch := w.running(1)
	m := &command.StageManifest{Job: jobID(1), Epoch: epoch, Site: "obs"}
	for i := range command.MaxManifestPart {
		m.Files = append(m.Files, &command.File{Output: "o", Path: jobID(i), Sha256: sha(jobID(i)), Size: 1})
	}
	w.ok(m)
}
