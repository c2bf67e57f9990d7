package picture

import (
	"slices"

	"consort/shared/prov"
)

// diagram is a graph as it will be drawn: nodes and the edges between them.
type diagram struct {
	nodes []*node
	edges []*edge
	index map[prov.QName]*node
	model Model
}

// node is an element of the graph, or several that have collapsed into one.
type node struct {
	id     prov.QName
	kind   prov.Kind
	sort   sort
	record *prov.Record // nil for what is referred to only
	marks  []string     // what is wrong with it: ERROR, invalidated
	// invalid tells that the node is no longer to be used.
	invalid bool
	focus   bool
	// owner is the activity that the node belongs to, as a parameter or result does; nil for none.
	owner *node
	// made tells that the owner generated it, shared that activities of several owners used it.
	made, shared bool
	// merged are the nodes that have collapsed into this one.
	merged []*node
	chief  *node // the job, if this is the group of all that belongs to it
	twins  int   // how many nodes that look alike are one here
	// into is the node that this one has collapsed into.
	into        *node
	n           int    // place in diagram.nodes when the layout is made
	label, what string // once they have been found
}

// edge is one relation, or several of one kind between the same two nodes.
type edge struct {
	from, to *node
	rel      relation
	details  []string // roles and types
	count    int
}

// sort tells what a node is in the record of a job. It decides on labels and on what collapses together.
type sort uint8

const (
	sortOther sort = iota
	sortJob
	sortAttempt
	sortTransfer
	sortParameter
	sortConfig
	sortDefinition
	sortParameterDescription
	sortUsageDescription
	sortGenerationDescription
	sortConfigDescription
	sortEntityDescription
	sortDataset
	sortMember
	sortLog
	sortReplica
	sortContent
	sortSoftware
	sortBundle
	sortRedacted
)

// The names of types and attributes that decide on the look of nodes.
var (
	nameType  = prov.QName{Prefix: "prov", Local: "type"}
	nameLabel = prov.QName{Prefix: "prov", Local: "label"}
	nameRole  = prov.QName{Prefix: "prov", Local: "role"}

	typePartOf = fed("wasPartOf")
)

func fed(local string) prov.QName    { return prov.QName{Prefix: "fed", Local: local} }
func voprov(local string) prov.QName { return prov.QName{Prefix: "voprov", Local: local} }

// sorts finds the sort of a node by its types.
var sorts = map[prov.QName]sort{
	fed("Job"):                        sortJob,
	fed("Attempt"):                    sortAttempt,
	fed("Transfer"):                   sortTransfer,
	fed("Content"):                    sortContent,
	fed("Replica"):                    sortReplica,
	fed("Log"):                        sortLog,
	fed("Software"):                   sortSoftware,
	fed("Redacted"):                   sortRedacted,
	voprov("Parameter"):               sortParameter,
	voprov("ConfigFile"):              sortConfig,
	voprov("DatasetEntity"):           sortDataset,
	voprov("ActivityDescription"):     sortDefinition,
	voprov("ParameterDescription"):    sortParameterDescription,
	voprov("UsageDescription"):        sortUsageDescription,
	voprov("GenerationDescription"):   sortGenerationDescription,
	voprov("ConfigFileDescription"):   sortConfigDescription,
	voprov("EntityDescription"):       sortEntityDescription,
	voprov("DatasetDescription"):      sortEntityDescription,
	voprov("ValueDescription"):        sortEntityDescription,
	{Prefix: "prov", Local: "Bundle"}: sortBundle,
}

// readGraph makes the diagram of a graph.
func readGraph(g *prov.Graph, o Options) *diagram {
	d := &diagram{index: map[prov.QName]*node{}, model: o.Model}
	for _, kind := range []prov.Kind{prov.Activity, prov.Agent, prov.Entity} {
		for r := range g.Records(kind) {
			d.element(r)
		}
	}
	for id := range g.Bundles() {
		d.node(id, prov.Entity).sort = sortBundle
	}
	d.relations(g)
	d.ownInputs()
	for _, id := range o.Focus {
		if n := d.index[id]; n != nil {
			n.focus = true
		}
	}
	return d
}

// node finds a node, or makes one for what has no record.
func (d *diagram) node(id prov.QName, kind prov.Kind) *node {
	n := d.index[id]
	if n == nil {
		n = &node{id: id, kind: kind}
		d.index[id] = n
		d.nodes = append(d.nodes, n)
	}
	return n
}

// element adds the node of a record. One name may be an entity and an agent too; it stays one node.
func (d *diagram) element(r *prov.Record) {
	n := d.node(r.ID, r.Kind)
	if n.record != nil {
		return
	}
	n.record = r
	for _, a := range r.Attrs {
		if a.Name != nameType {
			continue
		}
		if q, ok := a.Value.QName(); ok {
			n.sort = max(n.sort, sorts[q])
		}
	}
	n.marks = failures(r)
}

// failures tells what went wrong with an activity: its phase of UWS 1.1 or the outcome of an attempt.
func failures(r *prov.Record) []string {
	for _, name := range []prov.QName{{Prefix: "uws", Local: "phase"}, fed("outcome")} {
		v, ok := r.Attr(name)
		switch {
		case !ok:
		case slices.Contains([]string{"ERROR", "ABORTED", "failed", "lost", "cancelled"}, v.Text()):
			return []string{v.Text()}
		}
	}
	return nil
}

