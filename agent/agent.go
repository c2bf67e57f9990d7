// Package agent is what runs at a site: it polls the coordinators, gives each lease an attempt, and tells
// attempts what the batch system says. It dials out only, needs no rights but its own account's, and
// after a kill goes on from its journal.
//
// What an attempt does is in package attempt, what may run in package policy, how a batch system is
// spoken to in the packages below batch.
package agent

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"consort/agent/attempt"
	"consort/agent/batch"
	"consort/agent/batch/local"
	"consort/agent/client"
	"consort/agent/journal"
	"consort/agent/staging"
	"consort/shared/siteapi"
	"consort/shared/tlsconfig"
)

// ErrFenced means that a newer agent with the same identity has taken over.
var ErrFenced = errors.New("another agent of this site was started later, and the coordinators listen to that one")

const systemLocal = "local"

// Agent is a running agent.
type Agent struct {
	cfg     Config
	logger  *slog.Logger
	boot    string
	started time.Time

	client *client.Client
	pusher *pusher
	policy *policyFile
	batch  batch.Scheduler
	rt     *attempt.Runtime

	look chan struct{} // the batch system is to be asked
	wg   sync.WaitGroup
	stop context.CancelCauseFunc

	mu       sync.Mutex
	attempts map[siteapi.AttemptRef]*attempt.Attempt
	held     *held // the poll that is held, if any
}

// Run runs an agent until ctx ends, and returns nil then; jobs that run go on without it. It returns an
// error when it cannot start, when the journal is out of use, or with ErrFenced.
func Run(ctx context.Context, cfg Config) error {
	if err := cfg.Validate(); err != nil {
		return err
	}
	cfg = cfg.withDefaults()
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	a := &Agent{
		cfg: cfg, logger: cfg.Logger, boot: rand.Text(), started: time.Now().UTC(),
		look: make(chan struct{}, 1), stop: stop, attempts: map[siteapi.AttemptRef]*attempt.Attempt{},
	}
	closeAll, err := a.open()
	if err != nil {
		return err
	}
	err = a.run(ctx)
	return errors.Join(err, closeAll())
}

// open makes everything that the agent stands on, the lock of the journal first. The function it returns
// closes it in reverse order.
func (a *Agent) open() (_ func() error, err error) {
	var closers []func() error
	closeAll := func() error {
		var errs []error
		for _, c := range slices.Backward(closers) {
			errs = append(errs, c())
		}
		return errors.Join(errs...)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, closeAll())
		}
	}()
	state := func(name string) string { return filepath.Join(a.cfg.State, name) }
	key, err := loadKey(a.cfg.KeyFile)
	if err != nil {
		return nil, err
	}
	j, err := journal.Open(journal.Config{Dir: state("journal"), Cluster: a.cfg.Cluster, Site: a.cfg.Site, Logger: a.logger})
	if err != nil {
		return nil, err
	}
	closers = append(closers, j.Close)
	if err := os.MkdirAll(state("attempts"), 0o700); err != nil {
		return nil, fmt.Errorf("make the directory of the attempts: %w", err)
	}
	chain, err := attempt.OpenChain(state("fragments"))
	if err != nil {
		return nil, err
	}
	closers = append(closers, chain.Close)
	cache, err := staging.OpenCache(staging.CacheConfig{Dir: state("cache"), Logger: a.logger})
	if err != nil {
		return nil, err
	}
	if a.policy, err = openPolicy(a.cfg.Policy, a.logger); err != nil {
		return nil, err
	}
	if err := a.connect(key); err != nil {
		return nil, err
	}
	closers = append(closers, func() error { a.client.Close(); return nil })
	if err := a.openBatch(state("batch"), &closers); err != nil {
		return nil, err
	}
	attempts, err := filepath.Abs(state("attempts"))
	if err != nil {
		return nil, fmt.Errorf("find the directory of the attempts: %w", err)
	}
	a.rt = &attempt.Runtime{
		Dir: attempts, Site: a.cfg.Site, ClusterID: a.cfg.Cluster, Key: key, Version: a.cfg.Version, System: a.cfg.Batch.System,
		Keep: a.cfg.Keep, Journal: j, Batch: a.batch, Client: a.client, Pusher: a.pusher, Cache: cache, Chain: chain,
		Downloader: &staging.Downloader{Agent: "consort-agent/" + a.cfg.Version},
		Allow:      a.policy.allow, Bundles: &attempt.Bundles{}, Logger: a.logger, Look: a.lookSoon, Freed: a.freed,
	}
	return closeAll, nil
}

