package api

import (
	"bytes"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/valyala/fasthttp"

	"consort/coordinator/api/fault"
	"consort/coordinator/api/request"
	"consort/coordinator/auth"
	"consort/shared/ids"
	"consort/shared/telemetry"
)

const requestIDHeader = "X-Request-Id"

var saneID = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// observe gives the request its id, renders errors, turns a panic into one, and logs and measures the
// outcome. It is the outermost.
func (s *Server) observe(c *fiber.Ctx) error {
	begun := time.Now()
	id := c.Get(requestIDHeader)
	if !saneID.MatchString(id) {
		id = ids.NewKey()
	}
	request.SetFacts(c, &request.Facts{ID: id, Principal: auth.Principal{Anonymous: true}})
	c.SetUserContext(telemetry.WithRequest(s.base, id))
	c.Set(requestIDHeader, id)
	if err := s.guarded(c); err != nil {
		if err := s.fail(c, err); err != nil {
			return err
		}
	}
	s.record(c, time.Since(begun))
	return nil
}

// guarded calls the next handlers and turns a panic into an error, so that one request can't stop the node.
func (s *Server) guarded(c *fiber.Ctx) (err error) {
	defer func() {
		if r := recover(); r != nil {
			s.cfg.Logger.ErrorContext(request.Context(c), "panic in a handler", "panic", fmt.Sprint(r), "stack", string(debug.Stack()))
			err = fmt.Errorf("panic: %v", r)
		}
	}()
	return c.Next()
}

func (s *Server) record(c *fiber.Ctx, took time.Duration) {
	route := c.Route().Path
	status := c.Response().StatusCode()
	if route == "/" {
		route = "none" // only the middleware was reached: no such route, not with this method, or refused
	}
	s.metrics.observe(c.Method(), route, status, took)
	s.cfg.Logger.InfoContext(request.Context(c), "request",
		"method", c.Method(), "path", telemetry.Safe(c.Path()), "status", status, "took", took,
		"client", c.Context().RemoteIP().String(), "principal", telemetry.Safe(request.Principal(c).Name))
}

var hostForm = regexp.MustCompile(`^(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._-]{1,253})(:[0-9]{1,5})?$`)

// checkProtocol refuses what could be read in two ways, where a proxy and this server may differ.
func (s *Server) checkProtocol(c *fiber.Ctx) error {
	header := &c.Context().Request.Header
	problem := ""
	switch version := string(header.Protocol()); {
	case version != "HTTP/1.1" && version != "HTTP/1.0":
		problem = "this server speaks HTTP/1.1 and HTTP/1.0"
	case header.ContentLength() == -1 && hasHeader(header.RawHeaders(), "content-length"):
		problem = "Content-Length and Transfer-Encoding exclude each other"
	case len(header.Host()) > 0 && !hostForm.Match(header.Host()):
		problem = "the Host header is malformed"
	}
	if problem == "" {
		return c.Next()
	}
	c.Context().SetConnectionClose()
	return fault.BadRequest(problem)
}

func hasHeader(raw []byte, name string) bool {
	for line := range bytes.SplitSeq(raw, []byte("\n")) {
		key, _, found := bytes.Cut(line, []byte(":"))
		if found && strings.EqualFold(string(bytes.TrimSpace(key)), name) {
			return true
		}
	}
	return false
}

// knownMethods lets the router answer methods that HTTP does not define. It would refuse them by itself, as no request
// at all; as TRACE, which no route takes, they are not allowed here like any other (RFC 9110, section 15.5.6).
func knownMethods(next fasthttp.RequestHandler) fasthttp.RequestHandler {
	return func(ctx *fasthttp.RequestCtx) {
		if !slices.Contains(fiber.DefaultMethods, string(ctx.Method())) {
			ctx.Request.Header.SetMethod(fiber.MethodTrace)
		}
		next(ctx)
	}
}

// prepare finds the base of links and sets the headers that every answer has.
func (s *Server) prepare(c *fiber.Ctx) error {
	c.Set(fiber.HeaderXContentTypeOptions, "nosniff")
	c.Set(fiber.HeaderReferrerPolicy, "same-origin")
	c.Set(fiber.HeaderCacheControl, "private, no-cache")
	base := s.cfg.PublicURL
	if base == "" {
		base = scheme(c) + "://" + host(c)
	}
	request.SetFacts(c, &request.Facts{ID: request.ID(c), Principal: request.Principal(c), Base: base})
	return c.Next()
}

// scheme does not believe X-Forwarded-Proto: anybody can send it. Behind a proxy PublicURL says it.
func scheme(c *fiber.Ctx) string {
	if c.Context().IsTLS() {
		return "https"
	}
	return "http"
}

// host is the one asked for; HTTP/1.0 may leave it out.
func host(c *fiber.Ctx) string {
	if h := string(c.Context().Request.Header.Host()); h != "" {
		return h
	}
	return c.Context().LocalAddr().String()
}

// sitesPrefix is where agents talk. They prove who they are by tokens of their own, which the surface checks.
const sitesPrefix = "/sites/v1/"

// authenticate finds out who asks.
func (s *Server) authenticate(c *fiber.Ctx) error {
	if strings.HasPrefix(c.Path(), sitesPrefix) {
		return c.Next()
	}
	p, err := s.cfg.Guard.Authenticate(c.Get(fiber.HeaderAuthorization))
	if err != nil {
		return err
	}
	if p.Anonymous && s.cfg.LocalOnly && foreign(c) {
		return fmt.Errorf("%w: without credentials this server answers only requests made on its own machine, to localhost", auth.ErrUnauthenticated)
	}
	request.SetFacts(c, &request.Facts{ID: request.ID(c), Principal: p, Base: request.Base(c)})
	if !p.Anonymous {
		c.Set("X-Vo-Authenticated", p.Name)
	}
	return c.Next()
}

// foreign tells whether a request may have come from elsewhere than this machine: by another name, as after
// DNS rebinding, or through a proxy.
func foreign(c *fiber.Ctx) bool {
	name := host(c)
	if i := strings.LastIndexByte(name, ':'); i >= 0 && !strings.HasSuffix(name, "]") {
		name = name[:i]
	}
	if name = strings.ToLower(name); name != "localhost" && name != "127.0.0.1" && name != "[::1]" {
		return true
	}
	for key := range c.Context().Request.Header.All() {
		k := strings.ToLower(string(key))
		if k == "forwarded" || k == "via" || k == "x-real-ip" || strings.HasPrefix(k, "x-forwarded-") {
			return true
		}
	}
	return false
}

// refuseForeignWrites keeps pages of other origins from acting with the rights of who looks at them.
func (s *Server) refuseForeignWrites(c *fiber.Ctx) error {
	switch c.Method() {
	case fiber.MethodGet, fiber.MethodHead, fiber.MethodOptions:
		return c.Next()
	}
	site := c.Get("Sec-Fetch-Site")
	origin := c.Get(fiber.HeaderOrigin)
	if site == "cross-site" || site == "same-site" || (origin != "" && !s.ownOrigin(c, origin)) {
		return &fault.Error{Status: http.StatusForbidden, Code: "foreign-origin", Message: "a page of another origin may not change anything here"}
	}
	return c.Next()
}

func (s *Server) ownOrigin(c *fiber.Ctx, origin string) bool {
	u, err := url.Parse(origin)
	if err != nil || u.Host == "" {
		return false
	}
	if strings.EqualFold(u.Host, host(c)) {
		return true
	}
	public, err := url.Parse(s.cfg.PublicURL)
	return err == nil && public.Host != "" && strings.EqualFold(u.Host, public.Host) && u.Scheme == public.Scheme
}
