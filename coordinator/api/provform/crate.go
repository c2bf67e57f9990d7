package provform

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"slices"

	"github.com/gofiber/fiber/v2"

	"consort/coordinator/api/request"
	"consort/coordinator/auth"
	"consort/coordinator/jobs"
	"consort/coordinator/provenance"
	"consort/shared/prov"
	"consort/shared/prov/rocrate"
)

// Crates sends RO-Crates.
type Crates struct {
	Jobs       *jobs.Service
	Provenance *provenance.Service
	// Authority gives the IRI that the identifiers of records begin with.
	Authority func() string
}

// Send answers with the crate of a job; list may be empty. With data the files are in it; without, it tells where they
// are.
func (s Crates) Send(c *fiber.Ctx, list, id string, data bool) error {
	ctx, p := request.Context(c), request.Principal(c)
	crate, job, err := s.crate(ctx, p, list, id)
	if err != nil {
		return err
	}
	base := request.Base(c)
	crate.URL = func(result, path string) string {
		segments := []string{"rest", job.Job.Definition, job.Id, "results", result}
		if path != "" {
			segments = append(segments, path)
		}
		return base + request.Path(segments...)
	}
	form, _ := ByName(ROCrate)
	if !data {
		var whole bytes.Buffer
		if err := rocrate.Write(&whole, *crate); err != nil {
			return err
		}
		form.Headers(c, job.Id)
		return c.Send(whole.Bytes())
	}
	crate.Open = s.opener(ctx, p, job)
	form.Headers(c, job.Id)
	return request.Stream(c, form.ContentType(), func(w *bufio.Writer, flush func() error) {
		// What breaks off has no directory at its end, and so is no zip file.
		if err := rocrate.Write(&flushing{w: w, flush: flush}, *crate); err == nil {
			_ = flush()
		}
	})
}

// crate gathers what is told in a crate.
func (s Crates) crate(ctx context.Context, p auth.Principal, list, id string) (*rocrate.Crate, *jobs.Job, error) {
	job, record, err := s.Provenance.Record(ctx, p, list, id)
	if err != nil {
		return nil, nil, err
	}
	graph, err := s.Provenance.Graph(ctx, p, list, id)
	if err != nil {
		return nil, nil, err
	}
	record.Logs = slices.DeleteFunc(record.Logs, func(l prov.LogRecord) bool { return l.ID != "stdout" && l.ID != "stderr" })
	crate := &rocrate.Crate{Record: *record, Authority: s.Authority()}
	for _, name := range []string{"PROV-JSON", "PROV-TURTLE"} {
		form, _ := ByName(name)
		crate.Documents = append(crate.Documents, rocrate.Document{
			Name: "prov" + form.Extension, MediaType: form.ContentType(), Description: "Provenance of the job as " + name,
			Write: func(w io.Writer) error { return form.write(w, graph, Options{Model: prov.W3C}) },
		})
	}
	return crate, job, nil
}

// opener opens the files of a job by the ids of the record.
func (s Crates) opener(ctx context.Context, p auth.Principal, job *jobs.Job) func(result, path string) (io.ReadCloser, error) {
	return func(result, path string) (io.ReadCloser, error) {
		if result == "stdout" || result == "stderr" {
			f, kept, err := s.Jobs.StoredLog(ctx, p, job.Job.Definition, job.Id, result)
			if err != nil || f != nil {
				return f, err
			}
			return io.NopCloser(bytes.NewReader(kept)), nil
		}
		output := job.Output(result)
		switch {
		case output == nil:
			return nil, jobs.ErrNotFound
		case path != "":
			return s.Jobs.OpenMember(ctx, job, output, path)
		}
		return s.Jobs.OpenResult(job, output)
	}
}

// flushing sends what was written on its way again and again, since a client that gets nothing for long is cut off.
type flushing struct {
	w       *bufio.Writer
	flush   func() error
	pending int
}

// flushed is how many bytes may wait to be sent.
const flushed = 128 << 10

func (f *flushing) Write(p []byte) (int, error) {
	n, err := f.w.Write(p)
	if f.pending += n; err == nil && f.pending > flushed {
		f.pending = 0
		err = f.flush()
	}
	return n, err
}
