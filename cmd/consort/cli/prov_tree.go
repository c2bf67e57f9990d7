package cli

import (
	"cmp"
	"fmt"
	"strings"

	"consort/shared/userapi"
)

// treeStyle is the characters of a tree: before a node with and without others after it, and before what is below.
type treeStyle struct{ fork, last, line, gap string }

var (
	unicodeStyle = treeStyle{"├─ ", "└─ ", "│  ", "   "}
	asciiStyle   = treeStyle{"+- ", "`- ", "|  ", "   "}
)

// maxIndent is how deep the tree is drawn; below, lines stay where they are.
const maxIndent = 40

// lineageTree draws a lineage as text.
type lineageTree struct {
	lineage *userapi.Lineage
	style   treeStyle
	width   int // of the terminal; 0: any

	nodes    map[string]userapi.ProvNode
	from, to map[string][]userapi.ProvEdge
	told     map[string]bool
	out      strings.Builder
}

// branch is a node as it hangs below another.
type branch struct{ id, relation string }

func (t *lineageTree) draw(roots []string, direction string) string {
	t.nodes, t.from, t.to = map[string]userapi.ProvNode{}, map[string][]userapi.ProvEdge{}, map[string][]userapi.ProvEdge{}
	for _, n := range t.lineage.Nodes {
		t.nodes[n.ID] = n
	}
	for _, e := range t.lineage.Edges {
		t.from[e.From] = append(t.from[e.From], e)
		t.to[e.To] = append(t.to[e.To], e)
	}
	headings := map[string]string{"back": "", "forth": ""}
	if direction == "both" {
		headings = map[string]string{"back": "Made from:\n", "forth": "\nUsed for:\n"}
	}
	for _, way := range []string{"back", "forth"} {
		if direction != way && direction != "both" {
			continue
		}
		t.out.WriteString(headings[way])
		t.told = map[string]bool{}
		for _, root := range roots {
			if !t.told[root] {
				t.node(branch{id: root}, way == "back", "", "", "", 0)
			}
		}
	}
	return t.out.String()
}

// node writes a node with what is below it.
func (t *lineageTree) node(b branch, back bool, lead, ownLead, below string, depth int) {
	again := t.told[b.id]
	t.told[b.id] = true
	text := t.describe(b)
	children := t.children(b.id, back)
	if again && len(children) > 0 {
		text += " (told above)"
	}
	t.out.WriteString(clip(lead+ownLead+cell(text), t.width) + "\n")
	if again {
		return
	}
	if depth < maxIndent {
		lead += below
	}
	for i, child := range children {
		own, next := t.style.fork, t.style.line
		if i == len(children)-1 {
			own, next = t.style.last, t.style.gap
		}
		t.node(child, back, lead, own, next, depth+1)
	}
}

// children are the causes of a node, or its effects.
func (t *lineageTree) children(id string, back bool) []branch {
	along, against := t.to[id], t.from[id]
	if back {
		along, against = against, along
	}
	var list []branch
	add := func(edges []userapi.ProvEdge, wanted func(relation string) bool) {
		for _, e := range edges {
			if !wanted(e.Relation) {
				continue
			}
			other := e.To
			if other == id {
				other = e.From
			}
			list = append(list, branch{other, relationText(e, other == e.To)})
		}
	}
	// What a collection comes from its files do, and who used a file of it used the collection; equal content has no
	// direction.
	add(along, func(relation string) bool { return relation != "hadMember" })
	add(against, func(relation string) bool { return relation == "hadMember" || relation == "sameContent" })
	return list
}

func relationText(e userapi.ProvEdge, toCause bool) string {
	switch e.Relation {
	case "used":
		return "as " + e.Role
	case "sameContent":
		return "same content"
	case "cachedFrom":
		return "took over"
	case "hadMember":
		if toCause {
			return "file of it"
		}
		return "in collection"
	}
	return ""
}

func (t *lineageTree) describe(b branch) string {
	n, ok := t.nodes[b.id]
	if !ok {
		return with(b.relation, b.id)
	}
	switch {
	case n.Job != nil:
		return with(b.relation, jobText(n.Job))
	case n.File != nil:
		return with(b.relation, fileText(n.ID, n.File))
	case strings.HasPrefix(n.ID, "job:"):
		return with(b.relation, "a job that you may not read")
	}
	return with(b.relation, "a file that you may not read")
}

func with(relation, text string) string {
	if relation == "" || relation == "as " {
		return text
	}
	return relation + ": " + text
}

func jobText(j *userapi.ProvJob) string {
	text := "job " + j.ID
	for _, part := range []string{strings.TrimSpace(j.Definition + " " + j.Version), j.Phase, j.Site, timeText(j.Created), j.Owner} {
		if part != "" {
			text += ", " + part
		}
	}
	if j.Deleted {
		text += ", deleted"
	}
	return text
}

func fileText(id string, f *userapi.ProvFile) string {
	name := cmp.Or(f.Name, f.Result, f.URL, id)
	var facts []string
	if f.Result != "" && f.Result != name {
		facts = append(facts, "result "+f.Result)
	}
	switch {
	case f.Job != "":
	case f.URL != "":
		facts = append(facts, f.URL)
	default:
		facts = append(facts, "uploaded")
	}
	if f.SHA256 != "" {
		facts = append(facts, bytesText(f.Size), "sha256 "+f.SHA256[:min(12, len(f.SHA256))])
	}
	if n := len(f.SameAs); n > 0 {
		facts = append(facts, fmt.Sprintf("same content as %s", f.SameAs[0]))
	}
	text := name
	if len(facts) > 0 {
		text += " (" + strings.Join(facts, ", ") + ")"
	}
	if f.Retracted != nil {
		text += " RETRACTED: " + f.Retracted.Reason
	}
	return text
}
