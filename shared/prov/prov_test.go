package prov

import (
	"errors"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestEscape(t *testing.T) {
	for _, c := range []struct{ text, name string }{
		{"plain_name-1.fits", "plain_name-1.fits"}, {"", "_x_"}, {"a/b", "a_x2F_b"}, {"9", "_x39_"}, {"-a", "_x2D_a"},
		{"a.", "a_x2E_"}, {"_x2F_", "_x5F_x2F_"}, {"_x_", "_x5F_x_"}, {"é", "_xC3__xA9_"}, {"a_xb", "a_x5F_xb"}, {"\xff", "_xFF_"},
	} {
		if got := Escape(c.text); got != c.name {
			t.Errorf("Escape(%q) = %q, want %q", c.text, got, c.name)
		}
	}
	for _, bad := range []string{"", "a_xzz_", "a_x2f_", "_x41_", "a b", "a_xb", "é"} {
		if s, err := Unescape(bad); !errors.Is(err, ErrName) {
			t.Errorf("Unescape(%q) = %q, %v", bad, s, err)
		}
	}
}

func TestEscapeIsReversible(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := genText().Draw(t, "text")
		name := Escape(s)
		if !ValidLocal(name) {
			t.Fatalf("Escape(%q) = %q is not a valid name", s, name)
		}
		if back, err := Unescape(name); err != nil || back != s {
			t.Fatalf("Unescape(Escape(%q)) = %q, %v", s, back, err)
		}
		for _, part := range []string{last(s), inner(s)} {
			if !ValidLocal("a" + part) {
				t.Fatalf("%q is not valid inside a name", part)
			}
		}
	})
}

func TestSoftwareIsReversible(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name, version := genText().Draw(t, "name"), genText().Draw(t, "version")
		local := SoftwareID(name, version).Local
		if n, v, ok := SoftwareOf(local); !ok || n != name || v != version {
			t.Fatalf("%q %q is %s, which is %q %q %t", name, version, local, n, v, ok)
		}
	})
	for _, bad := range []string{"", "sw", "sw.", "sw.a", "sw.a.", "sw..1", "so.a.1", "sw.a_x62_.1", "sw.a_x2F_.é"} {
		if name, version, ok := SoftwareOf(bad); ok {
			t.Errorf("%q is %q %q", bad, name, version)
		}
	}
}

func FuzzSoftwareOf(f *testing.F) {
	f.Add("sw.python3.3.11.2")
	f.Add("sw.sex_x2E_tractor._x_")
	f.Fuzz(func(t *testing.T, local string) {
		if name, version, ok := SoftwareOf(local); ok && (SoftwareID(name, version).Local != local || !ValidLocal(local)) {
			t.Errorf("%q is %q %q", local, name, version)
		}
	})
}

func TestNamespaces(t *testing.T) {
	for _, bad := range []string{"", "f.example", "ftp://f.example", "https://", "https://u@f.example", "https://f.example?q", "https://f.example/#", "https://f.example/a b", "https://f.example/<"} {
		if _, err := Namespaces(bad); !errors.Is(err, ErrName) {
			t.Errorf("authority %q: %v", bad, err)
		}
	}
	a, _ := Namespaces("https://f.example/x/")
	b, _ := Namespaces("https://f.example/x")
	if a[5].IRI != "https://f.example/x/id/job/" || a[5] != b[5] {
		t.Errorf("job namespaces %v and %v", a[5], b[5])
	}
	for _, bad := range [][]Namespace{{{"prov", "http://other.example/"}}, {{"a b", "http://x.example/"}}, {{"a", "not an IRI"}}, {{"a", "x:1"}, {"a", "x:2"}}} {
		if _, err := New(bad...); !errors.Is(err, ErrName) {
			t.Errorf("New(%v): %v", bad, err)
		}
	}
}

