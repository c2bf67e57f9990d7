// Package api is the HTTP front of a coordinator: the Fiber application with what every surface shares —
// limits, request ids, authentication, protection against foreign pages, the rendering of errors — and the
// server around it. What the routes do is for the surfaces mounted into it (uws, rest, sites …).
package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/prometheus/client_golang/prometheus"

	"consort/coordinator/auth"
	"consort/shared/telemetry"
)

// Surface is a group of routes.
type Surface interface {
	// Mount adds the routes, with absolute paths.
	Mount(r fiber.Router)
}

// Config says how a Server answers. Fields without a stated default are required.
type Config struct {
	Surfaces []Surface
	Guard    *auth.Guard
	Logger   *slog.Logger
	// Ready tells why the node cannot serve, nil when it can; /readyz answers with it. Nil: always ready.
	Ready func() error
	// Registerer takes the metrics; nil: none are kept.
	Registerer prometheus.Registerer
	// PublicURL is the base of absolute links, such as "https://consort.example.org". Empty: scheme and host
	// as each client asks for them.
	PublicURL string
	// LocalOnly lets anonymous requests in only when they were addressed to localhost, 127.0.0.1 or [::1]
	// and no proxy forwarded them: for a server on one person's machine (consort dev).
	LocalOnly bool
	// MaxConns bounds the open connections; 0: 16,384.
	MaxConns int
	// MaxConnsPerIP bounds those of one address; 0: no bound, as a proxy in front has one address.
	MaxConnsPerIP int
	// HeaderTimeout is how long the header of a request may take to come; 0: 10 s.
	HeaderTimeout time.Duration
	// IdleTimeout is how long a connection may wait for its next request; 0: 75 s.
	IdleTimeout time.Duration
	// StopTimeout is how long requests under way may take at a stop; 0: 2 s.
	StopTimeout time.Duration
}

func (c *Config) setDefaults() error {
	if c.Guard == nil || c.Logger == nil {
		return errors.New("api: Guard and Logger are required")
	}
	if c.PublicURL != "" {
		u, err := url.Parse(c.PublicURL)
		if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.RawQuery != "" || u.Fragment != "" {
			return fmt.Errorf("public URL %q: must be http(s)://host[:port][/path]", c.PublicURL)
		}
		c.PublicURL = strings.TrimRight(c.PublicURL, "/")
	}
	setDefault(&c.MaxConns, 16<<10)
	setDefault(&c.HeaderTimeout, 10*time.Second)
	setDefault(&c.IdleTimeout, 75*time.Second)
	setDefault(&c.StopTimeout, 2*time.Second)
	if c.Ready == nil {
		c.Ready = func() error { return nil }
	}
	return nil
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Limits of the protocol.
const (
	headerSize   = 16 << 10         // bytes of a request's header
	writeTimeout = 60 * time.Second // for an answer; long ones move it on as they go
)

// Server is the application, ready to serve.
type Server struct {
	cfg     Config
	app     *fiber.App
	metrics *metrics
	// base is the context of all requests. It ends when a stop takes too long.
	base   context.Context
	cancel context.CancelFunc
}

// New builds the application.
func New(cfg Config) (*Server, error) {
	if err := cfg.setDefaults(); err != nil {
		return nil, err
	}
	s := &Server{cfg: cfg, metrics: newMetrics(cfg.Registerer)}
	s.base, s.cancel = context.WithCancel(context.Background())
	s.app = fiber.New(fiber.Config{
		Immutable:                    true, // strings outlive their request
		StreamRequestBody:            true, // turns BodyLimit off: routes count for themselves
		DisablePreParseMultipartForm: true,
		CaseSensitive:                true,
		ReadBufferSize:               headerSize,
		ReadTimeout:                  cfg.HeaderTimeout,
		WriteTimeout:                 writeTimeout,
		IdleTimeout:                  cfg.IdleTimeout,
		Concurrency:                  cfg.MaxConns,
		DisableStartupMessage:        true,
		ErrorHandler:                 s.fail,
	})
	s.app.Server().MaxConnsPerIP = cfg.MaxConnsPerIP
	s.app.Server().Logger = quiet{cfg.Logger}
	s.app.Server().NoDefaultServerHeader = true
	s.app.Server().Handler = knownMethods(s.app.Server().Handler)

	s.app.Use(s.observe, s.checkProtocol, s.prepare)
	s.app.Get("/healthz", health(func() error { return nil }))
	s.app.Get("/readyz", health(cfg.Ready))
	s.app.Use(s.authenticate, s.refuseForeignWrites)
	for _, surface := range cfg.Surfaces {
		surface.Mount(s.app)
	}
	return s, nil
}

// App is the application itself, for tests that need no network.
func (s *Server) App() *fiber.App { return s.app }

// Serve answers on ln until ctx ends, then lets requests under way finish for StopTimeout, and cuts what is
// left. Whoever waits must be woken before (watch.Hub.Close). It closes ln.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	tracked := newTracker(ln)
	done := make(chan error, 1)
	go func() { done <- s.app.Listener(tracked) }()
	select {
	case err := <-done:
		s.cancel()
		return fmt.Errorf("serve HTTP: %w", err)
	case <-ctx.Done():
	}
	err := s.app.ShutdownWithTimeout(s.cfg.StopTimeout)
	s.cancel()
	_ = ln.Close() // fasthttp knows nothing of it yet when the stop came at once; else it is closed already
	tracked.closeAll()
	<-done
	if err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("stop HTTP: %w", err)
	}
	return nil
}

func health(check func() error) fiber.Handler {
	return func(c *fiber.Ctx) error {
		if err := check(); err != nil {
			return c.Status(fiber.StatusServiceUnavailable).SendString("not ready: " + err.Error() + "\n")
		}
		return c.SendString("ok\n")
	}
}

// quiet passes what fasthttp says about broken connections on as debugging, since strangers cause it.
type quiet struct{ log *slog.Logger }

func (q quiet) Printf(format string, args ...any) {
	q.log.Debug("http connection", "message", telemetry.Safe(fmt.Sprintf(format, args...)))
}
