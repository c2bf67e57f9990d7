package state

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"
	"google.golang.org/protobuf/encoding/protowire"

	"consort/coordinator/command"
)

func TestOpenRefuses(t *testing.T) {
	write := func(t *testing.T, dir string, k key, value []byte) {
		s := openStore(t, dir)
		if err := s.cur.db.Update(func(txn *badger.Txn) error { return txn.Set(k, value) }); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	tests := []struct {
		name    string
		prepare func(t *testing.T, dir string)
		want    error
	}{
		{"foreign", func(t *testing.T, dir string) {
			if err := os.WriteFile(filepath.Join(dir, "letter.txt"), []byte("dear"), 0o600); err != nil {
				t.Fatal(err)
			}
		}, ErrForeign},
		{"newer", func(t *testing.T, dir string) { write(t, dir, keyMeta(), encode(&Meta{Format: Format + 1})) }, ErrNewer},
		{"no format", func(t *testing.T, dir string) { write(t, dir, keyMeta(), encode(&Meta{})) }, ErrCorrupt},
		{"broken meta", func(t *testing.T, dir string) { write(t, dir, keyMeta(), []byte{0xff}) }, ErrCorrupt},
		{"broken head", func(t *testing.T, dir string) { write(t, dir, keyJob(jobID(1)), []byte{0xff}) }, ErrCorrupt},
		{"in use", func(t *testing.T, dir string) { openStore(t, dir) }, ErrLocked},
		{"broken CURRENT", func(t *testing.T, dir string) {
			openStore(t, dir).Close()
			if err := os.WriteFile(filepath.Join(dir, currentFile), []byte("../../etc\n"), 0o600); err != nil {
				t.Fatal(err)
			}
		}, ErrCorrupt},
		{"missing database", func(t *testing.T, dir string) {
			openStore(t, dir).Close()
			if err := os.RemoveAll(filepath.Join(dir, "db-1")); err != nil {
				t.Fatal(err)
			}
		}, ErrCorrupt},
		{"missing CURRENT", func(t *testing.T, dir string) {
			write(t, dir, keyMeta(), encode(&Meta{Format: Format, AppliedIndex: 5}))
			if err := os.Remove(filepath.Join(dir, currentFile)); err != nil {
				t.Fatal(err)
			}
		}, ErrCorrupt},
		{"broken manifest", func(t *testing.T, dir string) {
			openStore(t, dir).Close()
			if err := os.WriteFile(filepath.Join(dir, "db-1", "MANIFEST"), []byte("rubbish and more"), 0o600); err != nil {
				t.Fatal(err)
			}
		}, ErrCorrupt},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			test.prepare(t, dir)
			s, err := Open(testConfig(t, dir))
			if err == nil {
				s.Close()
			}
			if !errors.Is(err, test.want) || !strings.Contains(err.Error(), dir) {
				t.Errorf("got %v, want %v and the directory", err, test.want)
			}
		})
	}
}

func TestOpenAfterCrashes(t *testing.T) {
	dir := t.TempDir()
	openStore(t, dir).Close()
	// A crash before CURRENT was first written.
	if err := os.Rename(filepath.Join(dir, currentFile), filepath.Join(dir, currentFile+".new")); err != nil {
		t.Fatal(err)
	}
	openStore(t, dir).Close()
	// A crash in the middle of a restore.
	if err := os.Mkdir(filepath.Join(dir, "db-2"), 0o700); err != nil {
		t.Fatal(err)
	}
	openStore(t, dir).Close()
	if _, err := os.Stat(filepath.Join(dir, "db-2")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the half restore is still there: %v", err)
	}
}

func TestApplyBatch(t *testing.T) {
	w := newWorld(t).furnish()
	entries := []Entry{w.entry(wrap(createJob(1))), w.entry(wrap(&command.RunJob{Id: jobID(9)})), w.entry(wrap(createJob(2)))}
	entries[2].Term = 7
	w.index += 3 // entries of Raft's own
	entries = append(entries, w.entry(wrap(&command.AbortJob{Id: jobID(1)})))
	before := len(w.events)
	results, err := w.s.ApplyBatch(entries)
	if err != nil || len(results) != 4 || results[1].(*command.Result).Code != command.Result_NOT_FOUND {
		t.Fatalf("%v, %v", results, err)
	}
	if got := len(w.events) - before; got != 3 {
		t.Errorf("%d events, want 3", got)
	}
	hash := w.s.mustHash(t)
	w.reopen()
	again, err := w.s.ApplyBatch(entries)
	if err != nil || again[0] != nil || again[3] != nil || w.s.mustHash(t) != hash || len(w.events)-before != 3 {
		t.Errorf("entries applied before: %v, %v", again, err)
	}
	if index, term := w.s.Applied(); index != w.index || term != 1 {
		t.Errorf("applied %d of term %d", index, term)
	}
	if got := w.s.LastTime(); !got.Equal(time.UnixMicro(w.time)) {
		t.Errorf("last time %v", got)
	}
}

