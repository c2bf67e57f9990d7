package provenance_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"consort/coordinator/auth"
	"consort/coordinator/coordtest"
)

func TestRetractAndImpact(t *testing.T) {
	w := newWorld(t)
	up, a, b, c := w.chain()
	d := w.run(bobby, "d", nil, "data", "consort:"+c+"/answer")
	ctx := t.Context()
	for reason, entity := range map[string]string{"": answerOf(a), strings.Repeat("x", 2000): answerOf(a)} {
		_, err := w.Retract(ctx, alice, entity, reason, false)
		invalid(t, "reason", err)
	}
	_, err := w.Retract(ctx, alice, "job:"+a, "bad flat field", false)
	invalid(t, "entity", err)
	_, err = w.Retract(ctx, bob, answerOf(a), "bad flat field", false)
	notFound(t, "bob retracts", err)
	_, err = w.Retract(ctx, alice, answerOf(a), "", true)
	notFound(t, "what is not retracted", err)
	if _, err := w.Retract(ctx, bob, answerOf(c), "bad flat field", false); !errors.Is(err, auth.ErrForbidden) {
		t.Errorf("bob retracts what he used: %v", err)
	}
	for n, reason := range []string{"bad flat field", "another"} { // again changes nothing
		told, err := w.Retract(ctx, alice, answerOf(a), reason, false)
		if err != nil || (told != "") != (n == 1) || n == 1 && !strings.HasSuffix(told, " by alice: bad flat field") {
			t.Fatalf("told %q, %v", told, err)
		}
	}
	if _, err := w.Retract(ctx, alice, up, "wrong file", false); err != nil {
		t.Fatal(err)
	}
	impact, err := w.Impact(ctx, alice, answerOf(a), "", 0)
	if err != nil {
		t.Fatal(err)
	}
	if impact.Retracted == nil || impact.Retracted.Reason != "bad flat field" || impact.Retracted.By != "alice" {
		t.Errorf("retracted: %+v", impact.Retracted)
	}
	if impact.JobCount != 3 || impact.ResultCount != 3 || impact.HiddenJobs != 1 || impact.HiddenResults != 1 || len(impact.Jobs) != 2 {
		t.Errorf("impact: %+v", impact)
	}
	for i, want := range []string{b, c} {
		if j := impact.Jobs[i]; j.ID != want || j.Steps != i+1 || j.Owner != "" || !slices.Equal(j.Results, []string{answerOf(want)}) {
			t.Errorf("affected: %+v", j)
		}
	}
	if len(impact.Same) != 0 || impact.SameMore {
		t.Errorf("equal files: %+v", impact.Same)
	}
	full, err := w.Impact(ctx, operator, answerOf(a), "", 0)
	if err != nil || len(full.Jobs) != 3 || full.HiddenJobs != 0 || full.Jobs[2].ID != d || full.Jobs[2].Owner != "bob" {
		t.Errorf("the operator's: %+v %v", full, err)
	}
	one, err := w.Impact(ctx, operator, answerOf(a), "", 1)
	if err != nil || len(one.Jobs) != 1 || !one.Truncated {
		t.Fatalf("a page: %+v %v", one, err)
	}
	two, err := w.Impact(ctx, operator, answerOf(a), one.Next, 1)
	if err != nil || len(two.Jobs) != 1 || two.Jobs[0].ID != c {
		t.Errorf("the next page: %+v %v", two, err)
	}
	list, err := w.Retractions(ctx, alice, "", 0)
	if err != nil || len(list.Items) != 2 {
		t.Errorf("retractions: %+v %v", list, err)
	}
	if list, err = w.Retractions(ctx, bob, "", 0); err != nil || len(list.Items) != 0 {
		t.Errorf("bob's retractions: %+v %v", list, err)
	}
	if _, err := w.Retract(ctx, alice, answerOf(a), "", true); err != nil {
		t.Fatal(err)
	}
	if impact, err = w.Impact(ctx, alice, answerOf(a), "", 0); err != nil || impact.Retracted != nil {
		t.Errorf("after it was withdrawn: %+v %v", impact.Retracted, err)
	}
}

// TestImpactTellsOfEqualFiles: who retracts a file learns of its copies, which were not retracted with it.
func TestImpactTellsOfEqualFiles(t *testing.T) {
	w := newWorld(t)
	first := w.run(coordtest.Alice, "same", nil)
	copied := w.run(coordtest.Alice, "same", nil)
	w.run(bobby, "same", nil)
	user := w.run(coordtest.Alice, "user", nil, "data", "file:"+string(coordtest.MainOutput("same").Data))
	for p, want := range map[*auth.Principal]int{&alice: 2, &operator: 3} {
		impact, err := w.Impact(t.Context(), *p, answerOf(first), "", 0)
		if err != nil {
			t.Fatal(err)
		}
		var ids []string
		upload := false
		for _, n := range impact.Same {
			ids = append(ids, n.ID)
			upload = upload || n.File.Upload != ""
		}
		if len(ids) != want || impact.SameMore || !upload || !slices.Contains(ids, answerOf(copied)) || len(impact.Jobs) != 0 {
			t.Errorf("%s is told of %q and %+v", p.Name, ids, impact.Jobs)
		}
		for _, id := range ids {
			if next, err := w.Impact(t.Context(), *p, id, "", 0); err != nil || strings.HasPrefix(id, "ent:up.") != (len(next.Jobs) == 1 && next.Jobs[0].ID == user) {
				t.Errorf("of %s came %+v, %v", id, next, err)
			}
		}
	}
}
