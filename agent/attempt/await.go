package attempt

import (
	"context"
	"slices"

	"consort/agent/batch"
	"consort/agent/journal"
	"consort/shared/failpoint"
)

// Seen is what the batch system said of an attempt's job.
type Seen struct {
	Status  batch.Status
	Account batch.Account
}

// Waits tells what to look for in the batch system: the job's id, or, where it is not known, its name.
// ok is false when there is nothing to look for.
func (a *Attempt) Waits() (id, name string, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch a.entry.Stage {
	case journal.Submitted, journal.Running, journal.Cancelling:
		return a.entry.BatchID, a.name(), a.rec.Facts.Ended.IsZero()
	}
	return "", "", false
}

// Observe tells the attempt what the batch system said.
func (a *Attempt) Observe(s Seen) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.seen.Account.Ended {
		return
	}
	a.seen = s
	a.nudge()
}

func (a *Attempt) observed() Seen {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.seen
}

// await waits until the batch system says that the job has ended. Reports to the coordinators go out beside
// it, since nothing here depends on them.
func (a *Attempt) await(ctx context.Context) error {
	reports := a.startReports(ctx)
	defer reports.stop()
	logs := a.startLive(ctx)
	defer logs.stop()
	for {
		seen := a.observed()
		if seen.Account.Ended {
			failpoint.Here("agent-after-exit-file")
			return a.ended(seen)
		}
		if err := a.follow(seen.Status, reports); err != nil {
			return err
		}
		select {
		case <-a.wake:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// follow notes that the job runs, waits or is stopped, and has it reported.
func (a *Attempt) follow(s batch.Status, reports *reporter) error {
	facts := a.facts()
	running := s.State == batch.Running || s.State == batch.Suspended || s.State == batch.Ending
	if running && a.stage() == journal.Submitted {
		failpoint.Here("agent-after-started")
		started := s.Start
		if started.IsZero() {
			started = now()
		}
		err := a.save(journal.Running, a.rt.Journal.Note, func(r *record) {
			r.Facts.Started, r.Facts.Node, r.Facts.Reason = started.UTC(), s.Node, ""
		})
		if err != nil {
			return err
		}
		facts = a.facts()
	}
	switch {
	case s.State == batch.Suspended:
		facts.Reason = s.Reason
		reports.tell("suspended", facts)
	case a.stage() == journal.Running:
		reports.tell("running", facts)
	default:
		facts.Reason = s.Reason
		reports.tell("submitted", facts)
	}
	return nil
}

// ended records how the job ended.
func (a *Attempt) ended(seen Seen) error {
	err := a.save(journal.Ended, a.rt.Journal.Note, func(r *record) { r.end(seen, a.dir) })
	a.rt.Freed()
	return err
}

// end writes into the record how the job ended, and which software it ran with.
func (r *record) end(s Seen, dir layout) {
	r.End = &s.Account
	addEnd(&r.Facts, s.Account)
	r.Facts.Software = slices.Concat(r.Facts.Software, told(dir.meta(), r.Asked))
	r.Asked = nil // told once
}
