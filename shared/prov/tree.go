package prov

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode"
)

// TreeOptions change how Tree draws.
type TreeOptions struct {
	// ASCII draws with |, + and - and replaces every other character; else the box drawing of Unicode is
	// used.
	ASCII bool
	// Depth is how many activities are followed back; 0 means 100.
	Depth int
}

// Tree writes where an entity came from, as a text tree for people: the activity that made it, by whom,
// where and with which parameters, the inputs it used with their SHA-256, and so on back. The root may also
// be an activity. Each node is told once. Text from records is shown without control characters. A root that
// the graph does not have is an ErrNotFound.
func Tree(w io.Writer, g *Graph, root QName, options TreeOptions) error {
	if options.Depth <= 0 {
		options.Depth = 100
	}
	t := &tree{out: bufio.NewWriter(w), lines: lineage(g), options: options, told: map[QName]bool{}}
	if _, ok := g.Get(Entity, root); ok {
		t.entity(branch{}, "", root, 0)
	} else if _, ok := g.Get(Activity, root); ok {
		t.activity(branch{}, "", root, 0)
	} else {
		return fmt.Errorf("drawing %s: %w", root, ErrNotFound)
	}
	if err := t.out.Flush(); err != nil {
		return fmt.Errorf("drawing %s: %w", root, err)
	}
	return nil
}

// edges finds the relations of a graph by the node that they go back from.
type edges struct {
	g          *Graph
	generation map[QName]*Record   // by entity
	usage      map[QName][]*Record // by activity
	derivation map[QName][]*Record // by generated entity
	config     map[QName][]*Record // influences of parameters, by activity
	agents     map[QName][]*Record // associations, by activity
	programs   map[QName][]QName   // software, by the attempt that ran with it
	parts      map[QName][]QName   // attempts and transfers, by the activity they are part of
	members    map[QName]int       // number of members, by collection
	collection map[QName]QName     // by member
	ends       map[QName][]*Record // invalidations, by entity
}

func lineage(g *Graph) *edges {
	e := &edges{
		g: g, generation: map[QName]*Record{}, usage: map[QName][]*Record{}, derivation: map[QName][]*Record{},
		config: map[QName][]*Record{}, agents: map[QName][]*Record{}, parts: map[QName][]QName{}, programs: map[QName][]QName{},
		members: map[QName]int{}, collection: map[QName]QName{}, ends: map[QName][]*Record{},
	}
	for r := range g.All() {
		from, to := r.Ref(0), r.Ref(1)
		switch r.Kind {
		case Generation:
			e.generation[from] = r
		case Usage:
			e.usage[from] = append(e.usage[from], r)
		case Derivation:
			e.derivation[from] = append(e.derivation[from], r)
		case Association:
			e.agents[from] = append(e.agents[from], r)
		case Invalidation:
			e.ends[from] = append(e.ends[from], r)
		case Membership:
			e.members[from]++
			e.collection[to] = from
		case Communication:
			if r.HasType(typePartOf) {
				e.parts[to] = append(e.parts[to], from)
			}
		case Influence:
			if r.HasType(typeConfigured) {
				e.config[from] = append(e.config[from], r)
			}
			if r.HasType(typeRelated) {
				e.programs[from] = append(e.programs[from], to)
			}
		}
	}
	return e
}

type tree struct {
	out     *bufio.Writer
	lines   *edges
	options TreeOptions
	told    map[QName]bool
}

// branch is the drawing in front of a line: first before the node itself, rest before what hangs under it.
type branch struct{ first, rest string }

// under gives the branch of the child at place i of n.
func (t *tree) under(b branch, i, n int) branch {
	fork, bar, corner := "├─ ", "│  ", "└─ "
	if t.options.ASCII {
		fork, bar, corner = "|- ", "|  ", "`- "
	}
	if i == n-1 {
		return branch{b.rest + corner, b.rest + "   "}
	}
	return branch{b.rest + fork, b.rest + bar}
}

func (t *tree) line(prefix string, parts ...string) {
	parts = slices.DeleteFunc(parts, func(s string) bool { return s == "" })
	t.out.WriteString(prefix)
	t.out.WriteString(t.printable(strings.Join(parts, "  ")))
	t.out.WriteByte('\n')
}

