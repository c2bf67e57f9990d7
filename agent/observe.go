package agent

import (
	"context"
	"time"

	"consort/agent/attempt"
	"consort/agent/batch"
	"consort/shared/retry"
)

const (
	// lookFloor is the least time between two queries that nobody asked for.
	lookFloor = 10 * time.Second
	// lookCost bounds the share of time that a batch system spends on our queries.
	lookCost = 5
	// lostAfter is how long a job may be neither listed nor accounted for before it counts as ended.
	lostAfter = 10 * time.Minute
)

// lookSoon has the batch system asked now.
func (a *Agent) lookSoon() {
	select {
	case a.look <- struct{}{}:
	default:
	}
}

// observe asks the batch system, one query for all attempts, and tells them what it said: when it announces a
// change, when an attempt asks, and from time to time.
func (a *Agent) observe(ctx context.Context) {
	var changed <-chan struct{}
	if n, ok := a.batch.(batch.Notifier); ok {
		changed = n.Changed()
	}
	o := &observer{agent: a, missing: map[*attempt.Attempt]time.Time{}}
	var pause retry.Backoff
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-changed:
		case <-a.look:
		case <-timer.C:
		}
		begun := time.Now()
		if err := o.once(ctx); err != nil {
			if ctx.Err() != nil {
				return
			}
			a.logger.Warn("the batch system cannot be asked; nothing changes", "error", err)
			timer.Reset(pause.Next())
			continue
		}
		pause.Reset()
		timer.Reset(max(lookFloor, lookCost*time.Since(begun)))
	}
}

// observer remembers since when it has missed a job.
type observer struct {
	agent   *Agent
	missing map[*attempt.Attempt]time.Time
}

func (o *observer) once(ctx context.Context) error {
	waiting := map[*attempt.Attempt]batch.Status{}
	var byID, byName = map[string]*attempt.Attempt{}, map[string]*attempt.Attempt{}
	for _, at := range o.agent.all() {
		if id, name, ok := at.Waits(); ok {
			waiting[at] = batch.Status{ID: id, Name: name}
			byName[name] = at
			if id != "" {
				byID[id] = at
			}
		}
	}
	if len(waiting) == 0 {
		return nil
	}
	jobs, err := o.agent.batch.List(ctx)
	if err != nil {
		return err
	}
	listed := map[*attempt.Attempt]bool{}
	for _, j := range jobs {
		at := byID[j.ID]
		if at == nil {
			at = byName[j.Name]
		}
		if at != nil {
			waiting[at], listed[at] = j, true
		}
	}
	return o.deliver(ctx, waiting, listed)
}

// deliver tells the attempts of the living, and looks in the accounting for the others.
func (o *observer) deliver(ctx context.Context, waiting map[*attempt.Attempt]batch.Status, listed map[*attempt.Attempt]bool) error {
	var ask []string
	over := map[*attempt.Attempt]batch.Status{}
	for at, status := range waiting {
		if listed[at] && status.State != batch.Ended {
			delete(o.missing, at)
			at.Observe(attempt.Seen{Status: status})
			continue
		}
		over[at] = status
		if status.ID != "" {
			ask = append(ask, status.ID)
		}
	}
	if len(over) == 0 {
		return nil
	}
	accounts, err := o.agent.batch.Account(ctx, ask...)
	if err != nil {
		return err
	}
	for at, status := range over {
		account := accounts[status.ID]
		if !account.Ended {
			account = o.missed(at)
		}
		if account.Ended {
			delete(o.missing, at)
			at.Observe(attempt.Seen{Status: status, Account: account})
		}
	}
	return nil
}

// missed is about a job that the batch system neither lists nor accounts for: its exit file decides, or, after
// long enough a time, that there is nothing more to hope for.
func (o *observer) missed(at *attempt.Attempt) batch.Account {
	if account, ok := at.ExitFile(); ok {
		return account
	}
	since, known := o.missing[at]
	if !known {
		o.missing[at] = time.Now()
		return batch.Account{}
	}
	if time.Since(since) < lostAfter {
		return batch.Account{}
	}
	return batch.Account{Ended: true, Cause: batch.Unknown, Reason: "the batch system does not know the job any more"}
}
