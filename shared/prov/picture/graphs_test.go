package picture

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"consort/shared/prov"
)

// sweep is a survey: one definition, so many jobs with so many parameters each, a few sites, one that fails
// now and then, and a last job that uses all results.
func sweep(t testing.TB, jobs, parameters int) *prov.Graph {
	t.Helper()
	g := empty(t)
	last := prov.JobRecord{Job: "jlast", Phase: "COMPLETED", Owner: prov.UserRecord{ID: "bob"}, Definition: prov.DefinitionRecord{Name: "match", Version: "2"},
		Attempts: []prov.AttemptRecord{{Epoch: 1, Site: "meudon", Started: day(1), Ended: day(2)}},
		Results:  []prov.ResultRecord{{ID: "catalogue", Name: "matched.vot", MediaType: "application/x-votable+xml"}}}
	for i := range jobs {
		rec := prov.JobRecord{
			Job: fmt.Sprintf("j%03d", i), Phase: "COMPLETED", Owner: prov.UserRecord{ID: "bob"},
			Definition: prov.DefinitionRecord{Name: "extract", Version: "1"},
			Attempts:   []prov.AttemptRecord{{Epoch: 1, Site: fmt.Sprintf("site%d", i%3), Batch: "slurm", Started: day(0), Ended: day(1), Outcome: prov.OutcomeCommitted}},
			Inputs:     []prov.InputRecord{{Role: "image", URL: fmt.Sprintf("https://archive.example/%03d.fits", i), SHA256: fmt.Sprintf("%064x", i)}},
			Results:    []prov.ResultRecord{{ID: "catalogue", Name: fmt.Sprintf("cat%03d.vot", i)}},
			Logs:       []prov.LogRecord{{ID: "stdout"}, {ID: "stderr"}},
		}
		for p := range parameters {
			name := fmt.Sprintf("p%02d", p)
			rec.Parameters = append(rec.Parameters, prov.ParameterRecord{Name: name, Values: []string{fmt.Sprint(p * i)}})
			rec.Definition.Parameters = append(rec.Definition.Parameters, prov.ParameterDescription{Name: name, Type: "int"})
		}
		if i%7 == 3 {
			rec.Phase, rec.Results, rec.Attempts[0].Outcome = "ERROR", nil, "failed"
		} else {
			last.Inputs = append(last.Inputs, prov.InputRecord{Role: "catalogue", Job: rec.Job, Result: "catalogue"})
		}
		mergeJob(t, g, rec)
	}
	mergeJob(t, g, last)
	return g
}

func day(n int) time.Time { return time.Date(2026, 11, 20+n, 0, 0, 0, 0, time.UTC) }

func empty(t testing.TB) *prov.Graph {
	t.Helper()
	ns, err := prov.Namespaces("https://f.example")
	if err != nil {
		t.Fatal(err)
	}
	g, err := prov.New(ns...)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func mergeJob(t testing.TB, g *prov.Graph, rec prov.JobRecord) {
	t.Helper()
	job, err := prov.FromRecord(rec, "https://f.example")
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Merge(job); err != nil {
		t.Fatal(err)
	}
}

// allKinds are the relations with their arguments' kinds.
var allKinds = []prov.Kind{prov.Generation, prov.Usage, prov.Communication, prov.Start, prov.End, prov.Invalidation, prov.Derivation,
	prov.Attribution, prov.Association, prov.Delegation, prov.Influence, prov.Specialization, prov.Alternate, prov.Membership}

// tangle is a random graph without any sense: so many elements, so many relations, cycles and loops included.
func tangle(t testing.TB, elements, relations int, seed uint64) *prov.Graph {
	t.Helper()
	g := empty(t)
	rnd := rand.New(rand.NewPCG(seed, 1))
	add := func(r prov.Record) {
		if err := g.Add(r); err != nil {
			t.Fatal(err)
		}
	}
	name := func(i int) prov.QName { return prov.QName{Prefix: "ent", Local: fmt.Sprintf("n%d", i)} }
	for i := range elements {
		add(prov.Record{Kind: prov.Kind(1 + rnd.IntN(3)), ID: name(i)})
	}
	for range relations {
		add(prov.Record{Kind: allKinds[rnd.IntN(len(allKinds))], Refs: []prov.QName{name(rnd.IntN(elements)), name(rnd.IntN(elements))}})
	}
	return g
}

// nasty are texts that have broken writers of documents.
var nasty = []string{"", `"`, "]]>", "<a>&amp;</a>", "\x00\x1b[31m", "\u202ertl\u2066", "𝔘𝔫𝔦", "e\u0301\u0301", "👩‍👩‍👧‍👦🇫🇷", "a\nb\r\tc", "\ufffe\uffff\ufeff",
	"שלום", strings.Repeat("long ", 5000), "</text><script>alert(1)</script>"}

// genGraph makes small random graphs with nasty texts and all marks.
func genGraph() *rapid.Generator[*prov.Graph] {
	return rapid.Custom(func(t *rapid.T) *prov.Graph {
		ns, _ := prov.Namespaces("https://f.example")
		g, err := prov.New(ns...)
		if err != nil {
			t.Fatal(err)
		}
		n := rapid.IntRange(0, 30).Draw(t, "elements")
		name := func() prov.QName {
			return prov.QName{Prefix: "ent", Local: fmt.Sprintf("n%d", rapid.IntRange(0, n+2).Draw(t, "name"))}
		}
		text := rapid.OneOf(rapid.SampledFrom(nasty), rapid.String())
		types := make([]prov.QName, 0, len(sorts))
		for q := range sorts {
			types = append(types, q)
		}
		slices.SortFunc(types, func(a, b prov.QName) int { return strings.Compare(a.String(), b.String()) })
		for range n {
			r := prov.Record{Kind: prov.Kind(rapid.IntRange(1, 3).Draw(t, "kind")), ID: name()}
			r.Attrs = append(r.Attrs, prov.Attr{Name: nameLabel, Value: prov.String(text.Draw(t, "label"))})
			if rapid.Bool().Draw(t, "typed") {
				r.Attrs = append(r.Attrs, prov.Attr{Name: nameType, Value: prov.Name(rapid.SampledFrom(types).Draw(t, "type"))})
			}
			if rapid.Bool().Draw(t, "failed") {
				r.Attrs = append(r.Attrs, prov.Attr{Name: fed("outcome"), Value: prov.String("failed")})
			}
			if err := g.Add(r); err != nil {
				t.Fatal(err)
			}
		}
		for range rapid.IntRange(0, 60).Draw(t, "relations") {
			r := prov.Record{Kind: rapid.SampledFrom(allKinds).Draw(t, "relation"), Refs: []prov.QName{name(), name()}}
			if r.Kind == prov.Invalidation {
				r.Attrs = []prov.Attr{{Name: fed("reason"), Value: prov.String(text.Draw(t, "reason"))}}
			}
			if err := g.Add(r); err != nil {
				t.Fatal(err)
			}
		}
		return g
	})
}
