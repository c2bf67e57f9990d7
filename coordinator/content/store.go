// Package content keeps files by the SHA-256 of their bytes, each once, and receives the sites' uploads:
// Store is the content-addressed directory, Uploads the attempts' incoming trees with their running
// hashes and the seal that moves verified files into the store, Server the SFTP server before them.
//
// It knows nothing of jobs, results, references or replication: who may upload where is asked of the
// small interfaces Leases and Sites, and what may be collected is for the caller to say.
//
// # Layout
//
//	<dir>/sha256/ab/<64 hex digits>    stored files, read only
//	<dir>/tmp/                         writes in progress, emptied at Open
//	<dir>/incoming/<job>/<epoch>/…     one attempt's uploads, the root of its SFTP jail
//	<dir>/incoming/<job>/<epoch>.seal  the verified manifest of a sealed attempt
//
// Everything lies on one file system, so that a file gets its place by rename and never by copying.
package content

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"consort/shared/ids"
)

var (
	// ErrNotFound says that the store has no file of this SHA-256, or that the text is no SHA-256 at all.
	ErrNotFound = errors.New("no such content")
	// ErrTooLarge says that more bytes came than the limit allows. Nothing of them was kept.
	ErrTooLarge = errors.New("larger than allowed")
	// ErrDiskLow says that free space is below a floor. Nothing was kept; it may be tried again later.
	ErrDiskLow = errors.New("free disk space is below the floor")
	// ErrCorrupt says that a stored file's bytes no longer have its SHA-256.
	ErrCorrupt = errors.New("stored content is corrupt")
)

const (
	copyBuffer = 256 << 10 // bytes moved between two looks at the context
	floorEvery = 64 << 20  // bytes written between two looks at the free space
)

// Blob names stored bytes.
type Blob struct {
	SHA256 string // 64 lower-case hexadecimal digits
	Size   int64  // bytes
}

// Config says where a Store lives.
type Config struct {
	Dir    string       // created if missing; required
	Floors Floors       // free-space floors; the zero value has the defaults
	Logger *slog.Logger // required
}

// Store is a directory of files named by their SHA-256. Its methods may be called concurrently.
type Store struct {
	dir   string
	space *space
	log   *slog.Logger

	// placing is held shared while a file gets its place and alone while one is removed, so that a
	// file just found again cannot be collected under the finder's feet.
	placing sync.RWMutex

	// buffers are of copyHashed: two logs come with every job, and making a buffer costs more than copying one.
	buffers sync.Pool
}

