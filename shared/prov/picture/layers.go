package picture

import (
	"cmp"
	"maps"
	"math"
	"slices"
)

// The layout works along two axes: u runs from layer to layer, from effects to causes, and v along a layer.
// Which of them is x and which y, and in which sense, is the business of the scene.

// box is the room that something needs: du along u, and before and after its axis along v.
type box struct{ du, before, after float64 }

// arc is an edge to be laid out between two boxes. Arcs of one track that end in the same box share their way
// there.
type arc struct {
	from, to int
	kind     int
	label    box
	flipped  bool // from and to have been exchanged
	chain    []*vertex
}

// vertex is a place in a layer: of a box, or of an arc that passes through, perhaps with its label.
type vertex struct {
	node  int  // of the box, or -1
	label *arc // whose label is here
	layer int
	place int // in its layer
	box
	u, v     float64
	key      float64   // by which the layer is sorted
	run      *run      // of an arc that passes
	up, down []*vertex // neighbours in the layers before and after
}

// run is the way of a track through the layers, which should be straight. It pulls at where the mean of its
// vertices is.
type run struct{ sum, n, mean float64 }

// layout places boxes in layers (Sugiyama, Tagawa and Toda 1981): longest paths give the layers, sweeps by
// barycentre the order in them, isotonic regression the coordinates.
type layout struct {
	arcs     []*arc
	boxes    []*vertex
	layers   [][]*vertex
	labelled bool             // layers of labels lie between those of boxes
	lanes    map[laneKey]lane // between bands
}

// newLayout lays out boxes and arcs. Arcs from a box to itself are not permitted.
func newLayout(boxes []box, arcs []*arc) *layout {
	l := &layout{arcs: arcs}
	for i, b := range boxes {
		l.boxes = append(l.boxes, &vertex{node: i, box: b})
	}
	for _, a := range arcs {
		l.labelled = l.labelled || a.label.du > 0
	}
	l.breakCycles()
	l.rank()
	l.chain()
	l.order()
	l.across()
	l.along()
	l.fold()
	return l
}

// breakCycles flips the arcs that lead back in a depth-first walk.
func (l *layout) breakCycles() {
	out := make([][]*arc, len(l.boxes))
	entered := make([]bool, len(l.boxes))
	for _, a := range l.arcs {
		out[a.from] = append(out[a.from], a)
		entered[a.to] = true
	}
	const (
		open = iota + 1
		done
	)
	state := make([]int, len(l.boxes))
	var visit func(int)
	visit = func(v int) {
		state[v] = open
		for _, a := range out[v] {
			switch state[a.to] {
			case open:
				a.from, a.to, a.flipped = a.to, a.from, true
			case 0:
				visit(a.to)
			}
		}
		state[v] = done
	}
	for _, start := range []bool{false, true} { // effects of nothing first
		for v := range l.boxes {
			if entered[v] == start && state[v] == 0 {
				visit(v)
			}
		}
	}
}

// rank gives boxes their layers: as near to their effects as they may be, then where their edges are short.
func (l *layout) rank() {
	in, out := make([][]int, len(l.boxes)), make([][]int, len(l.boxes))
	waiting := make([]int, len(l.boxes))
	for _, a := range l.arcs {
		out[a.from] = append(out[a.from], a.to)
		in[a.to] = append(in[a.to], a.from)
		waiting[a.to]++
	}
	var order []int // effects before causes
	for v := range l.boxes {
		if waiting[v] == 0 {
			order = append(order, v)
		}
	}
	rank := make([]int, len(l.boxes))
	for i := 0; i < len(order); i++ {
		v := order[i]
		for _, w := range out[v] {
			rank[w] = max(rank[w], rank[v]+1)
			if waiting[w]--; waiting[w] == 0 {
				order = append(order, w)
			}
		}
	}
	tighten(rank, order, in, out)
	l.splitWide(rank)
	lowest := slices.Min(rank)
	step := 1
	if l.labelled {
		step = 2
	}
	for v, b := range l.boxes {
		b.layer = (rank[v] - lowest) * step
	}
}

