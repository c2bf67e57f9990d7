package provenance

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"consort/coordinator/jobs"
	"consort/coordinator/state"
	"consort/shared/prov"
	"consort/shared/siteapi"
)

// Terms of our vocabulary that answers have and records do not.
var (
	typeRedacted  = prov.QName{Prefix: "fed", Local: "Redacted"}
	typeJob       = prov.QName{Prefix: "fed", Local: "Job"}
	typeContent   = prov.QName{Prefix: "fed", Local: "Content"}
	typeSoftware  = prov.QName{Prefix: "fed", Local: "Software"}
	nameDeleted   = prov.QName{Prefix: "fed", Local: "deleted"}
	nameSHA256    = prov.QName{Prefix: "fed", Local: "sha256"}
	nameSameAs    = prov.QName{Prefix: "fed", Local: "sameContentAs"}
	provType      = prov.QName{Prefix: "prov", Local: "type"}
	provLabel     = prov.QName{Prefix: "prov", Local: "label"}
	uwsPhase      = prov.QName{Prefix: "uws", Local: "phase"}
	voprovDataset = prov.QName{Prefix: "voprov", Local: "DatasetEntity"}
	voprovName    = prov.QName{Prefix: "voprov", Local: "name"}
	voprovVersion = prov.QName{Prefix: "voprov", Local: "version"}
	softwareAgent = prov.QName{Prefix: "prov", Local: "SoftwareAgent"}
)

// Bounds of one answer.
const (
	maxMembers   = 100_000 // files of collections
	maxInternals = 10      // records that codes wrote themselves, each of megabytes
)

// facts are what the record of a job is made of.
type facts struct {
	job      *jobs.Job
	attempts []*state.Attempt
}

// facts reads a job that the caller may read.
func (s *Service) facts(v *state.View, id string) (*facts, error) {
	job, err := s.cfg.Jobs.At(v, id)
	if err != nil {
		return nil, err
	}
	attempts, err := v.Attempts(id)
	return &facts{job: job, attempts: attempts}, err
}

// assembly makes the graph of an answer out of the records of the jobs that a walk saw.
type assembly struct {
	s         *Service
	q         Query
	walk      *walk
	focus     []target
	first     bool // page
	authority string
	loaded    map[string]*facts        // jobs of the page
	support   map[string]*facts        // jobs beyond it whose records tell of files on it
	sameAs    map[string][]string      // of files that no job made
	members   int64                    // how many more files of collections there is room for
	internals int                      // how many records of codes were read
	cut       bool                     // there was no room for all of them
	plans     []*prov.DefinitionRecord // that were asked for, or whose makers were

	whole *prov.Graph         // the records of the loaded jobs, and the plans
	keep  map[prov.QName]bool // elements of the answer
}

// load reads what the graph will be made of, while the view is open.
func (a *assembly) load(v *state.View) error {
	_, a.authority = v.Cluster()
	a.loaded, a.support, a.sameAs = map[string]*facts{}, map[string]*facts{}, map[string][]string{}
	var err error
	for _, t := range a.focus {
		if a.plans, err = a.s.plans(v, t.node, a.plans); err != nil {
			return err
		}
	}
	w := a.walk
	for _, n := range w.order {
		if n.kind != jobNode || !w.onPage(n) || !w.shown(n) || w.jobs[n.name].head.Deleted {
			continue
		}
		f, err := a.s.facts(v, n.name)
		if err != nil {
			return fmt.Errorf("read job %s: %w", n.name, err)
		}
		a.loaded[n.name] = f
	}
	for _, n := range w.order {
		if n.kind != fileNode || !w.onPage(n) || !w.shown(n) {
			continue
		}
		f := w.files[n.name]
		if a.loaded[f.by] == nil && a.support[f.by] == nil && f.by != "" {
			more, err := a.s.facts(v, f.by)
			if err != nil && !errors.Is(err, state.ErrNotFound) {
				return fmt.Errorf("read job %s: %w", f.by, err)
			}
			a.support[f.by] = more
		}
		info := f.info
		if err := a.s.recognise(v, w.p, n.name, &info); err != nil {
			return err
		}
		a.sameAs[n.name] = info.SameAs
	}
	return nil
}

// graph puts the answer together.
func (a *assembly) graph(ctx context.Context) (*prov.Graph, error) {
	var order []string
	for _, n := range a.walk.order {
		if n.kind == jobNode && a.loaded[n.name] != nil {
			order = append(order, n.name)
		}
	}
	var err error
	if a.whole, err = a.records(ctx, order); err != nil {
		return nil, err
	}
	for _, d := range a.plans {
		plan, err := prov.FromDefinition(*d, a.authority)
		if err == nil {
			err = a.whole.Merge(plan)
		}
		if err != nil {
			return nil, fmt.Errorf("add definition %s: %w", d.Name, err)
		}
	}
	out, err := prov.New(a.whole.Namespaces()...)
	if err != nil {
		return nil, err
	}
	if err := a.choose(); err != nil {
		return nil, err
	}
	if err := a.copy(out); err != nil {
		return nil, err
	}
	return out, a.complete(ctx, out)
}

