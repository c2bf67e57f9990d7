package jobs

import (
	"context"
	"sync"
	"time"
)

// sharedTimeout bounds a read that is shared: no single caller's context may end it.
const sharedTimeout = 10 * time.Second

// sharedReads lets those who want the same job at the same moment have one read of it. When a job changes, a
// thousand may wait for it.
type sharedReads struct {
	mu      sync.Mutex
	flights map[string]*flights // by job
}

// flights are the reads of one job: one under way, and one to come for those who asked after that had begun,
// because it may have seen too old a state for them.
type flights struct{ running, next *flight }

type flight struct {
	done chan struct{}
	job  *Job
	err  error
}

// do returns what read gives, of a call that began after do did. The job is shared: it must not be changed.
func (s *sharedReads) do(ctx context.Context, id string, read func(context.Context) (*Job, error)) (*Job, error) {
	s.mu.Lock()
	if s.flights == nil {
		s.flights = map[string]*flights{}
	}
	all := s.flights[id]
	if all == nil {
		all = &flights{running: &flight{done: make(chan struct{})}}
		s.flights[id] = all
		mine := all.running
		s.mu.Unlock()
		s.fly(ctx, id, all, read)
		return mine.job, mine.err
	}
	if all.next == nil {
		all.next = &flight{done: make(chan struct{})}
	}
	mine := all.next
	s.mu.Unlock()
	select {
	case <-mine.done:
		return mine.job, mine.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// fly makes the read that is under way, and then has the next one made, for which its callers wait.
func (s *sharedReads) fly(ctx context.Context, id string, all *flights, read func(context.Context) (*Job, error)) {
	f := all.running
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), sharedTimeout)
	f.job, f.err = read(bounded)
	cancel()
	s.mu.Lock()
	all.running, all.next = all.next, nil
	if all.running == nil {
		delete(s.flights, id)
	} else {
		go s.fly(ctx, id, all, read)
	}
	s.mu.Unlock()
	close(f.done)
}
