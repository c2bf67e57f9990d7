// Package journal keeps an agent's memory on disk: which attempts it was given and how far each one is. An
// intent is in the journal before its side effect, so that after a kill or a power cut the agent knows
// what may have happened and asks, instead of doing it twice.
//
// The journal stores and finds entries. It does not know which stage may follow which, nor what stands in
// an entry's Data: both belong to package attempt.
//
// Its directory holds FORMAT (what this is and whose), LOCK (held while an agent runs) and log (one line
// of JSON for each change, see package wal).
package journal

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"consort/agent/journal/wal"
	"consort/shared/ids"
)

// ErrLocked means that another agent uses the directory.
var ErrLocked = errors.New("another agent is running on this data directory")

// ErrForeign means that the directory belongs to another cluster or site, or is no journal at all.
var ErrForeign = errors.New("not this agent's journal")

// ErrNewer means that a newer program wrote the journal.
var ErrNewer = errors.New("the journal has a newer format than this program knows")

// ErrEntry means that an entry cannot be stored: it lacks a valid job, an epoch or a stage, or is too long.
var ErrEntry = errors.New("not a valid journal entry")

// Stage says how far an attempt is. Package attempt decides the order.
type Stage string

// The stages of an attempt. A stage is written before the work that it names begins.
const (
	Leased     Stage = "leased"     // the coordinator gave the attempt to this site
	Staging    Stage = "staging"    // inputs and files are being fetched
	Submitting Stage = "submitting" // a batch job may exist from now on
	Submitted  Stage = "submitted"  // the batch system named the job
	Running    Stage = "running"    // the program was seen running
	Ended      Stage = "ended"      // the program is known to have ended
	Uploading  Stage = "uploading"  // outputs are on their way
	Sealed     Stage = "sealed"     // the coordinator holds and has verified every output
	Committing Stage = "committing" // the commit may have been accepted from now on
	Committed  Stage = "committed"  // the commit was answered; only cleaning is left
	Failed     Stage = "failed"     // the attempt failed; the report may still be due
	Cancelling Stage = "cancelling" // the attempt is to be stopped, until the batch system confirms
	Closed     Stage = "closed"     // the coordinator knows the end; only cleaning is left
)

// maxEntry is the greatest length in bytes of one entry as JSON.
const maxEntry = 4 << 20

// compactFloor is the length in bytes below which a log is never compacted.
const compactFloor = 4 << 20

// Entry is what the agent remembers of one attempt.
type Entry struct {
	Job     string          `json:"job"`
	Epoch   uint64          `json:"epoch"`
	Stage   Stage           `json:"stage"`
	Lease   json.RawMessage `json:"lease,omitempty"`   // as the coordinator sent it
	BatchID string          `json:"batchID,omitempty"` // the batch system's name of the job
	Updated time.Time       `json:"updated"`           // site time of the change; set by the caller
	Data    json.RawMessage `json:"data,omitempty"`    // what package attempt adds
}

// clone makes the entry independent of its caller's buffers.
func (e Entry) clone() Entry {
	e.Lease = slices.Clone(e.Lease)
	e.Data = slices.Clone(e.Data)
	return e
}

type key struct {
	job   string
	epoch uint64
}

// change is one line of the log: an entry as it is now, or with Gone set, one that was deleted.
type change struct {
	Entry
	Gone bool `json:"gone,omitempty"`
}

// Config says which journal to open.
type Config struct {
	Dir     string       // made with mode 0700 when missing
	Cluster string       // the cluster that this agent serves, as fixed at enrolment
	Site    string       // the site's name
	Logger  *slog.Logger // warnings about the log; nil discards them
}

// Journal is an open journal. Its methods may be called at the same time. After an error that wraps
// wal.ErrBroken the agent must stop: what is on disk is not known any more.
type Journal struct {
	lock   *os.File
	log    *wal.Log
	logger *slog.Logger

	mu        sync.Mutex
	entries   map[key]Entry
	sizes     map[key]int64
	live      int64 // sum of sizes: about the length of the log after a compaction
	compactAt int64 // length of the log at which it is compacted
}

// Open opens the journal or makes a new one, and locks its directory until Close.
func Open(cfg Config) (*Journal, error) {
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the journal's directory: %w", err)
	}
	lock, err := lockDir(cfg.Dir)
	if err != nil {
		return nil, err
	}
	j := &Journal{lock: lock, logger: cfg.Logger, entries: map[key]Entry{}, sizes: map[key]int64{}, compactAt: compactFloor}
	if j.logger == nil {
		j.logger = slog.New(slog.DiscardHandler)
	}
	if err := j.load(cfg); err != nil {
		lock.Close()
		return nil, fmt.Errorf("open the journal %s: %w", cfg.Dir, err)
	}
	return j, nil
}