// printable makes text from records harmless for a terminal.
func (t *tree) printable(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case t.options.ASCII && r == '…':
			return '~'
		case t.options.ASCII && r > '~':
			return '?'
		case r == '\n' || r == '\t':
			return ' '
		case !unicode.IsPrint(r):
			return '\uFFFD'
		}
		return r
	}, s)
}

// entity tells of an entity and of what made it.
func (t *tree) entity(b branch, label string, id QName, depth int) {
	r, ok := t.lines.g.Get(Entity, id)
	if !ok {
		t.line(b.first, label, id.String(), "(not in this record)")
		return
	}
	if t.told[id] {
		t.line(b.first, label, attrText(r, nameLabel), id.String(), "(see above)")
		return
	}
	t.told[id] = true
	var about []string
	if s := attrText(r, nameLocation); s != "" {
		about = append(about, s)
	}
	if s := attrText(r, voprovTerm("contentType")); s != "" {
		about = append(about, s)
	}
	if s := attrText(r, nameBytes); s != "" {
		about = append(about, s+" bytes")
	}
	if n := t.lines.members[id]; n > 0 {
		about = append(about, fmt.Sprintf("%d files", n))
	}
	t.line(b.first, label, attrText(r, nameLabel), strings.Join(about, ", "), id.String())

	children := append(t.notes(id), t.origins(id, depth)...)
	if sha := attrText(r, nameSHA256); sha != "" {
		bar := b.rest + "   "
		if len(children) > 0 {
			bar = t.under(b, 0, 2).rest
		}
		t.line(bar, "sha256 "+sha)
	}
	t.children(b, children)
}

// notes tell why an entity is not to be relied on, or not there any more.
func (t *tree) notes(id QName) []child {
	var notes []child
	for _, end := range t.lines.ends[id] {
		text := "gone"
		if end.HasType(typeRetraction) {
			text = "RETRACTED"
		}
		if !end.Time.IsZero() {
			text += " " + end.Time.Format(timeLayout) + " UTC"
		}
		for _, a := range t.lines.agents[end.Ref(1)] {
			if by, ok := t.lines.g.Get(Agent, a.Ref(1)); ok {
				text += " by " + attrText(by, nameName)
			}
		}
		if reason := attrText(end, nameReason); reason != "" {
			text += ": " + reason
		}
		notes = append(notes, func(b branch) { t.line(b.first, text) })
	}
	return notes
}

// child draws one node under a branch.
type child func(b branch)

func (t *tree) children(b branch, children []child) {
	for i, draw := range children {
		draw(t.under(b, i, len(children)))
	}
}

// origins lists what an entity comes from: the activity that made it, else the entities that it derives
// from, and for a member the collection.
func (t *tree) origins(id QName, depth int) []child {
	var children []child
	if gen := t.lines.generation[id]; gen != nil && !gen.Ref(1).IsZero() {
		children = append(children, func(b branch) { t.activity(b, "made by", gen.Ref(1), depth) })
	} else {
		for _, d := range t.lines.derivation[id] {
			children = append(children, func(b branch) { t.entity(b, "derived from", d.Ref(1), depth+1) })
		}
	}
	if c, ok := t.lines.collection[id]; ok {
		children = append(children, func(b branch) { t.entity(b, "member of", c, depth+1) })
	}
	if len(children) > 0 && depth >= t.options.Depth {
		return []child{func(b branch) { t.line(b.first, "… and further back") }}
	}
	return children
}

// activity tells of an activity: who and where, with which parameters, from which inputs.
func (t *tree) activity(b branch, label string, id QName, depth int) {
	r, ok := t.lines.g.Get(Activity, id)
	if !ok {
		t.line(b.first, label, id.String(), "(not in this record)")
		return
	}
	if t.told[id] {
		t.line(b.first, label, attrText(r, nameLabel), "(see above)")
		return
	}
	t.told[id] = true
	t.line(b.first, label, t.activityName(r), attrText(r, namePhase), period(r), id.String())
	var children []child
	say := func(parts ...string) {
		children = append(children, func(b branch) { t.line(b.first, parts...) })
	}
	if text := failure(r); text != "" {
		say("error", text)
	}
	for _, part := range t.lines.parts[id] {
		if a, ok := t.lines.g.Get(Activity, part); ok && a.HasType(typeAttempt) {
			say(attemptLine(a))
			if text := t.lines.ranWith(part); text != "" {
				say("ran with", text)
			}
		}
	}
	for _, a := range t.lines.agents[id] {
		if agent, ok := t.lines.g.Get(Agent, a.Ref(1)); ok && attrText(a, nameRole) == "Creator" {
			say("for", attrText(agent, nameName))
		}
	}
	for _, c := range t.lines.config[id] {
		if p, ok := t.lines.g.Get(Entity, c.Ref(1)); ok {
			say("with", parameterLine(p))
		}
	}
	for _, a := range r.Attrs {
		q, ok := a.Value.QName()
		switch {
		case ok && a.Name == nameWanted:
			children = append(children, func(b branch) { t.entity(b, "wanted:", q, depth+1) })
		case ok && a.Name == typeCachedFrom && depth < t.options.Depth:
			children = append(children, func(b branch) { t.activity(b, "took over the results of", q, depth+1) })
		}
	}
	for _, u := range t.lines.usage[id] {
		children = append(children, func(b branch) { t.entity(b, "used "+attrText(u, nameRole)+":", u.Ref(1), depth+1) })
	}
	t.children(b, children)
}

