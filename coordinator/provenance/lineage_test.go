package provenance_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"consort/coordinator/coordtest"
	"consort/coordinator/provenance"
	"consort/shared/prov"
)

// chain runs three jobs of alice's, each with the answer of the one before, and gives the upload at its beginning.
func (w *world) chain() (upload, a, b, c string) {
	w.t.Helper()
	a = w.run(coordtest.Alice, "a", nil, "data", "file:raw")
	b = w.run(coordtest.Alice, "b", nil, "data", "consort:"+a+"/answer", "text", "words")
	c = w.run(coordtest.Alice, "c", nil, "data", "consort:"+b+"/result")
	for _, n := range w.lineage(alice, provenance.LineageQuery{ID: a, Depth: 1}).Nodes {
		if n.Kind == provenance.KindFile {
			upload = n.ID
		}
	}
	if !strings.HasPrefix(upload, "ent:up.") {
		w.t.Fatalf("the upload of %s is %q", a, upload)
	}
	return upload, a, b, c
}

func TestChain(t *testing.T) {
	w := newWorld(t)
	up, a, b, c := w.chain()
	ja, jb, jc := "job:"+a, "job:"+b, "job:"+c
	ea, eb, ec := answerOf(a), answerOf(b), answerOf(c)
	for _, test := range []struct {
		id        string
		direction provenance.Direction
		depth     int
		want      []string
	}{
		{c, provenance.Back, 0, []string{jc}},
		{c, provenance.Back, 1, []string{jc, eb}},
		{c, provenance.Back, 2, []string{jc, eb, jb}},
		{c, provenance.Back, provenance.All, []string{jc, eb, jb, ea, ja, up}},
		{ec, provenance.Back, 1, []string{ec, jc}},
		{ec, provenance.Back, 3, []string{ec, jc, eb, jb}[:4]},
		{a, provenance.Forth, 1, []string{ja, ea}},
		{a, provenance.Forth, provenance.All, []string{ja, ea, jb, eb, jc, ec}},
		{up, provenance.Forth, 1, []string{up, ja}},
		{b, provenance.Both, 1, []string{jb, ea, eb}},
		{b, provenance.Both, provenance.All, []string{jb, ea, ja, up, eb, jc, ec}},
		{"sha256:" + coordtest.MainOutput("b").SHA256(), provenance.Back, 2, []string{eb, jb}},
		{"consort:" + b + "/answer", provenance.Back, 1, []string{eb, jb}},
		{w.URL + "/rest/trial/" + b, provenance.Back, 0, []string{jb}},
	} {
		what := fmt.Sprint(test.id, " ", test.direction, " ", test.depth)
		l := w.lineage(alice, provenance.LineageQuery{ID: test.id, Direction: test.direction, Depth: test.depth})
		same(t, what, nodes(l), slices.Clone(test.want)...)
		q := provenance.DefaultQuery(test.id)
		q.Direction, q.Depth = test.direction, test.depth
		got := elements(w.query(alice, q).Graph)
		got = slices.DeleteFunc(got, func(id string) bool { return strings.HasSuffix(id, ".r.stdout") })
		same(t, "query "+what, got, slices.Clone(test.want)...)
	}
	edges := w.lineage(alice, provenance.LineageQuery{ID: c, Depth: 2}).Edges
	want := []provenance.Edge{{From: jc, To: eb, Relation: provenance.Used, Role: "data"}, {From: eb, To: jb, Relation: provenance.GeneratedBy, Role: "answer"}}
	if !slices.Equal(edges, want) {
		t.Errorf("edges %v, want %v", edges, want)
	}
}

