package userapi

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"net/url"
	"path"
	"strconv"
	"strings"
	"time"

	"consort/shared/ids"
	"consort/shared/retry"
	"consort/shared/uws"
)

// KeyHeader carries the key by which a repeated creation is known.
const KeyHeader = "Idempotency-Key"

// maxWait is the longest WAIT that the server holds.
const maxWait = 50 * time.Second

// Field is one parameter, or one reference for an input, as text.
type Field struct{ Name, Value string }

// Upload is one file for an input.
type Upload struct {
	Input    string // name of the input
	FileName string
	Content  io.ReaderAt // read once for each try
	Size     int64       // bytes
}

// Submission is a job to be created.
type Submission struct {
	Definition string // name, or name@version
	Fields     []Field
	Uploads    []Upload
	RunID      string        // label; empty: none
	Duration   time.Duration // zero: the definition's default
	Draft      bool          // leave it PENDING; else it is run at once
	Reuse      bool          // take the results of an earlier job of which the same was asked, where there is one
	Key        string        // empty: a fresh one
}

// Submitted tells of a job that was created.
type Submitted struct {
	ID string
	// Computed is the id of an earlier job of which the same was asked and that has completed; empty: none is known.
	Computed string
	// Retracted are inputs, as qualified names, that should not be used.
	Retracted []string
}

// Submit creates a job by UWS. Repeating it with the same Key gives the same job, so that
// after an Unreachable, or a Problem of status 503, it can be repeated safely.
func (c *Client) Submit(ctx context.Context, s Submission) (Submitted, error) {
	if s.Key == "" {
		s.Key = ids.NewKey()
	}
	form, err := newForm(&s)
	if err != nil {
		return Submitted{}, err
	}
	var made Submitted
	err = c.do(ctx, &request{
		method: http.MethodPost, path: "/rest/" + url.PathEscape(s.Definition), repeat: true,
		header: http.Header{"Content-Type": {form.contentType}, KeyHeader: {s.Key}},
		body:   form.reader, length: form.length,
		consume: func(resp *http.Response) error {
			location, err := resp.Location()
			if err != nil {
				return fmt.Errorf("%s answered %d without saying where the new job is: is it a Consort server?", c.base, resp.StatusCode)
			}
			if made.ID = path.Base(location.Path); !ids.ValidJob(made.ID) {
				return fmt.Errorf("%s sent us to %.200q, which is no job: is it a Consort server?", c.base, location)
			}
			made.Computed, made.Retracted = computed(resp.Header), retracted(resp.Header)
			return nil
		},
	})
	return made, err
}

// computed finds the job that a Link header of relation RelComputed leads to.
func computed(header http.Header) string {
	for _, target := range links(header, RelComputed) {
		if id := path.Base(target); ids.ValidJob(id) {
			return id
		}
	}
	return ""
}

// retracted finds the inputs that Link headers of relation RelRetracted lead to the provenance of.
func retracted(header http.Header) []string {
	var entities []string
	for _, target := range links(header, RelRetracted) {
		if u, err := url.Parse(target); err == nil && u.Query().Get("ID") != "" {
			entities = append(entities, u.Query().Get("ID"))
		}
	}
	return entities
}

// links are the targets of the Link headers of a relation, each of which the server sends as one header.
func links(header http.Header, relation string) []string {
	var targets []string
	for _, link := range header.Values("Link") {
		target, parameters, ok := strings.Cut(strings.TrimPrefix(link, "<"), ">")
		if ok && strings.Contains(parameters, `rel="`+relation+`"`) {
			targets = append(targets, target)
		}
	}
	return targets
}

// form is the body of a creation: pieces of text with the files between them, so that its length is known
// and it can be read again.
type form struct {
	contentType string
	length      int64
	pieces      []func() io.Reader
}

func (f *form) add(open func() io.Reader, size int64) {
	f.pieces = append(f.pieces, open)
	f.length += size
}

func (f *form) reader() io.Reader {
	readers := make([]io.Reader, len(f.pieces))
	for i, open := range f.pieces {
		readers[i] = open()
	}
	return io.MultiReader(readers...)
}

func newForm(s *Submission) (*form, error) {
	fields := s.Fields[:len(s.Fields):len(s.Fields)]
	if s.RunID != "" {
		fields = append(fields, Field{"RUNID", s.RunID})
	}
	if s.Duration > 0 {
		fields = append(fields, Field{"EXECUTIONDURATION", strconv.FormatInt(int64(uws.Seconds(s.Duration)), 10)})
	}
	if !s.Draft {
		fields = append(fields, Field{"PHASE", "RUN"})
	}
	if s.Reuse {
		fields = append(fields, Field{"REUSE", "true"})
	}
	if len(s.Uploads) > 0 {
		return multipartForm(fields, s.Uploads)
	}
	values := url.Values{}
	for _, f := range fields {
		values.Add(f.Name, f.Value)
	}
	return textForm(values), nil
}

func textForm(values url.Values) *form {
	f := &form{contentType: "application/x-www-form-urlencoded"}
	text := values.Encode()
	f.add(func() io.Reader { return strings.NewReader(text) }, int64(len(text)))
	return f
}

