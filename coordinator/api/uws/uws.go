// Package uws is the UWS 1.1 surface: job lists at /rest/<name>, everything below them, and the VOSI
// documents. It turns requests into calls of the use cases and their answers into the documents of package
// shared/uws; it decides nothing about jobs itself.
//
// A list answers at its definition's name, which all links use, and as well at the definition's aliases and
// at <name>@<version>; a job created there runs that version.
package uws

import (
	"net/http"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"

	"consort/coordinator/api/fault"
	"consort/coordinator/api/provform"
	"consort/coordinator/api/request"
	"consort/coordinator/auth"
	"consort/coordinator/definitions"
	"consort/coordinator/jobs"
	"consort/coordinator/provenance"
	"consort/coordinator/state"
	"consort/shared/ids"
	"consort/shared/uws"
)

// Config wires a Surface.
type Config struct {
	Jobs        *jobs.Service
	Definitions *definitions.Service
	Provenance  *provenance.Service
	Crates      provform.Crates
	// Authority gives the IRI that the identifiers of records begin with.
	Authority func() string
	Guard     *auth.Guard
	Files     request.Store // takes uploads
	// SilentSince tells since when a site has been out of contact, the zero time when it is not. Nil: it is
	// never told.
	SilentSince func(site string) time.Time
	// Explain says why a job waits for a site, empty when it does not. Nil: it is never told.
	Explain func(*state.Job) string
	// Available tells why the service does not take work now, nil when it does. Nil: always available.
	Available func() error
	// Started is when this node began to serve, for VOSI.
	Started time.Time
}

// Surface is the routes.
type Surface struct{ Config }

// New returns the surface.
func New(cfg Config) *Surface {
	if cfg.Explain == nil {
		cfg.Explain = func(*state.Job) string { return "" }
	}
	if cfg.SilentSince == nil {
		cfg.SilentSince = func(string) time.Time { return time.Time{} }
	}
	if cfg.Available == nil {
		cfg.Available = func() error { return nil }
	}
	return &Surface{cfg}
}

// Mount adds the routes (UWS 1.1, section 2.2; VOSI 1.1). Each GET answers HEAD, too.
func (s *Surface) Mount(r fiber.Router) {
	r.Get("/capabilities", s.capabilities)
	r.Get("/availability", s.availability)

	r.Get("/rest/:list", s.getList)
	r.Post("/rest/:list", s.create)

	const job = "/rest/:list/:id"
	r.Get(job, s.getJob)
	r.Post(job, s.postJob)
	r.Delete(job, s.deleteJob)

	r.Get(job+"/phase", s.atom(phaseText))
	r.Post(job+"/phase", s.postPhase)
	r.Get(job+"/executionduration", s.atom(durationText))
	r.Post(job+"/executionduration", s.postDuration)
	r.Get(job+"/destruction", s.atom(destructionText))
	r.Post(job+"/destruction", s.postDestruction)
	r.Get(job+"/quote", s.atom(quoteText))
	r.Get(job+"/owner", s.atom(ownerText))
	r.Get(job+"/error", s.getError)

	r.Get(job+"/parameters", s.getParameters)
	r.Post(job+"/parameters", s.postParameters)
	r.Get(job+"/parameters/:name", s.getParameter)
	r.Put(job+"/parameters/:name", s.putParameter)

	r.Get(job+"/results", s.getResults)
	r.Get(job+"/results/:result", s.getResult)
	r.Get(job+"/results/:result/*", s.getResultFile)

	for _, name := range extras {
		r.Get(job+"/"+name, s.extra(name))
	}
}

// listName returns the reference asked for, as definitions.Get takes it, and the canonical name of its list.
func (s *Surface) listName(c *fiber.Ctx) (ref, name string, err error) {
	ref, err = request.Param(c, "list")
	if err != nil {
		return "", "", err
	}
	_, version, versioned := strings.Cut(ref, "@")
	if len(ref) > 2*ids.MaxName || (versioned && !ids.ValidVersion(version)) {
		return "", "", definitions.ErrNotFound
	}
	entry, err := s.Definitions.Get(ref)
	if err != nil {
		return "", "", err
	}
	return ref, entry.Definition.Name, nil
}

// target is the job that a request is about.
type target struct {
	auth.Principal
	list string // canonical name
	id   string
	url  string // canonical and absolute
}

func (s *Surface) target(c *fiber.Ctx) (target, error) {
	_, name, err := s.listName(c)
	if err != nil {
		return target{}, err
	}
	id, err := request.Param(c, "id")
	if err != nil {
		return target{}, err
	}
	if !ids.ValidJob(id) {
		return target{}, fault.NoJob()
	}
	return target{request.Principal(c), name, id, jobURL(c, name, id)}, nil
}

func listURL(c *fiber.Ctx, name string) string {
	return request.Base(c) + request.Path("rest", name)
}

func jobURL(c *fiber.Ctx, name, id string) string {
	return request.Base(c) + request.Path("rest", name, id)
}

// job reads the job that a request is about.
func (s *Surface) job(c *fiber.Ctx) (*jobs.Job, target, error) {
	t, err := s.target(c)
	if err != nil {
		return nil, t, err
	}
	j, err := s.Jobs.Get(request.Context(c), t.Principal, t.list, t.id)
	return j, t, err
}

// sendXML answers with a document.
func sendXML(c *fiber.Ctx, document []byte) error {
	c.Set(fiber.HeaderContentType, uws.ContentType)
	return c.Status(http.StatusOK).Send(document)
}

// sendText answers with text; clients compare it as it is, so there is no line break at its end.
func sendText(c *fiber.Ctx, text string) error {
	c.Set(fiber.HeaderContentType, uws.AtomType)
	return c.Status(http.StatusOK).SendString(text)
}

// timeOf turns a time of the state, in microseconds, into one; 0 is the zero time.
func timeOf(us int64) time.Time {
	if us == 0 {
		return time.Time{}
	}
	return time.UnixMicro(us).UTC()
}
