package picture

import (
	"cmp"
	"math"
	"slices"
)

// A long chain would make a picture as long as a street. It is folded as text is into lines: each band of
// layers begins anew, and the edges between two bands go back in lanes through the gutter between them.

const (
	foldAbove  = 4.5 // ratio of length to breadth
	foldedForm = 1.7 // ratio aimed at
	laneGap    = 5.0
	laneMargin = 14.0
	laneCurve  = 6.0
)

// lane is the way of a track from the end of a band to a vertex at the beginning of the next.
type lane struct {
	right, gutter, left float64 // u, v, u
}

type laneKey struct {
	to      *vertex
	kind    int
	flipped bool
}

// fold divides the layers into bands if the layout is much longer than broad.
func (l *layout) fold() {
	l.lanes = map[laneKey]lane{}
	along, across := l.extent()
	if along < foldAbove*across || along < 1500 {
		return
	}
	bands := int(math.Round(math.Sqrt(along / (foldedForm * (across + 60)))))
	cuts := l.cuts(bands, along)
	if len(cuts) == 0 {
		return
	}
	entering := map[int][]laneKey{}
	left := 0.0
	for _, c := range cuts {
		entering[c] = l.entering(c)
		left = max(left, laneMargin+float64(len(entering[c]))*laneGap)
	}
	first, top := 0, 0.0
	for _, end := range append(cuts, len(l.layers)) {
		bottom := l.moveBand(l.layers[first:end], left, top)
		if end == len(l.layers) {
			break
		}
		top = l.openGutter(entering[end], l.layers[end-1], left, bottom)
		first = end
	}
}

// cuts chooses the layers that begin a band: near equal parts, where few edges pass.
func (l *layout) cuts(bands int, along float64) []int {
	var cuts []int
	reach := along / float64(bands) * 0.2
	from := 1
	for b := 1; b < bands; b++ {
		target := along * float64(b) / float64(bands)
		best, cost := -1, math.Inf(1)
		for i := from; i < len(l.layers); i++ {
			u := l.layers[i][0].u
			if math.Abs(u-target) > reach {
				continue
			}
			if c := l.passes(i) + 4*math.Abs(u-target)/reach; c < cost {
				best, cost = i, c
			}
		}
		if best > 0 {
			cuts = append(cuts, best)
			from = best + 1
		}
	}
	return cuts
}

// passes counts the vertices of a layer that edges reach from before.
func (l *layout) passes(layer int) float64 {
	n := 0.0
	for _, v := range l.layers[layer] {
		if len(v.up) > 0 {
			n++
		}
	}
	return n
}

// entering lists the tracks that reach a layer from before, the last one first.
func (l *layout) entering(layer int) []laneKey {
	var keys []laneKey
	known := map[laneKey]bool{}
	for _, a := range l.arcs {
		i := layer - a.chain[0].layer
		if i < 1 || i >= len(a.chain) {
			continue
		}
		if k := (laneKey{a.chain[i], a.kind, a.flipped}); !known[k] {
			known[k] = true
			keys = append(keys, k)
		}
	}
	slices.SortStableFunc(keys, func(a, b laneKey) int { return cmp.Compare(b.to.v, a.to.v) })
	return keys
}

// moveBand moves layers so that they begin at (left, top), and gives their lower end.
func (l *layout) moveBand(layers [][]*vertex, left, top float64) float64 {
	du, dv := left-(layers[0][0].u-thickness(layers[0])/2), math.Inf(1)
	for _, layer := range layers {
		for _, v := range layer {
			dv = min(dv, v.v-v.before)
		}
	}
	bottom := top
	for _, layer := range layers {
		for _, v := range layer {
			v.u, v.v = v.u+du, v.v-dv+top
			bottom = max(bottom, v.v+v.after)
		}
	}
	return bottom
}

// openGutter makes the lanes from a layer to the next band, and gives the upper end of that. The lane of the
// last vertex is the upper one: then lanes of one gutter do not cross.
func (l *layout) openGutter(entering []laneKey, layer []*vertex, left, bottom float64) float64 {
	right := layer[0].u + thickness(layer)/2 + laneMargin
	for i, key := range entering {
		k := float64(i)
		l.lanes[key] = lane{right + k*laneGap, bottom + laneMargin + k*laneGap, left - laneMargin - float64(len(entering)-1-i)*laneGap}
	}
	return bottom + 2*laneMargin + float64(len(entering))*laneGap
}

// follow draws along a lane from v to w, or, where the track has been drawn before, until it is joined.
func (p *pen) follow(way lane, v, w *vertex, v0, w0 float64, joins bool) {
	left, right := p.borders(v, w)
	turns := [][2]float64{{left, v0}, {way.right, v0}, {way.right, way.gutter}, {way.left, way.gutter}, {way.left, w0}, {right, w0}}
	if joins {
		turns = turns[:3]
	}
	for i := 1; i < len(turns)-1; i++ {
		a, b, c := turns[i-1], turns[i], turns[i+1]
		in, out := towards(b, a), towards(b, c)
		corner := p.to(b[0], b[1])
		at := p.to(in[0], in[1])
		p.line(at.x, at.y)
		p.curve(corner, corner, p.to(out[0], out[1]))
	}
	end := turns[len(turns)-1]
	at := p.to(end[0], end[1])
	p.line(at.x, at.y)
}

// towards is a point at a small distance from a, on the way to b.
func towards(a, b [2]float64) [2]float64 {
	d := math.Hypot(b[0]-a[0], b[1]-a[1])
	if d == 0 {
		return a
	}
	t := min(laneCurve, d/2) / d
	return [2]float64{a[0] + (b[0]-a[0])*t, a[1] + (b[1]-a[1])*t}
}