// TestRights: a chain goes through the jobs of others, of which the caller learns no more than that they are there.
func TestRights(t *testing.T) {
	w := newWorld(t)
	up, a, b, c := w.chain()
	d := w.run(bobby, "d", nil, "data", "consort:"+c+"/answer") // bob's now
	back := provenance.LineageQuery{ID: "job:" + d, Depth: provenance.All}
	l := w.lineage(bob, back)
	if len(l.Nodes) != 8 || len(l.Edges) != 7 {
		t.Errorf("bob sees %d nodes and %d edges, want 8 and 7", len(l.Nodes), len(l.Edges))
	}
	text := fmt.Sprint(l.Nodes)
	for _, secret := range []string{a, b, "alice", strings.TrimPrefix(up, "ent:")} {
		if strings.Contains(text, secret) {
			t.Errorf("bob reads %q in %s", secret, text)
		}
	}
	if !strings.Contains(text, answerOf(c)) || strings.Contains(text, "job:"+c+" ") {
		t.Errorf("bob sees what he used, not who made it: %s", text)
	}
	again := w.lineage(bob, back)
	if !slices.Equal(nodes(l), nodes(again)) {
		t.Error("the opaque ids changed")
	}
	q := provenance.DefaultQuery(d)
	q.Depth = provenance.All
	answer := w.query(bob, q)
	redacted := 0
	for r := range answer.Graph.All() {
		if r.HasType(prov.QName{Prefix: "fed", Local: "Redacted"}) {
			redacted++
			if len(r.Attrs) != 1 || !slices.Contains(nodes(l), r.ID.String()) {
				t.Errorf("redacted: %v", r)
			}
		}
		if r.ID == prov.UserID("alice") {
			t.Error("alice is named")
		}
	}
	if redacted != 6 {
		t.Errorf("%d redacted nodes, want 6", redacted)
	}

	forth := w.lineage(alice, provenance.LineageQuery{ID: up, Direction: provenance.Forth, Depth: provenance.All})
	if text := fmt.Sprint(forth.Nodes); strings.Contains(text, d) || strings.Count(text, "redacted") < 1 {
		t.Errorf("alice sees of bob's job: %s", text)
	}
	users, err := w.Users(t.Context(), alice, answerOf(c), "", 0)
	if err != nil || len(users.Items) != 1 || users.Items[0].Kind != provenance.KindRedacted || users.Items[0].Role != "" {
		t.Errorf("users: %+v %v", users, err)
	}
	for _, id := range []string{a, "job:" + a, answerOf(a), up, "ent:redacted.00", "sha256:" + coordtest.MainOutput("a").SHA256(), "agt:user.alice",
		"job:j01jdqsryxwb1fnya3gmz70m0as", "ent:up.x", "ent:nothing", "nothing:x", "", "agt:user.nobody", "jdl:nothing.v1", answerOf("j01jdqsryxwb1fnya3gmz70m0as")} {
		_, err := w.Lineage(t.Context(), bob, provenance.LineageQuery{ID: id})
		notFound(t, "lineage of "+id, err)
		_, err = w.Query(t.Context(), bob, provenance.DefaultQuery(id))
		notFound(t, "query "+id, err)
		_, err = w.Resolve(t.Context(), bob, id)
		notFound(t, "resolve "+id, err)
	}
	_, err = w.Content(t.Context(), bob, coordtest.MainOutput("a").SHA256(), "", 0)
	notFound(t, "content", err)
	filtered := provenance.DefaultQuery(up)
	filtered.Direction, filtered.Depth, filtered.Site, filtered.Since = provenance.Forth, provenance.All, "elsewhere", time.Now().Add(time.Hour)
	if got := elements(w.query(alice, filtered).Graph); len(got) != 1 {
		t.Errorf("filters leave of alice's: %v", got)
	}
	filtered.IDs = []string{answerOf(c)}
	if got := elements(w.query(alice, filtered).Graph); len(got) != 3 || !strings.HasPrefix(got[2], "job:redacted.") {
		t.Errorf("filters tell of bob's job: %v", got)
	}
	full := w.lineage(operator, back)
	same(t, "operator", nodes(full), "job:"+d, answerOf(c), "job:"+c, answerOf(b), "job:"+b, answerOf(a), "job:"+a, up)
}

