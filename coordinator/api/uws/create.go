package uws

import (
	"fmt"
	"net/url"
	"strings"

	"github.com/gofiber/fiber/v2"

	"consort/coordinator/api/fault"
	"consort/coordinator/api/provform"
	"consort/coordinator/api/request"
	"consort/coordinator/auth"
	"consort/coordinator/jobs"
	"consort/coordinator/state"
	"consort/shared/userapi"
	"consort/shared/uws"
)

// create makes a job of what the form, and the query, say (UWS 1.1, section 2.2.3.1).
func (s *Surface) create(c *fiber.Ctx) error {
	ref, name, err := s.listName(c)
	if err != nil {
		return err
	}
	p := request.Principal(c)
	// Before the body is read: nobody fills the store without the right to create jobs.
	if err := s.Guard.Allow(p, auth.CreateJob, ""); err != nil {
		return err
	}
	key, err := request.Key(c)
	if err != nil {
		return err
	}
	form, err := readForm(c, request.FormLimits(), s.Files)
	if err != nil {
		return err
	}
	run, err := takeRun(form)
	if err != nil {
		return err
	}
	reuse, err := takeReuse(form)
	if err != nil {
		return err
	}
	asked, err := takeRequest(form)
	if err != nil {
		return err
	}
	created, err := s.Jobs.Create(request.Context(c), p, jobs.CreateRequest{Definition: ref, Request: asked, Run: run, Reuse: reuse, Key: key})
	if err != nil {
		return err
	}
	offer(c, created.Earlier)
	warn(c, created.Retracted)
	return request.SeeOther(c, jobURL(c, name, created.ID))
}

// takeReuse reads REUSE: true takes the results of an earlier job of which the same was asked, where there is one.
func takeReuse(f *request.Form) (bool, error) {
	text, given, err := f.Take("REUSE")
	if err != nil || !given {
		return false, err
	}
	switch strings.ToLower(text) {
	case "true", "1":
		return true, nil
	case "false", "0":
		return false, nil
	}
	return false, fault.BadRequest("REUSE: true and false are allowed")
}

// offer names a completed job of which the same was asked.
func offer(c *fiber.Ctx, earlier *state.Job) {
	if earlier != nil {
		c.Response().Header.Add(fiber.HeaderLink, fmt.Sprintf(`<%s>; rel="%s"`, jobURL(c, earlier.Definition, earlier.Id), userapi.RelComputed))
	}
}

// maxWarned bounds the files that an answer warns of.
const maxWarned = 20

// warn names files given as inputs that are retracted, and leads to what is known of them.
func warn(c *fiber.Ctx, retracted []string) {
	for _, entity := range retracted[:min(len(retracted), maxWarned)] {
		c.Response().Header.Add(fiber.HeaderLink, fmt.Sprintf(`<%s?ID=%s>; rel="%s"`, request.Base(c)+provform.Path, url.QueryEscape(entity), userapi.RelRetracted))
	}
}

// readForm reads the body, and the query as if it were part of it: UWS lets PHASE=RUN stand there.
func readForm(c *fiber.Ctx, limits request.Limits, store request.Store) (*request.Form, error) {
	query, err := request.Query(c)
	if err != nil {
		return nil, err
	}
	form, err := request.ParseForm(c, limits, store)
	if err != nil {
		return nil, err
	}
	for name, value := range query.All() {
		form.Add(name, value)
	}
	return form, nil
}

// fields reads a form that holds a few short fields.
func fields(c *fiber.Ctx) (*request.Form, error) {
	return readForm(c, request.Limits{Form: 64 << 10, Value: 4 << 10}, nil)
}

// takeRun reads PHASE of a new job: RUN starts it at once.
func takeRun(f *request.Form) (bool, error) {
	phase, given, err := f.Take("PHASE")
	if err != nil || !given {
		return false, err
	}
	if phase != "RUN" {
		return false, fault.BadRequest("PHASE of a new job can only be RUN; leave it out for a job to be run later")
	}
	return true, nil
}

// takeRequest reads what a form says about a job. What it does not take are parameters and inputs.
func takeRequest(f *request.Form) (jobs.Request, error) {
	var r jobs.Request
	if _, given, err := f.Take("ACTION"); err != nil || given {
		return r, fault.BadRequest("ACTION makes no sense here; POST ACTION=DELETE to the job itself")
	}
	for _, name := range []string{"RUNID", "EXECUTIONDURATION", "DESTRUCTION"} {
		value, given, err := f.Take(name)
		if err != nil {
			return r, err
		}
		if !given {
			continue
		}
		if err := setting(&r, name, value); err != nil {
			return r, err
		}
	}
	r.Parameters, r.Uploads = f.Values, f.Files
	return r, nil
}

// setting puts one of the settings of UWS itself into r.
func setting(r *jobs.Request, name, value string) error {
	switch name {
	case "RUNID":
		r.RunID = &value
	case "EXECUTIONDURATION":
		seconds, err := uws.ParseExecutionDuration(value)
		if err != nil {
			return err
		}
		wide := int64(seconds)
		r.Execution = &wide
	case "DESTRUCTION":
		destroy, err := uws.ParseTime(value)
		if err != nil {
			return err
		}
		r.Destroy = &destroy
	}
	return nil
}
