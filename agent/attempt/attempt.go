// Package attempt is the life of one attempt at a job at this site: fetch what it needs, hand it to the
// batch system, see it end, push what it left, commit. Where it stands is in the journal, and each step's
// intent is there before its side effect, so that an agent that was killed goes on where it was and
// starts no process twice.
//
// It does not decide which attempts there are, and it does not poll: package agent leases, cancels and
// forgets, and tells an attempt what the batch system said.
package attempt

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"consort/agent/batch"
	"consort/agent/client"
	"consort/agent/journal"
	"consort/agent/journal/wal"
	"consort/agent/staging"
	"consort/shared/definition"
	"consort/shared/retry"
	"consort/shared/siteapi"
)

// ErrLease means that a journal entry does not hold a lease that this program understands.
var ErrLease = errors.New("not a lease that this agent understands")

// ErrUndecided means that the site's policy neither allows nor refuses a job, because its file is missing or has
// an error.
var ErrUndecided = errors.New("the site's policy cannot be read at the moment")

// errOrdered ends a step because the coordinators want something else of the attempt.
var errOrdered = errors.New("the coordinators ended the attempt")

// Pusher sends outputs to a coordinator. It is staging.Uploader's method.
type Pusher interface {
	Push(ctx context.Context, up staging.Upload) ([]staging.ManifestFile, error)
}

// Runtime is what all attempts of an agent share. Every field is required, unless it says otherwise.
type Runtime struct {
	Dir       string // directory of the attempts' private directories; absolute
	Site      string
	ClusterID string
	Key       ed25519.PrivateKey // signs fragments
	Version   string             // of the agent
	System    string             // name of the batch system: local, slurm, …
	Keep      bool               // leave the directories of ended attempts, for whoever debugs a code

	Journal    *journal.Journal
	Batch      batch.Scheduler
	Client     *client.Client
	Pusher     Pusher
	Cache      *staging.Cache
	Downloader *staging.Downloader
	Chain      *Chain
	Bundles    *Bundles
	Logger     *slog.Logger

	// Allow asks the site's policy as it is now. The error says which clause refused, or is ErrUndecided.
	Allow func(d *definition.Definition, lease *siteapi.Lease) (Grant, error)
	// Look asks for a fresh list of the batch system's jobs, after a submit or a cancel.
	Look func()
	// Freed tells that the attempt needs no slot any more.
	Freed func()
}

// Grant is how the site's policy lets an attempt run.
type Grant struct {
	Variables map[string]string // environment that the site gives to the code: PATH and more
	Rule      int               // position of the rule that allowed it, from 1
	MaxOutput int64             // bytes of all outputs; 0: no limit of the site
	URLs      []string          // patterns of what may be fetched as inputs
	MaxFetch  int64             // bytes of one file that is fetched

	Software []siteapi.Software // what the site has of what the code needs, for provenance
	Image    string             // digest of the container image that the code runs in, for provenance
}

// record is what an attempt adds to its journal entry.
type record struct {
	Facts   siteapi.Facts   `json:"facts"`
	Argv    []string        `json:"argv,omitempty"`   // without the site's own wrapping; never holds secrets
	Rule    int             `json:"rule,omitempty"`   // of the policy, that allowed the attempt
	MaxOut  int64           `json:"maxOut,omitempty"` // bytes of all outputs that the rule allows; 0: no limit
	Asked   []string        `json:"asked,omitempty"`  // software that tells its version itself, in the order of the wrapper's reports
	End     *batch.Account  `json:"end,omitempty"`    // what the batch system said of the end
	Failure *Failure        `json:"failure,omitempty"`
	Gone    bool            `json:"gone,omitempty"`  // nobody waits for the end of this attempt
	Final   json.RawMessage `json:"final,omitempty"` // the last message, as it is sent each time
}

// Failure is why an attempt ends without results.
type Failure struct {
	Class   string `json:"class"` // of package definition, or TimeLimit
	Message string `json:"message"`
}

// Error returns the message.
func (f *Failure) Error() string { return f.Message }

func failf(class string, format string, args ...any) *Failure {
	return &Failure{Class: class, Message: fmt.Sprintf(format, args...)}
}

// order is what the coordinators want, beside running the attempt. Orders only grow.
type order int

const (
	orderNone   order = iota
	orderCancel       // the user ended the job: stop, then close
	orderForget       // the attempt is nobody's any more: stop and clean up
)

// Attempt is one attempt. Run drives it; the other methods may be called at any time.
type Attempt struct {
	rt     *Runtime
	lease  siteapi.Lease
	dir    layout
	logger *slog.Logger

	mu       sync.Mutex
	entry    journal.Entry
	rec      record
	order    order
	stop     context.CancelCauseFunc // ends the step under way
	seen     Seen
	watching bool

	// Of the goroutine of Run alone.
	adopted bool     // the batch job may have been made by an earlier process or a call whose answer was lost
	found   []output // what the job left; nil: not looked yet
	sent    bool     // this process has begun to send outputs

	wake    chan struct{} // something was seen or ordered
	watched chan struct{} // somebody follows the logs
}

