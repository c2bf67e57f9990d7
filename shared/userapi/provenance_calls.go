package userapi

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
)

// LineageQuery asks for the ancestors or descendants of a job or a file. ID is a qualified name, the id of a job,
// consort:JOB/RESULT or sha256:<digits>.
type LineageQuery struct {
	ID        string
	Direction string // back, forth, both; empty: back
	Depth     int    // relations to follow; 0: the node alone; AllDepth: to the end
	Limit     int    // of jobs; 0: the server's
	Cursor    string
	Same      bool // go on through equal content
}

// AllDepth is the depth of a lineage that goes to the end.
const AllDepth = -1

// Lineage reads one page of ancestors or descendants.
func (c *Client) Lineage(ctx context.Context, q LineageQuery) (*Lineage, error) {
	query := paged(url.Values{"id": {q.ID}}, q.Cursor, q.Limit)
	if q.Direction != "" {
		query.Set("direction", q.Direction)
	}
	if q.Depth >= 0 {
		query.Set("depth", strconv.Itoa(q.Depth))
	}
	if q.Same {
		query.Set("same", "true")
	}
	l := new(Lineage)
	return l, c.getJSON(ctx, "/provenance/lineage", query, l)
}

// paged adds the place in a list to a query.
func paged(query url.Values, cursor string, limit int) url.Values {
	if cursor != "" {
		query.Set("cursor", cursor)
	}
	if limit > 0 {
		query.Set("limit", strconv.Itoa(limit))
	}
	return query
}

// Users reads one page of the jobs that used a file, newest first.
func (c *Client) Users(ctx context.Context, id, cursor string, limit int) (*ProvUses, error) {
	page := new(ProvUses)
	return page, c.getJSON(ctx, "/provenance/users", paged(url.Values{"id": {id}}, cursor, limit), page)
}

// Content reads one page of the entities that have the content of the given SHA-256.
func (c *Client) Content(ctx context.Context, sha256, cursor string, limit int) (*ProvContent, error) {
	page := new(ProvContent)
	return page, c.getJSON(ctx, "/provenance/content/"+url.PathEscape(sha256), paged(url.Values{}, cursor, limit), page)
}

// FindByProvenance reads one page of the ended jobs that a filter selects; its keys are those told at ProvJobs.
func (c *Client) FindByProvenance(ctx context.Context, filter map[string]string, cursor string, limit int) (*ProvJobs, error) {
	query := paged(url.Values{}, cursor, limit)
	for name, value := range filter {
		query.Set(name, value)
	}
	page := new(ProvJobs)
	return page, c.getJSON(ctx, "/provenance/jobs", query, page)
}

// Computed lists the completed jobs of which the same was asked as of the given one.
func (c *Client) Computed(ctx context.Context, job string) (*ProvJobs, error) {
	list := new(ProvJobs)
	return list, c.getJSON(ctx, "/provenance/computed", url.Values{"job": {job}}, list)
}

// Diff compares two jobs.
func (c *Client) Diff(ctx context.Context, a, b string) (*ProvDiff, error) {
	d := new(ProvDiff)
	return d, c.getJSON(ctx, "/provenance/diff", url.Values{"a": {a}, "b": {b}}, d)
}

// Verify has the evidence of a job checked: the hashes of its files and what its sites signed.
func (c *Client) Verify(ctx context.Context, job string) (*ProvReport, error) {
	r := new(ProvReport)
	return r, c.getJSON(ctx, "/provenance/verify/"+url.PathEscape(job), nil, r)
}

// Impact reads one page of what came of a file.
func (c *Client) Impact(ctx context.Context, id, cursor string, limit int) (*ProvImpact, error) {
	page := new(ProvImpact)
	return page, c.getJSON(ctx, "/provenance/impact", paged(url.Values{"id": {id}}, cursor, limit), page)
}

// Retractions reads one page of what was retracted.
func (c *Client) Retractions(ctx context.Context, cursor string, limit int) (*ProvRetractions, error) {
	page := new(ProvRetractions)
	return page, c.getJSON(ctx, "/provenance/retractions", paged(url.Values{}, cursor, limit), page)
}

// Retract marks a file as one not to be used, or takes that back. Of what was retracted already the server tells when,
// by whom and why; nothing is changed then. To withdraw what is not retracted is a Problem of status 404.
func (c *Client) Retract(ctx context.Context, r Retract) (told string, err error) {
	body, err := json.Marshal(r)
	if err != nil {
		return "", fmt.Errorf("write the request: %w", err)
	}
	call := &request{
		method: http.MethodPost, path: APIPrefix + "/provenance/retractions", repeat: true,
		header: http.Header{"Content-Type": {"application/json"}, "Accept": {"application/json, application/problem+json"}},
		body:   func() io.Reader { return bytes.NewReader(body) }, length: int64(len(body)),
		consume: func(resp *http.Response) error {
			if resp.StatusCode == http.StatusNoContent {
				return nil
			}
			var already Retracted
			if err := c.decodeInto(&already)(resp); err != nil {
				return err
			}
			told = already.Message
			return nil
		},
	}
	if err = c.do(ctx, call); r.Withdraw && NotFound(err) && call.tries > 1 {
		return "", nil // an earlier try, whose answer was lost, did it
	}
	return told, err
}

// ProvSAP asks the provenance service with the given parameters (ID, DEPTH, RESPONSEFORMAT …) and copies the document
// to w. complete is false when it is a part of the answer. A call that fails may have written a part.
func (c *Client) ProvSAP(ctx context.Context, parameters url.Values, w io.Writer) (complete bool, err error) {
	err = c.do(ctx, &request{
		method: http.MethodGet, path: "/provsap", query: parameters,
		consume: func(resp *http.Response) error {
			complete = resp.Header.Get(OverflowHeader) == ""
			_, err := io.Copy(w, resp.Body)
			return err
		},
	})
	return complete, err
}

// Read lets read have the bytes at a URL that the server gave, such as that of a result.
func (c *Client) Read(ctx context.Context, address string, read func(io.Reader) error) error {
	return c.do(ctx, &request{
		method: http.MethodGet, url: address,
		consume: func(resp *http.Response) error { return read(resp.Body) },
	})
}
