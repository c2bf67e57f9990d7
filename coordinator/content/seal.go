package content

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"consort/shared/failpoint"
	"consort/shared/ids"
)

// sealWorkers sync files at the same time: a file system commits together what waits together, so that
// many small files take a fraction of the time they take one after the other.
const sealWorkers = 64

// ManifestFile is one file as the agent says it sent it.
type ManifestFile struct {
	Path   string `json:"path"` // below the attempt's directory, as CheckPath allows
	Size   int64  `json:"size"` // bytes
	SHA256 string `json:"sha256"`
}

// Problem is what is wrong with one file of a manifest.
type Problem struct {
	Path string // as in the manifest
	Kind ProblemKind
	Want string // of the manifest: a size or a SHA-256
	Have string // what is here; empty when the file is missing
}

// ProblemKind says how a file differs from the manifest.
type ProblemKind string

// The ways in which a file may differ.
const (
	Missing   ProblemKind = "missing"
	WrongSize ProblemKind = "size"
	WrongHash ProblemKind = "hash"
)

// SealError lists the files that differ from the manifest. Nothing was sealed; the agent pushes these
// files again and repeats the seal.
type SealError struct{ Problems []Problem }

func (e *SealError) Error() string {
	const show = 3
	var b strings.Builder
	fmt.Fprintf(&b, "%d files differ from the manifest:", len(e.Problems))
	for i, p := range e.Problems {
		if i == show {
			b.WriteString(" …")
			break
		}
		fmt.Fprintf(&b, " %q: %s, want %s, have %q;", p.Path, p.Kind, p.Want, p.Have)
	}
	return strings.TrimSuffix(b.String(), ";")
}

// ErrManifest says that a manifest cannot be right whatever was uploaded: a bad path, a path twice, a
// negative size or a malformed SHA-256.
var ErrManifest = errors.New("malformed manifest")

// Seal verifies an attempt's files against the manifest, makes them durable and moves them into the store.
// When it returns nil they are there, safe from a power cut, and the attempt takes no more uploads. Files
// outside the manifest stay behind for Discard.
//
// It may be repeated after any failure and after a crash at any point, and gives the same answer. It fails
// with ErrManifest, with ErrSealed when another manifest was sealed before, with a *SealError listing what
// to push again, or with an error of disk or context after which it should just be repeated.
//
// Only files that this attempt uploaded count: that the store happens to have the bytes proves nothing,
// or a site could name the SHA-256 of somebody else's result to get at it.
func (us *Uploads) Seal(ctx context.Context, job string, epoch uint64, manifest []ManifestFile) error {
	failpoint.Here("content-after-rename-before-seal")
	want, err := checkManifest(manifest)
	if err != nil {
		return err
	}
	a, err := us.attempt(attemptID{job, epoch})
	if err != nil {
		return err
	}
	a.sealing.Lock()
	defer a.sealing.Unlock()
	if a.is(discarded) {
		return ErrNoLease
	}
	if a.is(sealed) {
		if !maps.Equal(want, a.record) {
			return fmt.Errorf("with another manifest: %w", ErrSealed)
		}
		return us.move(a, manifest)
	}
	a.setState(sealing)
	if err := a.verifyAll(ctx, manifest); err != nil {
		a.setState(receiving)
		return err
	}
	if err := writeSeal(a.sealFile(), manifest); err != nil {
		a.setState(receiving)
		return err
	}
	a.mu.Lock()
	a.record = want
	a.mu.Unlock()
	a.setState(sealed)
	failpoint.Here("content-after-seal-before-move")
	return us.move(a, manifest)
}

func checkManifest(files []ManifestFile) (map[string]ManifestFile, error) {
	want := make(map[string]ManifestFile, len(files))
	for _, f := range files {
		if err := CheckPath(f.Path); err != nil {
			return nil, fmt.Errorf("%w: %q: %w", ErrManifest, f.Path, err)
		}
		if f.Size < 0 || !ids.ValidSHA256(f.SHA256) {
			return nil, fmt.Errorf("%w: %q: size %d, SHA-256 %q", ErrManifest, f.Path, f.Size, f.SHA256)
		}
		if _, twice := want[f.Path]; twice {
			return nil, fmt.Errorf("%w: %q is there twice", ErrManifest, f.Path)
		}
		want[f.Path] = f
	}
	return want, nil
}

// directories are all directories that hold one of the files, in no order.
func directories(files []ManifestFile) []string {
	dirs := map[string]bool{".": true}
	for _, f := range files {
		for d := path.Dir(f.Path); !dirs[d]; d = path.Dir(d) {
			dirs[d] = true
		}
	}
	return slices.Collect(maps.Keys(dirs))
}

// setState changes the state under mu, so that operations on names are before or after it.
func (a *attempt) setState(s state) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.state.Store(int32(s))
}

// verifyAll compares every file with the manifest and makes files and directories durable.
func (a *attempt) verifyAll(ctx context.Context, manifest []ManifestFile) error {
	var mu sync.Mutex
	var problems []Problem
	err := parallel(manifest, func(m ManifestFile) error {
		p, err := a.verify(ctx, m)
		if p != nil {
			mu.Lock()
			defer mu.Unlock()
			problems = append(problems, *p)
		}
		return err
	})
	if err != nil {
		return err
	}
	if len(problems) > 0 {
		return &SealError{Problems: problems}
	}
	return parallel(directories(manifest), func(d string) error { return syncDir(filepath.Join(a.dir, d)) })
}

