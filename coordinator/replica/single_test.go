package replica

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

func TestProposeAndRestart(t *testing.T) {
	n := cluster(t, 1)[0]
	start := time.Now()
	r := n.start(t)
	propose(t, r, "a")
	if took := time.Since(start); took > 500*time.Millisecond {
		t.Logf("a lone node took %v to its first command", took)
	}
	var last uint64
	for i := range 20 {
		last = propose(t, r, fmt.Sprint(i))
	}
	if err := r.WaitRead(within(t, time.Second)); err != nil {
		t.Fatal(err)
	}
	n.stop(t)

	before := n.machine.commands()
	n.machine.batches = nil
	r = n.start(t)
	if index := propose(t, r, "b"); index <= last {
		t.Errorf("index %d after %d", index, last)
	}
	if got, want := n.machine.commands(), append(before, "b"); !slices.Equal(got, want) {
		t.Errorf("commands %v, want %v", got, want)
	}
	for _, batch := range n.machine.batches {
		if batch[0] <= last {
			t.Errorf("entries %v were applied again after a restart", batch)
		}
	}
	if n.machine.restores != 0 {
		t.Error("a state that was up to date was restored from a snapshot")
	}
}

func TestConcurrentProposals(t *testing.T) {
	n := cluster(t, 1)[0]
	r := n.start(t)
	var wg sync.WaitGroup
	const clients, each = 32, 20
	for c := range clients {
		wg.Go(func() {
			for i := range each {
				propose(t, r, fmt.Sprintf("%d/%d", c, i))
			}
		})
	}
	wg.Wait()
	got := n.machine.commands()
	slices.Sort(got)
	if len(got) != clients*each || len(slices.Compact(got)) != clients*each {
		t.Errorf("%d commands, want %d different ones", len(got), clients*each)
	}
}

// TestSnapshots: a snapshot shortens the log; a state older than the snapshot is restored, one as new is not.
func TestSnapshots(t *testing.T) {
	n := cluster(t, 1)[0]
	n.tune = func(c *Config) {
		c.TrailingLogs = 1
		c.SnapshotBytes, c.SnapshotInterval = 4<<10, time.Millisecond
		c.StateBytes = func() int64 { return 16 << 10 }
		c.Registerer = prometheus.NewRegistry()
	}
	r := n.start(t)
	old := machineState{}
	for i := range 200 {
		propose(t, r, fmt.Sprintf("%d %s", i, bytes.Repeat([]byte("x"), 100)))
		if i == 10 {
			n.machine.mu.Lock()
			old = n.machine.state
			old.Commands = slices.Clone(old.Commands)
			n.machine.mu.Unlock()
		}
	}
	eventually(t, "a snapshot of its own accord", func() bool {
		list, err := r.snapshots.List()
		return err == nil && len(list) > 0
	})
	if err := r.Snapshot(t.Context()); err != nil {
		t.Fatal(err)
	}
	if first, _ := r.log.FirstIndex(); first < 100 {
		t.Errorf("the log still begins at %d", first)
	}
	want := n.machine.commands()
	n.stop(t)

	n.start(t)
	propose(t, n.replica, "more")
	if n.machine.restores != 0 {
		t.Error("a state that was up to date was restored")
	}
	n.stop(t)

	n.machine.state = old // as if the disk had been put back
	n.start(t)
	propose(t, n.replica, "last")
	if got, want := n.machine.commands(), append(want, "more", "last"); !slices.Equal(got, want) || n.machine.restores != 1 {
		t.Errorf("after %d restores: %d commands, want %d", n.machine.restores, len(got), len(want))
	}
}

func TestStateMachineRefuses(t *testing.T) {
	n := cluster(t, 1)[0]
	r := n.start(t)
	propose(t, r, "a")
	_, _, err := r.Propose(within(t, 10*time.Second), []byte("unknown"))
	if !errors.Is(err, ErrUnknown) {
		t.Errorf("the command that stops the node: %v, want ErrUnknown", err)
	}
	select {
	case <-r.Failed():
	case <-time.After(10 * time.Second):
		t.Fatal("the node did not fail")
	}
	if !errors.Is(r.Err(), errRefused) {
		t.Errorf("Err() = %v", r.Err())
	}
	if _, _, err := r.Propose(within(t, 10*time.Second), []byte("b")); !errors.Is(err, ErrStopped) {
		t.Errorf("a later command: %v, want ErrStopped", err)
	}
	if err := r.WaitRead(within(t, 10*time.Second)); err == nil {
		t.Error("a failed node answers linearizable reads")
	}
	if err := r.Ready(); err == nil {
		t.Error("a failed node says it is ready")
	}
	n.stop(t)
	if got := n.machine.commands(); !slices.Equal(got, []string{"a"}) {
		t.Errorf("commands %v", got)
	}
	r = n.start(t) // the entry is in the log: the node fails again rather than skip it
	select {
	case <-r.Failed():
	case <-time.After(10 * time.Second):
		t.Fatal("the node skipped the command")
	}
}

