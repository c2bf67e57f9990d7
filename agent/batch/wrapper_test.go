package batch

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"consort/shared/testenv"
)

// dumper makes the test binary print its arguments, environment and directory, each ended by a NUL.
const dumper = "CONSORT_TEST_DUMP"

func TestMain(m *testing.M) {
	if os.Getenv(dumper) == "" {
		os.Exit(m.Run())
	}
	for _, list := range [][]string{os.Args[1:], {"=="}, os.Environ()} {
		for _, s := range list {
			fmt.Print(s, "\x00")
		}
	}
	os.Exit(0)
}

// shells calls test with every kind of POSIX shell that may be a site's /bin/sh.
func shells(t *testing.T, test func(t *testing.T, shell []string)) {
	for _, shell := range [][]string{{"dash"}, {"bash", "--posix"}, {"busybox", "sh"}} {
		t.Run(shell[0], func(t *testing.T) {
			path := testenv.Need(t, shell[0])
			test(t, append(path, shell[1:]...))
		})
	}
}

// attempt is a directory with a program that is to run in it.
type attempt struct {
	shell []string
	dir   string
	Program
}

func newAttempt(t *testing.T, shell []string, args ...string) *attempt {
	t.Helper()
	dir := t.TempDir()
	work := filepath.Join(dir, "work")
	if err := os.Mkdir(work, 0o700); err != nil {
		t.Fatal(err)
	}
	return &attempt{shell, dir, Program{
		Job: "j1", Epoch: 7, Args: args, Env: []string{"PATH=/usr/bin:/bin"}, WorkDir: work,
		Stdout: filepath.Join(dir, "stdout"), Stderr: filepath.Join(dir, "stderr"),
	}}
}

