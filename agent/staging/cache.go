package staging

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"consort/shared/ids"
)

var (
	// ErrNotCached says that the cache does not hold a file, any more or at all. Get brings it.
	ErrNotCached = errors.New("not in the input cache")
	// ErrMismatch says that what was fetched is not what it was announced to be. It was thrown away.
	ErrMismatch = errors.New("the fetched bytes are not the ones announced")
)

// CacheConfig says where a Cache lives.
type CacheConfig struct {
	Dir      string       // created if missing; required; used by one process at a time
	MaxBytes int64        // of complete files, beyond which the least recently used go; 0 means 20 GiB
	Logger   *slog.Logger // required
}

// Cache keeps a site's inputs by their SHA-256, so that jobs of one series fetch them once. Its methods may
// be called concurrently.
//
// Jobs get copies, never the cached file itself: batch jobs run as the agent's own user, so that a hard link
// would let one job change the input of the next, whatever the mode says. On file systems that share
// extents (Btrfs, XFS) a copy costs neither time nor space.
type Cache struct {
	cfg CacheConfig

	mu       sync.Mutex
	fetching map[string]chan struct{} // closed when the fetch ends
}

// OpenCache makes or opens the cache. What was fetched in part stays and is completed by the next Get.
func OpenCache(cfg CacheConfig) (*Cache, error) {
	if cfg.Dir == "" || cfg.Logger == nil {
		return nil, errors.New("input cache: Dir and Logger are required")
	}
	setDefault(&cfg.MaxBytes, 20<<30)
	c := &Cache{cfg: cfg, fetching: make(map[string]chan struct{})}
	for _, d := range []string{c.fileDir(), c.partDir()} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return nil, fmt.Errorf("make the input cache: %w", err)
		}
	}
	left, err := fs.Glob(os.DirFS(c.partDir()), freshPattern) // of a process that was killed
	for _, name := range left {
		err = errors.Join(err, os.Remove(c.part(name)))
	}
	if err != nil {
		return nil, fmt.Errorf("clean the input cache: %w", err)
	}
	return c, nil
}

func (c *Cache) fileDir() string        { return filepath.Join(c.cfg.Dir, "sha256") }
func (c *Cache) partDir() string        { return filepath.Join(c.cfg.Dir, "part") }
func (c *Cache) file(sha string) string { return filepath.Join(c.fileDir(), sha) }
func (c *Cache) part(sha string) string { return filepath.Join(c.partDir(), sha) }

// Fetch writes a file's bytes from offset on to w.
type Fetch func(ctx context.Context, w io.Writer, offset int64) error

// Get returns the path of the file with this SHA-256 and size in bytes, after fetching it when it is not
// here. Those who ask for the same file at the same time wait for one fetch. A fetch that was cut goes on
// where it ended. It fails with ErrMismatch, or the fetch's, the context's or the disk's error.
//
// The file may be evicted at any later time: use Place to get a copy that stays.
func (c *Cache) Get(ctx context.Context, sha string, size int64, fetch Fetch) (string, error) {
	if !ids.ValidSHA256(sha) || size < 0 {
		return "", fmt.Errorf("input with SHA-256 %q and size %d: %w", sha, size, ErrMismatch)
	}
	for {
		busy, leave := c.enter(sha)
		if busy == nil {
			defer leave()
			return c.get(ctx, sha, size, fetch)
		}
		select {
		case <-ctx.Done():
			return "", ctx.Err()
		case <-busy: // whether it succeeded is seen on the disk
		}
	}
}

// Add keeps what write writes, which is not known before, and returns its SHA-256 and size. It fails with the
// error of write or of the disk.
func (c *Cache) Add(write func(w io.Writer) error) (sha string, size int64, err error) {
	f, err := os.CreateTemp(c.partDir(), freshPattern)
	if err != nil {
		return "", 0, fmt.Errorf("open a fetched input: %w", err)
	}
	defer os.Remove(f.Name()) // unless it has got another name
	defer f.Close()
	w := &verifier{f: f, sum: sha256.New(), size: math.MaxInt64}
	if err := write(w); err != nil {
		return "", 0, err
	}
	if err := f.Sync(); err != nil {
		return "", 0, fmt.Errorf("sync a fetched input: %w", err)
	}
	sha = hex.EncodeToString(w.sum.Sum(nil))
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := os.Rename(f.Name(), c.file(sha)); err != nil {
		return "", 0, fmt.Errorf("keep a fetched input: %w", err)
	}
	return sha, w.n, c.evict(sha)
}

// freshPattern names files whose SHA-256 is not known yet.
const freshPattern = "fresh-*"

// enter makes the caller the one who fetches sha, or returns what to wait for.
func (c *Cache) enter(sha string) (busy <-chan struct{}, leave func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if ch, ok := c.fetching[sha]; ok {
		return ch, nil
	}
	ch := make(chan struct{})
	c.fetching[sha] = ch
	return nil, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.fetching, sha)
		close(ch)
	}
}

