package provenance

import (
	"errors"
	"slices"
	"time"

	"consort/coordinator/auth"
	"consort/coordinator/state"
	"consort/shared/prov"
	"consort/shared/uws"
)

// Bounds of one walk. What lies beyond is told as truncated.
const (
	maxWalk  = 100_000 // jobs, those of earlier pages included
	maxSame  = 100     // entities of one content
	usesPage = 256     // uses read at once
)

// walkQuery says where a walk goes; see Query.
type walkQuery struct {
	direction    Direction
	depth, limit int
	same, agents bool
	failed       bool
	since, until time.Time
	site         string
	from         position
}

// seenJob is a job that a walk came to.
type seenJob struct {
	head *state.Job
	// shown tells that p may see it; of a deleted one there is little to see.
	shown bool
	depth int
	page  bool // it belongs to this page
	forth bool // the walk went on to its results
}

// seenFile is a file that a walk came to.
type seenFile struct {
	info  FileInfo
	shown bool   // a job that p may read tells of it
	by    string // that job
	page  bool
	near  bool // a start node, or used by one
}

type edge struct {
	from, to       node
	relation, role string
}

type step struct {
	node
	direction Direction
	depth     int
}

// walk goes breadth first from node to node, through one view, and keeps what it saw in order.
type walk struct {
	s *Service
	v *state.View
	p auth.Principal
	q walkQuery

	jobs     map[string]*seenJob
	files    map[string]*seenFile
	order    []node // jobs and files, as they were found
	edges    []edge
	known    map[edge]bool
	visited  map[step]bool // depth 0
	queue    []step
	contents map[string]bool
	few      map[string][]state.TakenBy // who used files, where that is known already
	count    int                        // jobs that passed the filters
	full     bool                       // no more jobs are taken in; what hangs on those that were still is
	more     bool                       // more follows; with a next page unless it is lost
	lost     bool
	tainted  bool // something was retracted, somewhere: it is worth looking at each file
}

func (s *Service) newWalk(v *state.View, p auth.Principal, q walkQuery) *walk {
	if q.from.asOf == 0 {
		q.from.asOf = v.LastTimeUs()
	}
	return &walk{
		s: s, v: v, p: p, q: q, jobs: map[string]*seenJob{}, files: map[string]*seenFile{}, known: map[edge]bool{},
		visited: map[step]bool{}, contents: map[string]bool{}, few: map[string][]state.TakenBy{},
	}
}

// run walks from the start nodes.
func (w *walk) run(starts []node) error {
	some, _, err := w.v.Retractions(nil, 1)
	if err != nil {
		return err
	}
	w.tainted = len(some) > 0
	err = w.walk(starts)
	w.markPage()
	return err
}

func (w *walk) walk(starts []node) error {
	directions := []Direction{w.q.direction}
	if w.q.direction == Both {
		directions = []Direction{Back, Forth}
	}
	for _, n := range starts {
		if err := w.start(n); err != nil {
			return err
		}
		for _, d := range directions {
			w.enqueue(step{n, d, 0})
		}
	}
	for len(w.queue) > 0 {
		next := w.queue[0]
		w.queue = w.queue[1:]
		if err := w.expand(next); err != nil {
			return err
		}
	}
	return nil
}

// next is the cursor of the page after this one, if there is one.
func (w *walk) next(question string) string {
	if !w.more || w.lost {
		return ""
	}
	return position{w.q.from.skip + w.q.limit, w.q.from.asOf}.cursor(question)
}

func (w *walk) enqueue(s step) {
	key := step{s.node, s.direction, 0}
	if !w.visited[key] {
		w.visited[key] = true
		w.queue = append(w.queue, s)
	}
}

// start takes in a node that was asked for, and that p may see.
func (w *walk) start(n node) error {
	switch n.kind {
	case jobNode:
		_, err := w.job(n.name, 0, true)
		return err
	case fileNode:
		f, err := w.s.file(w.v, w.p, n.name)
		if err != nil {
			return err
		}
		have := w.file(n.name, f.info)
		have.info, have.shown, have.by, have.near = f.info, true, f.by, true
		have.page = have.page || w.q.from.skip == 0
	}
	return nil
}

