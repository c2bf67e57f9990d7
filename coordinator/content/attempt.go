package content

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
)

const (
	sealSuffix = ".seal" // of the seal's name, after the epoch
	sealTemp   = ".tmp"  // after that, while it is written
)

// attemptID names one try of a job.
type attemptID struct {
	job   string
	epoch uint64
}

func (id attemptID) dirIn(incoming string) string {
	return filepath.Join(incoming, id.job, strconv.FormatUint(id.epoch, 10))
}

// state is how far an attempt's upload is.
type state int32

const (
	receiving state = iota
	sealing         // a seal is looking at the files: nothing may change meanwhile
	sealed          // the seal is on disk; the files are in the store or on their way
	discarded
)

// attempt is the incoming directory of one attempt: the files in it, with their running hashes.
//
// Locks, taken in this order: sealing, an upload's mu, mu. A write looks at the state under its upload's
// lock; whoever changes the state takes each upload's lock once afterwards, and so knows that no write is
// under way and none will follow.
type attempt struct {
	id  attemptID
	dir string

	sealing    sync.Mutex // one seal or discard at a time
	state      atomic.Int32
	generation atomic.Uint64 // grows to make open files ask for their lease again
	bytes      atomic.Int64  // sum of the files' sizes

	mu     sync.Mutex
	root   *os.Root // nil until loaded
	files  map[string]*upload
	dirs   int
	record map[string]ManifestFile // of a sealed attempt
}

func (a *attempt) sealFile() string { return a.dir + sealSuffix }

func (a *attempt) is(s state) bool { return state(a.state.Load()) == s }

// load makes the directory, or reads what an earlier process left in it. Later calls do nothing.
func (a *attempt) load() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.is(discarded) {
		return ErrNoLease
	}
	if a.root != nil {
		return nil
	}
	if err := os.MkdirAll(a.dir, 0o700); err != nil {
		return diskError("make the upload directory", err)
	}
	root, err := os.OpenRoot(a.dir)
	if err != nil {
		return fmt.Errorf("open the upload directory: %w", err)
	}
	if err := a.scan(root); err != nil {
		return errors.Join(err, root.Close())
	}
	a.root = root
	return nil
}

// scan reads the seal, if there is one, and lists the files. The caller holds mu.
func (a *attempt) scan(root *os.Root) error {
	record, err := readSeal(a.sealFile())
	if err != nil {
		return err
	}
	if record != nil {
		a.record = record
		a.state.Store(int32(sealed))
	}
	a.files = make(map[string]*upload)
	return fs.WalkDir(root.FS(), ".", func(p string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return fmt.Errorf("read the upload directory: %w", err)
		case p == ".":
			return nil
		case d.IsDir():
			a.dirs++
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return fmt.Errorf("read the upload directory: %w", err)
		}
		a.files[p] = recoverUpload(p, info.Size())
		a.bytes.Add(info.Size())
		return nil
	})
}

func (a *attempt) close() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.root == nil {
		return nil
	}
	err := a.root.Close()
	a.root = nil
	return err
}

// discard removes the directory and the seal. The caller holds sealing.
func (a *attempt) discard(ctx context.Context) error {
	a.mu.Lock()
	a.state.Store(int32(discarded))
	files := a.files
	a.mu.Unlock()
	for _, u := range files {
		u.settle()
	}
	if err := a.close(); err != nil {
		return fmt.Errorf("close the upload directory: %w", err)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := os.RemoveAll(a.dir); err != nil {
		return fmt.Errorf("remove an upload: %w", err)
	}
	for _, name := range []string{a.sealFile(), a.sealFile() + sealTemp} {
		if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove a seal: %w", err)
		}
	}
	_ = os.Remove(filepath.Dir(a.dir)) // the job's directory, unless another attempt is in it
	return nil
}

// ready is writable for what changes names: the directory must be open too. The caller holds mu.
func (a *attempt) ready() error {
	if a.root == nil {
		return ErrNoLease
	}
	return a.writable()
}

