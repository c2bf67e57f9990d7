package batch

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const goodExit = `consort-exit 1
job j1
epoch 2
host node-1.example
pid 345
boot 6153de9b-21c3-4a2c-91bb-b77432a7e6f6
status 137
error -
0m0.01s 0m0.02s
1m2,500s 0m0.00s
done
`

const goodStarted = "consort-started 1\njob j1\nepoch 2\npid 345\nboot -\ndone\n"

func TestReadExit(t *testing.T) {
	dir := t.TempDir()
	if _, err := ReadExit(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing: %v", err)
	}
	start, end := time.Unix(1700000000, 5e8).UTC(), time.Unix(1700000001, 0).UTC()
	for _, f := range []struct {
		name, text string
		written    time.Time
	}{{StartedFile, goodStarted, start}, {ExitFile, goodExit, end}} {
		path := filepath.Join(dir, f.name)
		if err := errors.Join(os.WriteFile(path, []byte(f.text), 0o600), os.Chtimes(path, f.written, f.written)); err != nil {
			t.Fatal(err)
		}
	}
	got, err := ReadExit(dir)
	if err != nil {
		t.Fatal(err)
	}
	want := &Exit{
		Started: Started{Job: "j1", Epoch: 2, PID: 345, BootID: "6153de9b-21c3-4a2c-91bb-b77432a7e6f6"},
		Host:    "node-1.example", Status: 137,
		Start: start, End: end, CPU: 62530 * time.Millisecond,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if got.Signal() != 9 || got.Code() != 0 {
		t.Errorf("signal %d, code %d", got.Signal(), got.Code())
	}
}

func TestBadMarkers(t *testing.T) {
	for name, text := range map[string]string{
		"empty": "", "cut": goodExit[:len(goodExit)-1], "cut earlier": goodExit[:60], "more": goodExit + "x",
		"other":           strings.Replace(goodExit, "consort-exit 1", "consort-exit 2", 1),
		"status":          strings.Replace(goodExit, "status 137", "status 256", 1),
		"negative":        strings.Replace(goodExit, "status 137", "status -1", 1),
		"no number":       strings.Replace(goodExit, "epoch 2", "epoch 99999999999999999999", 1),
		"times":           strings.Replace(goodExit, "0m0.01s", "1h", 1),
		"one time":        strings.Replace(goodExit, "0m0.01s ", "", 1),
		"host":            strings.Replace(goodExit, "node-1.example", "a b", 1),
		"carriage return": strings.ReplaceAll(goodExit, "\n", "\r\n"),
		"order":           strings.Replace(goodExit, "job j1\nepoch 2\n", "epoch 2\njob j1\n", 1),
	} {
		if e, err := parseExit([]byte(text)); !errors.Is(err, ErrMarker) {
			t.Errorf("%s: %+v, %v", name, e, err)
		}
	}
	for i := range goodStarted {
		if s, err := parseStarted([]byte(goodStarted[:i])); !errors.Is(err, ErrMarker) {
			t.Errorf("cut at %d: %+v, %v", i, s, err)
		}
	}
	if _, err := parseStarted([]byte(goodStarted)); err != nil {
		t.Error(err)
	}
}

// TestHostileMarkers puts in the way what a program could put there.
func TestHostileMarkers(t *testing.T) {
	for name, plant := range map[string]func(path string) error{
		"a link":      func(path string) error { return os.Symlink("/etc/passwd", path) },
		"a directory": func(path string) error { return os.Mkdir(path, 0o700) },
		"a pipe":      func(path string) error { return syscall.Mkfifo(path, 0o600) },
		"a huge file": func(path string) error { return os.WriteFile(path, make([]byte, maxMarker+1), 0o600) },
		"rubbish":     func(path string) error { return os.WriteFile(path, []byte("\x00\xff"), 0o600) },
	} {
		dir := t.TempDir()
		for _, file := range []string{ExitFile, StartedFile} {
			if err := plant(filepath.Join(dir, file)); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := ReadExit(dir); !errors.Is(err, ErrMarker) {
			t.Errorf("exit is %s: %v", name, err)
		}
		if _, err := ReadStarted(dir); !errors.Is(err, ErrMarker) {
			t.Errorf("started is %s: %v", name, err)
		}
	}
}

func TestValidate(t *testing.T) {
	good := Spec{Name: "consort-j1-1", Job: "j1", Epoch: 1, Dir: "/d", WorkDir: "/d/w", Wrapper: "/d/wrapper", Cores: 1}
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
	for name, change := range map[string]func(*Spec){
		"empty name":    func(s *Spec) { s.Name = "" },
		"path name":     func(s *Spec) { s.Name = "../x" },
		"option name":   func(s *Spec) { s.Name = "-x" },
		"line name":     func(s *Spec) { s.Name = "a\nb" },
		"long name":     func(s *Spec) { s.Name = strings.Repeat("x", 129) },
		"job":           func(s *Spec) { s.Job = "j 1" },
		"epoch":         func(s *Spec) { s.Epoch = 0 },
		"cores":         func(s *Spec) { s.Cores = 0 },
		"memory":        func(s *Spec) { s.MemoryBytes = -1 },
		"wall time":     func(s *Spec) { s.WallTime = -1 },
		"relative path": func(s *Spec) { s.Dir = "d" },
		"no wrapper":    func(s *Spec) { s.Wrapper = "" },
		"not UTF-8":     func(s *Spec) { s.WorkDir = "/a\xff" },
		"NUL":           func(s *Spec) { s.WorkDir = "/a\x00b" },
	} {
		s := good
		change(&s)
		if err := s.Validate(); !errors.Is(err, ErrRejected) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzParseExit(f *testing.F) {
	f.Add([]byte(goodExit))
	f.Add([]byte("consort-exit 1\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := parseExit(data)
		if err != nil {
			if !errors.Is(err, ErrMarker) {
				t.Errorf("unclassified error %v", err)
			}
			return
		}
		if e.Status < 0 || e.Status > 255 || e.CPU < 0 || !validJob(e.Job) {
			t.Errorf("%+v", e)
		}
	})
}

func FuzzParseStarted(f *testing.F) {
	f.Add([]byte(goodStarted))
	f.Fuzz(func(t *testing.T, data []byte) {
		if s, err := parseStarted(data); err == nil && (s.PID < 0 || !validJob(s.Job)) {
			t.Errorf("%+v", s)
		}
	})
}