// TestOptions: what describes jobs comes and goes with the options of a query.
func TestOptions(t *testing.T) {
	w := newWorld(t)
	member := coordtest.Output{Output: "files", Path: "out/one", Data: []byte("member")}
	a := w.run(coordtest.Alice, "a", []coordtest.Output{member}, "text", "words", "data", "file:raw")
	b := w.run(coordtest.Alice, "b", nil, "data", "consort:"+a+"/files/out/one")
	count := func(change func(*provenance.Query), of string) int {
		t.Helper()
		q := provenance.DefaultQuery(a)
		q.Direction, q.Depth = provenance.Forth, 1
		change(&q)
		n := 0
		for r := range w.query(alice, q).Graph.All() {
			if r.Kind.IsElement() && strings.HasPrefix(r.ID.String(), of) {
				n++
			}
		}
		return n
	}
	plain := func(*provenance.Query) {}
	member1 := "ent:" + a + ".r.files_x2F_"
	for _, test := range []struct {
		what   string
		change func(*provenance.Query)
		of     string
		want   int
	}{
		{"agents", plain, "agt:user.alice", 1},
		{"no agents", func(q *provenance.Query) { q.Agents = false }, "agt:", 0},
		{"parameters", plain, "job:" + a + ".p.text", 1},
		{"no configuration", func(q *provenance.Query) { q.Configuration = false }, "job:" + a + ".p.", 0},
		{"no descriptions", plain, "jdl:", 0},
		{"the activity's description", func(q *provenance.Query) { q.Descriptions = 1 }, "jdl:", 1},
		{"its parts", func(q *provenance.Query) { q.Descriptions = 2 }, "jdl:trial.v1.0.0.p.text", 1},
		{"no steps", plain, "job:" + a + ".a1", 0},
		{"steps", func(q *provenance.Query) { q.Steps = true }, "job:" + a + ".a1", 1},
		{"logs", plain, "ent:" + a + ".r.stdout", 1},
		{"no members", plain, member1, 0},
		{"members", func(q *provenance.Query) { q.Members = true }, member1, 1},
		{"no content", plain, "data:", 0},
		{"content", func(q *provenance.Query) { q.Same = true }, "data:sha256-" + member.SHA256(), 0},
		{"content of members", func(q *provenance.Query) { q.Same, q.Members = true, true }, "data:sha256-" + member.SHA256(), 1},
		{"a part that was asked for", func(q *provenance.Query) { q.IDs = []string{"job:" + a + ".a1"}; q.Depth = 0 }, "job:", 1},
		{"users of a member", func(q *provenance.Query) { q.Depth = 2 }, "job:" + b, 3},
	} {
		if got := count(test.change, test.of); got != test.want {
			t.Errorf("%s: %d of %s, want %d", test.what, got, test.of, test.want)
		}
	}
	whole := provenance.DefaultQuery("ent:" + a + ".r.files")
	empty := prov.QName{Prefix: "prov", Local: "EmptyCollection"}
	for r := range w.query(alice, whole).Graph.Records(prov.Entity) {
		if r.HasType(empty) {
			t.Errorf("%s is said to be empty because its files were not asked for", r.ID)
		}
	}
	l := w.lineage(alice, provenance.LineageQuery{ID: b, Depth: 2})
	same(t, "back through a member", nodes(l), "job:"+b, prov.MemberID(a, "files", "out/one").String(), "ent:"+a+".r.files", "job:"+a)
	for _, id := range []string{"job:" + a + ".p.nothing", "job:" + a + ".a7"} {
		_, err := w.Query(t.Context(), alice, provenance.DefaultQuery(id))
		notFound(t, id, err)
	}
}

// TestSame: equal content joins nodes where that is asked for, among those that the caller may read.
func TestSame(t *testing.T) {
	w := newWorld(t)
	a := w.run(coordtest.Alice, "a", nil)
	b := w.run(coordtest.Alice, "b", nil, "data", "file:a") // alice uploads again what a made
	c := w.run(coordtest.Bob, "c", nil, "data", "file:a")
	l := w.lineage(alice, provenance.LineageQuery{ID: b, Depth: provenance.All})
	var up provenance.Node
	for _, n := range l.Nodes {
		if n.Kind == provenance.KindFile {
			up = n
		}
	}
	if up.File == nil || !slices.Equal(up.File.SameAs, []string{answerOf(a)}) {
		t.Errorf("the upload is recognised as %+v", up.File)
	}
	l = w.lineage(alice, provenance.LineageQuery{ID: b, Depth: provenance.All, Same: true})
	same(t, "same", nodes(l), "job:"+b, up.ID, answerOf(a), "job:"+a)
	q := provenance.DefaultQuery(b)
	q.Depth, q.Same = provenance.All, true
	g := w.query(alice, q).Graph
	if _, ok := g.Get(prov.Entity, prov.ContentID(coordtest.MainOutput("a").SHA256())); !ok || !slices.Contains(elements(g), "job:"+a) {
		t.Errorf("content does not meet: %v", elements(g))
	}
	found, err := w.Content(t.Context(), bob, "SHA256:"+strings.ToUpper(coordtest.MainOutput("a").SHA256()), "", 0)
	if err != nil || len(found.Items) != 1 || found.Items[0].File.Upload == "" {
		t.Errorf("bob finds %+v %v, want his upload alone", found, err)
	}
	if l := w.lineage(bob, provenance.LineageQuery{ID: c, Depth: provenance.All, Same: true}); len(l.Nodes) != 2 {
		t.Errorf("bob sees %v", nodes(l))
	}
	again := w.run(coordtest.Alice, "d", nil, "data", "file:changed")
	if l := w.lineage(alice, provenance.LineageQuery{ID: again, Depth: 1, Same: true}); slices.Contains(nodes(l), up.ID) {
		t.Error("an upload whose content changed is the same entity")
	}
}

