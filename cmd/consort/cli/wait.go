package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"consort/shared/config"
	"consort/shared/userapi"
	"consort/shared/uws"
)

func (a *App) waitCommand() *cobra.Command {
	var timeout string
	cmd := command("wait ID...", "Wait until jobs have ended",
		`Wait until all the jobs have ended, showing where each is and why. Interrupting the wait leaves the jobs alone.

The exit status is 0 when all are COMPLETED, 3 when one ended in ERROR, else 4 when one was ABORTED; 1 when
one is HELD and so waits for you, or ARCHIVED; 5 when the time-out came first.`,
		`  consort job wait j01ke5nz
  consort job wait j01ke5nz j01ke5p0 --timeout 2h -o json`,
		arguments(1, -1), func(cmd *cobra.Command, args []string) error {
			var limit time.Duration
			if err := flagDuration(cmd, "timeout", timeout, &limit); err != nil {
				return err
			}
			return a.waitAll(cmd.Context(), args, limit)
		})
	cmd.Flags().StringVar(&timeout, "timeout", "", "give up after this `time`, such as 90s, 10m, 2h")
	return cmd
}

func (a *App) waitAll(ctx context.Context, args []string, limit time.Duration) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	defer c.Close()
	var found []*userapi.Job
	for _, text := range args {
		job, err := a.findJob(ctx, c, text)
		if err != nil {
			return err
		}
		found = append(found, job)
	}
	var ended []*userapi.Job
	var worst error
	limited, cancel := withLimit(ctx, limit)
	defer cancel()
	for _, job := range found {
		err := a.waitFor(limited, c, job.Ref(), limit)
		if s := status(err); s == exitTimeout || s == exitInterrupted || s == exitUnreachable || s == exitAuth {
			return err
		}
		if err != nil {
			worst = worse(worst, err)
		}
		job, err := c.Job(ctx, job.ID)
		if err != nil {
			return err
		}
		if ended = append(ended, job); a.output != jsonFormat {
			fmt.Fprintf(a.Out, "%s  %s\n", cell(job.ID), cell(job.Phase))
		}
	}
	if a.output == jsonFormat {
		return errors.Join(a.printJSON(ended), worst)
	}
	return worst
}

// worse joins the errors of several jobs; the first of the gravest status decides the exit.
func worse(a, b error) error {
	rank := map[int]int{exitOK: 0, exitFailure: 1, exitJobAborted: 2, exitJobError: 3}
	switch {
	case a == nil:
		return b
	case rank[status(b)] > rank[status(a)]:
		return errors.Join(b, a)
	}
	return errors.Join(a, b)
}

// withLimit is context.WithTimeout in which 0 means no limit.
func withLimit(ctx context.Context, limit time.Duration) (context.Context, context.CancelFunc) {
	if limit == 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, limit)
}

// waitFor waits for one job, telling how it goes. limit is that of ctx, for the message.
func (a *App) waitFor(ctx context.Context, c *userapi.Client, job userapi.Ref, limit time.Duration) error {
	options := userapi.WaitOptions{}
	if !a.quiet {
		p := a.newProgress(job.ID)
		defer p.stop()
		options.Update, options.Trouble = p.update, p.trouble
		if p.live {
			options.Every = 5 * time.Second // site and reason may change within a phase
		}
	}
	doc, err := c.Wait(ctx, job, options)
	if err != nil {
		return waitError(err, job.ID, limit)
	}
	return outcome(doc, job.ID)
}

func waitError(err error, id string, limit time.Duration) error {
	resume := "Wait again with: consort job wait " + id
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return &advice{&statusError{exitTimeout, fmt.Sprintf("job %s has not ended within %s; it goes on", id, config.Duration(limit)), err}, resume}
	case errors.Is(err, context.Canceled):
		return &advice{&statusError{exitInterrupted, "no longer waiting; job " + id + " goes on", err}, resume}
	case userapi.NotFound(err):
		return fmt.Errorf("job %s was deleted: %w", id, err)
	}
	return &advice{err, "The job goes on without us. " + resume}
}

