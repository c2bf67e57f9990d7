package replica

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

// logStore lets no write of the log hang or fail unnoticed. Raft's heartbeats go on while a write hangs, so
// that a leader with a stalled disk would block the cluster for ever; and after an fsync that failed
// nobody knows what is on disk. In both cases the store refuses all further writes and the node fails.
type logStore struct {
	raft.LogStore
	timeout time.Duration
	stored  func(bytes int64, took time.Duration)
	fail    func(error)

	work   chan storeRequest
	ended  chan struct{}
	broken atomic.Pointer[error]
}

type storeRequest struct {
	logs []*raft.Log
	done chan<- error
}

func newLogStore(s raft.LogStore, timeout time.Duration, stored func(int64, time.Duration), fail func(error)) *logStore {
	l := &logStore{LogStore: s, timeout: timeout, stored: stored, fail: fail,
		work: make(chan storeRequest, 1), ended: make(chan struct{})}
	go l.write()
	return l
}

// IsMonotonic tells Raft that the log has no gaps, so that installing a snapshot resets all of it.
func (l *logStore) IsMonotonic() bool { return true }

func (l *logStore) StoreLog(log *raft.Log) error { return l.StoreLogs([]*raft.Log{log}) }

// StoreLogs is called by one goroutine at a time.
func (l *logStore) StoreLogs(logs []*raft.Log) error {
	if err := l.broken.Load(); err != nil {
		return *err
	}
	start := time.Now()
	done := make(chan error, 1)
	l.work <- storeRequest{logs, done} // there is room: the request before has been answered
	timer := time.NewTimer(l.timeout)
	defer timer.Stop()
	var err error
	select {
	case err = <-done:
	case <-timer.C:
		err = fmt.Errorf("no answer from the disk within %v", l.timeout)
	}
	if err != nil {
		return l.breakOff(fmt.Errorf("write Raft log: %w", err))
	}
	var bytes int64
	for _, log := range logs {
		bytes += entryBytes(log)
	}
	l.stored(bytes, time.Since(start))
	return nil
}

// DeleteRange drops entries at one end of the log.
func (l *logStore) DeleteRange(first, last uint64) error {
	if err := l.broken.Load(); err != nil {
		return *err
	}
	return l.LogStore.DeleteRange(first, last)
}

func (l *logStore) breakOff(err error) error {
	l.broken.Store(&err)
	l.fail(err)
	return err
}

func (l *logStore) write() {
	defer close(l.ended)
	for r := range l.work {
		r.done <- l.LogStore.StoreLogs(r.logs)
	}
}

// close ends the writer. It waits for it unless a write hangs.
func (l *logStore) close() {
	close(l.work)
	if l.broken.Load() == nil {
		<-l.ended
	}
}

// entryBytes is about what an entry takes in the log.
func entryBytes(l *raft.Log) int64 { return int64(len(l.Data)+len(l.Extensions)) + 48 }