// Accept writes a lease to the journal and returns its attempt, which then must be Run.
func Accept(rt *Runtime, lease siteapi.Lease) (*Attempt, error) {
	data, err := json.Marshal(lease)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrLease, err)
	}
	a, err := Recover(rt, journal.Entry{Job: lease.Job, Epoch: lease.Epoch, Stage: journal.Leased, Lease: data})
	if err != nil {
		return nil, err
	}
	a.rec.Facts = siteapi.Facts{AgentVersion: rt.Version, BatchSystem: rt.System}
	// Nothing has happened yet: should a power cut take the entry away, the lease is given again.
	a.adopted = false
	if err := a.save(journal.Leased, rt.Journal.Note, nil); err != nil {
		return nil, err
	}
	return a, nil
}

// AcceptCancelled returns an attempt that the user ended before its lease came here: there is nothing to stop,
// but the coordinators wait to hear that.
func AcceptCancelled(rt *Runtime, ref siteapi.AttemptRef) (*Attempt, error) {
	a, err := Accept(rt, siteapi.Lease{Job: ref.Job, Epoch: ref.Epoch})
	if err != nil {
		return nil, err
	}
	a.order = orderCancel
	return a, nil
}

// Recover returns the attempt of an entry that an earlier process of the agent left.
func Recover(rt *Runtime, entry journal.Entry) (*Attempt, error) {
	a := &Attempt{rt: rt, entry: entry, wake: make(chan struct{}, 1), watched: make(chan struct{}, 1), adopted: true}
	if err := json.Unmarshal(entry.Lease, &a.lease); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrLease, err)
	}
	if a.lease.Job != entry.Job || a.lease.Epoch != entry.Epoch {
		return nil, fmt.Errorf("%w: it is for %s %d, the journal's entry for %s %d", ErrLease, a.lease.Job, a.lease.Epoch, entry.Job, entry.Epoch)
	}
	if len(entry.Data) > 0 {
		if err := json.Unmarshal(entry.Data, &a.rec); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrLease, err)
		}
	}
	a.dir = layout(filepath.Join(rt.Dir, dirName(a.lease.Job, a.lease.Epoch)))
	a.logger = rt.Logger.With("job", a.lease.Job, "epoch", a.lease.Epoch)
	return a, nil
}

// Ref names the attempt.
func (a *Attempt) Ref() siteapi.AttemptRef {
	return siteapi.AttemptRef{Job: a.lease.Job, Epoch: a.lease.Epoch}
}

// Resources is the attempt's reservation.
func (a *Attempt) Resources() siteapi.Resources { return a.lease.Resources }

// Info is the attempt as a poll tells it.
func (a *Attempt) Info() siteapi.AttemptInfo {
	a.mu.Lock()
	defer a.mu.Unlock()
	return siteapi.AttemptInfo{
		Job: a.lease.Job, Epoch: a.lease.Epoch, Stage: string(a.entry.Stage),
		Cancelling: a.order != orderNone || a.entry.Stage == journal.Cancelling, Watching: a.watching,
	}
}

// State tells for accounting whether the attempt occupies a slot of the batch system, and whether all is
// done but for the coordinators' word to forget it.
func (a *Attempt) State() (occupies, done bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch a.entry.Stage {
	case journal.Committed, journal.Closed:
		return false, true
	case journal.Ended, journal.Uploading, journal.Sealed, journal.Committing, journal.Failed:
		return false, false
	}
	return a.rec.Facts.Ended.IsZero(), false
}

// Cancel tells that the user ended the job.
func (a *Attempt) Cancel() { a.give(orderCancel) }

// Forget tells that the attempt has ended for the coordinators.
func (a *Attempt) Forget() { a.give(orderForget) }

func (a *Attempt) give(o order) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if o <= a.order {
		return
	}
	a.order = o
	if a.stop != nil {
		a.stop(errOrdered)
	}
	a.nudge()
}

// nudge wakes whoever waits for something to be seen.
func (a *Attempt) nudge() {
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// Run drives the attempt until it is forgotten, and returns nil then. It returns early when ctx ends, with
// ctx's error, or when the journal is out of use; the attempt then stays in the journal as it is.
func (a *Attempt) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var pause retry.Backoff
	for {
		stage := a.stage()
		err := a.step(ctx, stage)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, wal.ErrBroken):
			return err
		case errors.Is(err, errForgotten):
			return nil
		}
		if err = a.divert(ctx, stage, err); err == nil {
			pause.Reset()
			continue
		}
		if errors.Is(err, wal.ErrBroken) {
			return err
		}
		a.logger.Warn("a step of the attempt did not work; trying again", "stage", stage, "error", err)
		if err := a.pause(ctx, &pause); err != nil {
			return err
		}
	}
}

// pause waits, less when an order comes.
func (a *Attempt) pause(ctx context.Context, pause *retry.Backoff) error {
	before := a.ordered()
	timer := time.NewTimer(pause.Next())
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		case <-a.wake:
			if a.ordered() != before {
				return nil
			}
		}
	}
}

