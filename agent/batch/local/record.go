package local

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"slices"
	"time"

	"consort/agent/batch"
)

// phase is how far a job is in the records.
type phase string

const (
	queued   phase = "queued"   // was never started
	starting phase = "starting" // may have been started
	running  phase = "running"  // was started as PID
	ended    phase = "ended"    // Account is set
)

// record is a job on disk: one JSON line each time that it changes.
type record struct {
	Spec     batch.Spec
	Seq      uint64 // order of submission
	Phase    phase
	Boot     string         `json:",omitempty"` // the machine's boot in which the phase was reached
	PID      int            `json:",omitempty"` // of the wrapper, which is also its session and process group
	Ticks    uint64         `json:",omitempty"` // the process's start in clock ticks since the boot
	Start    time.Time      `json:",omitzero"`
	Cancel   bool           `json:",omitempty"` // its end was asked for
	TimedOut bool           `json:",omitempty"` // its wall time was over
	Account  *batch.Account `json:",omitempty"`
}

// job is a record with what the running scheduler needs. The scheduler's mu guards it.
type job struct {
	record
	cancelled chan struct{} // closed when Cancel becomes true
}

func newJob(r record) *job {
	j := &job{record: r, cancelled: make(chan struct{})}
	if r.Cancel {
		close(j.cancelled)
	}
	return j
}

func (j *job) end(a batch.Account) {
	a.Ended = true
	j.Phase, j.Account = ended, &a
}

func (j *job) status() batch.Status {
	st := batch.Status{ID: j.Spec.Name, Name: j.Spec.Name, Start: j.Start}
	switch {
	case j.Phase == ended:
		st.State = batch.Ended
	case j.Phase == running && (j.Cancel || j.TimedOut):
		st.State = batch.Ending
	case j.Phase == running:
		st.State = batch.Running
	default:
		st.State, st.Reason = batch.Queued, "waits for cores and memory"
	}
	return st
}

// compactFloor is the length in bytes below which the records are never compacted.
const compactFloor = 4 << 20

// save appends the job's record. It is called with mu held.
func (s *Scheduler) save(j *job) error {
	line, err := json.Marshal(j.record)
	if err != nil {
		return fmt.Errorf("write the record of %s: %w", j.Spec.Name, err)
	}
	if err := s.log.Append(line); err != nil {
		return err
	}
	if s.log.Size() >= s.compactAt {
		s.compact()
	}
	return nil
}

// compact forgets the jobs that ended and whose directories the agent has removed, and rewrites the log.
func (s *Scheduler) compact() {
	for name, j := range s.jobs {
		if j.Phase == ended && gone(j.Spec.Dir) {
			delete(s.jobs, name)
		}
	}
	if err := s.log.Compact(s.records()); err != nil {
		s.cfg.Logger.Warn("the records of local jobs could not be compacted", "err", err)
	}
	s.compactAt = max(compactFloor, 4*s.log.Size())
}

func gone(dir string) bool {
	_, err := os.Lstat(dir)
	return errors.Is(err, fs.ErrNotExist)
}

func (s *Scheduler) records() iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for _, j := range s.jobs {
			line, err := json.Marshal(j.record)
			if err != nil || !yield(line) { // it was marshalled before: err is never set
				return
			}
		}
	}
}

// errRecord means that a line of the log is not a job's record.
var errRecord = errors.New("not the record of a local job")

// replay reads one line of the log at open.
func (s *Scheduler) replay(line []byte) error {
	var r record
	if err := json.Unmarshal(line, &r); err != nil {
		return fmt.Errorf("%w: %w", errRecord, err)
	}
	if err := r.Spec.Validate(); err != nil {
		return fmt.Errorf("%w: %w", errRecord, err)
	}
	switch {
	case r.Phase == running && r.PID <= 1, r.Phase == ended && r.Account == nil,
		r.Phase != queued && r.Phase != starting && r.Phase != running && r.Phase != ended:
		return fmt.Errorf("%w: phase %q of %s", errRecord, r.Phase, r.Spec.Name)
	}
	s.jobs[r.Spec.Name] = newJob(r)
	s.nextSeq = max(s.nextSeq, r.Seq+1)
	return nil
}

// unfinished returns the jobs that have not ended, in order.
func (s *Scheduler) unfinished() []*job {
	var list []*job
	for _, j := range s.jobs {
		if j.Phase != ended {
			list = append(list, j)
		}
	}
	slices.SortFunc(list, func(a, b *job) int { return cmp.Compare(a.Seq, b.Seq) })
	return list
}
