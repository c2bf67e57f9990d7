package local

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"consort/agent/batch"
	"consort/agent/batch/batchtest"
	"consort/agent/journal/wal"
)

// fixture is a local batch system of four cores.
type fixture struct {
	s    *Scheduler
	cfg  Config
	jobs string
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{cfg: Config{Dir: t.TempDir(), Cores: 4, MemoryBytes: 1 << 30, Grace: 300 * time.Millisecond}, jobs: t.TempDir()}
	f.open(t)
	t.Cleanup(f.stop)
	return f
}

func (f *fixture) open(t *testing.T) {
	t.Helper()
	s, err := New(f.cfg)
	if err != nil {
		t.Fatal(err)
	}
	f.s = s
}

// stop ends all jobs, so that their directories can be removed, and closes.
func (f *fixture) stop() {
	ctx := context.Background() // the test's own is over
	list, _ := f.s.List(ctx)
	for _, st := range list {
		_ = f.s.Cancel(ctx, st.ID)
	}
	for _, st := range list {
		for all, _ := f.s.Account(ctx, st.ID); !all[st.ID].Ended; all, _ = f.s.Account(ctx, st.ID) {
			<-f.s.Changed()
		}
	}
	_ = f.s.Close()
}

func (f *fixture) Scheduler() batch.Scheduler { return f.s }

func (f *fixture) Restart(t *testing.T) batch.Scheduler {
	t.Helper()
	if err := f.s.Close(); err != nil {
		t.Fatal(err)
	}
	f.open(t)
	return f.s
}

func (f *fixture) Dir() string               { return f.jobs }
func (f *fixture) Cores() int                { return f.cfg.Cores }
func (f *fixture) Patience() time.Duration   { return 20 * time.Second }
func (f *fixture) ShortLimit() time.Duration { return 400 * time.Millisecond }

func TestConformance(t *testing.T) {
	batchtest.Run(t, func(t *testing.T) batchtest.Fixture { return newFixture(t) })
}

