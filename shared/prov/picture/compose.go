package picture

import (
	"cmp"
	"math"
	"slices"
)

// mostLabelled is the number of edges up to which their labels are drawn.
const mostLabelled = 100

// part is a connected component of the diagram, laid out on its own.
type part struct {
	figures []*figure
	edges   []*edge
	*layout
	w, h float64
	x, y float64 // of its top left corner
}

// drawing is a diagram with everything in its place.
type drawing struct {
	*diagram
	figures []*figure
	parts   []*part
	w, h    float64
}

// arrange lays out a diagram.
func (d *diagram) arrange(o *Options) *drawing {
	a := &drawing{diagram: d, figures: make([]*figure, len(d.nodes))}
	for i, n := range d.nodes {
		n.n = i
		a.figures[i] = d.newFigure(n, o.Attributes)
	}
	for _, e := range d.edges {
		if e.from == e.to {
			a.figures[e.from.n].loops = append(a.figures[e.from.n].loops, e)
		}
	}
	a.parts = d.parts(a.figures)
	for _, p := range a.parts {
		p.arrange(o, len(d.edges) <= mostLabelled)
	}
	a.w, a.h = pack(a.parts)
	for _, p := range a.parts {
		p.place(o)
	}
	return a
}

// scene draws edges, nodes over them, and the frame around.
func (a *drawing) scene(o *Options, left omission) *scene {
	s := &scene{w: a.w, h: a.h}
	for _, p := range a.parts {
		s.groups = append(s.groups, p.tracks(a.diagram, o)...)
	}
	for _, f := range a.figures {
		s.groups = append(s.groups, f.group(a.diagram, o))
	}
	s.frame(a.diagram, o, a.figures, left)
	return s
}

// parts divides a diagram into connected components.
func (d *diagram) parts(figures []*figure) []*part {
	leader := make([]int, len(figures))
	for i := range leader {
		leader[i] = i
	}
	find := func(i int) int {
		for leader[i] != i {
			leader[i] = leader[leader[i]]
			i = leader[i]
		}
		return i
	}
	for _, e := range d.edges {
		a, b := find(e.from.n), find(e.to.n)
		leader[max(a, b)] = min(a, b)
	}
	var parts []*part
	of := map[int]*part{}
	for i, f := range figures {
		l := find(i)
		if of[l] == nil {
			of[l] = &part{}
			parts = append(parts, of[l])
		}
		of[l].figures = append(of[l].figures, f)
	}
	for _, e := range d.edges {
		if e.from != e.to {
			p := of[find(e.from.n)]
			p.edges = append(p.edges, e)
		}
	}
	return parts
}

// arrange lays out a part around its own origin.
func (p *part) arrange(o *Options, labels bool) {
	vertical := o.Direction.vertical()
	at := map[*node]int{}
	boxes := make([]box, len(p.figures))
	for i, f := range p.figures {
		at[f.node], boxes[i] = i, f.box(vertical)
	}
	arcs := make([]*arc, len(p.edges))
	for i, e := range p.edges {
		arcs[i] = &arc{from: at[e.from], to: at[e.to], kind: int(e.rel)}
		if e.rel.laterSecond() {
			arcs[i].from, arcs[i].to = arcs[i].to, arcs[i].from
		}
		if labels {
			arcs[i].label = e.labelBox(vertical)
		}
	}
	p.layout = newLayout(boxes, arcs)
	p.w, p.h = p.extent()
	if vertical {
		p.w, p.h = p.h, p.w
	}
}

// labelLines are the texts beside an edge: the relation, and the role or type below it.
func (e *edge) labelLines() []string {
	lines := []string{strokes[e.rel].name}
	if len(e.details) > 0 {
		detail := e.details[0]
		if len(e.details) > 1 {
			detail += ", " + ellipsis
		}
		lines = append(lines, fit(detail, 96, sizeEdge, false))
	}
	return lines
}

func (e *edge) labelBox(vertical bool) box {
	w, h := 0.0, 0.0
	for _, line := range e.labelLines() {
		w, h = max(w, textWidth(line, sizeEdge, false)), h+sizeEdge+2
	}
	w, h = w+6, h+2
	if vertical {
		return box{h, w / 2, w / 2}
	}
	return box{w, h / 2, h / 2}
}

// margin is the room around the parts.
const margin = 24.0

// pack puts the parts on shelves, the highest first, in about the form of a page, and gives the size of all.
func pack(parts []*part) (w, h float64) {
	area, widest := 0.0, 0.0
	for _, p := range parts {
		area += (p.w + margin) * (p.h + margin)
		widest = max(widest, p.w)
	}
	target := max(widest, math.Sqrt(area*1.8))
	x, y, shelf := 0.0, 0.0, 0.0
	for _, p := range slices.SortedStableFunc(slices.Values(parts), func(a, b *part) int { return cmp.Compare(b.h, a.h) }) {
		if x > 0 && x+p.w > target {
			x, y, shelf = 0, y+shelf+margin, 0
		}
		p.x, p.y = x, y
		x, shelf = x+p.w+margin, max(shelf, p.h)
		w, h = max(w, x-margin), max(h, y+shelf)
	}
	return w, h
}

// point leads from the axes of the layout to the scene.
func (p *part) point(o *Options, u, v float64) point {
	length := p.w
	if o.Direction.vertical() {
		length = p.h
	}
	if o.Direction.reversed() {
		u = length - u
	}
	if o.Direction.vertical() {
		u, v = v, u
	}
	return point{p.x + u, p.y + v}
}

// place gives the figures of a part their places in the scene.
func (p *part) place(o *Options) {
	for i, f := range p.figures {
		at := p.point(o, p.boxes[i].u, p.boxes[i].v)
		f.x, f.y = at.x, at.y
	}
}
