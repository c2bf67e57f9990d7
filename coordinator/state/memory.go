package state

import (
	"cmp"
	"slices"
	"unique"

	"github.com/dgraph-io/badger/v4"
	"google.golang.org/protobuf/proto"

	"consort/shared/uws"
)

// Active is what memory holds of a job that has not ended. It is never changed: a change of the job makes
// another.
type Active struct {
	ID               string
	Owner            string
	Definition       string
	Version          string // of the definition
	Phase            uws.Phase
	CreatedUs        int64
	QueuedUs         int64
	NotBeforeUs      int64 // a retry waits until then
	Epoch            uint64
	AttemptOpen      bool
	Site             string // of the current attempt
	ExecutionSeconds int64  // 0: unlimited
}

// OpenAttempt is an attempt that has not ended.
type OpenAttempt struct {
	Job              string
	Epoch            uint64
	Site             string
	Cancelling       bool  // the job has ended; the attempt waits to be closed
	RunStartedUs     int64 // 0: its code does not run yet
	ExecutionSeconds int64 // run limit, 0: none
	WorkLeaseUntilUs int64
}

// Counts says how much there is, for metrics.
type Counts struct {
	Jobs []JobCount
	Open []SiteCount
}

// JobCount is the number of jobs of a definition in a phase, deleted ones left out.
type JobCount struct {
	Definition string
	Phase      string
	Jobs       int
}

// SiteCount is the number of open attempts at a site.
type SiteCount struct {
	Site     string
	Attempts int
}

type countKey struct{ definition, phase string }

// memory indexes the jobs that have not ended. It follows from the heads in Badger and is built anew when a
// database is opened; keyed lists of short-lived phases would be long rows of tombstones. Guarded by Store.mu.
type memory struct {
	jobs   map[string]*Active
	all    timeline                           // by creation
	owners map[string]*timeline               // by creation
	queued timeline                           // waiting for a site, by the time they were queued
	open   map[string]map[string]*OpenAttempt // site, job
	counts map[countKey]int
}

func newMemory() *memory {
	return &memory{jobs: map[string]*Active{}, owners: map[string]*timeline{},
		open: map[string]map[string]*OpenAttempt{}, counts: map[countKey]int{}}
}

// buildMemory reads all heads.
func buildMemory(txn *badger.Txn) (*memory, error) {
	m := newMemory()
	options := badger.DefaultIteratorOptions
	options.Prefix = newKey(tagJob)
	it := txn.NewIterator(options)
	defer it.Close()
	var active []*Active
	for it.Rewind(); it.Valid(); it.Next() {
		j := new(Job)
		if err := it.Item().Value(func(data []byte) error { return proto.Unmarshal(data, j) }); err != nil {
			return nil, corruptRecord(it.Item().Key(), err)
		}
		m.count(j, 1)
		m.setOpen(j)
		if a := activeOf(j); a != nil {
			active = append(active, a)
		}
	}
	// Timelines grow at their end.
	slices.SortFunc(active, func(a, b *Active) int { return cmp.Compare(a.CreatedUs, b.CreatedUs) })
	for _, a := range active {
		m.add(a)
	}
	slices.SortFunc(active, func(a, b *Active) int { return cmp.Compare(a.QueuedUs, b.QueuedUs) })
	for _, a := range active {
		m.enqueue(a)
	}
	return m, nil
}

func activeOf(j *Job) *Active {
	if j == nil || j.Deleted || final(j) {
		return nil
	}
	return &Active{
		ID: j.Id, Owner: intern(j.Owner), Definition: intern(j.Definition), Version: intern(j.DefinitionVersion),
		Phase: uws.Phase(intern(j.Phase)), CreatedUs: j.CreatedUs, QueuedUs: j.QueuedUs, NotBeforeUs: j.NotBeforeUs,
		Epoch: j.Epoch, AttemptOpen: j.AttemptOpen, Site: intern(j.Site), ExecutionSeconds: j.ExecutionSeconds,
	}
}

// intern lets equal strings share their memory.
func intern(s string) string { return unique.Make(s).Value() }

// update follows one change of a job.
func (m *memory) update(before, after *Job) {
	m.count(before, -1)
	m.count(after, 1)
	m.setOpen(after)
	old, fresh := m.jobs[after.Id], activeOf(after)
	if old != nil {
		m.queued.remove(old.QueuedUs, old.ID)
	}
	switch {
	case fresh != nil:
		m.add(fresh)
		m.enqueue(fresh)
	case old != nil:
		m.remove(old)
	}
}

