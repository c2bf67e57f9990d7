package uws

import (
	"fmt"
	"strings"

	"github.com/gofiber/fiber/v2"

	"consort/coordinator/api/fault"
	"consort/coordinator/api/request"
	"consort/coordinator/auth"
	"consort/coordinator/jobs"
	"consort/shared/prov"
	"consort/shared/uws"
)

func (s *Surface) getParameters(c *fiber.Ctx) error {
	j, t, err := s.job(c)
	if err != nil {
		return err
	}
	return sendXML(c, uws.AppendParameters(nil, parameters(j, t.url)))
}

// getParameter answers with a parameter's value, several of them on lines of their own, or with the bytes
// of an input.
func (s *Surface) getParameter(c *fiber.Ctx) error {
	j, _, err := s.job(c)
	if err != nil {
		return err
	}
	id, err := request.Param(c, "name")
	if err != nil {
		return err
	}
	for v := range j.Values.All() {
		if strings.EqualFold(v.Name, id) && !v.Secret && len(v.Values) > 0 {
			return sendText(c, strings.Join(v.Values, "\n"))
		}
	}
	name, n, ok := parseInputID(id)
	declared := j.Definition.Input(name)
	if !ok || declared == nil {
		return fault.NotFound("the job has no such parameter")
	}
	f, err := s.Jobs.OpenInput(j, declared.Name, n)
	if err != nil {
		return err
	}
	if node, ok := inputNode(j, declared.Name, n); ok {
		s.tellProvenance(c, node)
	}
	return request.SendFile(c, f)
}

// inputNode names the n-th (from 0) file given for an input as records do.
func inputNode(j *jobs.Job, name string, n int) (prov.QName, bool) {
	for _, in := range j.Spec.Inputs {
		if in.Name != name {
			continue
		}
		if n == 0 {
			return prov.InputID(&prov.InputRecord{SHA256: in.Sha256, Upload: in.Upload, URL: in.Url, Job: in.FromJob, Result: in.FromResult}), true
		}
		n--
	}
	return prov.QName{}, false
}

// postParameters changes parameters and inputs of a job that was not started (UWS 1.1, section 2.2.3.4).
func (s *Surface) postParameters(c *fiber.Ctx) error {
	t, err := s.changeable(c)
	if err != nil {
		return err
	}
	form, err := readForm(c, request.FormLimits(), s.Files)
	if err != nil {
		return err
	}
	return s.updateFrom(c, t, form)
}

// putParameter sets one parameter to the body, which is plain text, or one input to the file that the body
// is.
func (s *Surface) putParameter(c *fiber.Ctx) error {
	t, err := s.changeable(c)
	if err != nil {
		return err
	}
	name, err := request.Param(c, "name")
	if err != nil {
		return err
	}
	form, err := s.putForm(c, t, name)
	if err != nil {
		return err
	}
	return s.updateFrom(c, t, form)
}

func (s *Surface) putForm(c *fiber.Ctx, t target, name string) (*request.Form, error) {
	j, err := s.Jobs.Get(request.Context(c), t.Principal, t.list, t.id)
	if err != nil {
		return nil, err
	}
	in := j.Definition.Input(name)
	if in == nil {
		return request.ParseValue(c, name, request.FormLimits())
	}
	return request.ParseFile(c, in.Name, request.FormLimits(), s.Files)
}

// changeable is readable for a job whose parameters the caller may change now; asked before uploads are
// taken in.
func (s *Surface) changeable(c *fiber.Ctx) (target, error) {
	t, err := s.target(c)
	if err != nil {
		return t, err
	}
	j, err := s.Jobs.Head(request.Context(c), t.Principal, t.list, t.id)
	if err != nil {
		return t, err
	}
	if err := s.Guard.Allow(t.Principal, auth.ChangeJob, j.Owner); err != nil {
		return t, err
	}
	if uws.Phase(j.Phase) != uws.Pending {
		return t, fmt.Errorf("%w: parameters can be changed while it is PENDING, and it is %s", jobs.ErrIllegalPhase, j.Phase)
	}
	return t, nil
}

func (s *Surface) updateFrom(c *fiber.Ctx, t target, form *request.Form) error {
	r, err := takeRequest(form)
	if err != nil {
		return err
	}
	return s.update(c, t, r)
}
