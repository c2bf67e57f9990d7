package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"consort/agent"
	"consort/agent/policy"
	"consort/coordinator"
	"consort/shared/siteapi"
	"consort/shared/telemetry"
	"consort/shared/userapi"
)

// localSite is the site of consort dev: the agent of this process, enrolled through the same calls as any
// other.
type localSite struct {
	dir    string
	server *coordinator.Server
	token  string
	logger *slog.Logger

	cancel context.CancelFunc
	ended  chan struct{}
	err    error
}

// siteName is what the site of consort dev is called.
const siteName = "local"

func (s *localSite) start(ctx context.Context) error {
	a := s.server.Addresses()
	base := "http://" + dialable(a.HTTP)
	client, err := userapi.New(userapi.Config{Server: base, Token: s.token})
	if err != nil {
		return err
	}
	cfg, err := s.enrolled(ctx, client, base)
	if err != nil {
		return fmt.Errorf("enrol the local site: %w", err)
	}
	// Ports may differ from the last run's; the pinned host key may not.
	cfg.Servers = []string{base}
	cfg.SFTP = []siteapi.SFTP{{Address: dialable(a.SFTP), HostKey: cfg.SFTP[0].HostKey}}
	cfg.Version = telemetry.Version().Version
	cfg.Logger = s.logger.With("part", "agent")
	if err := s.allowPublished(ctx, client, cfg.Policy); err != nil {
		return fmt.Errorf("write the local site's policy: %w", err)
	}
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	s.cancel, s.ended = cancel, make(chan struct{})
	go func() {
		defer close(s.ended)
		s.err = agent.Run(run, cfg)
	}()
	return nil
}

// enrolled loads the agent's configuration; at the first start it enrols the site.
func (s *localSite) enrolled(ctx context.Context, client *userapi.Client, base string) (agent.Config, error) {
	file := filepath.Join(s.dir, "agent.toml")
	_, err := os.Stat(file)
	if errors.Is(err, fs.ErrNotExist) {
		invitation, err := client.AddSite(ctx, userapi.AddSite{Name: siteName, Title: "this machine"})
		if err != nil {
			return agent.Config{}, err
		}
		_, err = agent.Enrol(ctx, agent.EnrolConfig{
			Server: base, Token: invitation.Token, Dir: s.dir, Site: siteName, Version: telemetry.Version().Version,
		})
		if err != nil {
			return agent.Config{}, err
		}
	} else if err != nil {
		return agent.Config{}, err
	}
	return agent.LoadConfig(file)
}

// allowPublished lets the local site run exactly what is published here now, and fetch what anybody can from the
// internet.
func (s *localSite) allowPublished(ctx context.Context, client *userapi.Client, path string) error {
	list, err := client.Definitions(ctx)
	if err != nil {
		return err
	}
	p := &policy.Policy{Format: policy.Format, Fetch: policy.Fetch{URLs: []string{"https://*/", "http://*/"}}}
	for _, d := range list.Definitions {
		p.Allow = append(p.Allow, policy.Rule{Definition: d.Name, Digests: []string{d.Digest}})
	}
	return policy.Write(path, p)
}

// wait returns when the agent ends by itself, with the reason, or when ctx ends.
func (s *localSite) wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-s.ended:
		return fmt.Errorf("the local site's agent: %w", s.err)
	}
}

// stop ends the agent; jobs that run go on.
func (s *localSite) stop() error {
	if s.cancel == nil {
		return nil
	}
	s.cancel()
	<-s.ended
	return s.err
}
