package state

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"github.com/dgraph-io/badger/v4"

	"consort/coordinator/command"
)

// records are all keys and values of the store that mention a text.
func (w *world) records(text string) []string {
	w.t.Helper()
	var found []string
	w.view(func(v *View) error {
		return v.each(nil, nil, true, func(item *badger.Item) (bool, error) {
			return true, item.Value(func(value []byte) error {
				if bytes.Contains(item.Key(), []byte(text)) || bytes.Contains(value, []byte(text)) {
					found = append(found, fmt.Sprintf("%q", item.Key()))
				}
				return nil
			})
		})
	})
	return found
}

// secretive is a job whose values, names and messages carry the canary.
func (w *world) secretive(n int, inputs ...*command.Input) {
	w.t.Helper()
	const canary = "canary"
	c := createJob(n)
	c.Owner, c.RunId = canary, canary
	c.Parameters = []*command.Parameter{{Name: "p", Values: []string{canary}}}
	c.Inputs = append(inputs, &command.Input{Name: "in", FileName: canary, Sha256: sha(fmt.Sprint("in", n)), Size: 1})
	w.ok(c)
	epoch := w.lease(n)
	w.ok(&command.ReportAttempt{Job: jobID(n), Epoch: epoch, Site: "obs", State: AttemptRunning, Facts: &command.Facts{Reason: canary}})
	commit := w.staged(n, epoch)
	commit.Outputs[0].FileName = canary
	commit.Facts.Node = canary
	commit.Fragment = &command.Fragment{Number: uint64(n), Payload: []byte(canary)}
	w.ok(commit)
}

func TestDelete(t *testing.T) {
	w := newWorld(t).furnish()
	w.secretive(1)
	w.ok(&command.DeleteJob{Id: jobID(1)})
	w.ok(&command.DeleteJob{Id: jobID(1)})
	w.view(func(v *View) error {
		if _, err := v.Job(jobID(1)); !errors.Is(err, ErrNotFound) {
			t.Errorf("a deleted job is there: %v", err)
		}
		return nil
	})
	diff(t, []string(nil), w.list(ListQuery{AllOwners: true}))
	w.do(command.Result_NOT_FOUND, &command.RunJob{Id: jobID(1)})
	w.do(command.Result_NOT_FOUND, &command.AbortJob{Id: jobID(1)})
	w.do(command.Result_NOT_FOUND, &command.UpdateJob{Id: jobID(1)})
	w.do(command.Result_NOT_FOUND, &command.DeleteJob{Id: jobID(2)})
	w.ok(&command.ArchiveJob{Id: jobID(1), DueUs: maxTimeUs})
	w.purgeAll(64)
	if found := w.records("canary"); found != nil {
		t.Errorf("left of the deleted job: %v", found)
	}
	// The head, and the place in the site's chain.
	if found := w.records(jobID(1)); len(found) != 2 {
		t.Errorf("left of the deleted job: %v", found)
	}
	if j := w.head(jobID(1)); !j.Deleted || j.DeletedUs == 0 || j.Definition != "probe" || j.EndedUs == 0 || j.Owner != "" {
		t.Errorf("head: %v", j)
	}
	w.do(command.Result_EXISTS, createJob(1)) // never given again
	w.ok(&command.Purge{Id: jobID(1)})
	if r := w.do(command.Result_NOT_FOUND, &command.Purge{Id: jobID(5)}); !r.Done {
		t.Error("the purge of no job is never done")
	}
}

// TestDeleteUsed deletes a chain of three jobs, each using a result of the one before, from its head: what the
// provenance of the others needs stays until they are gone too.
func TestDeleteUsed(t *testing.T) {
	w := newWorld(t).furnish()
	from := func(n int) *command.Input {
		return &command.Input{Name: "series", FileName: "canary", Source: command.Input_JOB, FromJob: jobID(n),
			FromResult: "answer", Sha256: sha(fmt.Sprint("answer", n)), Size: 4}
	}
	w.secretive(1)
	w.secretive(2, from(1))
	w.secretive(3, from(2))
	for n := 1; n <= 2; n++ {
		w.ok(&command.DeleteJob{Id: jobID(n)})
		w.purgeAll(64)
	}
	w.view(func(v *View) error {
		users, err := v.Users(jobID(1))
		diff(t, []string{jobID(2)}, users)
		results, err2 := v.Results(jobID(1))
		if err := errors.Join(err, err2); err != nil || len(results.Outputs) != 2 || results.Outputs[0].FileName != "" ||
			results.Outputs[0].Sha256 != sha("answer1") {
			t.Errorf("results: %v, %v", results, err)
		}
		spec, err := v.Spec(jobID(2))
		if err != nil || len(spec.Inputs) != 2 || spec.Inputs[0].FromJob != jobID(1) || len(spec.Parameters) != 0 {
			t.Errorf("spec: %v, %v", spec, err)
		}
		attempts, err := v.Attempts(jobID(2))
		if err != nil || len(attempts) != 1 || attempts[0].Site != "obs" || attempts[0].Facts != nil {
			t.Errorf("attempts: %v, %v", attempts, err)
		}
		for _, n := range []int{1, 2} {
			if j, err := v.Head(jobID(n)); err != nil || j.CommitEpoch != 1 || j.Owner != "" || j.StartedUs == 0 {
				t.Errorf("head: %v, %v", j, err)
			}
		}
		return nil
	})
	w.ok(&command.DeleteJob{Id: jobID(3)})
	w.purgeAll(64)
	if found := w.records("canary"); found != nil {
		t.Errorf("left of the deleted jobs: %v", found)
	}
	for n := 1; n <= 3; n++ {
		if found := w.records(jobID(n)); len(found) != 2 {
			t.Errorf("left of deleted job %d: %v", n, found)
		}
	}
}

