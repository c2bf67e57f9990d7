package content_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"consort/agent/staging"
	"consort/coordinator/content"
)

func TestPushAndSeal(t *testing.T) {
	w, dir := newWorld(t), t.TempDir()
	u := w.uploader("here", w.site("here"))
	job := w.lease("here", 1)
	files := []staging.File{
		output(t, dir, "result.fits", 9<<20+17, 1),
		output(t, dir, "empty", 0, 2),
		output(t, dir, "one", 1, 3),
		output(t, dir, "exactly-a-packet", 255<<10, 4),
		output(t, dir, "many/a/b/c.txt", 4096, 5),
		output(t, dir, "many/a/same.txt", 4096, 5),
		output(t, dir, "many/é ü.txt", 100, 6),
	}
	var acked atomic.Int64
	m, err := u.Push(t.Context(), staging.Upload{Job: job, Epoch: 1, Files: files, Offsets: w.offsets(job, 1),
		Progress: func(n int64) { acked.Add(n) }})
	check(t, err)
	var total int64
	for i, f := range files {
		total += f.Size
		b, err := os.ReadFile(f.Local)
		check(t, err)
		if (m[i] != staging.ManifestFile{Path: f.Remote, Size: f.Size, SHA256: digest(b)}) {
			t.Errorf("manifest of %s: %+v", f.Remote, m[i])
		}
	}
	if acked.Load() != total {
		t.Errorf("progress told %d of %d bytes", acked.Load(), total)
	}
	check(t, w.seal(job, 1, m))
	check(t, w.seal(job, 1, m)) // again, with the same answer
	w.restart()
	check(t, w.seal(job, 1, m))
	for _, f := range m {
		check(t, w.store.Verify(t.Context(), f.SHA256))
		if n, sum, err := w.uploads.Offset(t.Context(), job, 1, f.Path); n != f.Size || sum != f.SHA256 || err != nil {
			t.Errorf("offset after the seal: %d %s %v", n, sum, err)
		}
	}
	want(t, w.seal(job, 1, m[:2]), content.ErrSealed)

	_, err = w.uploader("here", w.site("here")).Push(t.Context(), staging.Upload{Job: job, Epoch: 1, Files: files})
	want(t, err, staging.ErrRefused)
	check(t, w.uploads.Discard(t.Context(), job, 1))
	check(t, w.uploads.Discard(t.Context(), job, 1))
	if left, _ := os.ReadDir(filepath.Join(w.dir, "incoming")); len(left) > 0 {
		t.Errorf("left in incoming: %v", left)
	}
	check(t, w.store.Verify(t.Context(), m[0].SHA256))
}

func TestSealTellsWhatDiffers(t *testing.T) {
	w, dir := newWorld(t), t.TempDir()
	u := w.uploader("here", w.site("here"))
	job := w.lease("here", 3)
	files := []staging.File{output(t, dir, "a", 5<<20, 1), output(t, dir, "b", 10, 2), output(t, dir, "c", 10, 3)}
	up := staging.Upload{Job: job, Epoch: 3, Files: files, Offsets: w.offsets(job, 3)}
	m, err := u.Push(t.Context(), up)
	check(t, err)

	bad := append([]staging.ManifestFile{}, m...)
	bad[0].SHA256, bad[1].Size = digest([]byte("other")), 11
	bad = append(bad, staging.ManifestFile{Path: "never", Size: 1, SHA256: m[0].SHA256})
	var se *content.SealError
	if err := w.seal(job, 3, bad); !errors.As(err, &se) {
		t.Fatalf("got %v, want a SealError", err)
	}
	got := map[string]content.ProblemKind{}
	for _, p := range se.Problems {
		got[p.Path] = p.Kind
	}
	if len(got) != 3 || got["a"] != content.WrongHash || got["b"] != content.WrongSize || got["never"] != content.Missing {
		t.Errorf("problems: %+v", se.Problems)
	}
	// Bytes damaged on the coordinator's disk show after a restart, and pushing again cures them.
	incoming := filepath.Join(w.dir, "incoming", job, "3", "a")
	b, err := os.ReadFile(incoming)
	check(t, err)
	b[3<<20] ^= 1
	w.stop()
	check(t, os.WriteFile(incoming, b, 0o600))
	w.start()
	if err := w.seal(job, 3, m); !errors.As(err, &se) || len(se.Problems) != 1 || se.Problems[0].Kind != content.WrongHash {
		t.Fatalf("got %v, want one wrong hash", err)
	}
	_, err = u.Push(t.Context(), up)
	check(t, err)
	check(t, w.seal(job, 3, m))
	for _, bad := range [][]staging.ManifestFile{
		{{Path: "../x", SHA256: m[0].SHA256}}, {{Path: "x", Size: -1, SHA256: m[0].SHA256}}, {{Path: "x", SHA256: "abc"}}, {m[0], m[0]},
	} {
		want(t, w.seal(job, 3, bad), content.ErrManifest)
	}
}