func (a *attempt) start(t *testing.T) *exec.Cmd {
	t.Helper()
	path, err := WriteWrapper(a.dir, a.Program)
	if err != nil {
		t.Fatal(err)
	}
	if err := CheckWrapper(path); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(a.shell[0], append(a.shell[1:], path)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd
}

// run runs the wrapper to its end and returns what it recorded.
func (a *attempt) run(t *testing.T) *Exit {
	t.Helper()
	_ = a.start(t).Wait() // the exit file has the status
	return a.exit(t)
}

func (a *attempt) exit(t *testing.T) *Exit {
	t.Helper()
	e, err := ReadExit(a.dir)
	if err != nil {
		text, _ := os.ReadFile(filepath.Join(a.dir, ExitFile))
		t.Fatalf("%v: %s", err, text)
	}
	return e
}

func (a *attempt) output(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile(a.Stdout)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestExitStatus(t *testing.T) {
	shells(t, func(t *testing.T, shell []string) {
		for script, want := range map[string]struct{ code, signal int }{
			"exit 0": {0, 0}, "exit 3": {3, 0}, "exit 99": {99, 0}, "exit 127": {127, 0},
			"kill -9 $$": {0, 9}, "kill -TERM $$": {0, 15}, "kill -SEGV $$": {0, 11},
		} {
			a := newAttempt(t, shell, "sh", "-c", script)
			before := time.Now().Add(-20 * time.Millisecond) // the kernel's clock for files ticks slowly
			e := a.run(t)
			if e.Code() != want.code || e.Signal() != want.signal || e.Error != "" {
				t.Errorf("%s: %+v", script, e)
			}
			if e.Job != "j1" || e.Epoch != 7 || e.Start.Before(before) || e.End.Before(e.Start) || e.End.After(time.Now()) {
				t.Errorf("%s: %+v", script, e)
			}
			s, err := ReadStarted(a.dir)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(e.Started, *s); diff != "" {
				t.Error(diff)
			}
		}
	})
}

// TestInert runs a program with hostile text in every place, and sees that it arrives as it is.
func TestInert(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var all []byte
	for b := 1; b < 256; b++ {
		all = append(all, byte(b))
	}
	hostile := []string{
		"", " ", "-n", "--", "=", "A=B", "'", "''", `\`, `\'`, `"`, "'; touch pwned; '", "$(touch pwned)", "`touch pwned`", "$HOME", "${IFS}",
		"a\nb", "\n", "\n\n", "a;touch pwned", "&& touch pwned", "|touch pwned", ">pwned", "*", "~", "!!", "#x", "@DIR@", "@COMMAND@", "%s%n",
		"\xff\xfe", "\x01\x7f\x81\x82\x88", "é", "\r\n", "\t", string(all), strings.Repeat("x", MaxArgument-10), "end\n# end of the wrapper\n",
	}
	shells(t, func(t *testing.T, shell []string) {
		a := newAttempt(t, shell)
		a.dir = filepath.Join(a.dir, "it's `a` $(touch pwned)\n dir")
		a.WorkDir = filepath.Join(a.dir, "-work ' \" \\")
		a.Stdout = filepath.Join(a.dir, "out $(touch pwned)")
		a.Stderr = filepath.Join(a.dir, "'err")
		if err := os.MkdirAll(a.WorkDir, 0o700); err != nil {
			t.Fatal(err)
		}
		a.Args = append([]string{self}, hostile...)
		env := []string{dumper + "=1"}
		for i, h := range hostile {
			env = append(env, fmt.Sprintf("V%d=%s", i, h))
		}
		a.Env = append(slices.Clone(env), JobVariable+"=forged")
		if e := a.run(t); e.Status != 0 {
			t.Fatalf("%+v", e)
		}
		want := slices.Concat(hostile, []string{"=="}, env, []string{JobVariable + "=j1", EpochVariable + "=7"})
		got := strings.Split(strings.TrimSuffix(a.output(t), "\x00"), "\x00")
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		for _, dir := range []string{a.dir, a.WorkDir, "."} {
			if _, err := os.Lstat(filepath.Join(dir, "pwned")); err == nil {
				t.Errorf("text was run as a command in %s", dir)
			}
		}
	})
}

func TestRapidArguments(t *testing.T) {
	shell := testenv.Need(t, "sh")
	rapid.Check(t, func(rt *rapid.T) {
		a := newAttempt(t, shell, "printf", `%s\000`)
		for _, raw := range rapid.SliceOfN(rapid.SliceOf(rapid.Byte()), 1, 5).Draw(rt, "arguments") {
			a.Args = append(a.Args, string(bytes.ReplaceAll(raw, []byte{0}, nil)))
		}
		if e := a.run(t); e.Status != 0 {
			rt.Fatalf("%+v", e)
		}
		if got, want := a.output(t), strings.Join(a.Args[2:], "\x00")+"\x00"; got != want {
			rt.Fatalf("got %q, want %q", got, want)
		}
	})
}

func TestRefusedPrograms(t *testing.T) {
	good := Program{Job: "j1", Epoch: 1, Args: []string{"true"}, WorkDir: "/w", Stdout: "/o", Stderr: "/e"}
	for name, change := range map[string]func(*Program){
		"job":              func(p *Program) { p.Job = "j'1" },
		"epoch":            func(p *Program) { p.Epoch = 0 },
		"no command":       func(p *Program) { p.Args = nil },
		"empty command":    func(p *Program) { p.Args = []string{""} },
		"assignment":       func(p *Program) { p.Args = []string{"A=b", "c"} },
		"NUL in argument":  func(p *Program) { p.Args = []string{"true", "a\x00b"} },
		"long argument":    func(p *Program) { p.Args = []string{"true", strings.Repeat("x", MaxArgument+1)} },
		"too much":         func(p *Program) { p.Args = slices.Repeat([]string{strings.Repeat("x", MaxArgument)}, 40) },
		"NUL in variable":  func(p *Program) { p.Env = []string{"A=\x00"} },
		"no name":          func(p *Program) { p.Env = []string{"=b"} },
		"no value":         func(p *Program) { p.Env = []string{"A"} },
		"odd name":         func(p *Program) { p.Env = []string{"A B=c"} },
		"relative workdir": func(p *Program) { p.WorkDir = "w" },
		"no workdir":       func(p *Program) { p.WorkDir = "" },
		"no stdout":        func(p *Program) { p.Stdout = "" },
		"relative stderr":  func(p *Program) { p.Stderr = "e" },
		"NUL in stdin":     func(p *Program) { p.Stdin = "/a\x00" },
	} {
		t.Run(name, func(t *testing.T) {
			p := good
			change(&p)
			dir := t.TempDir()
			if _, err := WriteWrapper(dir, p); !errors.Is(err, ErrProgram) {
				t.Errorf("got %v", err)
			}
			if names, _ := os.ReadDir(dir); len(names) > 0 {
				t.Errorf("left %v", names)
			}
		})
	}
	if _, err := WriteWrapper("relative", good); !errors.Is(err, ErrProgram) {
		t.Errorf("relative directory: %v", err)
	}
}

func TestCannotStart(t *testing.T) {
	shells(t, func(t *testing.T, shell []string) {
		for what, c := range map[string]struct {
			change func(*attempt)
			status int
			error  string
		}{
			"no working directory": {func(a *attempt) { a.WorkDir = "/nonexistent" }, 126, "workdir"},
			"no standard input":    {func(a *attempt) { a.Stdin = "/nonexistent" }, 126, "stdin"},
			"no place for stdout":  {func(a *attempt) { a.Stdout = "/nonexistent/a" }, 126, "stdout"},
			"no place for stderr":  {func(a *attempt) { a.Stderr = "/nonexistent/a" }, 126, "stderr"},
			"no such program":      {func(a *attempt) { a.Args = []string{"no-such-program"} }, 127, ""},
			"not executable":       {func(a *attempt) { a.Args = []string{"/etc/passwd"} }, 126, ""},
		} {
			a := newAttempt(t, shell, "sh", "-c", "touch ran")
			c.change(a)
			if e := a.run(t); e.Status != c.status || e.Error != c.error {
				t.Errorf("%s: %+v", what, e)
			}
			if _, err := os.Stat(filepath.Join(a.dir, "work", "ran")); err == nil {
				t.Errorf("%s: it ran", what)
			}
		}
	})
}

func TestStartedOnce(t *testing.T) {
	shells(t, func(t *testing.T, shell []string) {
		a := newAttempt(t, shell, "sh", "-c", "echo once")
		var wg sync.WaitGroup
		for range 8 {
			cmd := a.start(t)
			wg.Go(func() { _ = cmd.Wait() })
		}
		wg.Wait()
		if got := a.output(t); got != "once\n" {
			t.Errorf("the program ran more than once: %q", got)
		}
		if e := a.exit(t); e.Status != 0 {
			t.Errorf("%+v", e)
		}
	})
}

func TestSignals(t *testing.T) {
	shells(t, func(t *testing.T, shell []string) {
		for _, c := range []struct {
			signal syscall.Signal
			script string
			want   int
		}{
			{syscall.SIGTERM, "trap 'exit 5' TERM; echo up; while :; do sleep 0.01; done", 5},
			{syscall.SIGUSR1, "trap 'exit 6' USR1; echo up; while :; do sleep 0.01; done", 6},
			{syscall.SIGXCPU, "trap 'exit 7' XCPU; echo up; while :; do sleep 0.01; done", 7},
			{syscall.SIGUSR2, "trap 'echo more' USR2; echo up; until grep -q more ../stdout; do sleep 0.01; done; exit 0", 0},
			{syscall.SIGTERM, "echo up; exec sleep 60", 128 + 15},
		} {
			a := newAttempt(t, shell, "sh", "-c", c.script)
			cmd := a.start(t)
			waitFor(t, func() bool { data, _ := os.ReadFile(a.Stdout); return bytes.HasPrefix(data, []byte("up\n")) })
			if err := cmd.Process.Signal(c.signal); err != nil {
				t.Fatal(err)
			}
			_ = cmd.Wait()
			if e := a.exit(t); e.Status != c.want {
				t.Errorf("%v: status %d, want %d", c.signal, e.Status, c.want)
			}
		}
	})
}

func TestStreams(t *testing.T) {
	shells(t, func(t *testing.T, shell []string) {
		a := newAttempt(t, shell, "sh", "-c", "cat; pwd; echo bad >&2; umask")
		a.Stdin = filepath.Join(a.dir, "in put")
		if err := os.WriteFile(a.Stdin, []byte("input\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if e := a.run(t); e.Status != 0 {
			t.Fatalf("%+v", e)
		}
		if got, want := a.output(t), "input\n"+a.WorkDir+"\n0077\n"; got != want {
			t.Errorf("standard output %q, want %q", got, want)
		}
		if data, _ := os.ReadFile(a.Stderr); string(data) != "bad\n" {
			t.Errorf("standard error %q", data)
		}
	})
}

func TestCPU(t *testing.T) {
	shells(t, func(t *testing.T, shell []string) {
		a := newAttempt(t, shell, "sh", "-c", "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done")
		if e := a.run(t); e.CPU <= 0 || e.CPU > time.Minute {
			t.Errorf("%v of CPU", e.CPU)
		}
	})
}

func TestCheckWrapper(t *testing.T) {
	path := filepath.Join(t.TempDir(), "wrapper")
	if err := CheckWrapper(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing: %v", err)
	}
	if err := os.WriteFile(path, nil, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := CheckWrapper(path); !errors.Is(err, ErrProgram) {
		t.Errorf("empty: %v", err)
	}
}

func waitFor(t *testing.T, done func() bool) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for !done() {
		if time.Now().After(deadline) {
			t.Fatal("it did not happen in time")
		}
		time.Sleep(2 * time.Millisecond)
	}
}