// tighten moves boxes between their neighbours to the side where they have more of them.
func tighten(rank, order []int, in, out [][]int) {
	for range 8 {
		moved := false
		for i := len(order) - 1; i >= 0; i-- {
			v := order[i]
			to := rank[v]
			switch {
			case len(out[v]) > len(in[v]):
				to = rank[out[v][0]] - 1
				for _, w := range out[v] {
					to = min(to, rank[w]-1)
				}
			case len(in[v]) > 0 && len(in[v]) > len(out[v]):
				to = rank[in[v][0]] + 1
				for _, w := range in[v] {
					to = max(to, rank[w]+1)
				}
			}
			moved = moved || to != rank[v]
			rank[v] = to
		}
		if !moved {
			return
		}
	}
}

const (
	pageBreadth = 900.0 // layers up to this extent stay as they are
	layerDepth  = 230.0 // about what a layer takes along u
	broadForm   = 0.8   // least ratio of length to breadth aimed at
)

// splitWide divides layers with so many boxes that the picture would be a narrow strip into several. No edge
// joins two boxes of one layer, so this is always possible.
func (l *layout) splitWide(rank []int) {
	extent := map[int]float64{}
	for v, b := range l.boxes {
		extent[rank[v]] += b.before + b.after + gapNodes
	}
	widest := 0.0
	for _, e := range extent {
		widest = max(widest, e)
	}
	parts := func(r int) int { return int(math.Ceil(extent[r] / widest)) }
	for widest > pageBreadth {
		layers := 0
		for r := range extent {
			layers += parts(r)
		}
		if float64(layers)*layerDepth >= broadForm*widest {
			break
		}
		widest *= 0.9
	}
	base, at := map[int]int{}, 0
	for _, r := range slices.Sorted(maps.Keys(extent)) {
		base[r] = at
		at += parts(r)
	}
	filled := map[int]float64{}
	for v, b := range l.boxes {
		r := rank[v]
		rank[v] = base[r] + int(filled[r]/extent[r]*float64(parts(r)))
		filled[r] += b.before + b.after + gapNodes
	}
}

// passing are the dimensions of an arc that passes through a layer.
var passing = box{before: 3, after: 3}

// chain puts a vertex into every layer that an arc passes. Arcs of one kind to the same box share theirs, but
// for that of the label.
func (l *layout) chain() {
	depth := 0
	for _, b := range l.boxes {
		depth = max(depth, b.layer)
	}
	l.layers = make([][]*vertex, depth+1)
	for _, b := range l.boxes {
		l.put(b)
	}
	type trunk struct {
		to, kind, layer int
		flipped         bool
	}
	shared := map[trunk]*vertex{}
	runs := map[trunk]*run{}
	linked := map[[2]*vertex]bool{}
	for _, a := range l.arcs {
		a.chain = []*vertex{l.boxes[a.from]}
		for layer := l.boxes[a.from].layer + 1; layer < l.boxes[a.to].layer; layer++ {
			if l.labelled && len(a.chain) == 1 {
				v := &vertex{node: -1, label: a, layer: layer, box: a.label}
				l.put(v)
				a.chain = append(a.chain, v)
				continue
			}
			key := trunk{a.to, a.kind, layer, a.flipped}
			if shared[key] == nil {
				whole := trunk{a.to, a.kind, 0, a.flipped}
				if runs[whole] == nil {
					runs[whole] = &run{}
				}
				shared[key] = &vertex{node: -1, layer: layer, box: passing, run: runs[whole]}
				l.put(shared[key])
			}
			a.chain = append(a.chain, shared[key])
		}
		a.chain = append(a.chain, l.boxes[a.to])
		for i, w := range a.chain[1:] {
			v := a.chain[i]
			if pair := [2]*vertex{v, w}; !linked[pair] {
				linked[pair] = true
				v.down = append(v.down, w)
				w.up = append(w.up, v)
			}
		}
	}
}

func (l *layout) put(v *vertex) {
	v.place = len(l.layers[v.layer])
	l.layers[v.layer] = append(l.layers[v.layer], v)
}

// order sorts the layers so that few edges cross, and keeps the best order met.
func (l *layout) order() {
	l.firstOrder()
	best, rounds := l.crossings(), min(24, max(4, 100_000/l.size()))
	kept := l.snapshot()
	for i := range rounds {
		l.sweep(i%2 == 0, i%4 >= 2)
		if c := l.crossings(); c < best {
			best, kept = c, l.snapshot()
		}
		if best == 0 {
			break
		}
	}
	l.restore(kept)
	if l.size() <= 3000 {
		l.exchange()
	}
}