// step does what comes next in a stage and moves the attempt to the stage after it. An order that comes
// meanwhile ends the step.
func (a *Attempt) step(ctx context.Context, stage journal.Stage) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	pending := a.arm(stop)
	defer a.arm(nil)
	switch stage {
	case journal.Cancelling:
		return a.cancel(ctx)
	case journal.Committed, journal.Closed:
		return a.settle(ctx)
	}
	if pending != orderNone {
		return errOrdered
	}
	switch stage {
	case journal.Leased, journal.Staging:
		return a.prepare(ctx)
	case journal.Submitting:
		return a.submit(ctx)
	case journal.Submitted, journal.Running:
		return a.await(ctx)
	case journal.Ended:
		return a.judge(ctx)
	case journal.Uploading:
		return a.upload(ctx)
	case journal.Sealed:
		return a.declare(ctx)
	case journal.Committing:
		return a.commit(ctx)
	case journal.Failed:
		return a.fail(ctx)
	}
	return fmt.Errorf("the journal has the stage %q, which this program does not know", stage)
}

// arm names what ends the step under way when an order comes, and returns the order there is already.
func (a *Attempt) arm(stop context.CancelCauseFunc) order {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.stop = stop
	return a.order
}

// divert sends the attempt another way after a step that ended in err, or returns err when the step is just
// to be repeated.
func (a *Attempt) divert(ctx context.Context, stage journal.Stage, err error) error {
	var failure *Failure
	switch {
	case err == nil, stage == journal.Closed, stage == journal.Committed:
		return err
	case a.ordered() == orderForget && stage == journal.Committing:
		// The news of the commit came by the poll, before its answer.
		return a.save(journal.Committed, a.rt.Journal.Note, nil)
	case a.ordered() == orderForget && stage == journal.Failed:
		return a.save(journal.Closed, a.rt.Journal.Note, nil)
	case a.ordered() == orderForget, stage == journal.Cancelling && client.IsStale(err):
		return a.save(journal.Cancelling, a.rt.Journal.Put, func(r *record) { r.Gone, r.Final = true, nil })
	case stage == journal.Cancelling:
		return err
	case a.ordered() == orderCancel, client.IsStale(err):
		// Stale may only mean that the user ended the job, and then the close is still waited for; when it does
		// not, the close is stale too.
		return a.save(journal.Cancelling, a.rt.Journal.Put, func(r *record) { r.Final = nil })
	case stage == journal.Failed:
		return err
	case errors.As(err, &failure):
		return a.save(journal.Failed, a.rt.Journal.Put, func(r *record) { r.Failure, r.Final = failure, nil })
	case client.IsFinal(err):
		refused := failf("transfer", "the coordinators refused the attempt's results: %v", err)
		return a.save(journal.Failed, a.rt.Journal.Put, func(r *record) { r.Failure, r.Final = refused, nil })
	}
	return err
}

func (a *Attempt) ordered() order {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.order
}

func (a *Attempt) stage() journal.Stage {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.entry.Stage
}

func (a *Attempt) account() *batch.Account {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.rec.End
}

func (a *Attempt) facts() siteapi.Facts {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.rec.Facts
}

// save changes the record and moves to a stage, by the journal's Put (on disk) or Note (soon on disk).
func (a *Attempt) save(stage journal.Stage, write func(journal.Entry) error, change func(*record)) error {
	a.mu.Lock()
	rec, before := a.rec, a.entry.Stage
	if change != nil {
		change(&rec)
	}
	data, err := json.Marshal(rec)
	entry := a.entry
	a.mu.Unlock()
	if err != nil {
		return fmt.Errorf("encode the attempt's record: %w", err)
	}
	entry.Stage, entry.Data, entry.Updated = stage, data, time.Now().UTC()
	if err := write(entry); err != nil {
		return err
	}
	a.mu.Lock()
	a.entry, a.rec = entry, rec
	a.mu.Unlock()
	if stage != before {
		a.logger.Debug("attempt", "stage", stage)
	}
	return nil
}

// setBatchID is apart from save because the id stands in the entry itself.
func (a *Attempt) setBatchID(id string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.entry.BatchID = id
	a.rec.Facts.BatchID = id
}

// BatchID is the batch system's id of the attempt's job, empty when there is none or it is not known.
func (a *Attempt) BatchID() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.entry.BatchID
}

// remove deletes the attempt's directory. A code may have taken its own rights away.
func (a *Attempt) remove() error {
	if a.rt.Keep {
		return nil
	}
	return removeAll(string(a.dir))
}

// Sweep removes the directories below dir that belong to no entry of the journal: a power cut may have
// taken the entry of a lease whose staging had begun.
func Sweep(dir string, entries []journal.Entry) error {
	known := map[string]bool{}
	for _, e := range entries {
		known[dirName(e.Job, e.Epoch)] = true
	}
	found, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("look for left directories: %w", err)
	}
	for _, d := range found {
		if !known[d.Name()] {
			err = errors.Join(err, removeAll(filepath.Join(dir, d.Name())))
		}
	}
	return err
}