func (c *Cache) get(ctx context.Context, sha string, size int64, fetch Fetch) (string, error) {
	info, err := os.Stat(c.file(sha))
	if err == nil && info.Size() == size {
		now := time.Now() // the time of last use
		if err := os.Chtimes(c.file(sha), now, now); err != nil {
			return "", fmt.Errorf("use a cached input: %w", err)
		}
		return c.file(sha), nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("look for a cached input: %w", err)
	}
	resumed, err := c.fetch(ctx, sha, size, fetch)
	if errors.Is(err, ErrMismatch) && resumed { // perhaps the part on disk was damaged: once from the start
		_, err = c.fetch(ctx, sha, size, fetch)
	}
	if err != nil {
		return "", err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := os.Rename(c.part(sha), c.file(sha)); err != nil {
		return "", fmt.Errorf("keep a fetched input: %w", err)
	}
	return c.file(sha), c.evict(sha)
}

// fetch completes the part file and verifies it. It tells whether it began with bytes of an earlier try.
func (c *Cache) fetch(ctx context.Context, sha string, size int64, fetch Fetch) (resumed bool, err error) {
	f, err := os.OpenFile(c.part(sha), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return false, fmt.Errorf("open a fetched input: %w", err)
	}
	defer f.Close()
	w := &verifier{f: f, sum: sha256.New(), size: size}
	if w.n, err = io.Copy(w.sum, f); err != nil {
		return false, fmt.Errorf("read a fetched input: %w", err)
	}
	resumed = w.n > 0
	if w.n < size || (w.n == 0 && size == 0) {
		if err := fetch(ctx, w, w.n); err != nil {
			if errors.Is(err, ErrMismatch) {
				os.Remove(f.Name())
			}
			return resumed, err
		}
	}
	if got := hex.EncodeToString(w.sum.Sum(nil)); w.n != size || got != sha {
		os.Remove(f.Name())
		return resumed, fmt.Errorf("%d bytes with SHA-256 %s, want %d with %s: %w", w.n, got, size, sha, ErrMismatch)
	}
	if err := f.Sync(); err != nil {
		return resumed, fmt.Errorf("sync a fetched input: %w", err)
	}
	return resumed, nil
}

// verifier writes and hashes, and refuses more than was announced.
type verifier struct {
	f    *os.File
	sum  hash.Hash
	n    int64
	size int64
}

func (v *verifier) Write(b []byte) (int, error) {
	if int64(len(b)) > v.size-v.n {
		return 0, fmt.Errorf("more than %d bytes: %w", v.size, ErrMismatch)
	}
	n, err := v.f.Write(b)
	v.sum.Write(b[:n])
	v.n += int64(n)
	return n, err
}

// evict removes the least recently used files until the rest fits, but not keep. The caller holds mu.
func (c *Cache) evict(keep string) error {
	entries, err := os.ReadDir(c.fileDir())
	if err != nil {
		return fmt.Errorf("list the input cache: %w", err)
	}
	var total int64
	var old []fs.FileInfo
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			continue // removed by hand
		}
		total += info.Size()
		if e.Name() != keep {
			old = append(old, info)
		}
	}
	slices.SortFunc(old, func(a, b fs.FileInfo) int {
		return cmp.Or(a.ModTime().Compare(b.ModTime()), cmp.Compare(a.Name(), b.Name()))
	})
	for _, info := range old {
		if total <= c.cfg.MaxBytes {
			break
		}
		if err := os.Remove(c.file(info.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("evict a cached input: %w", err)
		}
		c.cfg.Logger.Info("evicted an input", "sha256", info.Name(), "bytes", info.Size())
		total -= info.Size()
	}
	return nil
}

// Place copies a cached file to dst, which must not exist, with mode 0444. It fails with ErrNotCached when
// the file was evicted meanwhile. After a crash dst may be incomplete: stage a working directory anew then.
func (c *Cache) Place(sha, dst string) error {
	if !ids.ValidSHA256(sha) {
		return fmt.Errorf("%q: %w", sha, ErrNotCached)
	}
	src, err := os.Open(c.file(sha)) // once open, eviction does not hurt
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s: %w", sha, ErrNotCached)
	}
	if err != nil {
		return fmt.Errorf("open a cached input: %w", err)
	}
	defer src.Close()
	f, err := os.OpenFile(dst, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("place an input: %w", err)
	}
	_, err = io.Copy(f, src) // copy_file_range where the system has it
	err = errors.Join(err, f.Chmod(0o444), f.Close())
	if err != nil {
		os.Remove(dst)
		return fmt.Errorf("place an input: %w", err)
	}
	return nil
}