func TestTimesIncrease(t *testing.T) {
	w := newWorld(t).furnish()
	last := w.time
	for n, at := range []int64{last - 5e6, -1 << 63, 1<<63 - 1, maxTimeUs, 0} {
		w.time = at - 1e6
		w.ok(createJob(n))
		if j := w.head(jobID(n)); j.CreatedUs <= last {
			t.Errorf("created at %d, after one at %d", j.CreatedUs, last)
		} else {
			last = j.CreatedUs
		}
	}
	if got := w.list(ListQuery{AllOwners: true}); len(got) != 5 || got[0] != jobID(4) {
		t.Errorf("list: %v", got)
	}
}

func TestUnknownCommandHalts(t *testing.T) {
	w := newWorld(t).furnish()
	hash := w.s.mustHash(t)
	good := w.entry(wrap(createJob(1)))
	newer := protowire.AppendBytes(protowire.AppendTag(nil, 9999, protowire.BytesType), []byte("from the future"))
	for _, data := range [][]byte{newer, nil, []byte("rubbish")} {
		_, err := w.s.ApplyBatch([]Entry{good, {Index: good.Index + 1, Term: 1, Data: data}})
		if err == nil || (len(data) != 7 && !errors.Is(err, command.ErrUnknown)) {
			t.Fatalf("%q: %v", data, err)
		}
		if got := w.s.mustHash(t); got != hash {
			t.Fatalf("%q: something was written", data)
		}
		if _, err := w.s.ApplyBatch([]Entry{good}); err == nil {
			t.Fatal("went on after a halt")
		}
		w.reopen()
	}
	if _, err := w.s.ApplyBatch([]Entry{good}); err != nil {
		t.Errorf("after the restart: %v", err)
	}
}

// TestLargeBatch applies more than one transaction can hold.
func TestLargeBatch(t *testing.T) {
	w := newWorld(t).furnish()
	var entries []Entry
	for n := range 90 {
		c := createJob(n)
		c.Parameters = []*command.Parameter{{Name: "p", Values: []string{strings.Repeat("x", 60<<10)}}}
		entries = append(entries, w.entry(wrap(c)))
	}
	results, err := w.s.ApplyBatch(entries)
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range results {
		if r.(*command.Result).Code != command.Result_OK {
			t.Fatalf("entry %d: %v", i, r)
		}
	}
	if got := len(w.list(ListQuery{AllOwners: true})); got != 90 {
		t.Errorf("%d jobs", got)
	}
}

func TestConfiguration(t *testing.T) {
	w := newWorld(t).furnish()
	hash := w.s.mustHash(t)
	for _, step := range []struct {
		index uint64
		value string
		want  string
	}{{5, "a", "a"}, {9, "b", "b"}, {7, "old", "b"}} {
		if err := w.s.StoreConfiguration(step.index, []byte(step.value)); err != nil {
			t.Fatal(err)
		}
		w.reopen()
		if index, got := w.s.Configuration(); string(got) != step.want || index < step.index {
			t.Errorf("%v: got %q of %d", step, got, index)
		}
	}
	if w.s.mustHash(t) != hash {
		t.Error("the configuration is part of the hash")
	}
}

