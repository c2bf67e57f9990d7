package agent

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"consort/agent/attempt"
	"consort/agent/client"
	"consort/shared/ids"
	"consort/shared/retry"
	"consort/shared/siteapi"
)

const (
	// breath is the least time after an answer that said nothing new, at most a second of them.
	breath = 100 * time.Millisecond
	// together is how long an offer waits for other slots that become free in the same moment.
	together = 5 * time.Millisecond
	// patience is how long a poll that offers something is kept though there is somewhat more to offer.
	patience = time.Second
	// waiting bounds how many attempts for each slot may have ended here and not yet at the coordinators,
	// so that a site whose uplink is down stops to fill its disk.
	waiting = 4
)

// pollAll keeps one poll outstanding at a time until ctx ends.
func (a *Agent) pollAll(ctx context.Context) error {
	pause := retry.Backoff{Max: 30 * time.Second}
	idle := retry.Backoff{First: 2 * breath, Max: time.Second}
	for ctx.Err() == nil {
		answer, err := a.pollOnce(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case client.IsStale(err):
			return fmt.Errorf("%w: %w", ErrFenced, err)
		case err != nil:
			a.logger.Warn(trouble(err)+"; running jobs go on", "error", err)
			if pause.Wait(ctx, client.RetryAfter(err)) != nil {
				return nil
			}
			continue
		}
		pause.Reset()
		if answer == nil { // there was more to offer
			_ = retry.Sleep(ctx, together)
			continue
		}
		wait := time.Duration(answer.NextMS) * time.Millisecond
		if a.apply(ctx, answer) {
			idle.Reset()
		} else {
			wait = max(wait, idle.Next())
		}
		_ = retry.Sleep(ctx, min(wait, siteapi.MaxPollWait))
	}
	return nil
}

// trouble says what kind of failure of a poll err is: whether to look at the enrolment or at the network.
func trouble(err error) string {
	if client.IsNotTrusted(err) {
		return "the coordinators do not accept this site's key; enrol the site again, unless they say that it is the clock"
	}
	return "the coordinators cannot be asked now"
}

// pollOnce polls; a nil answer means that the poll was given up because more is free than it offered.
func (a *Agent) pollOnce(ctx context.Context) (*siteapi.PollResponse, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	request := a.request()
	renew := time.AfterFunc(siteapi.MaxPollWait, cancel)
	renew.Stop()
	defer renew.Stop()
	a.setHeld(&held{offered: request.Free, ready: readiness{request.Accepts, request.URLs, request.Drain}, renew: renew})
	defer a.setHeld(nil)
	a.freed() // what became free meanwhile
	answer, err := a.client.Poll(ctx, request)
	if err != nil && ctx.Err() != nil {
		return nil, nil
	}
	return answer, err
}

// held is a poll that the coordinators hold.
type held struct {
	offered siteapi.Capacity
	ready   readiness
	renew   *time.Timer // ends it
	soon    bool        // renew was set
}

func (a *Agent) setHeld(h *held) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.held = h
}

// freed sees to it that the coordinators hear of what became free: at once when the poll that is held offers no
// or little room, else soon. A poll given up is not free of cost at the other end.
func (a *Agent) freed() {
	free := a.free()
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.held == nil || free.Slots == 0 {
		return
	}
	was := a.held.offered
	switch {
	case much(free.Slots, was.Slots), much(free.Cores, was.Cores), much(free.MemoryBytes, was.MemoryBytes):
		a.held.renew.Reset(0)
	case !a.held.soon && (free.Slots > was.Slots || free.Cores > was.Cores || free.MemoryBytes > was.MemoryBytes):
		a.held.soon = true
		a.held.renew.Reset(patience)
	}
}

// decided sees to it that the coordinators hear at once when the policy accepts something else than the poll that
// is held says.
func (a *Agent) decided() {
	ready := a.policy.readiness()
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.held != nil && !a.held.ready.equal(ready) {
		a.held.renew.Reset(0)
	}
}

// much tells whether there is at least twice as much now.
func much[T int | int64](now, was T) bool { return now > was && now/2 >= was }

