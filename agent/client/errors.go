package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"consort/shared/siteapi"
)

// Error is an answer of 400 or above. It matches, through errors.As, anything that a server said; errors
// of the way to the server are other types.
type Error struct {
	Server     string        // base URL of who answered
	Status     int           // of HTTP
	Code       string        // of siteapi; empty when the body was not a coordinator's, as of a proxy
	Message    string        // for people
	RetryAfter time.Duration // zero: the server did not say
}

// Error says who answered what.
func (e *Error) Error() string {
	if e.Code == "" {
		return fmt.Sprintf("%s answered %d %s, not in the coordinators' form (a proxy between?)", e.Server, e.Status, http.StatusText(e.Status))
	}
	return fmt.Sprintf("%s answered %d %s: %s", e.Server, e.Status, e.Code, e.Message)
}

// IsStale tells that another attempt of the job is current: stop this one and clean up.
func IsStale(err error) bool { return hasCode(err, siteapi.CodeStale) }

// IsNotTrusted tells that the coordinators do not take the site's word: its key was revoked, is not the one that it
// was enrolled with, or belongs to another cluster, or nobody added the site, or its clock is wrong.
func IsNotTrusted(err error) bool {
	var e *Error
	return errors.As(err, &e) && (e.Code == siteapi.CodeRevoked || e.Code == siteapi.CodeRefused && e.Status == http.StatusUnauthorized)
}

// IsFinal tells that a coordinator understood the message and said no; repeating it is of no use.
func IsFinal(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.final()
}

func hasCode(err error, code string) bool {
	var e *Error
	return errors.As(err, &e) && e.Code == code
}

// final: an answer that nobody but a coordinator can have given and that will not change by itself. A
// revoked key may be enrolled again and an agent too old may be upgraded while its results wait, so these
// are not final.
func (e *Error) final() bool {
	switch e.Code {
	case "", siteapi.CodeRevoked, siteapi.CodeProtocol, siteapi.CodeBusy, siteapi.CodeUnknown:
		return false
	}
	switch e.Status {
	case http.StatusUnauthorized, http.StatusRequestTimeout, http.StatusTooManyRequests:
		return false
	}
	return e.Status < 500
}

// slow answers are repeated, but rarely: a human has to act first.
func (e *Error) slow() bool {
	return e.Code == siteapi.CodeRevoked || e.Code == siteapi.CodeProtocol
}

// readError makes the Error of an answer of 400 or above.
func readError(server string, resp *http.Response) *Error {
	e := &Error{Server: server, Status: resp.StatusCode, RetryAfter: retryAfter(resp.Header.Get("Retry-After"))}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxError))
	var said siteapi.Error
	if err == nil && json.Unmarshal(body, &said) == nil {
		e.Code, e.Message = said.Code, said.Message
	}
	return e
}

// retryAfter reads the seconds of a Retry-After header (RFC 9110, 10.2.3), at most five minutes of them.
func retryAfter(s string) time.Duration {
	n, err := strconv.Atoi(s)
	if err != nil || n < 0 {
		return 0
	}
	return min(time.Duration(n)*time.Second, 5*time.Minute)
}
