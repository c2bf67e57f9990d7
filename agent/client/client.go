// Package client speaks the coordinators' site API for an agent: it signs each request, keeps to a server
// that works and goes to the next when it does not, and repeats what may work later for as long as its
// context lives, because coordinators that are gone for days are not a failure. It moves messages and
// bytes; what they mean is for packages attempt and agent.
package client

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/net/http/httpproxy"

	"consort/shared/retry"
	"consort/shared/siteapi"
)

const (
	smallTimeout = 30 * time.Second // of a request whose answer is due at once
	sealTimeout  = 10 * time.Minute // of requests that may read what was uploaded; a seal has more, by its bytes
	slowestDisk  = 16 << 20         // bytes a second that a seal must reach
	idleTimeout  = time.Minute      // without a byte of a download
	slowestLink  = 16 << 10         // bytes a second that an upload must reach
	slowWait     = time.Minute      // between tries that need a human first
	maxError     = 64 << 10         // bytes of an error's body
	maxAnswer    = 64 << 20         // bytes of any other JSON body
)

// Config of a Client.
type Config struct {
	Servers   []string           // base URLs of the coordinators, in order of preference; at least one
	Site      string             // name of the site
	ClusterID string             // the coordinators' cluster
	Key       ed25519.PrivateKey // the site's identity
	Version   string             // of the agent, for the User-Agent header
	TLS       *tls.Config        // nil: the system's roots
	Logger    *slog.Logger       // nil: nothing is logged
}

// Client talks to the coordinators. Its methods may be called at the same time. Those that name an attempt
// return only when a coordinator has answered with yes or with an error for which IsFinal holds, or when
// the context ends.
type Client struct {
	cfg     Config
	http    *http.Client
	current atomic.Int64 // index in Servers
	clock   atomic.Int64 // nanoseconds to add to ours to get the coordinators' time
}

// New checks the configuration and returns a Client. Nothing is asked yet.
func New(cfg Config) (*Client, error) {
	if len(cfg.Servers) == 0 {
		return nil, errors.New("no coordinator is configured: set servers to their base URLs")
	}
	servers := make([]string, len(cfg.Servers))
	for i, s := range cfg.Servers {
		base, err := baseURL(s)
		if err != nil {
			return nil, err
		}
		servers[i] = base
	}
	cfg.Servers = servers
	if len(cfg.Key) != ed25519.PrivateKeySize {
		return nil, errors.New("the site's key is not an Ed25519 private key")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Client{cfg: cfg, http: newHTTP(cfg.TLS)}, nil
}

// Close drops the connections kept alive. Calls under way end with their contexts.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Now is the coordinators' time as far as their answers told it.
func (c *Client) Now() time.Time { return time.Now().Add(time.Duration(c.clock.Load())) }

func baseURL(s string) (string, error) {
	u, err := url.Parse(s)
	if err != nil {
		return "", fmt.Errorf("read the server's address: %w", err)
	}
	if (u.Scheme != "https" && u.Scheme != "http") || u.Host == "" || u.RawQuery != "" || u.Fragment != "" {
		return "", fmt.Errorf("%q is not a server's address; write one like https://consort.example.org", s)
	}
	return strings.TrimRight(u.String(), "/"), nil
}

// proxies returns what the variables HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY say now, as SFTP of package
// staging does. Proxies may be http, https and socks5.
func proxies() func(*http.Request) (*url.URL, error) {
	conf := httpproxy.FromEnvironment()
	all := cmp.Or(os.Getenv("ALL_PROXY"), os.Getenv("all_proxy"))
	conf.HTTPSProxy = cmp.Or(conf.HTTPSProxy, all)
	conf.HTTPProxy = cmp.Or(conf.HTTPProxy, all)
	choose := conf.ProxyFunc()
	return func(r *http.Request) (*url.URL, error) { return choose(r.URL) }
}

func newHTTP(conf *tls.Config) *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			Proxy:                 proxies(),
			DialContext:           (&net.Dialer{Timeout: 15 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
			TLSClientConfig:       conf,
			TLSHandshakeTimeout:   15 * time.Second,
			ForceAttemptHTTP2:     true,
			MaxIdleConnsPerHost:   64, // of attempts that end at the same time
			IdleConnTimeout:       2 * time.Minute,
			ExpectContinueTimeout: 2 * time.Second,
		},
		// The bearer token must not follow a redirect to somebody else.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// request is one call, in a form that can be sent again.
type request struct {
	method, path string // path: already escaped, below the server's base URL
	query        url.Values
	body         func() (io.ReadCloser, int64, error) // nil: none
	contentType  string
	header       http.Header
	timeout      time.Duration // zero: the caller bounds the call
}

func jsonRequest(path string, message any, timeout time.Duration) (*request, error) {
	data, err := json.Marshal(message)
	if err != nil {
		return nil, fmt.Errorf("encode the message for %s: %w", path, err)
	}
	return &request{
		method: http.MethodPost, path: path, contentType: "application/json", timeout: timeout, body: bytesBody(data),
	}, nil
}

// persist repeats try, which sends one request, until it succeeds, a coordinator says a final no, the
// request itself cannot be made, or ctx ends.
func (c *Client) persist(ctx context.Context, what string, try func(ctx context.Context) error) error {
	var pause retry.Backoff
	for {
		err := try(ctx)
		var local *localError
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return fmt.Errorf("%s: %w", what, ctx.Err())
		case IsFinal(err), errors.As(err, &local):
			return fmt.Errorf("%s: %w", what, err)
		}
		c.cfg.Logger.Warn("the coordinators cannot be asked now; trying again", "call", what, "error", err)
		if err := pause.Wait(ctx, atLeast(err)); err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
	}
}

// localError marks what went wrong on this side, such as a file that cannot be read.
type localError struct{ err error }

func (e *localError) Error() string { return e.err.Error() }
func (e *localError) Unwrap() error { return e.err }

// RetryAfter is how long to leave the coordinators alone after err, zero when they did not say.
func RetryAfter(err error) time.Duration { return atLeast(err) }

func atLeast(err error) time.Duration {
	var e *Error
	if !errors.As(err, &e) {
		return 0
	}
	if e.slow() {
		return max(slowWait, e.RetryAfter)
	}
	return e.RetryAfter
}

// call sends a request once and decodes the answer into answer. When the server cannot be reached or is not
// well, the next call goes to the next server.
func (c *Client) call(ctx context.Context, r *request, answer any) error {
	if r.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, r.timeout)
		defer cancel()
	}
	resp, err := c.send(ctx, r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	if len(body) > maxAnswer {
		return fmt.Errorf("the answer of %s is longer than %d bytes", r.path, maxAnswer)
	}
	if err := json.Unmarshal(body, answer); err != nil {
		return fmt.Errorf("decode the answer of %s: %w", r.path, err)
	}
	return nil
}