func TestAdd(t *testing.T) {
	e, a := QName{"ent", "e"}, QName{"job", "a"}
	when := time.Date(2026, 11, 20, 10, 0, 0, 0, time.FixedZone("", 3600))
	for _, c := range []struct {
		what string
		r    Record
		want error
	}{
		{"an entity", Record{Kind: Entity, ID: e}, nil},
		{"no kind", Record{ID: e}, ErrRecord},
		{"kind out of range", Record{Kind: 99, ID: e}, ErrRecord},
		{"element without id", Record{Kind: Agent}, ErrRecord},
		{"undeclared prefix", Record{Kind: Entity, ID: QName{"zz", "e"}}, ErrName},
		{"bad local name", Record{Kind: Entity, ID: QName{"ent", "a/b"}}, ErrName},
		{"local name ending in a dot", Record{Kind: Entity, ID: QName{"ent", "a."}}, ErrName},
		{"missing reference", Record{Kind: Attribution, Refs: []QName{e}}, ErrRecord},
		{"too many references", Record{Kind: Alternate, Refs: []QName{e, e, e}}, ErrRecord},
		{"time on a relation without", Record{Kind: Influence, Refs: []QName{e, e}, Time: when}, ErrRecord},
		{"end on a usage", Record{Kind: Usage, Refs: []QName{a, e}, End: when}, ErrRecord},
		{"year 10000", Record{Kind: Activity, ID: a, Time: when.AddDate(8000, 0, 0)}, ErrRecord},
		{"id of a bare relation", Record{Kind: Membership, ID: e, Refs: []QName{e, e}}, ErrRecord},
		{"attribute of a bare relation", Record{Kind: Membership, Refs: []QName{e, e}, Attrs: []Attr{{nameLabel, String("x")}}}, ErrRecord},
		{"formal name as attribute", Record{Kind: Entity, ID: e, Attrs: []Attr{{provTerm("activity"), String("x")}}}, ErrRecord},
		{"value without type", Record{Kind: Entity, ID: e, Attrs: []Attr{{nameLabel, Value{}}}}, ErrRecord},
		{"bad language", Record{Kind: Entity, ID: e, Attrs: []Attr{{nameLabel, LangString("x", "en us")}}}, ErrRecord},
		{"name value with undeclared prefix", Record{Kind: Entity, ID: e, Attrs: []Attr{{nameType, Name(QName{"zz", "T"})}}}, ErrName},
	} {
		if err := newTestGraph(t).Add(c.r); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.what, err, c.want)
		}
	}
}

func TestAddMerges(t *testing.T) {
	g := newTestGraph(t)
	e, a, id := QName{"ent", "e"}, QName{"job", "a"}, QName{"job", "a.g"}
	when := time.Date(2026, 11, 20, 10, 0, 0, 0, time.UTC)
	add := func(r Record) {
		t.Helper()
		if err := g.Add(r); err != nil {
			t.Fatal(err)
		}
	}
	add(Record{Kind: Generation, ID: id, Refs: []QName{e}, Attrs: []Attr{{nameLabel, String("x")}, {nameRole, String("r")}}})
	add(Record{Kind: Generation, ID: id, Refs: []QName{e, a}, Time: when, Attrs: []Attr{{nameLabel, String("y")}, {nameLabel, String("x")}}})
	r, ok := g.Get(Generation, id)
	if !ok || g.Len() != 1 || r.Ref(1) != a || !r.Time.Equal(when) || len(r.Attrs) != 3 || r.Attrs[1].Value != String("y") {
		t.Fatalf("merged into %+v", r)
	}
	before := *r
	for _, bad := range []Record{
		{Kind: Generation, ID: id, Refs: []QName{e, e}},
		{Kind: Generation, ID: id, Refs: []QName{e}, Time: when.Add(1), Attrs: []Attr{{nameLabel, String("z")}}},
	} {
		if err := g.Add(bad); !errors.Is(err, ErrConflict) {
			t.Errorf("adding %+v: %v", bad, err)
		}
	}
	if r.Ref(1) != before.Ref(1) || len(r.Attrs) != len(before.Attrs) {
		t.Errorf("a refused record changed the graph: %+v", r)
	}
	add(Record{Kind: Membership, Refs: []QName{e, a}})
	add(Record{Kind: Membership, Refs: []QName{e, a}})
	if g.Len() != 2 {
		t.Errorf("%d records, want 2", g.Len())
	}
}