// outcome is the error, with its exit status, of a job that did not complete.
func outcome(doc *uws.Job, id string) error {
	why := ""
	switch {
	case doc.Error != nil && doc.Error.Message != "":
		why = ": " + doc.Error.Message
	case doc.Info != nil && doc.Info.Reason != "":
		why = ": " + doc.Info.Reason
	}
	switch doc.Phase {
	case uws.Completed:
		return nil
	case uws.Error:
		return &advice{
			&statusError{status: exitJobError, message: "job " + id + " ended in ERROR" + why},
			"Its messages: consort job logs --stderr " + id,
		}
	case uws.Aborted:
		return &statusError{status: exitJobAborted, message: "job " + id + " was ABORTED" + why}
	case uws.Held:
		return &advice{
			&statusError{status: exitFailure, message: "job " + id + " is HELD" + why},
			fmt.Sprintf("Run it again with: consort job run %s. Or end it with: consort job abort %s", id, id),
		}
	}
	return &statusError{status: exitFailure, message: fmt.Sprintf("job %s is %s%s", id, doc.Phase, why)}
}

// progress tells how a job goes: on a terminal in one line that is written anew, elsewhere in a line for
// each change of phase.
type progress struct {
	w     io.Writer
	id    string
	live  bool
	width func() int
	now   func() time.Time

	mu      sync.Mutex
	doc     *uws.Job
	outage  error
	shown   string // phase last told, where not live
	done    chan struct{}
	ticking sync.WaitGroup
}

func (a *App) newProgress(id string) *progress {
	p := &progress{w: a.Err, id: id, live: terminal(a.Err), now: time.Now, done: make(chan struct{})}
	p.width = func() int { return a.width(a.Err) }
	if p.live {
		p.ticking.Go(p.tick)
	}
	return p
}

// tick keeps the elapsed time right.
func (p *progress) tick() {
	every := time.NewTicker(time.Second)
	defer every.Stop()
	for {
		select {
		case <-p.done:
			return
		case <-every.C:
			p.mu.Lock()
			p.draw()
			p.mu.Unlock()
		}
	}
}

// stop ends the line.
func (p *progress) stop() {
	close(p.done)
	p.ticking.Wait()
	if p.live && p.doc != nil {
		fmt.Fprintln(p.w)
	}
}

func (p *progress) update(doc *uws.Job) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.doc, p.outage = doc, nil
	if p.live {
		p.draw()
		return
	}
	if phase := string(doc.Phase); phase != p.shown {
		p.shown = phase
		fmt.Fprintln(p.w, p.line())
	}
}

func (p *progress) trouble(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.live {
		p.outage = err
		p.draw()
		return
	}
	if p.shown != "" {
		p.shown = "" // tell the phase again when the server is back
		fmt.Fprintf(p.w, "%s  %s; trying on\n", p.id, cell(err.Error()))
	}
}

// draw rewrites the line.
func (p *progress) draw() {
	if p.doc != nil {
		fmt.Fprintf(p.w, "\r\x1b[K%s", clip(p.line(), p.width()-1))
	}
}

func (p *progress) line() string {
	parts := []string{p.id, string(p.doc.Phase), p.elapsed()}
	if i := p.doc.Info; i != nil {
		if i.Site != "" {
			parts = append(parts, "at "+i.Site)
		}
		if i.Attempt != "" && !p.doc.Phase.Final() {
			parts = append(parts, i.Attempt)
		}
		parts = append(parts, i.Reason)
		if !i.SiteUnreachableSince.IsZero() {
			parts = append(parts, "site unreachable since "+timeText(i.SiteUnreachableSince)+" UTC")
		}
	}
	if p.doc.Phase == uws.Pending {
		parts = append(parts, "a draft; start it with: consort job run "+p.id)
	}
	if p.outage != nil {
		parts = append(parts, p.outage.Error()+"; trying on")
	}
	var line strings.Builder
	for _, part := range parts {
		if part != "" {
			if line.Len() > 0 {
				line.WriteString("  ")
			}
			line.WriteString(part)
		}
	}
	return cell(line.String())
}

// elapsed is how long the job has run, or has been there without running.
func (p *progress) elapsed() string {
	from, to := p.doc.CreationTime, p.now()
	if !p.doc.StartTime.IsZero() {
		from = p.doc.StartTime
	}
	if !p.doc.EndTime.IsZero() {
		to = p.doc.EndTime
	}
	if from.IsZero() {
		return ""
	}
	return max(to.Sub(from), 0).Truncate(time.Second).String()
}