// writable tells why names and bytes may not change now, or nil.
func (a *attempt) writable() error {
	switch state(a.state.Load()) {
	case receiving:
		return nil
	case discarded:
		return ErrNoLease
	default:
		return ErrSealed
	}
}

func (a *attempt) file(rel string) *upload {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.files[rel]
}

// sealedFile returns the manifest's entry of a sealed attempt.
func (a *attempt) sealedFile(rel string) (ManifestFile, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	m, ok := a.record[rel]
	return m, ok
}

// open opens rel for writing, making the file unless it is there.
func (a *attempt) open(rel string, l Lease, truncate, exclusive bool) (*upload, *os.File, error) {
	u, f, err := a.openEntry(rel, l, exclusive)
	if err != nil || !truncate {
		return u, f, err
	}
	if err := u.reset(a, f); err != nil {
		f.Close()
		return nil, nil, err
	}
	return u, f, nil
}

func (a *attempt) openEntry(rel string, l Lease, exclusive bool) (*upload, *os.File, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.ready(); err != nil {
		return nil, nil, err
	}
	u := a.files[rel]
	if u != nil {
		if exclusive {
			return nil, nil, fs.ErrExist
		}
		f, err := a.root.OpenFile(rel, os.O_RDWR, 0)
		return u, f, err
	}
	if l.MaxFiles > 0 && len(a.files) >= l.MaxFiles {
		return nil, nil, fmt.Errorf("%d files: %w", len(a.files), ErrLimit)
	}
	f, err := a.root.OpenFile(rel, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, nil, err
	}
	u = &upload{rel: rel, prefix: newPrefix()}
	a.files[rel] = u
	return u, f, nil
}

func (a *attempt) mkdir(rel string, l Lease) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.ready(); err != nil {
		return err
	}
	if l.MaxFiles > 0 && a.dirs >= l.MaxFiles {
		return fmt.Errorf("%d directories: %w", a.dirs, ErrLimit)
	}
	if err := a.root.Mkdir(rel, 0o700); err != nil {
		return err
	}
	a.dirs++
	return nil
}

// remove removes a file, or an empty directory. Files still open cannot be written any more.
func (a *attempt) remove(rel string, dir bool) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.ready(); err != nil {
		return err
	}
	u := a.files[rel]
	if dir == (u != nil) {
		return fs.ErrInvalid
	}
	if err := a.root.Remove(rel); err != nil {
		return err
	}
	if dir {
		a.dirs--
		return nil
	}
	a.forget(u)
	return nil
}

// rename gives a file another name in the same attempt. Directories keep theirs.
func (a *attempt) rename(from, to string, replace bool) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.ready(); err != nil {
		return err
	}
	u, old := a.files[from], a.files[to]
	switch {
	case u == nil:
		return fs.ErrNotExist
	case from == to:
		return nil
	case old != nil && !replace:
		return fs.ErrExist
	}
	if err := a.root.Rename(from, to); err != nil {
		return err
	}
	if old != nil {
		a.forget(old)
	}
	delete(a.files, from)
	a.files[to] = u
	u.rel = to
	return nil
}

// forget drops a file that has no name any more. The caller holds mu.
func (a *attempt) forget(u *upload) {
	if a.files[u.rel] == u {
		delete(a.files, u.rel)
	}
	u.gone.Store(true)
	a.bytes.Add(-u.size.Load())
}

// stat looks at rel, "" being the attempt's directory.
func (a *attempt) stat(rel string) (fs.FileInfo, error) {
	if rel == "" {
		rel = "."
	}
	root, err := a.opened()
	if err != nil {
		return nil, err
	}
	return root.Lstat(rel)
}

// opened returns the directory unless the attempt was discarded meanwhile.
func (a *attempt) opened() (*os.Root, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.root == nil {
		return nil, ErrNoLease
	}
	return a.root, nil
}
