// Package request reads what HTTP clients send, in one place for every surface: who asks, decoded query
// pairs and path parameters, bounded bodies, forms with uploads; and it sends stored files. It decides
// nothing about jobs, and what is wrong with a request it says as errors of package fault.
package request

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/gofiber/fiber/v2"

	"consort/coordinator/api/fault"
	"consort/coordinator/auth"
	"consort/coordinator/jobs"
)

// MaxSegment is the greatest length in bytes of one decoded segment of a path.
const MaxSegment = 1024

// Facts is what the middleware found out about a request. It is set once, before any handler runs.
type Facts struct {
	ID        string         // request id, for logs and problem documents
	Principal auth.Principal // the verified caller
	Base      string         // scheme and host of absolute links, without a trailing slash
}

type factsKey struct{}

// SetFacts attaches facts to a request; only the middleware calls it.
func SetFacts(c *fiber.Ctx, f *Facts) { c.Locals(factsKey{}, f) }

// facts returns an empty Facts for a request that never reached the middleware.
func facts(c *fiber.Ctx) *Facts {
	if f, ok := c.Locals(factsKey{}).(*Facts); ok {
		return f
	}
	return new(Facts)
}

// ID returns the request id.
func ID(c *fiber.Ctx) string { return facts(c).ID }

// Principal returns the verified caller.
func Principal(c *fiber.Ctx) auth.Principal { return facts(c).Principal }

// Base returns scheme and host of absolute links, as the client asked for them or as configured, without a
// trailing slash.
func Base(c *fiber.Ctx) string { return facts(c).Base }

// Context returns the context of the request's work. It carries the request id, and ends when the server
// stops, not when the client goes away, which nobody reports.
func Context(c *fiber.Ctx) context.Context { return c.UserContext() }

// Key returns the Idempotency-Key of the request, empty if there is none.
func Key(c *fiber.Ctx) (string, error) {
	key := strings.Clone(c.Get("Idempotency-Key"))
	if len(key) > jobs.MaxKey {
		return "", fault.BadRequest("the Idempotency-Key is too long; use a random text such as a UUID")
	}
	for _, b := range []byte(key) {
		if b < 0x20 || b > 0x7e {
			return "", fault.BadRequest("the Idempotency-Key must consist of printable ASCII characters")
		}
	}
	return key, nil
}

// Param returns the decoded path parameter of that name. What can name nothing here (a slash, a control
// character, "..", no UTF-8, too long) is 404, and a broken percent-escape 400.
func Param(c *fiber.Ctx, name string) (string, error) { return segment(c.Params(name)) }

// Rest returns the decoded rest of the path, what "*" of a route stands for, checked as in Param segment by
// segment.
func Rest(c *fiber.Ctx) (string, error) {
	parts := strings.Split(c.Params("*"), "/")
	for i, raw := range parts {
		part, err := segment(raw)
		if err != nil {
			return "", err
		}
		parts[i] = part
	}
	return strings.Join(parts, "/"), nil
}

func segment(raw string) (string, error) {
	s, err := url.PathUnescape(raw)
	if err != nil {
		return "", fault.BadRequest("the path has a broken percent-escape")
	}
	bad := s == "" || s == "." || s == ".." || len(s) > MaxSegment || !utf8.ValidString(s) ||
		strings.ContainsFunc(s, func(r rune) bool { return r == '/' || unicode.IsControl(r) })
	if bad {
		return "", fault.NotFound("nothing can have this name")
	}
	return strings.Clone(s), nil
}

// Path joins segments to an escaped path that begins with a slash. A slash within a segment stays one.
func Path(segments ...string) string {
	var b strings.Builder
	for _, s := range segments {
		for _, part := range strings.Split(s, "/") {
			b.WriteByte('/')
			b.WriteString(escape(part))
		}
	}
	return b.String()
}

// legible gives back "@" and ":", which are legal in a path: definitions are shown as name@version.
var legible = strings.NewReplacer("%40", "@", "%3A", ":")

func escape(s string) string {
	escaped := url.PathEscape(s)
	if !strings.Contains(escaped, "%") { // as almost always
		return escaped
	}
	return legible.Replace(escaped)
}

// SeeOther answers with 303 and an absolute location.
func SeeOther(c *fiber.Ctx, location string) error {
	c.Set(fiber.HeaderLocation, location)
	c.Status(http.StatusSeeOther)
	return nil
}
