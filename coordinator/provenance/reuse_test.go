package provenance_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"consort/coordinator/auth"
	"consort/coordinator/coordtest"
	"consort/coordinator/jobs"
	"consort/coordinator/provenance"
	"consort/shared/siteapi"
)

func TestDiff(t *testing.T) {
	w := newWorld(t)
	a := w.run(coordtest.Alice, "a", nil, "text", "one", "data", "file:raw", "password", "secret1")
	b := w.run(coordtest.Alice, "b", nil, "text", "two", "data", "file:cooked", "password", "secret2")
	d, err := w.Diff(t.Context(), alice, a, "job:"+b)
	if err != nil {
		t.Fatal(err)
	}
	var differ []string
	for _, l := range d.Lines {
		if !l.Same {
			differ = append(differ, l.Section+" "+l.Name)
		}
	}
	if want := []string{"parameter text", "input data", "output answer"}; d.Same || !slices.Equal(differ, want) {
		t.Errorf("%q differ, want %q", differ, want)
	}
	if strings.Contains(fmt.Sprint(d), "secret1") {
		t.Error("a secret is told")
	}
	same, err := w.Diff(t.Context(), alice, a, a)
	if err != nil || !same.Same || len(same.Lines) < 8 {
		t.Errorf("a job differs from itself: %+v %v", same, err)
	}
	_, err = w.Diff(t.Context(), bob, a, b)
	notFound(t, "bob compares", err)
	_, err = w.Diff(t.Context(), alice, a, answerOf(b))
	invalid(t, "job", err)
}

func TestReuse(t *testing.T) {
	w := newWorld(t)
	ask := func(text string) jobs.CreateRequest {
		return jobs.CreateRequest{Definition: "trial", Run: true, Request: jobs.Request{Parameters: map[string][]string{"text": {text}}}}
	}
	member := coordtest.Output{Output: "files", Path: "out/one", Data: []byte("one")}
	old := w.run(coordtest.Alice, "a", []coordtest.Output{member}, "text", "words", "number", "1") // 1 is the default, too
	for _, test := range []struct {
		p    auth.Principal
		text string
		want int
	}{{alice, "words", 1}, {alice, "other words", 0}, {bob, "words", 0}, {operator, "words", 1}} {
		found, err := w.Computed(t.Context(), test.p, ask(test.text))
		if err != nil || len(found) != test.want {
			t.Errorf("%s asks for %q: %+v %v", test.p.Name, test.text, found, err)
		}
	}
	unasked := w.create(coordtest.Alice, "text", "words")
	if a := w.site.Take(); a.Job != unasked {
		t.Fatal("a job was substituted though nobody asked")
	} else {
		a.Fail("user", "enough", siteapi.Facts{})
	}
	made := w.create(coordtest.Alice, "text", "words", "REUSE", "true")
	if view := w.View(made); view.Phase != "COMPLETED" || made == old {
		t.Fatalf("reuse: %+v", view)
	}
	l := w.lineage(alice, provenance.LineageQuery{ID: made, Depth: provenance.All})
	if !slices.ContainsFunc(l.Edges, func(e provenance.Edge) bool { return e.To == "job:"+old && e.Relation == provenance.CachedFrom }) {
		t.Errorf("where it comes from is not told: %+v", l.Edges)
	}
	if text := notation(t, w.query(alice, provenance.DefaultQuery(answerOf(made))).Graph); !strings.Contains(text, "fed:cachedFrom='job:"+old+"'") {
		t.Errorf("nor in the answer about its result: %s", text)
	}
	answer := w.Do(coordtest.Request{Method: "GET", Path: "/rest/trial/" + made + "/results/answer", Token: coordtest.Alice})
	if answer.Text() != "a" {
		t.Errorf("its answer: %d %s", answer.Status, answer.Text())
	}
	if r, err := w.Verify(t.Context(), alice, made); err != nil || !r.OK {
		t.Errorf("verify: %+v %v", r, err)
	}
	like, err := w.ComputedLike(t.Context(), alice, unasked)
	if err != nil || len(like) != 1 || like[0].ID != old {
		t.Errorf("what equals the job that failed: %+v %v", like, err)
	}
	if fresh := w.create(coordtest.Bob, "text", "words", "REUSE", "true"); w.View(fresh).Phase != "QUEUED" {
		t.Error("bob gets alice's")
	}
	w.site.Take().Fail("user", "enough", siteapi.Facts{})
	secret := ask("words")
	secret.Parameters["password"] = []string{"secret"}
	if found, err := w.Computed(t.Context(), alice, secret); err != nil || len(found) != 0 {
		t.Errorf("a request with a secret: %+v %v", found, err)
	}
}
