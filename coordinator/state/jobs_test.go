package state

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"consort/coordinator/command"
)

func TestLifeOfAJob(t *testing.T) {
	w := newWorld(t).furnish()
	create := createJob(1)
	create.Run = false
	r := w.ok(create)
	if r.Phase != "PENDING" || r.Version != 1 || r.Job != jobID(1) || r.Definition != "probe" {
		t.Errorf("created: %v", r)
	}
	created := w.time
	w.ok(&command.RunJob{Id: jobID(1)})
	w.ok(&command.RunJob{Id: jobID(1)})
	if got := w.s.Queued(0, 10); len(got) != 1 || got[0].ID != jobID(1) {
		t.Errorf("queued: %v", got)
	}
	if a := w.s.Active(jobID(1)); a == nil || a.Phase != "QUEUED" || a.Owner != "alice" || w.s.Active(jobID(2)) != nil {
		t.Errorf("active: %+v", a)
	}
	epoch := w.lease(1)
	if got := w.s.Queued(0, 10); len(got) != 0 {
		t.Errorf("a leased job still waits for a site: %v", got[0])
	}
	w.ok(&command.ReportAttempt{Job: jobID(1), Epoch: epoch, Site: "obs", State: AttemptStaging,
		Facts: &command.Facts{Reason: "fetching inputs"}})
	if j := w.phase(jobID(1), "QUEUED"); j.Reason != "fetching inputs" || !j.AttemptOpen || j.Site != "obs" {
		t.Errorf("while staging: %v", j)
	}
	w.ok(&command.ReportAttempt{Job: jobID(1), Epoch: epoch, Site: "obs", State: AttemptRunning,
		Facts: &command.Facts{BatchId: "42"}})
	started := w.time
	if j := w.phase(jobID(1), "EXECUTING"); j.StartedUs != started || j.RunStartedUs != started || j.Reason != "" {
		t.Errorf("while running: %v", j)
	}
	w.ok(&command.ReportAttempt{Job: jobID(1), Epoch: epoch, Site: "obs", State: AttemptSuspended})
	w.phase(jobID(1), "SUSPENDED")
	w.ok(&command.ReportAttempt{Job: jobID(1), Epoch: epoch, Site: "obs", State: AttemptUploading})
	w.phase(jobID(1), "EXECUTING")
	w.ok(&command.ReportAttempt{Job: jobID(1), Epoch: epoch, Site: "obs", State: AttemptStaging}) // late
	w.phase(jobID(1), "EXECUTING")
	commit := w.staged(1, epoch)
	first := w.ok(commit)
	if again := w.ok(commit); !proto.Equal(first, again) {
		t.Errorf("the repeated commit answers %v, the first %v", again, first)
	}
	j := w.phase(jobID(1), "COMPLETED")
	if j.CreatedUs != created || j.StartedUs != started || j.EndedUs != w.time-1e6 || j.AttemptOpen || j.CommitEpoch != 1 ||
		j.DestructionUs != created+1000e6 {
		t.Errorf("completed: %v", j)
	}
	w.view(func(v *View) error {
		a, err := v.Attempt(jobID(1), epoch)
		if err != nil || a.State != AttemptCommitted || a.Facts.BatchId != "42" || a.Facts.ExitCode == nil || a.Fragment != 1 {
			t.Errorf("attempt: %v, %v", a, err)
		}
		results, err := v.Results(jobID(1))
		if err != nil || len(results.Outputs) != 2 || results.Outputs[0].Id != "answer" {
			t.Errorf("results: %v, %v", results, err)
		}
		parts := 0
		for p, err := range v.ManifestParts(jobID(1), epoch, 0) {
			if parts++; err != nil || len(p.Files) != 2 {
				t.Errorf("part: %v, %v", p, err)
			}
		}
		fragments, err := v.Fragments(jobID(1))
		if err != nil || len(fragments) != 1 || parts != 1 {
			t.Errorf("%d fragments, %d parts, %v", len(fragments), parts, err)
		}
		chain, err := v.SiteFragments("obs", 0, 10)
		diff(t, []SiteFragment{{Number: 1, Job: jobID(1), Epoch: 1}}, chain)
		return err
	})
	for _, e := range w.events[2:] {
		if e.Kind == JobEvent && (e.Job != jobID(1) || e.Owner != "alice" || e.Definition != "probe" || e.Version == 0) {
			t.Errorf("event: %+v", e)
		}
	}
}

