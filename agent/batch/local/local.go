// Package local is the batch system of a site that has none: plain processes on the agent's own machine,
// in the order of their submission, as many at once as its cores and memory allow.
//
// Jobs live in sessions of their own and write to files only, so they go on when the agent stops or is
// killed, and the next agent finds them again. It is not a resource manager: cores and memory are
// reserved, not enforced, and a program that leaves its session and clears its environment can escape.
package local

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"consort/agent/batch"
	"consort/agent/journal/wal"
	"consort/shared/failpoint"
)

// ErrLocked means that another process uses the directory.
var ErrLocked = errors.New("the local batch system's directory is in use by another process")

// ErrClosed means that the scheduler was closed.
var ErrClosed = errors.New("the local batch system is closed")

// Config describes the machine.
type Config struct {
	Dir         string        // for the scheduler's own records; made with mode 0700 when missing
	Cores       int           // to give to jobs; 0 is all of the machine's
	MemoryBytes int64         // to give to jobs; 0 is no limit
	Grace       time.Duration // from TERM to KILL; 0 is 10 s
	Logger      *slog.Logger  // nil discards
}

// Scheduler is the local batch system. It implements batch.Scheduler and batch.Notifier.
type Scheduler struct {
	cfg     Config
	lock    *os.File
	log     *wal.Log
	boot    string
	changed chan struct{}

	ctx  context.Context // done when the scheduler closes
	stop context.CancelFunc
	wg   sync.WaitGroup // everything that runs on behalf of the scheduler

	mu        sync.Mutex
	closed    bool
	jobs      map[string]*job // by id, which is the name
	queue     []*job          // in order
	nextSeq   uint64
	cores     int   // free
	memory    int64 // free; negative numbers are possible after a restart with fewer
	compactAt int64

	strays strays
}

var (
	_ batch.Scheduler = (*Scheduler)(nil)
	_ batch.Notifier  = (*Scheduler)(nil)
)

// New opens the scheduler's records, finds the jobs that run, and starts those that wait.
func New(cfg Config) (*Scheduler, error) {
	if cfg.Cores == 0 {
		cfg.Cores = runtime.NumCPU()
	}
	if cfg.Grace == 0 {
		cfg.Grace = 10 * time.Second
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Cores < 0 || cfg.MemoryBytes < 0 || cfg.Grace < 0 {
		return nil, fmt.Errorf("local batch system: cores, memory and grace must not be negative")
	}
	s := &Scheduler{cfg: cfg, changed: make(chan struct{}, 1), jobs: map[string]*job{}, cores: cfg.Cores, memory: cfg.MemoryBytes, compactAt: compactFloor}
	s.ctx, s.stop = context.WithCancel(context.Background())
	s.strays.wake = make(chan struct{}, 1)
	if err := s.open(); err != nil {
		s.stop()
		return nil, fmt.Errorf("local batch system: %w", err)
	}
	s.wg.Go(func() { s.sweep(s.ctx) })
	s.recover()
	s.dispatch()
	return s, nil
}

func (s *Scheduler) open() (err error) {
	if s.boot, err = bootID(); err != nil {
		return err
	}
	// Jobs outlive the agent, so they must not hold a pipe or lock that the agent got from its own parent.
	// Kernels before 5.11 cannot do this, and then such a descriptor stays open until the job ends.
	_ = unix.CloseRange(3, math.MaxInt32, unix.CLOSE_RANGE_CLOEXEC)
	if err := os.MkdirAll(s.cfg.Dir, 0o700); err != nil {
		return err
	}
	if s.lock, err = lockDir(s.cfg.Dir); err != nil {
		return err
	}
	var dropped int64
	s.log, dropped, err = wal.Open(filepath.Join(s.cfg.Dir, "jobs"), s.replay)
	if err != nil {
		s.lock.Close()
		return err
	}
	if dropped > 0 {
		s.cfg.Logger.Warn("the records of local jobs ended in an incomplete one, which was dropped", "bytes", dropped)
	}
	return nil
}

func lockDir(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "LOCK"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("%w: %s", ErrLocked, dir)
		}
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	return f, nil
}

