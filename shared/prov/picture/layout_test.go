package picture

import (
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"pgregory.net/rapid"

	"consort/shared/prov"
)

// arranged lays out a graph as WriteSVG does.
func arranged(t testing.TB, g *prov.Graph, o Options) *drawing {
	t.Helper()
	if err := o.complete(); err != nil {
		t.Fatal(err)
	}
	d := readGraph(g, o)
	d.collapse(o.Max)
	d.cut(o.Max)
	d.thin(o.Max)
	return d.arrange(&o)
}

type area struct {
	what       string
	l, t, r, b float64
}

func (a area) overlaps(b area) bool {
	const slack = 0.5
	return a.l < b.r-slack && b.l < a.r-slack && a.t < b.b-slack && b.t < a.b-slack
}

// areas lists what must not overlap: shapes, notes and labels.
func (a *drawing) areas(o *Options) []area {
	var all []area
	around := func(what string, x, y, w, h float64) {
		all = append(all, area{what, x - w/2, y - h/2, x + w/2, y + h/2})
	}
	for _, f := range a.figures {
		around(f.id.String(), f.x, f.y, f.w, f.h)
		switch {
		case f.note == nil:
		case o.Direction.vertical():
			around("note of "+f.id.String(), f.x+f.w/2+noteGap+f.nw/2, f.y, f.nw, f.nh)
		default:
			around("note of "+f.id.String(), f.x, f.y+f.h/2+noteGap+f.nh/2, f.nw, f.nh)
		}
	}
	for _, p := range a.parts {
		for _, layer := range p.layers {
			for _, v := range layer {
				if v.label == nil {
					continue
				}
				at := p.point(o, v.u, v.v)
				w, h := v.du, v.before+v.after
				if o.Direction.vertical() {
					w, h = h, w
				}
				around("label", at.x, at.y, w, h)
			}
		}
	}
	return all
}

// checkDrawing finds what no picture may have: things that overlap or lie outside, and edges through nodes.
func checkDrawing(a *drawing, o *Options) error {
	all := a.areas(o)
	for i, x := range all {
		if x.l < -0.5 || x.t < -0.5 || x.r > a.w+0.5 || x.b > a.h+0.5 || math.IsNaN(x.l+x.t) {
			return fmt.Errorf("%s lies outside the canvas: %+v of %.0f by %.0f", x.what, x, a.w, a.h)
		}
		for _, y := range all[:i] {
			if x.overlaps(y) {
				return fmt.Errorf("%s overlaps %s", x.what, y.what)
			}
		}
	}
	paint := &painter{scale: 1}
	for _, p := range a.parts {
		r := &router{part: p, o: o}
		for _, g := range p.tracks(a.diagram, o) {
			for _, line := range paint.flatten(g.items[0].path) {
				if err := r.checkLine(line, a); err != nil {
					return fmt.Errorf("an edge of %q %w", g.title, err)
				}
			}
		}
	}
	return nil
}

// checkLine tells of a node that a line passes through: it may touch those at its ends only.
func (r *router) checkLine(line []point, a *drawing) error {
	in := func(q point, f *figure, grow float64) bool {
		return math.Abs(q.x-f.x) < f.w/2+grow && math.Abs(q.y-f.y) < f.h/2+grow
	}
	first, last := line[0], line[len(line)-1]
	for _, q := range line {
		if q.x < -0.5 || q.y < -loopHeight || q.x > a.w+0.5 || q.y > a.h+0.5 {
			return fmt.Errorf("leaves the canvas at %v", q)
		}
		for _, f := range r.figures {
			if in(q, f, -1) && !in(first, f, arrowLength+1) && !in(last, f, arrowLength+1) {
				return fmt.Errorf("passes through %s", f.id)
			}
		}
	}
	return nil
}

var directions = []Direction{LeftRight, RightLeft, TopBottom, BottomTop}

