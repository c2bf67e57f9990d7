package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"consort/agent"
	"consort/agent/agenttest"
	"consort/shared/siteapi"
)

// build makes the agent's program.
func build(t *testing.T, environment string, flags ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "consort-agent")
	cmd := exec.Command("go", append(append([]string{"build", "-o", path}, flags...), ".")...)
	cmd.Env = append(os.Environ(), environment)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return path
}

// process is a started agent.
type process struct {
	t    *testing.T
	cmd  *exec.Cmd
	log  bytes.Buffer
	done chan error
}

func start(t *testing.T, program, config, failpoint string) *process {
	t.Helper()
	p := &process{t: t, done: make(chan error, 1)}
	p.cmd = exec.Command(program, "run", "--config", config, "--log-level", "debug")
	p.cmd.Env = append(os.Environ(), "CONSORT_FAILPOINT="+failpoint)
	p.cmd.Stderr = &p.log
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { p.done <- p.cmd.Wait() }()
	t.Cleanup(func() {
		if p.cmd.ProcessState == nil {
			_ = p.cmd.Process.Kill()
			<-p.done
		}
		if t.Failed() {
			t.Logf("the agent's log:\n%s", p.log.String())
		}
	})
	return p
}

// killed waits until the failpoint has killed the agent.
func (p *process) killed() {
	p.t.Helper()
	select {
	case err := <-p.done:
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
			p.t.Fatalf("the agent ended with: %v", err)
		}
	case <-time.After(20 * time.Second):
		p.t.Fatal("the failpoint was not reached")
	}
}

// stop ends the agent as an administrator does.
func (p *process) stop() {
	p.t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		p.t.Fatal(err)
	}
	select {
	case err := <-p.done:
		if err != nil {
			p.t.Errorf("the agent ended with: %v", err)
		}
	case <-time.After(3 * time.Second):
		p.t.Error("the agent did not stop within 3 s")
	}
}

// enrol makes a site by the program itself.
func enrol(t *testing.T, program, server string) (config string) {
	t.Helper()
	dir := t.TempDir()
	cmd := exec.Command(program, "enroll", "--server", server, "--token-file", "-", "--dir", dir, "--site", agenttest.Site, "--slots", "4")
	cmd.Stdin = strings.NewReader(agenttest.Token + "\n")
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "SHA256:") {
		t.Fatalf("enroll: %v\n%s", err, out)
	}
	if err := os.WriteFile(filepath.Join(dir, "policy.toml"), []byte(agenttest.AllowCode), 0o600); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "agent.toml")
}

// TestKillMatrix kills the agent at each dangerous point and starts it again: every job completes, and no
// process is started twice.
func TestKillMatrix(t *testing.T) {
	program := build(t, "", "-tags", "failpoint")
	for _, point := range []string{
		"agent-after-journal-before-submit", "local-before-start", "local-after-start", "agent-after-submit-before-record",
		"agent-after-started", "agent-after-exit-file", "staging-mid-upload", "agent-before-seal",
		"agent-between-manifest-parts", "agent-before-commit", "agent-after-commit-before-cleanup",
	} {
		t.Run(point, func(t *testing.T) {
			c := agenttest.New(t)
			config := enrol(t, program, c.URL)
			lease, started := c.Marking("sleep 0.2; " + agenttest.Hello)
			ref := c.Queue(lease)
			start(t, program, config, point).killed()
			again := start(t, program, config, "")
			j := c.WaitPhase(ref, "COMPLETED")
			c.WaitForgotten(ref)
			if n := started(); n != 1 {
				t.Errorf("the process was started %d times", n)
			}
			if string(j.Logs["stdout"]) != "out\n" || string(c.Output(ref, "answer.txt")) != "hello\n" {
				t.Errorf("the log is %q", j.Logs["stdout"])
			}
			again.stop()
		})
	}
}

