package attempt

import (
	"context"
	"sync"
	"time"

	"consort/agent/client"
	"consort/shared/retry"
	"consort/shared/siteapi"
)

// settleTime is how long a report waits for a newer one that makes it needless: a job of a few
// milliseconds is told by its commit alone.
const settleTime = 25 * time.Millisecond

// reporter tells the coordinators how far an attempt is: always the latest, and no state twice. Reports are
// for the eyes of users; what matters is said again by the last message of the attempt.
type reporter struct {
	a      *Attempt
	latest chan siteapi.Report // holds at most one
	last   siteapi.Report      // as given to tell
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

func (a *Attempt) startReports(ctx context.Context) *reporter {
	ctx, cancel := context.WithCancel(ctx)
	r := &reporter{a: a, latest: make(chan siteapi.Report, 1), cancel: cancel}
	r.wg.Go(func() { r.run(ctx) })
	return r
}

// stop gives up what is not sent yet.
func (r *reporter) stop() {
	r.cancel()
	r.wg.Wait()
}

// tell has a report sent soon, unless it says what the one before said.
func (r *reporter) tell(state string, facts siteapi.Facts) {
	if state == r.last.State && facts.Reason == r.last.Facts.Reason {
		return
	}
	r.last = siteapi.Report{State: state, Facts: facts}
	select {
	case <-r.latest:
	default:
	}
	r.latest <- r.last
}

func (r *reporter) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case report := <-r.latest:
			if retry.Sleep(ctx, settleTime) != nil {
				return
			}
			r.send(ctx, r.newest(report))
		}
	}
}

// newest returns the report to send in place of an older one.
func (r *reporter) newest(older siteapi.Report) siteapi.Report {
	select {
	case newer := <-r.latest:
		return newer
	default:
		return older
	}
}

// send repeats the newest report until it is answered.
func (r *reporter) send(ctx context.Context, report siteapi.Report) {
	var pause retry.Backoff
	for {
		answer, err := r.a.rt.Client.Report(ctx, r.a.Ref(), report)
		switch {
		case client.IsStale(err):
			r.a.Forget()
			return
		case err == nil && answer.Cancel:
			r.a.Cancel()
			return
		case err == nil, ctx.Err() != nil:
			return
		}
		r.a.logger.Debug("a report did not get through", "state", report.State, "error", err)
		if client.IsFinal(err) || pause.Wait(ctx, client.RetryAfter(err)) != nil {
			return
		}
		report = r.newest(report)
	}
}
