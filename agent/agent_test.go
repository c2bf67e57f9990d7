package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"consort/agent/agenttest"
	"consort/shared/siteapi"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a coordinator and a site that is enrolled with it.
type world struct {
	t   *testing.T
	c   *agenttest.Coordinator
	dir string
	cfg Config
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, c: agenttest.New(t), dir: t.TempDir()}
	done, err := Enrol(t.Context(), EnrolConfig{Server: w.c.URL, Token: agenttest.Token, Dir: w.dir, Batch: Batch{Slots: 4, Cores: 4}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(done.PolicyFile, []byte(agenttest.AllowCode), 0o600); err != nil {
		t.Fatal(err)
	}
	if w.cfg, err = LoadConfig(done.ConfigFile); err != nil {
		t.Fatal(err)
	}
	w.cfg.Version = "test"
	if testing.Verbose() {
		w.cfg.Logger = slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	return w
}

// start runs the agent until the returned function is called, or the test ends.
func (w *world) start() (stop func()) {
	w.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- Run(ctx, w.cfg) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		select {
		case err := <-done:
			if err != nil {
				w.t.Errorf("the agent ended with: %v", err)
			}
		case <-time.After(3 * time.Second):
			w.t.Error("the agent did not stop within 3 s")
			<-done
		}
	}
	w.t.Cleanup(stop)
	return stop
}

func (w *world) attempts() []string {
	entries, err := os.ReadDir(filepath.Join(w.cfg.State, "attempts"))
	if err != nil {
		w.t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestOneJob(t *testing.T) {
	w := newWorld(t)
	w.start()
	lease := w.c.Lease(agenttest.Code(`cat data.txt > answer.txt; mkdir parts; for i in 1 2 3; do echo $i > parts/$i.txt; done
env | sort; cat "$CONSORT_PARAMS" >&2`))
	input := []byte("the input\n")
	lease.Inputs = []siteapi.Input{{Name: "data", SHA256: w.c.Content(input), Size: int64(len(input)), FileName: "x.txt"}}
	ref := w.c.Queue(lease)
	j := w.c.WaitPhase(ref, "COMPLETED")
	if got := w.c.Output(ref, "answer.txt"); string(got) != string(input) {
		t.Errorf("the output is %q", got)
	}
	if len(j.Parts[0]) != 4 || j.Parts[0][0].Output != "answer" || j.Parts[0][0].ContentType != "text/plain" {
		t.Errorf("the manifest is %+v", j.Parts)
	}
	out := string(j.Logs["stdout"])
	for _, want := range []string{"CONSORT_JOB=" + lease.Job, "CONSORT_EPOCH=1", "CONSORT_CORES=1", "CONSORT_MEMORY_MB=1", "LC_ALL=C.UTF-8", "TZ=UTC",
		fmt.Sprintf("SOURCE_DATE_EPOCH=%d", lease.Created.Unix()), "HOME=", "TMPDIR=", "PATH=", "CONSORT_ERROR_FILE="} {
		if !strings.Contains(out, want) {
			t.Errorf("the environment lacks %s:\n%s", want, out)
		}
	}
	if got := string(j.Logs["stderr"]); !strings.Contains(got, `"mark": null`) {
		t.Errorf("params.json is %q", got)
	}
	f := j.Facts
	if f.BatchSystem != "local" || f.BatchID == "" || f.Started.IsZero() || f.Ended.Before(f.Started) || f.ExitCode == nil || len(f.Logs) != 2 || len(f.Transfers) != 2 {
		t.Errorf("the facts are %+v", f)
	}
	if p := j.Fragment; p == nil || p.Outcome != "committed" || p.Digest != lease.Definition.Digest || len(p.Inputs) != 1 || len(p.Argv) == 0 {
		t.Errorf("the fragment is %+v", j.Fragment)
	}
	w.c.WaitForgotten(ref)
	if left := w.attempts(); len(left) != 0 {
		t.Errorf("directories are left: %v", left)
	}
}

func TestFailures(t *testing.T) {
	w := newWorld(t)
	w.start()
	limited := w.c.Lease(agenttest.Code("sleep 30 & wait"))
	limited.ExecutionSeconds = 1
	greedy := w.c.Lease(agenttest.Code(agenttest.Hello))
	greedy.Resources.Cores = 100
	quota := w.c.Lease(agenttest.Code(agenttest.Hello))
	quota.MaxBytes = 2
	forged := w.c.Lease(agenttest.Code(agenttest.Hello))
	forged.Definition.Digest = strings.Repeat("0", 64)
	gone := w.c.Lease(agenttest.Code(agenttest.Hello))
	gone.Inputs = []siteapi.Input{{Name: "data", SHA256: strings.Repeat("1", 64), Size: 3}}
	for _, c := range []struct {
		name           string
		lease          siteapi.Lease
		class, message string
		stderr         string
	}{
		{"user", w.c.Lease(agenttest.Code("echo blah >&2; echo 'bad input' >&2; exit 2")), "user", "bad input", "blah\nbad input\n"},
		{"error file", w.c.Lease(agenttest.Code("echo why > $CONSORT_ERROR_FILE; echo x >&2; exit 1")), "definition", "why", "x\n"},
		{"no words", w.c.Lease(agenttest.Code("exit 75")), "site-transient", "exit code 75", ""},
		{"no output", w.c.Lease(agenttest.Code("echo x >&2")), "definition", "answer", "x\n"},
		{"link for output", w.c.Lease(agenttest.Code("ln -s /etc/passwd answer.txt")), "definition", "answer", ""},
		{"time limit", limited, "timelimit", "limit of 1s", ""},
		{"rejected", greedy, "site-config", "cores", ""},
		{"too large", quota, "quota", "allowed are 2", "err\n"},
		{"forged digest", forged, "site-config", "digest", ""},
		{"input gone", gone, "transfer", "no such content", ""},
		{"bad parameter", w.c.Lease(agenttest.Code(agenttest.Hello), siteapi.Parameter{Name: "nonsense", Values: []string{"1"}}), "user", "nonsense", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			ref := w.c.Queue(c.lease)
			j := w.c.WaitPhase(ref, "ERROR")
			if j.Class != c.class || !strings.Contains(j.Message, c.message) {
				t.Errorf("got %s: %s; want %s: %s", j.Class, j.Message, c.class, c.message)
			}
			if string(j.Logs["stderr"]) != c.stderr {
				t.Errorf("standard error is %q, want %q", j.Logs["stderr"], c.stderr)
			}
			if j.Fragment == nil || j.Fragment.Outcome != "failed" {
				t.Errorf("the fragment is %+v", j.Fragment)
			}
			w.c.WaitForgotten(ref)
		})
	}
}

func TestPolicyDenies(t *testing.T) {
	w := newWorld(t)
	if err := os.WriteFile(w.cfg.Policy, []byte(denyAll), 0o600); err != nil {
		t.Fatal(err)
	}
	w.start()
	lease, started := w.c.Marking(agenttest.Hello)
	j := w.c.WaitPhase(w.c.Queue(lease), "ERROR")
	if j.Class != "site-config" || started() != 0 {
		t.Errorf("got %s: %s, started %d times", j.Class, j.Message, started())
	}
	if polls := w.c.Polls(); len(polls[0].Accepts) != 0 {
		t.Errorf("the site says it accepts %v", polls[0].Accepts)
	}
	// The file is read again, and what is allowed now runs.
	if err := os.WriteFile(w.cfg.Policy, []byte(agenttest.AllowCode+"# \n"), 0o600); err != nil {
		t.Fatal(err)
	}
	again, _ := w.c.Marking(agenttest.Hello)
	w.c.WaitPhase(w.c.Queue(again), "COMPLETED")
}

// waitPoll waits for a poll that is as wanted.
func (w *world) waitPoll(what string, want func(siteapi.PollRequest) bool) {
	w.t.Helper()
	testWait(w.t, what, func() bool { return slices.ContainsFunc(w.c.Polls(), want) })
}

func testWait(t *testing.T, what string, want func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !want(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited 10 s for %s", what)
		}
	}
}

// TestPolicyCannotBeRead: while the policy has an error nothing is accepted, and nothing is refused for good. Both
// this and its end are told while a poll is held.
func TestPolicyCannotBeRead(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.waitPoll("a poll that accepts any", func(p siteapi.PollRequest) bool { return len(p.Accepts) > 0 && !p.Drain })
	if err := os.WriteFile(w.cfg.Policy, []byte(agenttest.AllowCode+"max_core = 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	lease, started := w.c.Marking(agenttest.Hello)
	w.waitPoll("a poll that accepts nothing", func(p siteapi.PollRequest) bool { return len(p.Accepts) == 0 && p.Drain })
	j := w.c.WaitPhase(w.c.Queue(lease), "ERROR") // as one that was granted just before
	if want := "site " + agenttest.Site + ": the site's policy cannot be read at the moment"; j.Class != "site-transient" || j.Message != want || started() != 0 {
		t.Errorf("got %s: %s, started %d times", j.Class, j.Message, started())
	}
	before := len(w.c.Polls())
	if err := os.WriteFile(w.cfg.Policy, []byte(agenttest.AllowCode), 0o600); err != nil {
		t.Fatal(err)
	}
	testWait(t, "a poll that accepts any again", func() bool {
		return slices.ContainsFunc(w.c.Polls()[before:], func(p siteapi.PollRequest) bool { return len(p.Accepts) == 1 && !p.Drain })
	})
	again, _ := w.c.Marking(agenttest.Hello)
	w.c.WaitPhase(w.c.Queue(again), "COMPLETED")
}

func TestPolicyLimitsOutput(t *testing.T) {
	w := newWorld(t)
	if err := os.WriteFile(w.cfg.Policy, []byte(agenttest.AllowCode+"owners = [\"bob\"]\n"+strings.TrimPrefix(agenttest.AllowCode, "format = 1\n")+"max_output = \"4 B\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	w.start()
	lease, _ := w.c.Marking(agenttest.Hello)
	j := w.c.WaitPhase(w.c.Queue(lease), "ERROR")
	if want := "rule 2, max_output: the outputs have 6 bytes, at most 4 are allowed"; j.Class != "site-config" || !strings.Contains(j.Message, want) {
		t.Errorf("got %s: %s", j.Class, j.Message)
	}
}

func TestCancel(t *testing.T) {
	w := newWorld(t)
	w.start()
	lease, started := w.c.Marking("echo begun; sleep 60 & sleep 60")
	ref := w.c.Queue(lease)
	w.c.Wait(ref, "running", func(j agenttest.Job) bool { return j.Phase == "EXECUTING" && started() == 1 })
	w.c.Change(ref, func(j *agenttest.Job) { j.Phase = "ABORTED" })
	j := w.c.WaitPhase(ref, "ABORTED")
	if string(j.Logs["stdout"]) != "begun\n" || j.Fragment.Outcome != "cancelled" || j.Facts.Ended.IsZero() {
		t.Errorf("got %q, %+v", j.Logs["stdout"], j.Fragment)
	}
	w.c.WaitForgotten(ref)
}

// TestCancelLate: the user ends the job in the moment that its results are on their way.
func TestCancelLate(t *testing.T) {
	for _, at := range []string{"/logs/stdout", "/seal", "/manifest", "/commit"} {
		t.Run(strings.Trim(at, "/"), func(t *testing.T) {
			w := newWorld(t)
			lease, _ := w.c.Marking(agenttest.Hello)
			ref := w.c.Queue(lease)
			w.c.SetFault(func(r *http.Request) agenttest.Fault {
				if strings.HasSuffix(r.URL.Path, at) {
					w.c.Change(ref, func(j *agenttest.Job) { j.Phase = "ABORTED" })
				}
				return agenttest.None
			})
			w.start()
			if j := w.c.WaitPhase(ref, "ABORTED"); j.Fragment.Outcome != "cancelled" || len(j.Logs) != 2 {
				t.Errorf("got %+v", j.Fragment)
			}
			w.c.WaitForgotten(ref)
		})
	}
}

// TestCancelBeforeLease: the user ends the job before its lease arrives anywhere.
func TestCancelBeforeLease(t *testing.T) {
	w := newWorld(t)
	lease, started := w.c.Marking(agenttest.Hello)
	ref := w.c.Queue(lease)
	w.c.Change(ref, func(j *agenttest.Job) { j.Phase, j.Known = "ABORTED", true })
	w.start()
	if j := w.c.WaitPhase(ref, "ABORTED"); j.Fragment.Outcome != "cancelled" || started() != 0 {
		t.Errorf("got %+v, started %d times", j.Fragment, started())
	}
	w.c.WaitForgotten(ref)
}

func TestStale(t *testing.T) {
	w := newWorld(t)
	w.start()
	lease, started := w.c.Marking("sleep 60")
	ref := w.c.Queue(lease)
	w.c.Wait(ref, "running", func(agenttest.Job) bool { return started() == 1 })
	w.c.Change(ref, func(j *agenttest.Job) { j.Stale = true })
	w.c.WaitForgotten(ref)
	if left := w.attempts(); len(left) != 0 {
		t.Errorf("directories are left: %v", left)
	}
	if slices.ContainsFunc(w.c.Requests(), func(r string) bool { return strings.HasSuffix(r, "/close") }) {
		t.Error("a stale attempt was closed")
	}
}

func TestLiveLogs(t *testing.T) {
	w := newWorld(t)
	w.start()
	release := filepath.Join(t.TempDir(), "release")
	if err := syscall.Mkfifo(release, 0o600); err != nil {
		t.Fatal(err)
	}
	lease := w.c.Lease(agenttest.Code("echo first; read x < \"$1\"; "+agenttest.Hello), siteapi.Parameter{Name: "mark", Values: []string{release}})
	ref := w.c.Queue(lease)
	w.c.Wait(ref, "running", func(j agenttest.Job) bool { return j.Phase == "EXECUTING" })
	w.c.Change(ref, func(j *agenttest.Job) { j.Watched = true })
	w.c.Wait(ref, "a live chunk", func(j agenttest.Job) bool { return string(j.Live["stdout"]) == "first\n" })
	if err := os.WriteFile(release, []byte("go\n"), 0); err != nil {
		t.Fatal(err)
	}
	j := w.c.WaitPhase(ref, "COMPLETED")
	if string(j.Logs["stdout"]) != "first\nout\n" {
		t.Errorf("the final log is %q", j.Logs["stdout"])
	}
}

// TestBadNetwork: every second request is refused, cut, or answered to nobody, and still each job ends once.
func TestBadNetwork(t *testing.T) {
	w := newWorld(t)
	var n atomic.Int64
	w.c.SetFault(func(*http.Request) agenttest.Fault {
		return []agenttest.Fault{agenttest.None, agenttest.Refuse, agenttest.None, agenttest.LoseAnswer, agenttest.None, agenttest.Cut}[n.Add(1)%6]
	})
	w.start()
	var refs []siteapi.AttemptRef
	var counts []func() int
	for range 4 {
		lease, started := w.c.Marking(agenttest.Hello)
		refs, counts = append(refs, w.c.Queue(lease)), append(counts, started)
	}
	for i, ref := range refs {
		w.c.WaitPhase(ref, "COMPLETED")
		if n := counts[i](); n != 1 {
			t.Errorf("a process was started %d times", n)
		}
	}
}

func TestManyJobsOnFewSlots(t *testing.T) {
	w := newWorld(t)
	w.start()
	var refs []siteapi.AttemptRef
	for range 20 {
		lease := w.c.Lease(agenttest.Code(agenttest.Hello))
		refs = append(refs, w.c.Queue(lease))
	}
	for _, ref := range refs {
		w.c.WaitPhase(ref, "COMPLETED")
	}
	for _, p := range w.c.Polls() {
		if p.Free.Slots < 0 || p.Free.Slots > 4 || p.Total.Slots != 4 {
			t.Errorf("a poll offers %+v of %+v", p.Free, p.Total)
		}
	}
}

// TestRestartAnywhere stops the agent at each kind of request, and starts it again: the job ends once, and
// its process was started once.
func TestRestartAnywhere(t *testing.T) {
	for _, at := range []string{"/content/", "/report", "/logs/stdout", "/seal", "/manifest", "/commit", "/poll"} {
		for _, how := range []agenttest.Fault{agenttest.Cut, agenttest.LoseAnswer} {
			t.Run(fmt.Sprintf("%s-%d", strings.Trim(at, "/"), how), func(t *testing.T) {
				restartAt(t, at, how)
			})
		}
	}
}

func restartAt(t *testing.T, at string, how agenttest.Fault) {
	w := newWorld(t)
	lease, started := w.c.Marking("sleep 0.2; " + agenttest.Hello)
	reached := make(chan struct{})
	var once atomic.Bool
	w.c.SetFault(func(r *http.Request) agenttest.Fault {
		if strings.Contains(r.URL.Path, at) && once.CompareAndSwap(false, true) {
			close(reached)
		}
		if once.Load() {
			return how
		}
		return agenttest.None
	})
	stop := w.start()
	ref := w.c.Queue(lease)
	select {
	case <-reached:
	case <-time.After(15 * time.Second):
		t.Fatal("the agent never asked for " + at)
	}
	stop()
	w.c.SetFault(nil)
	w.start()
	w.c.WaitPhase(ref, "COMPLETED")
	if n := started(); n != 1 {
		t.Errorf("the process was started %d times", n)
	}
	if got := w.c.Output(ref, "answer.txt"); string(got) != "hello\n" {
		t.Errorf("the output is %q", got)
	}
	w.c.WaitForgotten(ref)
}

func TestJobsGoOnWithoutAgent(t *testing.T) {
	w := newWorld(t)
	stop := w.start()
	lease, started := w.c.Marking("sleep 1; " + agenttest.Hello)
	ref := w.c.Queue(lease)
	w.c.Wait(ref, "running", func(agenttest.Job) bool { return started() == 1 })
	stop()
	w.start()
	w.c.WaitPhase(ref, "COMPLETED")
	if started() != 1 {
		t.Errorf("the process was started %d times", started())
	}
}

func TestSecondAgentIsRefused(t *testing.T) {
	w := newWorld(t)
	w.start()
	lease, _ := w.c.Marking(agenttest.Hello)
	w.c.WaitPhase(w.c.Queue(lease), "COMPLETED")
	if err := Run(t.Context(), w.cfg); err == nil || !strings.Contains(err.Error(), "another agent") {
		t.Errorf("got %v", err)
	}
}

func TestFenced(t *testing.T) {
	w := newWorld(t)
	cfg := w.cfg
	cfg.Servers = []string{agenttest.Answering(t, http.StatusConflict, siteapi.Error{Code: siteapi.CodeStale, Message: "a newer agent polls"})}
	if err := Run(t.Context(), cfg); !errors.Is(err, ErrFenced) {
		t.Errorf("got %v", err)
	}
}