func TestSnapshot(t *testing.T) {
	w := newWorld(t).furnish()
	for n := range 300 {
		c := createJob(n)
		c.Parameters = []*command.Parameter{{Name: "p", Values: []string{strings.Repeat(fmt.Sprint(n), 2000)}}}
		w.ok(c)
	}
	snap, err := w.s.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	index, hash := w.index, w.s.mustHash(t)
	w.ok(&command.AbortJob{Id: jobID(1)}) // not in it any more
	var stream bytes.Buffer
	if _, err := snap.WriteTo(&stream); err != nil || snap.Index() != index {
		t.Fatalf("index %d, %v", snap.Index(), err)
	}
	snap.Close()
	snap.Close()

	other := newWorld(t).furnish()
	other.completed(7)
	var reading, read sync.WaitGroup
	reading.Add(1)
	read.Go(func() { // a reader goes on with the old state
		_ = other.s.View(func(v *View) error {
			reading.Done()
			for range 50 {
				if j, err := v.Job(jobID(7)); err != nil || j.Phase != "COMPLETED" {
					t.Errorf("old state: %v, %v", j, err)
				}
			}
			return nil
		})
	})
	reading.Wait()
	if err := other.s.Restore(bytes.NewReader(stream.Bytes())); err != nil {
		t.Fatal(err)
	}
	read.Wait()
	for range 2 {
		if got, _ := other.s.Applied(); got != index || other.s.mustHash(t) != hash {
			t.Errorf("restored to entry %d", got)
		}
		if got := len(other.s.Queued(0, 1000)); got != 300 {
			t.Errorf("%d jobs are queued", got)
		}
		other.reopen()
	}
	other.index, other.time = index, w.time
	other.ok(&command.AbortJob{Id: jobID(1)})
	if names, _ := filepath.Glob(filepath.Join(other.s.cfg.Dir, "*")); len(names) != 2 {
		t.Errorf("in the directory: %v", names)
	}
}

func TestRestoreRefuses(t *testing.T) {
	w := newWorld(t).furnish()
	w.completed(1)
	good := snapshotBytes(t, w.s)
	hash := w.s.mustHash(t)
	refuse := func(name string, stream []byte, want error) {
		t.Helper()
		if err := w.s.Restore(bytes.NewReader(stream)); !errors.Is(err, want) {
			t.Errorf("%s: got %v, want %v", name, err, want)
		}
		if w.s.mustHash(t) != hash {
			t.Errorf("%s: the state changed", name)
		}
	}
	refuse("empty", nil, ErrCorrupt)
	refuse("other file", []byte("some other file, quite long"), ErrCorrupt)
	newer := bytes.Clone(good)
	newer[len(snapshotMagic)+3]++
	refuse("newer", newer, ErrNewer)
	for _, n := range []int{13, len(good) / 2, len(good) - trailerSize - 4, len(good) - 1} {
		refuse(fmt.Sprint("cut at ", n), good[:n], ErrCorrupt)
	}
	for _, n := range []int{13, 20, len(good) / 2, len(good) - trailerSize + 2, len(good) - 1} {
		flipped := bytes.Clone(good)
		flipped[n] ^= 1
		refuse(fmt.Sprint("flipped at ", n), flipped, ErrCorrupt)
	}
	w.ok(createJob(2)) // and life goes on
}

func TestClosed(t *testing.T) {
	w := newWorld(t)
	if err := errors.Join(w.s.Close(), w.s.Close()); err != nil {
		t.Fatal(err)
	}
	_, errApply := w.s.ApplyBatch([]Entry{w.entry(wrap(createJob(1)))})
	_, errSnapshot := w.s.Snapshot()
	for i, err := range []error{errApply, errSnapshot, w.s.View(func(*View) error { return nil }),
		w.s.Restore(strings.NewReader("")), w.s.StoreConfiguration(1, nil)} {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("call %d after Close: %v", i, err)
		}
	}
}

// TestConcurrentReads lists and counts while jobs pass through their lives: a list must hold every job that was
// there before it began.
func TestConcurrentReads(t *testing.T) {
	w := newWorld(t).furnish()
	const jobs = 30
	for n := range jobs {
		w.ok(createJob(n))
	}
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				found := 0
				err := w.s.View(func(v *View) error {
					for _, err := range v.List(ListQuery{Owner: "alice", Phases: []string{"QUEUED", "EXECUTING", "COMPLETED", "ABORTED"}}) {
						if err != nil {
							return err
						}
						found++
					}
					return nil
				})
				if err != nil || found != jobs {
					t.Errorf("%d jobs, %v", found, err)
					return
				}
			}
		})
	}
	for n := range jobs {
		w.ok(&command.ReportAttempt{Job: jobID(n), Epoch: w.lease(n), Site: "obs", State: AttemptRunning})
		if n%2 == 0 {
			w.ok(w.staged(n, 1))
		} else {
			w.ok(&command.AbortJob{Id: jobID(n)})
		}
	}
	close(stop)
	readers.Wait()
	counts := w.s.Counts()
	diff(t, []JobCount{{"probe", "ABORTED", jobs / 2}, {"probe", "COMPLETED", jobs / 2}}, counts.Jobs)
	diff(t, []SiteCount{{"obs", jobs / 2}}, counts.Open)
}
