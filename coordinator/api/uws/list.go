package uws

import (
	"bufio"
	"context"

	"github.com/gofiber/fiber/v2"

	"consort/coordinator/api/request"
	"consort/coordinator/auth"
	"consort/coordinator/jobs"
	"consort/coordinator/state"
	"consort/shared/uws"
)

// pageSize is how many jobs of a list are read at once. Between pages no read transaction is open, so that
// a slow client holds nothing up.
const pageSize = 500

// getList answers with the jobs of a list that the caller may see, newest first.
func (s *Surface) getList(c *fiber.Ctx) error {
	_, name, err := s.listName(c)
	if err != nil {
		return err
	}
	query, err := request.Query(c)
	if err != nil {
		return err
	}
	filter, err := uws.ParseFilter(query.All())
	if err != nil {
		return err
	}
	p := newPager(s.Jobs, request.Principal(c), name, filter, listURL(c, name))
	ctx := request.Context(c)
	// The first page is read before anything is sent, so that errors have their own status.
	document, err := p.next(ctx, uws.AppendJobListStart(nil))
	if err != nil {
		return err
	}
	if p.done {
		return sendXML(c, uws.AppendJobListEnd(document))
	}
	return request.Stream(c, uws.ContentType, func(w *bufio.Writer, flush func() error) {
		p.stream(ctx, document, w, flush)
	})
}

// pager writes a list page by page.
type pager struct {
	jobs      *jobs.Service
	principal auth.Principal
	query     jobs.Query
	left      int // jobs wanted yet; negative: all
	base      string
	done      bool
}

func newPager(service *jobs.Service, p auth.Principal, name string, f uws.Filter, base string) *pager {
	q := jobs.Query{Definition: name, After: f.After}
	for _, phase := range f.Phases {
		q.Phases = append(q.Phases, string(phase))
	}
	left := -1
	if f.Last > 0 {
		left = f.Last
	}
	return &pager{jobs: service, principal: p, query: q, left: left, base: base}
}

// next appends the next page to dst.
func (p *pager) next(ctx context.Context, dst []byte) ([]byte, error) {
	p.query.Limit = pageSize
	if p.left >= 0 {
		p.query.Limit = min(pageSize, p.left)
	}
	n := 0
	err := p.jobs.List(ctx, p.principal, p.query, func(j *state.Job) error {
		n++
		p.query.Cursor = state.Cursor(j)
		dst = uws.AppendJobRef(dst, &uws.JobRef{
			ID: j.Id, Href: p.base + request.Path(j.Id), Phase: uws.Phase(j.Phase), RunID: j.RunId,
			OwnerID: j.Owner, CreationTime: timeOf(j.CreatedUs),
		})
		return nil
	})
	if p.left >= 0 {
		p.left -= n
	}
	p.done = n < pageSize || p.left == 0
	return dst, err
}

// stream sends the first page and all that follow. When reading breaks off, the document does too, without
// its end, so that no client takes the part for the whole.
func (p *pager) stream(ctx context.Context, page []byte, w *bufio.Writer, flush func() error) {
	for {
		if _, err := w.Write(page); err != nil || flush() != nil {
			return
		}
		if p.done {
			return
		}
		var err error
		if page, err = p.next(ctx, page[:0]); err != nil {
			return
		}
		if p.done {
			page = uws.AppendJobListEnd(page)
		}
	}
}
