package request

import (
	"bufio"
	"errors"
	"net/http"

	"github.com/gofiber/fiber/v2"
)

// errGone ends a stream whose client does not read.
var errGone = errors.New("the client is gone")

// Stream sends an answer of unknown length while write makes it. The status is out when write starts, so
// write says in the document itself what goes wrong later. It must not touch the request, flushes by
// calling the given function, and stops when that returns an error. HEAD gets the headers only, and write
// is not called.
func Stream(c *fiber.Ctx, contentType string, write func(w *bufio.Writer, flush func() error)) error {
	c.Set(fiber.HeaderContentType, contentType)
	if c.Method() == fiber.MethodHead {
		c.Context().SetBodyStream(http.NoBody, -1) // of no known length, rather than of length 0
		return nil
	}
	extend := writeDeadline(c)
	c.Context().SetBodyStreamWriter(func(w *bufio.Writer) {
		write(w, func() error {
			if extend() != nil || w.Flush() != nil {
				return errGone
			}
			return nil
		})
	})
	return nil
}
