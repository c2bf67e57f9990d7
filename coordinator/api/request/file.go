package request

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"

	"consort/coordinator/api/fault"
	"consort/coordinator/jobs"
)

// writePause is how long a client may leave sent bytes unread before its connection is cut.
const writePause = 60 * time.Second

// SendFile streams a stored file and closes it: with its declared type and a safe name, with Range, ETag and
// If-None-Match (RFC 9110), and never so that a browser would run what is in it. HEAD gets the headers.
func SendFile(c *fiber.Ctx, f *jobs.File) error {
	contentType := mediaType(f.ContentType)
	c.Set(fiber.HeaderContentType, contentType)
	c.Set(fiber.HeaderContentDisposition, disposition(contentType, f.Name))
	c.Set(fiber.HeaderContentSecurityPolicy, "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:")
	c.Set(fiber.HeaderAcceptRanges, "bytes")
	etag := ""
	if f.SHA256 != "" {
		etag = `"` + f.SHA256 + `"`
		c.Set(fiber.HeaderETag, etag)
	}
	if etag != "" && matches(c.Get(fiber.HeaderIfNoneMatch), etag) {
		c.Status(http.StatusNotModified)
		return f.Close()
	}
	from, length, status := int64(0), f.Size, http.StatusOK
	if condition := c.Get(fiber.HeaderIfRange); condition == "" || condition == etag {
		from, length, status = parseRange(c.Get(fiber.HeaderRange), f.Size)
	}
	switch status {
	case http.StatusRequestedRangeNotSatisfiable:
		c.Set(fiber.HeaderContentRange, "bytes */"+strconv.FormatInt(f.Size, 10))
		problem := &fault.Error{Status: status, Code: "range", Message: fmt.Sprintf("the range lies outside the file, which has %d bytes", f.Size)}
		return errors.Join(problem, f.Close())
	case http.StatusPartialContent:
		c.Set(fiber.HeaderContentRange, "bytes "+strconv.FormatInt(from, 10)+"-"+
			strconv.FormatInt(from+length-1, 10)+"/"+strconv.FormatInt(f.Size, 10))
	}
	c.Status(status)
	body := &fileBody{SectionReader: io.NewSectionReader(f.File, from, length), Closer: f, extend: writeDeadline(c)}
	c.Context().SetBodyStream(body, int(length))
	return nil
}

// fileBody is a part of a file that is closed when it was sent.
type fileBody struct {
	*io.SectionReader
	io.Closer
	extend func() error
}

// Read moves the write deadline on: reading more means that what was read before has been sent.
func (b *fileBody) Read(p []byte) (int, error) {
	if err := b.extend(); err != nil {
		return 0, err
	}
	return b.SectionReader.Read(p)
}

// WriteTo copies in larger pieces than fasthttp would.
func (b *fileBody) WriteTo(w io.Writer) (int64, error) {
	buffer := make([]byte, min(b.Size()+1, 128<<10))
	return io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{b}, buffer)
}

// writeDeadline returns a function that grants a client another writePause. The connection is taken here,
// since the request may not be touched while the answer is streamed.
func writeDeadline(c *fiber.Ctx) func() error {
	conn := c.Context().Conn()
	return func() error { return conn.SetWriteDeadline(time.Now().Add(writePause)) }
}

// matches tells whether an If-None-Match names the tag, by weak comparison.
func matches(header, etag string) bool {
	for tag := range strings.SplitSeq(header, ",") {
		tag = strings.TrimPrefix(strings.TrimSpace(tag), "W/")
		if tag == etag || tag == "*" {
			return true
		}
	}
	return false
}

// parseRange reads a Range header. Several ranges, other units and nonsense are answered with the whole, as
// RFC 9110, section 14.2 allows.
func parseRange(header string, size int64) (from, length int64, status int) {
	spec, ok := strings.CutPrefix(strings.TrimSpace(header), "bytes=")
	first, last, isRange := strings.Cut(strings.TrimSpace(spec), "-")
	if !ok || !isRange || strings.Contains(spec, ",") {
		return 0, size, http.StatusOK
	}
	if first == "" {
		n, err := strconv.ParseUint(last, 10, 62)
		switch {
		case err != nil:
			return 0, size, http.StatusOK
		case n == 0 || size == 0:
			return 0, 0, http.StatusRequestedRangeNotSatisfiable
		}
		length = min(int64(n), size)
		return size - length, length, http.StatusPartialContent
	}
	a, err := strconv.ParseUint(first, 10, 62)
	if err != nil {
		return 0, size, http.StatusOK
	}
	end := size - 1
	if last != "" {
		b, err := strconv.ParseUint(last, 10, 62)
		if err != nil || b < a {
			return 0, size, http.StatusOK
		}
		end = min(end, int64(b))
	}
	if int64(a) >= size {
		return 0, 0, http.StatusRequestedRangeNotSatisfiable
	}
	return int64(a), end - int64(a) + 1, http.StatusPartialContent
}

// disposition names the file (RFC 6266). What a browser could run, when opened from our origin, is for
// saving only.
func disposition(contentType, name string) string {
	how := "inline"
	kind, _, _ := mime.ParseMediaType(contentType)
	if strings.HasSuffix(kind, "+xml") || strings.HasSuffix(kind, "/xml") || strings.Contains(kind, "html") || strings.Contains(kind, "script") {
		how = "attachment"
	}
	name = label(name)
	if name == "" {
		return how
	}
	plain := strings.Map(func(r rune) rune {
		if r > 0x7e || r == '"' || r == '\\' || r == '%' {
			return '_'
		}
		return r
	}, name)
	header := how + `; filename="` + plain + `"`
	if plain != name {
		header += "; filename*=UTF-8''" + extended(name)
	}
	return header
}

// extended encodes a value as RFC 8187 asks: all but attr-char.
func extended(s string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for _, c := range []byte(s) {
		if c < 0x80 && (c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || strings.IndexByte("!#$&+-.^_`|~", c) >= 0) {
			b.WriteByte(c)
			continue
		}
		b.WriteByte('%')
		b.WriteByte(hex[c>>4])
		b.WriteByte(hex[c&15])
	}
	return b.String()
}
