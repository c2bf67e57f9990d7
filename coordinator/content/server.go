package content

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
)

// ErrUnknownKey says that a public key belongs to no site, or to one that was removed.
var ErrUnknownKey = errors.New("no site has this key")

// Sites tells which site a public key belongs to. SiteByKey returns ErrUnknownKey for any other key.
type Sites interface {
	SiteByKey(ctx context.Context, key ssh.PublicKey) (site string, err error)
}

// ServerConfig says what a Server serves and its limits. Of a limit the zero value is the default.
type ServerConfig struct {
	Uploads *Uploads     // required
	Sites   Sites        // required
	HostKey ssh.Signer   // the key that agents pin; required
	Logger  *slog.Logger // required

	MaxConns           int           // connections at a time, default 256
	MaxUnauthenticated int           // of them not logged in yet, default 64
	MaxConnsPerSite    int           // of one site, default 8
	MaxHandles         int           // open files of one connection, default 256
	LoginGrace         time.Duration // time to authenticate, default 20 s
	KeepAlive          time.Duration // between two questions whether the client is there, default 30 s
	Recheck            time.Duration // how long a write trusts the lease it has seen, default 1 s
}

func (c ServerConfig) withDefaults() (ServerConfig, error) {
	if c.Uploads == nil || c.Sites == nil || c.HostKey == nil || c.Logger == nil {
		return c, errors.New("SFTP server: Uploads, Sites, HostKey and Logger are required")
	}
	setDefault(&c.MaxConns, 256)
	setDefault(&c.MaxUnauthenticated, 64)
	setDefault(&c.MaxConnsPerSite, 8)
	setDefault(&c.MaxHandles, 256)
	setDefault(&c.LoginGrace, 20*time.Second)
	setDefault(&c.KeepAlive, 30*time.Second)
	setDefault(&c.Recheck, time.Second)
	return c, nil
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// siteExtension carries the authenticated site from the key's check to the session. Only the permissions
// of the connection say who it is: the check also runs for keys that a client merely offers.
const siteExtension = "consort-site"

// Server speaks SSH with the sites' agents, for the subsystem sftp and nothing else: no shell, commands,
// forwarding or passwords. A client sees /<job>/<epoch>/… of the attempts whose lease its site holds; it
// may make directories, write, rename and remove files there and look at names and sizes. It reads no file
// back, and links, modes, owners and times are refused.
type Server struct {
	cfg ServerConfig
	ssh *ssh.ServerConfig

	mu    sync.Mutex
	conns map[net.Conn]string // the site, "" before it has authenticated
}

// NewServer returns a server; Serve starts it.
func NewServer(cfg ServerConfig) (*Server, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &Server{cfg: cfg, conns: make(map[net.Conn]string)}
	s.ssh = &ssh.ServerConfig{
		Config: ssh.Config{Ciphers: []string{
			ssh.CipherAES128GCM, ssh.CipherAES256GCM, ssh.CipherChaCha20Poly1305, ssh.CipherAES128CTR, ssh.CipherAES256CTR,
		}},
		MaxAuthTries:            6, // an agent's client may offer some other keys first
		PublicKeyAuthAlgorithms: []string{ssh.KeyAlgoED25519},
		ServerVersion:           "SSH-2.0-Consort",
	}
	s.ssh.AddHostKey(cfg.HostKey)
	return s, nil
}

// checkKey accepts the key of the site that the user name names.
func (s *Server) checkKey(ctx context.Context, meta ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
	if key.Type() != ssh.KeyAlgoED25519 {
		return nil, fmt.Errorf("key of type %q: %w", key.Type(), ErrUnknownKey)
	}
	site, err := s.cfg.Sites.SiteByKey(ctx, key)
	if err != nil {
		return nil, err
	}
	if site == "" || site != meta.User() {
		return nil, fmt.Errorf("user %q: %w", meta.User(), ErrUnknownKey)
	}
	return &ssh.Permissions{Extensions: map[string]string{siteExtension: site}}, nil
}

// Serve accepts connections until ctx ends, then cuts those there are and waits for their goroutines. It
// closes the listener, and returns nil when ctx ended it.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	defer context.AfterFunc(ctx, func() {
		ln.Close()
		s.cut(func(string) bool { return true })
	})()

	for {
		conn, err := ln.Accept()
		if ctx.Err() != nil {
			if err == nil {
				conn.Close()
			}
			s.cut(func(string) bool { return true })
			return nil
		}
		if err != nil && temporary(err) {
			s.cfg.Logger.WarnContext(ctx, "accepting an SFTP connection", "err", err)
			pause(ctx, 100*time.Millisecond)
			continue
		}
		if err != nil {
			ln.Close()
			s.cut(func(string) bool { return true })
			return fmt.Errorf("accept SFTP connections: %w", err)
		}
		if !s.admit(conn) {
			s.cfg.Logger.WarnContext(ctx, "refusing an SFTP connection: too many", "remote", conn.RemoteAddr().String())
			conn.Close()
			continue
		}
		wg.Go(func() {
			defer s.leave(conn)
			s.serveConn(ctx, conn)
		})
	}
}

