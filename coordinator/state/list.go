package state

import (
	"fmt"
	"iter"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/dgraph-io/badger/v4"

	"consort/shared/ids"
	"consort/shared/uws"
)

// ListQuery says which jobs a list holds.
type ListQuery struct {
	// AllOwners lists everybody's jobs; Owner is ignored then.
	AllOwners bool
	// Owner is a principal; empty: anonymous.
	Owner string
	// Definition is a name; empty: all.
	Definition string
	// Phases are the phases wanted; none: all but ARCHIVED.
	Phases []string
	// AfterUs leaves out jobs created at or before this time, in microseconds.
	AfterUs int64
	// Limit is the greatest number of jobs; 0: all.
	Limit int
	// Cursor goes on after the job it was made of; empty: from the newest.
	Cursor string
}

// Cursor returns the cursor that goes on after j.
func Cursor(j *Job) string { return cursorPrefix + strconv.FormatInt(j.CreatedUs, 36) }

// cursorPrefix tells a cursor from any other text that happens to be a number.
const cursorPrefix = "c."

// parseCursor returns the time before which a list begins.
func parseCursor(c string) (int64, error) {
	if c == "" {
		return math.MaxInt64, nil
	}
	digits, ours := strings.CutPrefix(c, cursorPrefix)
	us, err := strconv.ParseInt(digits, 36, 64)
	if !ours || err != nil || us <= 0 {
		return 0, fmt.Errorf("%w: %.40q", ErrCursor, c)
	}
	return us, nil
}

// List yields the jobs of a query, newest first, as it reads them. It looks at the state as it is when the
// iteration starts, which is no older than the view. It ends with an error, ErrCursor among them.
func (v *View) List(q ListQuery) iter.Seq2[*Job, error] {
	return func(yield func(*Job, error) bool) {
		from, err := parseCursor(q.Cursor)
		if err != nil {
			yield(nil, err)
			return
		}
		l, err := v.store.startList(q, from)
		if err != nil {
			yield(nil, err)
			return
		}
		defer l.close()
		for n := 0; q.Limit <= 0 || n < q.Limit; {
			j, err := l.next()
			if err != nil {
				yield(nil, err)
				return
			}
			if j == nil {
				return
			}
			if q.Definition != "" && j.Definition != q.Definition {
				continue
			}
			if !yield(j, nil) {
				return
			}
			n++
		}
	}
}

// source is a row of jobs, newest first.
type source interface {
	// head returns time and id of the first job; false at the end.
	head() (createdUs int64, id string, ok bool)
	advance()
	close()
}

// list merges sources.
type list struct {
	handle  *handle
	txn     *badger.Txn
	sources []source
}

// startList takes a snapshot of database and memory together, so that a job which ends just now is in
// exactly one of them.
func (s *Store) startList(q ListQuery, from int64) (*list, error) {
	active, ended := map[string]bool{}, []string(nil)
	for _, name := range q.Phases {
		if p := uws.Phase(name); p.Final() {
			ended = append(ended, name)
		} else {
			active[name] = true
		}
	}
	slices.Sort(ended)
	ended = slices.Compact(ended)

	s.mu.RLock()
	h, err := s.acquire()
	if err != nil {
		s.mu.RUnlock()
		return nil, err
	}
	l := &list{handle: h, txn: h.db.NewTransaction(false)}
	var row activeRow
	if len(active) > 0 {
		row = s.memory.list(q, from, active)
	}
	s.mu.RUnlock()

	if len(row) > 0 {
		l.sources = append(l.sources, &row)
	}
	if len(q.Phases) == 0 {
		l.sources = append(l.sources, openRow(l.txn, prefixList(q), from, q.AfterUs))
	}
	for _, name := range ended {
		l.sources = append(l.sources, openRow(l.txn, prefixPhase(q, name), from, q.AfterUs))
	}
	return l, nil
}

func (l *list) close() {
	for _, s := range l.sources {
		s.close()
	}
	l.txn.Discard()
	l.handle.readers.Done()
}

// next returns the newest job of all sources, nil at the end.
func (l *list) next() (*Job, error) {
	var newest source
	var when int64
	var id string
	for _, s := range l.sources {
		if us, job, ok := s.head(); ok && (newest == nil || us > when) {
			newest, when, id = s, us, job
		}
	}
	if newest == nil {
		return nil, nil
	}
	newest.advance()
	j := new(Job)
	found, err := read(l.txn, keyJob(id), j)
	if err == nil && !found {
		err = fmt.Errorf("%w: job %s is in a list but has no record", ErrCorrupt, id)
	}
	return j, err
}

// activeRow is a row of jobs from memory.
type activeRow []*Active

func (r *activeRow) head() (int64, string, bool) {
	if len(*r) == 0 {
		return 0, "", false
	}
	return (*r)[0].CreatedUs, (*r)[0].ID, true
}

func (r *activeRow) advance() { *r = (*r)[1:] }
func (r *activeRow) close()   {}

// keyRow is a row of list keys.
type keyRow struct {
	it    *badger.Iterator
	after int64
}

func openRow(txn *badger.Txn, prefix key, from, after int64) *keyRow {
	it := txn.NewIterator(badger.IteratorOptions{Prefix: prefix})
	it.Seek(slices.Clone(prefix).newest(from - 1))
	return &keyRow{it: it, after: after}
}

func (r *keyRow) head() (int64, string, bool) {
	if !r.it.Valid() {
		return 0, "", false
	}
	k := r.it.Item().Key()
	tail := k[len(k)-8-ids.JobLen:]
	us := int64(^keyU64(tail))
	return us, string(tail[8:]), us > r.after
}

func (r *keyRow) advance() { r.it.Next() }
func (r *keyRow) close()   { r.it.Close() }
