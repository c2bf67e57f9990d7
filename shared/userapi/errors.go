package userapi

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"

	"consort/shared/retry"
)

// errStalled cancels a call in which nothing moved any more.
var errStalled = fmt.Errorf("nothing came for %s", stallAfter)

// Unreachable says that the server could not be reached, or that the connection broke before its answer was
// complete. Whether a change took place is then not known.
type Unreachable struct {
	Server string // base URL
	Err    error
}

// Error tells server and cause.
func (u *Unreachable) Error() string {
	switch {
	case errors.Is(u.Err, syscall.ECONNREFUSED):
		return fmt.Sprintf("cannot reach %s: nothing accepts connections there", u.Server)
	case untrusted(u.Err):
		return fmt.Sprintf("cannot trust %s: %v", u.Server, u.Err)
	case errors.Is(u.Err, io.EOF) || errors.Is(u.Err, io.ErrUnexpectedEOF) || errors.Is(u.Err, syscall.ECONNRESET):
		return fmt.Sprintf("the connection to %s broke", u.Server)
	}
	return fmt.Sprintf("cannot reach %s: %v", u.Server, u.Err)
}

// Unwrap gives the cause.
func (u *Unreachable) Unwrap() error { return u.Err }

// networkError sorts an error of the network from the caller's giving up.
func (c *Client) networkError(ctx context.Context, err error) error {
	cause := context.Cause(ctx)
	switch {
	case errors.Is(cause, errStalled):
		err = errStalled
	case cause != nil:
		return cause
	}
	var ue *url.Error
	if errors.As(err, &ue) {
		err = ue.Err
	}
	return &Unreachable{Server: c.base, Err: err}
}

func untrusted(err error) bool {
	var (
		verify *tls.CertificateVerificationError
		record tls.RecordHeaderError
		host   x509.HostnameError
	)
	return errors.As(err, &verify) || errors.As(err, &record) || errors.As(err, &host)
}

// neverSent tells that a request did not even leave, so that repeating it is safe whatever it does.
func neverSent(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}

// Passing tells whether an error may go away by itself: a busy server, or none that answers.
func Passing(err error) bool {
	var p *Problem
	if errors.As(err, &p) {
		switch p.Status {
		case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
			return true
		}
		return false
	}
	var u *Unreachable
	if !errors.As(err, &u) || untrusted(u.Err) {
		return false
	}
	var dns *net.DNSError
	return !errors.As(err, &dns) || !dns.IsNotFound
}

// patience decides how long one call goes on.
type patience struct {
	ctx     context.Context
	began   time.Time
	most    time.Duration
	backoff retry.Backoff
}

func (c *Client) patience(ctx context.Context) *patience {
	return &patience{ctx: ctx, began: time.Now(), most: c.retryFor, backoff: retry.Backoff{First: 200 * time.Millisecond, Max: 3 * time.Second}}
}

// again waits before the next try, or tells that there should be none.
func (p *patience) again(err error) bool {
	if !Passing(err) {
		return false
	}
	most := p.most
	if errors.Is(err, syscall.ECONNREFUSED) {
		most = min(most, refusedFor)
	}
	var after time.Duration
	var problem *Problem
	if errors.As(err, &problem) {
		after = problem.RetryAfter
	}
	if time.Since(p.began)+after >= most {
		return false
	}
	return p.backoff.Wait(p.ctx, after) == nil
}

// problemOf reads the body of an error: problem+json, or the plain text of UWS.
func problemOf(resp *http.Response) *Problem {
	body, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10)) // what came is better than nothing
	p := &Problem{}
	media, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	switch media {
	case "application/problem+json", "application/json":
		if json.Unmarshal(body, p) != nil {
			p = &Problem{}
		}
	case "text/plain":
		p.Detail = strings.TrimSpace(string(body[:min(len(body), 8<<10)]))
	}
	p.Status = resp.StatusCode
	if p.Title == "" {
		p.Title = fmt.Sprintf("the server answered %d %s", resp.StatusCode, http.StatusText(resp.StatusCode))
	}
	if p.Code == "" {
		p.Code = codeOf(resp.StatusCode)
	}
	if p.RequestID == "" {
		p.RequestID = resp.Header.Get("X-Request-Id")
	}
	p.RetryAfter = retryAfter(resp.Header.Get("Retry-After"))
	return p
}

// codeOf is the code of an error told without one. A plain 403 has none: in UWS it means rights as well as
// phases.
func codeOf(status int) string {
	switch status {
	case http.StatusBadRequest:
		return "invalid"
	case http.StatusUnauthorized:
		return "unauthenticated"
	case http.StatusNotFound:
		return "not-found"
	case http.StatusConflict:
		return "conflict"
	case http.StatusRequestEntityTooLarge:
		return "too-large"
	case http.StatusServiceUnavailable:
		return "busy"
	}
	return ""
}

func retryAfter(text string) time.Duration {
	if seconds, err := strconv.ParseUint(strings.TrimSpace(text), 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(text); err == nil {
		return max(0, time.Until(at))
	}
	return 0
}

// Auth tells whether err says that the caller is not known, or may not do this.
func Auth(err error) bool {
	var p *Problem
	return errors.As(err, &p) && (p.Status == http.StatusUnauthorized || p.Code == "forbidden")
}

// NotFound tells whether err says that something is not there, or not to be seen by the caller.
func NotFound(err error) bool {
	var p *Problem
	return errors.As(err, &p) && p.Status == http.StatusNotFound
}