// temporary tells whether accepting may work again later, as when file descriptors run out.
func temporary(err error) bool {
	var ne net.Error
	return !errors.Is(err, net.ErrClosed) && errors.As(err, &ne)
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// Disconnect cuts a site's connections, as when its key is revoked.
func (s *Server) Disconnect(site string) {
	s.cut(func(of string) bool { return of == site })
}

func (s *Server) cut(which func(site string) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for conn, site := range s.conns {
		if which(site) {
			conn.Close()
		}
	}
}

func (s *Server) admit(conn net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.conns) >= s.cfg.MaxConns || s.count("") >= s.cfg.MaxUnauthenticated {
		return false
	}
	s.conns[conn] = ""
	return true
}

// identify notes whose connection it is, unless the site has too many.
func (s *Server) identify(conn net.Conn, site string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.count(site) >= s.cfg.MaxConnsPerSite {
		return false
	}
	s.conns[conn] = site
	return true
}

// count tells how many connections a site has, "" for those that are not logged in. The caller holds mu.
func (s *Server) count(site string) int {
	n := 0
	for _, of := range s.conns {
		if of == site {
			n++
		}
	}
	return n
}

func (s *Server) leave(conn net.Conn) {
	conn.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, conn)
}

// serveConn authenticates a client and serves it until either side is gone.
func (s *Server) serveConn(ctx context.Context, nc net.Conn) {
	log := s.cfg.Logger.With("remote", nc.RemoteAddr().String())
	if err := nc.SetDeadline(time.Now().Add(s.cfg.LoginGrace)); err != nil {
		return
	}
	conf := *s.ssh
	conf.PublicKeyCallback = func(meta ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
		return s.checkKey(ctx, meta, key)
	}
	conn, chans, reqs, err := ssh.NewServerConn(nc, &conf)
	if err != nil {
		log.InfoContext(ctx, "SFTP login refused", "err", err)
		return
	}
	defer conn.Close()
	site := conn.Permissions.Extensions[siteExtension]
	log = log.With("site", site)
	if !s.identify(nc, site) {
		log.WarnContext(ctx, "refusing an SFTP connection: the site has too many")
		return
	}
	if err := nc.SetDeadline(time.Time{}); err != nil {
		return
	}
	log.DebugContext(ctx, "SFTP connection open")

	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(func() { ssh.DiscardRequests(reqs) }) // refuses them all, which is an answer to keep-alives too
	wg.Go(func() { s.keepAlive(ctx, conn) })
	sess := &session{server: s, site: site, ctx: ctx, log: log}
	for nch := range chans {
		if nch.ChannelType() != "session" {
			_ = nch.Reject(ssh.Prohibited, "only SFTP is served here")
			continue
		}
		if !sess.begin() {
			_ = nch.Reject(ssh.ResourceShortage, "too many sessions on this connection")
			continue
		}
		wg.Go(func() {
			defer sess.end()
			sess.serve(nch)
		})
	}
}

// keepAlive cuts the connection when the client does not answer within an interval.
func (s *Server) keepAlive(ctx context.Context, conn ssh.Conn) {
	tick := time.NewTicker(s.cfg.KeepAlive)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		late := time.AfterFunc(s.cfg.KeepAlive, func() { conn.Close() })
		_, _, err := conn.SendRequest("keepalive@openssh.com", true, nil)
		late.Stop()
		if err != nil {
			return
		}
	}
}
