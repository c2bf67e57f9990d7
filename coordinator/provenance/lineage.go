package provenance

import (
	"context"
	"time"

	"consort/coordinator/auth"
	"consort/coordinator/state"
	"consort/shared/prov"
)

// LineageQuery asks for ancestors or descendants. See Query for its fields.
type LineageQuery struct {
	ID        string
	Direction Direction
	Depth     int
	Limit     int // of jobs; 0 and more than MaxLineage count as MaxLineage
	Cursor    string
	Same      bool
}

// MaxLineage is the greatest number of jobs in one Lineage.
const MaxLineage = 10_000

// Lineage is jobs and files, and how they hang together; it is read from the indexes alone.
type Lineage struct {
	Focus     string // the node asked for
	Nodes     []Node
	Edges     []Edge
	Truncated bool
	Next      string
}

// The kinds of a Node.
const (
	KindJob      = "job"
	KindFile     = "file"
	KindRedacted = "redacted"
)

// Node is a job or a file. Of a redacted one only the id is told, which tells jobs and entities apart.
type Node struct {
	ID   string // qualified name
	Kind string
	Job  *JobInfo
	File *FileInfo
}

// JobInfo is what lists show of a job. Of a deleted one little is left.
type JobInfo struct {
	ID, Definition, Version, Phase, Owner, Site string
	Created, Started, Ended                     time.Time
	Deleted                                     bool
	ReusedFrom                                  string // the job whose results it took over
}

// FileInfo is what lists show of a file.
type FileInfo struct {
	SHA256          string
	Size            int64
	MediaType, Name string
	Collection      bool
	// Job and Result tell which job made it, as which result, with "/" and the path for a member of a
	// collection. Others are an upload or come from a URL.
	Job, Result, Upload, URL string
	Retracted                *Retraction
	// SameAs are up to 10 other entities of the same content. It is told of start nodes, and of what they used,
	// that no job made: so an upload that is somebody's result in truth is recognised.
	SameAs []string
}

// Retraction is what was said of a result that should not be used.
type Retraction struct {
	Entity string // qualified name
	Time   time.Time
	By     string
	Reason string
}

// The relations of an Edge.
const (
	Used        = "used"
	GeneratedBy = "wasGeneratedBy"
	MemberOf    = "hadMember"
	SameContent = "sameContent"
	CachedFrom  = "cachedFrom"
)

// Edge goes from the effect to the cause: from a job to what it used, from a result to the job that made it.
// A hadMember edge goes from the collection to the file.
type Edge struct {
	From, To string
	Relation string
	Role     string
}

// Lineage finds ancestors or descendants of a job or a file, with what p may read; other nodes are redacted. It
// fails with ErrNotFound and *InvalidError.
func (s *Service) Lineage(ctx context.Context, p auth.Principal, q LineageQuery) (*Lineage, error) {
	asked := question("lineage", q.ID, q.Direction, q.Depth, q.Same)
	from, err := walkPosition(asked, q.Cursor)
	if err != nil {
		return nil, err
	}
	answer := new(Lineage)
	err = s.view(ctx, func(v *state.View) error {
		start, err := s.target(v, p, q.ID)
		if err != nil {
			return err
		}
		answer.Focus = start.qname().String()
		w := s.newWalk(v, p, walkQuery{
			direction: q.Direction, depth: q.Depth, limit: bounded(q.Limit, MaxLineage), same: q.Same, failed: true, from: from,
		})
		if err := w.run([]node{start.node}); err != nil {
			return err
		}
		answer.Truncated, answer.Next = w.more, w.next(asked)
		answer.Edges = w.pageEdges()
		answer.Nodes, err = w.pageNodes()
		return err
	})
	if err != nil {
		return nil, err
	}
	return answer, nil
}

// bounded is a limit that was asked for, at most, and by default, limit.
func bounded(asked, limit int) int {
	if asked <= 0 || asked > limit {
		return limit
	}
	return asked
}

func (w *walk) pageNodes() ([]Node, error) {
	nodes := make([]Node, 0, len(w.order))
	for _, n := range w.order {
		if !w.onPage(n) {
			continue
		}
		shown, err := w.show(n)
		if err != nil {
			return nil, err
		}
		nodes = append(nodes, shown)
	}
	return nodes, nil
}

func (w *walk) pageEdges() []Edge {
	edges := make([]Edge, 0, len(w.edges))
	for _, e := range w.edges {
		if w.onPage(e.from) && w.onPage(e.to) {
			role := e.role
			if !w.shown(e.from) || !w.shown(e.to) {
				role = ""
			}
			edges = append(edges, Edge{From: w.id(e.from).String(), To: w.id(e.to).String(), Relation: e.relation, Role: role})
		}
	}
	return edges
}

func (w *walk) onPage(n node) bool {
	if n.kind == jobNode {
		return w.jobs[n.name].page
	}
	return w.files[n.name].page
}

func (w *walk) shown(n node) bool {
	if n.kind == jobNode {
		return w.jobs[n.name].shown
	}
	return w.files[n.name].shown
}

// id names a node to the caller.
func (w *walk) id(n node) prov.QName {
	if w.shown(n) {
		return n.qname()
	}
	return w.s.opaque(w.p, n)
}

// show tells of a node what the caller may know.
func (w *walk) show(n node) (Node, error) {
	shown := Node{ID: w.id(n).String(), Kind: KindRedacted}
	switch {
	case !w.shown(n):
	case n.kind == jobNode:
		shown.Kind, shown.Job = KindJob, jobInfo(w.jobs[n.name].head)
	default:
		f := w.files[n.name]
		shown.Kind, shown.File = KindFile, &f.info
		if w.tainted {
			var err error
			if f.info.Retracted, err = retraction(w.v, n.name); err != nil {
				return Node{}, err
			}
		}
		if f.near {
			return shown, w.s.recognise(w.v, w.p, n.name, &f.info)
		}
	}
	return shown, nil
}

// recognise adds to a file that no job made where else its content is.
func (s *Service) recognise(v *state.View, p auth.Principal, local string, info *FileInfo) error {
	if info.Job != "" || info.SHA256 == "" {
		return nil
	}
	same, _, err := s.occurrences(v, p, info.SHA256, local, maxSameAs)
	for _, f := range same {
		info.SameAs = append(info.SameAs, node{fileNode, f.local}.qname().String())
	}
	return err
}

// maxSameAs bounds FileInfo.SameAs.
const maxSameAs = 10

func jobInfo(j *state.Job) *JobInfo {
	return &JobInfo{
		ID: j.Id, Definition: j.Definition, Version: j.DefinitionVersion, Phase: j.Phase, Owner: j.Owner, Site: j.Site,
		Created: timeOf(j.CreatedUs), Started: timeOf(j.StartedUs), Ended: timeOf(j.EndedUs),
		Deleted: j.Deleted, ReusedFrom: j.ReusedFrom,
	}
}
