package jobs

import (
	"context"
	"fmt"
	"time"

	"consort/coordinator/auth"
	"consort/coordinator/command"
	"consort/coordinator/state"
	"consort/coordinator/watch"
	"consort/shared/definition"
	"consort/shared/uws"
)

// MaxWait is the longest time Wait blocks (UWS 1.1 lets a server cap it; DESIGN section 12).
const MaxWait = 50 * time.Second

// Job is everything a surface shows of a job.
type Job struct {
	*state.Job
	Spec       *state.Spec
	Definition *definition.Definition
	Values     definition.Values // effective values of the parameters, defaults included
	Results    *state.Results    // nil before the commit
	Attempt    *state.Attempt    // the newest one, nil before the first lease
}

// Get returns a job that p may read. A job of another list than definition ("" for any) is ErrNotFound.
func (s *Service) Get(ctx context.Context, p auth.Principal, list, id string) (*Job, error) {
	return s.get(ctx, p, auth.ReadJob, list, id)
}

func (s *Service) get(ctx context.Context, p auth.Principal, a auth.Action, list, id string) (*Job, error) {
	return s.read(ctx, list, id, func(owner string) error { return s.cfg.Guard.Allow(p, a, owner) })
}

// getShared is Get for many who want the same job at the same moment.
func (s *Service) getShared(ctx context.Context, p auth.Principal, list, id string) (*Job, error) {
	j, err := s.shared.do(ctx, id, func(ctx context.Context) (*Job, error) {
		return s.read(ctx, "", id, func(string) error { return nil })
	})
	if err != nil {
		return nil, err
	}
	if list != "" && j.Job.Definition != list {
		return nil, ErrNotFound
	}
	if err := s.cfg.Guard.Allow(p, auth.ReadJob, j.Owner); err != nil {
		return nil, err
	}
	return j, nil
}

// read reads a job whose owner is allowed.
func (s *Service) read(ctx context.Context, list, id string, allow func(owner string) error) (*Job, error) {
	var j *Job
	err := s.view(ctx, func(v *state.View) error {
		h, err := head(v, list, id)
		if err != nil {
			return err
		}
		if err = allow(h.Owner); err != nil {
			return err
		}
		j, err = s.load(v, h)
		return err
	})
	if err != nil {
		return nil, err
	}
	if err := s.describe(j); err != nil {
		return nil, err
	}
	return j, nil
}

// At reads a job in a view that the caller has open, for those who have asked the policy already. A deleted job is
// state.ErrNotFound.
func (s *Service) At(v *state.View, id string) (*Job, error) {
	h, err := head(v, "", id)
	if err != nil {
		return nil, err
	}
	j, err := s.load(v, h)
	if err != nil {
		return nil, err
	}
	return j, s.describe(j)
}

// load reads what belongs to a job's head.
func (s *Service) load(v *state.View, h *state.Job) (*Job, error) {
	j := &Job{Job: h}
	var err error
	if j.Spec, err = s.Spec(v, h.Id); err != nil {
		return nil, err
	}
	if j.Epoch > 0 {
		if j.Attempt, err = v.Attempt(h.Id, j.Epoch); err != nil {
			return nil, err
		}
	}
	if j.CommitEpoch > 0 {
		j.Results, err = v.Results(h.Id)
	}
	return j, err
}

// head reads a job that exists for users: not deleted, and in the list it is asked for.
func head(v *state.View, list, id string) (*state.Job, error) {
	j, err := v.Job(id)
	if err != nil {
		return nil, err
	}
	if j.Deleted || (list != "" && j.Definition != list) {
		return nil, state.ErrNotFound
	}
	return j, nil
}

// describe adds the definition and the effective values.
func (s *Service) describe(j *Job) error {
	d, err := s.cfg.Definitions.Of(j.Job.Definition, j.DefinitionVersion, j.Digest)
	if err != nil {
		return fmt.Errorf("definition of job %s: %w", j.Id, err)
	}
	j.Definition = d
	j.Values, _ = d.Check(givenValues(j.Spec.Parameters), false)
	return nil
}

