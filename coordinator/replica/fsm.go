package replica

import (
	"errors"
	"fmt"
	"io"

	"github.com/hashicorp/raft"
)

// fsm shows the state machine to Raft. Its methods run in Raft's goroutine for it, and NewRaft's.
type fsm struct {
	replica *Replica
	machine StateMachine
	applied uint64 // index of the last entry that the machine holds
	handed  uint64 // index of the last entry that Raft handed over since the start
}

// errReplaying means that Raft has not come as far as the state yet, after a restart. A snapshot would
// bear an index of less than it holds.
var errReplaying = errors.New("entries from before the restart are still being replayed")

// unapplied is the result of an entry that the machine did not take.
type unapplied struct{}

// ApplyBatch hands committed entries to the machine. Those that it holds already, from before a restart,
// are skipped.
func (f *fsm) ApplyBatch(logs []*raft.Log) []any {
	results := make([]any, len(logs))
	var entries []Entry
	var places []int // where in results the entries' results go
	flush := func() error {
		defer func() { entries, places = nil, nil }()
		return f.apply(entries, places, results)
	}
	for i, l := range logs {
		results[i] = unapplied{}
		f.handed = l.Index
		if l.Index <= f.applied || f.replica.Err() != nil {
			continue
		}
		if l.Type == raft.LogCommand {
			entries, places = append(entries, Entry{Index: l.Index, Term: l.Term, Data: l.Data}), append(places, i)
			continue
		}
		if err := flush(); err != nil {
			f.replica.fail(err)
			continue
		}
		if err := f.machine.StoreConfiguration(l.Index, l.Data); err != nil {
			f.replica.fail(fmt.Errorf("keep configuration of entry %d: %w", l.Index, err))
			continue
		}
		f.reached(l.Index)
	}
	if err := flush(); err != nil {
		f.replica.fail(err)
	}
	return results
}

func (f *fsm) apply(entries []Entry, places []int, results []any) error {
	if len(entries) == 0 {
		return nil
	}
	first, last := entries[0].Index, entries[len(entries)-1].Index
	got, err := f.machine.ApplyBatch(entries)
	if err == nil && len(got) != len(entries) {
		err = fmt.Errorf("state machine gave %d results", len(got))
	}
	if err != nil {
		return fmt.Errorf("apply entries %d to %d: %w", first, last, err)
	}
	for i, place := range places {
		results[place] = got[i]
	}
	f.reached(last)
	return nil
}

func (f *fsm) reached(index uint64) {
	f.applied = index
	f.replica.seen.advance(index)
}

// Apply is not called by Raft, which prefers ApplyBatch; its interface wants it.
func (f *fsm) Apply(l *raft.Log) any { return f.ApplyBatch([]*raft.Log{l})[0] }

func (f *fsm) Snapshot() (raft.FSMSnapshot, error) {
	if err := f.replica.Err(); err != nil {
		return nil, err
	}
	if f.handed < f.applied {
		return nil, errReplaying
	}
	s, err := f.machine.Snapshot()
	if err != nil {
		return nil, fmt.Errorf("begin snapshot: %w", err)
	}
	return &fsmSnapshot{snapshot: s, written: f.replica.metrics.snapshotWritten}, nil
}

func (f *fsm) Restore(source io.ReadCloser) error {
	defer source.Close()
	if err := f.machine.Restore(source); err != nil {
		return fmt.Errorf("restore state: %w", err)
	}
	applied, _ := f.machine.Applied()
	f.handed = applied
	f.reached(applied)
	if f.replica.cfg.Restored != nil {
		f.replica.cfg.Restored()
	}
	return nil
}

// fsmSnapshot writes a snapshot to where Raft keeps it.
type fsmSnapshot struct {
	snapshot Snapshot
	written  func(bytes int64)
}

// Persist leaves it to Raft to close the sink, or to cancel it on error.
func (s *fsmSnapshot) Persist(sink raft.SnapshotSink) error {
	n, err := s.snapshot.WriteTo(sink)
	if err != nil {
		return fmt.Errorf("write snapshot: %w", err)
	}
	s.written(n)
	return nil
}

func (s *fsmSnapshot) Release() { s.snapshot.Close() }
