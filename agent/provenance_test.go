package agent

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"slices"
	"strings"
	"testing"

	"consort/agent/agenttest"
	"consort/shared/siteapi"
)

// TestOwnProvenance: what a code tells of itself is stored whether it succeeds or not; what is no file of its own is
// not followed and what is too long not sent: an empty file tells of both.
func TestOwnProvenance(t *testing.T) {
	const whole = `{"activity":{"current_job":{}}}`
	w := newWorld(t)
	w.start()
	for _, c := range []struct {
		name, script, phase string
		stored              bool
		content             string
		full                int64
	}{
		{"written", "echo hello >answer.txt; printf '" + whole + "' >internal_provenance.json", "COMPLETED", true, whole, int64(len(whole))},
		{"failed", "printf '" + whole + "' >internal_provenance.json; exit 2", "ERROR", true, whole, int64(len(whole))},
		{"none", "echo hello >answer.txt", "COMPLETED", false, "", 0},
		{"link", "echo hello >answer.txt; ln -s answer.txt internal_provenance.json", "COMPLETED", true, "", 0},
		{"directory", "echo hello >answer.txt; mkdir internal_provenance.json", "COMPLETED", true, "", 0},
		{"pipe", "echo hello >answer.txt; mkfifo internal_provenance.json", "COMPLETED", true, "", 0},
		{"too long", "echo hello >answer.txt; truncate -s 8388609 internal_provenance.json", "COMPLETED", true, "", siteapi.MaxProvenance + 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			ref := w.c.Queue(w.c.Lease(agenttest.Code(c.script)))
			j := w.c.WaitPhase(ref, c.phase)
			content, stored := j.Logs[siteapi.LogProvenance]
			if stored != c.stored || string(content) != c.content {
				t.Errorf("stored: %v %.100q", stored, content)
			}
			told := false
			for _, l := range j.Facts.Logs {
				if l.Name == siteapi.LogProvenance {
					told = true
					if l.FullSize != c.full || l.Size != int64(len(c.content)) {
						t.Errorf("the fact is %+v", l)
					}
				}
			}
			if told != c.stored || !strings.HasPrefix(j.Facts.Logs[0].Name, "std") {
				t.Errorf("the logs are %+v", j.Facts.Logs)
			}
			w.c.WaitForgotten(ref)
		})
	}
}

// TestSoftware: the site tells which versions it has of what a code needs; what its policy does not know tells itself.
func TestSoftware(t *testing.T) {
	w := newWorld(t)
	site := agenttest.AllowCode + `[software.astropy]
version = "6.0.1"
[software.other]
version = "1"
[software.tool]
environment = { TOOL_VERSION = "2.3.1" }
`
	if err := os.WriteFile(w.cfg.Policy, []byte(site), 0o600); err != nil {
		t.Fatal(err)
	}
	w.start()
	const needs = `software = [
  { name = "astropy", report = ["sh", "-c", "touch ../astropy; echo 7.0"] },
  { name = "numpy" },
  { name = "tool", report = ["sh", "-c", "echo Tool $TOOL_VERSION, of $CONSORT_JOB"] },
  { name = "broken", report = ["sh", "-c", "echo 1.0; exit 1"] },
  { name = "missing", report = ["no-such-program", "--version"] },
]
files =`
	want := []siteapi.Software{
		{Name: "astropy", Version: "6.0.1"}, {Name: "tool", Version: "2.3.1"}, {Name: "broken", Version: "unknown"}, {Name: "missing", Version: "unknown"},
	}
	for script, phase := range map[string]string{agenttest.Hello + "\n[ ! -e ../astropy ]": "COMPLETED", "exit 2": "ERROR"} {
		code := agenttest.Code(script)
		code["definition.toml"] = strings.Replace(code["definition.toml"], "files =", needs, 1)
		ref := w.c.Queue(w.c.Lease(code))
		j := w.c.WaitPhase(ref, phase)
		if got := j.Facts.Software; !slices.Equal(got, want) || !slices.Equal(j.Fragment.Facts.Software, want) {
			t.Errorf("%s: the facts tell of %+v, signed is %+v", phase, got, j.Fragment.Facts.Software)
		}
		w.c.WaitForgotten(ref)
	}
}

// TestConfigurationIsTold: which configuration files were made, with their hashes, by the facts and signed.
func TestConfigurationIsTold(t *testing.T) {
	w := newWorld(t)
	w.start()
	code := agenttest.Code("cat a.conf b.conf >answer.txt")
	code["a.in"] = "size = {param.size}\n"
	code["definition.toml"] = strings.Replace(code["definition.toml"], `files = ["run.sh"]`,
		`files = ["run.sh", "a.in"]
config = [{ file = "a.conf", template = "a.in" }, { file = "b.conf", template = "a.in" }]`, 1) + `[[parameter]]
name = "size"
type = "int"
default = 3
`
	ref := w.c.Queue(w.c.Lease(code))
	j := w.c.WaitPhase(ref, "COMPLETED")
	if got := string(w.c.Output(ref, "answer.txt")); got != "size = 3\nsize = 3\n" {
		t.Errorf("the code read %q", got)
	}
	sum := sha256.Sum256([]byte("size = 3\n"))
	want := []siteapi.Config{
		{Name: "a.conf", SHA256: hex.EncodeToString(sum[:]), Size: 9},
		{Name: "b.conf", SHA256: hex.EncodeToString(sum[:]), Size: 9},
	}
	if !slices.Equal(j.Facts.Configs, want) || !slices.Equal(j.Fragment.Facts.Configs, want) {
		t.Errorf("told is %+v, signed %+v", j.Facts.Configs, j.Fragment.Facts.Configs)
	}
	w.c.WaitForgotten(ref)
}