func multipartForm(fields []Field, uploads []Upload) (*form, error) {
	var buf bytes.Buffer
	w := multipart.NewWriter(&buf)
	f := &form{contentType: w.FormDataContentType()}
	flush := func() {
		text := bytes.Clone(buf.Bytes())
		buf.Reset()
		f.add(func() io.Reader { return bytes.NewReader(text) }, int64(len(text)))
	}
	for _, field := range fields {
		if err := w.WriteField(field.Name, field.Value); err != nil {
			return nil, fmt.Errorf("write field %s: %w", field.Name, err)
		}
	}
	for _, u := range uploads {
		header := textproto.MIMEHeader{}
		header.Set("Content-Disposition", multipart.FileContentDisposition(u.Input, u.FileName))
		header.Set("Content-Type", "application/octet-stream")
		if _, err := w.CreatePart(header); err != nil {
			return nil, fmt.Errorf("write file %s: %w", u.FileName, err)
		}
		flush()
		f.add(func() io.Reader { return io.NewSectionReader(u.Content, 0, u.Size) }, u.Size)
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("end the form: %w", err)
	}
	flush()
	return f, nil
}

// Ref names a job by what its UWS address is made of.
type Ref struct{ Definition, ID string }

// Ref is the job's own.
func (j *Job) Ref() Ref { return Ref{j.Definition, j.ID} }

func (r Ref) path() string {
	return "/rest/" + url.PathEscape(r.Definition) + "/" + url.PathEscape(r.ID)
}

// Run starts a job that is PENDING or HELD.
func (c *Client) Run(ctx context.Context, job Ref) error {
	tries, err := c.phase(ctx, job, "RUN")
	// When the answer to a first try was lost, the second finds the job running.
	if tries > 1 && isStatus(err, http.StatusForbidden) {
		if now, readErr := c.UWSJob(ctx, job, uws.Wait{}); readErr == nil && now.Phase != uws.Pending && now.Phase != uws.Held {
			return nil
		}
	}
	return err
}

// Abort ends a job. What has ended already stays as it is.
func (c *Client) Abort(ctx context.Context, job Ref) error {
	_, err := c.phase(ctx, job, "ABORT")
	return err
}

func (c *Client) phase(ctx context.Context, job Ref, verb string) (tries int, err error) {
	f := textForm(url.Values{"PHASE": {verb}})
	r := &request{
		method: http.MethodPost, path: job.path() + "/phase", repeat: true,
		header: http.Header{"Content-Type": {f.contentType}}, body: f.reader, length: f.length,
	}
	err = c.do(ctx, r)
	return r.tries, err
}

// Delete deletes a job with its files.
func (c *Client) Delete(ctx context.Context, job Ref) error {
	r := &request{method: http.MethodDelete, path: job.path(), repeat: true}
	err := c.do(ctx, r)
	if r.tries > 1 && NotFound(err) {
		return nil // an earlier try, whose answer was lost
	}
	return err
}

func isStatus(err error, status int) bool {
	var p *Problem
	return errors.As(err, &p) && p.Status == status
}

// UWSJob reads the job document; the server holds the answer as the wait says.
func (c *Client) UWSJob(ctx context.Context, job Ref, wait uws.Wait) (*uws.Job, error) {
	query := url.Values{}
	if wait.Seconds != 0 {
		query.Set("WAIT", strconv.Itoa(wait.Seconds))
	}
	if wait.Phase != "" {
		query.Set("PHASE", string(wait.Phase))
	}
	var doc *uws.Job
	err := c.do(ctx, &request{
		method: http.MethodGet, path: job.path(), query: query, repeat: true,
		header: http.Header{"Accept": {"text/xml, application/xml"}},
		consume: func(resp *http.Response) (err error) {
			doc, err = uws.ParseJob(resp.Body)
			return err
		},
	})
	return doc, err
}

// DefaultOutage is how long waiting outlasts a server that does not answer.
const DefaultOutage = 5 * time.Minute

// WaitOptions say how Wait waits.
type WaitOptions struct {
	// Every is how often the document is read anew while the phase stays the same, 1 s to 50 s. Zero: 50 s.
	Every time.Duration
	// Outage is how long the server may be away once it has answered. Zero: DefaultOutage.
	Outage time.Duration
	// Update is called with each document read; nil: nothing is.
	Update func(*uws.Job)
	// Trouble is called when the server does not answer; nil: nothing is.
	Trouble func(error)
}

// Wait waits until a job has ended, or is HELD and so needs its user, and returns its last document. A
// server that goes away for a while does not end it; ctx does.
func (c *Client) Wait(ctx context.Context, job Ref, o WaitOptions) (*uws.Job, error) {
	every, outage := min(max(o.Every, time.Second), maxWait), o.Outage
	if o.Every == 0 {
		every = maxWait
	}
	if outage == 0 {
		outage = DefaultOutage
	}
	var last *uws.Job
	answered := time.Now()
	idle := retry.Backoff{First: time.Second, Max: 10 * time.Second}
	for {
		var wait uws.Wait
		if last != nil {
			wait = uws.Wait{Seconds: int(every / time.Second), Phase: last.Phase}
		}
		asked := time.Now()
		doc, err := c.UWSJob(ctx, job, wait)
		if err != nil {
			if last == nil || !Passing(err) || time.Since(answered) > outage {
				return last, err
			}
			if o.Trouble != nil {
				o.Trouble(err)
			}
			if err := idle.Wait(ctx, 0); err != nil {
				return last, err
			}
			continue
		}
		answered = time.Now()
		if o.Update != nil {
			o.Update(doc)
		}
		if doc.Phase.Final() || doc.Phase == uws.Held || doc.Phase == uws.Archived {
			return doc, nil
		}
		// A server answers at once in phases that do not block, and may when it is loaded.
		if last != nil && doc.Phase == last.Phase && time.Since(asked) < time.Second {
			if err := idle.Wait(ctx, 0); err != nil {
				return doc, err
			}
		} else {
			idle.Reset()
		}
		last = doc
	}
}