// relations adds the edges of the graph. Plans are joined to their activity only if nothing else joins them.
func (d *diagram) relations(g *prov.Graph) {
	known := map[edgeKey]*edge{}
	for r := range g.All() {
		switch from, to := d.ends(r); {
		case r.Kind.IsElement():
		case r.Kind == prov.Invalidation:
			d.invalidate(r)
			d.connect(known, from, to, r)
		default:
			d.connect(known, from, to, r)
		}
	}
	joined := map[prov.QName]bool{}
	for _, e := range d.edges {
		joined[e.from.id], joined[e.to.id] = true, true
	}
	for r := range g.Records(prov.Association) {
		if plan := r.Ref(2); !plan.IsZero() && !joined[plan] {
			d.join(known, d.node(r.Ref(0), prov.Activity), d.node(plan, prov.Entity), relPlan, "")
		}
	}
}

// ends finds the nodes that a relation joins; nil for one not given.
func (d *diagram) ends(r *prov.Record) (from, to *node) {
	kinds := ends[r.Kind]
	if q := r.Ref(0); !q.IsZero() {
		from = d.node(q, kinds[0])
	}
	if q := r.Ref(1); !q.IsZero() {
		to = d.node(q, kinds[1])
	}
	return from, to
}

// ends are the kinds of nodes that a relation joins, for those that have no record.
var ends = map[prov.Kind][2]prov.Kind{
	prov.Generation:     {prov.Entity, prov.Activity},
	prov.Usage:          {prov.Activity, prov.Entity},
	prov.Communication:  {prov.Activity, prov.Activity},
	prov.Start:          {prov.Activity, prov.Entity},
	prov.End:            {prov.Activity, prov.Entity},
	prov.Invalidation:   {prov.Entity, prov.Activity},
	prov.Derivation:     {prov.Entity, prov.Entity},
	prov.Attribution:    {prov.Entity, prov.Agent},
	prov.Association:    {prov.Activity, prov.Agent},
	prov.Delegation:     {prov.Agent, prov.Agent},
	prov.Influence:      {prov.Entity, prov.Entity},
	prov.Specialization: {prov.Entity, prov.Entity},
	prov.Alternate:      {prov.Entity, prov.Entity},
	prov.Membership:     {prov.Entity, prov.Entity},
}

func (d *diagram) invalidate(r *prov.Record) {
	n := d.node(r.Ref(0), prov.Entity)
	n.invalid = true
	mark := "invalidated"
	if v, ok := r.Attr(fed("reason")); ok {
		mark += ": " + plain(clip(v.Text(), 80))
	}
	if !slices.Contains(n.marks, mark) && len(n.marks) < 3 {
		n.marks = append(n.marks, mark)
	}
}

// connect adds the edge of a relation and what it tells of ownership.
func (d *diagram) connect(known map[edgeKey]*edge, from, to *node, r *prov.Record) {
	if r.Kind == prov.Start || r.Kind == prov.End {
		// A trigger may be left out where the starter is given.
		if starter := r.Ref(2); !starter.IsZero() && from != nil {
			d.join(known, from, d.node(starter, prov.Activity), relations[r.Kind], "")
		}
	}
	if from == nil || to == nil {
		return
	}
	rel, detail := d.classify(r)
	d.join(known, from, to, rel, detail)
	switch {
	case rel == relGeneration:
		from.made = true
		own(from, to)
	case r.Kind == prov.Communication && r.HasType(typePartOf):
		own(from, to)
	case rel == relMembership:
		own(to, from)
		if to.sort == sortDataset || to.sort == sortOther {
			to.sort = sortMember
		}
	case rel == relSpecialization && to.sort == sortContent:
		own(to, from)
	case r.Kind == prov.Influence && to.sort != sortDefinition && to.kind == prov.Entity:
		own(to, from)
	}
}

// own states whose part a node is, if nothing has stated it.
func own(n, owner *node) {
	if n.owner == nil && n != owner {
		n.owner = owner
	}
}

// ownInputs gives what nobody made to the job that used it, if only one did.
func (d *diagram) ownInputs() {
	user := map[*node]*node{}
	for _, e := range d.edges {
		if e.rel != relUsage || e.to.kind != prov.Entity || e.to.owner != nil {
			continue
		}
		root := e.from.root()
		if known := user[e.to]; known != nil && known != root {
			e.to.shared = true
		}
		user[e.to] = root
	}
	for input, job := range user {
		if !input.shared && job != input {
			input.owner = job
		}
	}
}

// deepest is how many owners are followed. Jobs need four; a hostile graph may have rings of them.
const deepest = 16

// root is the outermost owner of a node, or the node itself.
func (n *node) root() *node {
	for i := 0; n.owner != nil && i < deepest; i++ {
		n = n.owner
	}
	return n
}

type edgeKey struct {
	from, to *node
	rel      relation
}

// join adds an edge, or counts it with one of the same kind that is there.
func (d *diagram) join(known map[edgeKey]*edge, from, to *node, rel relation, detail string) {
	key := edgeKey{from, to, rel}
	e := known[key]
	if e == nil {
		e = &edge{from: from, to: to, rel: rel}
		known[key] = e
		d.edges = append(d.edges, e)
	}
	e.count++
	if detail != "" && len(e.details) < 5 && !slices.Contains(e.details, detail) {
		e.details = append(e.details, detail)
	}
}
