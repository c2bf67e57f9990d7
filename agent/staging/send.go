package staging

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"

	"consort/shared/failpoint"
)

// resumeFrom is the size from which a file that was cut is worth asking for its offset.
const resumeFrom = 4 << 20

// local is an output being read, with its hash so far and how it looked when it was opened.
type local struct {
	f    *os.File
	want int64 // bytes it must have
	info fs.FileInfo
	sum  hash.Hash
	n    int64 // bytes read and hashed
}

func openLocal(f File) (*local, error) {
	file, err := os.Open(f.Local)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s is gone: %w", f.Local, ErrChanged)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errLocal, err)
	}
	info, err := file.Stat()
	switch {
	case err != nil:
		err = fmt.Errorf("%w: %w", errLocal, err)
	case !info.Mode().IsRegular():
		err = fmt.Errorf("%s is no regular file: %w", f.Local, ErrChanged)
	case info.Size() != f.Size:
		err = fmt.Errorf("%s has %d bytes, had %d: %w", f.Local, info.Size(), f.Size, ErrChanged)
	}
	if err != nil {
		file.Close()
		return nil, err
	}
	return &local{f: file, want: f.Size, info: info, sum: sha256.New()}, nil
}

// Read reads and hashes, and gives exactly the bytes that the file had when it was opened.
func (l *local) Read(b []byte) (int, error) {
	if l.n == l.want {
		return 0, io.EOF
	}
	b = b[:min(int64(len(b)), l.want-l.n)]
	n, err := l.f.Read(b)
	l.sum.Write(b[:n])
	l.n += int64(n)
	if errors.Is(err, io.EOF) {
		return n, fmt.Errorf("%s became shorter: %w", l.f.Name(), ErrChanged)
	}
	if err != nil {
		return n, fmt.Errorf("%w: %w", errLocal, err)
	}
	return n, nil
}

// rewind begins anew.
func (l *local) rewind() error {
	if _, err := l.f.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("%w: %w", errLocal, err)
	}
	l.sum.Reset()
	l.n = 0
	return nil
}

// skip reads and hashes n bytes without sending them, and tells whether their SHA-256 is the one given.
func (l *local) skip(ctx context.Context, n int64, sha string) (bool, error) {
	buf := make([]byte, packet)
	for l.n < n {
		if err := ctx.Err(); err != nil {
			return false, err
		}
		if _, err := l.Read(buf[:min(int64(len(buf)), n-l.n)]); err != nil {
			return false, err
		}
	}
	return l.hex() == sha, nil
}

func (l *local) hex() string { return hex.EncodeToString(l.sum.Sum(nil)) }

// finish checks that the file is as it was when it was opened, and closes it.
func (l *local) finish(remote string) (*ManifestFile, error) {
	info, err := os.Lstat(l.f.Name())
	if err != nil || !os.SameFile(info, l.info) || info.Size() != l.want || !info.ModTime().Equal(l.info.ModTime()) {
		return nil, fmt.Errorf("%s: %w", l.f.Name(), ErrChanged)
	}
	return &ManifestFile{Path: remote, Size: l.want, SHA256: l.hex()}, nil
}

// sendSmall sends a file of at most one packet in one write.
func (p *push) sendSmall(s *session, i int) error {
	s.small <- struct{}{}
	defer func() { <-s.small }()
	f := p.Files[i]
	l, err := openLocal(f)
	if err != nil {
		return err
	}
	defer l.f.Close()
	b := make([]byte, f.Size)
	if _, err := io.ReadFull(l, b); err != nil {
		return err
	}
	failpoint.Here("staging-mid-upload")
	if err := writeWhole(s, p.remote(f.Remote), b); err != nil {
		return fmt.Errorf("send %q: %w", f.Remote, answered(err))
	}
	m, err := l.finish(f.Remote)
	if err != nil {
		return err
	}
	p.progress(f.Size)
	p.done[i].Store(m)
	return nil
}

func writeWhole(s *session, remote string, b []byte) error {
	w, err := s.OpenFile(remote, os.O_WRONLY|os.O_CREATE|os.O_TRUNC)
	if err != nil {
		return err
	}
	if len(b) > 0 {
		if _, err := w.Write(b); err != nil {
			w.Close()
			return err
		}
	}
	return w.Close()
}

// sendLarge sends a file in many concurrent writes, from where the coordinator has it already.
func (p *push) sendLarge(ctx context.Context, s *session, i int) error {
	f := p.Files[i]
	l, err := openLocal(f)
	if err != nil {
		return err
	}
	defer l.f.Close()
	offset, err := p.resume(ctx, s, l, f)
	if err != nil {
		return err
	}
	p.progress(offset)
	if offset < f.Size || offset == 0 {
		if err := p.stream(s, l, f, offset); err != nil {
			return err
		}
	}
	m, err := l.finish(f.Remote)
	if err != nil {
		return err
	}
	p.done[i].Store(m)
	return nil
}

// resume returns the offset from which to send, with the local file read and hashed up to it: 0 unless the
// coordinator has the file's beginning, and no more than it has verified to be the same.
func (p *push) resume(ctx context.Context, s *session, l *local, f File) (int64, error) {
	if p.Offsets == nil || f.Size < resumeFrom {
		return 0, nil
	}
	info, err := s.Stat(p.remote(f.Remote))
	if err != nil || info.Size() == 0 || info.Size() > f.Size {
		return 0, nil // not there, or another file; an error of transport shows again at once
	}
	offset, sha, err := p.Offsets(ctx, f.Remote)
	if err != nil {
		return 0, fmt.Errorf("ask for the offset of %q: %w", f.Remote, err)
	}
	if offset <= 0 || offset > f.Size {
		return 0, nil
	}
	same, err := l.skip(ctx, offset, sha)
	if err != nil || same {
		return offset, err
	}
	return 0, l.rewind()
}

// stream sends the rest of a file from offset.
func (p *push) stream(s *session, l *local, f File, offset int64) error {
	flags := os.O_WRONLY | os.O_CREATE
	if offset == 0 {
		flags |= os.O_TRUNC
	}
	w, err := s.OpenFile(p.remote(f.Remote), flags)
	if err != nil {
		return fmt.Errorf("send %q: %w", f.Remote, answered(err))
	}
	if _, err := w.Seek(offset, io.SeekStart); err != nil {
		w.Close()
		return fmt.Errorf("send %q: %w", f.Remote, err)
	}
	r := &metered{local: l, p: p}
	_, err = w.ReadFromWithConcurrency(r, perFile)
	if cerr := w.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("send %q: %w", f.Remote, answered(err))
	}
	r.settle()
	return nil
}

// metered reports progress. What is read is sent at once and acknowledged at most perFile packets later, so
// that only bytes further back than this are reported before the end.
type metered struct {
	*local
	p      *push
	begun  bool
	start  int64
	told   int64
	halved bool
}

func (m *metered) Read(b []byte) (int, error) {
	if !m.begun {
		m.begun, m.start, m.told = true, m.n, m.n
	}
	n, err := m.local.Read(b)
	if !m.halved && m.n >= m.start+(m.want-m.start)/2 {
		m.halved = true
		failpoint.Here("staging-mid-upload")
	}
	m.report(m.n - perFile*packet)
	return n, err
}

func (m *metered) settle() { m.report(m.n) }

func (m *metered) report(upTo int64) {
	if more := upTo - m.told; more > 0 {
		m.told = upTo
		m.p.progress(more)
	}
}
