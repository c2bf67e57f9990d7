package jobs

import (
	"context"
	"fmt"
	"hash/fnv"
	"strings"
	"sync"

	"google.golang.org/protobuf/proto"

	"consort/coordinator/auth"
	"consort/coordinator/command"
	"consort/shared/definition"
	"consort/shared/uws"
)

// Run queues a PENDING or HELD job. It fails with ErrMissing, naming what is not set, and with
// ErrIllegalPhase.
func (s *Service) Run(ctx context.Context, p auth.Principal, list, id string) error {
	j, err := s.get(ctx, p, auth.ChangeJob, list, id)
	if err != nil {
		return err
	}
	if uws.Phase(j.Phase) == uws.Pending {
		if err := missing(j); err != nil {
			return err
		}
	}
	_, err = s.propose(ctx, &command.Command{Principal: p.Owner(), Body: &command.Command_RunJob{RunJob: &command.RunJob{Id: id}}})
	return err
}

func missing(j *Job) error {
	_, problems := j.Definition.Check(givenValues(j.Spec.Parameters), true)
	given := map[string][]definition.Reference{}
	for _, in := range j.Spec.Inputs {
		given[in.Name] = append(given[in.Name], definition.Reference{Kind: definition.FromUpload, Size: in.Size})
	}
	_, found := j.Definition.CheckInputs(given, true)
	var names []string
	for _, p := range append(problems, found...) {
		if p.Missing {
			names = append(names, p.Name)
		}
	}
	if len(names) == 0 {
		return nil
	}
	return fmt.Errorf("%w: %s", ErrMissing, strings.Join(names, ", "))
}

// Abort ends a job. On a job that has ended it changes nothing and is no error.
func (s *Service) Abort(ctx context.Context, p auth.Principal, list, id string) error {
	if err := s.mayChange(ctx, p, list, id); err != nil {
		return err
	}
	_, err := s.propose(ctx, &command.Command{Principal: p.Owner(), Body: &command.Command_AbortJob{
		AbortJob: &command.AbortJob{Id: id, Reason: "aborted by its user"},
	}})
	return err
}

// Delete hides a job at once; its files follow.
func (s *Service) Delete(ctx context.Context, p auth.Principal, list, id string) error {
	if err := s.mayChange(ctx, p, list, id); err != nil {
		return err
	}
	_, err := s.propose(ctx, &command.Command{Principal: p.Owner(), Body: &command.Command_DeleteJob{DeleteJob: &command.DeleteJob{Id: id}}})
	return err
}

func (s *Service) mayChange(ctx context.Context, p auth.Principal, list, id string) error {
	j, err := s.Head(ctx, p, list, id)
	if err != nil {
		return err
	}
	return s.cfg.Guard.Allow(p, auth.ChangeJob, j.Owner)
}

// Update changes parameters, inputs and resources (PENDING only), RUNID, execution duration (until the job
// ends) and destruction time. Values are checked as in Create. It names the files given that are retracted, as
// Created does.
func (s *Service) Update(ctx context.Context, p auth.Principal, list, id string, r Request) (retracted []string, err error) {
	defer s.updates.lock(id)() // what is folded anew is read before
	j, err := s.get(ctx, p, auth.ChangeJob, list, id)
	if err != nil {
		return nil, err
	}
	asked, err := s.resolve(ctx, p, j.Definition, r, false)
	if err != nil {
		return nil, err
	}
	body := &command.UpdateJob{Id: id, SetInputs: asked.given(r), RunId: r.RunID}
	if len(asked.parameters) > 0 {
		if err := s.foldUpdate(ctx, j.Spec.Parameters, asked.parameters, body); err != nil {
			return nil, err
		}
	}
	body.Resources = mergeResources(j.Spec.Resources, asked.resources, r)
	if r.Execution != nil {
		body.ExecutionSeconds = r.Execution
	}
	if r.Destroy != nil {
		us := r.Destroy.UnixMicro()
		body.DestructionUs = &us
	}
	_, err = s.propose(ctx, &command.Command{Principal: p.Owner(), Body: &command.Command_UpdateJob{UpdateJob: body}})
	if err != nil {
		return nil, err
	}
	return s.retracted(id, body.SetInputs), nil
}

// given are the inputs that the request itself names, without those that come from defaults.
func (a *resolved) given(r Request) []*command.Input {
	var inputs []*command.Input
	for _, in := range a.inputs {
		named := false
		for name := range r.Parameters {
			named = named || strings.EqualFold(name, in.Name)
		}
		for _, u := range r.Uploads {
			named = named || strings.EqualFold(u.Name, in.Name)
		}
		if named {
			inputs = append(inputs, in)
		}
	}
	return inputs
}

// mergeResources lays the resources that r names over those there are; nil when it names none.
func mergeResources(have, asked *command.Resources, r Request) *command.Resources {
	merged, named := proto.CloneOf(have), false
	if merged == nil {
		merged = new(command.Resources)
	}
	for name := range r.Parameters {
		key, is := strings.CutPrefix(strings.ToLower(name), "resource_")
		if !is {
			continue
		}
		named = true
		switch key {
		case "nodes":
			merged.Nodes = asked.Nodes
		case "tasks":
			merged.Tasks = asked.Tasks
		case "cores":
			merged.Cores = asked.Cores
		case "gpus":
			merged.Gpus = asked.Gpus
		case "memory":
			merged.MemoryBytes = asked.MemoryBytes
		case "scratch":
			merged.ScratchBytes = asked.ScratchBytes
		case "network":
			merged.Network = asked.Network
		}
	}
	if !named {
		return nil
	}
	return merged
}

// stripes are locks by job id; different jobs mostly have different ones.
type stripes [64]sync.Mutex

// lock takes the lock of id and returns what gives it free.
func (s *stripes) lock(id string) (unlock func()) {
	h := fnv.New32a()
	_, _ = h.Write([]byte(id))
	m := &s[h.Sum32()%uint32(len(s))]
	m.Lock()
	return m.Unlock
}