// TestSealNeedsUpload: naming the SHA-256 of stored bytes does not give a site a share of them.
func TestSealNeedsUpload(t *testing.T) {
	w := newWorld(t)
	blob, err := w.store.Put(t.Context(), bytes.NewReader([]byte("secret")), 100)
	check(t, err)
	var se *content.SealError
	err = w.seal(w.lease("here", 1), 1, []staging.ManifestFile{{Path: "x", Size: blob.Size, SHA256: blob.SHA256}})
	if !errors.As(err, &se) || se.Problems[0].Kind != content.Missing {
		t.Fatalf("got %v, want it missing", err)
	}
}

func TestSealWhatTheStoreLost(t *testing.T) {
	w, dir := newWorld(t), t.TempDir()
	u := w.uploader("here", w.site("here"))
	job := w.lease("here", 1)
	up := staging.Upload{Job: job, Epoch: 1, Files: []staging.File{output(t, dir, "a", 100, 1)}}
	m, err := u.Push(t.Context(), up)
	check(t, err)
	check(t, w.seal(job, 1, m))
	check(t, w.store.Remove(t.Context(), m[0].SHA256))
	var se *content.SealError
	if err := w.seal(job, 1, m); !errors.As(err, &se) {
		t.Fatalf("got %v, want a SealError", err)
	}
	_, err = u.Push(t.Context(), up)
	check(t, err)
	check(t, w.seal(job, 1, m))
	check(t, w.store.Verify(t.Context(), m[0].SHA256))
}

// cutter dials, and cuts each connection after some bytes were sent, a number of times.
type cutter struct {
	after int64
	times atomic.Int64
	hook  func()
}

func (c *cutter) dial(ctx context.Context, addr string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil || c.times.Add(-1) < 0 {
		return conn, err
	}
	return &cutConn{Conn: conn, c: c, left: c.after}, nil
}

type cutConn struct {
	net.Conn
	c    *cutter
	left int64
}

func (c *cutConn) Write(b []byte) (int, error) {
	if c.left -= int64(len(b)); c.left < 0 {
		c.Conn.Close()
		if c.c.hook != nil {
			c.c.hook()
		}
		return 0, io.ErrClosedPipe
	}
	return c.Conn.Write(b)
}

func TestPushResumes(t *testing.T) {
	w, dir := newWorld(t), t.TempDir()
	const size, after = 24 << 20, 13 << 20
	cut := &cutter{after: after}
	cut.times.Store(2)
	u := w.uploader("here", w.site("here"), func(c *staging.Config) { c.Dial, c.MinBackoff = cut.dial, time.Millisecond })
	job := w.lease("here", 1)
	files := []staging.File{output(t, dir, "big", size, 1)}
	for i := range 50 {
		files = append(files, output(t, dir, fmt.Sprintf("small/%d", i), 1000, byte(i)))
	}
	var mu sync.Mutex
	var offsets []int64
	m, err := u.Push(t.Context(), staging.Upload{Job: job, Epoch: 1, Files: files,
		Offsets: func(ctx context.Context, path string) (int64, string, error) {
			n, sum, err := w.uploads.Offset(ctx, job, 1, path)
			mu.Lock()
			defer mu.Unlock()
			offsets = append(offsets, n)
			return n, sum, err
		}})
	check(t, err)
	check(t, w.seal(job, 1, m))
	if len(offsets) != 1 && len(offsets) != 2 {
		t.Fatalf("offsets asked for: %v", offsets)
	}
	for _, n := range offsets {
		if n < 4<<20 {
			t.Errorf("resumed at %v of %d bytes sent: nearly all of it twice", offsets, after)
		}
	}
}

