package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// Content writes the content with the given SHA-256 to w, from byte offset on. A cut connection is taken up
// where it ended. The caller, who has the bytes before offset, compares size and hash. An error of w ends
// the call.
func (c *Client) Content(ctx context.Context, ref Ref, sha256 string, w io.Writer, offset int64) error {
	what := path(ref, "content/"+sha256)
	return c.persist(ctx, what, func(ctx context.Context) error {
		n, err := c.contentOnce(ctx, what, w, offset)
		offset += n
		return err
	})
}

// contentOnce copies what one answer holds and returns how many bytes came.
func (c *Client) contentOnce(ctx context.Context, path string, w io.Writer, offset int64) (int64, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	watchdog := time.AfterFunc(idleTimeout, cancel)
	defer watchdog.Stop()

	r := &request{method: http.MethodGet, path: path, header: http.Header{}}
	if offset > 0 {
		r.header.Set("Range", fmt.Sprintf("bytes=%d-", offset))
	}
	resp, err := c.send(ctx, r)
	if isAtEnd(err) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	body := io.Reader(&progressReader{resp.Body, watchdog})
	if offset > 0 && resp.StatusCode != http.StatusPartialContent {
		if _, err := io.CopyN(io.Discard, body, offset); err != nil {
			return 0, fmt.Errorf("skip what is there already: %w", err)
		}
	}
	out := &writer{w: w}
	n, err := io.Copy(out, body)
	if out.err != nil {
		return n, &localError{out.err}
	}
	return n, err
}

// isAtEnd: a range that starts behind the last byte has nothing more to give.
func isAtEnd(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Status == http.StatusRequestedRangeNotSatisfiable
}

// progressReader keeps a watchdog quiet while bytes come.
type progressReader struct {
	r        io.Reader
	watchdog *time.Timer
}

func (p *progressReader) Read(b []byte) (int, error) {
	n, err := p.r.Read(b)
	if n > 0 {
		p.watchdog.Reset(idleTimeout)
	}
	return n, err
}

// writer remembers that it was the destination that went wrong, not the connection.
type writer struct {
	w   io.Writer
	err error
}

func (w *writer) Write(b []byte) (int, error) {
	n, err := w.w.Write(b)
	if err != nil {
		w.err = err
	}
	return n, err
}

func bytesBody(data []byte) func() (io.ReadCloser, int64, error) {
	return func() (io.ReadCloser, int64, error) {
		return io.NopCloser(bytes.NewReader(data)), int64(len(data)), nil
	}
}
