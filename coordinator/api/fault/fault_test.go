package fault

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/gofiber/fiber/v2"

	"consort/coordinator/auth"
	"consort/coordinator/content"
	"consort/coordinator/definitions"
	"consort/coordinator/jobs"
	"consort/coordinator/replica"
)

func TestOf(t *testing.T) {
	for _, c := range []struct {
		err    error
		status int
		code   string
	}{
		{BadRequest("x"), 400, "invalid"},
		{NotFound("x"), 404, "not-found"},
		{TooLarge("x"), 413, "too-large"},
		{auth.ErrUnauthenticated, 401, "unauthenticated"},
		{auth.ErrForbidden, 403, "forbidden"},
		{jobs.ErrIllegalPhase, 403, "illegal-phase"},
		{jobs.ErrMissing, 403, "missing-parameters"},
		{jobs.ErrKeyConflict, 409, "conflict"},
		{jobs.ErrNotFound, 404, "not-found"},
		{definitions.ErrNotFound, 404, "not-found"},
		{content.ErrDiskLow, 503, "busy"},
		{replica.ErrUnknown, 503, "unknown"},
		{context.Canceled, 503, "busy"},
		{fiber.ErrMethodNotAllowed, 405, "method-not-allowed"},
		{fiber.ErrNotFound, 404, "not-found"},
		{errors.New("secret"), 500, "internal"},
	} {
		f := Of(fmt.Errorf("do it: %w", c.err))
		if f.Status != c.status || f.Code != c.code || f.Message == "" {
			t.Errorf("%v: %+v", c.err, f)
		}
		if f.Challenge != (c.status == http.StatusUnauthorized) || (f.RetryAfter > 0) != (c.status == http.StatusServiceUnavailable) {
			t.Errorf("%v: %+v", c.err, f)
		}
		if strings.Contains(f.Message, "secret") {
			t.Errorf("%v: %s", c.err, f.Message)
		}
	}
}

// TestMessages: what libraries say is never passed on, and a job that is not there is told in one way.
func TestMessages(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{
		{jobs.ErrNotFound, "there is no such job"},
		{NoJob(), "there is no such job"},
		{fmt.Errorf("%w: no such input file", jobs.ErrNotFound), "not found: no such input file"},
		{fiber.NewError(400, "error when reading request headers: GET /secret"), "this is not a well-formed HTTP request"},
		{fiber.NewError(431, "secret"), "the header of the request is too large"},
		{fiber.NewError(408, "secret"), "the request came too slowly"},
		{fiber.NewError(413, "secret"), "the body of the request is too large"},
		{fiber.NewError(502, "secret"), "Bad Gateway"},
	} {
		if got := Of(c.err).Message; got != c.want {
			t.Errorf("%v: %q, want %q", c.err, got, c.want)
		}
	}
}
