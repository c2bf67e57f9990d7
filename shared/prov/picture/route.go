package picture

import (
	"cmp"
	"math"
	"slices"
	"strings"
)

const (
	apron       = 11.0 // how far before a layer edges run straight, with room for an arrowhead
	arrowLength = 8.0
	arrowWidth  = 3.6
	portGap     = 7.0 // between edges of different relations that end at one side of a node
)

// trackKey names the edges that share their way to one node.
type trackKey struct {
	to      *vertex
	rel     relation
	flipped bool
}

// track is drawn as one path with several beginnings.
type track struct {
	trackKey
	arcs  []*arc
	edges []*edge
}

// portKey names the place where the edges of one relation meet a side of a node.
type portKey struct {
	v       *vertex
	rel     relation
	flipped bool
	after   bool // the side to the causes
}

// router draws the edges of a part.
type router struct {
	*part
	o     *Options
	ports map[portKey]float64 // off the axis of the node
	thick []float64           // of each layer
}

// tracks draws the edges of a part.
func (p *part) tracks(d *diagram, o *Options) []group {
	r := &router{part: p, o: o, thick: make([]float64, len(p.layers))}
	for i, layer := range p.layers {
		r.thick[i] = thickness(layer)
	}
	var tracks []*track
	of := map[trackKey]*track{}
	for i, a := range p.arcs {
		key := trackKey{p.boxes[a.to], p.edges[i].rel, a.flipped}
		if of[key] == nil {
			of[key] = &track{trackKey: key}
			tracks = append(tracks, of[key])
		}
		of[key].arcs = append(of[key].arcs, a)
		of[key].edges = append(of[key].edges, p.edges[i])
	}
	r.findPorts(tracks)
	var groups []group
	for _, t := range tracks {
		groups = append(groups, r.draw(d, t))
	}
	for _, f := range p.figures {
		for i, e := range f.loops {
			groups = append(groups, f.loop(d, e, i))
		}
	}
	return groups
}

// findPorts spreads the relations that meet a side of a node over it, in the order of where they come from.
func (r *router) findPorts(tracks []*track) {
	type mean struct{ sum, n float64 }
	means := map[portKey]mean{}
	sides := map[[2]any][]portKey{}
	add := func(k portKey, v float64) {
		m, ok := means[k]
		if !ok {
			side := [2]any{k.v, k.after}
			sides[side] = append(sides[side], k)
		}
		means[k] = mean{m.sum + v, m.n + 1}
	}
	for _, t := range tracks {
		for _, a := range t.arcs {
			n := len(a.chain)
			add(portKey{a.chain[0], t.rel, t.flipped, true}, a.chain[1].v)
			add(portKey{a.chain[n-1], t.rel, t.flipped, false}, a.chain[n-2].v)
		}
	}
	r.ports = map[portKey]float64{}
	for _, keys := range sides {
		slices.SortStableFunc(keys, func(a, b portKey) int {
			return cmp.Or(cmp.Compare(means[a].sum/means[a].n, means[b].sum/means[b].n), cmp.Compare(a.rel, b.rel))
		})
		f := r.figures[keys[0].v.node]
		room := f.h
		if r.o.Direction.vertical() {
			room = f.w
		}
		gap := min(portGap, 0.6*room/float64(len(keys)))
		for i, k := range keys {
			r.ports[k] = gap * (float64(i) - float64(len(keys)-1)/2)
		}
	}
}

// pen draws in the axes of the layout.
type pen struct {
	*router
	path
}

func (p *pen) to(u, v float64) point { return p.point(p.o, u, v) }

// draw draws the edges of a track, and every stretch that they share once.
func (r *router) draw(d *diagram, t *track) group {
	s := strokes[t.rel]
	g := group{role: roleEdge, title: d.trackTitle(t)}
	p := &pen{router: r}
	drawn := map[*vertex]bool{}
	var heads, labels []item
	atStart := t.flipped != t.rel.laterSecond()
	for i, a := range t.arcs {
		heads = append(heads, p.trace(a, t, drawn, atStart, i == 0)...)
		if len(a.chain) > 2 && a.chain[1].label == a {
			labels = append(labels, r.label(a, t.edges[i])...)
		}
	}
	g.items = append(g.items, item{path: p.path, fill: none, stroke: s.ink, width: 1.3, dash: s.dash})
	for i := range heads {
		heads[i].fill, heads[i].stroke = s.ink, none
	}
	g.items = append(append(g.items, heads...), labels...)
	return g
}

