package uws

import (
	"errors"
	"time"

	"github.com/gofiber/fiber/v2"

	"consort/coordinator/api/fault"
	"consort/coordinator/api/request"
	"consort/coordinator/jobs"
	"consort/shared/uws"
)

// getJob answers with the job document, with WAIT once the phase has changed or the time is over (UWS 1.1,
// section 2.2.1.1).
func (s *Surface) getJob(c *fiber.Ctx) error {
	t, err := s.target(c)
	if err != nil {
		return err
	}
	query, err := request.Query(c)
	if err != nil {
		return err
	}
	wait, err := uws.ParseWaitQuery(query.All())
	if err != nil {
		return err
	}
	ctx := request.Context(c)
	j, err := s.Jobs.Wait(ctx, t.Principal, t.list, t.id, wait.Phase, timeout(wait))
	if errors.Is(err, jobs.ErrBusy) {
		// A server under load may answer early; clients know how to ask again, but not what a 503 means here.
		j, err = s.Jobs.Get(ctx, t.Principal, t.list, t.id)
	}
	if err != nil {
		return err
	}
	return sendXML(c, uws.AppendJob(nil, s.document(j, t.url)))
}

func timeout(w uws.Wait) time.Duration {
	if w.Seconds == uws.Forever {
		return jobs.MaxWait
	}
	return min(time.Duration(w.Seconds)*time.Second, jobs.MaxWait)
}

// postJob takes ACTION=DELETE, for clients that cannot send DELETE, and nothing else.
func (s *Surface) postJob(c *fiber.Ctx) error {
	t, err := s.readable(c)
	if err != nil {
		return err
	}
	form, err := fields(c)
	if err != nil {
		return err
	}
	action, _, err := form.Take("ACTION")
	if err != nil {
		return err
	}
	if action != "DELETE" {
		return fault.BadRequest("a job takes only ACTION=DELETE; its phase is changed at /phase, its parameters at /parameters")
	}
	return s.remove(c, t)
}

func (s *Surface) deleteJob(c *fiber.Ctx) error {
	t, err := s.target(c)
	if err != nil {
		return err
	}
	return s.remove(c, t)
}

func (s *Surface) remove(c *fiber.Ctx, t target) error {
	if err := s.Jobs.Delete(request.Context(c), t.Principal, t.list, t.id); err != nil {
		return err
	}
	return request.SeeOther(c, listURL(c, t.list))
}

// readable returns the target when it exists and the caller may see it: asked before a body is read, so
// that an unknown job is 404 whatever is posted to it.
func (s *Surface) readable(c *fiber.Ctx) (target, error) {
	t, err := s.target(c)
	if err != nil {
		return t, err
	}
	_, err = s.Jobs.Head(request.Context(c), t.Principal, t.list, t.id)
	return t, err
}

func (s *Surface) postPhase(c *fiber.Ctx) error {
	t, err := s.readable(c)
	if err != nil {
		return err
	}
	form, err := fields(c)
	if err != nil {
		return err
	}
	phase, _, err := form.Take("PHASE")
	if err != nil {
		return err
	}
	switch phase {
	case "RUN":
		err = s.Jobs.Run(request.Context(c), t.Principal, t.list, t.id)
	case "ABORT":
		err = s.Jobs.Abort(request.Context(c), t.Principal, t.list, t.id)
	default:
		return fault.BadRequest("PHASE must be RUN or ABORT")
	}
	if err != nil {
		return err
	}
	return request.SeeOther(c, t.url)
}

func (s *Surface) postDuration(c *fiber.Ctx) error { return s.set(c, "EXECUTIONDURATION") }

func (s *Surface) postDestruction(c *fiber.Ctx) error { return s.set(c, "DESTRUCTION") }

// set changes the one field that an atom stands for.
func (s *Surface) set(c *fiber.Ctx, name string) error {
	t, err := s.readable(c)
	if err != nil {
		return err
	}
	form, err := fields(c)
	if err != nil {
		return err
	}
	value, given, err := form.Take(name)
	if err != nil {
		return err
	}
	if !given {
		return fault.BadRequest(name + " is missing")
	}
	var r jobs.Request
	if err := setting(&r, name, value); err != nil {
		return err
	}
	return s.update(c, t, r)
}

func (s *Surface) update(c *fiber.Ctx, t target, r jobs.Request) error {
	retracted, err := s.Jobs.Update(request.Context(c), t.Principal, t.list, t.id, r)
	if err != nil {
		return err
	}
	warn(c, retracted)
	return request.SeeOther(c, t.url)
}
