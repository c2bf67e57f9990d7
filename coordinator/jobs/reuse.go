package jobs

import (
	"context"
	"errors"

	"consort/coordinator/auth"
	"consort/coordinator/command"
	"consort/coordinator/state"
	"consort/shared/prov"
	"consort/shared/uws"
)

const (
	// maxComputed bounds the jobs that Computed returns.
	maxComputed = 10
	// maxComputedLooked bounds those it looks at.
	maxComputedLooked = 1000
	// maxOfferLooked bounds those that are looked at for an offer, at every create.
	maxOfferLooked = 20
)

// Computed lists the jobs that computed what r asks for: completed, with their files, of the same definition,
// inputs and parameters, and such that p may read them. Newest come first. Jobs that used or made what is retracted
// are left out. A request with a secret, or with an
// input whose content is not known, was never computed. It fails as Create does.
func (s *Service) Computed(ctx context.Context, p auth.Principal, r CreateRequest) ([]*state.Job, error) {
	if err := s.cfg.Guard.Allow(p, auth.CreateJob, ""); err != nil {
		return nil, err
	}
	r.Run = true
	body, _, err := s.prepare(ctx, p, r)
	if err != nil {
		return nil, err
	}
	return s.computed(ctx, p, body)
}

// ComputedLike is Computed for what a job that p may read was asked for; the job itself is left out.
func (s *Service) ComputedLike(ctx context.Context, p auth.Principal, id string) ([]*state.Job, error) {
	body := new(command.CreateJob)
	err := s.view(ctx, func(v *state.View) error {
		j, err := head(v, "", id)
		if err != nil {
			return err
		}
		if err := s.cfg.Guard.Allow(p, auth.ReadJob, j.Owner); err != nil {
			return err
		}
		spec, err := v.Spec(id) // large values stay folded, as they are in the digest
		if err != nil {
			return err
		}
		body = &command.CreateJob{
			Id: id, Definition: j.Definition, Version: j.DefinitionVersion, Digest: j.Digest,
			Parameters: spec.Parameters, Inputs: spec.Inputs,
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return s.computed(ctx, p, body)
}

func (s *Service) computed(ctx context.Context, p auth.Principal, body *command.CreateJob) (found []*state.Job, err error) {
	err = s.view(ctx, func(v *state.View) error {
		found, err = s.computedBy(v, p, body, maxComputed, maxComputedLooked)
		return err
	})
	return found, err
}

// offer finds a job that computed what a job that was just made asks for; nil when there is none at hand. It looks at the
// state as it is here: a job that was completed a moment ago on another node is no great loss.
func (s *Service) offer(p auth.Principal, body *command.CreateJob) *state.Job {
	var found []*state.Job
	err := s.cfg.State.View(func(v *state.View) (err error) {
		found, err = s.computedBy(v, p, body, 1, maxOfferLooked)
		return err
	})
	if err != nil {
		s.cfg.Logger.Warn("look for what was computed already", "job", body.Id, "error", err)
		return nil
	}
	if len(found) == 0 {
		return nil
	}
	return found[0]
}

// computedBy looks at so many jobs at most that computed what is asked for, and takes some of them.
func (s *Service) computedBy(v *state.View, p auth.Principal, body *command.CreateJob, take, look int) ([]*state.Job, error) {
	d, err := s.cfg.Definitions.Get(body.Definition + "@" + body.Version)
	if err != nil {
		return nil, err
	}
	digest, ok := state.RequestDigest(body.Digest, body.Inputs, body.Parameters, d.Record.Defaults)
	if !ok {
		return nil, nil
	}
	page, _, err := v.Computed(digest, nil, look)
	if err != nil {
		return nil, err
	}
	var found []*state.Job
	for _, f := range page {
		j, err := v.Job(f.Job)
		if errors.Is(err, state.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if j.Id == body.Id || uws.Phase(j.Phase) != uws.Completed || s.cfg.Guard.Allow(p, auth.ReadJob, j.Owner) != nil {
			continue
		}
		gone, err := v.Retracted(j)
		if err != nil {
			return nil, err
		}
		if len(gone) > 0 {
			continue // nobody should go on with what was taken back, or with what was made of it
		}
		found = append(found, j)
		if len(found) == take {
			break
		}
	}
	return found, nil
}

// retracted names the files among a job's inputs that are retracted. It looks at the state as it is here: the
// job is there, whatever it says.
func (s *Service) retracted(job string, inputs []*command.Input) []string {
	var found []string
	err := s.cfg.State.View(func(v *state.View) (err error) {
		found, err = v.RetractedInputs(inputs)
		return err
	})
	if err != nil {
		s.cfg.Logger.Warn("look for retracted inputs", "job", job, "error", err)
	}
	for i, local := range found {
		found[i] = prov.QName{Prefix: "ent", Local: local}.String()
	}
	return found
}

// reuse makes a job that takes over the results of an earlier one; nil when there is none.
func (s *Service) reuse(ctx context.Context, p auth.Principal, key string, hash []byte, body *command.CreateJob) (*Created, error) {
	candidates, err := s.computed(ctx, p, body)
	if err != nil {
		return nil, err
	}
	for _, old := range candidates {
		body.ReuseOf = old.Id
		made, err := s.create(ctx, p, key, hash, body)
		switch {
		case err == nil:
			return made, nil
		case errors.Is(err, ErrKeyConflict), !refused(err):
			return nil, err
		}
	}
	body.ReuseOf = ""
	return nil, nil
}

// refused tells that the state did not let a job be reused: it went meanwhile, or has too many files.
func refused(err error) bool {
	return errors.Is(err, ErrNotFound) || errors.Is(err, ErrIllegalPhase) || errors.Is(err, ErrInvalid) || errors.Is(err, ErrTooLarge)
}
