package worldtest

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Deadlines of conditions. They are generous, since a loaded machine is no error; only stopping has a bound
// that is promised to users.
const (
	patience  = 2 * time.Minute
	stopLimit = 5 * time.Second
)

// process is one of our programs, started as a user starts it, in a process group of its own.
type process struct {
	t    testing.TB
	name string
	cmd  *exec.Cmd
	out  output
	log  output
	done chan struct{}
	err  error // of Wait; to be read after done
}

// output collects what a program writes.
type output struct {
	mu   sync.Mutex
	data bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.data.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.data.String()
}

// tail is the end of a log, without what the database tells of itself.
func (o *output) tail() string {
	var text strings.Builder
	for line := range strings.Lines(o.String()) {
		if !strings.Contains(line, "part=state") && !strings.Contains(line, `"part":"state"`) {
			text.WriteString(line)
		}
	}
	s := text.String()
	return s[max(0, len(s)-20_000):]
}

// launch starts a program that dies at the failpoint, if one is named.
func launch(t testing.TB, failpoint string, argv ...string) *process {
	t.Helper()
	p := &process{t: t, name: strings.Join(argv[1:min(3, len(argv))], " "), cmd: exec.Command(argv[0], argv[1:]...), done: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), "CONSORT_FAILPOINT="+failpoint)
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.log
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.done)
		p.err = p.cmd.Wait()
	}()
	t.Cleanup(p.clean)
	return p
}

func (p *process) clean() {
	if !p.ended() {
		_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
		<-p.done
	}
	if log := p.log.String(); strings.Contains(log, "DATA RACE") || strings.Contains(log, "panic:") {
		p.t.Errorf("%s: a race or a panic", p.name)
	}
	if p.t.Failed() {
		p.t.Logf("output of %s (%d):\n%s%s", p.name, p.cmd.Process.Pid, p.out.String(), p.log.tail())
	}
}

func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// ready waits for the line that says where a server can be reached.
func (p *process) ready() map[string]string {
	p.t.Helper()
	addresses := map[string]string{}
	eventually(p.t, p.name+" is ready", func() error {
		if p.ended() {
			p.t.Fatalf("%s ended: %v", p.name, p.err)
		}
		line, whole := strings.CutSuffix(p.out.String(), "\n")
		if !whole || !strings.HasPrefix(line, "ready ") {
			return fmt.Errorf("output so far: %q", line)
		}
		for field := range strings.FieldsSeq(strings.TrimPrefix(line, "ready ")) {
			key, value, _ := strings.Cut(field, "=")
			addresses[key] = value
		}
		return nil
	})
	return addresses
}

// wait waits for the end.
func (p *process) wait() {
	p.t.Helper()
	select {
	case <-p.done:
	case <-time.After(patience):
		p.t.Fatalf("%s did not end", p.name)
	}
}

// died waits until the failpoint has killed the process, and makes sure that it was the failpoint.
func (p *process) died(failpoint string) {
	p.t.Helper()
	p.wait()
	point, _, _ := strings.Cut(failpoint, ":")
	var exit *exec.ExitError
	if !errors.As(p.err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		p.t.Fatalf("%s ended with %v instead of being killed", p.name, p.err)
	}
	if !strings.Contains(p.log.String(), "failpoint "+point+":") {
		p.t.Fatalf("%s was not killed by %s", p.name, point)
	}
}

// kill is kill -9.
func (p *process) kill() {
	p.t.Helper()
	if err := p.cmd.Process.Kill(); err != nil {
		p.t.Fatalf("kill %s: %v", p.name, err)
	}
	p.wait()
}

// stop is Ctrl-C: the program ends by itself, without an error, in the time that is promised. The signal comes twice,
// as when make or a process manager passes on what the whole group was sent.
func (p *process) stop() {
	p.t.Helper()
	begun := time.Now()
	for range 2 {
		if err := p.cmd.Process.Signal(os.Interrupt); err != nil && !errors.Is(err, os.ErrProcessDone) {
			p.t.Fatalf("stop %s: %v", p.name, err)
		}
		time.Sleep(20 * time.Millisecond) // so that the second is not merged into the first
	}
	p.wait()
	if p.err != nil {
		p.t.Errorf("%s ended with %v after Ctrl-C", p.name, p.err)
	}
	limit := stopLimit
	if race {
		limit *= 3
	}
	if took := time.Since(begun); took > limit {
		p.t.Errorf("%s took %v to stop", p.name, took)
	}
}

// peakMemory is the most bytes that a process had resident so far.
func peakMemory(t testing.TB, pid int) int64 {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		var kb int64
		if _, err := fmt.Sscanf(line, "VmHWM: %d kB", &kb); err == nil {
			return kb << 10
		}
	}
	t.Fatalf("process %d: no VmHWM", pid)
	return 0
}

// eventually waits until a condition holds.
func eventually(t testing.TB, what string, condition func() error) {
	t.Helper()
	deadline := time.Now().Add(patience)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := condition()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("waited %v until %s: %v", patience, what, err)
		}
		<-tick.C
	}
}