func TestMergeAndUnified(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := genGraph(false).Draw(t, "a"), genGraph(false).Draw(t, "b")
		ab, ba := newFrom(t, a), newFrom(t, b)
		if ab.Merge(b) != nil || ba.Merge(a) != nil {
			return // the two disagree
		}
		if !ab.Equal(ba) {
			t.Fatal("the order of merging matters")
		}
		if err := ab.Merge(b); err != nil || !ab.Equal(ba) {
			t.Fatalf("merging twice changes the graph (%v)", err)
		}
		var one, two strings.Builder
		if WriteJSON(&one, ab.Unified()) != nil || WriteJSON(&two, ba.Unified()) != nil || one.String() != two.String() {
			t.Fatal("unified copies of equal graphs are written differently")
		}
		if !ab.Unified().Equal(ab) {
			t.Fatal("the unified copy differs from its graph")
		}
	})
}

func newFrom(t *rapid.T, g *Graph) *Graph {
	n, err := New()
	if err == nil {
		err = n.Merge(g)
	}
	if err != nil {
		t.Fatal(err)
	}
	if !n.Equal(g) {
		t.Fatal("a merge into an empty graph is not equal")
	}
	return n
}

func TestBundles(t *testing.T) {
	g := newTestGraph(t)
	b, err := g.Bundle(QName{"ent", "b"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Bundle(QName{"ent", "c"}); !errors.Is(err, ErrRecord) {
		t.Errorf("bundle in a bundle: %v", err)
	}
	if again, _ := g.Bundle(QName{"ent", "b"}); again != b {
		t.Error("a second bundle of the same name")
	}
	if err := b.Add(Record{Kind: Entity, ID: QName{"ent", "x"}}); err != nil {
		t.Error(err)
	}
	empty := newTestGraph(t)
	if g.Equal(empty) || empty.Equal(g) {
		t.Error("a bundle does not count in Equal")
	}
	if iri, err := b.IRI(QName{"ent", "x"}); err != nil || iri != authority+"/id/entity/x" {
		t.Errorf("IRI %q, %v", iri, err)
	}
}

func TestValidate(t *testing.T) {
	g := newTestGraph(t)
	e, a, u := QName{"ent", "e"}, QName{"job", "a"}, QName{"agt", "u"}
	at := func(min int) time.Time { return time.Date(2026, 11, 20, 10, min, 0, 0, time.UTC) }
	for _, r := range []Record{
		{Kind: Entity, ID: e}, {Kind: Activity, ID: a, Time: at(10), End: at(5)}, {Kind: Agent, ID: u}, {Kind: Entity, ID: a},
		{Kind: Usage, Refs: []QName{a, {"ent", "gone"}}, Time: at(20)},
		{Kind: Generation, Refs: []QName{e, a}}, {Kind: Generation, Refs: []QName{e}},
		{Kind: Attribution, Refs: []QName{e, e}},
		{Kind: Influence, Refs: []QName{e, u}},
	} {
		if err := g.Add(r); err != nil {
			t.Fatal(err)
		}
	}
	got := map[ProblemCode]int{}
	for _, p := range g.Validate() {
		got[p.Code]++
	}
	for code, n := range map[ProblemCode]int{Dangling: 1, WrongKind: 2, TimeOrder: 2, ManyGenerations: 1} {
		if got[code] != n {
			t.Errorf("%s: %d problems, want %d", code, got[code], n)
		}
	}
	if t.Failed() {
		t.Log(g.Validate())
	}
}
