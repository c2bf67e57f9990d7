package picture

import "math"

// Distances in pixels.
const (
	gapNodes  = 16.0 // between boxes of a layer
	gapTracks = 5.0  // beside an arc that passes
	gapLayers = 30.0 // between layers, and more where edges are steep
	gapLabels = 20.0 // between a layer and one of labels
)

// separation is the least distance of the axes of neighbours in a layer.
func separation(a, b *vertex) float64 {
	gap := gapNodes
	if a.node < 0 || b.node < 0 {
		gap = gapTracks
	}
	return a.after + gap + b.before
}

// across gives vertices their v: every layer in turn moves as near to its neighbours' as its order permits.
func (l *layout) across() {
	for _, layer := range l.layers {
		for i, v := range layer {
			if i > 0 {
				v.v = layer[i-1].v + separation(layer[i-1], v)
			}
		}
		if n := len(layer); n > 0 {
			half := layer[n-1].v / 2
			for _, v := range layer {
				v.v -= half
			}
		}
	}
	rounds := min(40, max(12, 200_000/l.size()))
	for round := range rounds {
		l.measureRuns(round >= rounds/2)
		for i := range l.layers {
			layer, ups, downs := l.layers[i], 1.0, 0.0
			if round%2 == 1 {
				layer, ups, downs = l.layers[len(l.layers)-1-i], 0, 1
			}
			if round >= rounds-10 {
				ups, downs = 1, 1
			}
			settle(layer, ups, downs)
		}
	}
	least := math.Inf(1)
	for _, layer := range l.layers {
		for _, v := range layer {
			least = min(least, v.v-v.before)
		}
	}
	for _, layer := range l.layers {
		for _, v := range layer {
			v.v -= least
		}
	}
}

// measureRuns finds where runs are in the mean; they do not pull before they are asked to.
func (l *layout) measureRuns(pulling bool) {
	for _, layer := range l.layers {
		for _, v := range layer {
			if v.run != nil {
				v.run.sum, v.run.n = 0, 0
			}
		}
	}
	if !pulling {
		return
	}
	for _, layer := range l.layers {
		for _, v := range layer {
			if v.run != nil {
				v.run.sum, v.run.n = v.run.sum+v.v, v.run.n+1
				v.run.mean = v.run.sum / v.run.n
			}
		}
	}
}

// runPull is how strongly a run is drawn to its mean.
const runPull = 24

// pull is how strongly an edge draws its ends to one v: long edges should be straight.
func pull(a, b *vertex) float64 {
	switch {
	case a.label != nil || b.label != nil:
		return 2
	case a.node < 0 && b.node < 0:
		return 12
	case a.node < 0 || b.node < 0:
		return 2
	}
	return 1
}

// settle moves a layer: each vertex is drawn to the mean of its neighbours, and the nearest permitted places
// of all are found by pooling adjacent violators (Barlow et al. 1972), which is exact.
func settle(layer []*vertex, ups, downs float64) {
	type block struct{ sum, weight, size float64 }
	blocks := make([]block, 0, len(layer))
	offset := make([]float64, len(layer))
	for i, v := range layer {
		if i > 0 {
			offset[i] = offset[i-1] + separation(layer[i-1], v)
		}
		sum, weight := 0.01*v.v, 0.01
		for _, w := range v.up {
			p := pull(v, w) * ups
			sum, weight = sum+p*w.v, weight+p
		}
		for _, w := range v.down {
			p := pull(v, w) * downs
			sum, weight = sum+p*w.v, weight+p
		}
		if v.run != nil && v.run.n > 1 {
			sum, weight = sum+runPull*v.run.mean, weight+runPull
		}
		b := block{sum - weight*offset[i], weight, 1}
		for len(blocks) > 0 {
			last := blocks[len(blocks)-1]
			if last.sum/last.weight <= b.sum/b.weight {
				break
			}
			b.sum, b.weight, b.size = b.sum+last.sum, b.weight+last.weight, b.size+last.size
			blocks = blocks[:len(blocks)-1]
		}
		blocks = append(blocks, b)
	}
	i := 0
	for _, b := range blocks {
		for range int(b.size) {
			layer[i].v = b.sum/b.weight + offset[i]
			i++
		}
	}
}

// along gives layers their u, with more room between them where edges are steep.
func (l *layout) along() {
	u := 0.0
	for i, layer := range l.layers {
		thick := thickness(layer)
		if i > 0 {
			u += l.gap(i)
		}
		for _, v := range layer {
			v.u = u + thick/2
		}
		u += thick
	}
}

func thickness(layer []*vertex) float64 {
	t := 0.0
	for _, v := range layer {
		t = max(t, v.du)
	}
	return t
}

// gap is the room between layer i and the one before.
func (l *layout) gap(i int) float64 {
	steepest := 0.0
	for _, v := range l.layers[i] {
		for _, w := range v.up {
			steepest = max(steepest, math.Abs(v.v-w.v))
		}
	}
	least := gapLayers
	if l.labelled {
		least = gapLabels
	}
	return least + min(steepest*0.18, 70)
}

// extent is how much room the layout takes along u and v.
func (l *layout) extent() (along, across float64) {
	for _, layer := range l.layers {
		for _, v := range layer {
			along, across = max(along, v.u+v.du/2), max(across, v.v+v.after)
		}
	}
	for _, way := range l.lanes {
		along = max(along, way.right)
	}
	return along, across
}
