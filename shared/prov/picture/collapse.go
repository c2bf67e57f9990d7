package picture

import (
	"cmp"
	"fmt"
	"slices"

	"consort/shared/prov"
)

// grouping is one way of making a diagram smaller: nodes for which by gives the same key become one.
type grouping struct {
	noun string // of the plural, after a number
	by   func(*node) *node
}

// sorted groups nodes of some sorts by their owner.
func sorted(sorts ...sort) func(*node) *node {
	return func(n *node) *node {
		if slices.Contains(sorts, n.sort) {
			return n.owner
		}
		return nil
	}
}

// rooted groups nodes of some sorts by their outermost owner.
func rooted(sorts ...sort) func(*node) *node {
	return func(n *node) *node {
		if slices.Contains(sorts, n.sort) {
			return n.root()
		}
		return nil
	}
}

// groupings are tried in this order, the least telling nodes first.
var groupings = []grouping{
	{"contents", rooted(sortContent)},
	{"descriptions", rooted(sortParameterDescription, sortUsageDescription, sortGenerationDescription, sortConfigDescription, sortEntityDescription)},
	{"programs", sorted(sortSoftware)},
	{"transfers", rooted(sortTransfer)},
	{"copies", rooted(sortReplica)},
	{"parameters", sorted(sortParameter)},
	{"configuration files", sorted(sortConfig)},
	{"members", sorted(sortMember)},
	{"logs", sorted(sortLog)},
	{"attempts", sorted(sortAttempt)},
	{"results", func(n *node) *node {
		if n.made {
			return n.owner
		}
		return nil
	}},
	{"inputs", func(n *node) *node {
		if n.kind == prov.Entity && n.owner != nil && n.owner.kind == prov.Activity && !n.made && n.sort == sortDataset {
			return n.owner
		}
		return nil
	}},
	{ofOneJob, func(n *node) *node {
		if r := n.root(); r.kind == prov.Activity {
			return r
		}
		return nil
	}},
	{noun: alike},
	{"agents", func(n *node) *node {
		if n.kind == prov.Agent {
			return everything
		}
		return nil
	}},
	{noun: alike},
	{"entities of other origin", func(n *node) *node {
		if n.kind == prov.Entity && n.owner == nil {
			return everything
		}
		return nil
	}},
}

// Two groupings are named otherwise than by a number and a noun: all that belongs to a job, and twins.
const (
	ofOneJob = "parts"
	alike    = "alike"
)

// everything is the key under which nodes without a common owner come together.
var everything = &node{}

// collapse makes groups until there are at most so many nodes, or no group is left to be made.
func (d *diagram) collapse(most int) {
	defer d.followMerged()
	for i := range groupings {
		if len(d.nodes) <= most {
			return
		}
		if how := &groupings[i]; how.noun == alike {
			d.mergeTwins()
		} else {
			d.group(how)
		}
	}
}

// mergeTwins makes one node of nodes of one name that the same edges join to the same nodes, such as the jobs
// of a survey.
func (d *diagram) mergeTwins() {
	d.followMerged()
	edges := map[*node][]string{}
	for i, n := range d.nodes {
		n.n = i
	}
	for _, e := range d.edges {
		edges[e.from] = append(edges[e.from], fmt.Sprint(e.rel, ">", e.to.n))
		edges[e.to] = append(edges[e.to], fmt.Sprint(e.rel, "<", e.from.n))
	}
	twins := map[string]*node{}
	d.group(&grouping{alike, func(n *node) *node {
		slices.Sort(edges[n])
		name, _ := d.labels(n)
		key := fmt.Sprint(name, "\x00", n.sort, n.marks, edges[n])
		if twins[key] == nil {
			twins[key] = n
		}
		return twins[key]
	}})
}

// groupKey keeps apart what a reader wants to tell apart: what failed from what did not.
type groupKey struct {
	by     *node
	kind   prov.Kind
	failed bool
}

// group makes one node of all nodes with the same key, if there are two of them.
func (d *diagram) group(how *grouping) {
	members := map[groupKey][]*node{}
	var keys []groupKey
	for _, n := range d.nodes {
		by := how.by(n)
		if by == nil || n.focus || n.into != nil {
			continue
		}
		k := groupKey{by, n.kind, n.kind == prov.Activity && len(n.marks) > 0}
		if how.noun == ofOneJob {
			k = groupKey{by: by, kind: prov.Activity}
		}
		if members[k] == nil {
			keys = append(keys, k)
		}
		members[k] = append(members[k], n)
	}
	for _, k := range keys {
		if len(members[k]) > 1 {
			d.merge(k, members[k], how.noun)
		}
	}
	d.forgetMerged()
}