// TestPushOverRestart cuts the upload by a restart of the server. The file is larger than the window that
// is not trusted afterwards, so that the beginning is not sent twice.
func TestPushOverRestart(t *testing.T) {
	w, dir := newWorld(t), t.TempDir()
	cut := &cutter{after: 60 << 20, hook: w.restart}
	cut.times.Store(1)
	u := w.uploader("here", w.site("here"), func(c *staging.Config) { c.Dial, c.MinBackoff = cut.dial, time.Millisecond })
	job := w.lease("here", 1)
	var resumed int64
	m, err := u.Push(t.Context(), staging.Upload{Job: job, Epoch: 1, Files: []staging.File{output(t, dir, "big", 64<<20, 1)},
		Offsets: func(ctx context.Context, path string) (int64, string, error) {
			n, sum, err := w.uploads.Offset(ctx, job, 1, path)
			resumed = n
			return n, sum, err
		}})
	check(t, err)
	check(t, w.seal(job, 1, m))
	if resumed < 16<<20 {
		t.Errorf("resumed at %d", resumed)
	}
}

func TestPushErrors(t *testing.T) {
	w, dir := newWorld(t), t.TempDir()
	key := w.site("here")
	u := w.uploader("here", key, func(c *staging.Config) { c.MinBackoff, c.MaxBackoff = time.Millisecond, 5*time.Millisecond })
	job := w.lease("here", 2)
	f := output(t, dir, "a", 1000, 1)
	push := func(u *staging.Uploader, job string, epoch uint64, f ...staging.File) error {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		_, err := u.Push(ctx, staging.Upload{Job: job, Epoch: epoch, Files: f})
		return err
	}
	want(t, push(u, job, 1, f), staging.ErrNoLease)
	want(t, push(u, w.lease("elsewhere", 1), 1, f), staging.ErrNoLease)
	want(t, push(u, job, 2, staging.File{Local: f.Local, Remote: "../../x", Size: 1000}), staging.ErrRefused)
	want(t, push(u, job, 2, staging.File{Local: f.Local, Remote: "a", Size: 999}), staging.ErrChanged)
	want(t, push(u, job, 2, staging.File{Local: f.Local + "-gone", Remote: "a", Size: 999}), staging.ErrChanged)
	want(t, push(u, job, 2, staging.File{Local: dir, Remote: "a", Size: 999}), staging.ErrChanged)
	want(t, push(w.uploader("here", key, func(c *staging.Config) { c.HostKey = newKey(t).PublicKey() }), job, 2, f), staging.ErrHostKey)

	small := content.Lease{Job: w.lease("here", 1), Epoch: 1, MaxFiles: 2, MaxBytes: 1500, MaxFileBytes: 1200}
	w.grant("here", small)
	b, c := output(t, dir, "b", 1000, 2), output(t, dir, "c", 0, 3)
	want(t, push(u, small.Job, 1, f, b), staging.ErrRefused)
	want(t, push(u, small.Job, 1, output(t, dir, "d", 1201, 2)), staging.ErrRefused)
	want(t, push(u, small.Job, 1, f, c, output(t, dir, "e", 0, 3)), staging.ErrRefused)

	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err := w.uploader("nobody", key).Push(ctx, staging.Upload{Job: job, Epoch: 2, Files: []staging.File{f}})
	want(t, err, context.DeadlineExceeded)
}

// TestPushIsFlat pushes a large sparse file and watches the memory of both sides together.
func TestPushIsFlat(t *testing.T) {
	w, dir := newWorld(t), t.TempDir()
	u := w.uploader("here", w.site("here"))
	job := w.lease("here", 1)
	const size = 256 << 20
	f, err := os.Create(filepath.Join(dir, "sparse"))
	check(t, err)
	check(t, f.Truncate(size))
	check(t, f.Close())
	var before, now runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	var most uint64
	var told atomic.Int64
	m, err := u.Push(t.Context(), staging.Upload{Job: job, Epoch: 1, Files: []staging.File{{Local: f.Name(), Remote: "sparse", Size: size}},
		Progress: func(n int64) {
			if told.Add(n)>>24 != (told.Load()-n)>>24 {
				runtime.ReadMemStats(&now)
				most = max(most, now.HeapAlloc)
			}
		}})
	check(t, err)
	check(t, w.seal(job, 1, m))
	if grown := int64(most) - int64(before.HeapAlloc); grown > 100<<20 {
		t.Errorf("the heap grew by %d MiB", grown>>20)
	}
	t.Logf("heap: %d MiB before, at most %d MiB", before.HeapAlloc>>20, most>>20)
}

