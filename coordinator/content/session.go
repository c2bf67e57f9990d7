package content

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"

	"consort/shared/failpoint"
)

// maxSessions of one connection: a client needs one, or a few to go beyond one channel's window.
const maxSessions = 8

// session is one site's connection: it answers the SFTP requests of all its channels.
type session struct {
	server *Server
	site   string
	ctx    context.Context // ends with the connection
	log    *slog.Logger

	sessions atomic.Int32
	handles  atomic.Int32
}

func (s *session) begin() bool {
	if s.sessions.Add(1) > maxSessions {
		s.sessions.Add(-1)
		return false
	}
	return true
}

func (s *session) end() { s.sessions.Add(-1) }

// serve waits for the request of the subsystem sftp on a new channel and serves it. All else is refused.
func (s *session) serve(nch ssh.NewChannel) {
	ch, reqs, err := nch.Accept()
	if err != nil {
		return
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	defer ch.Close()
	start := make(chan struct{})
	wg.Go(func() {
		started := false
		for r := range reqs {
			ok := !started && r.Type == "subsystem" && string(r.Payload) == "\x00\x00\x00\x04sftp"
			if r.WantReply && r.Reply(ok, nil) != nil {
				return
			}
			if ok {
				started = true
				close(start)
			}
		}
		if !started {
			close(start) // the client left without starting anything: serving ends at once
		}
	})
	<-start
	srv := sftp.NewRequestServer(newGuard(ch), sftp.Handlers{FileGet: s, FilePut: s, FileCmd: s, FileList: s}, sftp.WithRSAllocator())
	err = srv.Serve()
	if err != nil && !errors.Is(err, io.EOF) {
		s.log.DebugContext(s.ctx, "SFTP session ended", "err", err)
		return
	}
	_, _ = ch.SendRequest("exit-status", false, []byte{0, 0, 0, 0})
}

// lookup parses a path and returns the attempt if the site holds its lease.
func (s *session) lookup(p string) (*attempt, Lease, target, error) {
	t, err := parseTarget(p)
	if err != nil {
		return nil, Lease{}, t, err
	}
	if t.epoch == 0 {
		return nil, Lease{}, t, sftp.ErrSSHFxPermissionDenied
	}
	a, l, err := s.server.cfg.Uploads.leased(s.ctx, s.site, t)
	return a, l, t, err
}

// below is lookup for what must name something below the attempt's directory.
func (s *session) below(p string) (*attempt, Lease, string, error) {
	a, l, t, err := s.lookup(p)
	if err == nil && t.rel == "" {
		err = sftp.ErrSSHFxPermissionDenied
	}
	return a, l, t.rel, err
}

// Fileread refuses: uploads are not read back.
func (s *session) Fileread(*sftp.Request) (io.ReaderAt, error) {
	return nil, sftp.ErrSSHFxPermissionDenied
}

// Filewrite opens a file for writing. Whatever the flags, what was verified of it is kept unless it is truncated.
func (s *session) Filewrite(r *sftp.Request) (io.WriterAt, error) {
	if err := s.takeHandle(); err != nil {
		return nil, s.refused(r, err)
	}
	h, err := s.openFile(r)
	if err != nil {
		s.handles.Add(-1)
		return nil, s.refused(r, err)
	}
	return h, nil
}

// takeHandle counts one more open file or directory. Who closes it counts down.
func (s *session) takeHandle() error {
	if s.handles.Add(1) > int32(s.server.cfg.MaxHandles) {
		s.handles.Add(-1)
		return fmt.Errorf("%d files are open: %w", s.server.cfg.MaxHandles, ErrLimit)
	}
	return nil
}

func (s *session) openFile(r *sftp.Request) (*handle, error) {
	a, l, rel, err := s.below(r.Filepath)
	if err != nil {
		return nil, err
	}
	if err := s.server.cfg.Uploads.store.space.checkSoft(); err != nil {
		return nil, err
	}
	flags := r.Pflags()
	generation := a.generation.Load()
	u, f, err := a.open(rel, l, flags.Trunc, flags.Excl)
	if err != nil {
		return nil, err
	}
	return &handle{s: s, a: a, u: u, f: f, r: r, lease: l, generation: generation, checked: time.Now()}, nil
}

// Filecmd does what changes names, and refuses links and attributes.
func (s *session) Filecmd(r *sftp.Request) error {
	switch r.Method {
	case "Mkdir":
		a, l, rel, err := s.below(r.Filepath)
		if err == nil {
			err = a.mkdir(rel, l)
		}
		return s.refused(r, err)
	case "Remove", "Rmdir":
		a, _, rel, err := s.below(r.Filepath)
		if err == nil {
			err = a.remove(rel, r.Method == "Rmdir")
		}
		return s.refused(r, err)
	case "Rename":
		return s.rename(r, false)
	default:
		return s.refused(r, sftp.ErrSSHFxPermissionDenied)
	}
}

// PosixRename renames over a file that is there.
func (s *session) PosixRename(r *sftp.Request) error { return s.rename(r, true) }

func (s *session) rename(r *sftp.Request, replace bool) error {
	a, _, from, err := s.below(r.Filepath)
	if err != nil {
		return s.refused(r, err)
	}
	b, _, to, err := s.below(r.Target)
	if err == nil && a != b {
		err = sftp.ErrSSHFxPermissionDenied
	}
	if err == nil {
		err = a.rename(from, to, replace)
	}
	return s.refused(r, err)
}

// Filelist looks at one name or lists a directory. The directories above an attempt exist for everybody and
// are empty, so that they say nothing of others' jobs.
func (s *session) Filelist(r *sftp.Request) (sftp.ListerAt, error) {
	if r.Method == "Readlink" {
		return nil, s.refused(r, sftp.ErrSSHFxPermissionDenied)
	}
	if t, err := parseTarget(r.Filepath); err == nil && t.epoch == 0 {
		if r.Method == "List" {
			return &oneName{}, nil
		}
		return &oneName{info: aboveAttempts(path.Base(r.Filepath))}, nil
	}
	a, _, t, err := s.lookup(r.Filepath)
	if errors.Is(err, ErrBadPath) {
		err = fs.ErrNotExist
	}
	if err != nil {
		return nil, s.refused(r, err)
	}
	if r.Method == "List" {
		l, err := s.newLister(a, t.rel)
		return l, s.refused(r, err)
	}
	info, err := a.stat(t.rel)
	if err != nil {
		return nil, s.refused(r, err)
	}
	return &oneName{info: info}, nil
}

// refused turns an error into what the client may read of it, and logs what it may not.
func (s *session) refused(r *sftp.Request, err error) error {
	var errno syscall.Errno
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ErrNoLease):
		return fmt.Errorf("%w: %w", ErrNoLease, sftp.ErrSSHFxNoSuchFile)
	case errors.Is(err, fs.ErrNotExist):
		return sftp.ErrSSHFxNoSuchFile
	case errors.Is(err, fs.ErrExist):
		return errors.New("the file exists")
	case errors.Is(err, sftp.ErrSSHFxPermissionDenied):
		s.log.InfoContext(s.ctx, "SFTP request refused", "method", r.Method, "path", r.Filepath)
		return sftp.ErrSSHFxPermissionDenied
	case errors.Is(err, ErrBadPath), errors.Is(err, ErrLimit), errors.Is(err, ErrSealed), errors.Is(err, errRewrite), errors.Is(err, errScattered):
		return err
	case errors.Is(err, ErrDiskLow):
		return ErrDiskLow
	case errors.Is(err, fs.ErrInvalid):
		return errors.New("not a thing this request applies to")
	}
	s.log.WarnContext(s.ctx, "SFTP request", "method", r.Method, "path", r.Filepath, "err", err)
	if errors.As(err, &errno) {
		return errors.New(errno.Error()) // without the server's path
	}
	return errors.New("internal error")
}

