package state

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"github.com/dgraph-io/badger/v4"
	"google.golang.org/protobuf/proto"

	"consort/coordinator/command"
	"consort/shared/uws"
)

// Bounds of one command (DESIGN section 5.3).
const (
	maxKeys  = 2_000
	maxBytes = 256 << 10
)

// batch is a run of commands in one transaction. When the transaction would grow too big, it commits what
// it has, with the applied index of the last command in it, and goes on in a new one.
type batch struct {
	store *Store
	db    *badger.DB
	txn   *badger.Txn
	count int64
	size  int64
	dirty bool
	// digests has those of the definition versions that commands of this batch asked for; a version never changes.
	digests map[versionKey]string
	meta    *Meta
	changes []change
	events  []Event
}

// versionKey names a version of a definition.
type versionKey struct{ name, version string }

// change is a job's head before and after a command, for the memory.
type change struct{ before, after *Job }

func (s *Store) begin() *batch {
	return &batch{store: s, db: s.cur.db, txn: s.cur.db.NewTransaction(true), meta: proto.CloneOf(s.meta),
		digests: map[versionKey]string{}}
}

func (b *batch) discard() { b.txn.Discard() }

// reserve makes room for count keys of size bytes in all.
func (b *batch) reserve(count, size int64) error {
	const margin = 10 // percent, for what Badger and the meta record add
	limit := func(n int64) int64 { return n * (100 - margin) / 100 }
	if b.count+count < limit(b.db.MaxBatchCount()) && b.size+size < limit(b.db.MaxBatchSize()) {
		return nil
	}
	if err := b.commit(); err != nil {
		return err
	}
	b.txn = b.db.NewTransaction(true)
	return nil
}

// commit makes the batch durable, then visible, then known.
func (b *batch) commit() error {
	if !b.dirty {
		return nil
	}
	if err := b.txn.Set(keyMeta(), encode(b.meta)); err != nil {
		return fmt.Errorf("write meta: %w", err)
	}
	s := b.store
	s.mu.Lock()
	if err := b.txn.Commit(); err != nil {
		s.mu.Unlock()
		return fmt.Errorf("commit up to entry %d: %w", b.meta.AppliedIndex, err)
	}
	s.meta = proto.CloneOf(b.meta)
	for _, c := range b.changes {
		s.memory.update(c.before, c.after)
	}
	if slices.ContainsFunc(b.events, func(e Event) bool { return e.Kind == DefinitionEvent }) {
		s.published.Add(1)
	}
	s.mu.Unlock()
	if len(b.events) > 0 {
		s.cfg.Publish(b.events)
	}
	b.count, b.size, b.dirty, b.changes, b.events = 0, 0, false, nil, nil
	return nil
}

// tx is what one command sees and writes. Writes are held back until the command has answered OK; those of
// a command that is refused are dropped, so that a refusal changes nothing.
//
// The first error of the store sticks: reads answer "nothing" from then on, and the caller looks at err once,
// at the end.
type tx struct {
	b       *batch
	now     int64  // cluster time of the command, microseconds
	index   uint64 // of its log entry
	who     string // verified principal
	err     error
	staged  map[string][]byte // nil: delete
	order   []string
	size    int
	meta    *Meta // the cluster's identity, when the command sets it
	changes []change
	events  []Event
}

func (t *tx) set(k key, value []byte)    { t.stage(k, value) }
func (t *tx) put(k key, m proto.Message) { t.stage(k, encode(m)) }
func (t *tx) mark(k key)                 { t.stage(k, []byte{}) }
func (t *tx) delete(k key)               { t.stage(k, nil) }

func (t *tx) stage(k key, value []byte) {
	name := string(k)
	if old, ok := t.staged[name]; ok {
		t.size -= len(old)
	} else {
		t.order = append(t.order, name)
		t.size += len(k)
	}
	t.staged[name] = value
	t.size += len(value)
}

// raw returns the value at k and whether there is one.
func (t *tx) raw(k key) ([]byte, bool) {
	if t.err != nil {
		return nil, false
	}
	if value, ok := t.staged[string(k)]; ok {
		return value, value != nil
	}
	item, err := t.b.txn.Get(k)
	if errors.Is(err, badger.ErrKeyNotFound) {
		return nil, false
	}
	if err != nil {
		t.err = fmt.Errorf("read %q: %w", []byte(k), err)
		return nil, false
	}
	value, err := item.ValueCopy(nil)
	if err != nil {
		t.err = fmt.Errorf("read %q: %w", []byte(k), err)
		return nil, false
	}
	return value, true
}