func TestDeleteWhileRunning(t *testing.T) {
	w := newWorld(t).furnish()
	epoch := w.running(1)
	w.staged(1, epoch)
	w.ok(&command.DeleteJob{Id: jobID(1)})
	w.purgeAll(0)
	if open := w.s.OpenAttempts("obs"); len(open) != 1 || !open[0].Cancelling {
		t.Errorf("open attempts: %v", open)
	}
	w.reopen()
	if open := w.s.OpenAttempts("obs"); len(open) != 1 || !open[0].Cancelling {
		t.Errorf("open attempts after a restart: %v", open)
	}
	w.ok(&command.CloseAttempt{Job: jobID(1), Epoch: epoch, Site: "obs",
		Facts:    &command.Facts{Reason: "canary", Logs: []*command.Log{{Name: "stdout", Sha256: sha("out")}}},
		Fragment: &command.Fragment{Number: 1, Payload: []byte("canary")}})
	w.purgeAll(0)
	if found := append(w.records("canary"), w.records(jobID(1))...); len(found) != 1 {
		t.Errorf("left of the deleted job: %v", found)
	}
}

// TestPurgeInSteps removes a job of many files with commands that stay within their bounds.
func TestPurgeInSteps(t *testing.T) {
	w := newWorld(t).furnish()
	epoch := w.running(1)
	const parts, each = 12, 200
	for part := range int32(parts) {
		m := &command.StageManifest{Job: jobID(1), Epoch: epoch, Site: "obs", Part: part}
		for i := range each {
			name := fmt.Sprintf("%d/%d", part, i)
			m.Files = append(m.Files, &command.File{Output: "o", Path: name, Sha256: sha(name), Size: 1})
		}
		w.ok(m)
	}
	w.ok(&command.DeleteJob{Id: jobID(1)})
	w.ok(&command.CloseAttempt{Job: jobID(1), Epoch: epoch, Site: "obs"})
	steps := 0
	for ; ; steps++ {
		if w.ok(&command.Purge{Id: jobID(1), Limit: 1000}).Done {
			break
		}
	}
	if want := parts * each * 4 / 1000; steps < want {
		t.Errorf("%d steps, want at least %d", steps, want)
	}
	if found := w.records(jobID(1)); len(found) != 1 {
		t.Errorf("left of the deleted job: %v", found)
	}
}

// TestArchiveKeepsRecord: the files of an archived job go, but not those that its record is read from; deleting it
// takes them too.
func TestArchiveKeepsRecord(t *testing.T) {
	w := newWorld(t).furnish()
	record := []string{sha("large parameters"), sha("told by the code")}
	data := []string{sha("an upload"), sha("what it said")}
	w.complete(1, func(f *command.Facts) {
		f.Logs = []*command.Log{
			{Name: "stdout", Sha256: data[1], Size: 1, FullSize: 1},
			{Name: logProvenance, Sha256: record[1], Size: 1, FullSize: 1},
		}
	},
		&command.Input{Name: "in", Source: command.Input_UPLOAD, Upload: "u1", FileName: "f", Sha256: data[0], Size: 1},
		&command.Input{Name: "*", Source: command.Input_PARAMETERS, Sha256: record[0], Size: 1},
	)
	kept := func(want int64, shas ...string) {
		t.Helper()
		w.view(func(v *View) error {
			for _, s := range shas {
				c, err := v.Content(s)
				if err != nil {
					return err
				}
				if c.Refs != want {
					t.Errorf("%.8s is referred to %d times, want %d", s, c.Refs, want)
				}
			}
			return nil
		})
	}
	kept(1, append(record, data...)...)
	w.ok(&command.ArchiveJob{Id: jobID(1), DueUs: maxTimeUs})
	w.purgeAll(64)
	kept(1, record...)
	kept(0, data...)
	w.ok(&command.DeleteJob{Id: jobID(1)})
	w.purgeAll(64)
	kept(0, append(record, data...)...)
}