// records is one graph of the records of loaded jobs.
func (a *assembly) records(ctx context.Context, order []string) (*prov.Graph, error) {
	namespaces, err := prov.Namespaces(a.authority)
	if err != nil {
		return nil, err
	}
	whole, err := prov.New(namespaces...)
	if err != nil {
		return nil, err
	}
	for _, id := range order {
		g, err := a.record(ctx, a.loaded[id])
		if err != nil {
			return nil, err
		}
		if err := whole.Merge(g); err != nil {
			return nil, fmt.Errorf("add job %s: %w", id, err)
		}
	}
	return whole, nil
}

func (a *assembly) record(ctx context.Context, f *facts) (*prov.Graph, error) {
	j := a.walk.jobs[f.job.Id]
	d := detail{members: a.members, internal: j != nil && j.forth && a.toldInternal(f)}
	record, err := a.s.record(ctx, f.job, f.attempts, d)
	if err != nil {
		return nil, err
	}
	for i := range record.Results {
		a.members -= int64(len(record.Results[i].Members))
		a.cut = a.cut || a.q.Members && record.Results[i].Unlisted
	}
	return prov.FromRecord(*record, a.authority)
}

// toldInternal tells whether the code of a job wrote a record of its own that there is room for.
func (a *assembly) toldInternal(f *facts) bool {
	for _, t := range f.attempts {
		for _, l := range t.GetFacts().GetLogs() {
			if l.Name != siteapi.LogProvenance {
				continue
			}
			a.internals++
			a.cut = a.cut || a.internals > maxInternals
			return a.internals <= maxInternals
		}
	}
	return false
}

// choose finds the elements of the answer: nodes of the walk, and what describes them.
func (a *assembly) choose() error {
	a.keep = map[prov.QName]bool{}
	w := a.walk
	for _, n := range w.order {
		if w.onPage(n) && w.shown(n) {
			a.keep[n.qname()] = true
		}
	}
	if err := a.pin(); err != nil {
		return err
	}
	if a.q.Depth == 0 {
		return nil
	}
	for _, d := range a.plans {
		a.keep[prov.DefinitionID(d.Name, d.Version)] = true
	}
	for r := range a.whole.Records(prov.Activity) {
		if a.describesActivity(r.ID) {
			a.keep[r.ID] = true
		}
	}
	for r := range a.whole.Records(prov.Entity) {
		if a.describesEntity(r.ID) {
			a.keep[r.ID] = true
		}
	}
	a.relatives()
	return nil
}

// pin keeps what was asked for by name, also where the options leave its like out.
func (a *assembly) pin() error {
	for _, t := range a.focus {
		if a.q.Depth == 0 {
			delete(a.keep, t.qname()) // a part alone may be asked for
		}
	}
	for _, t := range a.focus {
		found := !a.first || t.asked == t.qname() && (t.kind != jobNode || a.walk.jobs[t.name] != nil)
		for k := prov.Entity; !found && k <= prov.Membership; k++ {
			_, found = a.whole.Get(k, t.asked)
		}
		if !found {
			return fmt.Errorf("%w: nothing has the id %.100q", ErrNotFound, t.asked)
		}
		a.keep[t.asked] = true
	}
	return nil
}

// described tells whether a job, named by what comes first in a local name, is told of in full.
func (a *assembly) described(local string) bool {
	job, _, _ := strings.Cut(local, ".")
	return a.loaded[job] != nil
}

// describesActivity chooses among the activities that are not jobs.
func (a *assembly) describesActivity(id prov.QName) bool {
	return a.q.Steps && id.Prefix == "job" && a.described(id.Local)
}

// describesEntity chooses among the entities that are not files of the walk.
func (a *assembly) describesEntity(id prov.QName) bool {
	switch id.Prefix {
	case "job":
		return a.q.Configuration && a.described(id.Local)
	case "ent":
		_, rest, _ := strings.Cut(id.Local, ".")
		return a.q.Steps && strings.HasPrefix(rest, "in.") && a.described(id.Local)
	case "jdl":
		n, ok := nodeOf(id)
		return ok && (a.q.Descriptions == 2 || a.q.Descriptions == 1 && n.name == id.Local)
	}
	return false
}

