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
		grants := s.grantsOf(name)
		answer, err := s.difference(ctx, name, &r)
		if err != nil {
			return nil, err
		}
		if s.fenced(name, r.Boot) { // while this poll was held
			return nil, ErrFenced
		}
		if news(answer, &r) || r.Wait <= 0 {
			return answer, nil
		}
		if s.revoked(name) { // the next call is refused, and says why
			return answer, nil
		}
		if !offered && s.offer(name, r.Free, grants) {
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
	if st.boot != "" && st.boot != r.Boot {
		s.cfg.Hub.Publish([]watch.Event{{Kind: "fence", Site: name}}) // for the polls of the older one
	}
	st.boot, st.started, st.seen, st.poll = r.Boot, r.Started, s.cfg.Now(), r
	return nil
}

// fenced tells whether an agent is not the one that works for its site.
func (s *Scheduler) fenced(name, boot string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sites[name].boot != boot
}

// revoked tells whether a site's rights ended, perhaps while its poll was held.
func (s *Scheduler) revoked(name string) bool {
	var site *state.Site
	err := s.cfg.State.View(func(v *state.View) (err error) {
		site, err = v.Site(name)
		return err
	})
	return err != nil || site.RevokedUs > 0
}

// grants counts the leases of a site that were begun to be granted, and are done, in whatever way.
type grants struct{ begun, done int }

func (s *Scheduler) grantsOf(name string) grants {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sites[name].grants
}

// offer lets match give the site work for as long as its poll is held open. It is refused while leases are being
// granted, or were since before the state was read: they take room that the agent does not know of. The site's
// topic tells when they are done, and then the poll looks again.
func (s *Scheduler) offer(name string, free siteapi.Capacity, before grants) bool {
	s.mu.Lock()
	st := s.sites[name]
	if st.grants != before || before.begun != before.done {
		s.mu.Unlock()
		return false
	}
	st.waiting++
	st.free = free
	s.mu.Unlock()
	s.cfg.Hub.Publish([]watch.Event{{Kind: "offer"}})
	return true
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
			Name: in.Name, FileName: in.FileName, URL: in.Url, SHA256: in.Sha256, Size: in.Size, ContentType: in.ContentType,
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