// send returns an answer below 400, whose body the caller closes, or an error.
func (c *Client) send(ctx context.Context, r *request) (*http.Response, error) {
	index := c.current.Load()
	server := c.cfg.Servers[int(index)%len(c.cfg.Servers)]
	req, err := c.build(ctx, server, r)
	if err != nil {
		return nil, &localError{err}
	}
	sent := time.Now()
	resp, err := c.http.Do(req)
	if err != nil {
		if ctx.Err() == nil || errors.Is(ctx.Err(), context.DeadlineExceeded) {
			c.current.CompareAndSwap(index, index+1)
		}
		return nil, err
	}
	c.learnTime(sent, resp)
	if resp.StatusCode < 300 {
		return resp, nil
	}
	defer resp.Body.Close()
	e := readError(server, resp)
	if e.Status >= 500 || e.Code == "" {
		c.current.CompareAndSwap(index, index+1)
	}
	return nil, e
}

func (c *Client) build(ctx context.Context, server string, r *request) (*http.Request, error) {
	var body io.ReadCloser
	var size int64
	if r.body != nil {
		var err error
		if body, size, err = r.body(); err != nil {
			return nil, err
		}
	}
	req, err := http.NewRequestWithContext(ctx, r.method, server+r.path, body)
	if err != nil {
		return nil, fmt.Errorf("make the request: %w", err)
	}
	for name, values := range r.header {
		req.Header[name] = values
	}
	if r.body != nil {
		req.ContentLength = size
		req.Header.Set("Content-Type", r.contentType)
	}
	if size == 0 && body != nil {
		body.Close()
		req.Body = http.NoBody
	}
	req.URL.RawQuery = r.query.Encode()
	token, err := siteapi.SignToken(c.cfg.Key, c.cfg.Site, c.cfg.ClusterID, c.Now())
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("User-Agent", "consort-agent/"+c.cfg.Version)
	return req, nil
}

// learnTime corrects our clock by the answer's Date header (whole seconds), when the answer came quickly
// enough to say something and we are off by more than its precision.
func (c *Client) learnTime(sent time.Time, resp *http.Response) {
	date, err := http.ParseTime(resp.Header.Get("Date"))
	took := time.Since(sent)
	if err != nil || took > 5*time.Second {
		return
	}
	off := date.Add(time.Second / 2).Sub(sent.Add(took / 2))
	if known := time.Duration(c.clock.Load()); (off - known).Abs() > 3*time.Second {
		c.clock.Store(int64(off))
		c.cfg.Logger.Warn("the clocks of site and coordinators differ", "by", off.Round(time.Second))
	}
}
