package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/gofiber/fiber/v2"

	"consort/coordinator/api/fault"
	"consort/coordinator/api/request"
	"consort/shared/siteapi"
	"consort/shared/telemetry"
	"consort/shared/userapi"
)

// fail renders an error as the surface asked understands it. Fiber calls it too, for requests that are so
// broken that no middleware saw them.
func (s *Server) fail(c *fiber.Ctx, err error) error {
	f := fault.Of(err)
	switch {
	case f.Status == http.StatusInternalServerError:
		s.cfg.Logger.ErrorContext(request.Context(c), "request failed", "error", err.Error(), "path", telemetry.Safe(c.Path()))
	case f.Status == http.StatusRequestTimeout, f.Status == http.StatusRequestEntityTooLarge:
		c.Context().SetConnectionClose() // what is left of the body is not read
	}
	expectRest(c)
	c.Response().ResetBody()
	c.Response().Header.Del(fiber.HeaderContentDisposition)
	c.Status(f.Status)
	if f.RetryAfter > 0 {
		c.Set(fiber.HeaderRetryAfter, strconv.Itoa(int(f.RetryAfter.Seconds())))
	}
	path := c.Path()
	if f.Challenge {
		challenge(c, !strings.HasPrefix(path, sitesPrefix))
	}
	switch {
	case strings.HasPrefix(path, sitesPrefix):
		return send(c, fiber.MIMEApplicationJSON, siteapi.Error{Code: f.Code, Message: f.Message})
	case strings.HasPrefix(path, "/api/v1/"):
		return send(c, "application/problem+json", userapi.Problem{
			Type: "about:blank", Title: http.StatusText(f.Status), Status: f.Status,
			Detail: f.Message, Code: f.Code, RequestID: request.ID(c),
		})
	}
	c.Set(fiber.HeaderContentType, fiber.MIMETextPlainCharsetUTF8)
	return c.SendString(strings.ToValidUTF8(f.Message, "\uFFFD") + "\n")
}

// challenge says how to authenticate. VO clients that know nothing of bearer tokens react to Basic only.
func challenge(c *fiber.Ctx, basic bool) {
	if basic {
		c.Response().Header.Add(fiber.HeaderWWWAuthenticate, `Basic realm="consort", charset="UTF-8"`)
	}
	c.Response().Header.Add(fiber.HeaderWWWAuthenticate, `Bearer realm="consort"`)
}

func send(c *fiber.Ctx, contentType string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode an error: %w", err)
	}
	c.Set(fiber.HeaderContentType, contentType)
	return c.Send(data)
}
