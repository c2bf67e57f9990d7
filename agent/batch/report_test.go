package batch

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// report is what a command told; heard is false when it failed.
type report struct {
	text  string
	heard bool
}

func (a *attempt) reported(i int) report {
	text, heard := ReadReport(a.dir, i)
	return report{string(text), heard}
}

func TestReports(t *testing.T) {
	shells(t, func(t *testing.T, shell []string) {
		a := newAttempt(t, shell, "sh", "-c", "cat ../report-0")
		a.Env = append(a.Env, "GREETING=good day")
		cases := []struct {
			argv []string
			want report
		}{
			{[]string{"sh", "-c", `echo "$GREETING $CONSORT_JOB"; pwd; cat; echo bad >&2`}, report{"good day j1\n" + a.WorkDir + "\nbad\n", true}},
			{[]string{"printf", "%s", "$(touch pwned); ' `touch pwned`\n"}, report{"$(touch pwned); ' `touch pwned`\n", true}},
			{[]string{"sh", "-c", "echo 1.2.3; exit 3"}, report{}},
			{[]string{"no-such-program"}, report{}},
			{[]string{"true"}, report{"", true}},
			{[]string{"head", "-c", "300000", "/dev/zero"}, report{strings.Repeat("\x00", 4096), true}},
		}
		for _, c := range cases {
			a.Reports = append(a.Reports, c.argv)
		}
		if e := a.run(t); e.Status != 0 || a.output(t) != cases[0].want.text {
			t.Errorf("the program gave %+v, %q", e, a.output(t))
		}
		for i, c := range cases {
			if got := a.reported(i); got != c.want {
				t.Errorf("%q told %v %.100q", c.argv, got.heard, got.text)
			}
		}
		if got := a.reported(len(cases)); got.heard {
			t.Errorf("what was not asked told %q", got.text)
		}
		if _, err := os.Lstat(filepath.Join(a.WorkDir, "pwned")); err == nil {
			t.Error("text was run as a command")
		}
	})
}

// TestReportWithoutEnd: what never ends is given up, with all that it started, and the program runs.
func TestReportWithoutEnd(t *testing.T) {
	before := reportSeconds
	reportSeconds = 1
	t.Cleanup(func() { reportSeconds = before })
	shells(t, func(t *testing.T, shell []string) {
		a := newAttempt(t, shell, "echo", "ran")
		a.Reports = [][]string{{"sh", "-c", "echo 1.2; sleep 300 & sleep 300"}, {"sh", "-c", "trap '' TERM; echo 3.4; while :; do sleep 1; done"}, {"yes"}}
		began := time.Now()
		if e := a.run(t); e.Status != 0 || a.output(t) != "ran\n" || time.Since(began) > 8*time.Second {
			t.Errorf("after %v the program gave %+v, %q", time.Since(began), e, a.output(t))
		}
		for i := range a.Reports {
			if got := a.reported(i); got.heard {
				t.Errorf("%q told %.100q", a.Reports[i], got.text)
			}
		}
	})
}

// TestSignalDuringReports: an attempt that is ended while its programs are asked never runs the code.
func TestSignalDuringReports(t *testing.T) {
	shells(t, func(t *testing.T, shell []string) {
		a := newAttempt(t, shell, "touch", "ran")
		a.Reports = [][]string{{"sh", "-c", "touch ../up; until [ -e ../stop ]; do sleep 0.01; done"}}
		cmd := a.start(t)
		waitFor(t, func() bool { _, err := os.Lstat(filepath.Join(a.dir, "up")); return err == nil })
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()
		if err := os.WriteFile(filepath.Join(a.dir, "stop"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if e := a.exit(t); e.Status != 143 || e.Error != "signal" {
			t.Errorf("%+v", e)
		}
		if _, err := os.Lstat(filepath.Join(a.WorkDir, "ran")); err == nil {
			t.Error("the code ran")
		}
	})
}

func TestNoReports(t *testing.T) {
	p := Program{Job: "j1", Epoch: 1, Args: []string{"true"}, WorkDir: "/w", Stdout: "/o", Stderr: "/e"}
	if text := p.script("/d"); strings.Contains(text, "report") || strings.Contains(text, "timeout") {
		t.Errorf("a wrapper without reports has some: %s", text)
	}
	for _, bad := range [][]string{nil, {""}, {"A=b"}, {"a\x00"}} {
		p.Reports = [][]string{bad}
		if err := p.check(); err == nil {
			t.Errorf("%q may be run", bad)
		}
	}
}