func (t *tx) has(k key) bool {
	_, ok := t.raw(k)
	return ok
}

// get decodes the record at k into m and tells whether there is one.
func (t *tx) get(k key, m proto.Message) bool {
	data, ok := t.raw(k)
	if !ok {
		return false
	}
	if err := proto.Unmarshal(data, m); err != nil {
		t.err = fmt.Errorf("%w: record %q: %w", ErrCorrupt, []byte(k), err)
		return false
	}
	return true
}

// keys returns up to limit keys with the prefix that were there before this command.
func (t *tx) keys(prefix key, limit int) []key {
	if t.err != nil || limit <= 0 {
		return nil
	}
	it := t.b.txn.NewIterator(badger.IteratorOptions{Prefix: prefix})
	defer it.Close()
	var keys []key
	for it.Rewind(); it.Valid() && len(keys) < limit; it.Next() {
		keys = append(keys, it.Item().KeyCopy(nil))
	}
	return keys
}

// flush moves what the command wrote into the batch.
func (t *tx) flush() error {
	const overhead = 32 // more than Badger counts for an entry beside key and value
	if err := t.b.reserve(int64(len(t.order)), int64(t.size+overhead*len(t.order))); err != nil {
		return err
	}
	for _, name := range t.order {
		k, value := []byte(name), t.staged[name]
		err := error(nil)
		if value == nil {
			err = t.b.txn.Delete(k)
		} else {
			err = t.b.txn.Set(k, value)
		}
		if err != nil {
			return fmt.Errorf("write %q: %w", k, err)
		}
	}
	t.b.count += int64(len(t.order))
	t.b.size += int64(t.size + overhead*len(t.order))
	t.b.changes = append(t.b.changes, t.changes...)
	t.b.events = append(t.b.events, t.events...)
	return nil
}

// job returns the head of a job, nil when there is none.
func (t *tx) job(id string) *Job {
	j := new(Job)
	if !t.get(keyJob(id), j) {
		return nil
	}
	return j
}

// edit returns the head as it is, and a copy to change; save writes the difference.
func edit(j *Job) (before, after *Job) { return j, proto.CloneOf(j) }

// save writes the head of a job with its next version and all indexes that follow from it. before is nil for
// a new job. The caller has checked that the phase may change.
func (t *tx) save(before, after *Job) {
	after.Version++
	t.put(keyJob(after.Id), after)
	old, fresh := indexKeys(before), indexKeys(after)
	for _, k := range old {
		if !contains(fresh, k) {
			t.delete(k)
		}
	}
	for _, k := range fresh {
		if !contains(old, k) {
			t.mark(k)
		}
	}
	if endedNow(before, after) {
		for _, k := range t.foundKeys(after) {
			t.mark(k)
		}
	}
	snapshot := proto.CloneOf(after)
	t.changes = append(t.changes, change{before: before, after: snapshot})
	t.events = append(t.events, jobEvent(before, snapshot, t.index))
}

func contains(keys []key, k key) bool {
	for _, other := range keys {
		if bytes.Equal(other, k) {
			return true
		}
	}
	return false
}

func jobEvent(before, after *Job, index uint64) Event {
	owner := after.Owner
	if before != nil {
		owner = before.Owner // a purge takes the owner's name out of the head
	}
	return Event{Kind: JobEvent, Job: after.Id, Definition: after.Definition, Owner: owner, Site: after.Site,
		Phase: after.Phase, Version: after.Version, Index: index}
}

func phase(j *Job) uws.Phase { return uws.Phase(j.Phase) }

// final tells whether the job has ended for its user: phase, results and end time stay.
func final(j *Job) bool { return phase(j).Final() }

func archived(j *Job) bool { return phase(j) == uws.Archived }

func answer(j *Job) *command.Result {
	return &command.Result{Job: j.Id, Version: j.Version, Phase: j.Phase, Epoch: j.Epoch, Definition: j.Definition}
}

func refuse(code command.Result_Code, format string, args ...any) *command.Result {
	return &command.Result{Code: code, Message: fmt.Sprintf(format, args...)}
}

// refuseJob is refuse with the job as it stands, so that the caller learns why.
func refuseJob(j *Job, code command.Result_Code, format string, args ...any) *command.Result {
	r := answer(j)
	r.Code, r.Message = code, fmt.Sprintf(format, args...)
	return r
}

func noJob(id string) *command.Result {
	return refuse(command.Result_NOT_FOUND, "there is no job %.64q", id)
}
