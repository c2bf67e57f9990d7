package scheduler

import (
	"context"
	"errors"
	"fmt"
	"time"

	"consort/coordinator/command"
	"consort/coordinator/content"
	"consort/coordinator/state"
	"consort/coordinator/watch"
	"consort/shared/siteapi"
)

const (
	purgeKeys   = 1000 // keys of one Purge
	sweepBatch  = 100  // jobs or files of one round
	longestNap  = time.Minute
	shortestNap = 100 * time.Millisecond // between two rounds, however many events come
)

// housekeep does what time asks for: run limits, lost leases, destruction, purges, collection of content
// and of old idempotency answers. Each round does what is due and says when the next is; events that may
// bring that forward wake it.
func (s *Scheduler) housekeep(ctx context.Context) {
	sub := s.cfg.Hub.Subscribe(watch.All)
	defer sub.Close()
	for ctx.Err() == nil && !sub.Closed() {
		next, err := s.round(ctx)
		if err != nil && ctx.Err() == nil {
			s.cfg.Logger.Error("housekeeping", "error", err)
		}
		if !nap(ctx, shortestNap) {
			return
		}
		timer := newTimer(s.cfg.Now(), next)
		select {
		case <-ctx.Done():
		case <-sub.C():
		case <-timer.C:
		}
		timer.Stop()
	}
}

