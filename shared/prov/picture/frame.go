package picture

import (
	"fmt"
	"slices"
	"strings"
)

const (
	narrowest   = 560.0 // of the whole picture
	legendText  = sizeSmall
	legendLine  = 22.0
	describedIn = 100 // relations told in the description
)

// frame puts title, notes and legend around what has been drawn, and the room that they need.
func (s *scene) frame(d *diagram, o *Options, figures []*figure, left omission) {
	width := max(s.w, narrowest-2*margin)
	head := group{}
	y := margin
	write := func(text string, size float64, bold bool, color ink) {
		y += size
		head.items = append(head.items, item{text: fit(text, width, size, bold), at: point{margin, y}, size: size, bold: bold, fill: color})
		y += 6
	}
	s.title = plain(clip(o.Title, 200))
	if s.title != "" {
		write(s.title, sizeTitle, true, black)
	}
	lines := summary(d, left)
	for _, line := range lines {
		write(line, sizeSmall, false, grey)
	}
	if s.title == "" {
		s.title = "Provenance graph"
	}
	y += 12
	dx := margin
	if s.w < width {
		dx += (width - s.w) / 2
	}
	s.shift(dx, y)
	y += s.h + 18
	legend, height := legend(d, figures, width)
	legend.shift(margin, y)
	s.groups = append(s.groups, head, legend)
	s.w, s.h = width+2*margin, y+height+margin/2
	s.desc = describe(d, lines)
}

// summary says what the picture shows and what it does not.
func summary(d *diagram, left omission) []string {
	if left.total == 0 {
		return []string{"The graph is empty."}
	}
	lines := []string{fmt.Sprintf("%s, %s. Edges point from effect to cause.", count(len(d.nodes), "node"), count(len(d.edges), "relation"))}
	if shown := left.total - left.elements; shown > len(d.nodes) {
		lines = append(lines, fmt.Sprintf("Groups have collapsed: %d elements are shown as %s.", shown, count(len(d.nodes), "node")))
	}
	if left.elements > 0 {
		lines = append(lines, fmt.Sprintf("Left out: %s of %d, those farthest from the nodes asked for.", count(left.elements, "element"), left.total))
	}
	if left.relations > 0 {
		lines = append(lines, fmt.Sprintf("Left out: %s more between the nodes shown.", count(left.relations, "relation")))
	}
	return lines
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// describe tells the picture in words.
func describe(d *diagram, lines []string) string {
	told := slices.Clone(lines)
	for i, e := range d.edges {
		if i == describedIn {
			told = append(told, fmt.Sprintf("And %d more relations.", len(d.edges)-i))
			break
		}
		told = append(told, d.edgeText(e)+".")
	}
	return strings.Join(told, "\n")
}

func (s *scene) shift(dx, dy float64) {
	for i := range s.groups {
		s.groups[i].shift(dx, dy)
	}
}

func (g *group) shift(dx, dy float64) {
	for i := range g.items {
		it := &g.items[i]
		it.at.x, it.at.y = it.at.x+dx, it.at.y+dy
		for k := range it.path {
			for j := range it.path[k].p {
				p := &it.path[k].p[j]
				p.x, p.y = p.x+dx, p.y+dy
			}
		}
	}
}

// entry is a sample in the legend with what it means.
type entry struct {
	name  string
	items []item
	width float64 // of the sample
}

// legend explains the shapes and lines that occur, in rows of a width, and gives its height.
func legend(d *diagram, figures []*figure, width float64) (group, float64) {
	g := group{}
	x, y := 0.0, legendLine/2
	place := func(e entry) {
		w := e.width + 6 + textWidth(e.name, legendText, false)
		if x > 0 && x+w > width {
			x, y = 0, y+legendLine
		}
		sample := group{items: e.items}
		sample.shift(x, y)
		g.items = append(g.items, sample.items...)
		g.items = append(g.items, item{text: e.name, at: point{x + e.width + 6, y + 3.5}, size: legendText, fill: black})
		x += w + 18
	}
	for _, e := range nodeEntries(figures) {
		place(e)
	}
	if relations := relationEntries(d); len(relations) > 0 {
		x, y = 0, y+legendLine
		for _, e := range relations {
			place(e)
		}
	}
	if len(g.items) == 0 {
		return g, 0
	}
	return g, y + legendLine/2
}

func nodeEntries(figures []*figure) []entry {
	var entries []entry
	known := map[string]bool{}
	add := func(name string, items ...item) {
		if !known[name] {
			known[name] = true
			entries = append(entries, entry{name, items, 30})
		}
	}
	var failed, invalid, focus bool
	for _, f := range figures {
		var items []item
		for i, p := range f.shape.outline(15, 0, 30, 16+f.shape.sink()) {
			it := item{path: p, fill: none, stroke: f.stroke, width: 1.2, dash: f.dash}
			if i == 0 {
				it.fill = f.fill
			}
			items = append(items, it)
		}
		add(f.name, items...)
		focus = focus || f.focus
		failed = failed || len(f.marks) > 0 && !f.invalid
		invalid = invalid || f.invalid
	}
	for _, mark := range []struct {
		shown bool
		name  string
		item
	}{
		{failed, "did not succeed", item{path: shapeBox.outline(15, 0, 30, 14)[0], fill: none, stroke: alarm, width: 2}},
		{invalid, "invalidated", item{path: shapeEllipse.outline(15, 0, 30, 14)[0], fill: none, stroke: alarm, width: 2, dash: dashed}},
		{focus, "asked for", item{path: shapeBox.outline(15, 0, 30, 14)[0], fill: none, stroke: halo, width: 3}},
	} {
		if mark.shown {
			add(mark.name, mark.item)
		}
	}
	return entries
}

func relationEntries(d *diagram) []entry {
	var used [relationCount]bool
	for _, e := range d.edges {
		used[e.rel] = true
	}
	var entries []entry
	for rel, s := range strokes {
		if used[rel] {
			entries = append(entries, entry{s.name, []item{
				{path: fold(0, 0, 30-arrowLength+1, 0), fill: none, stroke: s.ink, width: 1.3, dash: s.dash},
				{path: polygon(30, 0, 30-arrowLength, -arrowWidth, 30-arrowLength, arrowWidth), fill: s.ink, stroke: none},
			}, 30})
		}
	}
	return entries
}
