package content_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"consort/coordinator/content"
)

func openStore(t *testing.T, dir string, floors content.Floors) *content.Store {
	t.Helper()
	s, err := content.Open(content.Config{Dir: dir, Floors: floors, Logger: slog.New(slog.NewTextHandler(t.Output(), nil))})
	check(t, err)
	return s
}

func TestStore(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir, content.Floors{})
	big := bytes.Repeat([]byte("0123456789abcdef"), 50_000)
	var wg sync.WaitGroup
	for range 8 { // the same bytes many times at once are one file
		wg.Go(func() {
			b, err := s.Put(t.Context(), iotest.HalfReader(bytes.NewReader(big)), int64(len(big)))
			if err != nil || b.SHA256 != digest(big) || b.Size != int64(len(big)) {
				t.Errorf("put: %+v %v", b, err)
			}
		})
	}
	wg.Wait()
	empty, err := s.Put(t.Context(), strings.NewReader(""), 0)
	check(t, err)

	f, err := s.Open(digest(big))
	check(t, err)
	got, err := io.ReadAll(f)
	check(t, errors.Join(err, f.Close()))
	if !bytes.Equal(got, big) {
		t.Error("other bytes came back")
	}
	var seen []string
	check(t, s.Walk(func(b content.Blob, at time.Time) error {
		seen = append(seen, b.SHA256)
		if time.Since(at) > time.Minute {
			t.Errorf("stored at %v", at)
		}
		return nil
	}))
	if len(seen) != 2 {
		t.Errorf("stored: %v", seen)
	}

	stop := errors.New("stop")
	want(t, s.Walk(func(content.Blob, time.Time) error { return stop }), stop)
	_, err = s.Put(t.Context(), bytes.NewReader(big), int64(len(big))-1)
	want(t, err, content.ErrTooLarge)
	_, err = s.Put(t.Context(), iotest.ErrReader(stop), 10)
	want(t, err, stop)
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = s.Put(cancelled, bytes.NewReader(big), 1<<30)
	want(t, err, context.Canceled)
	if left, _ := os.ReadDir(filepath.Join(dir, "tmp")); len(left) > 0 {
		t.Errorf("left in tmp: %v", left)
	}
	for _, bad := range []string{"", "abc", "../../../etc/passwd", digest([]byte("unknown")), strings.ToUpper(digest(big))} {
		_, err = s.Open(bad)
		want(t, err, content.ErrNotFound)
		_, err = s.Stat(bad)
		want(t, err, content.ErrNotFound)
		check(t, s.Remove(t.Context(), bad))
	}

	gone, err := s.RemoveUnused(t.Context(), empty.SHA256, time.Now().Add(-time.Hour))
	if gone || err != nil {
		t.Errorf("a file just stored was collected: %v %v", gone, err)
	}
	gone, err = s.RemoveUnused(t.Context(), empty.SHA256, time.Now().Add(time.Hour))
	if !gone || err != nil {
		t.Errorf("not collected: %v %v", gone, err)
	}
	check(t, s.Verify(t.Context(), digest(big)))
	place := filepath.Join(dir, "sha256", digest(big)[:2], digest(big))
	check(t, os.Chmod(place, 0o600))
	check(t, os.WriteFile(place, []byte("rot"), 0o600))
	want(t, s.Verify(t.Context(), digest(big)), content.ErrCorrupt)
	_, err = s.Put(t.Context(), bytes.NewReader(big), 1<<30) // heals
	check(t, err)
	check(t, s.Verify(t.Context(), digest(big)))
}

func TestOpenEmptiesTmp(t *testing.T) {
	dir := t.TempDir()
	openStore(t, dir, content.Floors{})
	check(t, os.WriteFile(filepath.Join(dir, "tmp", "put-123"), []byte("half"), 0o600))
	openStore(t, dir, content.Floors{})
	if left, _ := os.ReadDir(filepath.Join(dir, "tmp")); len(left) > 0 {
		t.Errorf("left in tmp: %v", left)
	}
}

func TestFloors(t *testing.T) {
	const gib = 1 << 30
	for _, c := range []struct {
		name        string
		free, total int64
		soft, hard  bool
	}{
		{"plenty", 500 * gib, 1000 * gib, false, false},
		{"a small part of a huge disk", 50 * gib, 10000 * gib, false, false},
		{"a large part of a small disk", 3 * gib, 10 * gib, false, false},
		{"below soft", 4 * gib, 100 * gib, true, false},
		{"below hard", gib / 2, 100 * gib, true, true},
		{"full", 0, 100 * gib, true, true},
	} {
		s := openStore(t, t.TempDir(), content.Floors{Statfs: func(string) (int64, int64, error) { return c.free, c.total, nil }})
		soft, hard, err := s.Low()
		if soft != c.soft || hard != c.hard || err != nil {
			t.Errorf("%s: soft %v, hard %v, %v", c.name, soft, hard, err)
		}
		_, err = s.Put(t.Context(), strings.NewReader("x"), 1)
		if errors.Is(err, content.ErrDiskLow) != c.soft {
			t.Errorf("%s: put: %v", c.name, err)
		}
	}
}

// TestPutNothing: the empty file is stored once, is found again without being written, and counts as stored
// anew each time, also after it was collected.
func TestPutNothing(t *testing.T) {
	w := newWorld(t)
	for range 2 {
		for range 2 {
			before := time.Now().Add(-time.Second)
			b, err := w.store.Put(t.Context(), strings.NewReader(""), 10)
			check(t, err)
			if b.Size != 0 || b.SHA256 != digest(nil) {
				t.Fatalf("stored %+v", b)
			}
			check(t, w.store.Verify(t.Context(), b.SHA256))
			if gone, err := w.store.RemoveUnused(t.Context(), b.SHA256, before); gone || err != nil {
				t.Fatalf("what was stored just now was collected: %v", err)
			}
		}
		check(t, w.store.Remove(t.Context(), digest(nil)))
	}
}