func nap(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// newTimer ends at the given cluster time, or after longestNap when that is earlier or the time is 0.
func newTimer(now time.Time, us int64) *time.Timer {
	d := longestNap
	if us > 0 {
		d = min(d, max(0, time.UnixMicro(us).Sub(now)))
	}
	return time.NewTimer(d)
}

// round does everything that is due and returns the time of what is due next, 0 if nothing is known.
func (s *Scheduler) round(ctx context.Context) (nextUs int64, err error) {
	now := s.cfg.Now()
	next := &earliest{}
	err = errors.Join(
		s.limits(ctx, now, next),
		s.destroy(ctx, now, next),
		s.purge(ctx),
		s.collect(ctx, now, next),
		s.sweep(ctx, now, next),
	)
	return next.us, err
}

type earliest struct{ us int64 }

func (e *earliest) add(us int64) {
	if us > 0 && (e.us == 0 || us < e.us) {
		e.us = us
	}
}

// limits aborts jobs that are over their run limit and gives up attempts whose work lease ran out. Sites
// enforce run limits themselves, to the second; this is for a site that can't be reached.
func (s *Scheduler) limits(ctx context.Context, now time.Time, next *earliest) error {
	var errs []error
	for _, a := range s.cfg.State.OpenAttempts("") {
		if over := s.runLimit(&a); over > 0 {
			if over <= now.UnixMicro() {
				errs = append(errs, s.overrun(ctx, &a))
				continue
			}
			next.add(over)
		}
		if a.WorkLeaseUntilUs <= now.UnixMicro() {
			errs = append(errs, s.lose(ctx, &a))
			continue
		}
		next.add(a.WorkLeaseUntilUs)
	}
	return errors.Join(errs...)
}

// runLimit is when a running attempt is over its limit, 0 when there is none.
func (s *Scheduler) runLimit(a *state.OpenAttempt) int64 {
	if a.RunStartedUs == 0 || a.ExecutionSeconds == 0 || a.Cancelling {
		return 0
	}
	return a.RunStartedUs + a.ExecutionSeconds*1e6 + s.cfg.Overrun.Microseconds()
}

func (s *Scheduler) overrun(ctx context.Context, a *state.OpenAttempt) error {
	return s.do(ctx, &command.Command{Body: &command.Command_AbortJob{AbortJob: &command.AbortJob{
		Id: a.Job, Epoch: a.Epoch,
		Reason: fmt.Sprintf("stopped: it ran longer than its execution duration of %d s", a.ExecutionSeconds),
	}}})
}

func (s *Scheduler) lose(ctx context.Context, a *state.OpenAttempt) error {
	return s.do(ctx, &command.Command{Body: &command.Command_FailAttempt{FailAttempt: &command.FailAttempt{
		Job: a.Job, Epoch: a.Epoch, Site: a.Site, Class: "lost",
		Message: fmt.Sprintf("site %s did not answer until the work lease ran out", a.Site),
	}}})
}

// do proposes a command of the cluster itself; that it came too late is no error.
func (s *Scheduler) do(ctx context.Context, c *command.Command) error {
	c.Principal = "scheduler"
	result, err := s.cfg.Log.Propose(ctx, c)
	if err != nil {
		return err
	}
	switch result.Code {
	case command.Result_OK, command.Result_STALE_EPOCH, command.Result_NOT_FOUND, command.Result_ILLEGAL_PHASE:
		return nil
	}
	return fmt.Errorf("%s: %s", result.Code, result.Message)
}

// destroy archives jobs whose destruction time came.
func (s *Scheduler) destroy(ctx context.Context, now time.Time, next *earliest) error {
	for {
		var due []state.Due
		var nextUs int64
		err := s.cfg.State.View(func(v *state.View) (err error) {
			if due, err = v.DestructionsDue(now.UnixMicro(), sweepBatch); err == nil && len(due) == 0 {
				nextUs, err = v.NextDestruction()
			}
			return err
		})
		if err != nil {
			return err
		}
		for _, j := range due {
			err := s.do(ctx, &command.Command{Body: &command.Command_ArchiveJob{ArchiveJob: &command.ArchiveJob{Id: j.Job, DueUs: j.DueUs}}})
			if err != nil {
				return fmt.Errorf("archive %s: %w", j.Job, err)
			}
		}
		if len(due) == 0 {
			next.add(nextUs)
			return nil
		}
	}
}

// purge removes, in bounded steps, what deleted and archived jobs and abandoned attempts left behind.
func (s *Scheduler) purge(ctx context.Context) error {
	for {
		var queue []string
		err := s.cfg.State.View(func(v *state.View) (err error) {
			queue, err = v.PurgeQueue(sweepBatch)
			return err
		})
		if err != nil || len(queue) == 0 {
			return err
		}
		for _, id := range queue {
			if err := s.purgeJob(ctx, id); err != nil {
				return fmt.Errorf("purge %s: %w", id, err)
			}
		}
	}
}

func (s *Scheduler) purgeJob(ctx context.Context, id string) error {
	for {
		done, err := s.step(ctx, &command.Command{Body: &command.Command_Purge{Purge: &command.Purge{Id: id, Limit: purgeKeys}}})
		if err != nil || done {
			return err
		}
	}
}

// collect forgets content that nobody has referred to for the grace time, and then removes the files: the
// record goes first, so that a file is never missed that the state still promises.
func (s *Scheduler) collect(ctx context.Context, now time.Time, next *earliest) error {
	before := now.Add(-s.cfg.ContentGrace)
	for {
		var unused []string
		err := s.cfg.State.View(func(v *state.View) (err error) {
			unused, err = v.Unreferenced(before.UnixMicro(), sweepBatch)
			return err
		})
		if err != nil || len(unused) == 0 {
			return err
		}
		next.add(now.Add(s.cfg.ContentGrace).UnixMicro())
		err = s.do(ctx, &command.Command{Body: &command.Command_ForgetContent{ForgetContent: &command.ForgetContent{
			Sha256: unused, BeforeUs: before.UnixMicro(),
		}}})
		if err != nil {
			return err
		}
		for _, sum := range unused {
			if _, err := s.cfg.Files.RemoveUnused(ctx, sum, before); err != nil {
				return fmt.Errorf("remove content %s: %w", sum, err)
			}
		}
	}
}

// expireRequests drops answers to idempotency keys that are too old to be asked for again.
func (s *Scheduler) expireRequests(ctx context.Context, now time.Time) error {
	body := &command.ExpireRequests{BeforeUs: now.Add(-s.cfg.RequestLife).UnixMicro(), Limit: purgeKeys / 2}
	for {
		done, err := s.step(ctx, &command.Command{Body: &command.Command_ExpireRequests{ExpireRequests: body}})
		if err != nil || done {
			return err
		}
	}
}

// step proposes a command that does a bounded part of its work, and tells whether all is done.
func (s *Scheduler) step(ctx context.Context, c *command.Command) (done bool, err error) {
	c.Principal = "scheduler"
	result, err := s.cfg.Log.Propose(ctx, c)
	if err != nil {
		return false, err
	}
	if result.Code != command.Result_OK {
		return false, fmt.Errorf("%s: %s", result.Code, result.Message)
	}
	return result.Done, nil
}

// sweep looks, once an hour, for files that no record ever named (an upload whose job was never made) and for
// uploads of attempts that are closed.
func (s *Scheduler) sweep(ctx context.Context, now time.Time, next *earliest) error {
	next.add(s.swept.Add(s.cfg.ContentGrace).UnixMicro())
	if now.Sub(s.swept) < s.cfg.ContentGrace {
		return nil
	}
	s.swept = now
	if err := s.expireRequests(ctx, now); err != nil {
		return fmt.Errorf("expire idempotency answers: %w", err)
	}
	before := now.Add(-s.cfg.ContentGrace)
	err := s.cfg.Files.Walk(func(b content.Blob, modified time.Time) error {
		if ctx.Err() != nil || modified.After(before) {
			return ctx.Err()
		}
		err := s.cfg.State.View(func(v *state.View) error {
			_, err := v.Content(b.SHA256)
			return err
		})
		if !errors.Is(err, state.ErrNotFound) {
			return err
		}
		_, err = s.cfg.Files.RemoveUnused(ctx, b.SHA256, before)
		return err
	})
	if err != nil {
		return fmt.Errorf("sweep content: %w", err)
	}
	open := map[siteapi.AttemptRef]bool{}
	for _, k := range s.cfg.State.OpenAttempts("") {
		open[siteapi.AttemptRef{Job: k.Job, Epoch: k.Epoch}] = true
	}
	return s.cfg.Uploads.Sweep(ctx, func(job string, epoch uint64) bool {
		return open[siteapi.AttemptRef{Job: job, Epoch: epoch}]
	})
}