func (j *Journal) load(cfg Config) error {
	if err := checkFormat(cfg); err != nil {
		return err
	}
	log, dropped, err := wal.Open(filepath.Join(cfg.Dir, "log"), j.replay)
	if err != nil {
		return err
	}
	if dropped > 0 {
		j.logger.Warn("the journal ended in an incomplete record, which was dropped", "dir", cfg.Dir, "bytes", dropped)
	}
	j.log = log
	return nil
}

// replay applies one line of the log.
func (j *Journal) replay(record []byte) error {
	var c change
	if err := json.Unmarshal(record, &c); err != nil {
		return fmt.Errorf("%w: %w", ErrEntry, err)
	}
	if err := c.check(); err != nil {
		return err
	}
	j.apply(c, len(record))
	return nil
}

// check is deliberately lenient about the stage's value: an older program must not refuse what a newer
// one knows; package attempt does.
func (c change) check() error {
	switch {
	case !ids.ValidJob(c.Job):
		return fmt.Errorf("%w: job %q", ErrEntry, c.Job)
	case c.Epoch == 0:
		return fmt.Errorf("%w: job %s has epoch 0", ErrEntry, c.Job)
	case c.Stage == "" && !c.Gone:
		return fmt.Errorf("%w: job %s epoch %d has no stage", ErrEntry, c.Job, c.Epoch)
	}
	return nil
}

func (j *Journal) apply(c change, size int) {
	k := key{c.Job, c.Epoch}
	j.live -= j.sizes[k]
	if c.Gone {
		delete(j.entries, k)
		delete(j.sizes, k)
		return
	}
	j.entries[k] = c.Entry
	j.sizes[k] = int64(size)
	j.live += int64(size)
}

// Put stores an entry in place of the one with the same job and epoch. When it returns nil the entry is
// on disk; entries put at the same time share one fsync.
func (j *Journal) Put(e Entry) error {
	if err := j.write(change{Entry: e.clone()}); err != nil {
		return err
	}
	return j.sync()
}

// Note stores an entry that survives the death of the process but may be lost, back to the one before,
// when the power fails. It is for facts that can be found out again.
func (j *Journal) Note(e Entry) error { return j.write(change{Entry: e.clone()}) }

// Delete forgets an attempt. A deletion may be undone by a power cut; so the caller must be ready to
// delete again. Deleting what is not there is no error.
func (j *Journal) Delete(job string, epoch uint64) error {
	if _, ok := j.Get(job, epoch); !ok {
		return nil
	}
	return j.write(change{Entry: Entry{Job: job, Epoch: epoch}, Gone: true})
}

func (j *Journal) write(c change) error {
	if err := c.check(); err != nil {
		return err
	}
	record, err := json.Marshal(c)
	if err != nil {
		return fmt.Errorf("%w: job %s epoch %d: %w", ErrEntry, c.Job, c.Epoch, err)
	}
	if len(record) > maxEntry {
		return fmt.Errorf("%w: job %s epoch %d takes %d bytes, at most %d are stored", ErrEntry, c.Job, c.Epoch, len(record), maxEntry)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if err := j.log.Append(record); err != nil {
		return fmt.Errorf("write the journal: %w", err)
	}
	j.apply(c, len(record))
	j.compactIfLong()
	return nil
}

// compactIfLong keeps the log within a small multiple of what it must hold. It is called with mu held.
// A compaction that fails, for example on a full disk, costs nothing but space: the old log goes on.
func (j *Journal) compactIfLong() {
	size := j.log.Size()
	if size < j.compactAt {
		return
	}
	if size < 4*j.live {
		j.compactAt = 4 * j.live
		return
	}
	if err := j.log.Compact(j.records()); err != nil {
		j.compactAt = 2 * size
		j.logger.Warn("the journal could not be compacted", "err", err)
		return
	}
	j.compactAt = max(compactFloor, 4*j.live)
}

func (j *Journal) records() iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for _, e := range sorted(j.entries) {
			record, err := json.Marshal(change{Entry: e})
			if err != nil || !yield(record) { // it was marshalled before: err is never set
				return
			}
		}
	}
}

func (j *Journal) sync() error {
	if err := j.log.Sync(); err != nil {
		return fmt.Errorf("sync the journal: %w", err)
	}
	return nil
}

// Get returns the entry of one attempt.
func (j *Journal) Get(job string, epoch uint64) (Entry, bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	e, ok := j.entries[key{job, epoch}]
	return e.clone(), ok
}

// All returns every entry, by job and epoch.
func (j *Journal) All() []Entry {
	j.mu.Lock()
	defer j.mu.Unlock()
	all := sorted(j.entries)
	for i := range all {
		all[i] = all[i].clone()
	}
	return all
}

func sorted(entries map[key]Entry) []Entry {
	return slices.SortedFunc(maps.Values(entries), func(a, b Entry) int {
		return cmp.Or(cmp.Compare(a.Job, b.Job), cmp.Compare(a.Epoch, b.Epoch))
	})
}

// Close writes everything to disk and gives up the directory.
func (j *Journal) Close() error {
	return errors.Join(j.log.Close(), j.lock.Close())
}
