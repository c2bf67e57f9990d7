package provenance_test

import (
	"bytes"
	"errors"
	"io"
	"mime/multipart"
	"net/http"
	"slices"
	"strings"
	"testing"

	"consort/coordinator"
	"consort/coordinator/auth"
	"consort/coordinator/coordtest"
	"consort/coordinator/provenance"
	"consort/shared/prov"
	"consort/shared/siteapi"
)

// The callers of these tests. bobby is bob while he was an operator, and could use what others made.
var (
	alice    = auth.Principal{Name: "alice"}
	bob      = auth.Principal{Name: "bob"}
	operator = auth.Principal{Name: "operator", Operator: true}
)

const bobby = "bob-as-operator"

// world is a node with a site, whose jobs come and go by hand.
type world struct {
	*coordtest.Node
	*provenance.Service
	t    *testing.T
	site *coordtest.Site
	dir  string // data directory of the node
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t}
	w.Node = coordtest.New(t, coordtest.WithTrials, func(c *coordinator.Config) {
		c.Auth.Tokens = append(c.Auth.Tokens, auth.Token{Name: "bob", SHA256: auth.HashToken(bobby), Operator: true})
		w.dir = c.Dir
	})
	w.Service = w.Node.Server.Provenance()
	w.site = w.AddSite("paris")
	return w
}

// create makes a job of trial that runs, with name, value pairs; a value that begins with "file:" is uploaded.
func (w *world) create(token string, pairs ...string) string {
	w.t.Helper()
	var body bytes.Buffer
	m := multipart.NewWriter(&body)
	_ = m.WriteField("PHASE", "RUN")
	for i := 0; i+1 < len(pairs); i += 2 {
		data, upload := strings.CutPrefix(pairs[i+1], "file:")
		if !upload {
			_ = m.WriteField(pairs[i], data)
			continue
		}
		part, _ := m.CreateFormFile(pairs[i], "input.dat")
		_, _ = io.WriteString(part, data)
	}
	_ = m.Close()
	a := w.Do(coordtest.Request{Method: http.MethodPost, Path: "/rest/trial", Token: token, Type: m.FormDataContentType(), Body: &body})
	if a.Status != http.StatusSeeOther {
		w.t.Fatalf("create: %d %s", a.Status, a.Text())
	}
	return coordtest.Job(a.Header.Get("Location"))
}

// run makes a job and completes it with an answer of its own, and other outputs.
func (w *world) run(token, answer string, outputs []coordtest.Output, pairs ...string) string {
	w.t.Helper()
	job := w.create(token, pairs...)
	a := w.site.Take()
	a.Report("running")
	log := a.Log("stdout", "log of "+answer)
	code := 0
	a.Commit(siteapi.Facts{ExitCode: &code, Node: "n1", Logs: []siteapi.Log{log}}, append([]coordtest.Output{coordtest.MainOutput(answer)}, outputs...)...)
	return job
}

func (w *world) lineage(p auth.Principal, q provenance.LineageQuery) *provenance.Lineage {
	w.t.Helper()
	l, err := w.Lineage(w.t.Context(), p, q)
	if err != nil {
		w.t.Fatalf("lineage of %s: %v", q.ID, err)
	}
	return l
}

func (w *world) query(p auth.Principal, q provenance.Query) *provenance.Answer {
	w.t.Helper()
	a, err := w.Query(w.t.Context(), p, q)
	if err != nil {
		w.t.Fatalf("query %v: %v", q.IDs, err)
	}
	valid(w.t, a.Graph)
	return a
}

// valid checks that relations have both ends, and that the graph can be written in every form and read again.
func valid(t *testing.T, g *prov.Graph) {
	t.Helper()
	elements := map[prov.QName]bool{}
	for r := range g.All() {
		if r.Kind.IsElement() {
			elements[r.ID] = true
		}
	}
	for r := range g.All() {
		for i := range 3 {
			if q := r.Ref(i); !r.Kind.IsElement() && !q.IsZero() && !elements[q] {
				t.Errorf("%v %s refers to %s, which is not there", r.Kind, r.ID, q)
			}
		}
	}
	var text bytes.Buffer
	if err := prov.WriteJSON(&text, g); err != nil {
		t.Fatal(err)
	}
	for _, f := range prov.Formats() {
		for _, m := range []prov.Model{prov.W3C, prov.IVOA} {
			if err := f.Write(io.Discard, g, m); err != nil {
				t.Errorf("%s, %s: %v", f.Name, m, err)
			}
		}
	}
	back, err := prov.ReadJSON(&text, prov.DefaultLimits())
	if err != nil || !back.Equal(g) {
		t.Errorf("the graph does not come back: %v", err)
	}
}

// nodes are the ids of a lineage, sorted.
func nodes(l *provenance.Lineage) []string {
	var ids []string
	for _, n := range l.Nodes {
		ids = append(ids, n.ID)
	}
	slices.Sort(ids)
	return ids
}

// elements are the ids of jobs and files of a graph, sorted.
func elements(g *prov.Graph) []string {
	var ids []string
	for r := range g.All() {
		if r.Kind == prov.Entity && r.ID.Prefix == "ent" || r.Kind == prov.Activity {
			ids = append(ids, r.ID.String())
		}
	}
	slices.Sort(ids)
	return ids
}

func same(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("%s: got %q, want %q", what, got, want)
	}
}

func answerOf(job string) string { return "ent:" + job + ".r.answer" }

func notFound(t *testing.T, what string, err error) {
	t.Helper()
	if !errors.Is(err, provenance.ErrNotFound) {
		t.Errorf("%s: %v, want ErrNotFound", what, err)
	}
}

func invalid(t *testing.T, parameter string, err error) {
	t.Helper()
	var bad *provenance.InvalidError
	if !errors.As(err, &bad) || bad.Parameter != parameter {
		t.Errorf("%v, want one about %s", err, parameter)
	}
}
