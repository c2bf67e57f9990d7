package agent

import (
	"crypto/ed25519"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"consort/agent/agenttest"
	"consort/agent/policy"
)

func TestEnrolWritesWhatRunReads(t *testing.T) {
	c := agenttest.New(t)
	dir := filepath.Join(t.TempDir(), "new", "site")
	cfg := EnrolConfig{Server: c.URL + "/", Token: agenttest.Token, Dir: dir, Site: agenttest.Site, Batch: Batch{Slots: 3, MemoryBytes: 1 << 30}}
	done, err := Enrol(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(done.Fingerprint, "SHA256:") || len(done.HostKeys) != 1 || done.Site != agenttest.Site || done.Cluster != agenttest.Cluster {
		t.Errorf("got %+v", done)
	}
	got, err := LoadConfig(done.ConfigFile)
	if err != nil {
		t.Fatal(err)
	}
	if got.Servers[0] != c.URL || got.State != filepath.Join(dir, "state") || got.Batch.Slots != 3 || got.Batch.MemoryBytes != 1<<30 || got.SFTP[0] != c.SFTP {
		t.Errorf("the configuration is %+v", got)
	}
	for _, name := range []string{"agent.toml", "agent.key", "policy.toml"} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
	if p, err := policy.Load(done.PolicyFile); err != nil || len(p.Allow) != 0 {
		t.Errorf("the first policy is %+v, %v", p, err)
	}
	if _, err := Enrol(t.Context(), cfg); !errors.Is(err, ErrEnrolled) {
		t.Errorf("a second enrolment: %v", err)
	}
}

// TestEnrolAgain: a token that failed costs nothing; key and policy stay.
func TestEnrolAgain(t *testing.T) {
	c := agenttest.New(t)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "policy.toml"), []byte(agenttest.AllowCode), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Enrol(t.Context(), EnrolConfig{Server: c.URL, Token: "wrong", Dir: dir}); err == nil || !strings.Contains(err.Error(), "token") {
		t.Fatalf("a wrong token: %v", err)
	}
	before, err := loadKey(filepath.Join(dir, "agent.key"))
	if err != nil {
		t.Fatal(err)
	}
	done, err := Enrol(t.Context(), EnrolConfig{Server: c.URL, Token: agenttest.Token, Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	after, err := loadKey(filepath.Join(dir, "agent.key"))
	if err != nil || !before.Equal(after) {
		t.Errorf("the key changed: %v", err)
	}
	if text, _ := os.ReadFile(done.PolicyFile); string(text) != agenttest.AllowCode {
		t.Error("the policy was overwritten")
	}
}

func TestLoadConfigErrors(t *testing.T) {
	const good = `servers = ["http://127.0.0.1:1"]
site = "meudon"
cluster = "c1"
[[sftp]]
address = "127.0.0.1:2"
host_key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFZ5hW5VqvFZ7E7tnJmkzVJ4H6d9h0m5g1x2y3z4a5b6"
`
	for _, c := range []struct{ name, old, new, want string }{
		{"unknown key", "cluster", "clusterr = 1\ncluster", "agent.toml:3: clusterr"},
		{"no server", `servers = ["http://127.0.0.1:1"]`, "servers = []", "servers"},
		{"bad site", `"meudon"`, `"Meudon/x"`, "site"},
		{"no cluster", `"c1"`, `""`, "cluster"},
		{"no pin", "ssh-ed25519", "nonsense", "sftp[0]"},
		{"batch system", "[[sftp]]", "[batch]\nsystem = \"slurmm\"\n[[sftp]]", "batch.system"},
		{"negative", "[[sftp]]", "[batch]\nslots = -1\n[[sftp]]", "batch"},
	} {
		path := filepath.Join(t.TempDir(), "agent.toml")
		if err := os.WriteFile(path, []byte(strings.Replace(good, c.old, c.new, 1)), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := LoadConfig(path); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}

func TestLoadKey(t *testing.T) {
	path := filepath.Join(t.TempDir(), "agent.key")
	key, err := makeKey(path)
	if err != nil || len(key) != ed25519.PrivateKeySize {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := loadKey(path); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("a key that others can read: %v", err)
	}
	if err := os.WriteFile(path, []byte("no key"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := loadKey(path); err == nil {
		t.Error("a file that is no key was accepted")
	}
}
