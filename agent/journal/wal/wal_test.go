package wal

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"
)

func open(t testing.TB, path string) (*Log, []string, int64) {
	t.Helper()
	l, got, dropped, err := tryOpen(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l, got, dropped
}

func tryOpen(path string) (l *Log, got []string, dropped int64, err error) {
	l, dropped, err = Open(path, func(r []byte) error {
		got = append(got, string(r))
		return nil
	})
	return l, got, dropped, err
}

func add(t testing.TB, l *Log, records ...string) {
	t.Helper()
	for _, r := range records {
		if err := l.Append([]byte(r)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestReopen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	l, got, _ := open(t, path)
	if len(got) != 0 {
		t.Fatalf("a new log holds %q", got)
	}
	want := []string{"a", `{"b":1}`, "\x00\xff", strings.Repeat("x", 1<<20)}
	add(t, l, want...)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, got, dropped := open(t, path); !slices.Equal(got, want) || dropped != 0 {
		t.Fatalf("read back %d records, dropped %d", len(got), dropped)
	}
}

func TestBadRecords(t *testing.T) {
	l, _, _ := open(t, filepath.Join(t.TempDir(), "log"))
	for _, r := range [][]byte{nil, {}, []byte("a\nb"), make([]byte, MaxRecord+1)} {
		if err := l.Append([]byte("good"), r); !errors.Is(err, ErrRecord) {
			t.Errorf("a record of %d bytes: %v", len(r), err)
		}
	}
	if l.Size() != int64(len(header)) {
		t.Errorf("a refused record left %d bytes", l.Size())
	}
}

func TestDamage(t *testing.T) {
	// Two records synced one by one, then two that share an fsync that never came.
	path := filepath.Join(t.TempDir(), "log")
	l, _, _ := open(t, path)
	for _, r := range []string{"one", "two"} {
		add(t, l, r)
		if err := l.Sync(); err != nil {
			t.Fatal(err)
		}
	}
	promised := l.Size()
	add(t, l, "three", "four")
	l.Close()
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	at := func(s string) int { return bytes.Index(whole, []byte(s)) }

	for name, c := range map[string]struct {
		change func([]byte) []byte
		want   []string
		err    error
	}{
		"cut in the last record":    {func(b []byte) []byte { return b[:len(b)-3] }, []string{"one", "two", "three"}, nil},
		"cut after the first":       {func(b []byte) []byte { return b[:at("one")+4] }, []string{"one"}, nil},
		"only the last line feed":   {func(b []byte) []byte { return b[:len(b)-1] }, []string{"one", "two", "three"}, nil},
		"only the header":           {func(b []byte) []byte { return b[:len(header)] }, nil, nil},
		"rubbish at the end":        {func(b []byte) []byte { return append(b, "rubbish\n\n\x00\x00"...) }, []string{"one", "two", "three", "four"}, nil},
		"flipped in the last":       {func(b []byte) []byte { b[at("four")] ^= 1; return b }, []string{"one", "two", "three"}, nil},
		"unsynced page missing":     {func(b []byte) []byte { clear(b[promised : at("three")+3]); return b }, []string{"one", "two"}, nil},
		"flipped in the middle":     {func(b []byte) []byte { b[at("three")] ^= 1; return b }, nil, ErrCorrupt},
		"flipped in a promised one": {func(b []byte) []byte { b[at("two")] ^= 1; return b }, nil, ErrCorrupt},
		"zeroes in a promised one":  {func(b []byte) []byte { clear(b[at("one") : at("one")+3]); return b }, nil, ErrCorrupt},
		"a promised one left out":   {func(b []byte) []byte { return append(b[:len(header)], b[at("two")-12:]...) }, nil, ErrCorrupt},
		"empty file":                {func([]byte) []byte { return nil }, nil, ErrNotALog},
		"another format":            {func(b []byte) []byte { return bytes.Replace(b, []byte("log 1"), []byte("log 2"), 1) }, nil, ErrNotALog},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "log")
			broken := c.change(bytes.Clone(whole))
			if err := os.WriteFile(path, broken, 0o600); err != nil {
				t.Fatal(err)
			}
			l, got, _, err := tryOpen(path)
			if !errors.Is(err, c.err) {
				t.Fatalf("got error %v, want %v", err, c.err)
			}
			if err != nil {
				if after, _ := os.ReadFile(path); !bytes.Equal(after, broken) {
					t.Error("a log that was refused has been changed")
				}
				return
			}
			defer l.Close()
			if !slices.Equal(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
			add(t, l, "more")
			l.Close()
			if _, got, dropped := open(t, path); dropped != 0 || !slices.Equal(got, append(c.want, "more")) {
				t.Errorf("after the repair: %q, dropped %d", got, dropped)
			}
		})
	}
}

func TestCompact(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "log")
	l, _, _ := open(t, path)
	for i := range 1000 {
		add(t, l, fmt.Sprintf("record %d", i))
	}
	before := l.Size()
	if err := l.Compact(slices.Values([][]byte{[]byte("kept")})); err != nil {
		t.Fatal(err)
	}
	if l.Size() >= before {
		t.Errorf("%d bytes after, %d before", l.Size(), before)
	}
	add(t, l, "later")
	l.Close()
	if err := os.WriteFile(path+tempSuffix+"123", []byte("unfinished"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, got, _ := open(t, path); !slices.Equal(got, []string{"kept", "later"}) {
		t.Errorf("got %q", got)
	}
	if names, _ := os.ReadDir(dir); len(names) != 1 {
		t.Errorf("leftovers: %v", names)
	}
}

func TestFailedCompactKeepsTheLog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	l, _, _ := open(t, path)
	add(t, l, "a")
	if err := l.Compact(slices.Values([][]byte{[]byte("bad\nrecord")})); !errors.Is(err, ErrRecord) {
		t.Fatalf("got %v", err)
	}
	add(t, l, "b")
	l.Close()
	if _, got, _ := open(t, path); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("got %q", got)
	}
}

