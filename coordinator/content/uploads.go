package content

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"consort/shared/ids"
)

var (
	// ErrNoLease says that a site may not upload to an attempt: it does not hold the lease, the attempt
	// has ended or never was. One error for all, so that a site learns nothing of others' jobs.
	ErrNoLease = errors.New("no upload lease for this job and epoch")
	// ErrSealed says that an attempt's files are being sealed or are sealed, so that nothing of them can
	// change any more.
	ErrSealed = errors.New("the attempt's files are sealed")
	// ErrLimit says that an upload would exceed the files or bytes its lease allows, or a limit of the server.
	ErrLimit = errors.New("upload limit reached")
)

// Lease is what the holder of an attempt's upload lease may do. A limit of zero or less does not bind.
type Lease struct {
	Job          string
	Epoch        uint64
	MaxFiles     int   // files, and as many directories
	MaxBytes     int64 // of all files together
	MaxFileBytes int64 // of one file
}

// Leases tells who may upload where. UploadLease returns ErrNoLease unless the site holds the attempt's
// lease now. It is asked at every operation on names and once a second by writes, so it should answer
// from memory or from the local state.
type Leases interface {
	UploadLease(ctx context.Context, site, job string, epoch uint64) (Lease, error)
}

// Uploads keeps the attempts' incoming directories. Its methods may be called concurrently.
type Uploads struct {
	store  *Store
	leases Leases
	log    *slog.Logger

	mu       sync.Mutex
	attempts map[attemptID]*attempt
}

// NewUploads returns the uploads of the store, among them those an earlier process left behind.
func NewUploads(store *Store, leases Leases, logger *slog.Logger) *Uploads {
	return &Uploads{store: store, leases: leases, log: logger, attempts: make(map[attemptID]*attempt)}
}

// Close releases the open directories. Uploads stay on disk and go on with the next process.
func (us *Uploads) Close() error {
	us.mu.Lock()
	defer us.mu.Unlock()
	var errs []error
	for id, a := range us.attempts {
		errs = append(errs, a.close())
		delete(us.attempts, id)
	}
	return errors.Join(errs...)
}

// leased returns the attempt if the site holds its lease.
func (us *Uploads) leased(ctx context.Context, site string, t target) (*attempt, Lease, error) {
	l, err := us.leases.UploadLease(ctx, site, t.job, t.epoch)
	if err != nil {
		return nil, Lease{}, err
	}
	a, err := us.attempt(attemptID{t.job, t.epoch})
	return a, l, err
}

// attempt returns the attempt, making its directory or reading what an earlier process left in it.
func (us *Uploads) attempt(id attemptID) (*attempt, error) {
	if !ids.ValidJob(id.job) || id.epoch == 0 {
		return nil, fmt.Errorf("attempt %q %d: %w", id.job, id.epoch, ErrNoLease)
	}
	us.mu.Lock()
	a := us.attempts[id]
	if a == nil {
		a = &attempt{id: id, dir: id.dirIn(us.store.incomingDir())}
		us.attempts[id] = a
	}
	us.mu.Unlock()
	return a, a.load()
}

// Offset tells how much of an attempt's file is here without a gap, with the SHA-256 of these bytes: a
// client resumes there when its own bytes have the same hash, and starts anew otherwise. A file that is
// not here has offset 0. After a restart the bytes are read from disk again.
func (us *Uploads) Offset(ctx context.Context, job string, epoch uint64, path string) (int64, string, error) {
	if err := CheckPath(path); err != nil {
		return 0, "", err
	}
	a, err := us.attempt(attemptID{job, epoch})
	if err != nil {
		return 0, "", err
	}
	if m, ok := a.sealedFile(path); ok {
		return m.Size, m.SHA256, nil
	}
	u := a.file(path)
	if u == nil {
		return 0, newPrefix().hex(), nil
	}
	root, err := a.opened()
	if err != nil {
		return 0, "", err
	}
	return u.verified(ctx, root, path)
}

// Recheck makes every open file of an attempt ask for its lease again before the next write. Call it when
// a lease was taken away, so that this takes effect at once and not only within a second.
func (us *Uploads) Recheck(job string, epoch uint64) {
	us.mu.Lock()
	defer us.mu.Unlock()
	if a := us.attempts[attemptID{job, epoch}]; a != nil {
		a.generation.Add(1)
	}
}

// Discard removes what an attempt has uploaded and not sealed into the store, and its seal. Open files of
// it cannot be written any more. To discard what is not there is no error.
func (us *Uploads) Discard(ctx context.Context, job string, epoch uint64) error {
	id := attemptID{job, epoch}
	if !ids.ValidJob(job) || epoch == 0 {
		return nil
	}
	us.mu.Lock()
	a := us.attempts[id]
	if a == nil { // not loaded: keep others from loading it while it is removed
		a = &attempt{id: id, dir: id.dirIn(us.store.incomingDir())}
		us.attempts[id] = a
	}
	us.mu.Unlock()

	a.sealing.Lock()
	defer a.sealing.Unlock()
	err := a.discard(ctx)
	us.mu.Lock()
	defer us.mu.Unlock()
	if us.attempts[id] == a {
		delete(us.attempts, id)
	}
	return err
}

// Sweep discards every attempt on disk that keep does not want, such as those whose lease is gone.
func (us *Uploads) Sweep(ctx context.Context, keep func(job string, epoch uint64) bool) error {
	found, err := us.onDisk()
	if err != nil {
		return err
	}
	for _, id := range found {
		if keep(id.job, id.epoch) {
			continue
		}
		us.log.InfoContext(ctx, "discarding an upload without a lease", "job", id.job, "epoch", id.epoch)
		if err := us.Discard(ctx, id.job, id.epoch); err != nil {
			return err
		}
	}
	return nil
}

// onDisk lists the attempts that have a directory or a seal.
func (us *Uploads) onDisk() ([]attemptID, error) {
	jobs, err := os.ReadDir(us.store.incomingDir())
	if err != nil {
		return nil, fmt.Errorf("list uploads: %w", err)
	}
	var found []attemptID
	seen := make(map[attemptID]bool)
	for _, j := range jobs {
		if !ids.ValidJob(j.Name()) {
			continue
		}
		entries, err := os.ReadDir(filepath.Join(us.store.incomingDir(), j.Name()))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("list uploads: %w", err)
		}
		for _, e := range entries {
			number := strings.TrimSuffix(strings.TrimSuffix(e.Name(), sealTemp), sealSuffix)
			epoch, err := strconv.ParseUint(number, 10, 64)
			id := attemptID{j.Name(), epoch}
			if err == nil && epoch > 0 && !seen[id] {
				seen[id] = true
				found = append(found, id)
			}
		}
	}
	return found, nil
}
