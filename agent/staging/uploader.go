package staging

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/url"
	"path"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sync/errgroup"
)

// Config says where an Uploader pushes to and as whom. Of a duration or number the zero value is the default.
type Config struct {
	Addr    string        // host:port of the SFTP server; required
	Site    string        // this site's name, the user name; required
	Signer  ssh.Signer    // the site's Ed25519 key; required
	HostKey ssh.PublicKey // the server's key, pinned at enrolment; required
	Logger  *slog.Logger  // required

	// Dial connects to an address; nil dials directly, or through Proxy.
	Dial func(ctx context.Context, addr string) (net.Conn, error)
	// Proxy chooses the proxy for an https URL of the server; nil takes HTTPS_PROXY, ALL_PROXY and NO_PROXY.
	Proxy func(*url.URL) (*url.URL, error)

	InFlight     int           // small files under way at a time, default 32
	LargeFiles   int           // files of more than one packet under way at a time, default 3
	KeepAlive    time.Duration // between two questions whether the server is there, default 15 s
	LoginTimeout time.Duration // to log in, default 30 s
	MinBackoff   time.Duration // before the first reconnection, default 200 ms
	MaxBackoff   time.Duration // between later ones, default 30 s
}

// Uploader pushes outputs to a coordinator. Its methods may be called concurrently. Pushes of little data share
// a connection, since logging in costs more than sending it; each other one has its own, with a window of its
// own. When no push is under way nothing is open.
type Uploader struct {
	cfg Config
	own chan struct{} // one taken for each connection that is not shared

	mu     sync.Mutex
	shared *shared // nil: there is none to join
}

// NewUploader checks the configuration and returns an uploader. It connects to nothing yet.
func NewUploader(cfg Config) (*Uploader, error) {
	if cfg.Addr == "" || cfg.Site == "" || cfg.Signer == nil || cfg.HostKey == nil || cfg.Logger == nil {
		return nil, errors.New("uploader: Addr, Site, Signer, HostKey and Logger are required")
	}
	if cfg.Proxy == nil {
		cfg.Proxy = environmentProxy
	}
	if cfg.Dial == nil {
		cfg.Dial = dialer{proxy: cfg.Proxy}.dial
	}
	setDefault(&cfg.InFlight, 32)
	setDefault(&cfg.LargeFiles, 3)
	setDefault(&cfg.KeepAlive, 15*time.Second)
	setDefault(&cfg.LoginTimeout, 30*time.Second)
	setDefault(&cfg.MinBackoff, 200*time.Millisecond)
	setDefault(&cfg.MaxBackoff, 30*time.Second)
	return &Uploader{cfg: cfg, own: make(chan struct{}, ownConns)}, nil
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// File is one output to push.
type File struct {
	Local  string // path at the site
	Remote string // path below the attempt's directory at the coordinator
	Size   int64  // bytes, as when it was collected
}

// ManifestFile is one pushed file as the agent read it.
type ManifestFile struct {
	Path   string // File.Remote
	Size   int64  // bytes
	SHA256 string // 64 lower-case hexadecimal digits
}

// Upload is what to push.
type Upload struct {
	Job   string
	Epoch uint64
	Files []File
	// Offsets asks the coordinator how many bytes of a file it has without a gap, and their SHA-256. It is
	// asked only for large files that are there already. Nil sends such files from their start.
	Offsets func(ctx context.Context, path string) (offset int64, sha256 string, err error)
	// Progress is told the bytes that the coordinator has acknowledged since it was called last, from several
	// goroutines; also those found there already. Nil tells nobody.
	Progress func(bytes int64)
}

// Push sends every file to the coordinator and returns the manifest, in the order of the files. It
// reconnects with back-off until ctx ends, and sends again only what was not acknowledged; what the
// coordinator still has of a cut large file is not sent twice. Pushing the same files again is safe.
//
// It fails with ErrChanged, ErrNoLease, ErrRefused, ErrHostKey, an error of the local disk, or, with the
// last error of transport, when ctx ends.
func (u *Uploader) Push(ctx context.Context, up Upload) ([]ManifestFile, error) {
	p := &push{Upload: up, u: u, done: make([]atomic.Pointer[ManifestFile], len(up.Files))}
	for wait := u.cfg.MinBackoff; ; wait = min(2*wait, u.cfg.MaxBackoff) {
		before := p.acked.Load()
		err := p.once(ctx)
		if err == nil {
			return p.manifest(), nil
		}
		if final(err) {
			return nil, err
		}
		if p.acked.Load() > before {
			wait = u.cfg.MinBackoff
		}
		delay := wait/2 + rand.N(wait/2+1)
		u.cfg.Logger.WarnContext(ctx, "upload interrupted", "job", up.Job, "epoch", up.Epoch, "again_in", delay, "err", err)
		if !pause(ctx, delay) {
			return nil, fmt.Errorf("push outputs: %w; last: %w", ctx.Err(), err)
		}
	}
}

// pause waits and tells whether ctx still runs.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return ctx.Err() == nil
	}
}