// Close stops watching. Jobs that run go on, and are found again by the next New on the same directory.
func (s *Scheduler) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	s.mu.Unlock()
	s.stop()
	s.wg.Wait()
	return errors.Join(s.log.Close(), s.lock.Close())
}

// Changed implements batch.Notifier.
func (s *Scheduler) Changed() <-chan struct{} { return s.changed }

func (s *Scheduler) notify() {
	select {
	case s.changed <- struct{}{}:
	default: // the reader has not taken the last hint yet
	}
}

// Submit implements batch.Scheduler. The id is the name. When it returns, the job is in the records on
// disk; a job that fits has been started.
func (s *Scheduler) Submit(ctx context.Context, spec batch.Spec) (string, error) {
	if err := errors.Join(ctx.Err(), spec.Validate()); err != nil {
		return "", err
	}
	if spec.Cores > s.cfg.Cores {
		return "", fmt.Errorf("%w: it wants %d cores, this machine gives %d", batch.ErrRejected, spec.Cores, s.cfg.Cores)
	}
	if s.cfg.MemoryBytes > 0 && spec.MemoryBytes > s.cfg.MemoryBytes {
		return "", fmt.Errorf("%w: it wants %d bytes of memory, this machine gives %d", batch.ErrRejected, spec.MemoryBytes, s.cfg.MemoryBytes)
	}
	if err := batch.CheckWrapper(spec.Wrapper); err != nil {
		return "", fmt.Errorf("%w: %w", batch.ErrRejected, err)
	}
	if err := s.enqueue(spec); err != nil {
		return "", err
	}
	defer s.wg.Done()
	// From here on the job may be started by another's end, too.
	if err := s.log.Sync(); err != nil {
		return "", fmt.Errorf("record the job: %w: %w", batch.ErrAmbiguous, err)
	}
	s.dispatch()
	return spec.Name, nil
}

// enqueue adds a new job to the records and the queue; a known name is left as it is. When it returns nil
// Close waits until the caller says Done.
func (s *Scheduler) enqueue(spec batch.Spec) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	if old := s.jobs[spec.Name]; old != nil {
		if old.Spec.Job != spec.Job || old.Spec.Epoch != spec.Epoch || old.Spec.Dir != spec.Dir {
			return fmt.Errorf("%w: the name %s belongs to another attempt", batch.ErrRejected, spec.Name)
		}
		s.wg.Add(1)
		return nil
	}
	j := newJob(record{Spec: spec, Seq: s.nextSeq, Phase: queued, Boot: s.boot})
	if s.fits(j) && len(s.queue) == 0 {
		// It starts at once: one record says both, so that one fsync is enough.
		j.Phase = starting
	}
	s.jobs[spec.Name] = j
	if err := s.save(j); err != nil {
		delete(s.jobs, spec.Name)
		return fmt.Errorf("record the job: %w", err)
	}
	s.nextSeq++
	s.queue = append(s.queue, j)
	s.wg.Add(1)
	return nil
}

// List implements batch.Scheduler. It also has the jobs that ended, as long as their directories exist.
func (s *Scheduler) List(ctx context.Context) ([]batch.Status, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	all := slices.SortedFunc(maps.Values(s.jobs), func(a, b *job) int { return cmp.Compare(a.Seq, b.Seq) })
	list := make([]batch.Status, 0, len(all))
	for _, j := range all {
		list = append(list, j.status())
	}
	return list, nil
}

// Cancel implements batch.Scheduler: TERM to every process of the job, and KILL after the grace.
func (s *Scheduler) Cancel(ctx context.Context, ids ...string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := s.cancel(ids); err != nil {
		return err
	}
	defer s.wg.Done()
	s.dispatch() // what waited behind a cancelled job may start
	return nil
}

// cancel marks jobs as cancelled. When it returns nil Close waits until the caller says Done.
func (s *Scheduler) cancel(ids []string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	var errs error
	for _, id := range ids {
		j := s.jobs[id]
		if j == nil || j.Phase == ended || j.Cancel {
			continue
		}
		j.Cancel = true
		if i := slices.Index(s.queue, j); i >= 0 {
			s.queue = slices.Delete(s.queue, i, i+1)
			j.end(batch.Account{Cause: batch.Cancelled, End: time.Now().UTC()})
			s.notify()
		}
		errs = errors.Join(errs, s.save(j))
		close(j.cancelled)
	}
	if errs == nil {
		s.wg.Add(1)
	}
	return errs
}

