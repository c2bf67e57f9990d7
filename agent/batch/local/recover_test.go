package local

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"consort/agent/batch"
	"consort/agent/batch/batchtest"
)

// agentHelper makes the test binary an agent that submits the jobs it reads, until it is killed.
const agentHelper = "CONSORT_TEST_AGENT"

func TestMain(m *testing.M) {
	if dir := os.Getenv(agentHelper); dir != "" {
		runAgent(dir)
	}
	flag.Parse()
	if flag.Lookup("test.fuzz").Value.String() != "" { // the fuzzer has goroutines of its own
		os.Exit(m.Run())
	}
	goleak.VerifyTestMain(m)
}

func runAgent(dir string) {
	s, err := New(Config{Dir: dir, Cores: 4, Grace: time.Second})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	in := json.NewDecoder(os.Stdin)
	for {
		var spec batch.Spec
		if err := in.Decode(&spec); err != nil {
			os.Exit(1)
		}
		_, err := s.Submit(context.Background(), spec)
		fmt.Println("submitted", err)
	}
}

// submitAndKill has another process submit the jobs, and kills it with SIGKILL once all are in.
func (f *fixture) submitAndKill(t *testing.T, specs ...batch.Spec) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	agent := exec.Command(self)
	agent.Env = append(os.Environ(), agentHelper+"="+f.cfg.Dir)
	in, _ := agent.StdinPipe()
	out, _ := agent.StdoutPipe()
	if err := agent.Start(); err != nil {
		t.Fatal(err)
	}
	answers := bufio.NewScanner(out)
	for _, spec := range specs {
		if err := json.NewEncoder(in).Encode(spec); err != nil {
			t.Fatal(err)
		}
		if !answers.Scan() || answers.Text() != "submitted <nil>" {
			t.Fatalf("the agent says %q", answers.Text())
		}
	}
	if err := agent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = agent.Wait() // killed
}

