package staging

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func want(t *testing.T, err, target error) {
	t.Helper()
	if !errors.Is(err, target) {
		t.Fatalf("got error %v, want %v", err, target)
	}
}

func newCache(t *testing.T, most int64) *Cache {
	t.Helper()
	c, err := OpenCache(CacheConfig{Dir: t.TempDir(), MaxBytes: most, Logger: slog.New(slog.NewTextHandler(t.Output(), nil))})
	check(t, err)
	return c
}

func sha(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

func serve(b []byte, calls *atomic.Int64) Fetch {
	return func(_ context.Context, w io.Writer, offset int64) error {
		calls.Add(1)
		_, err := w.Write(b[offset:])
		return err
	}
}

func TestCacheFetchesOnce(t *testing.T) {
	c := newCache(t, 1<<20)
	b := bytes.Repeat([]byte("x"), 100_000)
	var calls atomic.Int64
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			_, err := c.Get(t.Context(), sha(b), int64(len(b)), serve(b, &calls))
			if err == nil {
				err = c.Place(sha(b), filepath.Join(c.cfg.Dir, fmt.Sprint("copy", i)))
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if calls.Load() != 1 {
		t.Errorf("fetched %d times", calls.Load())
	}
	copied := filepath.Join(c.cfg.Dir, "copy7")
	got, err := os.ReadFile(copied)
	check(t, err)
	if !bytes.Equal(got, b) {
		t.Error("the copy differs")
	}
	// A job that gets around the mode changes its copy only.
	check(t, os.Chmod(copied, 0o600))
	check(t, os.WriteFile(copied, []byte("spoilt"), 0o600))
	cached, err := os.ReadFile(c.file(sha(b)))
	check(t, err)
	if !bytes.Equal(cached, b) {
		t.Error("the cached file changed")
	}
	want(t, c.Place(sha(b), copied), os.ErrExist)
}

func TestCacheResumesAndVerifies(t *testing.T) {
	c := newCache(t, 1<<20)
	b := []byte("0123456789")
	cut := errors.New("cut")
	var from []int64
	half := func(_ context.Context, w io.Writer, offset int64) error {
		from = append(from, offset)
		_, err := w.Write(b[offset:min(offset+4, 10)])
		if err == nil && offset+4 < 10 {
			err = cut
		}
		return err
	}
	for range 2 {
		_, err := c.Get(t.Context(), sha(b), 10, half)
		want(t, err, cut)
	}
	_, err := c.Get(t.Context(), sha(b), 10, half)
	check(t, err)
	if fmt.Sprint(from) != "[0 4 8]" {
		t.Errorf("fetched from %v", from)
	}

	var calls atomic.Int64
	other := []byte("9876543210")
	check(t, os.WriteFile(c.part(sha(other)), []byte("damaged"), 0o600))
	_, err = c.Get(t.Context(), sha(other), 10, serve(other, &calls))
	check(t, err)
	if calls.Load() != 2 {
		t.Errorf("%d calls; want one more after the damaged part", calls.Load())
	}
	for _, bad := range [][]byte{[]byte("short"), []byte("much too long for it"), []byte("ten bytes!")} {
		_, err := c.Get(t.Context(), sha([]byte("unknown.10")), 10, serve(bad, &calls))
		want(t, err, ErrMismatch)
	}
	if left, _ := os.ReadDir(c.partDir()); len(left) > 0 {
		t.Errorf("parts left: %v", left)
	}
	_, err = c.Get(t.Context(), "../../etc/passwd", 10, half)
	want(t, err, ErrMismatch)
	want(t, c.Place("../x", filepath.Join(t.TempDir(), "y")), ErrNotCached)
	_, err = c.Get(t.Context(), sha(nil), 0, serve(nil, &calls))
	check(t, err)
}

func TestCacheEvictsTheLeastRecentlyUsed(t *testing.T) {
	c := newCache(t, 250)
	var calls atomic.Int64
	get := func(i byte) string {
		b := bytes.Repeat([]byte{i}, 100)
		_, err := c.Get(t.Context(), sha(b), 100, serve(b, &calls))
		check(t, err)
		return sha(b)
	}
	age := func(name string, hours int) {
		at := time.Now().Add(-time.Duration(hours) * time.Hour)
		check(t, os.Chtimes(c.file(name), at, at))
	}
	one, two := get(1), get(2)
	age(one, 3)
	age(two, 2)
	get(1) // used again
	three := get(3)
	want(t, c.Place(two, filepath.Join(t.TempDir(), "two")), ErrNotCached)
	check(t, c.Place(one, filepath.Join(t.TempDir(), "one")))
	check(t, c.Place(three, filepath.Join(t.TempDir(), "three")))

	big := bytes.Repeat([]byte("b"), 1000) // larger than the cache: kept until something else comes
	_, err := c.Get(t.Context(), sha(big), 1000, serve(big, &calls))
	check(t, err)
	check(t, c.Place(sha(big), filepath.Join(t.TempDir(), "big")))
	get(4)
	want(t, c.Place(sha(big), filepath.Join(t.TempDir(), "big")), ErrNotCached)
}

func TestCacheWaiterGivesUp(t *testing.T) {
	c := newCache(t, 250)
	b := []byte("slow")
	begun, finish := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		_, err := c.Get(t.Context(), sha(b), 4, func(_ context.Context, w io.Writer, _ int64) error {
			close(begun)
			<-finish
			_, err := w.Write(b)
			return err
		})
		if err != nil {
			t.Error(err)
		}
	})
	<-begun
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := c.Get(ctx, sha(b), 4, nil)
	want(t, err, context.Canceled)
	close(finish)
	wg.Wait()
}
