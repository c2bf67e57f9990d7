package attempt

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"consort/agent/batch"
	"consort/agent/client"
	"consort/agent/journal"
	"consort/shared/failpoint"
	"consort/shared/retry"
	"consort/shared/siteapi"
)

// errForgotten ends Run: nothing of the attempt is left.
var errForgotten = errors.New("the attempt is forgotten")

// maxArgv bounds the bytes of arguments in a fragment, which travels through the coordinators' log.
const maxArgv = 8 << 10

// Outcomes in a fragment.
const (
	outcomeCommitted = "committed"
	outcomeFailed    = "failed"
	outcomeCancelled = "cancelled"
)

// fragment is this site's signed word on the attempt.
func (a *Attempt) fragment(outcome, manifestHash string, facts siteapi.Facts) (*siteapi.Fragment, error) {
	p := siteapi.FragmentPayload{
		Site: a.rt.Site, ClusterID: a.rt.ClusterID, Job: a.lease.Job, Epoch: a.lease.Epoch,
		Digest: a.lease.Definition.Digest, Outcome: outcome, Argv: a.argv(), ManifestHash: manifestHash, Facts: facts, Time: now(),
	}
	for _, in := range a.lease.Inputs {
		if in.URL != "" { // what came is among the facts
			continue
		}
		p.Inputs = append(p.Inputs, siteapi.File{Path: in.Name, SHA256: in.SHA256, Size: in.Size})
	}
	return a.rt.Chain.Sign(a.rt.Key, p)
}

// argv is the command line, cut where it is very long.
func (a *Attempt) argv() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	left := maxArgv
	for i, arg := range a.rec.Argv {
		if left -= len(arg); left < 0 {
			return append(append([]string(nil), a.rec.Argv[:i]...), "…")
		}
	}
	return a.rec.Argv
}

// keepFinal writes the last message to the journal before it is sent, so that it is the same each time.
func (a *Attempt) keepFinal(stage journal.Stage, message any) error {
	data, err := json.Marshal(message)
	if err != nil {
		return fmt.Errorf("encode the last message: %w", err)
	}
	return a.save(stage, a.rt.Journal.Put, func(r *record) { r.Final = data })
}

// final decodes the last message; false when there is none yet.
func (a *Attempt) final(into any) (bool, error) {
	a.mu.Lock()
	data := a.rec.Final
	a.mu.Unlock()
	if len(data) == 0 {
		return false, nil
	}
	if err := json.Unmarshal(data, into); err != nil {
		return false, fmt.Errorf("decode the last message: %w", err)
	}
	return true, nil
}

func (a *Attempt) prepareCommit(parts int, hash string) error {
	facts := a.facts()
	fragment, err := a.fragment(outcomeCommitted, hash, facts)
	if err != nil {
		return err
	}
	return a.keepFinal(journal.Committing, siteapi.CommitRequest{Parts: parts, Hash: hash, Facts: facts, Fragment: fragment})
}

// commit makes the results visible. A lost answer is asked for again with the same message.
func (a *Attempt) commit(ctx context.Context) error {
	var message siteapi.CommitRequest
	if _, err := a.final(&message); err != nil {
		return err
	}
	failpoint.Here("agent-before-commit")
	answer, err := a.rt.Client.Commit(ctx, a.Ref(), message)
	if err != nil {
		return err
	}
	return a.answered(answer, journal.Committed)
}

// answered moves to the last stage, or to Cancelling when the user ended the job first.
func (a *Attempt) answered(answer siteapi.Answer, stage journal.Stage) error {
	if answer.Cancel {
		a.Cancel()
		return errOrdered
	}
	// Should the note get lost, the message is sent again and answered alike.
	return a.save(stage, a.rt.Journal.Note, nil)
}

// fail ends the attempt without results. Whatever went wrong, its logs go first.
func (a *Attempt) fail(ctx context.Context) error {
	a.rt.Freed()
	var message siteapi.FailRequest
	made, err := a.final(&message)
	if err != nil {
		return err
	}
	if !made {
		if message, err = a.failRequest(ctx); err != nil {
			return err
		}
		if err := a.keepFinal(journal.Failed, message); err != nil {
			return err
		}
	}
	answer, err := a.rt.Client.Fail(ctx, a.Ref(), message)
	if err != nil {
		return a.refused(ctx, err)
	}
	return a.answered(answer, journal.Closed)
}

