package client

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"consort/shared/siteapi"
)

// Ref names the attempt that a call is about.
type Ref = siteapi.AttemptRef

// Poll asks once for work; it may be held for the request's Wait. The caller repeats it.
func (c *Client) Poll(ctx context.Context, poll *siteapi.PollRequest) (*siteapi.PollResponse, error) {
	r, err := jsonRequest(siteapi.PollPath, poll, time.Duration(poll.Wait)*time.Second+smallTimeout)
	if err != nil {
		return nil, err
	}
	var answer siteapi.PollResponse
	if err := c.call(ctx, r, &answer); err != nil {
		return nil, err
	}
	return &answer, nil
}

// Report tells once how far an attempt is. It is a courtesy to the user: the caller may drop it.
func (c *Client) Report(ctx context.Context, ref Ref, report siteapi.Report) (siteapi.Answer, error) {
	var answer siteapi.Answer
	r, err := jsonRequest(path(ref, "report"), report, smallTimeout)
	if err != nil {
		return answer, err
	}
	err = c.call(ctx, r, &answer)
	return answer, err
}

// Offsets asks how much of each file has arrived and was hashed.
func (c *Client) Offsets(ctx context.Context, ref Ref, paths []string) (siteapi.OffsetResponse, error) {
	var answer siteapi.OffsetResponse
	err := c.post(ctx, ref, "offsets", siteapi.OffsetRequest{Paths: paths}, sealTimeout, &answer)
	return answer, err
}

// Seal has the uploaded files made durable, compared and moved into the store. It returns the files to push
// again.
func (c *Client) Seal(ctx context.Context, ref Ref, files []siteapi.File) ([]siteapi.BadFile, error) {
	timeout := sealTimeout
	for _, f := range files {
		timeout += time.Duration(f.Size/slowestDisk) * time.Second
	}
	var answer siteapi.SealResponse
	err := c.post(ctx, ref, "seal", siteapi.SealRequest{Files: files}, timeout, &answer)
	return answer.Bad, err
}

// Manifest sends one part of the list of outputs.
func (c *Client) Manifest(ctx context.Context, ref Ref, part siteapi.ManifestPart) (siteapi.Answer, error) {
	var answer siteapi.Answer
	err := c.post(ctx, ref, "manifest", part, smallTimeout, &answer)
	return answer, err
}

// Commit makes the results visible.
func (c *Client) Commit(ctx context.Context, ref Ref, commit siteapi.CommitRequest) (siteapi.Answer, error) {
	var answer siteapi.Answer
	err := c.post(ctx, ref, "commit", commit, smallTimeout, &answer)
	return answer, err
}

// Fail ends an attempt without results.
func (c *Client) Fail(ctx context.Context, ref Ref, fail siteapi.FailRequest) (siteapi.Answer, error) {
	var answer siteapi.Answer
	err := c.post(ctx, ref, "fail", fail, smallTimeout, &answer)
	return answer, err
}

// CloseAttempt ends a cancelled attempt.
func (c *Client) CloseAttempt(ctx context.Context, ref Ref, end siteapi.CloseRequest) (siteapi.Answer, error) {
	var answer siteapi.Answer
	err := c.post(ctx, ref, "close", end, smallTimeout, &answer)
	return answer, err
}

// PutLog stores a final log of size bytes, of which open gives a fresh reader for each try. fullSize is what
// the code wrote, which may be more.
func (c *Client) PutLog(ctx context.Context, ref Ref, stream string, size, fullSize int64, open func() (io.ReadCloser, error)) (siteapi.StoredLog, error) {
	r := &request{
		method: http.MethodPut, path: path(ref, "logs/"+stream), contentType: "application/octet-stream",
		query: url.Values{"full_size": {strconv.FormatInt(fullSize, 10)}},
		body: func() (io.ReadCloser, int64, error) {
			body, err := open()
			return body, size, err
		},
		timeout: smallTimeout + time.Duration(size/slowestLink)*time.Second,
	}
	var answer siteapi.StoredLog
	err := c.persist(ctx, r.path, func(ctx context.Context) error { return c.call(ctx, r, &answer) })
	return answer, err
}

// LiveLog sends a chunk of a growing log once.
func (c *Client) LiveLog(ctx context.Context, ref Ref, stream string, offset int64, chunk []byte) (siteapi.LiveAnswer, error) {
	r := &request{
		method: http.MethodPost, path: path(ref, "logs/"+stream+"/live"), contentType: "application/octet-stream",
		query: url.Values{"offset": {strconv.FormatInt(offset, 10)}}, body: bytesBody(chunk), timeout: smallTimeout,
	}
	var answer siteapi.LiveAnswer
	err := c.call(ctx, r, &answer)
	return answer, err
}

// post sends a message about an attempt until it is answered.
func (c *Client) post(ctx context.Context, ref Ref, verb string, message any, timeout time.Duration, answer any) error {
	r, err := jsonRequest(path(ref, verb), message, timeout)
	if err != nil {
		return err
	}
	return c.persist(ctx, r.path, func(ctx context.Context) error { return c.call(ctx, r, answer) })
}

func path(ref Ref, verb string) string {
	return siteapi.AttemptPath(url.PathEscape(ref.Job), ref.Epoch) + "/" + verb
}