func submit(t *testing.T, f *fixture, change func(*batch.Spec), script string) batch.Spec {
	t.Helper()
	spec := batchtest.NewSpec(t, f.jobs, script)
	if change != nil {
		change(&spec)
	}
	if _, err := f.s.Submit(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	return spec
}

func cores(n int) func(*batch.Spec) { return func(s *batch.Spec) { s.Cores = n } }

func (f *fixture) state(t *testing.T, spec batch.Spec) batch.State {
	t.Helper()
	list, err := f.s.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, st := range list {
		if st.Name == spec.Name {
			return st.State
		}
	}
	return ""
}

func TestFirstComeFirstServed(t *testing.T) {
	f := newFixture(t)
	small := submit(t, f, cores(2), once)
	big := submit(t, f, cores(4), "exit 0")
	late := submit(t, f, cores(1), "exit 0")
	for spec, want := range map[*batch.Spec]batch.State{&small: batch.Running, &big: batch.Queued, &late: batch.Queued} {
		if got := f.state(t, *spec); got != want {
			t.Errorf("%d cores: %s, want %s", spec.Cores, got, want)
		}
	}
	f.finishOnce(t, small)
	first, second := f.ended(t, big.Name), f.ended(t, late.Name)
	if second.Start.Before(first.Start) {
		t.Errorf("the big job was passed: %v, %v", first.Start, second.Start)
	}
	if f.s.cores != f.cfg.Cores || f.s.memory != f.cfg.MemoryBytes {
		t.Errorf("in the end %d cores and %d bytes are free", f.s.cores, f.s.memory)
	}
}

func TestCancelLetsOthersPass(t *testing.T) {
	f := newFixture(t)
	small := submit(t, f, cores(2), once)
	big := submit(t, f, cores(4), "exit 0")
	late := submit(t, f, cores(1), "exit 0")
	if err := f.s.Cancel(t.Context(), big.Name); err != nil {
		t.Fatal(err)
	}
	if a := f.ended(t, late.Name); !a.Succeeded() {
		t.Errorf("%+v", a)
	}
	f.finishOnce(t, small)
}

func TestMemoryIsReserved(t *testing.T) {
	f := newFixture(t)
	half := func(s *batch.Spec) { s.MemoryBytes = 600 << 20 }
	first := submit(t, f, half, once)
	second := submit(t, f, half, once)
	if got := f.state(t, second); got != batch.Queued {
		t.Errorf("it is %s", got)
	}
	f.finishOnce(t, first)
	f.finishOnce(t, second)
}

// TestSmallerMachine restarts with fewer cores than a job in the queue was taken for.
func TestSmallerMachine(t *testing.T) {
	f := newFixture(t)
	first := submit(t, f, cores(4), once)
	second := submit(t, f, cores(4), "exit 0")
	third := submit(t, f, nil, "exit 0")
	f.cfg.Cores, f.cfg.MemoryBytes = 2, 0
	f.Restart(t)
	f.finishOnce(t, first)
	for _, spec := range []batch.Spec{second, third} {
		if a := f.ended(t, spec.Name); !a.Succeeded() {
			t.Errorf("%+v", a)
		}
	}
}

func TestTooBig(t *testing.T) {
	f := newFixture(t)
	for _, change := range []func(*batch.Spec){cores(5), func(s *batch.Spec) { s.MemoryBytes = 2 << 30 }} {
		spec := batchtest.NewSpec(t, f.jobs, "exit 0")
		change(&spec)
		if _, err := f.s.Submit(t.Context(), spec); !errors.Is(err, batch.ErrRejected) {
			t.Errorf("got %v", err)
		}
	}
	spec := submit(t, f, nil, "exit 0")
	spec.Epoch = 2
	if _, err := f.s.Submit(t.Context(), spec); !errors.Is(err, batch.ErrRejected) {
		t.Errorf("the name of another attempt: %v", err)
	}
}

func TestConfig(t *testing.T) {
	f := newFixture(t)
	if _, err := New(f.cfg); !errors.Is(err, ErrLocked) {
		t.Errorf("a second scheduler: %v", err)
	}
	if _, err := New(Config{Dir: t.TempDir(), Cores: -1}); err == nil {
		t.Error("negative cores were accepted")
	}
	damaged := t.TempDir()
	if err := os.WriteFile(filepath.Join(damaged, "jobs"), []byte("hello\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := New(Config{Dir: damaged}); !errors.Is(err, wal.ErrNotALog) {
		t.Errorf("damaged records: %v", err)
	}
}

func TestClosed(t *testing.T) {
	f := newFixture(t)
	for range 2 {
		if err := f.s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := f.s.Submit(t.Context(), batchtest.NewSpec(t, f.jobs, "exit 0")); !errors.Is(err, ErrClosed) {
		t.Errorf("submit: %v", err)
	}
	if err := f.s.Cancel(t.Context(), "x"); !errors.Is(err, ErrClosed) {
		t.Errorf("cancel: %v", err)
	}
}

func TestOwnSession(t *testing.T) {
	f := newFixture(t)
	spec := submit(t, f, nil, "echo $$ >../pid; exec sleep 600")
	st, err := readStat(pidOf(t, filepath.Join(spec.Dir, "pid")))
	if err != nil {
		t.Fatal(err)
	}
	wrapper := f.s.jobs[spec.Name].PID
	if st.session != wrapper || st.group != wrapper || st.parent != wrapper {
		t.Errorf("%+v is not in the session of its wrapper %d", st, wrapper)
	}
	for _, fd := range []string{"0", "1", "2"} {
		target, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%s", st.pid, fd))
		if err != nil || !strings.HasPrefix(target, "/") {
			t.Errorf("descriptor %s is %q, %v: not a file", fd, target, err)
		}
	}
	left, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", st.pid))
	if err != nil || len(left) != 3 {
		t.Errorf("%d descriptors are open, %v", len(left), err)
	}
}

func TestWrapperKilled(t *testing.T) {
	f := newFixture(t)
	spec := submit(t, f, nil, "echo $$ >../pid; exec sleep 600")
	program := pidOf(t, filepath.Join(spec.Dir, "pid"))
	if err := syscall.Kill(f.s.jobs[spec.Name].PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if a := f.ended(t, spec.Name); a.Cause != batch.Unknown || a.Signal != 9 {
		t.Errorf("%+v", a)
	}
	waitFor(t, "the end of the program", func() bool { return !alive(program) })
}

// TestStrays leaves a process behind that is in another session and whose parent has ended.
func TestStrays(t *testing.T) {
	f := newFixture(t)
	spec := submit(t, f, nil, `setsid sh -c 'echo $$ >../stray; exec sleep 600' & until [ -s ../stray ]; do sleep 0.01; done`)
	stray := pidOf(t, filepath.Join(spec.Dir, "stray"))
	if a := f.ended(t, spec.Name); !a.Succeeded() {
		t.Errorf("%+v", a)
	}
	waitFor(t, "the end of the stray process", func() bool { return !alive(stray) })
}

func TestCancelStopped(t *testing.T) {
	f := newFixture(t)
	spec := submit(t, f, nil, "echo $$ >../pid; kill -STOP $$")
	pidOf(t, filepath.Join(spec.Dir, "pid"))
	if err := f.s.Cancel(t.Context(), spec.Name); err != nil {
		t.Fatal(err)
	}
	if a := f.ended(t, spec.Name); a.Cause != batch.Cancelled {
		t.Errorf("%+v", a)
	}
}

// TestCleanEnd checks that a program which ends well on TERM keeps its exit code in the account.
func TestCleanEnd(t *testing.T) {
	f := newFixture(t)
	f.cfg.Grace = time.Hour
	f.Restart(t)
	for want, code := range map[batch.Cause]int{batch.Exited: 0, batch.Cancelled: 7} {
		spec := submit(t, f, nil, fmt.Sprintf("trap 'exit %d' TERM; echo $$ >../pid; while :; do sleep 0.01; done", code))
		pidOf(t, filepath.Join(spec.Dir, "pid"))
		if err := f.s.Cancel(t.Context(), spec.Name); err != nil {
			t.Fatal(err)
		}
		if a := f.ended(t, spec.Name); a.Cause != want || a.ExitCode != code {
			t.Errorf("%+v", a)
		}
	}
}

func TestUsage(t *testing.T) {
	f := newFixture(t)
	spec := submit(t, f, nil, "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done")
	if a := f.ended(t, spec.Name); a.CPUSeconds <= 0 || a.MaxRSSBytes < 100<<10 || a.MaxRSSBytes > 1<<30 {
		t.Errorf("%+v", a)
	}
}

func TestCompactionForgetsTheGone(t *testing.T) {
	f := newFixture(t)
	kept, dropped := submit(t, f, nil, "exit 0"), submit(t, f, nil, "exit 0")
	f.ended(t, kept.Name)
	f.ended(t, dropped.Name)
	if err := os.RemoveAll(dropped.Dir); err != nil {
		t.Fatal(err)
	}
	f.s.mu.Lock()
	f.s.compactAt = 0
	f.s.mu.Unlock()
	last := submit(t, f, nil, "exit 0")
	f.ended(t, last.Name)
	f.Restart(t)
	list, err := f.s.List(t.Context())
	if err != nil || len(list) != 2 || list[0].Name != kept.Name || list[1].Name != last.Name {
		t.Errorf("%+v %v", list, err)
	}
}

func TestConcurrentSubmits(t *testing.T) {
	f := newFixture(t)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 3 {
				spec := batchtest.NewSpec(t, f.jobs, "exit 0")
				for range 2 {
					if _, err := f.s.Submit(t.Context(), spec); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
	list, err := f.s.List(t.Context())
	if err != nil || len(list) != 24 {
		t.Fatalf("%d jobs, %v", len(list), err)
	}
	for _, st := range list {
		if a := f.ended(t, st.ID); !a.Succeeded() {
			t.Errorf("%+v", a)
		}
	}
}

// BenchmarkTrivialJobs measures submit to end with 64 slots.
func BenchmarkTrivialJobs(b *testing.B) {
	s, err := New(Config{Dir: b.TempDir(), Cores: 64})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	dir := b.TempDir()
	var ids []string
	for b.Loop() {
		id, err := s.Submit(b.Context(), batchtest.NewSpec(b, dir, "exit 0"))
		if err != nil {
			b.Fatal(err)
		}
		ids = append(ids, id)
	}
	for _, id := range ids {
		for all, _ := s.Account(b.Context(), id); !all[id].Ended; all, _ = s.Account(b.Context(), id) {
			<-s.Changed()
		}
	}
}
