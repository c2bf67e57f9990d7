package journal

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"consort/agent/journal/wal"
	"consort/shared/ids"
)

// lockHelper makes the test binary hold a journal's lock until its standard input is closed.
const lockHelper = "CONSORT_TEST_LOCK_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(lockHelper); dir != "" {
		j, err := Open(config(dir))
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println("locked")
		_, _ = os.Stdin.Read(make([]byte, 1))
		_ = j.Close()
		os.Exit(0)
	}
	flag.Parse()
	if flag.Lookup("test.fuzz").Value.String() != "" { // the fuzzer has goroutines of its own
		os.Exit(m.Run())
	}
	goleak.VerifyTestMain(m)
}

func config(dir string) Config { return Config{Dir: dir, Cluster: "c1", Site: "paris"} }

func open(t testing.TB, dir string) *Journal {
	t.Helper()
	j, err := Open(config(dir))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { j.Close() })
	return j
}

var (
	when = time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)
	job1 = ids.NewJob(when)
	job2 = ids.NewJob(when.Add(time.Hour))
)

func entry(job string, epoch uint64, stage Stage) Entry {
	return Entry{
		Job: job, Epoch: epoch, Stage: stage, BatchID: "17", Updated: when,
		Lease: json.RawMessage(`{"cores":1}`), Data: json.RawMessage(`{"fragment":3}`),
	}
}

