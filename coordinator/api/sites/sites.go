// Package sites is the surface that agents speak to, at /sites/v1: package siteapi over HTTP. Every call but
// the enrolment is signed by the site's key; what a site may do is decided by the use cases.
package sites

import (
	"context"
	"net/http"
	"strconv"
	"strings"

	"github.com/gofiber/fiber/v2"

	"consort/coordinator/api/fault"
	"consort/coordinator/api/request"
	"consort/coordinator/jobs"
	"consort/coordinator/scheduler"
	"consort/coordinator/sites"
	"consort/shared/failpoint"
	"consort/shared/ids"
	"consort/shared/siteapi"
)

const (
	maxMessage = 1 << 20  // bytes of a JSON message; a manifest part is far below
	maxSeal    = 64 << 20 // bytes of a seal request: 100,000 files with long paths
	maxPoll    = 16 << 20 // bytes of a poll: a journal of 100,000 attempts
)

// Config wires the surface.
type Config struct {
	Sites     *sites.Service
	Jobs      *jobs.Service
	Scheduler *scheduler.Scheduler
}

// Surface is the routes.
type Surface struct{ Config }

// New returns the surface.
func New(cfg Config) *Surface { return &Surface{cfg} }

// Mount adds the routes.
func (s *Surface) Mount(r fiber.Router) {
	r.Post(siteapi.EnrolPath, s.enrol)
	r.Post(siteapi.PollPath, s.poll)
	a := r.Group("/sites/v1/attempts/:job/:epoch")
	a.Get("/content/:sha256", s.content)
	a.Post("/report", s.report)
	a.Post("/offsets", s.offsets)
	a.Post("/seal", s.seal)
	a.Post("/manifest", s.manifest)
	a.Post("/commit", s.commit)
	a.Post("/fail", s.fail)
	a.Post("/close", s.close)
	a.Put("/logs/:stream", s.storeLog)
	a.Post("/logs/:stream/live", s.liveLog)
}

// site authenticates the caller.
func (s *Surface) site(c *fiber.Ctx) (string, error) {
	scheme, token, _ := strings.Cut(c.Get(fiber.HeaderAuthorization), " ")
	if !strings.EqualFold(scheme, "bearer") {
		return "", siteapi.ErrBadToken
	}
	return s.Sites.Authenticate(request.Context(c), strings.TrimSpace(token))
}

// attempt authenticates the caller and reads which attempt it speaks of.
func (s *Surface) attempt(c *fiber.Ctx) (jobs.Attempt, error) {
	site, err := s.site(c)
	if err != nil {
		return jobs.Attempt{}, err
	}
	job, err := request.Param(c, "job")
	if err != nil {
		return jobs.Attempt{}, err
	}
	epoch, err := strconv.ParseUint(c.Params("epoch"), 10, 63)
	if err != nil || epoch == 0 || !ids.ValidJob(job) {
		return jobs.Attempt{}, fault.NotFound("no such attempt")
	}
	return jobs.Attempt{Site: site, Job: job, Epoch: epoch}, nil
}

func (s *Surface) enrol(c *fiber.Ctx) error {
	var r siteapi.EnrolRequest
	if err := request.JSON(c, maxMessage, &r); err != nil {
		return err
	}
	answer, err := s.Sites.Enrol(request.Context(c), r)
	if err != nil {
		return err
	}
	return c.JSON(answer)
}

func (s *Surface) poll(c *fiber.Ctx) error {
	site, err := s.site(c)
	if err != nil {
		return err
	}
	var r siteapi.PollRequest
	if err := request.JSON(c, maxPoll, &r); err != nil {
		return err
	}
	if err := sites.CheckProtocol(r.Protocol); err != nil {
		return err
	}
	answer, err := s.Scheduler.Poll(request.Context(c), site, r)
	if err != nil {
		return err
	}
	return c.JSON(answer)
}

// told handles a message about an attempt that is answered with JSON.
func told[M, A any](s *Surface, c *fiber.Ctx, limit int64, do func(context.Context, jobs.Attempt, M) (A, error)) error {
	a, err := s.attempt(c)
	if err != nil {
		return err
	}
	var m M
	if err := request.JSON(c, limit, &m); err != nil {
		return err
	}
	answer, err := do(request.Context(c), a, m)
	if err != nil {
		return err
	}
	return c.JSON(answer)
}

func (s *Surface) report(c *fiber.Ctx) error   { return told(s, c, maxMessage, s.Jobs.Report) }
func (s *Surface) offsets(c *fiber.Ctx) error  { return told(s, c, maxMessage, s.Jobs.Offsets) }
func (s *Surface) seal(c *fiber.Ctx) error     { return told(s, c, maxSeal, s.Jobs.Seal) }
func (s *Surface) manifest(c *fiber.Ctx) error { return told(s, c, maxMessage, s.Jobs.StageManifest) }
func (s *Surface) fail(c *fiber.Ctx) error     { return told(s, c, maxMessage, s.Jobs.Fail) }
func (s *Surface) close(c *fiber.Ctx) error    { return told(s, c, maxMessage, s.Jobs.Close) }

func (s *Surface) commit(c *fiber.Ctx) error {
	err := told(s, c, maxMessage, s.Jobs.Commit)
	failpoint.Here("coordinator-after-commit-before-answer")
	return err
}

func (s *Surface) content(c *fiber.Ctx) error {
	a, err := s.attempt(c)
	if err != nil {
		return err
	}
	sum := strings.Clone(c.Params("sha256"))
	if !ids.ValidSHA256(sum) {
		return fault.NotFound("no such content")
	}
	f, err := s.Jobs.Content(request.Context(c), a, sum)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return err
	}
	return request.SendFile(c, &jobs.File{File: f, Name: sum, ContentType: fiber.MIMEOctetStream, SHA256: sum, Size: info.Size()})
}

func (s *Surface) storeLog(c *fiber.Ctx) error {
	a, err := s.attempt(c)
	if err != nil {
		return err
	}
	body, err := request.Body(c, siteapi.MaxLog)
	if err != nil {
		return err
	}
	stored, err := s.Jobs.StoreLog(request.Context(c), a, strings.Clone(c.Params("stream")), body)
	if err != nil {
		return err
	}
	return c.JSON(stored)
}

func (s *Surface) liveLog(c *fiber.Ctx) error {
	a, err := s.attempt(c)
	if err != nil {
		return err
	}
	offset, err := strconv.ParseInt(c.Query("offset", "0"), 10, 64)
	if err != nil {
		return fault.BadRequest("offset must be a whole number")
	}
	chunk, err := request.ReadBody(c, siteapi.MaxLiveChunk)
	if err != nil {
		return err
	}
	answer, err := s.Jobs.LiveLog(request.Context(c), a, strings.Clone(c.Params("stream")), offset, chunk)
	if err != nil {
		return err
	}
	return c.Status(http.StatusOK).JSON(answer)
}