// benchSize is a number from the environment, for measurements larger than the tests need.
func benchSize(b *testing.B, name string, otherwise int64) int64 {
	s := os.Getenv(name)
	if s == "" {
		return otherwise
	}
	n, err := strconv.ParseInt(s, 10, 64)
	check(b, err)
	return n
}

// BenchmarkPushLarge pushes and seals one file of CONSORT_BENCH_MIB (64) MiB.
func BenchmarkPushLarge(b *testing.B) {
	size := benchSize(b, "CONSORT_BENCH_MIB", 64) << 20
	w, dir := newWorld(b), b.TempDir()
	u := w.uploader("here", w.site("here"))
	f := output(b, dir, "big", size, 1)
	b.SetBytes(size)
	for b.Loop() {
		pushAndSeal(b, w, u, []staging.File{f})
	}
}

// BenchmarkPushSmall pushes and seals CONSORT_BENCH_FILES (500) files of 4 KiB.
func BenchmarkPushSmall(b *testing.B) {
	n := benchSize(b, "CONSORT_BENCH_FILES", 500)
	w, dir := newWorld(b), b.TempDir()
	u := w.uploader("here", w.site("here"))
	var files []staging.File
	for i := range n {
		files = append(files, output(b, dir, fmt.Sprintf("f%d", i), 4096, byte(i)))
	}
	for b.Loop() {
		pushAndSeal(b, w, u, files)
	}
	b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "files/s")
}

func pushAndSeal(b *testing.B, w *world, u *staging.Uploader, files []staging.File) {
	job := w.lease("here", 1)
	begin := time.Now()
	m, err := u.Push(b.Context(), staging.Upload{Job: job, Epoch: 1, Files: files, Offsets: w.offsets(job, 1)})
	check(b, err)
	pushed := time.Now()
	check(b, w.seal(job, 1, m))
	b.Logf("push %v seal %v", pushed.Sub(begin).Round(time.Millisecond), time.Since(pushed).Round(time.Millisecond))
	b.StopTimer()
	check(b, w.uploads.Discard(b.Context(), job, 1))
	for _, f := range m {
		check(b, w.store.Remove(b.Context(), f.SHA256))
	}
	b.StartTimer()
}

// TestPushesShareAConnection: many small pushes at a time need no more connections than a site may have, also
// when the one they share is cut, or one of them is given up.
func TestPushesShareAConnection(t *testing.T) {
	w, dir := newWorld(t), t.TempDir()
	cut := &cutter{after: 100 << 10}
	cut.times.Store(2)
	var dials atomic.Int64
	u := w.uploader("here", w.site("here"), func(c *staging.Config) {
		c.MinBackoff = time.Millisecond
		c.Dial = func(ctx context.Context, addr string) (net.Conn, error) {
			dials.Add(1)
			return cut.dial(ctx, addr)
		}
	})
	gone, giveUp := context.WithCancel(t.Context())
	defer giveUp()
	var wg sync.WaitGroup
	for n := range 40 {
		job := w.lease("here", uint64(n+1))
		files := []staging.File{output(t, dir, fmt.Sprintf("%d/a", n), 10_000, byte(n)), output(t, dir, fmt.Sprintf("%d/b", n), 0, byte(n+100))}
		wg.Go(func() {
			m, err := u.Push(t.Context(), staging.Upload{Job: job, Epoch: uint64(n + 1), Files: files})
			if err == nil {
				err = w.seal(job, uint64(n+1), m)
			}
			if err != nil {
				t.Errorf("push %d: %v", n, err)
			}
		})
		if n == 20 {
			wg.Go(func() { _, _ = u.Push(gone, staging.Upload{Job: job, Epoch: 99, Files: files}) })
			giveUp()
		}
	}
	wg.Wait()
	if n := dials.Load(); n >= 40 {
		t.Errorf("%d connections for 40 pushes", n)
	}
}