func TestIdempotencyKeys(t *testing.T) {
	w := newWorld(t).furnish()
	c := wrap(createJob(1))
	c.Principal, c.RequestKey, c.RequestHash = "alice", "key", []byte("h1")
	first := w.command(c)
	c.Body = wrap(createJob(2)).Body
	if again := w.command(c); !proto.Equal(first, again) || again.Job != jobID(1) {
		t.Errorf("repeated: %v, want %v", again, first)
	}
	c.RequestHash = []byte("h2")
	if r := w.command(c); r.Code != command.Result_KEY_CONFLICT {
		t.Errorf("another request: %v", r)
	}
	c.Principal = "bob"
	if r := w.command(c); r.Code != command.Result_OK || r.Job != jobID(2) {
		t.Errorf("another principal: %v", r)
	}
	if r := w.ok(&command.ExpireRequests{BeforeUs: w.time, Limit: 1}); r.Done {
		t.Error("expired all with limit 1")
	}
	if r := w.ok(&command.ExpireRequests{BeforeUs: w.time + 10e6}); !r.Done {
		t.Error("did not expire all")
	}
	c.Body = wrap(createJob(3)).Body
	if r := w.command(c); r.Job != jobID(3) {
		t.Errorf("after expiry: %v", r)
	}
}

func TestCreateRefusals(t *testing.T) {
	w := newWorld(t).furnish()
	w.ok(createJob(1))
	w.ok(createJob(1)) // repeated
	many := make([]*command.Parameter, maxParameters+1)
	for i := range many {
		many[i] = &command.Parameter{Name: fmt.Sprint("p", i)}
	}
	tests := []struct {
		name string
		code command.Result_Code
		edit func(*command.CreateJob)
	}{
		{"id", command.Result_INVALID, func(c *command.CreateJob) { c.Id = "j1" }},
		{"taken", command.Result_EXISTS, func(c *command.CreateJob) { c.Id, c.Owner = jobID(1), "bob" }},
		{"definition", command.Result_NOT_FOUND, func(c *command.CreateJob) { c.Definition = "other" }},
		{"definition name", command.Result_INVALID, func(c *command.CreateJob) { c.Definition = "a/b" }},
		{"digest", command.Result_REFUSED, func(c *command.CreateJob) { c.Digest = "x" }},
		{"negative", command.Result_INVALID, func(c *command.CreateJob) { c.ExecutionSeconds = -1 }},
		{"long owner", command.Result_TOO_LARGE, func(c *command.CreateJob) { c.Owner = strings.Repeat("\x00", maxText+1) }},
		{"parameters", command.Result_TOO_LARGE, func(c *command.CreateJob) { c.Parameters = many }},
		{"input hash", command.Result_INVALID, func(c *command.CreateJob) { c.Inputs = []*command.Input{{Name: "i", Sha256: "x"}} }},
		{"input without hash", command.Result_INVALID, func(c *command.CreateJob) { c.Inputs = []*command.Input{{Name: "i"}} }},
		{"input of no job", command.Result_NOT_FOUND, func(c *command.CreateJob) {
			c.Inputs = []*command.Input{{Name: "i", Sha256: sha("x"), Source: command.Input_JOB, FromJob: jobID(9)}}
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w.t = t
			c := createJob(2)
			test.edit(c)
			w.do(test.code, c)
			if err := w.s.View(func(v *View) error { _, err := v.Job(jobID(2)); return err }); !errors.Is(err, ErrNotFound) {
				t.Errorf("the refused job is there: %v", err)
			}
		})
	}
}

func TestCreateBounds(t *testing.T) {
	w := newWorld(t).furnish()
	c := createJob(1)
	for i := range maxParameters {
		c.Parameters = append(c.Parameters, &command.Parameter{Name: fmt.Sprintf("p%d", i), Values: []string{"value"}})
	}
	for i := range maxInputs {
		c.Inputs = append(c.Inputs, &command.Input{Name: fmt.Sprintf("i%d", i), Sha256: sha(fmt.Sprint(i)), Size: 1})
	}
	w.ok(c)
	c = createJob(2)
	c.ExecutionSeconds, c.MaxExecutionSeconds = 0, 60
	c.RetentionSeconds, c.MaxRetentionSeconds = 1<<60, 500
	w.ok(c)
	if j := w.head(jobID(2)); j.ExecutionSeconds != 60 || j.DestructionUs != j.CreatedUs+500e6 {
		t.Errorf("not clamped: %v", j)
	}
	c = createJob(3)
	c.RetentionSeconds = 1 << 60
	w.ok(c)
	if j := w.head(jobID(3)); j.DestructionUs != maxTimeUs {
		t.Errorf("destruction %d", j.DestructionUs)
	}
}

