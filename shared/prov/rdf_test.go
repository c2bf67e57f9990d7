package prov

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"consort/shared/schemas"
	"consort/shared/testenv"
)

// expectation lists the records of a graph for the judge, with names as IRIs.
func expectation(t testing.TB, g *Graph) []byte {
	t.Helper()
	bundles := map[string]any{}
	for id, b := range g.Bundles() {
		iri, err := g.IRI(id)
		if err != nil {
			t.Fatal(err)
		}
		bundles[iri] = recordsAsIRIs(t, b)
	}
	out, err := json.Marshal(map[string]any{"records": recordsAsIRIs(t, g), "bundles": bundles})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func recordsAsIRIs(t testing.TB, g *Graph) [][5]any {
	iri := func(q QName) string {
		if q.IsZero() {
			return ""
		}
		s, err := g.IRI(q)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	records := [][5]any{}
	for r := range g.All() {
		refs, times, attrs := []string{}, []string{}, [][5]string{}
		for _, q := range r.Refs {
			refs = append(refs, iri(q))
		}
		for _, at := range r.times() {
			if at.IsZero() {
				times = append(times, "")
			} else {
				times = append(times, formatTime(at))
			}
		}
		for _, a := range placedAttrs(r) {
			target := ""
			if q, ok := a.Value.QName(); ok {
				target = iri(q)
			}
			attrs = append(attrs, [5]string{iri(a.Name), a.Value.text, iri(a.Value.typ), a.Value.lang, target})
		}
		records = append(records, [5]any{r.Kind.String(), iri(r.ID), refs, times, attrs})
	}
	return records
}

// textGraph has every nasty text, and a very long one, as literals of every kind of attribute.
func textGraph(t testing.TB) *Graph {
	g := newTestGraph(t)
	for i, s := range slices.Concat(nasty, []string{strings.Repeat(strings.Repeat("twenty bytes, é 𝔘. ", 50)+"\n\"\\", 1000), strings.Repeat(`"\`, 500)}) {
		n := strconv.Itoa(i)
		for _, r := range []Record{
			{Kind: Entity, ID: QName{"ent", "e" + n}, Attrs: []Attr{{nameValue, String(s)}, {nameName, LangString(s[:min(len(s), 1000)], "en")}}},
			{Kind: Usage, ID: QName{"job", "u" + n}, Refs: []QName{{"job", "j"}, {"ent", "e" + n}}, Attrs: []Attr{{nameRole, String(s[:min(len(s), 1000)])}, {nameLocation, AnyURI(s[:min(len(s), 1000)])}}},
		} {
			if err := g.Add(r); err != nil {
				t.Fatal(err)
			}
		}
	}
	return g
}

// oddNames has prefixes that mean something else in RDF, in the context, or are no prefixes of JSON-LD.
func oddNames(t testing.TB) *Graph {
	g, err := New(Namespace{"rdfs", "http://ex.example/not-rdfs#"}, Namespace{"entity", "http://ex.example/entity/"}, Namespace{"base", "http://ex.example/base/"},
		Namespace{"a", "http://ex.example/a/"}, Namespace{"my-ns", "http://ex.example/my/"}, Namespace{"open", "http://ex.example/open"}, Namespace{"true", "http://ex.example/true/"},
		Namespace{"data", "http://ex.example/data/"})
	if err != nil {
		t.Fatal(err)
	}
	for _, prefix := range []string{"rdfs", "entity", "base", "a", "my-ns", "open", "true"} {
		id := QName{prefix, "x"}
		for _, r := range []Record{
			{Kind: Entity, ID: id, Attrs: []Attr{
				{QName{prefix, "y"}, String("z")}, {nameLabel, String("label")}, {nameType, Name(QName{prefix, "T"})}, {nameType, String("text")},
				{nameLocation, AnyURI("data:text/plain,x")}, {nameLocation, AnyURI("https://ex.example/x")}, {nameLocation, AnyURI("no IRI")}}},
			{Kind: Derivation, Refs: []QName{id, {"data", "d"}, {}, {prefix, "g"}}},
		} {
			if err := g.Add(r); err != nil {
				t.Fatal(err)
			}
		}
	}
	return g
}

func written(t testing.TB, write func(io.Writer, *Graph) error, g *Graph) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := write(&b, g); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestRDF lets rapper and rdflib read Turtle, and jsonschema and rdflib PROV-JSONLD, and compares ids, references, times
// and attributes with the graph.
func TestRDF(t *testing.T) {
	rapper := testenv.Need(t, "/usr/bin/python3", "rapper")[1]
	if out, err := exec.Command("/usr/bin/python3", "-c", "import rdflib, jsonschema").CombinedOutput(); err != nil {
		testenv.Skip(t, "needs python3-rdflib and python3-jsonschema: "+string(out))
	}
	graphs := []*Graph{textGraph(t), oddNames(t), newTestGraph(t)}
	for _, c := range cases {
		graphs = append(graphs, graphOf(t, c.record()))
	}
	for seed := range 40 {
		graphs = append(graphs, genGraph(false).Example(seed))
	}
	dir := t.TempDir()
	for name, data := range map[string]string{"context": "prov-jsonld-context.jsonld", "schema": "prov-jsonld.schema.json"} {
		text, err := schemas.FS.ReadFile(data)
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, name), text)
	}
	var list strings.Builder
	for i, g := range graphs {
		path := filepath.Join(dir, strconv.Itoa(i))
		write(t, path+".expected", expectation(t, g))
		write(t, path+".ttl", written(t, WriteTurtle, g))
		write(t, path+".jsonld", written(t, WriteJSONLD, g))
		out, err := exec.Command(rapper, "-q", "-i", "turtle", "-o", "ntriples", path+".ttl", "http://ex.example/").Output()
		if err != nil {
			t.Errorf("rapper refuses graph %d: %v", i, describe(err))
		}
		write(t, path+".nt", out)
		fmt.Fprintf(&list, "%[1]s.expected %[1]s.ttl turtle\n%[1]s.expected %[1]s.nt nt\n%[1]s.expected %[1]s.jsonld json-ld\n", path)
	}
	python := exec.Command("/usr/bin/python3", "testdata/rdf_judge.py", filepath.Join(dir, "context"), filepath.Join(dir, "schema"))
	python.Stdin = strings.NewReader(list.String())
	out, err := python.Output()
	if err != nil {
		t.Fatalf("%v\n%s", describe(err), out)
	}
	if judged := len(strings.Fields(string(out))); judged != 3*len(graphs) {
		t.Errorf("%d of %d documents were judged", judged, 3*len(graphs))
	}
}

func write(t testing.TB, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// describe adds what a program said to its exit status.
func describe(err error) string {
	if exit, ok := err.(*exec.ExitError); ok {
		return fmt.Sprintf("%v: %s", err, exit.Stderr)
	}
	return err.Error()
}

// TestRDFMemory holds the writers to memory that does not grow with the graph.
func TestRDFMemory(t *testing.T) {
	const nodes = 100_000
	g := newTestGraph(t)
	when := time.Date(2026, 11, 20, 10, 0, 0, 0, time.UTC)
	for i := range nodes / 2 {
		n := strconv.Itoa(i)
		id, job := QName{"ent", "e" + n}, QName{"job", "j" + n}
		for _, r := range []Record{
			{Kind: Entity, ID: id, Attrs: []Attr{{nameType, Name(typeDataset)}, {nameLabel, String("file \"" + n + "\"")}, {nameBytes, Long(int64(i))}}},
			{Kind: Activity, ID: job, Time: when, End: when.Add(time.Second)},
			{Kind: Generation, Refs: []QName{id, job}, Time: when, Attrs: []Attr{{nameRole, String("out")}}},
		} {
			if err := g.Add(r); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, write := range map[string]func(io.Writer, *Graph) error{"Turtle": WriteTurtle, "PROV-JSONLD": WriteJSONLD} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if err := write(io.Discard, g); err != nil {
			t.Fatal(err)
		}
		runtime.ReadMemStats(&after)
		if total := after.TotalAlloc - before.TotalAlloc; total > 32*nodes {
			t.Errorf("%s allocates %d bytes in all for %d nodes", name, total, nodes)
		}
	}
}

func TestRDFWriteErrors(t *testing.T) {
	g := textGraph(t)
	for _, write := range []func(io.Writer, *Graph) error{WriteTurtle, WriteJSONLD} {
		if err := write(failing{}, g); err == nil {
			t.Error("no error from a writer that fails")
		}
	}
}

// TestRDFOfJobs keeps the documents of jobs as they are, and secrets out of them.
func TestRDFOfJobs(t *testing.T) {
	for _, c := range cases {
		g := graphOf(t, c.record())
		for name, text := range map[string]string{c.name + ".ttl": string(written(t, WriteTurtle, g)), c.name + ".jsonld": string(written(t, WriteJSONLD, g))} {
			golden(t, name, text)
			if strings.Contains(text, "hunter2") || strings.Contains(text, "bob:pw") {
				t.Errorf("%s shows a secret", name)
			}
		}
	}
}