func (l *layout) size() int {
	n := 0
	for _, layer := range l.layers {
		n += len(layer)
	}
	return n
}

// firstOrder takes the vertices as a depth-first walk meets them, so that what hangs together lies together.
func (l *layout) firstOrder() {
	const unseen = -1
	for _, layer := range l.layers {
		for _, v := range layer {
			v.place = unseen
		}
	}
	next := make([]int, len(l.layers))
	var stack []*vertex
	for _, layer := range l.layers {
		for _, start := range layer {
			stack = append(stack, start)
			for len(stack) > 0 {
				v := stack[len(stack)-1]
				stack = stack[:len(stack)-1]
				if v.place != unseen {
					continue
				}
				v.place = next[v.layer]
				next[v.layer]++
				stack = append(append(stack, v.up...), v.down...)
			}
		}
	}
	l.sortLayers()
}

func (l *layout) sortLayers() {
	for _, layer := range l.layers {
		slices.SortStableFunc(layer, func(a, b *vertex) int { return cmp.Compare(a.place, b.place) })
		for i, v := range layer {
			v.place = i
		}
	}
}

// sweep sorts layer after layer by the mean place of the neighbours in the layer before; reverse turns equals
// round.
func (l *layout) sweep(down, reverse bool) {
	for i := range l.layers {
		layer := l.layers[i]
		if !down {
			layer = l.layers[len(l.layers)-1-i]
		}
		for _, v := range layer {
			near := v.up
			if !down {
				near = v.down
			}
			v.key = float64(v.place)
			if len(near) > 0 {
				sum := 0.0
				for _, w := range near {
					sum += float64(w.place)
				}
				v.key = sum / float64(len(near))
			}
		}
		if reverse {
			slices.Reverse(layer)
		}
		slices.SortStableFunc(layer, func(a, b *vertex) int { return cmp.Compare(a.key, b.key) })
		for p, v := range layer {
			v.place = p
		}
	}
}

// snapshot copies the order of the layers.
func (l *layout) snapshot() [][]*vertex {
	layers := make([][]*vertex, len(l.layers))
	for i := range layers {
		layers[i] = slices.Clone(l.layers[i])
	}
	return layers
}

// restore takes the layers in a given order.
func (l *layout) restore(layers [][]*vertex) {
	l.layers = layers
	for _, layer := range layers {
		for i, v := range layer {
			v.place = i
		}
	}
}

// crossings counts the pairs of edges that cross (Barth, Mutzel and Juenger 2004, with a Fenwick tree).
func (l *layout) crossings() int {
	total := 0
	for i := 1; i < len(l.layers); i++ {
		tree := make([]int, len(l.layers[i])+1)
		inserted := 0
		var ends []int
		for _, v := range l.layers[i-1] {
			ends = ends[:0]
			for _, w := range v.down {
				ends = append(ends, w.place)
			}
			for _, p := range ends { // edges that end after p cross this one
				total += inserted
				for k := p + 1; k > 0; k -= k & -k {
					total -= tree[k]
				}
			}
			for _, p := range ends {
				for k := p + 1; k < len(tree); k += k & -k {
					tree[k]++
				}
				inserted++
			}
		}
	}
	return total
}

// exchange swaps neighbours in a layer while that lessens the crossings.
func (l *layout) exchange() {
	for range 8 {
		better := false
		for _, layer := range l.layers {
			for i := 1; i < len(layer); i++ {
				a, b := layer[i-1], layer[i]
				if crossed(a, b) > crossed(b, a) {
					layer[i-1], layer[i] = b, a
					a.place, b.place = i, i-1
					better = true
				}
			}
		}
		if !better {
			return
		}
	}
}

// mostCompared bounds the work of crossed for boxes with very many edges.
const mostCompared = 200

// crossed counts the crossings among the edges of a and b when a comes first.
func crossed(a, b *vertex) int {
	n := 0
	for _, sides := range [2][2][]*vertex{{a.up, b.up}, {a.down, b.down}} {
		if len(sides[0])*len(sides[1]) > mostCompared*mostCompared {
			continue
		}
		for _, x := range sides[0] {
			for _, y := range sides[1] {
				if x.place > y.place {
					n++
				}
			}
		}
	}
	return n
}