// waitFor waits for a condition with a deadline.
func waitFor(t *testing.T, what string, done func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !done() {
		if time.Now().After(deadline) {
			t.Fatalf("it did not happen: %s", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func exists(path string) bool { _, err := os.Stat(path); return err == nil }

func touch(t *testing.T, path string) {
	t.Helper()
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
}

// ended waits for a job's end by the notifier, as the agent does.
func (f *fixture) ended(t *testing.T, id string) batch.Account {
	t.Helper()
	deadline := time.After(20 * time.Second)
	for {
		all, err := f.s.Account(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		if all[id].Ended {
			return all[id]
		}
		select {
		case <-f.s.Changed():
		case <-deadline:
			t.Fatalf("%s did not end", id)
		}
	}
}

// plant closes the scheduler, writes a record as if an agent had died at that point, and opens again.
func (f *fixture) plant(t *testing.T, r record) {
	t.Helper()
	s := f.s
	s.mu.Lock()
	if r.Boot == "" {
		r.Boot = s.boot
	}
	err := s.save(newJob(r))
	s.mu.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	f.Restart(t)
}

const once = `echo ran >>../ran; while [ ! -e ../go ]; do sleep 0.01; done; exit 3`

func (f *fixture) finishOnce(t *testing.T, spec batch.Spec) {
	t.Helper()
	touch(t, filepath.Join(spec.Dir, "go"))
	if a := f.ended(t, spec.Name); a.Cause != batch.Exited || a.ExitCode != 3 {
		t.Errorf("%+v", a)
	}
	if ran, _ := os.ReadFile(filepath.Join(spec.Dir, "ran")); string(ran) != "ran\n" {
		t.Errorf("the program ran so often: %q", ran)
	}
}

func TestAgentKilled(t *testing.T) {
	f := newFixture(t)
	if err := f.s.Close(); err != nil {
		t.Fatal(err)
	}
	runs := batchtest.NewSpec(t, f.jobs, once)
	runs.Cores = 4
	waits := batchtest.NewSpec(t, f.jobs, once)
	f.submitAndKill(t, runs, waits)
	f.open(t)
	list, err := f.s.List(t.Context())
	if err != nil || len(list) != 2 || list[0].State != batch.Running || list[1].State != batch.Queued {
		t.Fatalf("%v %v", list, err)
	}
	f.finishOnce(t, runs)
	f.finishOnce(t, waits)
}

func TestEndedWhileNobodyWatched(t *testing.T) {
	f := newFixture(t)
	if err := f.s.Close(); err != nil {
		t.Fatal(err)
	}
	spec := batchtest.NewSpec(t, f.jobs, once)
	f.submitAndKill(t, spec)
	touch(t, filepath.Join(spec.Dir, "go"))
	waitFor(t, "the exit file", func() bool { return exists(filepath.Join(spec.Dir, batch.ExitFile)) })
	f.open(t)
	f.finishOnce(t, spec)
}

// TestDiedAroundStart plants what an agent leaves that dies between its intent and the record of the process.
func TestDiedAroundStart(t *testing.T) {
	t.Run("not started", func(t *testing.T) {
		f := newFixture(t)
		spec := batchtest.NewSpec(t, f.jobs, once)
		f.plant(t, record{Spec: spec, Phase: starting})
		f.finishOnce(t, spec)
	})
	t.Run("started", func(t *testing.T) {
		f := newFixture(t)
		spec := batchtest.NewSpec(t, f.jobs, once)
		p := spawned(t, spec)
		waitFor(t, "the program", func() bool { return exists(filepath.Join(spec.Dir, "ran")) })
		f.plant(t, record{Spec: spec, Phase: starting})
		if got := f.s.jobs[spec.Name].PID; got != p.pid {
			t.Errorf("adopted %d, not %d", got, p.pid)
		}
		f.finishOnce(t, spec)
	})
	t.Run("before the first line", func(t *testing.T) {
		f := newFixture(t)
		spec := batchtest.NewSpec(t, f.jobs, once)
		p := spawned(t, spec)
		waitFor(t, "the program", func() bool { return exists(filepath.Join(spec.Dir, "ran")) })
		if err := os.Remove(filepath.Join(spec.Dir, batch.StartedFile)); err != nil {
			t.Fatal(err)
		}
		f.plant(t, record{Spec: spec, Phase: starting})
		if got := f.s.jobs[spec.Name].PID; got != p.pid {
			t.Errorf("adopted %d, not %d", got, p.pid)
		}
		f.finishOnce(t, spec)
	})
	t.Run("lost a race", func(t *testing.T) {
		f := newFixture(t)
		spec := batchtest.NewSpec(t, f.jobs, once)
		spawned(t, spec)
		waitFor(t, "the program", func() bool { return exists(filepath.Join(spec.Dir, "ran")) })
		if _, err := f.s.Submit(t.Context(), spec); err != nil { // its wrapper finds started, and goes
			t.Fatal(err)
		}
		f.finishOnce(t, spec)
	})
	t.Run("over, without a trace of its end", func(t *testing.T) {
		f := newFixture(t)
		spec := batchtest.NewSpec(t, f.jobs, "exit 0")
		touch(t, filepath.Join(spec.Dir, batch.StartedFile))
		f.plant(t, record{Spec: spec, Phase: starting})
		if a := f.ended(t, spec.Name); a.Cause != batch.Unknown {
			t.Errorf("%+v", a)
		}
	})
	t.Run("cancelled", func(t *testing.T) {
		f := newFixture(t)
		spec := batchtest.NewSpec(t, f.jobs, once)
		f.plant(t, record{Spec: spec, Phase: starting, Cancel: true})
		if a := f.ended(t, spec.Name); a.Cause != batch.Cancelled || exists(filepath.Join(spec.Dir, "ran")) {
			t.Errorf("%+v", a)
		}
	})
}

// spawned starts a wrapper without a record, and reaps it in the end.
func spawned(t *testing.T, spec batch.Spec) *process {
	t.Helper()
	p, err := spawn(spec)
	if err != nil {
		t.Fatal(err)
	}
	p.release()
	t.Cleanup(func() {
		_ = syscall.Kill(-p.pid, syscall.SIGKILL)
		p.reap()
	})
	return p
}

// TestPowerCut plants records of an earlier boot: nothing runs any more, and nothing that may have been
// started is started again, even if the file started was lost.
func TestPowerCut(t *testing.T) {
	const boot = "00000000-0000-0000-0000-000000000000"
	for _, c := range []struct {
		phase phase
		want  batch.Cause
	}{{starting, batch.NodeFailed}, {running, batch.NodeFailed}, {queued, batch.Exited}} {
		f := newFixture(t)
		spec := batchtest.NewSpec(t, f.jobs, "echo ran >../ran")
		f.plant(t, record{Spec: spec, Phase: c.phase, Boot: boot, PID: os.Getpid()})
		if a := f.ended(t, spec.Name); a.Cause != c.want {
			t.Errorf("%s: %+v", c.phase, a)
		}
		if ran := exists(filepath.Join(spec.Dir, "ran")); ran != (c.phase == queued) {
			t.Errorf("%s: ran is %v", c.phase, ran)
		}
	}
}

// TestPowerCutEmptiesWrapper checks that a script which never reached the disk is not run.
func TestPowerCutEmptiesWrapper(t *testing.T) {
	f := newFixture(t)
	spec := batchtest.NewSpec(t, f.jobs, "exit 0")
	if err := os.Truncate(spec.Wrapper, 0); err != nil {
		t.Fatal(err)
	}
	f.plant(t, record{Spec: spec, Phase: queued})
	if a := f.ended(t, spec.Name); a.Cause != batch.Unknown || !strings.Contains(a.Reason, "not complete") {
		t.Errorf("%+v", a)
	}
}

func TestReusedPID(t *testing.T) {
	f := newFixture(t)
	spec := batchtest.NewSpec(t, f.jobs, "exit 0")
	other := exec.Command("sleep", "60")
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = other.Wait() }()
	defer func() { _ = other.Process.Kill() }()
	f.plant(t, record{Spec: spec, Phase: running, PID: other.Process.Pid, Ticks: 1, Cancel: true})
	if a := f.ended(t, spec.Name); a.Cause != batch.Cancelled {
		t.Errorf("%+v", a)
	}
	if st, err := readStat(other.Process.Pid); err != nil || st.zombie {
		t.Errorf("a process that is not ours was killed: %+v %v", st, err)
	}
}

func TestLimitGoesOnAfterRestart(t *testing.T) {
	f := newFixture(t)
	spec := batchtest.NewSpec(t, f.jobs, "echo up >../up; exec sleep 600")
	spec.WallTime = 1500 * time.Millisecond
	start := time.Now()
	if _, err := f.s.Submit(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		f.Restart(t)
	}
	a := f.ended(t, spec.Name)
	if spent := time.Since(start); a.Cause != batch.TimeLimit || spent < spec.WallTime-20*time.Millisecond {
		t.Errorf("after %v: %+v", spent, a)
	}
}

func TestCancelGoesOnAfterRestart(t *testing.T) {
	f := newFixture(t)
	f.cfg.Grace = time.Hour
	f.Restart(t)
	spec := batchtest.NewSpec(t, f.jobs, "trap '' TERM; echo up >../up; while :; do sleep 0.05; done")
	if _, err := f.s.Submit(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the program", func() bool { return exists(filepath.Join(spec.Dir, "up")) })
	if err := f.s.Cancel(t.Context(), spec.Name); err != nil {
		t.Fatal(err)
	}
	list, _ := f.s.List(t.Context())
	if len(list) != 1 || list[0].State != batch.Ending {
		t.Errorf("%+v", list)
	}
	f.cfg.Grace = 100 * time.Millisecond
	f.Restart(t)
	if a := f.ended(t, spec.Name); a.Cause != batch.Cancelled {
		t.Errorf("%+v", a)
	}
}

// TestWithoutPidfd waits for processes as on kernels that have no pidfd.
func TestWithoutPidfd(t *testing.T) {
	f := newFixture(t)
	spec := batchtest.NewSpec(t, f.jobs, once)
	p := spawned(t, spec)
	p.handle = nil
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := p.wait(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("a running process: %v", err)
	}
	touch(t, filepath.Join(spec.Dir, "go"))
	if err := p.wait(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestParseStat(t *testing.T) {
	tail := " S 1 345 345 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 98765 1 2 3"
	for line, want := range map[string]stat{
		"345 (sh)" + tail:          {345, 1, 345, 345, false, 98765},
		"345 (a) Z 9 9 (b)" + tail: {345, 1, 345, 345, false, 98765},
		"345 (\n\x00)" + tail:      {345, 1, 345, 345, false, 98765},
		"345 (sh) Z" + tail[2:]:    {345, 1, 345, 345, true, 98765},
		"":                         {}, "345": {}, "345 (sh)": {}, "(sh)" + tail: {}, "x (sh)" + tail: {}, "345 )sh(" + tail: {}, "345 (sh) S 1 2": {},
	} {
		got, err := parseStat([]byte(line))
		if got != want || (err == nil) != (want.pid != 0) {
			t.Errorf("%q: %+v, %v", line, got, err)
		}
	}
	self, err := readStat(os.Getpid())
	if err != nil || self.parent != os.Getppid() || self.pid != os.Getpid() {
		t.Errorf("%+v %v", self, err)
	}
}

func FuzzParseStat(f *testing.F) {
	f.Add([]byte("1 (init) S 0 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 2 1"))
	f.Fuzz(func(t *testing.T, line []byte) {
		if st, err := parseStat(line); err != nil && st != (stat{}) {
			t.Errorf("%+v with %v", st, err)
		}
	})
}

func FuzzReplay(f *testing.F) {
	good, _ := json.Marshal(record{Spec: batch.Spec{Name: "a", Job: "j", Epoch: 1, Dir: "/d", WorkDir: "/d", Wrapper: "/w", Cores: 1}, Phase: queued})
	f.Add(good)
	f.Add([]byte("{}"))
	f.Fuzz(func(t *testing.T, line []byte) {
		s := &Scheduler{jobs: map[string]*job{}}
		if err := s.replay(line); err != nil && !errors.Is(err, errRecord) {
			t.Errorf("unclassified error %v", err)
		}
		for range s.records() {
		}
	})
}

func pidOf(t *testing.T, path string) int {
	t.Helper()
	var pid int
	waitFor(t, path, func() bool {
		data, _ := os.ReadFile(path)
		n, err := strconv.Atoi(strings.TrimSpace(string(data)))
		pid = n
		return err == nil && strings.HasSuffix(string(data), "\n")
	})
	return pid
}

func alive(pid int) bool {
	st, err := readStat(pid)
	return err == nil && !st.zombie
}
