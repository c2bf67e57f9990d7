package request

import (
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"

	"consort/coordinator/api/fault"
)

// A body must keep coming: the sender may pause for bodyPause, and on the whole be no slower than
// bodyRate after the first bodyGrace.
const (
	bodyPause = 30 * time.Second
	bodyGrace = 60 * time.Second
	bodyRate  = 512 // bytes per second
)

// Body returns a reader of the request's body. It fails with 413 past limit bytes (0: no limit of its own),
// with 408 when the client is too slow, with 400 when the body ends early or its chunks are malformed, and with 415
// when it is compressed (RFC 9110, section 8.4): what is stored and hashed is what was sent.
func Body(c *fiber.Ctx, limit int64) (io.Reader, error) {
	ctx := c.Context()
	if coding := c.Get(fiber.HeaderContentEncoding); coding != "" && !strings.EqualFold(coding, "identity") {
		c.Set(fiber.HeaderAcceptEncoding, "identity")
		return nil, unsupported("Content-Encoding is not supported; send the body as it is")
	}
	if n := int64(ctx.Request.Header.ContentLength()); limit > 0 && n > limit {
		return nil, tooLarge(limit)
	}
	stream := ctx.RequestBodyStream()
	if stream == nil {
		return http.NoBody, nil
	}
	now := time.Now()
	return &bodyReader{stream: stream, deadline: ctx.SetReadDeadline, limit: limit, begun: now}, nil
}

type bodyReader struct {
	stream   io.Reader
	deadline func(time.Time) error
	limit    int64
	begun    time.Time
	read     int64
	err      error
}

func (b *bodyReader) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	slowest := b.begun.Add(bodyGrace + time.Duration(b.read/bodyRate)*time.Second)
	if pause := time.Now().Add(bodyPause); pause.Before(slowest) {
		slowest = pause
	}
	if err := b.deadline(slowest); err != nil {
		return 0, bodyError(err)
	}
	n, err := b.stream.Read(p)
	b.read += int64(n)
	switch {
	case b.limit > 0 && b.read > b.limit:
		b.err = tooLarge(b.limit)
		return 0, b.err
	case err == io.EOF:
		b.err = io.EOF
	case err != nil:
		b.err = bodyError(err)
	}
	return n, b.err
}

// bodyError says whose fault it was: always the client's, or the network's on its side.
func bodyError(err error) error {
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		return &fault.Error{Status: http.StatusRequestTimeout, Code: "timeout", Message: "the body of the request came too slowly"}
	}
	return fault.BadRequest("the body of the request is incomplete, or its chunks are malformed")
}

func tooLarge(limit int64) error {
	return fault.TooLarge("the request's body is larger than allowed: " + size(limit))
}

// ReadBody returns a body of at most limit bytes.
func ReadBody(c *fiber.Ctx, limit int64) ([]byte, error) {
	r, err := Body(c, limit)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(r)
}

// JSON decodes a body of at most limit bytes into v. Unknown fields are let pass, so that newer clients can
// talk to older servers; anything after the value is refused.
func JSON(c *fiber.Ctx, limit int64, v any) error {
	data, err := ReadBody(c, limit)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, v); err != nil {
		return fault.BadRequest("the body is not the JSON expected here: " + shorten(err.Error()))
	}
	return nil
}