// TestSmall: an agent lives on a login node, among people.
func TestSmall(t *testing.T) {
	program := build(t, "CGO_ENABLED=0", "-ldflags", "-s -w -X consort/shared/telemetry.version=1.2.3")
	info, err := os.Stat(program)
	if err != nil {
		t.Fatal(err)
	}
	if info.Size() > 20<<20 {
		t.Errorf("the program has %d bytes, allowed are 20 MiB", info.Size())
	}
	if out, err := exec.Command(program, "version").Output(); err != nil || string(out) != "consort-agent 1.2.3\n" {
		t.Errorf("version: %q, %v", out, err)
	}
	c := agenttest.New(t)
	p := start(t, program, enrol(t, program, c.URL), "")
	lease, _ := c.Marking(agenttest.Hello)
	ref := c.Queue(lease)
	c.WaitPhase(ref, "COMPLETED")
	c.WaitForgotten(ref)
	if kb := resident(t, p.cmd.Process.Pid); kb > 30<<10 {
		t.Errorf("idle it takes %d KiB, allowed are 30 MiB", kb)
	}
	p.stop()
}

func resident(t *testing.T, pid int) (kb int) {
	t.Helper()
	f, err := os.Open(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if _, err := fmt.Sscanf(s.Text(), "VmRSS: %d kB", &kb); err == nil {
			return kb
		}
	}
	t.Fatal("no VmRSS in /proc")
	return 0
}

// TestLinksNothingOfTheCoordinator keeps the agent small and its attack surface too.
func TestLinksNothingOfTheCoordinator(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, forbidden := range []string{"consort/coordinator", "github.com/hashicorp/raft", "github.com/dgraph-io/badger", "github.com/gofiber/fiber", "github.com/valyala/fasthttp"} {
		for dep := range strings.FieldsSeq(string(out)) {
			if strings.HasPrefix(dep, forbidden) {
				t.Errorf("the agent links %s", dep)
			}
		}
	}
}

func TestCommandLine(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"run --config /nonexistent/agent.toml", "no such file"},
		{"run --log-level loud", "--log-level"},
		{"enroll --server http://127.0.0.1:1", "--token"},
		{"enroll --token x", "server"},
		{"nonsense", "unknown command"},
	} {
		cmd := root()
		cmd.SetArgs(strings.Fields(c.args))
		cmd.SetOut(&bytes.Buffer{})
		cmd.SetErr(&bytes.Buffer{})
		if err := cmd.ExecuteContext(t.Context()); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.args, err, c.want)
		}
	}
}

// TestFencedHasItsOwnStatus: a service manager must be able to tell it from what a new start may mend.
func TestFencedHasItsOwnStatus(t *testing.T) {
	program := build(t, "")
	config := enrol(t, program, agenttest.New(t).URL)
	stale := agenttest.Answering(t, http.StatusConflict, siteapi.Error{Code: siteapi.CodeStale, Message: "a newer agent polls"})
	text, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	text = regexp.MustCompile(`(?m)^servers = .*$`).ReplaceAll(text, []byte("servers = ['"+stale+"']"))
	if err := os.WriteFile(config, text, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		config string
		want   int
	}{{config, exitFenced}, {config + ".missing", exitFailure}} {
		p := start(t, program, c.config, "")
		select {
		case <-p.done:
		case <-time.After(20 * time.Second):
			t.Fatal("the agent did not end")
		}
		if got := p.cmd.ProcessState.ExitCode(); got != c.want {
			t.Errorf("%s: exit status %d, want %d", c.config, got, c.want)
		}
	}
}

func TestReadToken(t *testing.T) {
	if _, err := agent.ReadToken("-", strings.NewReader(" \n")); err == nil {
		t.Error("an empty token was accepted")
	}
	if got, err := agent.ReadToken("-", strings.NewReader("abc\n")); err != nil || got != "abc" {
		t.Errorf("got %q, %v", got, err)
	}
}
