package provenance_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"consort/coordinator/auth"
	"consort/coordinator/coordtest"
	"consort/coordinator/provenance"
	"consort/shared/prov"
)

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
		"version": {Version: "1"}, "parameter": {Parameter: "n"}, "value": {Definition: "trial", Value: "x"}, "software": {Software: "gcc"},
	} {
		_, err := w.Jobs(t.Context(), alice, f, "", 0)
		invalid(t, parameter, err)
	}
	_, err := w.Jobs(t.Context(), operator, provenance.Filter{}, "", 0)
	invalid(t, "filter", err)
	_, err = w.Jobs(t.Context(), operator, provenance.Filter{Since: time.Unix(1e9, 0)}, "", 0)
	invalid(t, "since", err)
	if page, err := w.Jobs(t.Context(), operator, provenance.Filter{Definition: "trial"}, "", 0); err != nil || len(page.Items) != len(all)+1 {
		t.Errorf("all versions of a definition: %v, %v", page, err)
	}
	if table, err := w.Table(t.Context(), operator, "activity", map[string]string{"definition": "trial"}, "", 0); err != nil || len(table.Focus) != len(all)+1 {
		t.Errorf("the same as a table: %+v, %v", table, err)
	}

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
	ended := 0
	for r := range w.query(alice, provenance.DefaultQuery(c)).Graph.Records(prov.Invalidation) {
		reason, _ := r.Attr(prov.QName{Prefix: "fed", Local: "reason"})
		if ended++; r.Ref(0).String() != answerOf(b) || reason.Text() != "deleted" || r.Time.IsZero() {
			t.Errorf("the end of a file is %+v", r)
		}
	}
	if ended != 1 {
		t.Errorf("%d files have ended", ended)
	}
	_, err := w.Query(t.Context(), alice, provenance.DefaultQuery(b))
	notFound(t, "the deleted job", err)
	if l := w.lineage(alice, provenance.LineageQuery{ID: answerOf(b), Direction: provenance.Forth, Depth: 1}); len(l.Nodes) != 2 {
		t.Errorf("its result: %v", nodes(l))
	}
}