func TestReopen(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "journal")
	j := open(t, dir)
	for _, e := range []Entry{entry(job2, 1, Leased), entry(job1, 2, Running), entry(job1, 1, Leased), entry(job2, 1, Submitting)} {
		if err := j.Put(e); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(j.Note(entry(job2, 3, Ended)), j.Delete(job1, 1), j.Delete(job1, 99)); err != nil {
		t.Fatal(err)
	}
	want := []Entry{entry(job1, 2, Running), entry(job2, 1, Submitting), entry(job2, 3, Ended)}
	if diff := cmp.Diff(want, j.All()); diff != "" {
		t.Error(diff)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	again := open(t, dir)
	if diff := cmp.Diff(want, again.All()); diff != "" {
		t.Error(diff)
	}
	if e, ok := again.Get(job1, 2); !ok || e.Stage != Running {
		t.Errorf("got %v %v", e, ok)
	}
	if _, ok := again.Get(job1, 1); ok {
		t.Error("a deleted entry came back")
	}
}

func TestEntriesAreCopies(t *testing.T) {
	j := open(t, t.TempDir())
	e := entry(job1, 1, Leased)
	if err := j.Put(e); err != nil {
		t.Fatal(err)
	}
	e.Data[2] = 'X'
	got, _ := j.Get(job1, 1)
	got.Lease[2] = 'X'
	j.All()[0].Lease[2] = 'X'
	got, _ = j.Get(job1, 1)
	if diff := cmp.Diff(entry(job1, 1, Leased), got); diff != "" {
		t.Error(diff)
	}
}

func TestBadEntries(t *testing.T) {
	j := open(t, t.TempDir())
	for name, e := range map[string]Entry{
		"no job":    {Epoch: 1, Stage: Leased},
		"job path":  {Job: "../../etc", Epoch: 1, Stage: Leased},
		"epoch 0":   {Job: job1, Stage: Leased},
		"no stage":  {Job: job1, Epoch: 1},
		"bad JSON":  {Job: job1, Epoch: 1, Stage: Leased, Data: json.RawMessage("{")},
		"too large": {Job: job1, Epoch: 1, Stage: Leased, Data: json.RawMessage(`"` + strings.Repeat("x", maxEntry) + `"`)},
	} {
		if err := j.Put(e); !errors.Is(err, ErrEntry) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if len(j.All()) != 0 {
		t.Error("a refused entry was stored")
	}
	// A line feed inside Data is white space of JSON, not of the log.
	e := entry(job1, 1, Leased)
	e.Data = json.RawMessage("{\n\"a\": \"\\n\"}")
	if err := j.Put(e); err != nil {
		t.Error(err)
	}
}

func TestRefusedDirectories(t *testing.T) {
	write := func(name, text string) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, c := range map[string]struct {
		prepare func(*testing.T, string)
		want    error
	}{
		"another site":     {write("FORMAT", `{"kind":"consort agent journal","version":1,"cluster":"c1","site":"meudon"}`), ErrForeign},
		"another cluster":  {write("FORMAT", `{"kind":"consort agent journal","version":1,"cluster":"c2","site":"paris"}`), ErrForeign},
		"another kind":     {write("FORMAT", `{"kind":"cook book","version":1}`), ErrForeign},
		"newer":            {write("FORMAT", `{"kind":"consort agent journal","version":2,"cluster":"c1","site":"paris"}`), ErrNewer},
		"no version":       {write("FORMAT", `{"kind":"consort agent journal","cluster":"c1","site":"paris"}`), ErrForeign},
		"not JSON":         {write("FORMAT", "1\n"), ErrForeign},
		"log, no FORMAT":   {write("log", "consort-log 1\n"), ErrForeign},
		"log of no format": {write("log", "hello\n"), wal.ErrNotALog},
		"bad entry":        {appendEmpty, ErrEntry},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if errors.Is(c.want, wal.ErrNotALog) || errors.Is(c.want, ErrEntry) {
				open(t, dir).Close()
			}
			c.prepare(t, dir)
			j, err := Open(config(dir))
			if err == nil {
				j.Close()
			}
			if !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
	if _, err := Open(Config{Dir: t.TempDir()}); !errors.Is(err, ErrForeign) {
		t.Errorf("no cluster: %v", err)
	}
}

func appendEmpty(t *testing.T, dir string) {
	log, _, err := wal.Open(filepath.Join(dir, "log"), func([]byte) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(log.Append([]byte("{}")), log.Close()); err != nil {
		t.Fatal(err)
	}
}

func TestLock(t *testing.T) {
	dir := t.TempDir()
	open(t, dir).Close()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	other := exec.Command(self)
	other.Env = append(os.Environ(), lockHelper+"="+dir)
	stdin, _ := other.StdinPipe()
	stdout, _ := other.StdoutPipe()
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	line := make([]byte, 7)
	if _, err := stdout.Read(line); err != nil || string(line[:6]) != "locked" {
		t.Fatalf("the other process says %q %v", line, err)
	}
	_, err = Open(config(dir))
	if want := fmt.Sprintf("process %d", other.Process.Pid); !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %v by %s", err, ErrLocked, want)
	}
	if err := other.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	stdin.Close()
	_ = other.Wait() // killed
	open(t, dir)     // the lock died with its holder
}

func TestCompaction(t *testing.T) {
	dir := t.TempDir()
	j := open(t, dir)
	e := entry(job1, 1, Running)
	e.Data = json.RawMessage(`"` + strings.Repeat("x", 1<<20) + `"`)
	for range 12 {
		if err := j.Note(e); err != nil {
			t.Fatal(err)
		}
	}
	if size := j.log.Size(); size > 6<<20 {
		t.Errorf("one entry of 1 MiB takes %d bytes", size)
	}
	j.Close()
	if diff := cmp.Diff([]Entry{e}, open(t, dir).All()); diff != "" {
		t.Error("the entry changed")
	}
}

func TestConcurrentPuts(t *testing.T) {
	dir := t.TempDir()
	j := open(t, dir)
	var wg sync.WaitGroup
	for i := range uint64(16) {
		wg.Go(func() {
			for range 5 {
				if err := j.Put(entry(job1, i+1, Running)); err != nil {
					t.Error(err)
				}
				j.All()
			}
		})
	}
	wg.Wait()
	j.Close()
	if n := len(open(t, dir).All()); n != 16 {
		t.Errorf("%d entries", n)
	}
}

// TestModel drives a journal and a map with the same random steps, with power cuts that lose any part of
// what was not synced: the journal must come back as the map was at some moment since the last Put.
func TestModel(t *testing.T) {
	if checks := flag.Lookup("rapid.checks"); checks.Value.String() == checks.DefValue {
		_ = flag.Set("rapid.checks", "25") // each syncs the disk dozens of times; the flag still asks for more
	}
	root := t.TempDir()
	runs := 0
	rapid.Check(t, func(t *rapid.T) {
		runs++
		dir := filepath.Join(root, fmt.Sprint(runs))
		defer os.RemoveAll(dir)
		m := newModel(t, dir)
		defer func() { m.journal.Close() }()
		t.Repeat(map[string]func(*rapid.T){
			"put":    func(t *rapid.T) { m.did(t, m.put(t, m.journal.Put)); m.promise() },
			"note":   func(t *rapid.T) { m.did(t, m.put(t, m.journal.Note)) },
			"delete": func(t *rapid.T) { m.did(t, m.delete(t)) },
			"crash":  m.crash,
			"":       func(t *rapid.T) { m.compare(t, m.history[len(m.history)-1]) },
		})
	})
}

// model is a journal and every state that it has had since the last promise.
type model struct {
	dir      string
	journal  *Journal
	history  []map[key]Entry
	promised int64 // bytes of the log that must survive
}

func newModel(t *rapid.T, dir string) *model {
	m := &model{dir: dir, history: []map[key]Entry{{}}}
	m.open(t)
	return m
}

func (m *model) open(t *rapid.T) {
	j, err := Open(config(m.dir))
	if err != nil {
		t.Fatal(err)
	}
	m.journal, m.promised = j, j.log.Size()
}

func (m *model) did(t *rapid.T, err error) {
	if err != nil {
		t.Fatal(err)
	}
}

func (m *model) promise() {
	m.history = m.history[len(m.history)-1:]
	m.promised = m.journal.log.Size()
}

func (m *model) next() map[key]Entry {
	state := map[key]Entry{}
	for k, e := range m.history[len(m.history)-1] {
		state[k] = e
	}
	m.history = append(m.history, state)
	return state
}

func draw(t *rapid.T) key {
	return key{rapid.SampledFrom([]string{job1, job2}).Draw(t, "job"), rapid.Uint64Range(1, 3).Draw(t, "epoch")}
}

func (m *model) put(t *rapid.T, how func(Entry) error) error {
	k := draw(t)
	e := entry(k.job, k.epoch, rapid.SampledFrom([]Stage{Leased, Running, Committed}).Draw(t, "stage"))
	e.BatchID = rapid.String().Draw(t, "id")
	m.next()[k] = e
	return how(e)
}

func (m *model) delete(t *rapid.T) error {
	k := draw(t)
	delete(m.next(), k)
	return m.journal.Delete(k.job, k.epoch)
}

func (m *model) crash(t *rapid.T) {
	cut := rapid.Int64Range(m.promised, m.journal.log.Size()).Draw(t, "cut")
	m.journal.Close()
	if err := os.Truncate(filepath.Join(m.dir, "log"), cut); err != nil {
		t.Fatal(err)
	}
	m.open(t)
	for _, state := range m.history {
		if cmp.Equal(state, m.journal.entries) {
			m.history = []map[key]Entry{state}
			return
		}
	}
	t.Fatalf("the journal came back as %v, which it never was since the last promise", m.journal.entries)
}

func (m *model) compare(t *rapid.T, want map[key]Entry) {
	if diff := cmp.Diff(want, m.journal.entries); diff != "" {
		t.Fatal(diff)
	}
	if len(m.journal.All()) != len(want) {
		t.Fatal("All leaves entries out")
	}
}

func FuzzReplay(f *testing.F) {
	f.Add([]byte(`{"job":"j00000000000000000000000000","epoch":1,"stage":"leased"}`))
	f.Add([]byte(`{"job":"j00000000000000000000000000","epoch":1,"gone":true}`))
	f.Add([]byte(`{"epoch":-1}`))
	f.Fuzz(func(t *testing.T, record []byte) {
		j := &Journal{entries: map[key]Entry{}, sizes: map[key]int64{}}
		if err := j.replay(record); err != nil {
			if !errors.Is(err, ErrEntry) {
				t.Errorf("unclassified error %v", err)
			}
			return
		}
		for r := range j.records() {
			again := &Journal{entries: map[key]Entry{}, sizes: map[key]int64{}}
			if err := again.replay(r); err != nil {
				t.Errorf("%q is written as %q: %v", record, r, err)
			}
		}
	})
}

func BenchmarkPut(b *testing.B) {
	j := open(b, b.TempDir())
	b.SetParallelism(16)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := j.Put(entry(job1, 1, Running)); err != nil {
				b.Fatal(err)
			}
		}
	})
}
