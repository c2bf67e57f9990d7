package userapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"consort/shared/ids"
)

// MinPrefix is the least number of characters by which FindJob takes the beginning of an id.
const MinPrefix = 4

// maxSearch bounds how many jobs FindJob looks through.
const maxSearch = 20_000

// ErrAmbiguous says that several jobs begin with what was given.
var ErrAmbiguous = errors.New("several jobs begin so")

// getJSON reads an answer of the JSON API.
func (c *Client) getJSON(ctx context.Context, path string, query url.Values, into any) error {
	return c.do(ctx, &request{
		method: http.MethodGet, path: APIPrefix + path, query: query, repeat: true,
		header:  http.Header{"Accept": {"application/json, application/problem+json"}},
		consume: c.decodeInto(into),
	})
}

func (c *Client) decodeInto(into any) func(*http.Response) error {
	return func(resp *http.Response) error {
		if media, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")); media != "application/json" {
			return fmt.Errorf("%s answered with %.80q instead of JSON: is it a Consort server?", c.base, resp.Header.Get("Content-Type"))
		}
		body, err := readBounded(resp.Body)
		if err != nil {
			return err
		}
		d := json.NewDecoder(bytes.NewReader(body))
		d.UseNumber()
		if err := d.Decode(into); err != nil {
			return fmt.Errorf("read the answer of %s: %w", c.base, err)
		}
		return nil
	}
}

func readBounded(r io.Reader) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(r, maxJSON+1))
	if err != nil {
		return nil, err
	}
	if len(body) > maxJSON {
		return nil, fmt.Errorf("the answer is larger than %d MiB", maxJSON>>20)
	}
	return body, nil
}

// Version asks what the server is.
func (c *Client) Version(ctx context.Context) (*Version, error) {
	v := new(Version)
	return v, c.getJSON(ctx, "/version", nil, v)
}

// Job reads a job by its whole id.
func (c *Client) Job(ctx context.Context, id string) (*Job, error) {
	j := new(Job)
	return j, c.getJSON(ctx, "/jobs/"+url.PathEscape(id), nil, j)
}

// JobQuery selects jobs. Zero fields select all.
type JobQuery struct {
	Definition string
	Phases     []string // any of these
	After      time.Time
	Limit      int    // of one page, 1 to 500; 0: the server's default
	Cursor     string // JobList.Next of the page before
}

// Jobs reads one page of jobs, newest first.
func (c *Client) Jobs(ctx context.Context, q JobQuery) (*JobList, error) {
	query := url.Values{}
	if q.Definition != "" {
		query.Set("definition", q.Definition)
	}
	query["phase"] = q.Phases
	if !q.After.IsZero() {
		query.Set("after", q.After.UTC().Format(time.RFC3339Nano))
	}
	if q.Limit > 0 {
		query.Set("limit", strconv.Itoa(q.Limit))
	}
	if q.Cursor != "" {
		query.Set("cursor", q.Cursor)
	}
	list := new(JobList)
	return list, c.getJSON(ctx, "/jobs", query, list)
}

// FindJob reads the job that text means: an id, the first characters of one (at least MinPrefix), or the
// job's URL. Several that fit are an ErrAmbiguous; none is a Problem of status 404.
func (c *Client) FindJob(ctx context.Context, text string) (*Job, error) {
	id, err := c.FindID(ctx, text)
	if err != nil {
		return nil, err
	}
	return c.Job(ctx, id)
}

// FindID is FindJob for the id alone; whole ids are not looked up.
func (c *Client) FindID(ctx context.Context, text string) (string, error) {
	text = strings.TrimRight(text, "/")
	if strings.Contains(text, "/rest/") {
		text = text[strings.LastIndexByte(text, '/')+1:]
	}
	prefix := strings.ToLower(text)
	if ids.ValidJob(prefix) {
		return prefix, nil
	}
	if len(prefix) < MinPrefix || len(prefix) >= ids.JobLen || prefix[0] != 'j' {
		return "", fmt.Errorf("%.100q is no job id: one is %d characters that begin with j; the first %d or more do where no other job begins so", text, ids.JobLen, MinPrefix)
	}
	return c.findPrefix(ctx, prefix)
}

func (c *Client) findPrefix(ctx context.Context, prefix string) (string, error) {
	var found []string
	q, seen := JobQuery{Limit: 500}, 0
	for {
		page, err := c.Jobs(ctx, q)
		if err != nil {
			return "", err
		}
		for _, j := range page.Jobs {
			if strings.HasPrefix(j.ID, prefix) && ids.ValidJob(j.ID) && !slices.Contains(found, j.ID) {
				found = append(found, j.ID)
			}
		}
		seen += len(page.Jobs)
		if len(found) > 1 {
			return "", fmt.Errorf("%s: %w, such as %s; give more characters", prefix, ErrAmbiguous, strings.Join(found[:2], " and "))
		}
		if page.Next == "" || page.Next == q.Cursor || len(page.Jobs) == 0 || seen >= maxSearch {
			break
		}
		q.Cursor = page.Next
	}
	if len(found) == 1 {
		return found[0], nil
	}
	return "", &Problem{
		Title: "not found", Status: http.StatusNotFound, Code: "not-found",
		Detail: fmt.Sprintf("no job of yours begins with %s", prefix),
	}
}

