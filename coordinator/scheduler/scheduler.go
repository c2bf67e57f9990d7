// Package scheduler decides, on the leader, which site runs which job and what happens when time passes:
// it answers the sites' polls, grants leases to queued jobs, enforces run limits and destruction, gives up
// leases that ran out, and sees to it that what was deleted is purged. It keeps nothing that it could not
// find again: sites tell everything in each poll, the queue is the replicated state.
//
// It does not run anything and does not change a job but by the commands of package command.
package scheduler

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"consort/coordinator/command"
	"consort/coordinator/content"
	"consort/coordinator/state"
	"consort/coordinator/watch"
	"consort/shared/siteapi"
)

// ErrFenced is returned to an agent when a newer one of the same site has polled.
var ErrFenced = errors.New("another agent of this site was started later and does its work")

// Log is the replicated log.
type Log interface {
	Propose(ctx context.Context, c *command.Command) (*command.Result, error)
	WaitRead(ctx context.Context) error
}

// State is what the scheduler reads.
type State interface {
	View(func(*state.View) error) error
	Active(id string) *state.Active
	Queued(afterUs int64, limit int) []*state.Active
	OpenAttempts(site string) []state.OpenAttempt
}

// Specs reads what a job was asked to do.
type Specs interface {
	Spec(v *state.View, id string) (*state.Spec, error)
}

// Watched tells which attempts' logs somebody reads.
type Watched interface {
	Watched(site string) []siteapi.AttemptRef
}

// Files is the content store, for collecting what nobody needs.
type Files interface {
	RemoveUnused(ctx context.Context, sha256 string, since time.Time) (bool, error)
	Walk(fn func(content.Blob, time.Time) error) error
	Low() (soft, hard bool, err error)
}

// Uploads are the files that sites push before they are sealed.
type Uploads interface {
	Sweep(ctx context.Context, keep func(job string, epoch uint64) bool) error
}

// Config wires a Scheduler.
type Config struct {
	Log     Log
	State   State
	Specs   Specs
	Watched Watched
	Files   Files
	Uploads Uploads
	Hub     *watch.Hub
	Logger  *slog.Logger
	// Now is the cluster's time on the leader.
	Now func() time.Time
	// SFTP gives the addresses that sites push to, as they are now.
	SFTP func() []siteapi.SFTP

	Contact      time.Duration // silence after which a site gets no new work; default 90 s
	Grace        time.Duration // of a work lease beyond the run limit; default 15 min
	Overrun      time.Duration // how late a site may stop a job that is over its limit; default 1 min
	ContentGrace time.Duration // how long unreferenced files are kept; default 1 h
	RequestLife  time.Duration // how long answers to idempotency keys are kept; default 24 h
}

func (c *Config) setDefaults() {
	for _, d := range []struct {
		field *time.Duration
		value time.Duration
	}{
		{&c.Contact, 90 * time.Second}, {&c.Grace, 15 * time.Minute}, {&c.Overrun, time.Minute},
		{&c.ContentGrace, time.Hour}, {&c.RequestLife, 24 * time.Hour},
	} {
		if *d.field == 0 {
			*d.field = d.value
		}
	}
	if c.Now == nil {
		c.Now = time.Now
	}
}

// Scheduler is the leader's work. Its methods may be called by many at once.
type Scheduler struct {
	cfg Config

	mu    sync.Mutex
	sites map[string]*site

	swept time.Time // when sweep last ran; of housekeep alone
}

// site is what is known of a site from its polls. It is lost with the leader and told again by the next
// poll, within a minute.
type site struct {
	boot    string
	started time.Time // of the agent
	seen    time.Time
	poll    siteapi.PollRequest
	waiting int              // polls held open
	free    siteapi.Capacity // what is left of the newest poll's offer
	grants  grants
}

// New returns a Scheduler; Run must be running while it is used.
func New(cfg Config) *Scheduler {
	cfg.setDefaults()
	return &Scheduler{cfg: cfg, sites: map[string]*site{}}
}

// SiteInfo is what is known of a site at this moment.
type SiteInfo struct {
	Online   bool
	LastSeen time.Time
	Version  string
	Batch    string
	Total    siteapi.Capacity
	Free     siteapi.Capacity
	Open     int // attempts that have not ended
}

// Site tells what is known of a site; the zero value when it has not been heard of since this node leads.
func (s *Scheduler) Site(name string) SiteInfo {
	open := len(s.cfg.State.OpenAttempts(name))
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.sites[name]
	if st == nil {
		return SiteInfo{Open: open}
	}
	return SiteInfo{
		Open: open, Online: s.online(st), LastSeen: st.seen, Version: st.poll.Version, Batch: st.poll.Batch,
		Total: st.poll.Total, Free: st.free,
	}
}

func (s *Scheduler) online(st *site) bool {
	return st.waiting > 0 || s.cfg.Now().Sub(st.seen) < s.cfg.Contact
}

// Run does the leader's work until ctx ends: it matches queued jobs with the sites' offers, and acts when
// time passes.
func (s *Scheduler) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { s.housekeep(ctx) })
	s.match(ctx)
	return nil
}
