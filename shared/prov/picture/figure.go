package picture

import (
	"slices"

	"consort/shared/prov"
)

// look is how a sort of nodes is drawn.
type look struct {
	name   string // in the legend
	shape  shape
	fill   ink
	stroke ink
	dash   []float64
}

// Colours of W3C PROV for the three kinds, those of the IVOA for what its model adds; the borders are darker,
// to stand out from white.
var (
	lookEntity   = look{name: "entity", shape: shapeEllipse, fill: 0xFFFC87, stroke: 0x767600}
	lookActivity = look{name: "activity", shape: shapeBox, fill: 0x9FB1FC, stroke: 0x0000FF}
	lookAgent    = look{name: "agent", shape: shapeHouse, fill: 0xFED37F, stroke: 0x8A5500}
	lookBundle   = look{name: "bundle", shape: shapeFolder, fill: 0xF0F8FF, stroke: 0x3A5F95}

	ivoaLooks = map[sort]look{
		sortParameter:             {name: "parameter", shape: shapeNote, fill: 0x4CDD4C, stroke: 0x1E7A1E},
		sortConfig:                {name: "configuration file", shape: shapeCube, fill: 0x4CDD4C, stroke: 0x1E7A1E},
		sortDefinition:            {name: "activity description", shape: shapeBox, fill: 0xFF7C47, stroke: 0xA63A00},
		sortParameterDescription:  {name: "parameter description", shape: shapeNote, fill: 0xFF7C47, stroke: 0xA63A00},
		sortUsageDescription:      {name: "usage description", shape: shapeFunnel, fill: 0xFF7C47, stroke: 0xA63A00},
		sortGenerationDescription: {name: "generation description", shape: shapeTrapezium, fill: 0xFF7C47, stroke: 0xA63A00},
		sortConfigDescription:     {name: "configuration file description", shape: shapeCube, fill: 0xFF7C47, stroke: 0xA63A00},
		sortEntityDescription:     {name: "entity description", shape: shapeEllipse, fill: 0xFF7C47, stroke: 0xA63A00},
	}
)

// lookOf gives the look of a node in the model of the picture.
func (d *diagram) lookOf(n *node) look {
	l := lookEntity
	switch n.kind {
	case prov.Activity:
		l = lookActivity
	case prov.Agent:
		l = lookAgent
	}
	if n.sort == sortBundle {
		l = lookBundle
	}
	if special, ok := ivoaLooks[n.sort]; ok && d.model == ModelIVOA {
		l = special
	}
	switch {
	case len(n.merged) > 0:
		l.name, l.shape = "several "+plurals[n.kind], shapeStack
	case n.sort == sortRedacted:
		l.name, l.fill, l.stroke, l.dash = "redacted", 0xE2E2E2, grey, dotted
	case n.record == nil && n.sort != sortBundle:
		l.name, l.fill, l.stroke, l.dash = "not described here", 0xEEEEEE, grey, dashed
	}
	return l
}

var plurals = map[prov.Kind]string{prov.Entity: "entities", prov.Activity: "activities", prov.Agent: "agents"}

// caption is one line of text in a node.
type caption struct {
	text  string
	size  float64
	bold  bool
	ink   ink
	cross bool // a cross stands before it
}

const (
	widestLabel = 172.0
	widestNote  = 236.0
	noteLines   = 9
	crossWidth  = 11.0
	noteGap     = 7.0
	loopHeight  = 16.0
)

// figure is a node with its looks and dimensions.
type figure struct {
	*node
	look
	captions []caption
	w, h     float64 // of the shape
	note     []string
	nw, nh   float64 // of the note
	loops    []*edge // to itself
	x, y     float64 // middle of the shape
}

func (c *caption) height() float64 { return c.size + 3 }

func (c *caption) width() float64 {
	w := textWidth(c.text, c.size, c.bold)
	if c.cross {
		w += crossWidth
	}
	return w
}

// newFigure fits the texts of a node and sizes it.
func (d *diagram) newFigure(n *node, attributes bool) *figure {
	f := &figure{node: n, look: d.lookOf(n)}
	name, what := d.labels(n)
	if name == "" {
		name = n.id.String()
	}
	cut := fit
	if name == n.id.Local {
		cut = fitMiddle
	}
	f.captions = []caption{{text: cut(name, widestLabel, sizeLabel, true), size: sizeLabel, bold: true, ink: black}}
	if what != "" {
		f.captions = append(f.captions, caption{text: fitMiddleOfIDs(what), size: sizeSmall, ink: black})
	}
	for _, mark := range n.marks {
		f.captions = append(f.captions, caption{text: fit(mark, widestLabel-crossWidth, sizeSmall, true), size: sizeSmall, bold: true, ink: alarm, cross: true})
	}
	var w, h float64
	for i := range f.captions {
		w, h = max(w, f.captions[i].width()), h+f.captions[i].height()
	}
	f.w, f.h = f.shape.padding(max(w, 24), h)
	if attributes {
		f.addNote()
	}
	return f
}