// Account implements batch.Scheduler.
func (s *Scheduler) Account(ctx context.Context, ids ...string) (map[string]batch.Account, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	accounts := map[string]batch.Account{}
	for _, id := range ids {
		if j := s.jobs[id]; j != nil && j.Account != nil {
			accounts[id] = *j.Account
		} else if j != nil {
			accounts[id] = batch.Account{}
		}
	}
	return accounts, nil
}

// fits tells whether the job's cores and memory are free. On an idle machine every job fits: one that was
// taken before the machine's share was made smaller must not block the queue for ever. It is called with
// mu held.
func (s *Scheduler) fits(j *job) bool {
	if s.cores == s.cfg.Cores && s.memory == s.cfg.MemoryBytes {
		return true
	}
	return j.Spec.Cores <= s.cores && (s.cfg.MemoryBytes == 0 || j.Spec.MemoryBytes <= s.memory)
}

// dispatch starts jobs from the head of the queue as long as they fit. A big job at the head holds back
// the small ones behind it, so that it is not passed for ever.
func (s *Scheduler) dispatch() {
	ready, err := s.takeReady()
	if err != nil {
		s.cfg.Logger.Error("local jobs wait because their start cannot be recorded", "err", err)
		return
	}
	for _, j := range ready {
		s.start(j)
	}
}

// takeReady reserves what the next jobs need and puts on disk that they may have been started.
func (s *Scheduler) takeReady() ([]*job, error) {
	s.mu.Lock()
	var ready []*job
	for !s.closed && len(s.queue) > 0 && s.fits(s.queue[0]) {
		j := s.queue[0]
		if j.Phase == queued {
			j.Phase, j.Boot = starting, s.boot
			if err := s.save(j); err != nil {
				j.Phase = queued
				s.mu.Unlock()
				return ready, err
			}
		}
		s.queue = s.queue[1:]
		s.cores -= j.Spec.Cores
		s.memory -= j.Spec.MemoryBytes
		ready = append(ready, j)
	}
	s.mu.Unlock()
	if len(ready) == 0 {
		return nil, nil
	}
	if err := s.log.Sync(); err != nil {
		return nil, err
	}
	return ready, nil
}

// start runs a job's wrapper and watches it.
func (s *Scheduler) start(j *job) {
	failpoint.Here("local-before-start")
	err := batch.CheckWrapper(j.Spec.Wrapper)
	var p *process
	if err == nil {
		p, err = spawn(j.Spec)
	}
	failpoint.Here("local-after-start")
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.cfg.Logger.Error("a local job could not be started", "name", j.Spec.Name, "err", err)
		s.endLocked(j, batch.Account{Cause: batch.Unknown, Reason: err.Error(), End: time.Now().UTC()})
		if !s.closed {
			s.wg.Go(s.dispatch)
		}
		return
	}
	s.runLocked(j, p)
}

// runLocked records a job's process and watches it. It is called with mu held.
func (s *Scheduler) runLocked(j *job, p *process) {
	j.Phase, j.PID, j.Ticks = running, p.pid, p.ticks
	if j.Start.IsZero() {
		j.Start = p.started()
	}
	s.saveOrWarn(j)
	s.notify()
	if s.closed { // the next agent finds it
		p.release()
		return
	}
	s.wg.Go(func() { s.watch(j, p) })
}

// endLocked records the end of a job and frees what it held. It is called with mu held.
func (s *Scheduler) endLocked(j *job, a batch.Account) {
	j.end(a)
	s.cores += j.Spec.Cores
	s.memory += j.Spec.MemoryBytes
	s.saveOrWarn(j)
	s.notify()
}

// saveOrWarn records what can be found out again from the processes and the files of the job.
func (s *Scheduler) saveOrWarn(j *job) {
	if err := s.save(j); err != nil {
		s.cfg.Logger.Error("a local job's progress could not be recorded", "name", j.Spec.Name, "err", err)
	}
}
