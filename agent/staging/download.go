package staging

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"consort/shared/prov"
	"consort/shared/siteapi"
)

var (
	// ErrNotAllowed says that the site's policy does not let a URL be fetched, or one that it leads to, or that the
	// host's address is a private one.
	ErrNotAllowed = errors.New("the site's policy does not let this be fetched")
	// ErrNoFile says that the server gives no file for a URL to anybody who asks: to ask again is useless.
	ErrNoFile = errors.New("there is no file to be had")
	// ErrTooLarge says that a file is larger than it may be.
	ErrTooLarge = errors.New("the file is too large")
)

// errIdle ends a download that does not go on.
var errIdle = errors.New("nothing came from the server")

const (
	maxRedirects = 5
	idleDownload = time.Minute // without a byte
)

// Downloader fetches files by their URLs, without credentials of any kind: no user, no cookies, no Referer. The
// zero value is ready.
type Downloader struct {
	Agent string        // User-Agent header; empty: "consort-agent"
	Idle  time.Duration // how long nothing may come; 0: a minute
	TLS   *tls.Config   // nil: the system's roots
}

// Rules bound one download.
type Rules struct {
	URLs []string // patterns of what may be fetched, of what redirects lead to, too (siteapi.CheckURLPattern)
	Most int64    // bytes
}

// Get writes what a URL answers with to w, and returns the scheme of the URL that gave it. It fails with
// ErrNotAllowed, ErrNoFile, ErrTooLarge, an error of w, or another one when it may work later. No error holds
// what grants access in a URL.
func (d *Downloader) Get(ctx context.Context, address string, rules Rules, w io.Writer) (scheme string, err error) {
	u, err := siteapi.ParseURL(address)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrNoFile, err)
	}
	if err := rules.check(u); err != nil {
		return "", err
	}
	scheme, err = d.get(ctx, u, rules, w)
	if err != nil {
		return "", fmt.Errorf("fetch %s: %w", prov.PublicURL(u.String()), err)
	}
	return scheme, nil
}

func (d *Downloader) get(ctx context.Context, u *url.URL, rules Rules, w io.Writer) (scheme string, err error) {
	idle := cmp.Or(d.Idle, idleDownload)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watchdog := time.AfterFunc(idle, func() { cancel(fmt.Errorf("%w: for %v", errIdle, idle)) })
	defer watchdog.Stop()

	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return "", bare(ctx, err)
	}
	req.Header.Set("User-Agent", cmp.Or(d.Agent, "consort-agent"))
	req.Header.Set("Accept-Encoding", "identity") // the bytes as they are kept
	client := &http.Client{Transport: &route{rules, d.TLS}, CheckRedirect: rules.follow}
	resp, err := client.Do(req)
	if err != nil {
		return "", bare(ctx, err)
	}
	defer resp.Body.Close()
	if err := acceptable(resp, rules.Most); err != nil {
		return "", err
	}
	n, err := io.Copy(w, io.LimitReader(&lively{resp.Body, watchdog, idle}, rules.Most+1))
	if err != nil {
		return "", bare(ctx, err)
	}
	if n > rules.Most {
		return "", fmt.Errorf("%w: it has more than %d bytes", ErrTooLarge, rules.Most)
	}
	return resp.Request.URL.Scheme, nil
}

// bare is an error without the URL that net/http puts in front, and with the reason of a context that ended.
func bare(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	var e *url.Error
	if errors.As(err, &e) {
		return e.Err
	}
	return err
}

// acceptable tells whether an answer brings the file.
func acceptable(resp *http.Response, most int64) error {
	switch code := resp.StatusCode; {
	case code == http.StatusRequestTimeout, code == http.StatusTooEarly, code == http.StatusTooManyRequests, code >= 500:
		return fmt.Errorf("the server answers %d %s", code, http.StatusText(code))
	case code != http.StatusOK:
		return fmt.Errorf("%w: the server answers %d %s", ErrNoFile, code, http.StatusText(code))
	case resp.ContentLength > most:
		return fmt.Errorf("%w: it has %d bytes, at most %d are allowed", ErrTooLarge, resp.ContentLength, most)
	}
	return nil
}

// check tells whether a URL may be fetched.
func (r *Rules) check(u *url.URL) error {
	if !siteapi.URLAllowed(r.URLs, u) {
		return fmt.Errorf("%w: %s", ErrNotAllowed, prov.PublicURL(u.String()))
	}
	return nil
}

// follow decides on a redirect. The server that is led to does not learn from where: the URL may hold a key.
func (r *Rules) follow(req *http.Request, via []*http.Request) error {
	if len(via) > maxRedirects {
		return fmt.Errorf("%w: the server redirects more than %d times", ErrNoFile, maxRedirects)
	}
	u, err := siteapi.ParseURL(req.URL.String())
	if err != nil {
		return fmt.Errorf("%w: the server redirects to what is %w", ErrNoFile, err)
	}
	if err := r.check(u); err != nil {
		return err
	}
	req.URL, req.Host = u, ""
	req.Header.Del("Referer")
	return nil
}

// lively keeps a watchdog quiet while bytes come.
type lively struct {
	r        io.Reader
	watchdog *time.Timer
	idle     time.Duration
}

func (l *lively) Read(b []byte) (int, error) {
	n, err := l.r.Read(b)
	if n > 0 {
		l.watchdog.Reset(l.idle)
	}
	return n, err
}