func TestLayoutOfJobs(t *testing.T) {
	graphs := map[string]*prov.Graph{
		"chain": chain(t, 31), "survey": sweep(t, 12, 3), "collapsed": sweep(t, 60, 10),
		"tangle": tangle(t, 150, 200, 1), "dense": tangle(t, 30, 300, 2), "loose": tangle(t, 150, 3, 3),
	}
	for _, name := range cases {
		graphs[name] = readCase(t, name)
	}
	for name, g := range graphs {
		for _, dir := range directions {
			for _, notes := range []bool{false, true} {
				o := Options{Direction: dir, Attributes: notes, Model: ModelIVOA, Max: DefaultMax}
				if err := checkDrawing(arranged(t, g, o), &o); err != nil {
					t.Errorf("%s, %s, notes %v: %v", name, dir, notes, err)
				}
			}
		}
	}
}

func TestLayoutOfRandomGraphs(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		g := genGraph().Draw(r, "graph")
		o := Options{
			Direction: rapid.SampledFrom(directions).Draw(r, "direction"), Attributes: rapid.Bool().Draw(r, "notes"),
			Model: rapid.SampledFrom([]Model{ModelW3C, ModelIVOA}).Draw(r, "model"), Max: rapid.SampledFrom([]int{1, 5, 150}).Draw(r, "max"),
		}
		a := arranged(t, g, o)
		if len(a.nodes) > o.Max {
			r.Fatalf("%d nodes, at most %d wanted", len(a.nodes), o.Max)
		}
		if err := checkDrawing(a, &o); err != nil {
			r.Fatal(err)
		}
	})
}

// A picture that is a narrow strip cannot be read.
func TestForm(t *testing.T) {
	for name, g := range map[string]*prov.Graph{
		"chain": chain(t, 31), "long chain": chain(t, 48), "survey": sweep(t, 12, 3), "collapsed survey": sweep(t, 60, 10),
		"loose": tangle(t, 150, 0, 1), "tangle": tangle(t, 150, 160, 1), "completed": readCase(t, "completed"), "retried": readCase(t, "retried"),
	} {
		a := arranged(t, g, Options{})
		if ratio := a.w / a.h; ratio < 0.4 || ratio > 5 {
			t.Errorf("%s: %.0f by %.0f", name, a.w, a.h)
		}
	}
}

// Effects come before causes, whatever the direction.
func TestTimeOrder(t *testing.T) {
	for _, dir := range directions {
		for _, name := range cases {
			a := arranged(t, readCase(t, name), Options{Direction: dir, Max: DefaultMax})
			for _, e := range a.edges {
				from, to := a.figures[e.from.n], a.figures[e.to.n]
				if e.rel.laterSecond() {
					from, to = to, from
				}
				ahead := map[Direction]bool{LeftRight: from.x < to.x, RightLeft: from.x > to.x, TopBottom: from.y < to.y, BottomTop: from.y > to.y}
				if !ahead[dir] {
					t.Errorf("%s, %s: %s does not point to the past", name, dir, a.edgeText(e))
				}
			}
		}
	}
}

func TestSweepsLessenCrossings(t *testing.T) {
	boxes := make([]box, 20)
	for i := range boxes {
		boxes[i] = box{50, 10, 10}
	}
	var arcs []*arc
	for i := range 10 { // a ladder given in the worst order: no crossing is needed
		arcs = append(arcs, &arc{from: i, to: 19 - i})
	}
	arcs = append(arcs, &arc{from: 0, to: 18}, &arc{from: 1, to: 17})
	l := newLayout(boxes, arcs)
	if n := l.crossings(); n != 0 {
		t.Errorf("%d crossings, none is needed", n)
	}
}

