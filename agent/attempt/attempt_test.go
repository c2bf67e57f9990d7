package attempt

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"go.uber.org/goleak"

	"consort/agent/batch"
	"consort/agent/journal"
	"consort/shared/definition"
	"consort/shared/siteapi"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const job = "j01arz3ndektsv4rrffq69g5fav"

// newAttempt returns an attempt with empty directories and nobody to talk to.
func newAttempt(t *testing.T) *Attempt {
	t.Helper()
	lease := siteapi.Lease{Job: job, Epoch: 1, Resources: siteapi.Resources{MemoryBytes: 64 << 20}, ExecutionSeconds: 60}
	data, err := json.Marshal(lease)
	if err != nil {
		t.Fatal(err)
	}
	rt := &Runtime{Dir: t.TempDir(), Site: "meudon", Logger: slog.New(slog.DiscardHandler)}
	a, err := Recover(rt, journal.Entry{Job: job, Epoch: 1, Stage: journal.Leased, Lease: data})
	if err != nil {
		t.Fatal(err)
	}
	if err := a.dir.make(); err != nil {
		t.Fatal(err)
	}
	return a
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestRecoverRefusesForeignEntries(t *testing.T) {
	rt := &Runtime{Dir: t.TempDir(), Logger: slog.New(slog.DiscardHandler)}
	for name, e := range map[string]journal.Entry{
		"no lease":      {Job: job, Epoch: 1, Stage: journal.Leased},
		"another job":   {Job: job, Epoch: 1, Stage: journal.Leased, Lease: []byte(`{"job":"x","epoch":1}`)},
		"another epoch": {Job: job, Epoch: 1, Stage: journal.Leased, Lease: []byte(`{"job":"` + job + `","epoch":2}`)},
		"broken data":   {Job: job, Epoch: 1, Stage: journal.Leased, Lease: []byte(`{"job":"` + job + `","epoch":1}`), Data: []byte(`[]`)},
	} {
		if _, err := Recover(rt, e); !errors.Is(err, ErrLease) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestChain(t *testing.T) {
	public, private, _ := ed25519.GenerateKey(nil)
	path := filepath.Join(t.TempDir(), "fragments")
	var mu sync.Mutex
	got := map[uint64]*siteapi.Fragment{}
	for range 3 {
		c, err := OpenChain(path)
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for range 5 {
			wg.Go(func() {
				f, err := c.Sign(private, siteapi.FragmentPayload{Job: job, Epoch: 1})
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				defer mu.Unlock()
				if got[f.Number] != nil {
					t.Errorf("number %d was given out twice", f.Number)
				}
				got[f.Number] = f
			})
		}
		wg.Wait()
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
	previous := ""
	for n := uint64(1); n <= 15; n++ {
		p, err := siteapi.OpenFragment(public, got[n])
		if err != nil {
			t.Fatal(err)
		}
		if p.Previous != previous {
			t.Errorf("fragment %d names %q before it, want %q", n, p.Previous, previous)
		}
		sum := sha256.Sum256(got[n].Payload)
		previous = hex.EncodeToString(sum[:])
	}
}

func TestChainShortens(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fragments")
	_, private, _ := ed25519.GenerateKey(nil)
	c, err := OpenChain(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Sign(private, siteapi.FragmentPayload{}); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(c.log.Append(bytes.Repeat([]byte(" "), maxChain), []byte(`{"number":7,"sha256":"ab"}`)), c.shorten()); err != nil {
		t.Fatal(err)
	}
	if size := c.log.Size(); size > 1000 {
		t.Errorf("the list has %d bytes after it was shortened", size)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if c, err = OpenChain(path); err != nil || c.last.Number != 1 {
		t.Fatalf("got %+v, %v", c, err)
	}
	defer c.Close()
}

func TestRemoveAll(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "attempt")
	locked := filepath.Join(dir, "work", "locked")
	if err := os.MkdirAll(locked, 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(locked, "file"), "x")
	outside := filepath.Join(t.TempDir(), "outside")
	write(t, outside, "x")
	if err := errors.Join(os.Symlink(outside, filepath.Join(dir, "link")), os.Chmod(locked, 0)); err != nil {
		t.Fatal(err)
	}
	if err := removeAll(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(outside); err != nil {
		t.Error("a link was followed")
	}
}

func TestSweep(t *testing.T) {
	dir := t.TempDir()
	for _, d := range []string{dirName(job, 1), dirName(job, 2)} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := Sweep(dir, []journal.Entry{{Job: job, Epoch: 2}}); err != nil {
		t.Fatal(err)
	}
	left, _ := os.ReadDir(dir)
	if len(left) != 1 || left[0].Name() != dirName(job, 2) {
		t.Errorf("left: %v", left)
	}
}

// TestMakeKeepsTheMarker: whatever is laid out anew, a program that was started stays started.
func TestMakeKeepsTheMarker(t *testing.T) {
	a := newAttempt(t)
	write(t, a.dir.file(batch.StartedFile), "x")
	write(t, filepath.Join(a.dir.work(), "old"), "x")
	if err := a.dir.make(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(a.dir.file(batch.StartedFile)); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(a.dir.work(), "old")); err == nil {
		t.Error("the working directory was not emptied")
	}
}

func TestVerdict(t *testing.T) {
	d := &definition.Definition{Run: definition.Run{Exit: definition.Exit{OK: []int{0, 3}, User: []int{2}, Transient: []int{75}}}}
	exited := func(code, signal int) batch.Account {
		return batch.Account{Ended: true, Cause: batch.Exited, ExitCode: code, Signal: signal}
	}
	for _, c := range []struct {
		end     batch.Account
		class   string
		message string
	}{
		{exited(0, 0), "", ""},
		{exited(3, 0), "", ""},
		{exited(1, 0), "definition", "exit code 1"},
		{exited(2, 0), "user", "exit code 2"},
		{exited(75, 0), "site-transient", "exit code 75"},
		{exited(0, 9), "definition", "SIGKILL"},
		{batch.Account{Ended: true, Cause: batch.TimeLimit}, TimeLimit, "limit of 1m0s"},
		{batch.Account{Ended: true, Cause: batch.Cancelled, Reason: "by root"}, "site-transient", "by root"},
		{batch.Account{Ended: true, Cause: batch.OutOfMemory}, "definition", "64 MiB"},
		{batch.Account{Ended: true, Cause: batch.NodeFailed}, "site-transient", "went away"},
		{batch.Account{Ended: true, Cause: batch.Preempted}, "preempted", "room"},
		{batch.Account{Ended: true, Cause: batch.Unknown}, "site-transient", "without a trace"},
		{batch.Account{Ended: true, Cause: "new"}, "site-transient", "without a trace"},
	} {
		err := newAttempt(t).verdict(c.end, d)
		var f *Failure
		if c.class == "" {
			if err != nil {
				t.Errorf("%+v: %v", c.end, err)
			}
			continue
		}
		if !errors.As(err, &f) || f.Class != c.class || !strings.Contains(f.Message, c.message) {
			t.Errorf("%+v: got %+v, want %s %q", c.end, f, c.class, c.message)
		}
	}
}

func TestLastWords(t *testing.T) {
	long := strings.Repeat("x", 3*maxMessage)
	for _, c := range []struct{ name, stderr, file, want string }{
		{"nothing", "", "", ""},
		{"last line", "one\ntwo\n\n  \n", "", "two"},
		{"no newline", "one\ntwo", "", "two"},
		{"file first", "stderr", "the file\n", "the file"},
		{"blank file", "stderr", " \n", "stderr"},
		{"escape sequences", "\x1b[31mred\x07", "", "[31mred"},
		{"not UTF-8", "a\xffb", "", "a\uFFFDb"},
		{"long", long, "", long[:maxMessage]},
	} {
		a := newAttempt(t)
		if c.stderr != "" {
			write(t, a.dir.file(stderrFile), c.stderr)
		}
		if c.file != "" {
			write(t, a.dir.file(errorFile), c.file)
		}
		if got := a.lastWords(); got != c.want {
			t.Errorf("%s: got %.80q, want %.80q", c.name, got, c.want)
		}
	}
}

// TestHostileFiles: a code can put anything in the place of its logs.
func TestHostileFiles(t *testing.T) {
	a := newAttempt(t)
	secret := filepath.Join(t.TempDir(), "secret")
	write(t, secret, "secret")
	if err := errors.Join(os.Symlink(secret, a.dir.file(stderrFile)), syscall.Mkfifo(a.dir.file(stdoutFile), 0o600), os.Mkdir(a.dir.file(errorFile), 0o700)); err != nil {
		t.Fatal(err)
	}
	if got := a.lastWords(); got != "" {
		t.Errorf("got %q", got)
	}
	if _, _, err := openRegular(a.dir.file(stdoutFile)); !errors.Is(err, errIrregular) {
		t.Errorf("a pipe: %v", err)
	}
	if chunk, _, err := readChunk(a.dir.file(stdoutFile), 0); err != nil || len(chunk) != 0 {
		t.Errorf("a pipe as a live log: %q, %v", chunk, err)
	}
}

func TestOpenLog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	const full = siteapi.MaxLog + 1000
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Truncate(full), second(f.WriteAt([]byte("begin"), 0)), second(f.WriteAt([]byte("end"), full-3)), f.Close()); err != nil {
		t.Fatal(err)
	}
	r, err := openLog(path, full)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	first := make([]byte, 5)
	_, err1 := io.ReadFull(r, first)
	_, err2 := io.CopyN(io.Discard, r, siteapi.MaxLog-8)
	last, err3 := io.ReadAll(r)
	if err := errors.Join(err1, err2, err3); err != nil || string(first) != "begin" || string(last) != "end" {
		t.Errorf("got %q … %q, %v", first, last, err)
	}
	if _, err := openLog(path, full+1); err == nil {
		t.Error("a log that became shorter was opened")
	}
}

func second(_ int, err error) error { return err }

func TestReadChunk(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	if chunk, at, err := readChunk(path, -1); len(chunk) != 0 || at != 0 || err != nil {
		t.Errorf("no file: %q %d %v", chunk, at, err)
	}
	write(t, path, strings.Repeat("x", liveHistory+10))
	chunk, at, err := readChunk(path, -1)
	if len(chunk) != siteapi.MaxLiveChunk || at != 10 || err != nil {
		t.Errorf("first look: %d bytes at %d, %v", len(chunk), at, err)
	}
	if chunk, at, err = readChunk(path, liveHistory); len(chunk) != 10 || at != liveHistory || err != nil {
		t.Errorf("next: %d bytes at %d, %v", len(chunk), at, err)
	}
	if chunk, at, err = readChunk(path, 1<<40); at != 10 || err != nil {
		t.Errorf("beyond the end: %d bytes at %d, %v", len(chunk), at, err)
	}
}

func TestHarmless(t *testing.T) {
	for name, want := range map[string]string{
		"": "file", "a.fits": "a.fits", "../../etc/passwd": ".._.._etc_passwd", "a b\n": "a_b_", "é": "_",
		strings.Repeat("x", 200) + ".fits": strings.Repeat("x", 95) + ".fits",
	} {
		if got := harmless(name); got != want {
			t.Errorf("%q: got %q, want %q", name, got, want)
		}
	}
}

func TestArgvIsBounded(t *testing.T) {
	a := newAttempt(t)
	a.rec.Argv = []string{"code", strings.Repeat("x", maxArgv), "y"}
	if got := a.argv(); len(got) != 2 || got[0] != "code" || got[1] != "…" {
		t.Errorf("got %d arguments", len(got))
	}
}

func TestAddEnd(t *testing.T) {
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	var f siteapi.Facts
	addEnd(&f, batch.Account{Cause: batch.Exited, ExitCode: 4, Start: start, End: start.Add(2 * time.Second), CPUSeconds: 1, Node: "n1"})
	if f.ExitCode == nil || *f.ExitCode != 4 || f.Usage.WallSeconds != 2 || f.Node != "n1" || f.Signal != "" {
		t.Errorf("got %+v", f)
	}
	f = siteapi.Facts{}
	addEnd(&f, batch.Account{Cause: batch.Exited, Signal: 15})
	if f.ExitCode != nil || f.Signal != "SIGTERM" || f.Ended.IsZero() {
		t.Errorf("got %+v", f)
	}
}

func FuzzPrintable(f *testing.F) {
	f.Add([]byte("a\x1b[0m\xff\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		s := printable(data)
		if !utf8.ValidString(s) || strings.ContainsFunc(s, unicode.IsControl) || strings.TrimSpace(s) != s {
			t.Errorf("%q became %q", data, s)
		}
	})
}

// TestLostManifest: the manifest is not synced when it is written, so a power cut may leave anything of it.
func TestLostManifest(t *testing.T) {
	for _, left := range []string{"", "[{\"output\":\"a\"", "\x00\x00\x00\x00"} {
		a := newAttempt(t)
		j, err := journal.Open(journal.Config{Dir: t.TempDir(), Cluster: "c", Site: "s"})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { j.Close() })
		a.rt.Journal = j
		write(t, a.dir.file(manifestFile), left)
		if err := a.declare(t.Context()); err != nil || a.stage() != journal.Uploading {
			t.Errorf("%q: stage %s, %v", left, a.stage(), err)
		}
	}
}

func FuzzRecover(f *testing.F) {
	f.Add([]byte(`{"job":"`+job+`","epoch":1}`), []byte(`{"facts":{}}`))
	f.Add([]byte(`{"job":"../../x","epoch":1}`), []byte(`{}`))
	f.Fuzz(func(t *testing.T, lease, data []byte) {
		rt := &Runtime{Dir: "/nonexistent", Logger: slog.New(slog.DiscardHandler)}
		a, err := Recover(rt, journal.Entry{Job: job, Epoch: 1, Stage: journal.Leased, Lease: lease, Data: data})
		if err != nil {
			return
		}
		if filepath.Dir(string(a.dir)) != rt.Dir {
			t.Errorf("the attempt's directory is %s", a.dir)
		}
		_ = a.Info()
		_, _ = a.State()
	})
}
