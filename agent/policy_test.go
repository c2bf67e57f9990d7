package agent

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"consort/agent/agenttest"
	"consort/shared/siteapi"
)

// TestPolicyFileLogsOncePerChange: also what is wrong in another way, and that it is mended.
func TestPolicyFileLogsOncePerChange(t *testing.T) {
	path := filepath.Join(t.TempDir(), "policy.toml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := openPolicy(path, slog.New(slog.DiscardHandler)); err == nil {
		t.Error("a site without a policy started")
	}
	write(agenttest.AllowCode)
	var log bytes.Buffer
	p, err := openPolicy(path, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	expect := func(want readiness, level, text string) {
		t.Helper()
		for range 3 {
			if got := p.readiness(); !got.equal(want) {
				t.Errorf("got %+v, want %+v", got, want)
			}
		}
		lines := strings.Split(strings.TrimSpace(log.String()), "\n")
		if len(lines) != 1 || !strings.Contains(lines[0], level) || !strings.Contains(lines[0], text) {
			t.Errorf("logged %q, want one line with %q and %q", lines, level, text)
		}
		log.Reset()
	}
	broken := readiness{accepts: []siteapi.Accept{}, drain: true}
	any := readiness{accepts: []siteapi.Accept{{Definition: "code", Versions: []string{siteapi.AnyVersion}}}}
	expect(any, "", "")
	write("format = ")
	expect(broken, "level=ERROR", "policy.toml:1")
	write("format = 1\nformats = 2\n")
	expect(broken, "level=ERROR", "policy.toml:2")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	expect(broken, "level=ERROR", "no such file")
	write(agenttest.AllowCode)
	expect(any, "level=INFO", "read again")
	digests := []string{strings.Repeat("b", 64), strings.Repeat("a", 64)}
	write("format = 1\n[[allow]]\ndefinition = \"code\"\ndigest = [\"" + strings.Join(digests, "\", \"") + "\"]\n")
	expect(readiness{accepts: []siteapi.Accept{{Definition: "code", Digests: digests}}}, "level=INFO", "read again")
}

func TestPolicyMustBeReadableAtTheStart(t *testing.T) {
	w := newWorld(t)
	if err := os.WriteFile(w.cfg.Policy, []byte("format = 1\nx = 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Run(t.Context(), w.cfg); err == nil || !strings.Contains(err.Error(), "policy.toml:2") {
		t.Errorf("got %v", err)
	}
}