// push is one Push: what is done so far, over as many connections as it takes.
type push struct {
	Upload
	u     *Uploader
	done  []atomic.Pointer[ManifestFile]
	acked atomic.Int64 // bytes, to see whether a connection got anywhere
}

func (p *push) manifest() []ManifestFile {
	m := make([]ManifestFile, len(p.done))
	for i := range p.done {
		m[i] = *p.done[i].Load()
	}
	return m
}

func (p *push) remote(rel string) string {
	return fmt.Sprintf("/%s/%d/%s", p.Job, p.Epoch, rel)
}

func (p *push) progress(n int64) {
	p.acked.Add(n)
	if p.Progress != nil && n > 0 {
		p.Progress(n)
	}
}

// once pushes what is left over one connection.
func (p *push) once(ctx context.Context) (err error) {
	var small, large, left []int
	var bytes int64
	for i, f := range p.Files {
		if p.done[i].Load() != nil {
			continue
		}
		left = append(left, i)
		bytes += f.Size
		if f.Size > packet {
			large = append(large, i)
		} else {
			small = append(small, i)
		}
	}
	if len(left) == 0 {
		return nil
	}
	share := len(large) == 0 && bytes <= little
	s, leave, err := p.u.session(ctx, share)
	if err != nil {
		return err
	}
	defer func() { leave(err) }()
	g, gctx := errgroup.WithContext(ctx)
	cut := gctx // the first error cuts what else is under way
	if share {
		cut = ctx // it is over soon, and not ours alone
	}
	stop := context.AfterFunc(cut, s.stop)
	defer stop()
	if err := p.makeDirs(s, left); err != nil {
		return err
	}
	g.Go(func() error {
		return each(gctx, p.u.cfg.InFlight, small, func(i int) error { return p.sendSmall(s, i) })
	})
	g.Go(func() error {
		return each(gctx, p.u.cfg.LargeFiles, large, func(i int) error { return p.sendLarge(gctx, s, i) })
	})
	return g.Wait()
}

// each calls fn for every index, at most limit at a time, and stops at the first error.
func each(ctx context.Context, limit int, indices []int, fn func(int) error) error {
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(limit)
	for _, i := range indices {
		if gctx.Err() != nil {
			break
		}
		g.Go(func() error { return fn(i) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return ctx.Err()
}

// makeDirs makes the directories of the files, parents first. That one is there already is no error.
func (p *push) makeDirs(s *session, indices []int) error {
	dirs := make(map[string]bool)
	for _, i := range indices {
		for d := path.Dir(p.Files[i].Remote); d != "." && d != "/" && !dirs[d]; d = path.Dir(d) {
			dirs[d] = true
		}
	}
	sorted := make([]string, 0, len(dirs))
	for d := range dirs {
		sorted = append(sorted, d)
	}
	slices.Sort(sorted)
	for _, d := range sorted {
		err := s.Mkdir(p.remote(d))
		if err == nil {
			continue
		}
		if info, serr := s.Stat(p.remote(d)); serr == nil && info.IsDir() {
			continue
		}
		return fmt.Errorf("make directory %q: %w", d, answered(err))
	}
	return nil
}