// job takes in a job; nil when the filters leave it out or there is no room for it.
func (w *walk) job(id string, depth int, start bool) (*seenJob, error) {
	if j, ok := w.jobs[id]; ok {
		return j, nil
	}
	head, err := w.v.Head(id)
	if errors.Is(err, state.ErrNotFound) {
		w.jobs[id] = nil
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	shown := w.s.mayRead(w.p, head)
	if !start && !w.wanted(head, shown) {
		w.jobs[id] = nil
		return nil, nil
	}
	if w.count == w.q.from.skip+w.q.limit || w.count == maxWalk {
		w.full, w.more, w.lost = true, true, w.count == maxWalk
		return nil, nil
	}
	j := &seenJob{head: head, shown: shown, depth: depth, page: w.count >= w.q.from.skip}
	w.count++
	w.jobs[id] = j
	w.order = append(w.order, node{jobNode, id})
	return j, nil
}

// wanted applies the filters of the query. What p may not read passes them all: who asks again and again with other
// filters must not learn when and where it ran.
func (w *walk) wanted(j *state.Job, shown bool) bool {
	phase := uws.Phase(j.Phase)
	if j.CreatedUs > w.q.from.asOf || j.QueuedUs == 0 && !j.Deleted { // a draft, or what ended as one, used nothing
		return false
	}
	created := time.UnixMicro(j.CreatedUs)
	return !shown ||
		(w.q.failed || phase != uws.Error && phase != uws.Aborted) &&
			(w.q.since.IsZero() || !created.Before(w.q.since)) &&
			(w.q.until.IsZero() || !created.After(w.q.until)) &&
			(w.q.site == "" || j.Site == w.q.site)
}

// file takes in a file by the local name of its entity.
func (w *walk) file(local string, info FileInfo) *seenFile {
	f := w.files[local]
	if f == nil {
		f = &seenFile{info: info}
		w.files[local] = f
		w.order = append(w.order, node{fileNode, local})
	}
	return f
}

// tells notes that a job's record tells of a file.
func (w *walk) tells(j *seenJob, f *seenFile, info FileInfo) {
	if j.shown && !j.head.Deleted && !f.shown {
		f.shown, f.by, f.info = true, j.head.Id, info
	}
}

func (w *walk) edge(from, to node, relation, role string) {
	e := edge{from, to, relation, role}
	if !w.known[e] {
		w.known[e] = true
		w.edges = append(w.edges, e)
	}
}

// expand goes on from a node.
func (w *walk) expand(s step) error {
	if s.kind == fileNode {
		if err := w.collection(s); err != nil {
			return err
		}
	}
	if w.q.depth != All && s.depth >= w.q.depth {
		return nil
	}
	switch s.kind {
	case jobNode:
		return w.expandJob(s)
	case fileNode:
		return w.expandFile(s)
	case contentNode:
		return w.expandContent(s)
	case agentNode, definitionNode, softwareNode:
		return w.expandFound(s)
	}
	return nil
}

func (w *walk) expandJob(s step) error {
	j := w.jobs[s.name]
	if j == nil {
		return nil
	}
	if err := w.agents(s, j); err != nil {
		return err
	}
	if s.direction == Back {
		return w.inputs(s, j)
	}
	j.forth = true
	return w.outputs(s, j)
}

// inputs goes back from a job to what it used.
func (w *walk) inputs(s step, j *seenJob) error {
	if from := j.head.ReusedFrom; from != "" {
		source, err := w.job(from, s.depth+1, false)
		if err != nil {
			return err
		}
		if source != nil {
			w.edge(s.node, node{jobNode, from}, CachedFrom, "")
			w.enqueue(step{node{jobNode, from}, Back, s.depth + 1})
		}
	}
	used, err := inputsOf(w.v, j.head)
	if err != nil {
		return err
	}
	for _, in := range used {
		f := w.file(in.local, in.info)
		w.tells(j, f, in.info)
		f.near = f.near || s.depth == 0
		n := node{fileNode, in.local}
		w.edge(s.node, n, Used, in.role)
		w.enqueue(step{n, Back, s.depth + 1})
	}
	return nil
}

// outputs goes on from a job to its results.
func (w *walk) outputs(s step, j *seenJob) error {
	results, err := w.v.Results(s.name)
	if errors.Is(err, state.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	used, err := w.v.UsedResults(s.name, len(results.Outputs))
	if err != nil {
		return err
	}
	for _, o := range results.Outputs {
		n := node{fileNode, prov.ResultID(s.name, o.Id).Local}
		info := outputInfo(s.name, o)
		f := w.file(n.name, info)
		w.tells(j, f, info)
		w.edge(n, s.node, GeneratedBy, o.Id)
		taken, ok := used[o.Id]
		if ok && !taken.More {
			w.few[n.name] = taken.By
		}
		if ok || w.q.same {
			w.enqueue(step{n, Forth, s.depth + 1})
		}
	}
	return nil
}

// collection goes up from a file to the collection that it is a member of: that never counts as a step.
func (w *walk) collection(s step) error {
	collection, ok := collectionOf(s.name)
	if !ok || s.direction != Back {
		return nil
	}
	job, result, _ := madeBy(collection)
	member := w.files[s.name]
	c := w.file(collection, FileInfo{Job: job, Result: result, Collection: true})
	if member.shown && !c.shown {
		f, err := w.s.file(w.v, w.p, collection)
		switch {
		case errors.Is(err, ErrNotFound):
			c.shown, c.by = true, member.by // its name is part of the member's
		case err != nil:
			return err
		default:
			c.shown, c.by, c.info = true, f.by, f.info
		}
	}
	n := node{fileNode, collection}
	w.edge(n, s.node, MemberOf, "")
	w.enqueue(step{n, Back, s.depth})
	return nil
}

func (w *walk) expandFile(s step) error {
	f := w.files[s.name]
	if err := w.sameContent(s, f); err != nil {
		return err
	}
	if s.direction == Forth {
		if err := w.uses(s, f); err != nil {
			return err
		}
		return w.memberUses(s, f)
	}
	if _, member := collectionOf(s.name); member {
		return nil // the collection was generated
	}
	job, result, ok := madeBy(s.name)
	if !ok {
		return nil
	}
	j, err := w.job(job, s.depth+1, false)
	if err != nil || j == nil {
		return err
	}
	if j.head.Deleted && f.shown {
		j.shown = true // who may see the file knows its maker by the file's name
	}
	w.tells(j, f, f.info)
	n := node{jobNode, job}
	w.edge(s.node, n, GeneratedBy, result)
	w.enqueue(step{n, Back, s.depth + 1})
	return nil
}

// uses goes on from a file to the jobs that used it, newest first.
func (w *walk) uses(s step, f *seenFile) error {
	if few, ok := w.few[s.name]; ok {
		return w.fewUses(s, f, few)
	}
	var cursor []byte
	for {
		uses, next, err := w.v.UsesOf(s.name, cursor, usesPage)
		if err != nil {
			return err
		}
		for _, u := range uses {
			if err := w.use(s, f, u.Job, u.Role); err != nil {
				return err
			}
			if w.full {
				return nil
			}
		}
		if next == nil {
			return nil
		}
		cursor = next
	}
}

// fewUses is uses when the jobs are known already.
func (w *walk) fewUses(s step, f *seenFile, by []state.TakenBy) error {
	for _, u := range slices.Backward(by) { // ids begin with the time
		if err := w.use(s, f, u.Job, u.Role); err != nil || w.full {
			return err
		}
	}
	return nil
}

func (w *walk) use(s step, f *seenFile, job, role string) error {
	j, err := w.job(job, s.depth+1, false)
	if err != nil || j == nil {
		return err
	}
	w.used(s, f, j, role)
	return nil
}

// used notes that a job used a file, and goes on from the job.
func (w *walk) used(s step, f *seenFile, j *seenJob, role string) {
	w.tells(j, f, f.info)
	n := node{jobNode, j.head.Id}
	w.edge(n, s.node, Used, role)
	w.enqueue(step{n, Forth, s.depth + 1})
}

// memberUses goes on from a collection to the jobs that used single files of it.
func (w *walk) memberUses(s step, f *seenFile) error {
	job, result, ok := madeBy(s.name)
	if !ok || !f.info.Collection {
		return nil
	}
	uses, err := w.v.MemberUses(job, result, maxWalk)
	if err != nil {
		return err
	}
	for _, u := range uses {
		if w.full {
			return nil
		}
		j, err := w.job(u.Job, s.depth+1, false)
		if err != nil {
			return err
		}
		if j == nil {
			continue
		}
		n := node{fileNode, prov.MemberID(job, result, u.Path).Local}
		in, err := roleOf(w.v, j.head, n.name)
		if err != nil {
			return err
		}
		member := w.file(n.name, in.info)
		if f.shown && !member.shown {
			member.shown, member.by = true, f.by
		}
		w.edge(s.node, n, MemberOf, "")
		w.used(step{n, Forth, s.depth}, member, j, in.role)
	}
	return nil
}

// roleOf finds what a job says of its use of a file.
func roleOf(v *state.View, j *state.Job, local string) (input, error) {
	used, err := inputsOf(v, j)
	var found input
	for _, in := range used {
		switch {
		case in.local != local:
		case found.local == "":
			found = in
		default: // in several roles, as state.Use has them
			found.role += "," + in.role
		}
	}
	return found, err
}

// sameContent goes from a file to others of the same content, where that is asked for.
func (w *walk) sameContent(s step, f *seenFile) error {
	if !w.q.same || !f.shown || f.info.SHA256 == "" || w.contents[f.info.SHA256+s.direction.String()] {
		return nil
	}
	w.contents[f.info.SHA256+s.direction.String()] = true
	others, more, err := w.s.occurrences(w.v, w.p, f.info.SHA256, s.name, maxSame)
	if err != nil {
		return err
	}
	w.more, w.lost = w.more || more, w.lost || more
	for _, o := range others {
		n := node{fileNode, o.local}
		same := w.file(o.local, o.info)
		same.shown, same.by = true, o.by
		if same.info.SHA256 == "" {
			same.info = o.info
		}
		w.edge(s.node, n, SameContent, "")
		if w.q.depth == All || s.depth+2 <= w.q.depth {
			w.enqueue(step{n, s.direction, s.depth + 2})
		}
	}
	return nil
}

// expandContent goes from content to the entities that have it.
func (w *walk) expandContent(s step) error {
	found, more, err := w.s.occurrences(w.v, w.p, s.name, "", maxSame)
	if err != nil {
		return err
	}
	w.more, w.lost = w.more || more, w.lost || more
	for _, o := range found {
		f := w.file(o.local, o.info)
		f.shown, f.by, f.page = true, o.by, f.page || w.q.from.skip == 0
		w.enqueue(step{node{fileNode, o.local}, s.direction, s.depth + 1})
	}
	return nil
}

// markPage finds which files belong to the page: those of its jobs, and what hangs together with them.
func (w *walk) markPage() {
	on := func(n node) bool {
		if n.kind == jobNode {
			return w.jobs[n.name].page
		}
		return w.files[n.name].page
	}
	for _, e := range w.edges {
		if e.from.kind == e.to.kind {
			continue
		}
		if on(e.from) || on(e.to) {
			for _, n := range []node{e.from, e.to} {
				if n.kind == fileNode {
					w.files[n.name].page = true
				}
			}
		}
	}
	for again := true; again; {
		again = false
		for _, e := range w.edges {
			if e.from.kind == fileNode && e.to.kind == fileNode && on(e.from) != on(e.to) {
				w.files[e.from.name].page, w.files[e.to.name].page = true, true
				again = true
			}
		}
	}
}

// String is the direction in requests.
func (d Direction) String() string { return [...]string{"BACK", "FORTH", "BOTH"}[d] }
