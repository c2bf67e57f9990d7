package uws

import (
	"strconv"

	"github.com/gofiber/fiber/v2"

	"consort/coordinator/api/fault"
	"consort/coordinator/api/request"
	"consort/coordinator/state"
	"consort/shared/uws"
)

// atom answers with one property of a job as plain text. It reads the job's head only.
func (s *Surface) atom(text func(*state.Job) string) fiber.Handler {
	return func(c *fiber.Ctx) error {
		t, err := s.target(c)
		if err != nil {
			return err
		}
		j, err := s.Jobs.Head(request.Context(c), t.Principal, t.list, t.id)
		if err != nil {
			return err
		}
		return sendText(c, text(j))
	}
}

func phaseText(j *state.Job) string { return j.Phase }

func durationText(j *state.Job) string {
	return strconv.FormatInt(min(j.ExecutionSeconds, 1<<31-1), 10)
}

func destructionText(j *state.Job) string {
	if j.DestructionUs == 0 {
		return ""
	}
	return uws.FormatTime(timeOf(j.DestructionUs))
}

// quoteText is empty: nobody can tell yet when a job will be done.
func quoteText(*state.Job) string { return "" }

func ownerText(j *state.Job) string { return j.Owner }

// getError answers with the error of a failed job. The status is 200, for the job failed and not the
// request; of a job that did not fail there is no error (DALI 1.1, section 2.1).
func (s *Surface) getError(c *fiber.Ctx) error {
	t, err := s.target(c)
	if err != nil {
		return err
	}
	j, err := s.Jobs.Head(request.Context(c), t.Principal, t.list, t.id)
	if err != nil {
		return err
	}
	if uws.Phase(j.Phase) != uws.Error {
		return fault.NotFound("the job has no error")
	}
	return sendText(c, errorText(j.Failure)+"\n")
}
