package scheduler

import (
	"context"
	"fmt"
	"time"

	"consort/coordinator/command"
	"consort/coordinator/jobs"
	"consort/coordinator/state"
	"consort/coordinator/watch"
	"consort/shared/siteapi"
)

// Poll compares a site's journal with the state and answers with the difference: leases the site does not
// have, attempts to cancel, attempts to forget. While there is none it makes the site's free room an offer
// and waits, at most as long as the request says.
func (s *Scheduler) Poll(ctx context.Context, name string, r siteapi.PollRequest) (*siteapi.PollResponse, error) {
	sub := s.cfg.Hub.Subscribe(watch.Site(name))
	defer sub.Close()
	if err := s.arrive(name, r); err != nil {
		return nil, err
	}
	timer := time.NewTimer(min(time.Duration(r.Wait)*time.Second, siteapi.MaxPollWait))
	defer timer.Stop()
	offered := false
	for {
		answer, err := s.difference(ctx, name, &r)
		if err != nil {
			return nil, err
		}
		if news(answer, &r) || r.Wait <= 0 {
			return answer, nil
		}
		if !offered { // not before: what is open but not in the journal yet takes room too
			s.offer(name, r.Free)
			defer s.withdraw(name)
			offered = true
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-timer.C:
			return answer, nil
		case <-sub.C():
			if sub.Closed() {
				return answer, nil
			}
		}
	}
}

// arrive notes the poll. Of two agents of one site, the one started later does the work.
func (s *Scheduler) arrive(name string, r siteapi.PollRequest) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.sites[name]
	if st == nil {
		st = &site{}
		s.sites[name] = st
	}
	if st.boot != "" && st.boot != r.Boot && r.Started.Before(st.started) {
		return ErrFenced
	}
	st.boot, st.started, st.seen, st.poll = r.Boot, r.Started, s.cfg.Now(), r
	return nil
}

// offer lets match give the site work for as long as its poll is held open.
func (s *Scheduler) offer(name string, free siteapi.Capacity) {
	s.mu.Lock()
	st := s.sites[name]
	st.waiting++
	st.free = free
	s.mu.Unlock()
	s.cfg.Hub.Publish([]watch.Event{{Kind: "offer"}})
}

func (s *Scheduler) withdraw(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.sites[name]
	st.waiting--
	st.seen = s.cfg.Now()
}

// news tells whether the answer holds anything that the agent does not do already.
func news(answer *siteapi.PollResponse, r *siteapi.PollRequest) bool {
	if len(answer.Leases)+len(answer.Forget) > 0 {
		return true
	}
	known := make(map[siteapi.AttemptRef]siteapi.AttemptInfo, len(r.Attempts))
	for _, a := range r.Attempts {
		known[siteapi.AttemptRef{Job: a.Job, Epoch: a.Epoch}] = a
	}
	for _, ref := range answer.Cancel {
		if !known[ref].Cancelling {
			return true
		}
	}
	for _, ref := range answer.Watch {
		if a, here := known[ref]; here && !a.Watching {
			return true
		}
	}
	return false
}

// difference is the answer to a poll at this moment.
func (s *Scheduler) difference(ctx context.Context, name string, r *siteapi.PollRequest) (*siteapi.PollResponse, error) {
	if err := s.cfg.Log.WaitRead(ctx); err != nil {
		return nil, err
	}
	answer := &siteapi.PollResponse{
		Watch: s.cfg.Watched.Watched(name), SFTP: s.cfg.SFTP(), Time: s.cfg.Now(),
	}
	known := make(map[siteapi.AttemptRef]bool, len(r.Attempts))
	for _, a := range r.Attempts {
		known[siteapi.AttemptRef{Job: a.Job, Epoch: a.Epoch}] = true
	}
	open := map[siteapi.AttemptRef]bool{}
	for _, k := range s.cfg.State.OpenAttempts(name) {
		ref := siteapi.AttemptRef{Job: k.Job, Epoch: k.Epoch}
		open[ref] = true
		switch {
		case k.Cancelling:
			answer.Cancel = append(answer.Cancel, ref)
		case !known[ref]:
			lease, err := s.lease(ref)
			if err != nil {
				return nil, fmt.Errorf("lease of %s: %w", ref.Job, err)
			}
			answer.Leases = append(answer.Leases, *lease)
		}
	}
	for ref := range known {
		if !open[ref] {
			answer.Forget = append(answer.Forget, ref)
		}
	}
	return answer, nil
}

// lease is everything the site needs to run the attempt.
func (s *Scheduler) lease(ref siteapi.AttemptRef) (*siteapi.Lease, error) {
	var l *siteapi.Lease
	err := s.cfg.State.View(func(v *state.View) error {
		j, err := v.Job(ref.Job)
		if err != nil {
			return err
		}
		spec, err := s.cfg.Specs.Spec(v, ref.Job)
		if err != nil {
			return err
		}
		d, err := v.Definition(j.Definition, j.DefinitionVersion)
		if err != nil {
			return err
		}
		l = makeLease(j, spec, d)
		return nil
	})
	return l, err
}

func makeLease(j *state.Job, spec *state.Spec, d *state.Definition) *siteapi.Lease {
	l := &siteapi.Lease{
		Job: j.Id, Epoch: j.Epoch, Owner: j.Owner, RunID: j.RunId,
		Definition:       siteapi.Definition{Name: d.Name, Version: d.Version, Digest: d.Digest},
		ExecutionSeconds: j.ExecutionSeconds,
		MaxFiles:         jobs.MaxFiles,
		MaxBytes:         jobs.MaxBytes,
		Created:          time.UnixMicro(j.CreatedUs).UTC(),
		WorkLeaseUntil:   time.UnixMicro(j.WorkLeaseUntilUs).UTC(),
		Resources:        resources(spec.Resources),
	}
	for _, f := range d.Files {
		l.Definition.Files = append(l.Definition.Files, siteapi.File{Path: f.Path, SHA256: f.Sha256, Size: f.Size})
	}
	for _, p := range spec.Parameters {
		l.Parameters = append(l.Parameters, siteapi.Parameter{Name: p.Name, Values: p.Values, Secret: p.Secret})
	}
	for _, in := range spec.Inputs {
		l.Inputs = append(l.Inputs, siteapi.Input{
			Name: in.Name, FileName: in.FileName, SHA256: in.Sha256, Size: in.Size, ContentType: in.ContentType,
		})
	}
	return l
}

func resources(r *command.Resources) siteapi.Resources {
	return siteapi.Resources{
		Nodes: int(r.GetNodes()), Tasks: int(r.GetTasks()), Cores: int(r.GetCores()), GPUs: int(r.GetGpus()),
		MemoryBytes: r.GetMemoryBytes(), ScratchBytes: r.GetScratchBytes(), Network: r.GetNetwork(),
	}
}