// connect makes the clients of the coordinators; nothing is dialled yet.
func (a *Agent) connect(key ed25519.PrivateKey) error {
	conf, err := tlsconfig.Client(a.cfg.CAFile)
	if err != nil {
		return err
	}
	a.client, err = client.New(client.Config{
		Servers: a.cfg.Servers, Site: a.cfg.Site, ClusterID: a.cfg.Cluster, Key: key, Version: a.cfg.Version, TLS: conf, Logger: a.logger,
	})
	if err != nil {
		return err
	}
	signer, err := ssh.NewSignerFromSigner(key)
	if err != nil {
		return fmt.Errorf("use the site's key for SFTP: %w", err)
	}
	a.pusher, err = newPusher(a.cfg.Site, signer, a.cfg.SFTP, a.logger)
	return err
}

// openBatch opens the batch system.
func (a *Agent) openBatch(dir string, closers *[]func() error) error {
	b := a.cfg.Batch
	system, err := local.New(local.Config{Dir: dir, Cores: b.Cores, MemoryBytes: b.MemoryBytes, Logger: a.logger})
	if err != nil {
		return fmt.Errorf("open the batch system %s: %w", systemLocal, err)
	}
	*closers = append(*closers, system.Close)
	a.batch = system
	return nil
}

// run goes on with what the journal holds, and only then asks for more.
func (a *Agent) run(ctx context.Context) error {
	defer a.wg.Wait()
	defer a.stop(nil)
	if err := a.recover(ctx); err != nil {
		return err
	}
	a.logger.Info("agent started", "site", a.cfg.Site, "cluster", a.cfg.Cluster, "attempts", len(a.attempts),
		"slots", a.cfg.Batch.Slots, "servers", strings.Join(a.cfg.Servers, " "))
	a.wg.Go(func() { a.observe(ctx) })
	a.wg.Go(func() { a.watchPolicy(ctx) })
	if err := a.pollAll(ctx); err != nil {
		return err
	}
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) && !errors.Is(cause, context.DeadlineExceeded) {
		return cause
	}
	return nil
}

func (a *Agent) recover(ctx context.Context) error {
	entries := a.rt.Journal.All()
	if !a.cfg.Keep {
		if err := attempt.Sweep(a.rt.Dir, entries); err != nil {
			return err
		}
	}
	var all []*attempt.Attempt
	for _, e := range entries {
		at, err := attempt.Recover(a.rt, e)
		if err != nil {
			return fmt.Errorf("take up job %s epoch %d from the journal: %w", e.Job, e.Epoch, err)
		}
		all = append(all, at)
	}
	for _, at := range all {
		a.start(ctx, at)
	}
	a.lookSoon()
	return nil
}

// start runs an attempt until it is forgotten.
func (a *Agent) start(ctx context.Context, at *attempt.Attempt) {
	a.mu.Lock()
	a.attempts[at.Ref()] = at
	a.mu.Unlock()
	a.wg.Go(func() {
		err := at.Run(ctx)
		if ctx.Err() != nil {
			return
		}
		a.mu.Lock()
		delete(a.attempts, at.Ref())
		a.mu.Unlock()
		if err != nil { // only a journal that cannot be written to any more
			a.stop(fmt.Errorf("stop, to lose nothing: %w", err))
		}
	})
}

// all returns the attempts, in no particular order.
func (a *Agent) all() []*attempt.Attempt {
	a.mu.Lock()
	defer a.mu.Unlock()
	all := make([]*attempt.Attempt, 0, len(a.attempts))
	for _, at := range a.attempts {
		all = append(all, at)
	}
	return all
}

func (a *Agent) get(ref siteapi.AttemptRef) *attempt.Attempt {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.attempts[ref]
}
