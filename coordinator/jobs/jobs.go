// Package jobs holds the use cases around jobs, free of HTTP: create, read, list, wait, change, run, abort
// and delete for users; report, seal, commit, fail and close for sites; results and logs for both. Rights
// are asked of the one policy, changes go through the replicated log, and waiting listens to the hub.
//
// It does not decide which site runs a job; that is package scheduler.
package jobs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"consort/coordinator/auth"
	"consort/coordinator/command"
	"consort/coordinator/content"
	"consort/coordinator/definitions"
	"consort/coordinator/state"
	"consort/coordinator/watch"
)

var (
	// ErrNotFound is returned for a job, result, parameter or log that does not exist, or was deleted.
	ErrNotFound = errors.New("not found")
	// ErrIllegalPhase is returned when the job's phase does not allow the change (UWS 1.1: 403).
	ErrIllegalPhase = errors.New("the job's phase does not allow this")
	// ErrMissing is returned by Run when required parameters or inputs are not set; it names them.
	ErrMissing = errors.New("required parameters are missing")
	// ErrInvalid is returned for values that the definition does not allow; it says which and why.
	ErrInvalid = errors.New("invalid request")
	// ErrTooLarge is returned for more, or larger, values than a job may have.
	ErrTooLarge = errors.New("the request is too large")
	// ErrKeyConflict is returned when an idempotency key was used before, for another request.
	ErrKeyConflict = errors.New("this idempotency key was used for another request")
	// ErrStale is returned to a site whose attempt is not the current one any more.
	ErrStale = errors.New("the attempt is not current any more")
	// ErrIncomplete is returned by Commit when the manifest or its files are not all there.
	ErrIncomplete = errors.New("the manifest is incomplete")
	// ErrBusy is returned when too much waits already; try again later.
	ErrBusy = errors.New("too many requests are waiting")
)

// Log is the replicated log, and linearizable reads on it.
type Log interface {
	// Propose appends c and returns what applying it answered.
	Propose(ctx context.Context, c *command.Command) (*command.Result, error)
	// WaitRead returns when every change acknowledged before the call can be read here.
	WaitRead(ctx context.Context) error
}

// State is the store to read from.
type State interface {
	View(func(*state.View) error) error
}

// Files is the content store.
type Files interface {
	Put(ctx context.Context, r io.Reader, limit int64) (content.Blob, error)
	Open(sha256 string) (*os.File, error)
	Stat(sha256 string) (content.Blob, error)
	Low() (soft, hard bool, err error)
}

// Uploads are the files that sites push before they are sealed.
type Uploads interface {
	Offset(ctx context.Context, job string, epoch uint64, path string) (verified int64, prefixSHA256 string, err error)
	Seal(ctx context.Context, job string, epoch uint64, files []content.ManifestFile) error
	Discard(ctx context.Context, job string, epoch uint64) error
}

// Config wires a Service.
type Config struct {
	Log         Log
	State       State
	Files       Files
	Uploads     Uploads
	Definitions *definitions.Service
	Guard       *auth.Guard
	Hub         *watch.Hub
	Logger      *slog.Logger
	// Now gives the time shown to users for lists and ids; times of record are stamped by the leader.
	Now func() time.Time
	// MaxWaiters bounds the waits of one principal at the same time; default 1,000.
	MaxWaiters int
}

// Service is the use cases.
type Service struct {
	cfg     Config
	waiters waiters
	updates stripes
	live    *liveLogs
	members memberCache
	shared  sharedReads
}

// New returns a Service.
func New(cfg Config) *Service {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.MaxWaiters == 0 {
		cfg.MaxWaiters = 1000
	}
	return &Service{cfg: cfg, waiters: waiters{max: cfg.MaxWaiters, now: map[string]int{}}, live: newLiveLogs(cfg.Hub)}
}

// propose sends a command and turns its result into an error of this package.
func (s *Service) propose(ctx context.Context, c *command.Command) (*command.Result, error) {
	result, err := s.cfg.Log.Propose(ctx, c)
	if errors.Is(err, command.ErrTooLarge) {
		return nil, fmt.Errorf("%w: %w", ErrTooLarge, err)
	}
	if err != nil {
		return nil, err
	}
	return result, resultError(result)
}

func resultError(r *command.Result) error {
	sentinel := map[command.Result_Code]error{
		command.Result_NOT_FOUND:     ErrNotFound,
		command.Result_ILLEGAL_PHASE: ErrIllegalPhase,
		command.Result_STALE_EPOCH:   ErrStale,
		command.Result_KEY_CONFLICT:  ErrKeyConflict,
		command.Result_INCOMPLETE:    ErrIncomplete,
		command.Result_TOO_LARGE:     ErrTooLarge,
		command.Result_EXISTS:        ErrInvalid,
		command.Result_REFUSED:       ErrInvalid,
		command.Result_INVALID:       ErrInvalid,
	}[r.Code]
	switch {
	case r.Code == command.Result_OK:
		return nil
	case sentinel == nil:
		return fmt.Errorf("apply: %s: %s", r.Code, r.Message)
	case r.Message == "" || r.Message == sentinel.Error():
		return sentinel
	}
	return fmt.Errorf("%w: %s", sentinel, r.Message)
}

// view runs fn in one read transaction, after everything acknowledged so far can be seen.
func (s *Service) view(ctx context.Context, fn func(*state.View) error) error {
	if err := s.cfg.Log.WaitRead(ctx); err != nil {
		return err
	}
	err := s.cfg.State.View(fn)
	switch {
	case errors.Is(err, state.ErrNotFound):
		return ErrNotFound
	case errors.Is(err, state.ErrCursor):
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return err
}