// merge makes one node of several. Groups among them give up their members.
func (d *diagram) merge(k groupKey, members []*node, noun string) {
	first := members[0]
	g := &node{id: prov.QName{Prefix: "group", Local: noun}, kind: k.kind, sort: first.sort, owner: first.owner, made: first.made}
	switch noun {
	case alike:
		g.twins = len(members)
		g.id.Local, _ = d.labels(first)
		g.id.Prefix, g.owner = alike, nil
	case ofOneJob:
		g.id = prov.QName{Prefix: ofOneJob, Local: k.by.ownName()}
		if g.owner = k.by; slices.Contains(members, k.by) {
			g.owner, g.chief = nil, k.by
		}
	}
	for _, m := range members {
		m.into = g
		g.focus = g.focus || m.focus
		g.invalid = g.invalid || m.invalid && k.kind == prov.Entity
		if len(m.merged) == 0 {
			g.merged = append(g.merged, m)
		}
		for _, inner := range m.merged {
			inner.into = g
			g.merged = append(g.merged, inner)
		}
		for _, mark := range m.marks {
			if g.chief != nil && g.chief != m {
				break // a failed attempt is not a failed job
			}
			if !slices.Contains(g.marks, mark) && len(g.marks) < 2 {
				g.marks = append(g.marks, mark)
			}
		}
	}
	d.nodes = append(d.nodes, g)
}

// forgetMerged leads owners to the groups.
func (d *diagram) forgetMerged() {
	d.nodes = slices.DeleteFunc(d.nodes, func(n *node) bool { return n.into != nil })
	for _, n := range d.nodes {
		if n.owner != nil && n.owner.into != nil {
			n.owner = n.owner.into
		}
		if n.owner == n {
			n.owner = nil
		}
	}
}

// followMerged leads edges to the groups.
func (d *diagram) followMerged() {
	if slices.ContainsFunc(d.edges, func(e *edge) bool { return e.from.into != nil || e.to.into != nil }) {
		d.reconnect(func(n *node) *node {
			for n.into != nil {
				n = n.into
			}
			return n
		})
	}
}

// reconnect moves edges to other nodes, and drops those of no node and those within one.
func (d *diagram) reconnect(where func(*node) *node) {
	old := d.edges
	d.edges = nil
	known := map[edgeKey]*edge{}
	for _, e := range old {
		from, to := where(e.from), where(e.to)
		if from == nil || to == nil || from == to && e.from != e.to {
			continue
		}
		count := e.count
		d.join(known, from, to, e.rel, "")
		joined := known[edgeKey{from, to, e.rel}]
		joined.count += count - 1
		for _, detail := range e.details {
			if len(joined.details) < 5 && !slices.Contains(joined.details, detail) {
				joined.details = append(joined.details, detail)
			}
		}
	}
}

// groupLabels names a group by the number of its members.
func (n *node) groupLabels() (name, what string) {
	switch {
	case n.chief != nil:
		return fmt.Sprintf("%s and %s", n.chief.ownName(), count(len(n.merged)-1, "part")), n.chief.text(prov.QName{Prefix: "uws", Local: "jobId"})
	case n.id.Prefix == ofOneJob:
		return fmt.Sprintf("%s of %s", count(len(n.merged), "part"), n.id.Local), "collapsed"
	case n.id.Prefix == alike:
		return fmt.Sprintf("%d \u00d7 %s", n.twins, n.id.Local), "collapsed"
	}
	return fmt.Sprintf("%d %s", len(n.merged), n.id.Local), "collapsed"
}

// cut leaves out the nodes farthest from those in focus, or from the first one, until at most so many are
// left, and gives the number of elements left out.
func (d *diagram) cut(most int) int {
	if len(d.nodes) <= most {
		return 0
	}
	near := map[*node][]*node{}
	for _, e := range d.edges {
		near[e.from] = append(near[e.from], e.to)
		near[e.to] = append(near[e.to], e.from)
	}
	kept := map[*node]bool{}
	var queue []*node
	keep := func(n *node) {
		if !kept[n] && len(kept) < most {
			kept[n] = true
			queue = append(queue, n)
		}
	}
	for _, n := range d.nodes {
		if n.focus {
			keep(n)
		}
	}
	for _, n := range d.nodes { // each component in turn
		keep(n)
		for len(queue) > 0 {
			n, queue = queue[0], queue[1:]
			for _, m := range near[n] {
				keep(m)
			}
		}
	}
	left := 0
	for _, n := range d.nodes {
		if !kept[n] {
			left += max(1, len(n.merged))
		}
	}
	d.nodes = slices.DeleteFunc(d.nodes, func(n *node) bool { return !kept[n] })
	d.reconnect(func(n *node) *node {
		if kept[n] {
			return n
		}
		return nil
	})
	return left
}

// most edges for a node, and in all: more of them make a grey area of any picture.
const (
	edgesPerNode = 8
	edgesInAll   = 4000
)

// thin leaves out edges of the less telling relations, until there are not more than can be seen, and gives
// their number.
func (d *diagram) thin(most int) int {
	limit := min(most*edgesPerNode, edgesInAll)
	if len(d.edges) <= limit {
		return 0
	}
	rank := map[relation]int{relUsage: -3, relGeneration: -2, relDerivation: -1}
	sorted := slices.Clone(d.edges)
	slices.SortStableFunc(sorted, func(a, b *edge) int { return cmp.Compare(rank[a.rel], rank[b.rel]) })
	left := len(sorted) - limit
	d.edges = sorted[:limit]
	return left
}
