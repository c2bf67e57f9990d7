// Package batchtest holds the tests that every batch.Scheduler must pass. They run real jobs.
//
// It does not test what only one batch system has; that stands beside its adapter.
package batchtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"consort/agent/batch"
	"consort/shared/ids"
)

// Fixture is a batch system under test. It starts and stops its scheduler with the test.
type Fixture interface {
	// Scheduler returns the scheduler now in use.
	Scheduler() batch.Scheduler
	// Restart throws the scheduler away, as the death of the agent does, and makes another for the same
	// batch system. Jobs are not touched.
	Restart(t *testing.T) batch.Scheduler
	// Dir is an existing directory that the jobs can write to.
	Dir() string
	// Cores is the number of cores that may be in use at once.
	Cores() int
	// Patience is how long the batch system may take to start or end a small job.
	Patience() time.Duration
	// ShortLimit is a wall time, as short as the batch system allows.
	ShortLimit() time.Duration
}

// Run runs all tests, each with a fixture of its own.
func Run(t *testing.T, make func(t *testing.T) Fixture) {
	for name, test := range map[string]func(*env){
		"Runs":           (*env).runs,
		"ExitCodes":      (*env).exitCodes,
		"KilledBySignal": (*env).killedBySignal,
		"CancelRunning":  (*env).cancelRunning,
		"CancelQueued":   (*env).cancelQueued,
		"CancelTwice":    (*env).cancelTwice,
		"CancelTooLate":  (*env).cancelTooLate,
		"TimeLimit":      (*env).timeLimit,
		"SubmitTwice":    (*env).submitTwice,
		"Rejects":        (*env).rejects,
		"Unknown":        (*env).unknown,
		"Restart":        (*env).restart,
		"LostAnswer":     (*env).lostAnswer,
		"Many":           (*env).many,
	} {
		t.Run(name, func(t *testing.T) { test(&env{T: t, Fixture: make(t)}) })
	}
}

// env is one test with its fixture.
type env struct {
	*testing.T
	Fixture
}

// NewSpec prepares, in a directory of its own below dir, an attempt that runs a shell script.
func NewSpec(t testing.TB, dir, script string) batch.Spec {
	t.Helper()
	job := ids.NewJob(time.Now())
	dir = filepath.Join(dir, job)
	work := filepath.Join(dir, "work")
	if err := os.MkdirAll(work, 0o755); err != nil {
		t.Fatal(err)
	}
	wrapper, err := batch.WriteWrapper(dir, batch.Program{
		Job: job, Epoch: 1, Args: []string{"/bin/sh", "-c", script}, Env: []string{"PATH=/usr/bin:/bin"},
		WorkDir: work, Stdout: filepath.Join(dir, "stdout"), Stderr: filepath.Join(dir, "stderr"),
	})
	if err != nil {
		t.Fatal(err)
	}
	return batch.Spec{Name: ids.BatchName(job, 1), Job: job, Epoch: 1, Dir: dir, WorkDir: work, Wrapper: wrapper, Cores: 1}
}

func (e *env) spec(script string) batch.Spec {
	e.Helper()
	return NewSpec(e, e.Dir(), script)
}

func (e *env) submit(spec batch.Spec) string {
	e.Helper()
	id, err := e.Scheduler().Submit(e.Context(), spec)
	if err != nil {
		e.Fatal(err)
	}
	return id
}

func (e *env) cancel(ids ...string) {
	e.Helper()
	if err := e.Scheduler().Cancel(e.Context(), ids...); err != nil {
		e.Fatal(err)
	}
}

// eventually waits for a condition with a generous deadline.
func (e *env) eventually(what string, done func() bool) {
	e.Helper()
	deadline := time.Now().Add(e.Patience())
	pause := time.Millisecond
	for !done() {
		if time.Now().After(deadline) {
			e.Fatalf("in %v it did not happen: %s", e.Patience(), what)
		}
		time.Sleep(pause)
		pause = min(2*pause, e.Patience()/100)
	}
}

func (e *env) account(id string) batch.Account {
	e.Helper()
	all, err := e.Scheduler().Account(e.Context(), id)
	if err != nil {
		e.Fatal(err)
	}
	return all[id]
}

func (e *env) ended(id string) (a batch.Account) {
	e.Helper()
	e.eventually("the end of "+id, func() bool { a = e.account(id); return a.Ended })
	return a
}

func (e *env) find(name string) (found batch.Status, ok bool) {
	e.Helper()
	list, err := e.Scheduler().List(e.Context())
	if err != nil {
		e.Fatal(err)
	}
	for _, st := range list {
		if st.Name == name {
			return st, true
		}
	}
	return found, false
}

func (e *env) waitState(name string, want batch.State) (st batch.Status) {
	e.Helper()
	e.eventually(name+" is "+string(want), func() bool {
		st, _ = e.find(name)
		return st.State == want
	})
	return st
}

func (e *env) read(spec batch.Spec, file string) string {
	data, err := os.ReadFile(filepath.Join(spec.Dir, file))
	if errors.Is(err, os.ErrNotExist) {
		return ""
	}
	if err != nil {
		e.Fatal(err)
	}
	return string(data)
}