func TestUpdate(t *testing.T) {
	w := newWorld(t).furnish()
	c := createJob(1)
	c.Run = false
	c.Parameters = []*command.Parameter{{Name: "a", Values: []string{"1"}}, {Name: "b", Values: []string{"2"}}}
	c.Inputs = []*command.Input{{Name: "x", Sha256: sha("x"), Size: 1}, {Name: "y", Sha256: sha("same"), Size: 1}}
	w.ok(c)
	w.ok(&command.UpdateJob{Id: jobID(1), Unset: []string{"b"}, RunId: proto.String("label"),
		SetParameters: []*command.Parameter{{Name: "a", Values: []string{"3"}}, {Name: "c"}},
		SetInputs:     []*command.Input{{Name: "x", Sha256: sha("same"), Size: 1}}})
	w.view(func(v *View) error {
		spec, err := v.Spec(jobID(1))
		if err != nil || len(spec.Parameters) != 2 || spec.Parameters[0].Values[0] != "3" || len(spec.Inputs) != 2 {
			t.Errorf("spec: %v, %v", spec, err)
		}
		gone, err := v.Content(sha("x"))
		if err != nil || gone.Refs != 0 || gone.ZeroSinceUs == 0 {
			t.Errorf("content given up: %v, %v", gone, err)
		}
		kept, err := v.Content(sha("same"))
		if err != nil || kept.Refs != 1 {
			t.Errorf("content kept: %v, %v", kept, err)
		}
		return nil
	})
	w.ok(&command.RunJob{Id: jobID(1)})
	w.do(command.Result_ILLEGAL_PHASE, &command.UpdateJob{Id: jobID(1), Unset: []string{"a"}})
	w.ok(&command.UpdateJob{Id: jobID(1), ExecutionSeconds: proto.Int64(5), DestructionUs: proto.Int64(w.time + 7e6)})
	if j := w.head(jobID(1)); j.ExecutionSeconds != 5 || j.DestructionUs != w.time-1e6+7e6 {
		t.Errorf("updated: %v", j)
	}
	w.ok(&command.AbortJob{Id: jobID(1), Reason: "enough"})
	w.do(command.Result_ILLEGAL_PHASE, &command.UpdateJob{Id: jobID(1), ExecutionSeconds: proto.Int64(6)})
	w.ok(&command.UpdateJob{Id: jobID(1), DestructionUs: proto.Int64(w.time)})
	w.do(command.Result_NOT_FOUND, &command.UpdateJob{Id: jobID(9)})
	w.do(command.Result_NOT_FOUND, &command.UpdateJob{Id: ""})
}

func TestUpdateInputOfJob(t *testing.T) {
	w := newWorld(t).furnish()
	w.completed(1)
	w.completed(2)
	from := func(n int) *command.Input {
		return &command.Input{Name: "in", Source: command.Input_JOB, FromJob: jobID(n), FromResult: "answer",
			Sha256: sha(fmt.Sprint("answer", n)), Size: 4}
	}
	c := createJob(3)
	c.Run, c.Inputs = false, []*command.Input{from(1)}
	w.ok(c)
	users := func(n int) (found []string) {
		w.view(func(v *View) (err error) { found, err = v.Users(jobID(n)); return err })
		return found
	}
	diff(t, []string{jobID(3)}, users(1))
	w.ok(&command.UpdateJob{Id: jobID(3), SetInputs: []*command.Input{from(1)}}) // the same again
	diff(t, []string{jobID(3)}, users(1))
	w.ok(&command.UpdateJob{Id: jobID(3), SetInputs: []*command.Input{from(2)}})
	diff(t, []string(nil), users(1))
	diff(t, []string{jobID(3)}, users(2))
	w.do(command.Result_NOT_FOUND, &command.UpdateJob{Id: jobID(3), SetInputs: []*command.Input{from(3)}}) // of itself
	w.ok(&command.UpdateJob{Id: jobID(3), Unset: []string{"in"}})
	diff(t, []string(nil), users(2))
	w.view(func(v *View) error {
		for n := 1; n <= 2; n++ {
			if c, err := v.Content(sha(fmt.Sprint("answer", n))); err != nil || c.Refs != 1 {
				t.Errorf("content: %v, %v", c, err)
			}
		}
		return nil
	})
}

func TestClip(t *testing.T) {
	for _, test := range []struct {
		text string
		n    int
		want string
	}{{"short", 9, "short"}, {"abcdef", 3, "abc"}, {"aéé", 4, "aé"}, {"é", 1, ""}} {
		if got := clip(test.text, test.n); got != test.want {
			t.Errorf("clip(%q, %d) = %q, want %q", test.text, test.n, got, test.want)
		}
	}
}

