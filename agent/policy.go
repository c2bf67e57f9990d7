package agent

import (
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"reflect"
	"sync"
	"time"

	"consort/agent/attempt"
	"consort/agent/policy"
	"consort/shared/definition"
	"consort/shared/siteapi"
)

// policyLook is how often the file of the policy is looked at while a poll is held.
const policyLook = 2 * time.Second

// policyFile is the site's policy, read again when the file changes. While the file is missing or has an error,
// nothing new is accepted: an administrator who is about to forbid something must not be overheard. Nor is
// anything refused, since a slip of the pen is no decision about a job.
type policyFile struct {
	path   string
	logger *slog.Logger

	mu   sync.Mutex
	now  *policy.Policy // the last one that could be read
	info fs.FileInfo    // of the file that now was read from
	bad  error          // why the file cannot be read at the moment; nil: it can
}

// openPolicy reads the policy for the first time; then an error is an error.
func openPolicy(path string, logger *slog.Logger) (*policyFile, error) {
	p := &policyFile{path: path, logger: logger}
	if err := p.read(); err != nil {
		return nil, err
	}
	return p, nil
}

// read looks at the file before it reads it, so that what is written meanwhile is read the next time.
func (p *policyFile) read() error {
	info, err := os.Stat(p.path)
	if err != nil {
		return fmt.Errorf("read the site's policy: %w", err)
	}
	fresh, err := policy.Load(p.path)
	if err != nil {
		return err
	}
	p.now, p.info = fresh, info
	return nil
}

// current is the policy as it is now, or why it cannot be read.
func (p *policyFile) current() (*policy.Policy, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bad == nil && p.unchanged() {
		return p.now, nil
	}
	err := p.read()
	switch {
	case err == nil:
		p.logger.Info("the site's policy was read again", "file", p.path)
	case p.bad == nil || p.bad.Error() != err.Error():
		p.logger.Error("the site's policy cannot be read; no job is accepted until it can", "error", err)
	}
	if p.bad = err; err != nil {
		return nil, err
	}
	return p.now, nil
}

func (p *policyFile) unchanged() bool {
	info, err := os.Stat(p.path)
	return err == nil && os.SameFile(info, p.info) && info.ModTime().Equal(p.info.ModTime()) && info.Size() == p.info.Size()
}

// allow asks the policy about one lease.
func (p *policyFile) allow(d *definition.Definition, lease *siteapi.Lease) (attempt.Grant, error) {
	now, err := p.current()
	if err != nil {
		return attempt.Grant{}, attempt.ErrUndecided // why is for the site's own eyes
	}
	var urls []string
	for _, in := range lease.Inputs {
		if in.URL != "" {
			urls = append(urls, in.URL)
		}
	}
	number, err := now.Match(policy.Request{
		Definition: d.Name, Version: d.Version, Digest: lease.Definition.Digest, Owner: lease.Owner,
		Cores: attempt.Cores(lease.Resources), MemoryBytes: lease.Resources.MemoryBytes,
		Duration: time.Duration(lease.ExecutionSeconds) * time.Second, URLs: urls,
	})
	if err != nil {
		return attempt.Grant{}, err
	}
	var software []string
	for _, s := range d.Software {
		software = append(software, s.Name)
	}
	installed, image := now.Installed(software...)
	return attempt.Grant{
		Software: installed, Image: image,
		Variables: now.Variables(software...), Rule: number, MaxOutput: int64(now.Allow[number-1].MaxOutput),
		URLs: now.Fetch.URLs, MaxFetch: now.Fetch.Most(),
	}, nil
}

// readiness is what a poll says of the policy.
type readiness struct {
	accepts []siteapi.Accept
	urls    []string // that may be fetched
	drain   bool     // nothing is accepted, whatever it is
}

func (r readiness) equal(other readiness) bool { return reflect.DeepEqual(r, other) }

// readiness tells the policy's rules, so that no work is leased here that they refuse.
func (p *policyFile) readiness() readiness {
	now, err := p.current()
	if err != nil {
		return readiness{accepts: []siteapi.Accept{}, drain: true}
	}
	accepts := []siteapi.Accept{}
	for _, r := range now.Allow {
		accepts = append(accepts, siteapi.Accept{
			Definition: r.Definition, Digests: r.Digests, Versions: r.Versions, Owners: r.Owners,
			MaxCores: r.MaxCores, MaxMemoryBytes: int64(r.MaxMemory), MaxSeconds: int64(r.MaxDuration.Std().Seconds()),
		})
	}
	return readiness{accepts: accepts, urls: now.Fetch.URLs}
}

// watchPolicy has the coordinators hear of a changed policy soon, and not only after the poll that is held.
func (a *Agent) watchPolicy(ctx context.Context) {
	ticker := time.NewTicker(policyLook)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			a.decided()
		}
	}
}
