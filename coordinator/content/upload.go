package content

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"sync/atomic"
)

const (
	// reorderWindow is what a client may have in flight. After a restart the tail of a file may have holes
	// where later packets were written before earlier ones, so that this much of it is not trusted.
	reorderWindow = 32 << 20
	// readBack is how much backlog one write may be made to hash: it bounds how long a write takes,
	// whatever the client does.
	readBack = 4 << 20
	// flushEvery is after how many bytes the system is asked to begin writing them to disk.
	flushEvery = 16 << 20
)

// errRewrite refuses to change what has been hashed already.
var errRewrite = errors.New("these bytes were received already and differ: truncate or remove the file to begin anew")

// upload is one incoming file. It outlives the handles and connections that write it.
type upload struct {
	rel  string // under the attempt's mu
	size atomic.Int64
	gone atomic.Bool // removed, or replaced by a rename

	mu      sync.Mutex // over each write and its hashing, so that the hash is of what is on disk
	prefix  *prefix
	flushed int64 // bytes whose writing to disk has begun
}

// recoverUpload takes over a file of an earlier process.
func recoverUpload(rel string, size int64) *upload {
	u := &upload{rel: rel, prefix: newPrefix()}
	u.size.Store(size)
	if sure := size - reorderWindow; sure > 0 {
		u.prefix.ahead = []span{{0, sure}}
	}
	return u
}

// writeAt writes b at off and hashes it as soon as nothing is missing before it.
func (u *upload) writeAt(a *attempt, l Lease, f *os.File, b []byte, off int64) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if err := a.writable(); err != nil {
		return err
	}
	if u.gone.Load() {
		return fmt.Errorf("the file was removed: %w", fs.ErrNotExist)
	}
	b, off, err := u.skipKnown(f, b, off)
	if err != nil || len(b) == 0 {
		return err
	}
	if err := u.grow(a, l, off+int64(len(b))); err != nil {
		return err
	}
	if _, err := f.WriteAt(b, off); err != nil {
		return diskError("write", err)
	}
	if err := u.prefix.wrote(b, off); err != nil {
		return err
	}
	if u.prefix.contiguous() > u.prefix.n {
		if err := u.hashBacklog(f); err != nil {
			return err
		}
	}
	if n := u.prefix.n - u.flushed; n >= flushEvery {
		startWriteback(f, u.flushed, n)
		u.flushed += n
	}
	return nil
}

// settle waits for a write under way. After the attempt's state has changed none follows it.
func (u *upload) settle() {
	u.mu.Lock()
	defer u.mu.Unlock()
}

// skipKnown drops the part of b that is hashed already, which must not change.
func (u *upload) skipKnown(f *os.File, b []byte, off int64) ([]byte, int64, error) {
	known := min(u.prefix.n-off, int64(len(b)))
	if known <= 0 {
		return b, off, nil
	}
	have := make([]byte, known)
	if _, err := f.ReadAt(have, off); err != nil {
		return nil, 0, fmt.Errorf("read back what was written: %w", err)
	}
	if !bytes.Equal(have, b[:known]) {
		return nil, 0, errRewrite
	}
	return b[known:], off + known, nil
}

// grow accounts for the file reaching at least end bytes.
func (u *upload) grow(a *attempt, l Lease, end int64) error {
	more := end - u.size.Load()
	if more <= 0 {
		return nil
	}
	if l.MaxFileBytes > 0 && end > l.MaxFileBytes {
		return fmt.Errorf("a file of %d bytes, at most %d: %w", end, l.MaxFileBytes, ErrLimit)
	}
	if total := a.bytes.Add(more); l.MaxBytes > 0 && total > l.MaxBytes {
		a.bytes.Add(-more)
		return fmt.Errorf("%d bytes in all, at most %d: %w", total, l.MaxBytes, ErrLimit)
	}
	u.size.Store(end)
	return nil
}

// hashBacklog hashes a bounded part of what is contiguous.
func (u *upload) hashBacklog(f *os.File) error {
	buf := make([]byte, copyBuffer)
	for range readBack / copyBuffer {
		if more, err := u.prefix.catchUp(f, buf); err != nil || !more {
			return err
		}
	}
	return nil
}

// hashTo hashes what is contiguous, or, with all, everything that is on disk.
func (u *upload) hashTo(ctx context.Context, f *os.File, all bool) error {
	if size := u.size.Load(); all && u.prefix.n < size {
		u.prefix.ahead = []span{{u.prefix.n, size}}
	}
	if u.prefix.contiguous() == u.prefix.n {
		return nil
	}
	buf := make([]byte, copyBuffer)
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		if more, err := u.prefix.catchUp(f, buf); err != nil || !more {
			return err
		}
	}
}

// reset empties the file, for a client that begins anew.
func (u *upload) reset(a *attempt, f *os.File) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if err := a.writable(); err != nil {
		return err
	}
	if u.size.Load() == 0 {
		return nil
	}
	if err := f.Truncate(0); err != nil {
		return fmt.Errorf("empty the file: %w", err)
	}
	if !u.gone.Load() {
		a.bytes.Add(-u.size.Load())
	}
	u.size.Store(0)
	u.prefix, u.flushed = newPrefix(), 0
	return nil
}

// verified tells how many bytes are here without a gap, and their SHA-256.
func (u *upload) verified(ctx context.Context, root *os.Root, rel string) (int64, string, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.prefix.contiguous() > u.prefix.n {
		f, err := root.Open(rel)
		if err != nil {
			return 0, "", fmt.Errorf("open an uploaded file: %w", err)
		}
		defer f.Close()
		if err := u.hashTo(ctx, f, false); err != nil {
			return 0, "", err
		}
	}
	return u.prefix.n, u.prefix.hex(), nil
}