// Members reads one page of the files of a collection.
func (c *Client) Members(ctx context.Context, job, result, cursor string) (*MemberList, error) {
	query := url.Values{}
	if cursor != "" {
		query.Set("cursor", cursor)
	}
	list := new(MemberList)
	return list, c.getJSON(ctx, "/jobs/"+url.PathEscape(job)+"/results/"+url.PathEscape(result)+"/members", query, list)
}

// Formats of provenance documents.
const (
	ProvJSON = "json" // PROV-JSON
	ProvN    = "n"    // PROV-N
)

// Provenance reads the provenance of a job in one of the formats.
func (c *Client) Provenance(ctx context.Context, job, format string) ([]byte, error) {
	var body []byte
	err := c.do(ctx, &request{
		method: http.MethodGet, path: APIPrefix + "/jobs/" + url.PathEscape(job) + "/provenance",
		query: url.Values{"format": {format}}, repeat: true,
		consume: func(resp *http.Response) (err error) {
			body, err = readBounded(resp.Body)
			return err
		},
	})
	return body, err
}

// Sites lists the sites of the federation.
func (c *Client) Sites(ctx context.Context) (*SiteList, error) {
	list := new(SiteList)
	return list, c.getJSON(ctx, "/sites", nil, list)
}

// AddSite invites a site. It is sent once only, for its token is told just once.
func (c *Client) AddSite(ctx context.Context, site AddSite) (*Invitation, error) {
	body, err := json.Marshal(site)
	if err != nil {
		return nil, fmt.Errorf("write the request: %w", err)
	}
	invitation := new(Invitation)
	return invitation, c.do(ctx, &request{
		method: http.MethodPost, path: APIPrefix + "/sites",
		header: http.Header{"Content-Type": {"application/json"}, "Accept": {"application/json, application/problem+json"}},
		body:   func() io.Reader { return bytes.NewReader(body) }, length: int64(len(body)),
		consume: c.decodeInto(invitation),
	})
}

// RevokeSite ends a site's rights for good: its key is refused from now on.
func (c *Client) RevokeSite(ctx context.Context, name string) error {
	return c.do(ctx, &request{
		method: http.MethodDelete, path: APIPrefix + "/sites/" + url.PathEscape(name), repeat: true,
		consume: func(*http.Response) error { return nil },
	})
}

// Definitions lists the newest version of each published definition.
func (c *Client) Definitions(ctx context.Context) (*DefinitionList, error) {
	list := new(DefinitionList)
	return list, c.getJSON(ctx, "/definitions", nil, list)
}

// Definition reads the definition called name, or name@version.
func (c *Client) Definition(ctx context.Context, name string) (*Definition, error) {
	d := new(Definition)
	return d, c.getJSON(ctx, "/definitions/"+url.PathEscape(name), nil, d)
}

// LogChunk is a piece of a job's standard output or error.
type LogChunk struct {
	Data     []byte
	Offset   int64 // of Data; greater than asked for where the beginning is no longer kept
	Next     int64 // the offset to ask for next
	Complete bool  // nothing will come after Data
	// Epoch is the attempt whose log it is, 0 before the first. When it changes, the new attempt's log is
	// to be read from 0.
	Epoch uint64
}

// Log reads what a job's stream, "stdout" or "stderr", has from an offset on. Where there is nothing new it
// waits for up to wait, at most 50 s.
func (c *Client) Log(ctx context.Context, job, stream string, offset int64, wait time.Duration) (*LogChunk, error) {
	query := url.Values{"offset": {strconv.FormatInt(offset, 10)}}
	if s := int64(min(wait, maxWait) / time.Second); s > 0 {
		query.Set("wait", strconv.FormatInt(s, 10))
	}
	var chunk *LogChunk
	err := c.do(ctx, &request{
		method: http.MethodGet, path: APIPrefix + "/jobs/" + url.PathEscape(job) + "/logs/" + url.PathEscape(stream),
		query: query, repeat: true,
		consume: func(resp *http.Response) error {
			data, err := readBounded(resp.Body)
			if err != nil {
				return err
			}
			next, err := strconv.ParseInt(resp.Header.Get(LogNextHeader), 10, 64)
			if err != nil || next < int64(len(data)) {
				return fmt.Errorf("%s did not say where the log goes on (header %s)", c.base, LogNextHeader)
			}
			epoch, _ := strconv.ParseUint(resp.Header.Get(LogEpochHeader), 10, 64) // 0 before the first attempt
			chunk = &LogChunk{
				Epoch: epoch,
				Data:  data, Offset: next - int64(len(data)), Next: next,
				Complete: resp.Header.Get(LogCompleteHeader) == "true",
			}
			return nil
		},
	})
	return chunk, err
}