func givenValues(parameters []*command.Parameter) map[string][]string {
	given := make(map[string][]string, len(parameters))
	for _, p := range parameters {
		given[p.Name] = p.Values
	}
	return given
}

// WipedSecrets names the secret parameters that were given and wiped when the job ended: that they were given is
// no secret.
func (j *Job) WipedSecrets() []string {
	var names []string
	for _, p := range j.Spec.Parameters {
		if p.Secret && len(p.Values) == 0 {
			names = append(names, p.Name)
		}
	}
	return names
}

// Head returns only the head of a job that p may read; it is what atoms like /phase need.
func (s *Service) Head(ctx context.Context, p auth.Principal, list, id string) (*state.Job, error) {
	var j *state.Job
	err := s.view(ctx, func(v *state.View) (err error) {
		if j, err = head(v, list, id); err != nil {
			return err
		}
		return s.cfg.Guard.Allow(p, auth.ReadJob, j.Owner)
	})
	return j, err
}

// Attempts returns the attempts of a job that p may read, oldest first.
func (s *Service) Attempts(ctx context.Context, p auth.Principal, id string) ([]*state.Attempt, error) {
	var attempts []*state.Attempt
	err := s.view(ctx, func(v *state.View) error {
		j, err := head(v, "", id)
		if err != nil {
			return err
		}
		if err := s.cfg.Guard.Allow(p, auth.ReadJob, j.Owner); err != nil {
			return err
		}
		attempts, err = v.Attempts(id)
		return err
	})
	return attempts, err
}

// Query selects jobs for List.
type Query struct {
	Definition string   // name of the list; empty: all
	Phases     []string // the union of these; none: every phase but ARCHIVED
	After      time.Time
	Limit      int // 0: all
	Cursor     string
}

// List calls yield for each job that p may see, newest first, until yield returns false or an error. It
// reads as it goes: nothing is kept.
func (s *Service) List(ctx context.Context, p auth.Principal, q Query, yield func(*state.Job) error) error {
	if err := s.cfg.Guard.Allow(p, auth.ListJobs, ""); err != nil {
		return err
	}
	query := state.ListQuery{
		AllOwners:  p.Operator,
		Owner:      p.Owner(),
		Definition: q.Definition,
		Phases:     q.Phases,
		Limit:      q.Limit,
		Cursor:     q.Cursor,
	}
	if !q.After.IsZero() {
		query.AfterUs = q.After.UnixMicro()
	}
	return s.view(ctx, func(v *state.View) error {
		for j, err := range v.List(query) {
			if err != nil {
				return err
			}
			if err := yield(j); err != nil {
				return err
			}
		}
		return nil
	})
}

// Wait returns the job when its phase has left the one it had at the call, or was not phase to begin with,
// or is not a blocking one, or after timeout (at most MaxWait). It returns ErrNotFound as soon as the job
// is deleted, and ErrBusy when p waits too often already.
func (s *Service) Wait(ctx context.Context, p auth.Principal, list, id string, phase uws.Phase, timeout time.Duration) (*Job, error) {
	if timeout <= 0 {
		return s.Get(ctx, p, list, id)
	}
	sub := s.cfg.Hub.Subscribe(watch.Job(id))
	defer sub.Close()
	h, err := s.Head(ctx, p, list, id)
	if err != nil {
		return nil, err
	}
	first := uws.Phase(h.Phase)
	if !first.Blocking() || (phase != "" && phase != first) {
		return s.Get(ctx, p, list, id)
	}
	if !s.waiters.enter(p.Owner()) {
		return nil, ErrBusy
	}
	defer s.waiters.leave(p.Owner())

	timer := time.NewTimer(min(timeout, MaxWait))
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-timer.C:
			return s.Get(ctx, p, list, id)
		case <-sub.C():
		}
		// Most of the few events of a job change its phase, and then a thousand may wait for the same answer.
		if j, err := s.getShared(ctx, p, list, id); err != nil || uws.Phase(j.Phase) != first || sub.Closed() {
			return j, err
		}
	}
}