func TestSecretsAreWiped(t *testing.T) {
	w := newWorld(t).furnish()
	for n, end := range []func(){
		func() { w.ok(&command.AbortJob{Id: jobID(0)}) },
		func() { w.ok(w.staged(1, w.lease(1))) },
		func() {
			w.ok(&command.FailAttempt{Job: jobID(2), Epoch: w.lease(2), Site: "obs", Class: "user"})
		},
	} {
		c := createJob(n)
		c.Parameters = []*command.Parameter{{Name: "password", Values: []string{"hunter2"}, Secret: true}, {Name: "open", Values: []string{"x"}}}
		w.ok(c)
		end()
		w.view(func(v *View) error {
			spec, err := v.Spec(jobID(n))
			if err != nil || len(spec.Parameters) != 2 || len(spec.Parameters[0].Values) != 0 || len(spec.Parameters[1].Values) != 1 {
				t.Errorf("job %d: %v, %v", n, spec, err)
			}
			return nil
		})
	}
}

func TestAbort(t *testing.T) {
	w := newWorld(t).furnish()
	epoch := w.running(1)
	commit := w.staged(1, epoch)
	w.do(command.Result_STALE_EPOCH, &command.AbortJob{Id: jobID(1), Epoch: epoch + 1})
	w.ok(&command.AbortJob{Id: jobID(1), Reason: "enough", Epoch: epoch})
	j := w.phase(jobID(1), "ABORTED")
	if j.EndedUs != w.time || j.Reason != "enough" || !j.AttemptOpen {
		t.Errorf("aborted: %v", j)
	}
	if open := w.s.OpenAttempts("obs"); len(open) != 1 || !open[0].Cancelling {
		t.Errorf("open attempts: %v", open)
	}
	w.do(command.Result_STALE_EPOCH, commit)
	if r := w.ok(&command.ReportAttempt{Job: jobID(1), Epoch: epoch, Site: "obs", State: AttemptUploading}); r.Phase != "ABORTED" {
		t.Errorf("the agent is not told: %v", r)
	}
	stopped := &command.CloseAttempt{Job: jobID(1), Epoch: epoch, Site: "obs",
		Facts: &command.Facts{Logs: []*command.Log{{Name: "stdout", Sha256: sha("out"), Size: 3}}}}
	w.ok(stopped)
	w.ok(stopped)
	w.phase(jobID(1), "ABORTED")
	if open := w.s.OpenAttempts(""); len(open) != 0 {
		t.Errorf("open attempts: %v", open)
	}
	w.purgeAll(0) // the staged manifest
	w.view(func(v *View) error {
		for sum, refs := range map[string]int64{sha("out"): 1, sha("answer1"): 0} {
			if c, err := v.Content(sum); err != nil || c.Refs != refs {
				t.Errorf("content: %v, %v; want %d references", c, err, refs)
			}
		}
		return nil
	})
	w.completed(2)
	if r := w.ok(&command.AbortJob{Id: jobID(2)}); r.Phase != "COMPLETED" {
		t.Errorf("abort after commit: %v", r)
	}
}

func TestArchive(t *testing.T) {
	w := newWorld(t).furnish()
	w.completed(1)
	due := w.head(jobID(1)).DestructionUs
	w.ok(&command.ArchiveJob{Id: jobID(1), DueUs: due - 1})
	w.phase(jobID(1), "COMPLETED")
	var dues []Due
	w.view(func(v *View) (err error) {
		if next, err := v.NextDestruction(); err != nil || next != due {
			t.Errorf("next destruction %d, %v", next, err)
		}
		dues, err = v.DestructionsDue(due, 10)
		return err
	})
	diff(t, []Due{{Job: jobID(1), DueUs: due}}, dues)
	w.ok(&command.ArchiveJob{Id: jobID(1), DueUs: due})
	w.ok(&command.ArchiveJob{Id: jobID(1), DueUs: due})
	w.phase(jobID(1), "ARCHIVED")
	w.purgeAll(0)
	diff(t, []string(nil), w.list(ListQuery{Owner: "alice"}))
	for _, q := range []ListQuery{{Owner: "alice"}, {Owner: "alice", Definition: "probe"}, {AllOwners: true}} {
		q.Phases = []string{"ARCHIVED"}
		diff(t, []string{jobID(1)}, w.list(q))
	}
	w.view(func(v *View) error {
		if _, err := v.Results(jobID(1)); err != nil {
			t.Errorf("results of an archived job: %v", err)
		}
		for _, sum := range []string{sha("answer1"), sha("plot"), sha("log")} {
			if c, err := v.Content(sum); err != nil || c.Refs != 0 {
				t.Errorf("content of an archived job: %v, %v", c, err)
			}
		}
		return nil
	})
	w.do(command.Result_ILLEGAL_PHASE, &command.UpdateJob{Id: jobID(1), RunId: proto.String("x")})
	w.running(2)
	w.ok(&command.ArchiveJob{Id: jobID(2), DueUs: maxTimeUs})
	if j := w.phase(jobID(2), "ARCHIVED"); j.EndedUs == 0 || !j.AttemptOpen {
		t.Errorf("archived while running: %v", j)
	}
	w.ok(&command.DeleteJob{Id: jobID(2)})
}
