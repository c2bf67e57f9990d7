package worldtest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"consort/agent/policy"
	"consort/coordinator/auth"
	"consort/shared/userapi"
)

// dev is a world run by "consort dev".
type dev struct {
	*world
	http, sftp string
	more       []string
	server     *process
	earlier    []*process
}

// newDev starts a world that dies at a failpoint, if one is named. It has the definitions of more folders, too.
func newDev(t *testing.T, failpoint string, more ...string) *dev {
	t.Helper()
	d := &dev{world: newWorld(t), http: "127.0.0.1:0", sftp: "127.0.0.1:0", more: more}
	d.world.start = func(t testing.TB) { d.launch(t, "") }
	d.world.stop = func(t testing.TB) { d.server.stop() }
	d.world.logs = func() string { return logsOf(d.earlier) }
	d.launch(t, failpoint)
	return d
}

func (d *dev) launch(t testing.TB, failpoint string) {
	t.Helper()
	consort, _ := programs(t)
	argv := []string{consort, "dev", "--data", filepath.Join(d.dir, "data"), "--http", d.http, "--sftp", d.sftp, "--log-level", "debug"}
	for _, folder := range append([]string{d.definitions}, d.more...) {
		argv = append(argv, "--definitions", folder)
	}
	d.server = launch(t, failpoint, argv...)
	d.earlier = append(d.earlier, d.server)
	ready := d.server.ready()
	d.url, d.http, d.sftp = ready["http"], strings.TrimPrefix(ready["http"], "http://"), ready["sftp"]
}

func logsOf(all []*process) string {
	var text strings.Builder
	for _, p := range all {
		text.WriteString(p.out.String() + p.log.String())
	}
	return text.String()
}

// Tokens of the standalone coordinator.
const (
	aliceToken    = "alice-token"
	operatorToken = "operator-token"
)

// standalone is a world of two programs: "consort coordinator" and "consort-agent".
type standalone struct {
	*world
	http, sftp         string
	coordinator, agent *process
	earlier            []*process
}

// newStandalone starts a world whose coordinator or agent dies at a failpoint, if one is named.
func newStandalone(t *testing.T, coordinatorPoint, agentPoint string) *standalone {
	t.Helper()
	s := &standalone{world: newWorld(t), http: "127.0.0.1:0", sftp: "127.0.0.1:0"}
	s.token = aliceToken
	s.world.start = func(t testing.TB) {
		s.startCoordinator(t, "")
		s.startAgent(t, "")
	}
	s.world.stop = func(testing.TB) {
		s.agent.stop()
		s.coordinator.stop()
	}
	s.world.logs = func() string { return logsOf(s.earlier) }
	s.startCoordinator(t, coordinatorPoint)
	s.enrol(t)
	s.startAgent(t, agentPoint)
	return s
}

func (s *standalone) startCoordinator(t testing.TB, failpoint string) {
	t.Helper()
	consort, _ := programs(t)
	config := filepath.Join(s.dir, "coordinator.toml")
	write(t, config, fmt.Sprintf(`data = "coordinator"
http = %q
sftp = %q
peer = "127.0.0.1:0"
examples = true
definitions = ["definitions"]

[[token]]
name = "alice"
sha256 = %q

[[token]]
name = "operator"
sha256 = %q
operator = true
`, s.http, s.sftp, auth.HashToken(aliceToken), auth.HashToken(operatorToken)))
	s.coordinator = launch(t, failpoint, consort, "coordinator", "--config", config, "--log-level", "debug")
	s.earlier = append(s.earlier, s.coordinator)
	ready := s.coordinator.ready()
	s.url, s.http, s.sftp = ready["http"], strings.TrimPrefix(ready["http"], "http://"), ready["sftp"]
}

func (s *standalone) agentDir() string { return filepath.Join(s.dir, "agent") }

func (s *standalone) enrol(t testing.TB) {
	t.Helper()
	client, err := userapi.New(userapi.Config{Server: s.url, Token: operatorToken, HTTPClient: s.world.http})
	if err != nil {
		t.Fatal(err)
	}
	invitation, err := client.AddSite(t.Context(), userapi.AddSite{Name: "observatory"})
	if err != nil {
		t.Fatalf("add the site: %v", err)
	}
	_, program := programs(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, "enroll", "--server", s.url, "--token-file", "-", "--dir", s.agentDir(), "--slots", fmt.Sprint(slots))
	cmd.Stdin = strings.NewReader(invitation.Token + "\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("enroll: %v\n%s", err, out)
	}
	if err := policy.Write(filepath.Join(s.agentDir(), "policy.toml"), allowAll()); err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(s.agentDir(), "agent.toml")
	text, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	line := fmt.Sprintf("slots = %d\n", slots)
	if !strings.Contains(string(text), line) {
		t.Fatalf("agent.toml has no line %q:\n%s", line, text)
	}
	write(t, config, strings.Replace(string(text), line, line+fmt.Sprintf("cores = %d\n", slots), 1))
}

func (s *standalone) startAgent(t testing.TB, failpoint string) {
	t.Helper()
	_, program := programs(t)
	s.agent = launch(t, failpoint, program, "run", "--config", filepath.Join(s.agentDir(), "agent.toml"), "--log-level", "debug")
	s.earlier = append(s.earlier, s.agent)
}
