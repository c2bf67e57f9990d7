package state

import (
	"slices"
	"testing"

	"consort/coordinator/command"
	"consort/shared/prov"
)

// retracted are the entities that the state tells of a job to be retracted.
func (w *world) retracted(n int) []string {
	w.t.Helper()
	var found []string
	w.view(func(v *View) (err error) { found, err = v.Retracted(w.head(jobID(n))); return err })
	return found
}

// TestRetractedIsNotReused: neither a result that was retracted is taken over, nor what was made of an input that was.
func TestRetractedIsNotReused(t *testing.T) {
	w := newWorld(t).furnish()
	w.complete(1, fetched("far", "cube"), upload("in", "up"), far("far"))
	again := func(n int) *command.CreateJob {
		cube := &command.Input{Name: "far", Source: command.Input_UPLOAD, Upload: "cube", Sha256: sha("cube"), Size: 4}
		return reuse(n, 1, upload("in", "up"), cube)
	}
	w.ok(again(2))
	for n, r := range []*command.Retract{
		{Entity: prov.ResultID(jobID(1), "plot").Local, Sha256: sha("plot")},
		{Entity: prov.ResultID(jobID(1), "stdout").Local, Sha256: sha("log")},
		{Entity: prov.UploadID("up").Local, Sha256: sha("content of up")},
		{Entity: prov.ExternalID(far("").Url, sha("cube")).Local, Sha256: sha("cube")},
	} {
		diff(t, []string(nil), w.retracted(1))
		r.Reason = "wrong"
		w.ok(r)
		diff(t, []string{r.Entity}, w.retracted(1))
		w.do(command.Result_REFUSED, again(10+n))
		w.ok(&command.Retract{Entity: r.Entity, Withdraw: true})
		w.ok(again(20 + n))
	}
}

func TestRetractedCollection(t *testing.T) {
	w := newWorld(t).furnish()
	w.ok(createJob(1))
	commit := w.staged(1, w.lease(1))
	commit.Outputs[1].Collection, commit.Outputs[1].Sha256 = true, sha("all plots")
	w.ok(commit)
	member, collection := prov.MemberID(jobID(1), "plot", "plot.svg").Local, prov.ResultID(jobID(1), "plot").Local
	inputs := []*command.Input{{Name: "in", Source: command.Input_JOB, FromJob: jobID(1), FromResult: "plot/plot.svg", Sha256: sha("plot")}}
	given := func() (found []string) {
		t.Helper()
		w.view(func(v *View) (err error) { found, err = v.RetractedInputs(slices.Concat(inputs, inputs)); return err })
		return found
	}
	diff(t, []string(nil), given())
	w.ok(&command.Retract{Entity: member, Sha256: sha("plot"), Reason: "wrong"})
	diff(t, []string{member}, w.retracted(1))
	diff(t, []string{member}, given())
	w.ok(&command.Retract{Entity: collection, Sha256: sha("all plots"), Reason: "wrong"})
	diff(t, []string{collection, member}, w.retracted(1))
	diff(t, []string{member, collection}, given())
}
