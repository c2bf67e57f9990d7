package state

import (
	"errors"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"consort/coordinator/command"
	"consort/shared/prov"
)

func TestRetract(t *testing.T) {
	w := newWorld(t).furnish()
	w.complete(1, fetched("far", "cube"), upload("in", "up"), far("far"))
	w.ok(createJob(2))
	w.staged(2, w.lease(2))
	retract := func(entity prov.QName, content string) *command.Retract {
		return &command.Retract{Entity: entity.Local, Sha256: sha(content), Reason: "wrong calibration"}
	}
	for _, known := range []*command.Retract{
		retract(prov.ResultID(jobID(1), "answer"), "answer1"),
		retract(prov.ResultID(jobID(1), "stdout"), "log"),
		retract(prov.UploadID("up"), "content of up"),
		retract(prov.ExternalID(far("").Url, sha("cube")), "cube"),
	} {
		w.ok(known)
	}
	for _, unknown := range []*command.Retract{
		retract(prov.ResultID(jobID(1), "plot"), "answer1"),          // its content is another
		retract(prov.ResultID(jobID(1), "none"), "answer1"),          // no result
		retract(prov.MemberID(jobID(1), "plot", "plot.svg"), "plot"), // of what is no collection
		retract(prov.ResultID(jobID(2), "answer"), "answer2"),        // not committed
		retract(prov.ResultID(jobID(9), "answer"), "answer1"),        // of no job
		retract(prov.UploadID("none"), "content of up"),
		{Sha256: sha("plot")},
	} {
		w.do(command.Result_NOT_FOUND, unknown)
	}
	w.do(command.Result_INVALID, &command.Retract{Entity: "up.up"})
	w.do(command.Result_TOO_LARGE, &command.Retract{Entity: "up.up", Sha256: sha("content of up"), Reason: strings.Repeat("x", maxReason+1)})
}

func TestWithdraw(t *testing.T) {
	w := newWorld(t).furnish()
	w.complete(1, nil, upload("in", "up"))
	entity := prov.UploadID("up").Local
	ask := func(who string, c *command.Retract) *command.Result {
		t.Helper()
		envelope := wrap(c)
		envelope.Principal = who
		return w.command(envelope)
	}
	get := func() *Retraction {
		t.Helper()
		var r *Retraction
		w.view(func(v *View) (err error) { r, err = v.Retraction(entity); return err })
		return r
	}
	first := &command.Retract{Entity: entity, Sha256: sha("content of up"), Reason: "wrong"}
	withdraw := &command.Retract{Entity: entity, Withdraw: true}
	w.do(command.Result_NOT_FOUND, withdraw)
	w.view(func(v *View) error {
		if _, err := v.Retraction(entity); !errors.Is(err, ErrNotFound) {
			t.Errorf("never retracted: %v", err)
		}
		return nil
	})
	ask("alice", first)
	want := &Retraction{Entity: entity, Sha256: sha("content of up"), TimeUs: w.time, By: "alice", Reason: "wrong"}
	at := func(us int64) string { return time.UnixMicro(us).UTC().Format(time.RFC3339) }
	repeated := ask("bob", &command.Retract{Entity: entity, Sha256: sha("content of up"), Reason: "other"})
	if repeated.Code != command.Result_OK || repeated.Message != `"`+entity+`" was retracted at `+at(want.TimeUs)+" by alice: wrong" {
		t.Errorf("repeated: %v", repeated)
	}
	diff(t, want, get())
	ask("carol", withdraw)
	want.WithdrawnUs, want.WithdrawnBy = w.time, "carol"
	again := ask("dave", withdraw)
	if again.Code != command.Result_NOT_FOUND || again.Message != `"`+entity+`" is not retracted: carol withdrew that at `+at(want.WithdrawnUs) {
		t.Errorf("withdrawn twice: %v", again)
	}
	diff(t, want, get())
	ask("bob", first)
	former := proto.CloneOf(want)
	former.Entity, former.Sha256 = "", ""
	diff(t, &Retraction{Entity: entity, Sha256: want.Sha256, TimeUs: w.time, By: "bob", Reason: "wrong",
		Former: []*Retraction{former}}, get())
	for range maxFormer {
		ask("bob", withdraw)
		ask("bob", first)
	}
	if r := get(); len(r.Former) != maxFormer || r.Former[0].By != "bob" || r.Former[0].WithdrawnUs <= r.Former[0].TimeUs ||
		r.Former[maxFormer-1].WithdrawnUs >= r.TimeUs || r.WithdrawnUs != 0 {
		t.Errorf("after many: %v", r)
	}
	w.view(func(v *View) error {
		all, next, err := v.Retractions(nil, 10)
		if err != nil || len(all) != 1 || all[0].By != "bob" || next != nil {
			t.Errorf("all: %v, %v", all, err)
		}
		return nil
	})
}