func TestLeaderWork(t *testing.T) {
	n := cluster(t, 1)[0]
	r := n.start(t)
	established, revoked := make(chan uint64, 1), make(chan struct{})
	tries := 0
	r.OnLeadership(func(ctx context.Context, term uint64) error {
		if tries++; tries == 1 {
			return errors.New("not yet")
		}
		if _, _, err := r.Propose(ctx, []byte("by the leader")); err != nil {
			return err
		}
		established <- term
		return nil
	}, func() { close(revoked) })
	select {
	case term := <-established:
		if term == 0 || term != r.Status().Term {
			t.Errorf("term %d, status %+v", term, r.Status())
		}
	case <-time.After(10 * time.Second):
		t.Fatal("establish was not called")
	}
	n.stop(t)
	select {
	case <-revoked:
	default:
		t.Error("Shutdown returned before revoke")
	}
}

func TestAfterShutdown(t *testing.T) {
	n := cluster(t, 1)[0]
	r := n.start(t)
	propose(t, r, "a")
	n.stop(t)
	if _, _, err := r.Propose(t.Context(), []byte("b")); !errors.Is(err, ErrStopped) {
		t.Errorf("Propose: %v, want ErrStopped", err)
	}
	if err := r.WaitRead(t.Context()); !errors.Is(err, ErrStopped) {
		t.Errorf("WaitRead: %v, want ErrStopped", err)
	}
	if err := r.Shutdown(t.Context()); err != nil {
		t.Errorf("Shutdown again: %v", err)
	}
	if _, ok := r.Now(); ok {
		t.Error("a stopped node tells the time")
	}
}

func TestBadCommands(t *testing.T) {
	n := cluster(t, 1)[0]
	r := n.start(t)
	for _, size := range []int{0, MaxCommand + 1} {
		if _, _, err := r.Propose(t.Context(), make([]byte, size)); err == nil {
			t.Errorf("a command of %d bytes was taken", size)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := r.Propose(ctx, []byte("x")); err == nil {
		t.Error("a command of nobody was taken")
	}
}

// TestTimes: stamps strictly increase in the order of the log, also after the wall clock was set back.
func TestTimes(t *testing.T) {
	n := cluster(t, 1)[0]
	future := time.Now().Add(time.Hour).Truncate(time.Microsecond)
	n.machine.state.Time = future
	var last time.Time
	n.tune = func(c *Config) {
		c.Stamp = func(data []byte, now time.Time) []byte {
			if !now.After(last) || now.Nanosecond()%1000 != 0 {
				t.Errorf("stamp %v after %v", now, last)
			}
			last = now
			return stamp(data, now)
		}
	}
	r := n.start(t)
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for range 10 {
				propose(t, r, "x")
			}
		})
	}
	wg.Wait()
	if !last.After(future) {
		t.Errorf("time went back from %v to %v", future, last)
	}
	if now, ok := r.Now(); !ok || !now.After(last) || now.After(last.Add(time.Minute)) {
		t.Errorf("Now() = %v, %t after %v", now, ok, last)
	}
}

func TestHistoryMustFit(t *testing.T) {
	n := cluster(t, 1)[0]
	r := n.start(t)
	for i := range 5 {
		propose(t, r, fmt.Sprint(i))
	}
	n.stop(t)
	if err := os.RemoveAll(filepath.Join(n.dir, "log")); err != nil {
		t.Fatal(err)
	}
	n.openPort(t)
	if _, err := Open(n.config(t)); !errors.Is(err, ErrInconsistent) {
		t.Errorf("a state without its log: %v, want ErrInconsistent", err)
	}
}

func TestCorruptLogRefuses(t *testing.T) {
	n := cluster(t, 1)[0]
	r := n.start(t)
	propose(t, r, "a")
	n.stop(t)
	files, err := filepath.Glob(filepath.Join(n.dir, "log", "*"))
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, f := range files {
		if err := os.WriteFile(f, bytes.Repeat([]byte("x"), 4096), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	n.openPort(t)
	if _, err := Open(n.config(t)); err == nil {
		t.Error("a log of garbage was opened")
	}
}

func BenchmarkPropose(b *testing.B) {
	for _, clients := range []int{1, 16, 64} {
		b.Run(fmt.Sprintf("clients=%d", clients), func(b *testing.B) {
			n := cluster(b, 1)[0]
			n.tune = func(c *Config) { c.Machine = idle{n.machine} }
			r := n.start(b)
			data := bytes.Repeat([]byte("x"), 600)
			if _, _, err := r.Propose(b.Context(), data); err != nil {
				b.Fatal(err)
			}
			b.ResetTimer()
			var wg sync.WaitGroup
			work := make(chan struct{}, 1024)
			for range clients {
				wg.Go(func() {
					for range work {
						if _, _, err := r.Propose(b.Context(), data); err != nil {
							b.Error(err)
						}
					}
				})
			}
			for range b.N {
				work <- struct{}{}
			}
			close(work)
			wg.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "commands/s")
		})
	}
}

// idle is a machine that does nothing.
type idle struct{ *machine }

func (idle) ApplyBatch(entries []Entry) ([]any, error) { return make([]any, len(entries)), nil }

func BenchmarkWaitRead(b *testing.B) {
	n := cluster(b, 1)[0]
	r := n.start(b)
	propose(b, r, "a")
	for b.Loop() {
		if err := r.WaitRead(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}