func (e *env) waitOutput(spec batch.Spec, want string) {
	e.Helper()
	e.eventually("the output of "+spec.Name, func() bool { return strings.Contains(e.read(spec, "stdout"), want) })
}

func (e *env) runs() {
	spec := e.spec(`echo hello; pwd; echo "$CONSORT_JOB $CONSORT_EPOCH"; echo bad >&2`)
	before := time.Now().Add(-2 * time.Second)
	a := e.ended(e.submit(spec))
	if !a.Succeeded() || a.Start.Before(before) || a.End.Before(a.Start) || a.End.After(time.Now().Add(2*time.Second)) || a.Node == "" {
		e.Errorf("%+v", a)
	}
	if got, want := e.read(spec, "stdout"), fmt.Sprintf("hello\n%s\n%s 1\n", spec.WorkDir, spec.Job); got != want {
		e.Errorf("standard output %q, want %q", got, want)
	}
	if got := e.read(spec, "stderr"); got != "bad\n" {
		e.Errorf("standard error %q", got)
	}
}

func (e *env) exitCodes() {
	codes := []int{0, 1, 2, 75, 98, 99, 100, 127}
	var specs []string
	for _, c := range codes {
		specs = append(specs, e.submit(e.spec(fmt.Sprintf("exit %d", c))))
	}
	for i, id := range specs {
		if a := e.ended(id); a.Cause != batch.Exited || a.ExitCode != codes[i] || a.Signal != 0 {
			e.Errorf("exit %d: %+v", codes[i], a)
		}
	}
}

func (e *env) killedBySignal() {
	if a := e.ended(e.submit(e.spec("kill -SEGV $$"))); a.Cause != batch.Exited || a.Signal != 11 || a.ExitCode != 0 {
		e.Errorf("%+v", a)
	}
}

// family is a script of a child, a grandchild and one in a session of its own, all deaf to TERM.
const family = `trap '' TERM
beat() { while :; do echo x >>"$1"; sleep 0.02; done; }
beat ../child & (beat ../grandchild &) & 
setsid sh -c 'trap "" TERM; while :; do echo x >>../leaver; sleep 0.02; done' &
until [ -s ../child ] && [ -s ../grandchild ] && [ -s ../leaver ]; do sleep 0.01; done
echo up; beat ../parent`

func (e *env) cancelRunning() {
	spec := e.spec(family)
	id := e.submit(spec)
	e.waitOutput(spec, "up")
	e.waitState(spec.Name, batch.Running)
	e.cancel(id)
	if a := e.ended(id); a.Cause != batch.Cancelled {
		e.Errorf("%+v", a)
	}
	e.quiet(spec, "child", "grandchild", "leaver", "parent")
}

// quiet waits until nobody writes to the files any more.
func (e *env) quiet(spec batch.Spec, files ...string) {
	e.Helper()
	e.eventually("the end of all processes", func() bool {
		sizes := func() (all []int) {
			for _, f := range files {
				all = append(all, len(e.read(spec, f)))
			}
			return all
		}
		before := sizes()
		time.Sleep(200 * time.Millisecond) // ten beats
		return slices.Equal(before, sizes())
	})
}

// fill submits a job that takes all cores, and waits until it runs.
func (e *env) fill() (spec batch.Spec, id string) {
	spec = e.spec("echo up; exec sleep 600")
	spec.Cores = e.Cores()
	id = e.submit(spec)
	e.waitOutput(spec, "up")
	return spec, id
}

func (e *env) cancelQueued() {
	_, first := e.fill()
	spec := e.spec("echo ran")
	id := e.submit(spec)
	e.waitState(spec.Name, batch.Queued)
	e.cancel(id)
	if a := e.ended(id); a.Cause != batch.Cancelled {
		e.Errorf("%+v", a)
	}
	e.cancel(first)
	if a := e.ended(first); a.Cause != batch.Cancelled {
		e.Errorf("%+v", a)
	}
	if _, err := batch.ReadStarted(spec.Dir); !errors.Is(err, os.ErrNotExist) {
		e.Errorf("a job cancelled in the queue was started: %v", err)
	}
}

func (e *env) cancelTwice() {
	spec := e.spec("echo up; exec sleep 600")
	id := e.submit(spec)
	e.waitOutput(spec, "up")
	e.cancel(id)
	e.cancel(id, id)
	if a := e.ended(id); a.Cause != batch.Cancelled {
		e.Errorf("%+v", a)
	}
	e.cancel(id)
	if a := e.account(id); a.Cause != batch.Cancelled {
		e.Errorf("after one more cancel: %+v", a)
	}
}

func (e *env) cancelTooLate() {
	id := e.submit(e.spec("exit 0"))
	e.ended(id)
	e.cancel(id)
	if a := e.account(id); !a.Succeeded() {
		e.Errorf("%+v", a)
	}
}