// TestPaging: pages give together what one answer gives, each at most so many jobs.
func TestPaging(t *testing.T) {
	w := newWorld(t)
	a := w.run(coordtest.Alice, "a", nil)
	var users []string
	for i := range 5 {
		users = append(users, "job:"+w.run(coordtest.Alice, fmt.Sprint("user", i), nil, "data", "consort:"+a+"/answer"))
	}
	slices.Reverse(users)
	var got []string
	cursor := ""
	for pages := 0; ; pages++ {
		page, err := w.Users(t.Context(), alice, answerOf(a), cursor, 2)
		if err != nil || len(page.Items) > 2 || pages > 3 {
			t.Fatalf("%+v %v", page, err)
		}
		for _, u := range page.Items {
			got = append(got, u.ID)
		}
		if cursor = page.Next; cursor == "" {
			break
		}
	}
	if !slices.Equal(got, users) {
		t.Errorf("users %v, want newest first %v", got, users)
	}
	all := nodes(w.lineage(alice, provenance.LineageQuery{ID: a, Direction: provenance.Forth, Depth: provenance.All}))
	seen := map[string]bool{}
	q := provenance.LineageQuery{ID: a, Direction: provenance.Forth, Depth: provenance.All, Limit: 2}
	for pages := 0; ; pages++ {
		l := w.lineage(alice, q)
		if jobs := strings.Count(fmt.Sprint(nodes(l)), "job:"); jobs > 2 || pages > 4 {
			t.Fatalf("page %d has %d jobs", pages, jobs)
		}
		for _, n := range l.Nodes {
			seen[n.ID] = true
		}
		for _, e := range l.Edges {
			if !slices.Contains(nodes(l), e.From) || !slices.Contains(nodes(l), e.To) {
				t.Errorf("edge %v ends outside the page", e)
			}
		}
		if l.Truncated != (l.Next != "") {
			t.Errorf("truncated %t, next %q", l.Truncated, l.Next)
		}
		if q.Cursor = l.Next; q.Cursor == "" {
			break
		}
	}
	if len(seen) != len(all) {
		t.Errorf("pages hold %d nodes, want %d", len(seen), len(all))
	}
	ask := provenance.DefaultQuery(a)
	ask.Direction, ask.Depth, ask.MaxRecords = provenance.Forth, provenance.All, 3
	first := w.query(alice, ask)
	if !first.Truncated || first.Next == "" {
		t.Error("a cut answer does not say so")
	}
	ask.Cursor = first.Next
	if second := w.query(alice, ask); second.Truncated || len(elements(second.Graph)) < 3 {
		t.Errorf("the rest: %v", elements(second.Graph))
	}
	for _, bad := range []string{"x", "!", first.Next + "AA", strings.Repeat("A", 9000)} {
		ask.Cursor = bad
		_, err := w.Query(t.Context(), alice, ask)
		invalid(t, "cursor", err)
		_, err = w.Lineage(t.Context(), alice, provenance.LineageQuery{ID: a, Cursor: bad})
		invalid(t, "cursor", err)
		_, err = w.Users(t.Context(), alice, answerOf(a), bad, 1)
		invalid(t, "cursor", err)
	}
	for parameter, change := range map[string]func(*provenance.Query){
		"ID":           func(q *provenance.Query) { q.IDs = nil },
		"DEPTH":        func(q *provenance.Query) { q.Depth = -2 },
		"DIRECTION":    func(q *provenance.Query) { q.Direction = 9 },
		"DESCRIPTIONS": func(q *provenance.Query) { q.Descriptions = 3 },
	} {
		q := provenance.DefaultQuery(a)
		change(&q)
		_, err := w.Query(t.Context(), alice, q)
		invalid(t, parameter, err)
	}
}
