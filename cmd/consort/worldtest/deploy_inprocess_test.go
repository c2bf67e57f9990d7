package worldtest

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"consort/agent"
	"consort/agent/policy"
	"consort/coordinator"
	"consort/coordinator/auth"
	"consort/coordinator/definitions"
	"consort/examples"
	"consort/shared/userapi"
)

// slots is how many jobs the site runs at a time.
const slots = 4

// inProcess is a coordinator and an agent within the test's own process.
type inProcess struct {
	*world
	log    output
	cfg    coordinator.Config
	server *coordinator.Server
	cancel context.CancelFunc
	ended  chan error
}

func newInProcess(t *testing.T) *world {
	t.Helper()
	p := &inProcess{world: newWorld(t)}
	p.cfg = coordinator.Config{
		Dir: filepath.Join(p.dir, "coordinator"), HTTP: "127.0.0.1:0", SFTP: "127.0.0.1:0", Peer: "127.0.0.1:0",
		Definitions: []definitions.Folder{{Name: "examples", FS: examples.FS}, {Name: p.definitions, FS: os.DirFS(p.definitions)}}, LocalOnly: true,
		Auth: auth.Config{Anonymous: true, AnonymousOperator: true}, Version: "test",
		Logger: slog.New(slog.NewTextHandler(&p.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	p.world.start, p.world.stop, p.world.logs = p.start, p.stop, p.log.String
	t.Cleanup(func() {
		p.stop(t)
		if t.Failed() {
			t.Logf("log:\n%s", p.log.tail())
		}
	})
	p.startCoordinator(t)
	p.enrol(t)
	p.startAgent(t)
	return p.world
}

func (p *inProcess) startCoordinator(t testing.TB) {
	t.Helper()
	server, err := coordinator.Start(t.Context(), p.cfg)
	if err != nil {
		t.Fatalf("start the coordinator: %v", err)
	}
	p.server = server
	a := server.Addresses()
	p.cfg.HTTP, p.cfg.SFTP, p.url = a.HTTP, a.SFTP, "http://"+a.HTTP
}

func (p *inProcess) enrol(t testing.TB) {
	t.Helper()
	client, err := userapi.New(userapi.Config{Server: p.url, HTTPClient: p.http})
	if err != nil {
		t.Fatal(err)
	}
	invitation, err := client.AddSite(t.Context(), userapi.AddSite{Name: "here"})
	if err != nil {
		t.Fatalf("add the site: %v", err)
	}
	done, err := agent.Enrol(t.Context(), agent.EnrolConfig{
		Server: p.url, Token: invitation.Token, Dir: filepath.Join(p.dir, "agent"), Version: "test",
		Batch: agent.Batch{Slots: slots, Cores: slots},
	})
	if err != nil {
		t.Fatalf("enrol: %v", err)
	}
	if err := policy.Write(done.PolicyFile, allowAll()); err != nil {
		t.Fatal(err)
	}
}

// allowAll is the policy of a site that trusts whoever may publish.
func allowAll() *policy.Policy {
	p := &policy.Policy{Format: policy.Format}
	for _, name := range []string{"periodogram", "fold", "probe", "many", "work", "tree", "flaky", "secret"} {
		p.Allow = append(p.Allow, policy.Rule{Definition: name, Versions: []string{policy.AnyVersion}})
	}
	return p
}

func (p *inProcess) startAgent(t testing.TB) {
	t.Helper()
	cfg, err := agent.LoadConfig(filepath.Join(p.dir, "agent", "agent.toml"))
	if err != nil {
		t.Fatal(err)
	}
	cfg.Version, cfg.Logger = "test", p.cfg.Logger
	ctx, cancel := context.WithCancel(context.Background())
	p.cancel, p.ended = cancel, make(chan error, 1)
	go func() { p.ended <- agent.Run(ctx, cfg) }()
}

func (p *inProcess) start(t testing.TB) {
	t.Helper()
	p.startCoordinator(t)
	p.startAgent(t)
}

func (p *inProcess) stop(t testing.TB) {
	t.Helper()
	var err error
	if p.cancel != nil {
		p.cancel()
		err = <-p.ended
		p.cancel = nil
	}
	if p.server != nil {
		ctx, cancel := context.WithTimeout(context.Background(), stopLimit)
		defer cancel()
		err = errors.Join(err, p.server.Stop(ctx))
		p.server = nil
	}
	if err != nil {
		t.Errorf("stop: %v", err)
	}
}
