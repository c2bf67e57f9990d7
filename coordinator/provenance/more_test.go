package provenance_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"consort/coordinator/auth"
	"consort/coordinator/coordtest"
	"consort/coordinator/jobs"
	"consort/coordinator/provenance"
	"consort/shared/prov"
	"consort/shared/siteapi"
)

func TestRetractAndImpact(t *testing.T) {
	w := newWorld(t)
	up, a, b, c := w.chain()
	d := w.run(bobby, "d", nil, "data", "consort:"+c+"/answer")
	ctx := t.Context()
	for reason, entity := range map[string]string{"": answerOf(a), strings.Repeat("x", 2000): answerOf(a)} {
		invalid(t, "reason", w.Retract(ctx, alice, entity, reason, false))
	}
	invalid(t, "entity", w.Retract(ctx, alice, "job:"+a, "bad flat field", false))
	notFound(t, "bob retracts", w.Retract(ctx, bob, answerOf(a), "bad flat field", false))
	if err := w.Retract(ctx, bob, answerOf(c), "bad flat field", false); !errors.Is(err, auth.ErrForbidden) {
		t.Errorf("bob retracts what he used: %v", err)
	}
	for range 2 { // again changes nothing
		if err := w.Retract(ctx, alice, answerOf(a), "bad flat field", false); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Retract(ctx, alice, up, "wrong file", false); err != nil {
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
	if err := w.Retract(ctx, alice, answerOf(a), "", true); err != nil {
		t.Fatal(err)
	}
	if impact, err = w.Impact(ctx, alice, answerOf(a), "", 0); err != nil || impact.Retracted != nil {
		t.Errorf("after it was withdrawn: %+v %v", impact.Retracted, err)
	}
}

// failing lists the checks that failed.
func failing(r *provenance.Report) []string {
	var bad []string
	for _, c := range r.Checks {
		if !c.OK {
			bad = append(bad, c.What)
		}
	}
	return bad
}

func TestVerify(t *testing.T) {
	w := newWorld(t)
	members := []coordtest.Output{{Output: "files", Path: "out/one", Data: []byte("one")}, {Output: "files", Path: "out/two", Data: []byte("two")}}
	first := w.run(coordtest.Alice, "first", nil)
	job := w.run(coordtest.Alice, "a", members, "data", "file:raw")
	last := w.run(coordtest.Alice, "last", nil, "data", "consort:"+job+"/files/out/one")
	verify := func(id string) *provenance.Report {
		t.Helper()
		r, err := w.Verify(t.Context(), alice, id)
		if err != nil {
			t.Fatal(err)
		}
		if r.OK != (len(failing(r)) == 0) {
			t.Error("the report contradicts itself")
		}
		return r
	}
	for _, id := range []string{first, job, last} {
		if r := verify(id); !r.OK || len(r.Checks) < 8 {
			t.Errorf("%s: %+v", id, r.Checks)
		}
	}
	_, err := w.Verify(t.Context(), bob, job)
	notFound(t, "bob verifies", err)

	flip := func(sha string) func() {
		t.Helper()
		path := filepath.Join(w.dir, "content", "sha256", sha[:2], sha)
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		changed := slices.Clone(data)
		changed[0] ^= 1
		if err := errors.Join(os.Chmod(path, 0o644), os.WriteFile(path, changed, 0o644)); err != nil {
			t.Fatal(err)
		}
		return func() { _ = os.WriteFile(path, data, 0o644) }
	}
	for sha, want := range map[string]string{
		coordtest.MainOutput("a").SHA256():                  "result answer: content",
		members[1].SHA256():                                 "result files: content",
		coordtest.Output{Data: []byte("raw")}.SHA256():      "input data: content",
		coordtest.Output{Data: []byte("log of a")}.SHA256(): "attempt 1: stdout: content",
	} {
		mend := flip(sha)
		if bad := failing(verify(job)); !slices.Equal(bad, []string{want}) {
			t.Errorf("a flipped byte: %q, want %q", bad, want)
		}
		mend()
	}
	if r := verify(job); !r.OK {
		t.Errorf("after it was mended: %q", failing(r))
	}

	// A site that lies about its outputs, and one whose facts were changed under way.
	forged := w.create(coordtest.Alice)
	a := w.site.Take()
	a.Report("running")
	request := a.Stage(coordtest.MainOutput("forged"))
	code := 1
	request.Fragment = a.Sign("committed", strings.Repeat("0", 64), siteapi.Facts{ExitCode: &code})
	if status, e := w.site.Call(a.Path()+"/commit", request, nil); e != nil {
		t.Fatalf("%d %s", status, e.Message)
	}
	if bad := failing(verify(forged)); !slices.Equal(bad, []string{"attempt 1: manifest", "attempt 1: exit code"}) {
		t.Errorf("forged: %q", bad)
	}
	failed := w.create(coordtest.Alice)
	w.site.Take().Fail("user", "bad input", siteapi.Facts{})
	if r := verify(failed); !r.OK || len(r.Checks) == 0 {
		t.Errorf("failed: %+v", r)
	}

	// What was signed stays true when the site gets another key, when it is revoked, and when a job before is deleted.
	detail := func(id, what string) string {
		t.Helper()
		r := verify(id)
		for _, c := range r.Checks {
			if c.What == what && r.OK {
				return c.Detail
			}
		}
		t.Errorf("%+v", r)
		return ""
	}
	w.AddSite("paris")
	if d := detail(job, "attempt 1: signature"); !strings.Contains(d, "before") {
		t.Errorf("with a key that was replaced: %s", d)
	}
	if a := w.Do(coordtest.Request{Method: "DELETE", Path: "/api/v1/sites/paris", Token: coordtest.Operator}); a.Status >= 300 {
		t.Errorf("revoke: %d %s", a.Status, a.Text())
	}
	if d := detail(last, "attempt 1: signature"); d == "" {
		t.Error("a revoked site's signature is not found")
	}
	w.Do(coordtest.Request{Method: "DELETE", Path: "/rest/trial/" + first, Token: coordtest.Alice})
	coordtest.Eventually(t, "the job is erased", func() bool {
		r, err := w.Verify(t.Context(), alice, job)
		return err == nil && r.OK && strings.Contains(fmt.Sprint(r.Checks), "erased with its job")
	})
}

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

func TestJobs(t *testing.T) {
	w := newWorld(t)
	var all []string
	for i := range 3 {
		all = append(all, w.run(coordtest.Alice, fmt.Sprint(i), nil, "text", fmt.Sprint("t", i%2)))
	}
	bobs := w.run(coordtest.Bob, "b", nil, "text", "t0")
	slices.Reverse(all)
	find := func(p auth.Principal, f provenance.Filter) []string {
		t.Helper()
		var got []string
		for cursor, pages := "", 0; pages == 0 || cursor != ""; pages++ {
			page, err := w.Jobs(t.Context(), p, f, cursor, 1)
			if err != nil || pages > 10 {
				t.Fatal(err)
			}
			for _, j := range page.Items {
				got = append(got, j.ID)
			}
			cursor = page.Next
		}
		return got
	}
	trial := provenance.Filter{Definition: "trial", Version: "1.0.0"}
	for _, test := range []struct {
		p    auth.Principal
		f    provenance.Filter
		want []string
	}{
		{alice, trial, all},
		{operator, trial, append([]string{bobs}, all...)},
		{operator, provenance.Filter{Site: "paris", Owner: "bob"}, []string{bobs}},
		{operator, provenance.Filter{Site: "meudon"}, nil},
		{alice, provenance.Filter{Owner: "bob"}, nil},
		{alice, provenance.Filter{Definition: "trial", Parameter: "text", Value: "t0"}, []string{all[0], all[2]}},
		{operator, provenance.Filter{Definition: "trial", Parameter: "number", Value: "1"}, append([]string{bobs}, all...)},
		{alice, provenance.Filter{Definition: "trial", Since: time.Now().Add(time.Hour)}, nil},
		{alice, provenance.Filter{Definition: "trial", Until: time.Now().Add(-time.Hour)}, nil},
		{alice, provenance.Filter{Image: "sha256:none"}, nil},
		{alice, provenance.Filter{Software: "gcc@12"}, nil},
	} {
		if got := find(test.p, test.f); !slices.Equal(got, test.want) {
			t.Errorf("%s, %+v: %q, want %q", test.p.Name, test.f, got, test.want)
		}
	}
	for parameter, f := range map[string]provenance.Filter{
		"version": {Version: "1"}, "parameter": {Definition: "trial", Value: "x"}, "software": {Software: "gcc"},
	} {
		_, err := w.Jobs(t.Context(), alice, f, "", 0)
		invalid(t, parameter, err)
	}
	_, err := w.Jobs(t.Context(), operator, provenance.Filter{}, "", 0)
	invalid(t, "filter", err)

	// Agents and definitions lead to their jobs.
	for _, id := range []string{"agt:user.alice", "agt:site.paris", "jdl:trial.v1.0.0"} {
		q := provenance.DefaultQuery(id)
		g := w.query(alice, q).Graph
		for _, job := range all {
			if _, ok := g.Get(prov.Activity, prov.JobID(job)); !ok {
				t.Errorf("%s does not lead to %s", id, job)
			}
		}
		if _, ok := g.Get(prov.Activity, prov.JobID(bobs)); ok {
			t.Errorf("%s leads alice to bob's job", id)
		}
	}
	follow := provenance.DefaultQuery(all[0])
	follow.FollowAgents, follow.Depth = true, 2
	if g := w.query(alice, follow).Graph; len(elements(g)) != 3 {
		t.Errorf("through agents: %v", elements(g))
	}
	for id, want := range map[string]provenance.Resolved{
		all[0]:                  {Node: prov.JobID(all[0]), Job: all[0], List: "trial"},
		"job:" + all[0] + ".a1": {Node: prov.AttemptID(all[0], 1), Job: all[0], List: "trial"},
		answerOf(all[0]):        {Node: prov.ResultID(all[0], "answer"), Job: all[0], List: "trial"},
		"jdl:trial.v1.0.0":      {Node: prov.DefinitionID("trial", "1.0.0")},
		"agt:ctl":               {Node: prov.ControllerID()},
	} {
		if got, err := w.Resolve(t.Context(), alice, id); err != nil || *got != want {
			t.Errorf("%s: %+v %v, want %+v", id, got, err, want)
		}
	}
	table, err := w.Table(t.Context(), alice, "activity", nil, "", 2)
	if err != nil || len(table.Focus) != 2 || table.Next == "" {
		t.Fatalf("table: %+v %v", table, err)
	}
	if table, err = w.Table(t.Context(), alice, "activity", nil, table.Next, 2); err != nil || len(table.Focus) != 1 {
		t.Errorf("its second page: %+v %v", table, err)
	}
	if table, err = w.Table(t.Context(), alice, "used", map[string]string{"job": all[1]}, "", 0); err != nil || len(table.Focus) != 1 {
		t.Errorf("of one job: %+v %v", table, err)
	}
	_, err = w.Table(t.Context(), alice, "nothing", nil, "", 0)
	invalid(t, "table", err)
	_, err = w.Table(t.Context(), alice, "used", map[string]string{"colour": "red"}, "", 0)
	invalid(t, "filter", err)
}

// TestDeleted: what is left of a deleted job still stands between those before and after it.
func TestDeleted(t *testing.T) {
	w := newWorld(t)
	up, a, b, c := w.chain()
	w.Do(coordtest.Request{Method: "DELETE", Path: "/rest/trial/" + b, Token: coordtest.Alice})
	coordtest.Eventually(t, "the job is purged", func() bool {
		l := w.lineage(operator, provenance.LineageQuery{ID: "job:" + c, Depth: 2})
		return slices.ContainsFunc(l.Nodes, func(n provenance.Node) bool { return n.Job != nil && n.Job.Deleted && n.Job.Owner == "" })
	})
	l := w.lineage(alice, provenance.LineageQuery{ID: "job:" + c, Depth: provenance.All})
	same(t, "through a deleted job", nodes(l), "job:"+c, answerOf(b), "job:"+b, answerOf(a), "job:"+a, up)
	q := provenance.DefaultQuery(c)
	q.Depth = provenance.All
	same(t, "its graph", elements(w.query(alice, q).Graph), "job:"+c, answerOf(b), "job:"+b, answerOf(a), "job:"+a, up)
	_, err := w.Query(t.Context(), alice, provenance.DefaultQuery(b))
	notFound(t, "the deleted job", err)
	if l := w.lineage(alice, provenance.LineageQuery{ID: answerOf(b), Direction: provenance.Forth, Depth: 1}); len(l.Nodes) != 2 {
		t.Errorf("its result: %v", nodes(l))
	}
}
