package replica

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"consort/shared/atomicfile"
)

// FormatVersion is the version of the layout of data directories that this program writes. It grows with
// each change that an older program could not read.
const FormatVersion = 1

var (
	// ErrLocked means that another process uses the data directory.
	ErrLocked = errors.New("data directory is in use by another process")
	// ErrForeign means that the data directory is of another cluster or node, or holds something else.
	ErrForeign = errors.New("data directory belongs to something else")
	// ErrNewer means that the data directory was written by a newer version of the program.
	ErrNewer = errors.New("data directory was written by a newer version of consort")
	// ErrCorrupt means that the data directory's FORMAT file cannot be read.
	ErrCorrupt = errors.New("data directory is corrupt")
)

// Identity is whose data a directory holds.
type Identity struct {
	Cluster string `json:"cluster"`
	Node    string `json:"node"`
}

// format is the content of a FORMAT file.
type format struct {
	Format int `json:"format"`
	Identity
}

// Claim is the exclusive use of a data directory.
type Claim struct{ lock *os.File }

// ClaimDir takes a data directory into exclusive use, until Release or the end of the process. A new or
// empty directory is made the identity's by a FORMAT file; another must have one of the same identity. On
// error the directory is as it was.
func ClaimDir(dir string, id Identity) (*Claim, error) {
	if id.Cluster == "" || id.Node == "" {
		return nil, errors.New("claim a data directory: ids of cluster and node are needed")
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make data directory: %w", err)
	}
	entries, err := os.ReadDir(dir) // before the lock file makes it non-empty
	if err != nil {
		return nil, fmt.Errorf("read data directory: %w", err)
	}
	lock, err := lockDir(dir)
	if err != nil {
		return nil, err
	}
	if err := checkFormat(dir, id, onlyLock(entries)); err != nil {
		lock.Close()
		return nil, err
	}
	return &Claim{lock}, nil
}

// Release gives the directory free. It may be repeated.
func (c *Claim) Release() error {
	if err := c.lock.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
		return fmt.Errorf("release data directory: %w", err)
	}
	return nil
}

func lockDir(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "LOCK"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock of data directory: %w", err)
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err == nil {
		return f, nil
	}
	f.Close()
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil, fmt.Errorf("%w: %s; stop that process or choose another directory", ErrLocked, dir)
	}
	return nil, fmt.Errorf("lock data directory %s: %w", dir, err)
}

// onlyLock tells whether a directory holds nothing, or no more than a lock left by a start that went no
// further.
func onlyLock(entries []os.DirEntry) bool {
	return len(entries) == 0 || len(entries) == 1 && entries[0].Name() == "LOCK"
}

func checkFormat(dir string, id Identity, empty bool) error {
	path := filepath.Join(dir, "FORMAT")
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		if !empty {
			return fmt.Errorf("%w: %s is not empty and has no FORMAT file; choose an empty directory, or restore the file from a backup", ErrForeign, dir)
		}
		return writeFormat(path, id)
	}
	if err != nil {
		return fmt.Errorf("read format of data directory: %w", err)
	}
	got, err := parseFormat(data)
	if err != nil {
		return fmt.Errorf("%s: %w; restore the file from a backup", path, err)
	}
	if got.Identity != id {
		return fmt.Errorf("%w: %s is of node %q of cluster %q, this is node %q of cluster %q; choose another directory or correct the configuration",
			ErrForeign, dir, got.Node, got.Cluster, id.Node, id.Cluster)
	}
	return nil
}

// ReadIdentity returns whose data a directory holds. The error matches fs.ErrNotExist if it is nobody's yet.
func ReadIdentity(dir string) (Identity, error) {
	path := filepath.Join(dir, "FORMAT")
	data, err := os.ReadFile(path)
	if err != nil {
		return Identity{}, fmt.Errorf("read format of data directory: %w", err)
	}
	f, err := parseFormat(data)
	if err != nil {
		return Identity{}, fmt.Errorf("%s: %w", path, err)
	}
	return f.Identity, nil
}

func writeFormat(path string, id Identity) error {
	data, err := json.MarshalIndent(format{FormatVersion, id}, "", "  ")
	if err != nil {
		return fmt.Errorf("encode format of data directory: %w", err)
	}
	return atomicfile.Create(path, append(data, '\n'), 0o600)
}

func parseFormat(data []byte) (format, error) {
	var version struct{ Format int }
	if err := json.Unmarshal(data, &version); err != nil || version.Format < 1 {
		return format{}, fmt.Errorf("%w: not a FORMAT file", ErrCorrupt)
	}
	if version.Format > FormatVersion {
		return format{}, fmt.Errorf("%w: format %d, this program knows up to %d; upgrade it", ErrNewer, version.Format, FormatVersion)
	}
	var f format
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&f); err != nil || f.Cluster == "" || f.Node == "" {
		return format{}, fmt.Errorf("%w: not a FORMAT file of format %d", ErrCorrupt, version.Format)
	}
	return f, nil
}