// Open makes or opens the store in cfg.Dir and removes what interrupted writes left behind.
func Open(cfg Config) (*Store, error) {
	if cfg.Dir == "" || cfg.Logger == nil {
		return nil, errors.New("content store: Dir and Logger are required")
	}
	s := &Store{dir: cfg.Dir, log: cfg.Logger, space: newSpace(cfg.Floors, cfg.Dir)}
	if err := os.RemoveAll(s.tmpDir()); err != nil {
		return nil, fmt.Errorf("empty the store's tmp: %w", err)
	}
	for _, d := range []string{s.dir, s.tmpDir(), s.incomingDir(), filepath.Join(s.dir, "sha256")} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return nil, fmt.Errorf("make the store: %w", err)
		}
	}
	for i := range 256 {
		err := os.Mkdir(filepath.Join(s.dir, "sha256", fmt.Sprintf("%02x", i)), 0o700)
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, fmt.Errorf("make the store: %w", err)
		}
	}
	for _, d := range []string{filepath.Join(s.dir, "sha256"), s.dir} {
		if err := syncDir(d); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func (s *Store) tmpDir() string           { return filepath.Join(s.dir, "tmp") }
func (s *Store) incomingDir() string      { return filepath.Join(s.dir, "incoming") }
func (s *Store) shard(sum string) string  { return filepath.Join(s.dir, "sha256", sum[:2]) }
func (s *Store) pathOf(sum string) string { return filepath.Join(s.shard(sum), sum) }

// Put stores what r gives, up to limit bytes, and returns its name when it is safely on disk. The same
// bytes twice are one file. It fails with ErrTooLarge, ErrDiskLow, the context's or the reader's error,
// and then keeps nothing.
func (s *Store) Put(ctx context.Context, r io.Reader, limit int64) (Blob, error) {
	if err := s.space.checkSoft(); err != nil {
		return Blob{}, err
	}
	start := bufio.NewReaderSize(r, 512)
	if _, err := start.Peek(1); errors.Is(err, io.EOF) && s.touchEmpty() {
		return Blob{SHA256: emptySum}, syncDir(s.shard(emptySum))
	}
	f, err := os.CreateTemp(s.tmpDir(), "put-")
	if err != nil {
		return Blob{}, fmt.Errorf("open a temporary file: %w", err)
	}
	defer func() {
		f.Close()
		os.Remove(f.Name()) // gone already when it was renamed
	}()
	b, err := s.copyHashed(ctx, f, start, limit)
	if err != nil {
		return Blob{}, err
	}
	if err := f.Sync(); err != nil {
		return Blob{}, diskError("sync content", err)
	}
	if err := s.place(f.Name(), b.SHA256); err != nil {
		return Blob{}, err
	}
	return b, syncDir(s.shard(b.SHA256))
}

// emptySum is the SHA-256 of nothing. Most standard errors are that, and nothing in a file of no bytes can rot.
const emptySum = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

// touchEmpty makes the time of the empty file now, as if it were stored again; false when it is not there.
func (s *Store) touchEmpty() bool {
	s.placing.RLock()
	defer s.placing.RUnlock()
	now := time.Now()
	return os.Chtimes(s.pathOf(emptySum), now, now) == nil
}

// copyHashed copies r to f in bounded steps, looking at context, limit and floors between them.
func (s *Store) copyHashed(ctx context.Context, f io.Writer, r io.Reader, limit int64) (Blob, error) {
	pooled, ok := s.buffers.Get().(*[copyBuffer]byte)
	if !ok {
		pooled = new([copyBuffer]byte)
	}
	defer s.buffers.Put(pooled)
	sum, buf := sha256.New(), pooled[:]
	var size, checked int64
	for {
		if err := ctx.Err(); err != nil {
			return Blob{}, err
		}
		n, err := r.Read(buf)
		if size += int64(n); size > limit {
			return Blob{}, fmt.Errorf("more than %d bytes: %w", limit, ErrTooLarge)
		}
		if size-checked > floorEvery {
			if err := s.space.checkHard(); err != nil {
				return Blob{}, err
			}
			checked = size
		}
		sum.Write(buf[:n])
		if _, werr := f.Write(buf[:n]); werr != nil {
			return Blob{}, diskError("write content", werr)
		}
		if errors.Is(err, io.EOF) {
			return Blob{SHA256: hex.EncodeToString(sum.Sum(nil)), Size: size}, nil
		}
		if err != nil {
			return Blob{}, fmt.Errorf("read the bytes to store: %w", err)
		}
	}
}

// place renames the verified, synced file at from to its place, read only. An older copy is replaced by the same
// bytes, which also heals one that rotted. The time of modification becomes now, as collection counts
// its grace from there. The shard directory is left for the caller to sync.
func (s *Store) place(from, sum string) error {
	s.placing.RLock()
	defer s.placing.RUnlock()
	now := time.Now()
	if err := os.Chtimes(from, now, now); err != nil {
		return fmt.Errorf("place content: %w", err)
	}
	if err := os.Rename(from, s.pathOf(sum)); err != nil {
		return fmt.Errorf("place content: %w", err)
	}
	if err := os.Chmod(s.pathOf(sum), 0o400); err != nil { // only now: until then it may have to be written again
		return fmt.Errorf("place content: %w", err)
	}
	return nil
}

// Open opens a stored file for reading. The caller closes it.
func (s *Store) Open(sum string) (*os.File, error) {
	if !ids.ValidSHA256(sum) {
		return nil, fmt.Errorf("%q: %w", sum, ErrNotFound)
	}
	f, err := os.Open(s.pathOf(sum))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w", sum, ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("open content: %w", err)
	}
	return f, nil
}