// verify compares one file with the manifest and makes it durable. It waits for a write under way.
func (a *attempt) verify(ctx context.Context, m ManifestFile) (*Problem, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	u := a.file(m.Path)
	if u == nil {
		return &Problem{Path: m.Path, Kind: Missing, Want: m.SHA256}, nil
	}
	root, err := a.opened()
	if err != nil {
		return nil, err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	f, err := root.Open(m.Path)
	if err != nil {
		return nil, fmt.Errorf("open an uploaded file: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("look at an uploaded file: %w", err)
	}
	if info.Size() != m.Size {
		return &Problem{m.Path, WrongSize, fmt.Sprint(m.Size), fmt.Sprint(info.Size())}, nil
	}
	if err := u.hashTo(ctx, f, true); err != nil {
		return nil, err
	}
	if got := u.prefix.hex(); got != m.SHA256 {
		return &Problem{m.Path, WrongHash, m.SHA256, got}, nil
	}
	if err := f.Sync(); err != nil {
		return nil, diskError("sync an uploaded file", err)
	}
	return nil, nil
}

// move renames the verified files into the store. A file that is in the store and no longer here was
// moved by an earlier try; the seal vouches that it was this attempt's. Should the store have lost it
// since, the seal is undone and the file reported missing.
func (us *Uploads) move(a *attempt, manifest []ManifestFile) error {
	var mu sync.Mutex
	var problems []Problem
	shards := make(map[string]bool)
	err := parallel(manifest, func(m ManifestFile) error {
		there, err := us.moveOne(a, m)
		if err != nil {
			return err
		}
		failpoint.Here("content-mid-move")
		mu.Lock()
		defer mu.Unlock()
		if there {
			shards[us.store.shard(m.SHA256)] = true
		} else {
			problems = append(problems, Problem{Path: m.Path, Kind: Missing, Want: m.SHA256})
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := parallel(slices.Collect(maps.Keys(shards)), syncDir); err != nil {
		return err
	}
	if len(problems) > 0 {
		return errors.Join(a.unseal(), &SealError{Problems: problems})
	}
	return nil
}

// moveOne moves one file and tells whether it is in the store now.
func (us *Uploads) moveOne(a *attempt, m ManifestFile) (bool, error) {
	err := us.store.place(filepath.Join(a.dir, m.Path), m.SHA256)
	if errors.Is(err, fs.ErrNotExist) {
		b, err := us.store.Stat(m.SHA256)
		if errors.Is(err, ErrNotFound) {
			return false, nil
		}
		return b.Size == m.Size, err
	}
	if err != nil {
		return false, err
	}
	a.moved(m.Path)
	return true, nil
}

// parallel calls fn for every item with several workers until one fails.
func parallel[T any](items []T, fn func(T) error) error {
	var g errgroup.Group
	var failed atomic.Bool
	g.SetLimit(sealWorkers)
	for _, item := range items {
		if failed.Load() {
			break
		}
		g.Go(func() error {
			err := fn(item)
			if err != nil {
				failed.Store(true)
			}
			return err
		})
	}
	return g.Wait()
}

// moved forgets a file that is in the store now.
func (a *attempt) moved(rel string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if u := a.files[rel]; u != nil {
		a.forget(u)
	}
}

// unseal takes the seal back, so that what the store lost can be pushed again.
func (a *attempt) unseal() error {
	if err := os.Remove(a.sealFile()); err != nil {
		return fmt.Errorf("take a seal back: %w", err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.record = nil
	a.state.Store(int32(receiving))
	return syncDir(filepath.Dir(a.dir))
}

// sealDocument is the seal on disk.
type sealDocument struct {
	Version int            `json:"version"` // 1
	Files   []ManifestFile `json:"files"`
}

// writeSeal writes the seal so that after a crash it is there whole or not at all, and makes the names of
// the attempt's and the job's directory durable with it.
func writeSeal(name string, manifest []ManifestFile) error {
	f, err := os.OpenFile(name+sealTemp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return diskError("write the seal", err)
	}
	defer f.Close()
	w := bufio.NewWriter(f)
	if err := json.NewEncoder(w).Encode(sealDocument{Version: 1, Files: manifest}); err != nil {
		return diskError("write the seal", err)
	}
	if err := w.Flush(); err != nil {
		return diskError("write the seal", err)
	}
	if err := f.Sync(); err != nil {
		return diskError("sync the seal", err)
	}
	if err := os.Rename(name+sealTemp, name); err != nil {
		return fmt.Errorf("write the seal: %w", err)
	}
	if err := syncDir(filepath.Dir(name)); err != nil {
		return err
	}
	return syncDir(filepath.Dir(filepath.Dir(name)))
}

// readSeal reads a seal; nil without an error when there is none.
func readSeal(name string) (map[string]ManifestFile, error) {
	b, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read a seal: %w", err)
	}
	var doc sealDocument
	if err := json.Unmarshal(b, &doc); err != nil {
		return nil, fmt.Errorf("read the seal %s: %w", filepath.Base(name), err)
	}
	if doc.Version != 1 {
		return nil, fmt.Errorf("the seal %s has version %d, this program knows 1", filepath.Base(name), doc.Version)
	}
	return checkManifest(doc.Files)
}