func TestCrossingsAreCounted(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		a, b := make([]*vertex, 6), make([]*vertex, 6)
		for i := range a {
			a[i], b[i] = &vertex{place: i}, &vertex{place: i}
		}
		type pair [2]int
		edges := rapid.SliceOfNDistinct(rapid.Custom(func(r *rapid.T) pair {
			return pair{rapid.IntRange(0, 5).Draw(r, "a"), rapid.IntRange(0, 5).Draw(r, "b")}
		}), 0, 12, func(p pair) pair { return p }).Draw(r, "edges")
		want := 0
		for i, e := range edges {
			a[e[0]].down = append(a[e[0]].down, b[e[1]])
			for _, f := range edges[:i] {
				if (e[0]-f[0])*(e[1]-f[1]) < 0 {
					want++
				}
			}
		}
		l := &layout{layers: [][]*vertex{a, b}}
		if got := l.crossings(); got != want {
			r.Fatalf("%d crossings counted, there are %d", got, want)
		}
	})
}

// spine is a chain with three edges from each node to some far one, the worst that a layered layout may meet.
func spine(t testing.TB, n int) *prov.Graph {
	t.Helper()
	g := empty(t)
	rnd := rand.New(rand.NewPCG(1, 1))
	for i := range n - 1 {
		for _, j := range []int{i + 1, i + 1 + rnd.IntN(n-i-1), i + 1 + rnd.IntN(n-i-1), i + 1 + rnd.IntN(n-i-1)} {
			kind := []prov.Kind{prov.Usage, prov.Generation, prov.Derivation, prov.Influence}[rnd.IntN(4)]
			r := prov.Record{Kind: kind, Refs: []prov.QName{{Prefix: "ent", Local: fmt.Sprint("n", i)}, {Prefix: "ent", Local: fmt.Sprint("n", j)}}}
			if err := g.Add(r); err != nil {
				t.Fatal(err)
			}
		}
	}
	return g
}

// The layout of a hostile graph must not keep a server busy.
func TestHostileGraphs(t *testing.T) {
	chainOf := func(n int) *prov.Graph {
		g := empty(t)
		for i := range n {
			r := prov.Record{Kind: prov.Communication, Refs: []prov.QName{prov.JobID(fmt.Sprint("j", i)), prov.JobID(fmt.Sprint("j", (i+1)%n))},
				Attrs: []prov.Attr{{Name: nameType, Value: prov.Name(typePartOf)}}}
			if err := g.Add(r); err != nil {
				t.Fatal(err)
			}
		}
		return g
	}
	for name, c := range map[string]struct {
		g    *prov.Graph
		max  int
		most int // vertices of the layout
	}{
		"5,000 nodes in disorder":      {tangle(t, 5000, 20_000, 1), DefaultMax, 20_000},
		"all joined to all":            {tangle(t, DefaultMax, 60_000, 1), DefaultMax, 20_000},
		"a ring of 20,000 part-owners": {chainOf(20_000), DefaultMax, 20_000},
		"30,000 nodes":                 {tangle(t, 30_000, 50_000, 1), DefaultMax, 20_000},
		"the largest permitted":        {tangle(t, 5000, 6000, 1), LargestMax, 50_000},
		"a long chain with far edges":  {spine(t, 400), LargestMax, 100_000},
	} {
		begin := time.Now()
		o := Options{Max: c.max}
		a := arranged(t, c.g, o)
		vertices := 0
		for _, p := range a.parts {
			vertices += p.size()
		}
		t.Logf("%s: %d nodes, %d edges, %d vertices, %v", name, len(a.nodes), len(a.edges), vertices, time.Since(begin))
		// The time depends on the machine; what it grows with does not.
		if len(a.nodes) > c.max || len(a.edges) > c.max*edgesPerNode || vertices > c.most {
			t.Errorf("%s: %d nodes, %d edges, %d vertices", name, len(a.nodes), len(a.edges), vertices)
		}
	}
}

func BenchmarkDraw(b *testing.B) {
	for _, n := range []int{50, 150, 1000} {
		g := tangle(b, n, n*5/4, 1)
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for b.Loop() {
				if _, err := draw(g, Options{Max: n}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkPNG(b *testing.B) {
	s, err := draw(chain(b, 31), Options{})
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if err := s.writePNG(io.Discard); err != nil {
			b.Fatal(err)
		}
	}
}