func (a *Attempt) failRequest(ctx context.Context) (siteapi.FailRequest, error) {
	logs, err := a.storeLogs(ctx)
	if err != nil {
		return siteapi.FailRequest{}, err
	}
	a.mu.Lock()
	facts, failure := a.rec.Facts, a.rec.Failure
	a.mu.Unlock()
	facts.Logs = logs
	if failure == nil {
		return siteapi.FailRequest{}, errors.New("the journal does not say why the attempt failed")
	}
	fragment, err := a.fragment(outcomeFailed, "", facts)
	return siteapi.FailRequest{Class: failure.Class, Message: failure.Message, Facts: facts, Fragment: fragment}, err
}

// refused handles a last message that the coordinators do not accept: there is nothing else to tell them, so
// it is told again from time to time until they forget the attempt or are mended.
func (a *Attempt) refused(ctx context.Context, err error) error {
	if client.IsFinal(err) && !client.IsStale(err) {
		a.logger.Error("the coordinators refuse the attempt's last message", "error", err)
		if err := retry.Sleep(ctx, 5*time.Minute); err != nil {
			return err
		}
	}
	return err
}

// cancel stops the job, as often as it takes, and tells its end.
func (a *Attempt) cancel(ctx context.Context) error {
	if err := a.halt(ctx); err != nil {
		return err
	}
	a.rt.Freed()
	if a.gone() {
		return a.forget()
	}
	var message siteapi.CloseRequest
	made, err := a.final(&message)
	if err != nil {
		return err
	}
	if !made {
		if message, err = a.closeRequest(ctx); err != nil {
			return err
		}
		if err := a.keepFinal(journal.Cancelling, message); err != nil {
			return err
		}
	}
	if _, err := a.rt.Client.CloseAttempt(ctx, a.Ref(), message); err != nil {
		return a.refused(ctx, err)
	}
	return a.save(journal.Closed, a.rt.Journal.Note, nil)
}

func (a *Attempt) closeRequest(ctx context.Context) (siteapi.CloseRequest, error) {
	logs, err := a.storeLogs(ctx)
	if err != nil {
		return siteapi.CloseRequest{}, err
	}
	facts := a.facts()
	facts.Logs = logs
	fragment, err := a.fragment(outcomeCancelled, "", facts)
	return siteapi.CloseRequest{Facts: facts, Fragment: fragment}, err
}

func (a *Attempt) gone() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.rec.Gone || a.order == orderForget
}

// halt returns when no process of the attempt is left.
func (a *Attempt) halt(ctx context.Context) error {
	var pause retry.Backoff
	for {
		ended, err := a.haltOnce(ctx)
		if err != nil || ended {
			return err
		}
		a.rt.Look()
		timer := time.NewTimer(max(pause.Next(), time.Second))
		select {
		case <-a.wake:
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
}

// haltOnce tells whether the job is over, and has the batch system cancel it when not.
func (a *Attempt) haltOnce(ctx context.Context) (ended bool, err error) {
	if seen := a.observed(); seen.Account.Ended {
		return true, a.save(journal.Cancelling, a.rt.Journal.Note, func(r *record) { r.end(seen, a.dir) })
	}
	facts := a.facts()
	if !facts.Ended.IsZero() || facts.Staged.IsZero() {
		return true, nil // it is over, or was never submitted
	}
	id := a.BatchID()
	if id == "" {
		if id, err = a.find(ctx); err != nil {
			return false, err
		}
		if id == "" {
			return a.neverStarted()
		}
		a.setBatchID(id)
	}
	if err := a.rt.Batch.Cancel(ctx, id); err != nil {
		return false, fmt.Errorf("cancel the job: %w", err)
	}
	return false, nil
}

// neverStarted decides about a job that the batch system does not know: without a trace of its wrapper it
// never was, and after the exit file it is over.
func (a *Attempt) neverStarted() (bool, error) {
	_, started := os.Lstat(a.dir.file(batch.StartedFile))
	_, exit := batch.ReadExit(a.dir.meta())
	return errors.Is(started, fs.ErrNotExist) || exit == nil, nil
}

// forget leaves nothing of the attempt.
func (a *Attempt) forget() error {
	if err := a.remove(); err != nil {
		return err
	}
	if err := a.rt.Journal.Delete(a.lease.Job, a.lease.Epoch); err != nil {
		return err
	}
	return errForgotten
}

// settle cleans up after the coordinators know the end, and waits until they say that they will not ask
// again: an entry forgotten too early would be leased anew by a coordinator that lags behind.
func (a *Attempt) settle(ctx context.Context) error {
	failpoint.Here("agent-after-commit-before-cleanup")
	if err := a.remove(); err != nil {
		return err
	}
	for a.ordered() != orderForget {
		select {
		case <-a.wake:
		case <-ctx.Done():
			if a.ordered() != orderForget {
				return context.Cause(ctx)
			}
		}
	}
	return a.forget()
}
