package picture

import "math"

// scene is a picture as plain geometry, in pixels from the top left corner. What comes later lies on top.
type scene struct {
	w, h        float64
	title, desc string
	groups      []group
}

// group is what belongs together: a node, the edges of one track, a part of the legend.
type group struct {
	role  role
	href  string // the node is a link
	title string // full text, shown when pointed at
	items []item
}

// role is what a group is for readers who do not see it.
type role uint8

const (
	roleFrame role = iota // said by title and description of the picture
	roleEdge
	roleNode
)

// item is a shape, or a text if text is not empty.
type item struct {
	path   path
	fill   ink
	stroke ink
	width  float64
	dash   []float64

	text   string
	at     point // of the baseline
	size   float64
	bold   bool
	anchor anchor
}

type anchor uint8

const (
	start anchor = iota
	middle
)

// ink is a colour as 0xRRGGBB, or none.
type ink int32

const (
	none  ink = -1
	white ink = 0xFFFFFF
	black ink = 0x1A1A1A
	grey  ink = 0x5A5A5A
	alarm ink = 0x8B0014
	halo  ink = 0x0B57D0
)

type point struct{ x, y float64 }

// step is one command of a path with its points: 'M' and 'L' one, 'C' three, 'Z' none.
type step struct {
	op byte
	p  [3]point
}

type path []step

func (p *path) move(x, y float64) { *p = append(*p, step{op: 'M', p: [3]point{{x, y}}}) }
func (p *path) line(x, y float64) { *p = append(*p, step{op: 'L', p: [3]point{{x, y}}}) }
func (p *path) curve(a, b, c point) {
	*p = append(*p, step{op: 'C', p: [3]point{a, b, c}})
}
func (p *path) close() { *p = append(*p, step{op: 'Z'}) }

// points gives the points of a step that are used.
func (s *step) points() []point {
	switch s.op {
	case 'C':
		return s.p[:]
	case 'Z':
		return nil
	}
	return s.p[:1]
}

// polygon is a closed path through points given as x, y, x, y.
func polygon(xy ...float64) path {
	var p path
	p.move(xy[0], xy[1])
	for i := 2; i < len(xy); i += 2 {
		p.line(xy[i], xy[i+1])
	}
	p.close()
	return p
}

// kappa makes a cubic curve a quarter of a circle.
const kappa = 0.5522847498

func ellipse(x, y, rx, ry float64) path {
	var p path
	kx, ky := rx*kappa, ry*kappa
	p.move(x+rx, y)
	p.curve(point{x + rx, y + ky}, point{x + kx, y + ry}, point{x, y + ry})
	p.curve(point{x - kx, y + ry}, point{x - rx, y + ky}, point{x - rx, y})
	p.curve(point{x - rx, y - ky}, point{x - kx, y - ry}, point{x, y - ry})
	p.curve(point{x + kx, y - ry}, point{x + rx, y - ky}, point{x + rx, y})
	p.close()
	return p
}

// shape is the outline of a node.
type shape uint8

const (
	shapeEllipse shape = iota
	shapeBox
	shapeHouse
	shapeNote
	shapeCube
	shapeTrapezium // wide below
	shapeFunnel    // wide above
	shapeFolder
	shapeStack // several nodes
)

const (
	roof  = 9.0 // height of a house's roof, of a folder's tab, a note's fold and a cube's depth
	slant = 12.0
)

// outline gives the paths of a shape of width w and height h around (x, y); the first is filled.
func (s shape) outline(x, y, w, h float64) []path {
	l, r, t, b := x-w/2, x+w/2, y-h/2, y+h/2
	switch s {
	case shapeEllipse:
		return []path{ellipse(x, y, w/2, h/2)}
	case shapeHouse:
		return []path{polygon(x, t, r, t+roof, r, b, l, b, l, t+roof)}
	case shapeNote:
		return []path{polygon(l, t, r-roof, t, r, t+roof, r, b, l, b), fold(r-roof, t, r-roof, t+roof, r, t+roof)}
	case shapeCube:
		d := roof / 2
		return []path{polygon(l, t+d, l+d, t, r, t, r, b-d, r-d, b, l, b), fold(l, t+d, r-d, t+d, r-d, b), fold(r-d, t+d, r, t)}
	case shapeTrapezium:
		return []path{polygon(l+slant, t, r-slant, t, r, b, l, b)}
	case shapeFunnel:
		return []path{polygon(l, t, r, t, r-slant, b, l+slant, b)}
	case shapeFolder:
		return []path{polygon(l, t, l+w/3, t, l+w/3+roof, t+roof, r, t+roof, r, b, l, b)}
	case shapeStack:
		return []path{polygon(l, t, r-6, t, r-6, t+3, r-3, t+3, r-3, t+6, r, t+6, r, b, l+6, b, l+6, b-3, l+3, b-3, l+3, b-6, l, b-6),
			fold(l+3, b-6, r-6, b-6, r-6, t+3), fold(l+6, b-3, r-3, b-3, r-3, t+6)}
	}
	return []path{polygon(l, t, r, t, r, b, l, b)}
}

// fold is an open path through points given as x, y, x, y.
func fold(xy ...float64) path {
	p := polygon(xy...)
	return p[:len(p)-1]
}

// padding is how much larger than its text, of size w by h, a shape is.
func (s shape) padding(w, h float64) (float64, float64) {
	switch s {
	case shapeEllipse: // the corners of the text lie within the ellipse
		height := h + 18
		q := h / height
		return w/math.Sqrt(1-q*q) + 10, height
	case shapeHouse:
		return w + 20, h + 12 + roof
	case shapeTrapezium, shapeFunnel:
		return w + 2*slant + 8, h + 12
	case shapeFolder:
		return w + 18, h + 12 + roof
	case shapeNote:
		return w + 14 + roof, h + 14
	}
	return w + 22, h + 14
}

// sink is how far below its middle a shape has its text.
func (s shape) sink() float64 {
	if s == shapeHouse || s == shapeFolder {
		return roof / 2
	}
	return 0
}

// reach is how far an edge that comes along an axis, off the middle by o, ends from the middle of the shape.
// The axis is x or y, before tells that it comes from the smaller side.
func (s shape) reach(w, h, o float64, vertical, before bool) float64 {
	along, across := w/2, h/2
	if vertical {
		along, across = across, along
	}
	q := min(math.Abs(o)/across, 1)
	switch {
	case s == shapeEllipse:
		return along * math.Sqrt(1-q*q)
	case s == shapeHouse && vertical && before:
		return along - roof*q
	case (s == shapeTrapezium || s == shapeFunnel) && !vertical:
		wide := o / h // -1/2 at the top
		if s == shapeFunnel {
			wide = -wide
		}
		return along - slant*(0.5-wide)
	case s == shapeFolder && vertical && before && o > -w/6:
		return along - roof
	}
	return along
}