// trace draws one arc as far as nothing of its track has been drawn, and gives the arrowheads.
func (p *pen) trace(a *arc, t *track, drawn map[*vertex]bool, atStart, first bool) []item {
	var heads []item
	v := a.chain[0]
	v0 := v.v + p.ports[portKey{v, t.rel, t.flipped, true}]
	u0 := v.u + p.reach(v, v0-v.v, false)
	if atStart {
		heads = append(heads, p.head(u0, v0, 1))
		u0 += arrowLength - 1
	}
	at := p.to(u0, v0)
	p.move(at.x, at.y)
	for _, w := range a.chain[1:] {
		w0 := w.v
		if w == t.to {
			w0 += p.ports[portKey{w, t.rel, t.flipped, false}]
		}
		way, folded := p.lanes[laneKey{w, int(t.rel), t.flipped}]
		if folded {
			p.follow(way, v, w, v0, w0, drawn[w])
		} else {
			p.span(v, w, v0, w0)
		}
		if drawn[w] {
			return heads
		}
		drawn[w] = w != t.to || folded
		v, v0 = w, w0
	}
	end := v.u - p.reach(v, v0-v.v, true)
	if !atStart {
		if first {
			heads = append(heads, p.head(end, v0, -1))
		}
		end -= arrowLength - 1
	}
	at = p.to(end, v0)
	p.line(at.x, at.y)
	return heads
}

// span draws from the border of one layer to that of the next.
func (p *pen) span(v, w *vertex, v0, w0 float64) {
	left, right := p.borders(v, w)
	at := p.to(left, v0)
	p.line(at.x, at.y)
	if math.Abs(v0-w0) < 0.05 {
		at = p.to(right, w0)
		p.line(at.x, at.y)
		return
	}
	mid := (left + right) / 2
	p.curve(p.to(mid, v0), p.to(mid, w0), p.to(right, w0))
}

// borders gives the end of the layer of v and the beginning of that of w.
func (p *pen) borders(v, w *vertex) (left, right float64) {
	left, right = v.u+p.thick[v.layer]/2, w.u-p.thick[w.layer]/2
	if v.node >= 0 {
		left += apron
	}
	if w.node >= 0 {
		right -= apron
	}
	return left, right
}

// reach is how far from the middle of a node an edge ends; before tells the side to the effects.
func (r *router) reach(v *vertex, off float64, before bool) float64 {
	f := r.figures[v.node]
	return f.shape.reach(f.w, f.h, off, r.o.Direction.vertical(), before != r.o.Direction.reversed())
}

// head is an arrowhead whose tip is at (u, v) and which lies on the side of the sign.
func (r *router) head(u, v, side float64) item {
	tip := r.point(r.o, u, v)
	a := r.point(r.o, u+side*arrowLength, v-arrowWidth)
	b := r.point(r.o, u+side*arrowLength, v+arrowWidth)
	return item{path: polygon(tip.x, tip.y, a.x, a.y, b.x, b.y)}
}

// label writes the name of an edge on a white ground.
func (r *router) label(a *arc, e *edge) []item {
	v := a.chain[1]
	at := r.point(r.o, v.u, v.v)
	w, h := v.du, v.before+v.after
	if r.o.Direction.vertical() {
		w, h = h, w
	}
	items := []item{{path: shapeBox.outline(at.x, at.y, w-2, h-1)[0], fill: white, stroke: none}}
	for i, line := range e.labelLines() {
		y := at.y - h/2 + float64(i+1)*(sizeEdge+2) - 1.5
		items = append(items, item{text: line, at: point{at.x, y}, size: sizeEdge, fill: strokes[e.rel].ink, anchor: middle})
	}
	return items
}

// loop draws an edge of a node to itself above it, beside others of its kind.
func (f *figure) loop(d *diagram, e *edge, i int) group {
	n := float64(len(f.loops))
	off := (float64(i) - (n-1)/2) * max(0, min(8, (f.w-28)/n))
	x, y := f.x+off, f.y-f.shape.reach(f.w, f.h, off, true, true)
	var p path
	p.move(x-8, y+1)
	p.curve(point{x - 14, y - loopHeight}, point{x + 14, y - loopHeight}, point{x + 8, y - arrowLength + 1})
	s := strokes[e.rel]
	return group{role: roleEdge, title: d.edgeText(e), items: []item{
		{path: p, fill: none, stroke: s.ink, width: 1.3, dash: s.dash},
		{path: polygon(x+8, y+1, x+8-arrowWidth, y-arrowLength+1, x+8+arrowWidth, y-arrowLength+1), fill: s.ink, stroke: none},
	}}
}

// edgeText says a relation in words.
func (d *diagram) edgeText(e *edge) string {
	from, _ := d.labels(e.from)
	to, _ := d.labels(e.to)
	text := from + " " + strokes[e.rel].name + " " + to
	if len(e.details) > 0 {
		text += " (" + strings.Join(e.details, ", ") + ")"
	}
	return text
}

// trackTitle says the relations of a track in words.
func (d *diagram) trackTitle(t *track) string {
	var lines []string
	for i, e := range t.edges {
		if i == titleMembers {
			lines = append(lines, ellipsis)
			break
		}
		lines = append(lines, d.edgeText(e))
	}
	return strings.Join(lines, "\n")
}
