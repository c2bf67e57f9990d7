package local

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"sync"
	"syscall"
	"time"

	"consort/agent/batch"
)

const (
	walkInterval = 50 * time.Millisecond  // between two looks at the processes of a job that is being ended
	wrapperGrace = 2 * time.Second        // for the wrapper to record the end, when its program was killed
	sweepDelay   = 500 * time.Millisecond // one look at all processes serves all jobs that ended meanwhile
	maxSweeps    = 20                     // after which a job's stray processes are given up
)

// watch follows a running job to its end, or until the scheduler closes.
func (s *Scheduler) watch(j *job, p *process) {
	defer p.release()
	gone := make(chan struct{})
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		if p.wait(s.ctx) == nil {
			close(gone)
		}
	})
	var limit <-chan time.Time
	if j.Spec.WallTime > 0 { // Spec never changes
		t := time.NewTimer(j.Spec.WallTime - p.age())
		defer t.Stop()
		limit = t.C
	}
	ok := true
	select {
	case <-gone:
	case <-s.ctx.Done():
		return
	case <-j.cancelled:
		ok = s.terminate(j, p, gone)
	case <-limit:
		select {
		case <-gone: // in the same moment, by itself
		default:
			s.timedOut(j)
			ok = s.terminate(j, p, gone)
		}
	}
	if ok {
		s.finish(j, p)
	}
}

func (s *Scheduler) timedOut(j *job) {
	s.mu.Lock()
	defer s.mu.Unlock()
	j.TimedOut = true
	s.saveOrWarn(j)
}

// terminate ends all processes of a job: TERM, and after the grace KILL. The wrapper is spared as long as
// possible, so that it can record how its program ended. It returns false when the scheduler closes.
func (s *Scheduler) terminate(j *job, p *process, gone <-chan struct{}) bool {
	begin := time.Now()
	a := attemptOf(j.Spec)
	warned := map[stat]bool{}
	walk := time.NewTicker(walkInterval)
	defer walk.Stop()
	for {
		spent := time.Since(begin)
		for _, st := range tree(a, p.pid) {
			switch {
			case st.pid == p.pid && spent < s.cfg.Grace+wrapperGrace:
			case spent >= s.cfg.Grace:
				st.signal(syscall.SIGKILL)
			case !warned[st]:
				warned[st] = true
				st.signal(syscall.SIGTERM)
				st.signal(syscall.SIGCONT) // one that was stopped would not hear
			}
		}
		select {
		case <-gone:
			for st := range warned { // those that left the session and now have another parent
				st.signal(syscall.SIGKILL)
			}
			return true
		case <-s.ctx.Done():
			return false
		case <-walk.C:
		}
	}
}

// finish records the end of a job whose wrapper has ended, clears away what it left, and starts the next.
func (s *Scheduler) finish(j *job, p *process) {
	if other := s.successor(j, p); other != nil {
		p.reap()
		s.mu.Lock()
		s.runLocked(j, other)
		s.mu.Unlock()
		return
	}
	if p.child {
		// Until it is reaped, its number cannot pass to another group.
		_ = syscall.Kill(-p.pid, syscall.SIGKILL) // mostly there is nobody left
	}
	usage, status := p.reap()
	s.strays.add(attemptOf(j.Spec))
	s.mu.Lock()
	r := j.record
	s.mu.Unlock()
	a := accountOf(&r, s.boot)
	if usage != nil {
		a.MaxRSSBytes = usage.Maxrss << 10
	}
	if a.Cause == batch.Unknown && status.Signaled() {
		a.Signal = int(status.Signal())
	}
	s.mu.Lock()
	s.endLocked(j, a)
	s.mu.Unlock()
	s.dispatch()
}

// successor finds the wrapper that really runs the attempt when ours found the file started and went away:
// an earlier agent was killed between starting that one and recording it.
func (s *Scheduler) successor(j *job, p *process) *process {
	if _, err := batch.ReadExit(j.Spec.Dir); !errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	st, err := batch.ReadStarted(j.Spec.Dir)
	if err != nil || st.PID == p.pid {
		return nil
	}
	return s.adoptStarted(j, st)
}

// adoptStarted takes over the process that a file started names, when it is alive and the attempt's.
func (s *Scheduler) adoptStarted(j *job, started *batch.Started) *process {
	if started.BootID != s.boot || started.PID <= 1 || started.PID == os.Getpid() {
		return nil
	}
	st, err := readStat(started.PID)
	if err != nil {
		return nil
	}
	if mark, ok := attemptIn(started.PID); !ok || mark != attemptOf(j.Spec) {
		return nil
	}
	return adopt(st.pid, st.ticks)
}

