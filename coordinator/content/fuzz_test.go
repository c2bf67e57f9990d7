package content

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pkg/sftp"
)

// oneLease gives one attempt to everybody.
type oneLease struct{ job string }

func (l oneLease) UploadLease(_ context.Context, _, job string, epoch uint64) (Lease, error) {
	if job != l.job || epoch != 1 {
		return Lease{}, ErrNoLease
	}
	return Lease{Job: job, Epoch: 1, MaxFiles: 10, MaxBytes: 1 << 20, MaxFileBytes: 1 << 19}, nil
}

// pipe gives the server a client's bytes and swallows the answers.
type pipe struct{ io.Reader }

func (pipe) Write(b []byte) (int, error) { return len(b), nil }
func (pipe) Close() error                { return nil }

// lockstep gives one message after the other, each when the one before was answered, so that handles are
// used after they were given out.
type lockstep struct {
	rest     []byte
	left     int
	answered chan struct{}
}

func (l *lockstep) Read(b []byte) (int, error) {
	if l.left == 0 && len(l.rest) >= 4 {
		l.left = int(min(4+int64(binary.BigEndian.Uint32(l.rest)), int64(len(l.rest))))
		select {
		case <-l.answered:
		case <-time.After(20 * time.Millisecond): // the first, or one that has no answer
		}
	}
	n := copy(b, l.rest[:min(max(l.left, 1), len(l.rest))])
	l.rest, l.left = l.rest[n:], max(l.left-n, 0)
	if n == 0 {
		return 0, io.EOF
	}
	return n, nil
}

func (l *lockstep) Write(b []byte) (int, error) {
	select {
	case l.answered <- struct{}{}:
	default:
	}
	return len(b), nil
}

func (l *lockstep) Close() error { return nil }

// message is one SFTP request: a type, an id, and fields of which strings carry their length.
func message(kind byte, fields ...any) []byte {
	b := []byte{kind}
	if kind != 1 { // SSH_FXP_INIT has a version instead of an id
		b = append(b, 0, 0, 0, 7)
	}
	for _, f := range fields {
		switch f := f.(type) {
		case string:
			b = append(binary.BigEndian.AppendUint32(b, uint32(len(f))), f...)
		case int:
			b = binary.BigEndian.AppendUint32(b, uint32(f))
		case int64:
			b = binary.BigEndian.AppendUint64(b, uint64(f))
		}
	}
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(b))), b...)
}

// TestGuard: reads and writes with handles that were not given out, or are closed, end the session.
func TestGuard(t *testing.T) {
	ahead := message(6, "1", int64(0), "x")
	for name, c := range map[string]struct {
		in    [][]byte
		given string
		err   error
	}{
		"guessed":       {[][]byte{message(1, 3), ahead}, "", errHandle},
		"another":       {[][]byte{message(1, 3), ahead}, "2", errHandle},
		"given":         {[][]byte{message(1, 3), ahead, ahead, message(4, "1")}, "1", io.EOF},
		"closed":        {[][]byte{message(4, "1"), ahead}, "1", errHandle},
		"read":          {[][]byte{message(5, "1", int64(0), 9)}, "", errHandle},
		"lying length":  {[][]byte{{0, 0, 0, 9, 6, 0, 0, 0, 1, 0, 0, 0, 9, 0}}, "1", errHandle},
		"huge":          {[][]byte{{0, 0, 0, 99, 6, 0, 0, 0, 1, 255, 255, 255, 255}}, "1", errHandle},
		"cut":           {[][]byte{ahead[:3]}, "1", io.ErrUnexpectedEOF},
		"short message": {[][]byte{{0, 0, 0, 1, 6}}, "1", io.EOF},
	} {
		all := bytes.Join(c.in, nil)
		g := newGuard(pipe{bytes.NewReader(all)})
		if c.given != "" {
			list := message(104, "a list that comes in two calls, the second like a handle: \x00\x00\x00\x09f1234")
			for _, b := range [][]byte{message(fxpHandle, c.given), list[:len(list)-9], list[len(list)-9:]} {
				if _, err := g.Write(b); err != nil {
					t.Fatal(err)
				}
			}
		}
		var err error
		var out, b []byte = nil, make([]byte, 5)
		for n := 0; err == nil; {
			n, err = g.Read(b)
			out = append(out, b[:n]...)
		}
		if len(g.handles) > 1 {
			t.Errorf("%s: handles %v", name, g.handles)
		}
		if err != c.err || !bytes.HasPrefix(all, out) || err == io.EOF && len(out) != len(all) {
			t.Errorf("%s: %d of %d bytes, then %v", name, len(out), len(all), err)
		}
	}
}

// FuzzSFTP feeds a client's raw bytes to the handlers. Whatever comes, nothing outside the attempt's
// directory changes, its limits hold, and neither links nor modes appear inside.
func FuzzSFTP(f *testing.F) {
	const job = "j01arz3ndektsv4rrffq69g5fav"
	const file = "/" + job + "/1/f"
	start := message(1, 3)
	for _, seed := range [][][]byte{
		{start, message(3, file, 0x1a, 0), message(6, "1", int64(0), "hello"), message(6, "1", int64(1<<40), "x"), message(4, "1")},
		{start, message(3, file, 0x1a, 0), message(6, "1", int64(9), "b"), message(6, "1", int64(0), "123456789"), message(8, "1"), message(10, "1", 1, int64(3))},
		{start, message(20, "/etc/passwd", "/"+job+"/1/link"), message(200, "hardlink@openssh.com", file, "/"+job+"/1/h"), message(19, file)},
		{start, message(14, "/"+job+"/1/d", 0), message(18, file, "/"+job+"/1/d/../../x"), message(15, "/"+job+"/1/d"), message(13, file)},
		{start, message(11, "/"), message(12, "1"), message(17, "/"+job+"/1/../.."), message(16, ".."), message(9, file, 4, 0o4777)},
	} {
		f.Add(bytes.Join(seed, nil))
	}
	log := slog.New(slog.DiscardHandler)
	f.Fuzz(func(t *testing.T, b []byte) {
		dir := t.TempDir()
		for _, d := range []string{"tmp", "sha256", "incoming"} { // cheaper than Open
			if err := os.Mkdir(filepath.Join(dir, d), 0o700); err != nil {
				t.Fatal(err)
			}
		}
		store := &Store{dir: dir, space: newSpace(Floors{}, dir), log: log}
		us := NewUploads(store, oneLease{job}, log)
		defer us.Close()
		srv := &Server{cfg: ServerConfig{Uploads: us, Logger: log, MaxHandles: 8, Recheck: time.Second}}
		s := &session{server: srv, site: "here", ctx: t.Context(), log: log}
		_ = sftp.NewRequestServer(newGuard(&lockstep{rest: b, answered: make(chan struct{}, 1)}), sftp.Handlers{FileGet: s, FilePut: s, FileCmd: s, FileList: s}, sftp.WithRSAllocator()).Serve()

		inside := filepath.Join(dir, "incoming", job)
		var total int64
		err := filepath.Walk(dir, func(p string, info os.FileInfo, err error) error {
			if err != nil {
				return err
			}
			if !info.IsDir() && (!strings.HasPrefix(p, inside+"/1/") || info.Mode() != 0o600) || info.IsDir() && info.Mode().Perm() != 0o700 && p != dir {
				t.Errorf("%s has mode %v", p, info.Mode())
			}
			if !info.IsDir() {
				total += info.Size()
			}
			return nil
		})
		if err != nil || total > 1<<20 {
			t.Errorf("%d bytes, %v", total, err)
		}
	})
}
