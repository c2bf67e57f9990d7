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
