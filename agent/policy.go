package agent

import (
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"

	"consort/agent/attempt"
	"consort/agent/policy"
	"consort/shared/definition"
	"consort/shared/siteapi"
)

// policyFile is the site's policy, read again when the file changes. While the file is missing or has an error,
// nothing is allowed: an administrator who is about to forbid something must not be overheard.
type policyFile struct {
	path   string
	logger *slog.Logger

	mu     sync.Mutex
	now    *policy.Policy
	stamp  time.Time
	size   int64
	broken bool
}

// openPolicy reads the policy for the first time; then an error is an error.
func openPolicy(path string, logger *slog.Logger) (*policyFile, error) {
	p := &policyFile{path: path, logger: logger}
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("read the site's policy: %w", err)
	}
	p.stamp, p.size = info.ModTime(), info.Size()
	if p.now, err = policy.Load(path); err != nil {
		return nil, err
	}
	return p, nil
}

// current is the policy as it is now.
func (p *policyFile) current() *policy.Policy {
	p.mu.Lock()
	defer p.mu.Unlock()
	info, err := os.Stat(p.path)
	if err == nil && info.ModTime().Equal(p.stamp) && info.Size() == p.size && !p.broken {
		return p.now
	}
	var fresh *policy.Policy
	if err == nil {
		fresh, err = policy.Load(p.path)
	}
	if err != nil {
		if !p.broken {
			p.logger.Error("the site's policy cannot be read; nothing is allowed until it can", "error", err)
		}
		p.broken, p.now = true, &policy.Policy{Format: policy.Format}
		return p.now
	}
	p.logger.Info("the site's policy was read again", "file", p.path)
	p.now, p.stamp, p.size, p.broken = fresh, info.ModTime(), info.Size(), false
	return p.now
}

// allow asks the policy about one lease.
func (p *policyFile) allow(d *definition.Definition, lease *siteapi.Lease) (attempt.Grant, error) {
	now := p.current()
	rule, err := now.Match(policy.Request{
		Definition: d.Name, Version: d.Version, Digest: lease.Definition.Digest, Owner: lease.Owner,
		Cores: attempt.Cores(lease.Resources), MemoryBytes: lease.Resources.MemoryBytes,
		Duration: time.Duration(lease.ExecutionSeconds) * time.Second,
	})
	if err != nil {
		return attempt.Grant{}, err
	}
	var software []string
	for _, s := range d.Software {
		software = append(software, s.Name)
	}
	return attempt.Grant{Variables: now.Variables(software...), MaxOutput: int64(rule.MaxOutput)}, nil
}

// accepts lists the digests that the policy names, so that no other work is leased here. A rule that goes by
// versions stands for digests that are not known here: then it is "*", any, and the rule decides later.
func (p *policyFile) accepts() []string {
	digests := []string{}
	for _, r := range p.current().Allow {
		if len(r.Digests) == 0 {
			return []string{"*"}
		}
		digests = append(digests, r.Digests...)
	}
	slices.Sort(digests)
	return slices.Compact(digests)
}
