package userapi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// APIPrefix begins the path of every route of the JSON API.
const APIPrefix = "/api/v1"

// Bounds of a client.
const (
	defaultRetryFor = 10 * time.Second
	refusedFor      = 2 * time.Second  // a server that refuses connections is mostly not running
	stallAfter      = 75 * time.Second // longer than any WAIT
	maxJSON         = 64 << 20         // bytes of an answer held in memory
	maxRedirects    = 5
)

// ErrConfig says that a Config cannot work; the message says which field and why.
var ErrConfig = errors.New("bad client configuration")

// Config says where the server is, and how it is spoken to.
type Config struct {
	// Server is the base URL, such as https://consort.example. A path is kept in front of every route.
	Server string
	// Token is sent as bearer token, to this server only. Empty: anonymous.
	Token string
	// HTTPClient sends the requests; its CheckRedirect is replaced. Nil: one with the environment's
	// proxies, and time-outs for connecting.
	HTTPClient *http.Client
	// UserAgent names the program. Empty: "consort".
	UserAgent string
	// RetryFor bounds how long a call that can be repeated safely is repeated while the server is busy or
	// does not answer. Zero: 10 s; negative: never repeated.
	RetryFor time.Duration
}

// Client calls one server. It is safe for concurrent use, and keeps no state but idle connections.
type Client struct {
	server    *url.URL
	base      string // server without final slash
	token     string
	userAgent string
	retryFor  time.Duration
	http      *http.Client
}

// New makes a client. It connects to nothing yet. The error is an ErrConfig.
func New(cfg Config) (*Client, error) {
	server, err := url.Parse(cfg.Server)
	switch {
	case err != nil || server.Host == "" || server.Scheme != "http" && server.Scheme != "https":
		return nil, fmt.Errorf("%w: server %q is not a URL such as https://consort.example or http://127.0.0.1:8080", ErrConfig, cfg.Server)
	case server.User != nil:
		return nil, fmt.Errorf("%w: the URL of server %s holds a password; use a token", ErrConfig, server.Host)
	case server.RawQuery != "" || server.Fragment != "":
		return nil, fmt.Errorf("%w: server %q has a query or a fragment", ErrConfig, cfg.Server)
	case strings.ContainsAny(cfg.Token, "\r\n\x00 "):
		return nil, fmt.Errorf("%w: the token holds blanks or line ends", ErrConfig)
	}
	c := &Client{
		server: server, base: strings.TrimRight(server.String(), "/"), token: cfg.Token,
		userAgent: cfg.UserAgent, retryFor: cfg.RetryFor,
	}
	if c.userAgent == "" {
		c.userAgent = "consort"
	}
	if c.retryFor == 0 {
		c.retryFor = defaultRetryFor
	}
	httpClient := http.Client{Transport: newTransport()}
	if cfg.HTTPClient != nil {
		httpClient = *cfg.HTTPClient
	}
	httpClient.CheckRedirect = c.checkRedirect
	c.http = &httpClient
	return c, nil
}

// Server is the base URL, without a final slash.
func (c *Client) Server() string { return c.base }

// Close closes idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

func newTransport() *http.Transport {
	return &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 15 * time.Second}).DialContext,
		TLSHandshakeTimeout:   10 * time.Second,
		ExpectContinueTimeout: 2 * time.Second,
		ForceAttemptHTTP2:     true,
		MaxIdleConnsPerHost:   16,
		IdleConnTimeout:       90 * time.Second,
	}
}

// checkRedirect follows reads only: the answers to changes are redirections to what was changed. The token
// never goes to another origin.
func (c *Client) checkRedirect(next *http.Request, via []*http.Request) error {
	if m := via[0].Method; m != http.MethodGet && m != http.MethodHead {
		return http.ErrUseLastResponse
	}
	if len(via) > maxRedirects {
		return fmt.Errorf("redirected more than %d times", maxRedirects)
	}
	if !c.sameOrigin(next.URL) {
		next.Header.Del("Authorization")
	}
	return nil
}

func (c *Client) sameOrigin(u *url.URL) bool {
	return u.Scheme == c.server.Scheme && strings.EqualFold(u.Host, c.server.Host)
}

// request is one call, as often as it must be sent.
type request struct {
	method  string
	path    string // escaped, below the server; or url
	url     string // absolute; used where path is empty
	query   url.Values
	header  http.Header
	body    func() io.Reader // a fresh reader each time
	length  int64            // of the body; 0: none
	repeat  bool             // sending it twice does no more than sending it once
	tries   int              // how often it was sent
	consume func(*http.Response) error
}

// do sends a request, again where that may help, and lets r.consume read the answer. Errors are Problems for
// what the server said, an Unreachable for what the network did, or those of ctx and of consume.
func (c *Client) do(ctx context.Context, r *request) error {
	patience := c.patience(ctx)
	for {
		r.tries++
		err := c.once(ctx, r)
		if err == nil || ctx.Err() != nil {
			return err
		}
		if !r.repeat && !neverSent(err) {
			return err
		}
		if !patience.again(err) {
			return err
		}
	}
}

// once sends a request once.
func (c *Client) once(ctx context.Context, r *request) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	req, err := c.build(ctx, r)
	if err != nil {
		return err
	}
	watchdog := time.AfterFunc(stallAfter, func() { cancel(errStalled) })
	defer watchdog.Stop()
	if req.Body != nil {
		req.Body = io.NopCloser(&alive{Reader: req.Body, watchdog: watchdog})
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return c.networkError(ctx, err)
	}
	defer resp.Body.Close()
	body := &alive{Reader: resp.Body, watchdog: watchdog}
	body.failed = func(err error) error { return c.networkError(ctx, err) }
	resp.Body = struct {
		io.Reader
		io.Closer
	}{body, resp.Body}
	if resp.StatusCode >= 400 || resp.StatusCode < 200 {
		return problemOf(resp)
	}
	if r.consume == nil {
		return nil
	}
	return r.consume(resp)
}

func (c *Client) build(ctx context.Context, r *request) (*http.Request, error) {
	target := r.url
	if target == "" {
		target = c.base + r.path
	}
	if len(r.query) > 0 {
		target += "?" + r.query.Encode()
	}
	var body io.Reader
	if r.length > 0 {
		body = r.body()
	}
	req, err := http.NewRequestWithContext(ctx, r.method, target, body)
	if err != nil {
		return nil, fmt.Errorf("make a request to %s: %w", c.base, err)
	}
	if req.URL.Scheme != "http" && req.URL.Scheme != "https" || req.URL.Host == "" {
		return nil, fmt.Errorf("the server names %.200q, which is no http or https URL", target)
	}
	if body != nil {
		req.ContentLength = r.length
	}
	for k, v := range r.header {
		req.Header[k] = v
	}
	req.Header.Set("User-Agent", c.userAgent)
	if c.token != "" && c.sameOrigin(req.URL) {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	return req, nil
}

// alive resets the watchdog with each read, so that only standing still counts, not taking long.
type alive struct {
	io.Reader
	watchdog *time.Timer
	failed   func(error) error // what a failed read is turned into; nil: itself
}

func (a *alive) Read(p []byte) (int, error) {
	n, err := a.Reader.Read(p)
	if n > 0 {
		a.watchdog.Reset(stallAfter)
	}
	if err != nil && err != io.EOF && a.failed != nil {
		err = a.failed(err)
	}
	return n, err
}