func (e *env) timeLimit() {
	spec := e.spec(family)
	spec.WallTime = e.ShortLimit()
	start := time.Now()
	a := e.ended(e.submit(spec))
	if a.Cause != batch.TimeLimit || time.Since(start) < spec.WallTime {
		e.Errorf("after %v: %+v", time.Since(start), a)
	}
	e.quiet(spec, "child", "grandchild", "leaver", "parent")
}

func (e *env) submitTwice() {
	spec := e.spec("echo once; sleep 0.2")
	first := e.submit(spec)
	for range 3 {
		id, err := e.Scheduler().Submit(e.Context(), spec)
		if err != nil {
			e.Fatal(err)
		}
		e.ended(id)
	}
	e.ended(first)
	if got := e.read(spec, "stdout"); got != "once\n" {
		e.Errorf("submitted four times, the program wrote %q", got)
	}
}

func (e *env) rejects() {
	for _, change := range []func(*batch.Spec){
		func(s *batch.Spec) { s.Name = "" },
		func(s *batch.Spec) { s.Name = "../evil" },
		func(s *batch.Spec) { s.Name = "$(touch pwned)" },
		func(s *batch.Spec) { s.Name = "a'; touch pwned; '" },
		func(s *batch.Spec) { s.Name = "two\nlines" },
		func(s *batch.Spec) { s.Name = "--wrap=touch" },
		func(s *batch.Spec) { s.Name = "\xff" },
		func(s *batch.Spec) { s.Job = "`touch pwned`" },
		func(s *batch.Spec) { s.Wrapper = s.Dir + "/nothing" },
		func(s *batch.Spec) { s.Cores = 0 },
	} {
		spec := e.spec("echo ran")
		change(&spec)
		if _, err := e.Scheduler().Submit(e.Context(), spec); !errors.Is(err, batch.ErrRejected) {
			e.Errorf("%+v: %v", spec, err)
		}
	}
	done, cancel := context.WithCancel(e.Context())
	cancel()
	if _, err := e.Scheduler().Submit(done, e.spec("echo ran")); err == nil {
		e.Error("submitted under a context that is over")
	}
}

func (e *env) unknown() {
	e.cancel("999999999")
	e.cancel()
	all, err := e.Scheduler().Account(e.Context(), "999999999")
	if err != nil || len(all) != 0 {
		e.Errorf("account of an unknown id: %v %v", all, err)
	}
	if _, ok := e.find("consort-nobody-1"); ok {
		e.Error("found a job that was never submitted")
	}
}

// restart throws the scheduler away while jobs run, wait and end.
func (e *env) restart() {
	over := e.spec("exit 4")
	overID := e.submit(over)
	e.ended(overID)
	runs := e.spec("echo up; while [ ! -e ../go ]; do sleep 0.02; done; exit 5")
	runs.Cores = e.Cores()
	runsID := e.submit(runs)
	e.waitOutput(runs, "up")
	waits := e.spec("exit 6")
	waitsID := e.submit(waits)

	e.Restart(e.T)
	if st := e.waitState(runs.Name, batch.Running); st.ID != runsID {
		e.Errorf("%+v", st)
	}
	if st := e.waitState(waits.Name, batch.Queued); st.ID != waitsID {
		e.Errorf("%+v", st)
	}
	if err := os.WriteFile(filepath.Join(runs.Dir, "go"), nil, 0o600); err != nil {
		e.Fatal(err)
	}
	for id, code := range map[string]int{overID: 4, runsID: 5, waitsID: 6} {
		if a := e.ended(id); a.Cause != batch.Exited || a.ExitCode != code {
			e.Errorf("want exit code %d: %+v", code, a)
		}
	}
	e.Restart(e.T)
	if a := e.account(runsID); a.Cause != batch.Exited || a.ExitCode != 5 {
		e.Errorf("after another restart: %+v", a)
	}
	if got := e.read(runs, "stdout"); got != "up\n" {
		e.Errorf("it was started again: %q", got)
	}
}

// lostAnswer submits, forgets the id, and finds the job by its name, while it runs and after.
func (e *env) lostAnswer() {
	spec := e.spec("echo up; while [ ! -e ../go ]; do sleep 0.02; done")
	e.submit(spec)
	e.Restart(e.T)
	e.eventually("the job is listed", func() bool { _, ok := e.find(spec.Name); return ok })
	st, _ := e.find(spec.Name)
	if err := os.WriteFile(filepath.Join(spec.Dir, "go"), nil, 0o600); err != nil {
		e.Fatal(err)
	}
	if a := e.ended(st.ID); !a.Succeeded() {
		e.Errorf("%+v", a)
	}
}

func (e *env) many() {
	var ids []string
	var specs []batch.Spec
	for i := range 100 {
		spec := e.spec(fmt.Sprintf("echo %d", i))
		specs = append(specs, spec)
		ids = append(ids, e.submit(spec))
	}
	for i, id := range ids {
		if a := e.ended(id); !a.Succeeded() || e.read(specs[i], "stdout") != fmt.Sprintln(i) {
			e.Errorf("job %d: %+v", i, a)
		}
	}
}