// accountOf tells how a job ended from the exit file and the record.
func accountOf(r *record, boot string) batch.Account {
	a := batch.Account{Cause: batch.Unknown, Start: r.Start, End: time.Now().UTC(), Node: hostname()}
	exit, err := batch.ReadExit(r.Spec.Dir)
	switch {
	case err == nil && exit.Job == r.Spec.Job && exit.Epoch == r.Spec.Epoch:
		a.Cause, a.ExitCode, a.Signal = batch.Exited, exit.Code(), exit.Signal()
		a.Start, a.End, a.CPUSeconds, a.Node = exit.Start, exit.End, exit.CPU.Seconds(), exit.Host
		if exit.Error != "" {
			a.Reason = "the program could not be started: " + exit.Error
		}
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		a.Reason = err.Error()
	case r.Boot != boot:
		a.Cause, a.Reason = batch.NodeFailed, "the machine was started again meanwhile"
	default:
		a.Reason = "the wrapper ended without recording how"
	}
	switch { // what was done to it counts for more than how it took that
	case r.TimedOut:
		a.Cause = batch.TimeLimit
	case r.Cancel && (a.Cause != batch.Exited || a.ExitCode != 0 || a.Signal != 0):
		a.Cause = batch.Cancelled
	}
	return a
}

func hostname() string {
	name, err := os.Hostname()
	if err != nil {
		return ""
	}
	return name
}

// recover sorts the jobs of the records: those that run are adopted, those that wait wait on, and the others
// have ended.
func (s *Scheduler) recover() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, j := range s.unfinished() {
		switch {
		case j.Cancel && j.Phase == queued:
			j.end(batch.Account{Cause: batch.Cancelled, End: time.Now().UTC()})
			s.saveOrWarn(j)
		case j.Phase == queued:
			s.queue = append(s.queue, j)
		default:
			s.recoverStarted(j)
		}
	}
}

// recoverStarted finds out about a job that was, or may have been, started.
func (s *Scheduler) recoverStarted(j *job) {
	p, begun := s.find(j)
	if p == nil && !begun && j.Boot == s.boot && !j.Cancel {
		j.Phase = queued
		s.queue = append(s.queue, j)
		return
	}
	s.cores -= j.Spec.Cores
	s.memory -= j.Spec.MemoryBytes
	if p != nil {
		s.runLocked(j, p)
		return
	}
	s.strays.add(attemptOf(j.Spec))
	a := accountOf(&j.record, s.boot)
	if !begun && j.Cancel {
		a = batch.Account{Cause: batch.Cancelled, End: time.Now().UTC()}
	}
	s.endLocked(j, a)
}

// find looks for a job's wrapper: by its number and start, by the file started, and by its mark. begun tells
// whether there is any sign that it ever ran.
func (s *Scheduler) find(j *job) (p *process, begun bool) {
	if j.Phase == running && j.Boot == s.boot {
		if p := adopt(j.PID, j.Ticks); p != nil {
			return p, true
		}
	}
	if _, err := batch.ReadExit(j.Spec.Dir); err == nil {
		return nil, true
	}
	started, err := batch.ReadStarted(j.Spec.Dir)
	if err == nil {
		return s.adoptStarted(j, started), true
	}
	// Killed between its start and its first line: the wrapper leads the session of the marked processes.
	for _, st := range tree(attemptOf(j.Spec), 0) {
		if st.pid == st.session {
			return adopt(st.pid, st.ticks), true
		}
	}
	return nil, j.Phase == running || !errors.Is(err, fs.ErrNotExist)
}

// strays are attempts that ended and may have left processes outside their session.
type strays struct {
	wake chan struct{}

	mu   sync.Mutex
	left map[attempt]int // how often each was looked for
}

func (s *strays) add(a attempt) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.left == nil {
		s.left = map[attempt]int{}
	}
	s.left[a] = 0
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// sweep kills strays until the context is done. One walk over all processes serves many jobs.
func (s *Scheduler) sweep(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.strays.wake:
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(sweepDelay):
		}
		s.strays.sweepOnce()
	}
}

func (s *strays) sweepOnce() {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := processes()
	own := ourselves(all)
	found := map[attempt]bool{}
	for _, st := range all {
		a, ok := attemptIn(st.pid)
		if _, wanted := s.left[a]; !ok || !wanted || own[st.pid] {
			continue
		}
		found[a] = true
		st.signal(syscall.SIGKILL)
	}
	for a, sweeps := range s.left {
		s.left[a] = sweeps + 1
		if !found[a] || sweeps >= maxSweeps {
			delete(s.left, a)
		}
	}
	if len(s.left) > 0 {
		select {
		case s.wake <- struct{}{}:
		default:
		}
	}
}