func (m *memory) add(a *Active) {
	m.jobs[a.ID] = a
	m.all.put(a.CreatedUs, a)
	line := m.owners[a.Owner]
	if line == nil {
		line = new(timeline)
		m.owners[a.Owner] = line
	}
	line.put(a.CreatedUs, a)
}

func (m *memory) remove(a *Active) {
	delete(m.jobs, a.ID)
	m.all.remove(a.CreatedUs, a.ID)
	line := m.owners[a.Owner]
	line.remove(a.CreatedUs, a.ID)
	if line.len() == 0 {
		delete(m.owners, a.Owner)
	}
}

func (m *memory) enqueue(a *Active) {
	if a.Phase == uws.Queued && !a.AttemptOpen {
		m.queued.put(a.QueuedUs, a)
	}
}

// setOpen notes the job's open attempt, or that it has none.
func (m *memory) setOpen(j *Job) {
	if !j.AttemptOpen {
		if at := m.open[j.Site]; at != nil {
			delete(at, j.Id)
			if len(at) == 0 {
				delete(m.open, j.Site)
			}
		}
		return
	}
	at := m.open[j.Site]
	if at == nil {
		at = map[string]*OpenAttempt{}
		m.open[j.Site] = at
	}
	at[j.Id] = &OpenAttempt{Job: j.Id, Epoch: j.Epoch, Site: j.Site, Cancelling: final(j),
		RunStartedUs: j.RunStartedUs, ExecutionSeconds: j.ExecutionSeconds, WorkLeaseUntilUs: j.WorkLeaseUntilUs}
}

func (m *memory) count(j *Job, n int) {
	if j == nil || j.Deleted {
		return
	}
	k := countKey{intern(j.Definition), intern(j.Phase)}
	if m.counts[k] += n; m.counts[k] == 0 {
		delete(m.counts, k)
	}
}

// list returns up to limit active jobs (0: all) that match the query, newest first.
func (m *memory) list(q ListQuery, from int64, phases map[string]bool) []*Active {
	line := &m.all
	if !q.AllOwners {
		if line = m.owners[q.Owner]; line == nil {
			return nil
		}
	}
	var found []*Active
	for a := range line.newest(from) {
		if a.CreatedUs <= q.AfterUs || q.Limit > 0 && len(found) == q.Limit {
			break
		}
		if phases[string(a.Phase)] && (q.Definition == "" || a.Definition == q.Definition) {
			found = append(found, a)
		}
	}
	return found
}

// Active returns what memory holds of a job, nil when it has ended or is not there.
func (s *Store) Active(id string) *Active {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.memory.jobs[id]
}

// Queued returns up to limit jobs that wait for a site and were queued after the time given (microseconds;
// the QueuedUs of the last job got so far), those that wait longest first. A retry whose time has not come
// (NotBeforeUs) is among them.
func (s *Store) Queued(afterUs int64, limit int) []*Active {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.memory.queued.oldest(afterUs, limit)
}

// OpenAttempts returns the open attempts at a site, at all sites when it is empty, by job id.
func (s *Store) OpenAttempts(site string) []OpenAttempt {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var found []OpenAttempt
	for name, attempts := range s.memory.open {
		if site != "" && name != site {
			continue
		}
		for _, a := range attempts {
			found = append(found, *a)
		}
	}
	slices.SortFunc(found, func(a, b OpenAttempt) int { return cmp.Compare(a.Job, b.Job) })
	return found
}

// Counts counts jobs and open attempts, in the order of their names.
func (s *Store) Counts() Counts {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var c Counts
	for k, n := range s.memory.counts {
		c.Jobs = append(c.Jobs, JobCount{Definition: k.definition, Phase: k.phase, Jobs: n})
	}
	for site, attempts := range s.memory.open {
		c.Open = append(c.Open, SiteCount{Site: site, Attempts: len(attempts)})
	}
	slices.SortFunc(c.Jobs, func(a, b JobCount) int {
		return cmp.Or(cmp.Compare(a.Definition, b.Definition), cmp.Compare(a.Phase, b.Phase))
	})
	slices.SortFunc(c.Open, func(a, b SiteCount) int { return cmp.Compare(a.Site, b.Site) })
	return c
}