// relatives keeps what only its relation to something kept tells of: logs and other results, members, content,
// software, and agents.
func (a *assembly) relatives() {
	for r := range a.whole.Records(prov.Generation) {
		if j := a.walk.jobs[r.Ref(1).Local]; j != nil && j.forth {
			a.follow(r.Ref(1), r.Ref(0))
		}
	}
	if a.q.Members {
		for r := range a.whole.Records(prov.Membership) {
			a.follow(r.Ref(0), r.Ref(1))
		}
	}
	for r := range a.whole.Records(prov.Specialization) {
		if a.q.Same {
			a.follow(r.Ref(0), r.Ref(1))
		}
	}
	for r := range a.whole.Records(prov.Influence) {
		to := r.Ref(1)
		if _, retraction := retractedEntity(to.Local); retraction || to.Prefix != "jdl" && to.Prefix != "job" {
			a.follow(r.Ref(0), to)
		}
	}
	for r := range a.whole.Records(prov.Invalidation) {
		a.follow(r.Ref(0), r.Ref(1))
	}
	if !a.q.Agents {
		return
	}
	for _, k := range []prov.Kind{prov.Association, prov.Attribution, prov.Delegation} {
		for r := range a.whole.Records(k) {
			a.follow(r.Ref(0), r.Ref(1))
		}
	}
}

// follow keeps an element because another one that is related to it is kept.
func (a *assembly) follow(from, to prov.QName) {
	if a.keep[from] && !to.IsZero() {
		a.keep[to] = true
	}
}

// copy takes over the kept elements, and the relations between them. References to what is not there are left out
// where they may be.
func (a *assembly) copy(out *prov.Graph) error {
	for r := range a.whole.All() {
		if r.Kind.IsElement() {
			if !a.keep[r.ID] {
				continue
			}
		} else if r = a.between(out, r); r == nil {
			continue
		}
		if err := out.Add(*r); err != nil {
			return err
		}
	}
	for id, inner := range a.whole.Bundles() {
		if !a.keep[id] {
			continue
		}
		into, err := out.Bundle(id)
		if err == nil {
			err = into.Merge(inner)
		}
		if err != nil {
			return fmt.Errorf("add bundle %s: %w", id, err)
		}
	}
	return nil
}

// between is a relation without references to what out has not; nil when a necessary one is among them.
func (a *assembly) between(out *prov.Graph, r *prov.Record) *prov.Record {
	c := *r
	c.Refs = make([]prov.QName, len(r.Refs))
	for i, q := range r.Refs {
		switch {
		case q.IsZero():
		case i >= 3: // of a derivation: its generation and its usage
			kind := prov.Generation
			if i == 4 {
				kind = prov.Usage
			}
			if _, ok := out.Get(kind, q); ok {
				c.Refs[i] = q
			}
		case a.keep[q]:
			c.Refs[i] = q
		case i < 2 && r.Kind != prov.Invalidation || i == 0:
			return nil
		}
	}
	return &c
}

// complete adds to the answer what no loaded record tells: files that records beyond the page tell of, what is
// left of deleted jobs, redacted nodes and their relations, and content that meets.
func (a *assembly) complete(ctx context.Context, out *prov.Graph) error {
	w := a.walk
	for _, n := range w.order {
		if !w.onPage(n) {
			continue
		}
		if err := a.completeNode(ctx, out, n); err != nil {
			return err
		}
	}
	for _, e := range w.edges {
		if !w.onPage(e.from) || !w.onPage(e.to) {
			continue
		}
		if err := a.completeEdge(out, e); err != nil {
			return err
		}
	}
	return a.completeFocus(out)
}

func (a *assembly) completeNode(ctx context.Context, out *prov.Graph, n node) error {
	w := a.walk
	kind := prov.Entity
	if n.kind == jobNode {
		kind = prov.Activity
	}
	id := w.id(n)
	switch {
	case !w.shown(n):
		return out.Add(prov.Record{Kind: kind, ID: id, Attrs: []prov.Attr{{Name: provType, Value: prov.Name(typeRedacted)}}})
	case n.kind == fileNode:
		return a.completeFile(ctx, out, n, id)
	case w.jobs[n.name].head.Deleted:
		h := w.jobs[n.name].head
		return out.Add(prov.Record{Kind: kind, ID: id, Time: timeOf(h.StartedUs), End: timeOf(h.EndedUs), Attrs: []prov.Attr{
			{Name: provType, Value: prov.Name(typeJob)}, {Name: provLabel, Value: prov.String(h.Definition + " " + h.Id)},
			{Name: uwsPhase, Value: prov.String(h.Phase)}, {Name: nameDeleted, Value: prov.Boolean(true)},
		}})
	}
	return nil
}