func TestClosed(t *testing.T) {
	l, _, _ := open(t, filepath.Join(t.TempDir(), "log"))
	for range 2 {
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Append([]byte("x")); !errors.Is(err, ErrBroken) {
		t.Errorf("append: %v", err)
	}
	if err := l.Sync(); !errors.Is(err, ErrBroken) {
		t.Errorf("sync: %v", err)
	}
}

// TestTornTail checks that whatever is cut off after the last fsync, no synced record is lost and no
// record comes back damaged or out of order.
func TestTornTail(t *testing.T) {
	dir := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		path := filepath.Join(dir, fmt.Sprint(rand.Uint64()))
		defer os.Remove(path)
		l, _, _, err := tryOpen(path)
		if err != nil {
			t.Fatal(err)
		}
		var all []string
		promised, promisedBytes := 0, l.Size()
		for range rapid.IntRange(0, 20).Draw(t, "records") {
			r := rapid.StringMatching(`[ -~]{1,40}`).Draw(t, "record")
			if err := l.Append([]byte(r)); err != nil {
				t.Fatal(err)
			}
			all = append(all, r)
			if rapid.IntRange(0, 3).Draw(t, "sync") == 0 {
				if err := l.Sync(); err != nil {
					t.Fatal(err)
				}
				promised, promisedBytes = len(all), l.Size()
			}
		}
		cut := rapid.Int64Range(promisedBytes, l.Size()).Draw(t, "cut")
		l.Close()
		if err := os.Truncate(path, cut); err != nil {
			t.Fatal(err)
		}
		l, got, _, err := tryOpen(path)
		if err != nil {
			t.Fatal(err)
		}
		l.Close()
		if len(got) < promised || len(got) > len(all) || !slices.Equal(got, all[:len(got)]) {
			t.Fatalf("wrote %q, %d promised, read %q", all, promised, got)
		}
	})
}

func TestConcurrentWriters(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	l, _, _ := open(t, path)
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := range 20 {
				if err := errors.Join(l.Append(fmt.Appendf(nil, "%d/%d", w, i)), l.Sync()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	l.Close()
	if _, got, _ := open(t, path); len(got) != 160 {
		t.Errorf("%d records", len(got))
	}
}

func FuzzScan(f *testing.F) {
	f.Add([]byte(header))
	f.Add(append([]byte(header), frame([]byte("a"), 14)...))
	f.Add(append([]byte(header), "00000000 1 0 a\n"...))
	f.Fuzz(func(t *testing.T, data []byte) {
		good, err := scan(data, func(r []byte) error {
			if check(r) != nil {
				t.Errorf("replayed %q", r)
			}
			return nil
		})
		if err == nil && (good < int64(len(header)) || good > int64(len(data))) {
			t.Errorf("%d of %d bytes are sound", good, len(data))
		}
	})
}

func BenchmarkAppendSync(b *testing.B) {
	l, _, _ := open(b, filepath.Join(b.TempDir(), "log"))
	record := bytes.Repeat([]byte("x"), 500)
	b.SetParallelism(16)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := errors.Join(l.Append(record), l.Sync()); err != nil {
				b.Fatal(err)
			}
		}
	})
}
