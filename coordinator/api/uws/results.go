package uws

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/gofiber/fiber/v2"

	"consort/coordinator/api/fault"
	"consort/coordinator/api/provform"
	"consort/coordinator/api/request"
	"consort/coordinator/command"
	"consort/coordinator/jobs"
	"consort/shared/prov"
	"consort/shared/userapi"
	"consort/shared/uws"
	"consort/shared/votable"
)

// extras are the results that every job has besides its outputs: logs, and the provenance in all forms. They stand
// below the job itself, too, as in OPUS.
var extras = append([]string{"stdout", "stderr"}, provenanceResults()...)

func provenanceResults() []string {
	var names []string
	for _, f := range provform.All() {
		names = append(names, f.Result)
	}
	return names
}

func isLog(name string) bool { return name == "stdout" || name == "stderr" }

func (s *Surface) getResults(c *fiber.Ctx) error {
	j, t, err := s.job(c)
	if err != nil {
		return err
	}
	return sendXML(c, uws.AppendResults(nil, results(j, t.url)))
}

// getResult answers with a result at the URL that UWS gives it. A download that should keep the file's name
// uses the URL in the document, which ends in it; here the headers tell both.
func (s *Surface) getResult(c *fiber.Ctx) error {
	id, err := request.Param(c, "result")
	if err != nil {
		return err
	}
	if slices.Contains(extras, id) {
		return s.extra(id)(c)
	}
	j, t, o, err := s.output(c, id)
	if err != nil {
		return err
	}
	if o.Collection {
		s.tellProvenance(c, prov.ResultID(j.Id, o.Id))
		return s.sendManifest(c, j, o, t.url)
	}
	f, err := s.Jobs.OpenResult(j, o)
	if err != nil {
		return err
	}
	c.Set(fiber.HeaderContentLocation, t.url+request.Path("results", o.Id, o.FileName))
	s.tellProvenance(c, prov.ResultID(j.Id, o.Id))
	return request.SendFile(c, f)
}

// getResultFile answers with the file of a result by its name, or with one of a collection by its path.
func (s *Surface) getResultFile(c *fiber.Ctx) error {
	id, err := request.Param(c, "result")
	if err != nil {
		return err
	}
	path, err := request.Rest(c)
	if err != nil {
		return err
	}
	j, _, o, err := s.output(c, id)
	if err != nil {
		return err
	}
	var f *jobs.File
	node := prov.ResultID(j.Id, o.Id)
	switch {
	case o.Collection:
		node = prov.MemberID(j.Id, o.Id, path)
		f, err = s.Jobs.OpenMember(request.Context(c), j, o, path)
	case path == o.FileName:
		f, err = s.Jobs.OpenResult(j, o)
	default:
		return fault.NotFound("the result has no such file")
	}
	if err != nil {
		return err
	}
	s.tellProvenance(c, node)
	return request.SendFile(c, f)
}

// tellProvenance says where a file comes from: where its record is, and where more can be asked (W3C PROV-AQ,
// section 3.1).
func (s *Surface) tellProvenance(c *fiber.Ctx, node prov.QName) {
	base, entity := request.Base(c), s.Authority()+"/id/entity/"+node.Local
	c.Response().Header.Add(fiber.HeaderLink, fmt.Sprintf(`<%s>; rel="%s"; anchor="%s"`, provform.NodeURL(base, node, ""), userapi.RelProvenance, entity))
	c.Response().Header.Add(fiber.HeaderLink, fmt.Sprintf(`<%s>; rel="%s"; anchor="%s"`, base+provform.Path, userapi.RelQueryService, entity))
}

func (s *Surface) output(c *fiber.Ctx, id string) (*jobs.Job, target, *command.Output, error) {
	j, t, err := s.job(c)
	if err != nil {
		return nil, t, nil, err
	}
	o := j.Output(id)
	if o == nil {
		return nil, t, nil, fault.NotFound("the job has no such result")
	}
	return j, t, o, nil
}

// manifestTime bounds the sending of a manifest, during which a read transaction is open.
const manifestTime = 5 * time.Minute

// sendManifest streams the VOTable of a collection's files.
func (s *Surface) sendManifest(c *fiber.Ctx, j *jobs.Job, o *command.Output, url string) error {
	if uws.Phase(j.Phase) == uws.Archived {
		return fault.NotFound("the files of this job were destroyed at the end of their retention")
	}
	ctx := request.Context(c)
	return request.Stream(c, votable.ContentType, func(w *bufio.Writer, flush func() error) {
		ctx, cancel := context.WithTimeout(ctx, manifestTime)
		defer cancel()
		if err := s.writeManifest(ctx, w, flush, j, o, url); err == nil {
			_ = flush() // whoever is gone needs no end
		}
	})
}

func (s *Surface) writeManifest(ctx context.Context, w io.Writer, flush func() error, j *jobs.Job, o *command.Output, url string) error {
	m, err := votable.NewManifest(w, o.Id, "Files of result "+o.Id+" of job "+j.Id)
	if err != nil {
		return err
	}
	n := 0
	err = s.Jobs.Members(ctx, j, o, func(f *command.File) error {
		if n++; n%256 == 0 {
			if err := errors.Join(ctx.Err(), flush()); err != nil {
				return err
			}
		}
		return m.Add(votable.File{
			Path: f.Path, Size: f.Size, SHA256: f.Sha256, ContentType: f.ContentType,
			URL: url + request.Path("results", o.Id, f.Path),
		})
	})
	if err != nil {
		return errors.Join(err, m.CloseError("the list of files broke off"))
	}
	return m.Close()
}

// extra answers with a log or a provenance document.
func (s *Surface) extra(name string) fiber.Handler {
	for _, f := range provform.All() {
		if f.Result == name {
			return func(c *fiber.Ctx) error { return s.sendProvenance(c, f) }
		}
	}
	return func(c *fiber.Ctx) error { return s.sendLog(c, name) }
}

func (s *Surface) sendProvenance(c *fiber.Ctx, f provform.Form) error {
	t, err := s.target(c)
	if err != nil {
		return err
	}
	look, err := provform.LookOf(c)
	if err != nil {
		return err
	}
	if f.Name == provform.ROCrate {
		return s.Crates.Send(c, t.list, t.id, look.Data)
	}
	graph, err := s.Provenance.Graph(request.Context(c), t.Principal, t.list, t.id)
	if err != nil {
		return err
	}
	o := look.Options()
	o.Title, o.Focus = "Provenance of job "+t.id, []prov.QName{prov.JobID(t.id)}
	o.Link = func(node prov.QName) string { return provform.NodeURL(request.Base(c), node, f.Name) }
	return f.Send(c, graph, t.id, o)
}

// sendLog answers with standard output or error: the complete log once it is stored, until then what is
// kept of it.
func (s *Surface) sendLog(c *fiber.Ctx, name string) error {
	t, err := s.target(c)
	if err != nil {
		return err
	}
	f, data, err := s.Jobs.StoredLog(request.Context(c), t.Principal, t.list, t.id, name)
	if err != nil {
		return err
	}
	s.tellProvenance(c, prov.ResultID(t.id, name))
	if f == nil {
		c.Set(fiber.HeaderContentType, uws.AtomType)
		return c.Send(data)
	}
	info, err := f.Stat()
	if err != nil {
		return errors.Join(err, f.Close())
	}
	return request.SendFile(c, &jobs.File{File: f, Name: name + ".txt", ContentType: uws.AtomType, Size: info.Size()})
}