// Stat tells the size of a stored file.
func (s *Store) Stat(sum string) (Blob, error) {
	if !ids.ValidSHA256(sum) {
		return Blob{}, fmt.Errorf("%q: %w", sum, ErrNotFound)
	}
	info, err := os.Stat(s.pathOf(sum))
	if errors.Is(err, fs.ErrNotExist) {
		return Blob{}, fmt.Errorf("%s: %w", sum, ErrNotFound)
	}
	if err != nil {
		return Blob{}, fmt.Errorf("look at content: %w", err)
	}
	return Blob{SHA256: sum, Size: info.Size()}, nil
}

// Remove removes a stored file; one that is not there is no error. Readers that have it open keep it.
func (s *Store) Remove(ctx context.Context, sum string) error {
	_, err := s.RemoveUnused(ctx, sum, time.Time{})
	return err
}

// RemoveUnused is Remove for a collector: it leaves a file that was stored, also stored again, since the
// time given, and tells whether the file is gone. The zero time removes in any case.
func (s *Store) RemoveUnused(ctx context.Context, sum string, since time.Time) (bool, error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	if !ids.ValidSHA256(sum) {
		return true, nil
	}
	s.placing.Lock()
	defer s.placing.Unlock()
	info, err := os.Stat(s.pathOf(sum))
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("look at content: %w", err)
	}
	if !since.IsZero() && !info.ModTime().Before(since) {
		return false, nil
	}
	if err := os.Remove(s.pathOf(sum)); err != nil {
		return false, fmt.Errorf("remove content: %w", err)
	}
	return true, syncDir(s.shard(sum))
}

// Walk calls fn for every stored file, in the order of the SHA-256, with the time it was last stored,
// until fn returns an error, which Walk returns. Files stored or removed meanwhile may be missed.
func (s *Store) Walk(fn func(Blob, time.Time) error) error {
	for i := range 256 {
		entries, err := os.ReadDir(filepath.Join(s.dir, "sha256", fmt.Sprintf("%02x", i)))
		if err != nil {
			return fmt.Errorf("list content: %w", err)
		}
		for _, e := range entries {
			info, err := e.Info()
			if err != nil || !ids.ValidSHA256(e.Name()) {
				continue // removed since, or not ours
			}
			if err := fn(Blob{SHA256: e.Name(), Size: info.Size()}, info.ModTime()); err != nil {
				return err
			}
		}
	}
	return nil
}

// Verify reads a stored file again and fails with ErrCorrupt when its bytes have changed.
func (s *Store) Verify(ctx context.Context, sum string) error {
	f, err := s.Open(sum)
	if err != nil {
		return err
	}
	defer f.Close()
	h, buf := sha256.New(), make([]byte, copyBuffer)
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := f.Read(buf)
		h.Write(buf[:n])
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("read content %s: %w", sum, err)
		}
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != sum {
		return fmt.Errorf("%s has the bytes of %s: %w", sum, got, ErrCorrupt)
	}
	return nil
}

// Free tells the free bytes of the store's file system and their fraction of its size.
func (s *Store) Free() (bytes int64, fraction float64, err error) { return s.space.free() }

// Low tells whether free space is below the soft and the hard floor of DESIGN 12.
func (s *Store) Low() (soft, hard bool, err error) { return s.space.low() }

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("open directory to sync: %w", err)
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("sync directory: %w", err)
	}
	return nil
}

// diskError adds ErrDiskLow to an error that says the disk or the quota is full.
func diskError(doing string, err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%s: %w: %w", doing, ErrDiskLow, err)
	}
	return fmt.Errorf("%s: %w", doing, err)
}