// completeFile states a file as some record does, and where else its content is.
func (a *assembly) completeFile(ctx context.Context, out *prov.Graph, n node, id prov.QName) error {
	f := a.walk.files[n.name]
	if _, ok := out.Get(prov.Entity, id); !ok {
		record := &prov.Record{Kind: prov.Entity, ID: id, Attrs: []prov.Attr{{Name: provType, Value: prov.Name(voprovDataset)}}}
		if from := a.support[f.by]; from != nil {
			g, err := a.record(ctx, from)
			if err != nil {
				return err
			}
			if found, ok := g.Get(prov.Entity, id); ok {
				record = found
			}
		}
		if err := out.Add(*record); err != nil {
			return err
		}
	}
	for _, other := range a.sameAs[n.name] {
		q, err := prov.ParseQName(other)
		if err != nil {
			return err
		}
		if err := out.Add(prov.Record{Kind: prov.Entity, ID: id, Attrs: []prov.Attr{{Name: nameSameAs, Value: prov.Name(q)}}}); err != nil {
			return err
		}
	}
	return nil
}

// completeEdge states relations that no loaded record does.
func (a *assembly) completeEdge(out *prov.Graph, e edge) error {
	w := a.walk
	from, to := w.id(e.from), w.id(e.to)
	switch e.relation {
	case Used:
		if a.loaded[e.from.name] == nil {
			return out.Add(prov.Record{Kind: prov.Usage, Refs: []prov.QName{from, to}})
		}
	case GeneratedBy:
		if a.loaded[e.to.name] == nil {
			return out.Add(prov.Record{Kind: prov.Generation, Refs: []prov.QName{from, to}})
		}
	case MemberOf:
		return out.Add(prov.Record{Kind: prov.Membership, Refs: []prov.QName{from, to}})
	case CachedFrom:
		if a.loaded[e.from.name] == nil || !w.shown(e.to) {
			return out.Add(prov.Record{Kind: prov.Communication, Refs: []prov.QName{from, to}})
		}
	case SameContent:
		if err := a.content(out, w.files[e.from.name].info.SHA256, from); err != nil {
			return err
		}
		return a.content(out, w.files[e.from.name].info.SHA256, to)
	}
	return nil
}

// content joins an entity to the node of its content.
func (a *assembly) content(out *prov.Graph, sha string, entity prov.QName) error {
	id := prov.ContentID(sha)
	err := out.Add(prov.Record{Kind: prov.Entity, ID: id, Attrs: []prov.Attr{
		{Name: provType, Value: prov.Name(typeContent)}, {Name: nameSHA256, Value: prov.String(sha)}}})
	if err != nil || entity.IsZero() {
		return err
	}
	return out.Add(prov.Record{Kind: prov.Specialization, Refs: []prov.QName{entity, id}})
}

// completeFocus states start nodes that are no jobs and no files.
func (a *assembly) completeFocus(out *prov.Graph) error {
	for _, t := range a.focus {
		var err error
		switch t.kind {
		case contentNode:
			err = a.contentFocus(out, t.name)
		case agentNode:
			if _, ok := out.Get(prov.Agent, t.asked); !ok {
				err = out.Add(a.agent(t.node))
			}
		case softwareNode:
			if _, ok := out.Get(prov.Entity, t.asked); !ok {
				err = out.Add(software(t.node))
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (a *assembly) contentFocus(out *prov.Graph, sha string) error {
	if err := a.content(out, sha, prov.QName{}); err != nil {
		return err
	}
	for _, n := range a.walk.order {
		if n.kind != fileNode || !a.walk.onPage(n) || !a.walk.shown(n) || a.walk.files[n.name].info.SHA256 != sha {
			continue
		}
		if err := a.content(out, sha, n.qname()); err != nil {
			return err
		}
	}
	return nil
}

// agent states an agent that no record of the page tells of.
func (a *assembly) agent(n node) prov.Record {
	r := prov.Record{Kind: prov.Agent, ID: n.qname()}
	if n == controller {
		r.Attrs = []prov.Attr{{Name: provType, Value: prov.Name(softwareAgent)}, {Name: voprovName, Value: prov.String("consort")}}
	} else if _, values, ok := discovery(n); ok {
		r.Attrs = []prov.Attr{{Name: voprovName, Value: prov.String(values[0])}}
	}
	return r
}

// software states software that no record of the page tells of.
func software(n node) prov.Record {
	name, version, _ := prov.SoftwareOf(n.name)
	return prov.Record{Kind: prov.Entity, ID: n.qname(), Attrs: []prov.Attr{
		{Name: provType, Value: prov.Name(typeSoftware)}, {Name: provLabel, Value: prov.String(name + " " + version)},
		{Name: voprovName, Value: prov.String(name)}, {Name: voprovVersion, Value: prov.String(version)},
	}}
}