// handle is one open file.
type handle struct {
	s *session
	a *attempt
	u *upload
	f *os.File
	r *sftp.Request

	mu         sync.Mutex
	lease      Lease
	generation uint64
	checked    time.Time
}

// WriteAt writes and hashes, after a look at the lease when it was not looked at for a while.
func (h *handle) WriteAt(b []byte, off int64) (int, error) {
	l, err := h.leaseNow()
	if err == nil {
		err = h.s.server.cfg.Uploads.store.space.checkHard()
	}
	if err == nil && (off < 0 || off+int64(len(b)) < off) {
		err = fmt.Errorf("offset %d: %w", off, fs.ErrInvalid)
	}
	if err == nil {
		err = h.u.writeAt(h.a, l, h.f, b, off)
	}
	if err != nil {
		return 0, h.s.refused(h.r, err)
	}
	failpoint.Here("content-mid-upload")
	return len(b), nil
}

func (h *handle) leaseNow() (Lease, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	generation := h.a.generation.Load()
	if generation == h.generation && time.Since(h.checked) < h.s.server.cfg.Recheck {
		return h.lease, nil
	}
	l, err := h.s.server.cfg.Uploads.leases.UploadLease(h.s.ctx, h.s.site, h.a.id.job, h.a.id.epoch)
	if err != nil {
		return Lease{}, err
	}
	h.lease, h.generation, h.checked = l, generation, time.Now()
	return l, nil
}