func (a *Agent) request() *siteapi.PollRequest {
	ready := a.policy.readiness()
	r := &siteapi.PollRequest{
		Protocol: siteapi.Protocol, Boot: a.boot, Started: a.started, Version: a.cfg.Version, Batch: a.cfg.Batch.System,
		Free: a.free(), Total: a.total(), Accepts: ready.accepts, URLs: ready.urls, Drain: ready.drain, Wait: int(siteapi.MaxPollWait / time.Second),
		Attempts: []siteapi.AttemptInfo{},
	}
	for _, at := range a.all() {
		r.Attempts = append(r.Attempts, at.Info())
	}
	slices.SortFunc(r.Attempts, func(x, y siteapi.AttemptInfo) int {
		return cmp.Or(cmp.Compare(x.Job, y.Job), cmp.Compare(x.Epoch, y.Epoch))
	})
	return r
}

func (a *Agent) total() siteapi.Capacity {
	return siteapi.Capacity{Slots: a.cfg.Batch.Slots, Cores: a.cfg.Batch.Cores, MemoryBytes: a.cfg.Batch.MemoryBytes}
}

// free is the room for new attempts: slots, cores and memory that no attempt occupies.
func (a *Agent) free() siteapi.Capacity {
	free := a.total()
	unfinished := 0
	for _, at := range a.all() {
		occupies, done := at.State()
		if !done {
			unfinished++
		}
		if !occupies {
			continue
		}
		r := at.Resources()
		free.Slots--
		free.Cores -= attempt.Cores(r)
		free.MemoryBytes -= r.MemoryBytes
	}
	free.Slots = max(0, min(free.Slots, waiting*a.cfg.Batch.Slots-unfinished))
	free.Cores, free.MemoryBytes = max(0, free.Cores), max(0, free.MemoryBytes)
	return free
}

// apply does what an answer says, and tells whether it said anything new.
func (a *Agent) apply(ctx context.Context, answer *siteapi.PollResponse) (news bool) {
	a.pusher.set(answer.SFTP)
	if answer.Message != "" {
		a.logger.Info("message from the coordinators", "text", answer.Message)
	}
	for _, ref := range answer.Cancel {
		news = a.cancel(ctx, ref) || news
	}
	for _, ref := range answer.Forget {
		if at := a.get(ref); at != nil {
			news = true
			at.Forget()
		}
	}
	for _, ref := range answer.Watch {
		if at := a.get(ref); at != nil {
			at.Watch()
		}
	}
	for _, lease := range answer.Leases {
		news = a.lease(ctx, lease) || news
	}
	return news
}

// cancel ends an attempt, also one whose lease never came.
func (a *Agent) cancel(ctx context.Context, ref siteapi.AttemptRef) bool {
	if at := a.get(ref); at != nil {
		news := !at.Info().Cancelling
		at.Cancel()
		return news
	}
	if !ids.ValidJob(ref.Job) || ref.Epoch == 0 {
		return false
	}
	at, err := attempt.AcceptCancelled(a.rt, ref)
	if err != nil {
		a.logger.Error("an attempt cannot be cancelled", "job", ref.Job, "epoch", ref.Epoch, "error", err)
		return false
	}
	a.start(ctx, at)
	return true
}

// lease accepts an attempt that is not known yet.
func (a *Agent) lease(ctx context.Context, lease siteapi.Lease) bool {
	ref := siteapi.AttemptRef{Job: lease.Job, Epoch: lease.Epoch}
	if a.get(ref) != nil {
		return false
	}
	if !ids.ValidJob(lease.Job) || lease.Epoch == 0 {
		a.logger.Error("the coordinators leased a job without a valid id", "job", lease.Job, "epoch", lease.Epoch)
		return false
	}
	at, err := attempt.Accept(a.rt, lease)
	if err != nil {
		a.logger.Error("a lease cannot be accepted", "job", lease.Job, "epoch", lease.Epoch, "error", err)
		return false
	}
	a.logger.Info("leased", "job", lease.Job, "epoch", lease.Epoch, "definition", lease.Definition.Name, "version", lease.Definition.Version, "owner", lease.Owner)
	a.start(ctx, at)
	return true
}
