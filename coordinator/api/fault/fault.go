// Package fault turns errors into HTTP, in one place for every surface: which status, which stable code, and
// what the caller is told. What it does not know is an internal error: logged, never shown.
package fault

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/gofiber/fiber/v2"

	"consort/coordinator/auth"
	"consort/coordinator/content"
	"consort/coordinator/definitions"
	"consort/coordinator/jobs"
	"consort/coordinator/provenance"
	"consort/coordinator/replica"
	"consort/coordinator/scheduler"
	"consort/coordinator/sites"
	"consort/coordinator/state"
	"consort/shared/siteapi"
	"consort/shared/uws"
)

// Fault is an error as HTTP tells it.
type Fault struct {
	Status     int
	Code       string        // stable, for programs
	Message    string        // what happened, why, and what to do
	RetryAfter time.Duration // 0: no such header
	Challenge  bool          // 401: say how to authenticate
}

// Error is for handlers that know best what to answer.
type Error struct {
	Status  int
	Code    string
	Message string
}

func (e *Error) Error() string { return e.Message }

// BadRequest is the error for input that makes no sense.
func BadRequest(message string) error { return &Error{http.StatusBadRequest, "invalid", message} }

// TooLarge is the error for a body, or a part of one, over its limit.
func TooLarge(message string) error {
	return &Error{http.StatusRequestEntityTooLarge, "too-large", message}
}

// NotFound is the error for what is not there.
func NotFound(message string) error { return &Error{http.StatusNotFound, "not-found", message} }

// NoJob is the error for a job that is not there, was deleted, or is not for the caller to see: nobody can tell which.
func NoJob() error { return NotFound("there is no such job") }

type rule struct {
	err    error
	status int
	code   string
}

// rules are looked through in order.
var rules = []rule{
	{auth.ErrBadCredentials, http.StatusUnauthorized, "bad-credentials"},
	{auth.ErrUnauthenticated, http.StatusUnauthorized, "unauthenticated"},
	{auth.ErrForbidden, http.StatusForbidden, "forbidden"},
	{sites.ErrRevoked, http.StatusForbidden, siteapi.CodeRevoked},
	{siteapi.ErrBadToken, http.StatusUnauthorized, siteapi.CodeRefused},
	{sites.ErrRefused, http.StatusForbidden, siteapi.CodeRefused},
	{sites.ErrProtocol, http.StatusBadRequest, siteapi.CodeProtocol},
	{scheduler.ErrFenced, http.StatusConflict, siteapi.CodeStale},
	{jobs.ErrStale, http.StatusConflict, siteapi.CodeStale},
	{content.ErrNoLease, http.StatusConflict, siteapi.CodeStale},
	{jobs.ErrMissing, http.StatusForbidden, "missing-parameters"},
	{jobs.ErrIllegalPhase, http.StatusForbidden, "illegal-phase"},
	{jobs.ErrKeyConflict, http.StatusConflict, "conflict"},
	{jobs.ErrIncomplete, http.StatusConflict, "incomplete"},
	{jobs.ErrTooLarge, http.StatusRequestEntityTooLarge, "too-large"},
	{content.ErrTooLarge, http.StatusRequestEntityTooLarge, "too-large"},
	{content.ErrSealed, http.StatusConflict, "conflict"},
	{content.ErrManifest, http.StatusBadRequest, "invalid"},
	{jobs.ErrInvalid, http.StatusBadRequest, "invalid"},
	{state.ErrCursor, http.StatusBadRequest, "invalid"},
	{uws.ErrInvalid, http.StatusBadRequest, "invalid"},
	{jobs.ErrNotFound, http.StatusNotFound, "not-found"},
	{definitions.ErrNotFound, http.StatusNotFound, "not-found"},
	{provenance.ErrNotFound, http.StatusNotFound, "not-found"},
	{sites.ErrNotFound, http.StatusNotFound, "not-found"},
	{sites.ErrExists, http.StatusConflict, "conflict"},
	{sites.ErrInvalid, http.StatusBadRequest, "invalid"},
	{jobs.ErrBusy, http.StatusServiceUnavailable, siteapi.CodeBusy},
	{content.ErrDiskLow, http.StatusServiceUnavailable, siteapi.CodeBusy},
	{replica.ErrOverloaded, http.StatusServiceUnavailable, siteapi.CodeBusy},
	{replica.ErrNotLeader, http.StatusServiceUnavailable, siteapi.CodeBusy},
	{replica.ErrStopped, http.StatusServiceUnavailable, siteapi.CodeBusy},
	{replica.ErrUnknown, http.StatusServiceUnavailable, siteapi.CodeUnknown},
	{state.ErrClosed, http.StatusServiceUnavailable, siteapi.CodeBusy},
	{context.Canceled, http.StatusServiceUnavailable, siteapi.CodeBusy}, // the server stops
	{context.DeadlineExceeded, http.StatusServiceUnavailable, siteapi.CodeUnknown},
}

// Of classifies err.
func Of(err error) Fault {
	var own *Error
	if errors.As(err, &own) {
		return Fault{Status: own.Status, Code: own.Code, Message: own.Message}
	}
	var fe *fiber.Error
	if errors.As(err, &fe) {
		return Fault{Status: fe.Code, Code: codeOf(fe.Code), Message: messageOf(fe)}
	}
	for _, r := range rules {
		if !errors.Is(err, r.err) {
			continue
		}
		f := Fault{Status: r.status, Code: r.code, Message: err.Error(), Challenge: r.status == http.StatusUnauthorized}
		if err == jobs.ErrNotFound { // whatever else is not there says what it is
			f.Message = NoJob().Error()
		}
		if r.status == http.StatusServiceUnavailable {
			f.RetryAfter = 2 * time.Second
		}
		return f
	}
	return Fault{
		Status: http.StatusInternalServerError, Code: "internal",
		Message: "something went wrong inside the server; the request id helps its operator to find out what",
	}
}

// messageOf words what the router and the HTTP library say; they would repeat the path asked for.
func messageOf(e *fiber.Error) string {
	switch e.Code {
	case http.StatusNotFound:
		return "there is nothing at this address"
	case http.StatusMethodNotAllowed:
		return "this method is not allowed here; see the Allow header"
	case http.StatusRequestHeaderFieldsTooLarge:
		return "the header of the request is too large"
	case http.StatusRequestTimeout:
		return "the request came too slowly"
	case http.StatusRequestEntityTooLarge:
		return "the body of the request is too large"
	case http.StatusBadRequest:
		return "this is not a well-formed HTTP request"
	}
	return http.StatusText(e.Code)
}

func codeOf(status int) string {
	switch status {
	case http.StatusNotFound:
		return "not-found"
	case http.StatusMethodNotAllowed:
		return "method-not-allowed"
	case http.StatusRequestEntityTooLarge:
		return "too-large"
	case http.StatusRequestHeaderFieldsTooLarge:
		return "too-large"
	case http.StatusUnsupportedMediaType:
		return "unsupported-media-type"
	case http.StatusServiceUnavailable:
		return "busy"
	}
	if status >= 500 {
		return "internal"
	}
	return "invalid"
}