// fitMiddleOfIDs cuts a second line; a single word is an identifier, and cut in its middle.
func fitMiddleOfIDs(s string) string {
	if slices.Contains([]byte(s), ' ') {
		return fit(s, widestLabel, sizeSmall, false)
	}
	return fitMiddle(s, widestLabel, sizeSmall, false)
}

func (f *figure) addNote() {
	for _, line := range f.attributes(noteLines, 120) {
		line = fit(line, widestNote, sizeSmall, false)
		f.note = append(f.note, line)
		f.nw = max(f.nw, textWidth(line, sizeSmall, false)+14)
	}
	f.nh = float64(len(f.note))*(sizeSmall+3) + 8
}

// box is the room that a figure takes in the layout.
func (f *figure) box(vertical bool) box {
	loop := 0.0
	if len(f.loops) > 0 {
		loop = loopHeight
	}
	b := box{f.w, f.h/2 + loop, f.h / 2}
	if vertical {
		b = box{f.h + 2*loop, f.w / 2, f.w / 2}
	}
	if f.note == nil {
		return b
	}
	if vertical {
		return box{max(b.du, f.nh), b.before, b.after + noteGap + f.nw}
	}
	return box{max(b.du, f.nw), b.before, b.after + noteGap + f.nh}
}

// group draws a figure where it has been placed.
func (f *figure) group(d *diagram, o *Options) group {
	g := group{role: roleNode, title: d.fullText(f.node), href: f.link(o)}
	if f.focus {
		for _, p := range f.shape.outline(f.x, f.y, f.w+9, f.h+9)[:1] {
			g.items = append(g.items, item{path: p, fill: none, stroke: halo, width: 3})
		}
	}
	border := f.border()
	for i, p := range f.shape.outline(f.x, f.y, f.w, f.h) {
		border.path, border.fill = p, none
		if i == 0 {
			border.fill = f.fill
		}
		g.items = append(g.items, border)
	}
	g.items = append(g.items, f.texts()...)
	if f.note != nil {
		g.items = append(g.items, f.noteItems(o.Direction.vertical())...)
	}
	return g
}

// border is how the outline is drawn: what did not succeed, or is no longer valid, stands out.
func (f *figure) border() item {
	b := item{stroke: f.stroke, width: 1.2, dash: f.dash}
	if len(f.marks) > 0 {
		b.stroke, b.width = alarm, 2
		if f.invalid {
			b.dash = dashed
		}
	}
	return b
}

func (f *figure) texts() []item {
	total := 0.0
	for i := range f.captions {
		total += f.captions[i].height()
	}
	var items []item
	y := f.y - total/2 + f.shape.sink()
	for i := range f.captions {
		c := &f.captions[i]
		y += c.height()
		it := item{text: c.text, at: point{f.x, y - c.size*0.28}, size: c.size, bold: c.bold, fill: c.ink, anchor: middle}
		if c.cross {
			left, baseline := f.x-c.width()/2, it.at.y
			it.at.x, it.anchor = left+crossWidth, start
			for _, p := range []path{fold(left, baseline-7, left+6, baseline-1), fold(left, baseline-1, left+6, baseline-7)} {
				items = append(items, item{path: p, fill: none, stroke: c.ink, width: 1.8})
			}
		}
		items = append(items, it)
	}
	return items
}

// noteItems draws the note with the attributes, below the shape or to its right, on a dashed line.
func (f *figure) noteItems(vertical bool) []item {
	x, y := f.x, f.y+f.h/2+noteGap+f.nh/2
	tie := fold(f.x, f.y+f.h/2, f.x, y-f.nh/2)
	if vertical {
		x, y = f.x+f.w/2+noteGap+f.nw/2, f.y
		tie = fold(f.x+f.w/2, f.y, x-f.nw/2, f.y)
	}
	items := []item{{path: tie, fill: none, stroke: grey, width: 1, dash: dotted}}
	for i, p := range shapeBox.outline(x, y, f.nw, f.nh) {
		fill := none
		if i == 0 {
			fill = 0xF4F4F4
		}
		items = append(items, item{path: p, fill: fill, stroke: 0x9A9A9A, width: 0.8})
	}
	for i, line := range f.note {
		at := point{x - f.nw/2 + 7, y - f.nh/2 + 4 + float64(i+1)*(sizeSmall+3) - 3}
		items = append(items, item{text: line, at: at, size: sizeSmall, fill: black})
	}
	return items
}