// Close closes the file. It promises nothing about the disk: the seal does.
func (h *handle) Close() error {
	h.s.handles.Add(-1)
	return h.f.Close()
}

// oneName lists one name, or none.
type oneName struct{ info fs.FileInfo }

func (l *oneName) ListAt(dst []os.FileInfo, off int64) (int, error) {
	if l.info == nil || off > 0 || len(dst) == 0 {
		return 0, io.EOF
	}
	dst[0] = l.info
	return 1, io.EOF
}

// aboveAttempts is the look of the root and of a job's directory, whose name it is.
type aboveAttempts string

func (d aboveAttempts) Name() string     { return string(d) }
func (aboveAttempts) Size() int64        { return 0 }
func (aboveAttempts) Mode() fs.FileMode  { return fs.ModeDir | 0o700 }
func (aboveAttempts) ModTime() time.Time { return time.Time{} }
func (aboveAttempts) IsDir() bool        { return true }
func (aboveAttempts) Sys() any           { return nil }

// lister lists a directory piece by piece, so that a huge one costs no memory.
type lister struct {
	s    *session
	root *os.Root
	rel  string
	dir  *os.File
}

func (s *session) newLister(a *attempt, rel string) (sftp.ListerAt, error) {
	if rel == "" {
		rel = "."
	}
	root, err := a.opened()
	if err != nil {
		return nil, err
	}
	if err := s.takeHandle(); err != nil {
		return nil, err
	}
	dir, err := root.Open(rel)
	if err != nil {
		s.handles.Add(-1)
		return nil, err
	}
	return &lister{s: s, root: root, rel: rel, dir: dir}, nil
}

func (l *lister) ListAt(dst []os.FileInfo, _ int64) (int, error) {
	entries, err := l.dir.ReadDir(len(dst))
	n := 0
	for _, e := range entries {
		if info, err := l.root.Lstat(path.Join(l.rel, e.Name())); err == nil { // else removed meanwhile
			dst[n] = info
			n++
		}
	}
	if err == nil && n == 0 {
		return l.ListAt(dst, 0)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		err = errors.New("cannot list the directory") // without the server's path
	}
	return n, err
}

func (l *lister) Close() error {
	l.s.handles.Add(-1)
	return l.dir.Close()
}