// activityName is the plan an activity followed, else its own label.
func (t *tree) activityName(r *Record) string {
	for _, a := range t.lines.agents[r.ID] {
		if plan, ok := t.lines.g.Get(Entity, a.Ref(2)); ok {
			return attrText(plan, nameLabel)
		}
	}
	return attrText(r, nameLabel)
}

// timeLayout is how the tree writes times, all of UTC.
const timeLayout = "2006-01-02 15:04:05"

func period(r *Record) string {
	switch {
	case r.Time.IsZero() && r.End.IsZero():
		return ""
	case r.Time.IsZero():
		return "ended " + r.End.Format(timeLayout) + " UTC"
	case r.End.IsZero():
		return "since " + r.Time.Format(timeLayout) + " UTC"
	}
	return fmt.Sprintf("%s UTC, %.3g s", r.Time.Format(timeLayout), r.End.Sub(r.Time).Seconds())
}

func failure(r *Record) string {
	class, message := attrText(r, nameClass), attrText(r, nameError)
	if class != "" && message != "" {
		return class + ": " + message
	}
	return class + message
}

// attemptLine tells of an attempt: where it ran and how it ended.
func attemptLine(a *Record) string {
	text := attrText(a, nameLabel)
	for _, f := range []struct{ before, name string }{{" at ", "site"}, {", ", "batchSystem"}, {" ", "batchId"}, {" on ", "node"}, {": ", "outcome"}, {", exit ", "exitCode"}} {
		if s := attrText(a, fedTerm(f.name)); s != "" {
			text += f.before + s
		}
	}
	if s := failure(a); s != "" {
		text += ", " + s
	}
	return text
}

// ranWith lists the programs of an attempt with their versions.
func (e *edges) ranWith(attempt QName) string {
	var all []string
	for _, id := range e.programs[attempt] {
		if p, ok := e.g.Get(Entity, id); ok && p.HasType(typeSoftware) {
			all = append(all, attrText(p, nameLabel))
		}
	}
	return strings.Join(all, ", ")
}

// parameterLine tells name and values of a parameter, or name and content of a configuration file.
func parameterLine(p *Record) string {
	if p.HasType(typeConfigFile) {
		text := attrText(p, nameName)
		if sha := attrText(p, nameSHA256); sha != "" {
			text += "  sha256 " + sha
		}
		return text
	}
	var values []string
	for _, a := range p.Attrs {
		if a.Name == voprovTerm("value") {
			values = append(values, shorten(a.Value.text))
		}
	}
	text := attrText(p, nameName) + " = " + strings.Join(values, ", ")
	if v, ok := p.Attr(nameSecret); ok && v == Boolean(true) {
		text = attrText(p, nameName) + " (secret)"
	}
	if v, ok := p.Attr(namePrivate); ok && v == Boolean(true) {
		text = attrText(p, nameName) + " (private)"
	}
	if v, ok := p.Attr(nameDefault); ok && v == Boolean(true) {
		text += " (default)"
	}
	return text
}

// attrText is the first value of an attribute, short enough for a line.
func attrText(r *Record, name QName) string {
	v, _ := r.Attr(name)
	return shorten(v.text)
}

// shorten cuts a text to 100 characters.
func shorten(s string) string {
	count := 0
	for i := range s {
		if count++; count > 100 {
			return s[:i] + "…"
		}
	}
	return s
}
