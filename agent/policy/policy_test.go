package policy

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"consort/shared/config"
	"consort/shared/siteapi"
)

var (
	digestA = strings.Repeat("a", 64)
	digestB = strings.Repeat("b", 64)
)

const example = `
format = 1
environment = { PATH = "/site/bin:/usr/bin:/bin", OMP_PROC_BIND = "true" }

[software.source-extractor]
path = ["/opt/sextractor/bin"]
environment = { SEX_HOME = "/opt/sextractor" }

[[allow]]
definition = "probe"
digest = ["` + "DIGEST" + `"]
owners = ["alice", "bob"]
max_cores = 4
max_memory = "2 GiB"
max_duration = "1h"
max_output = "10 GiB"

[[allow]]
definition = "probe"
version = ["1.0", "1.1"]
owners = ["carol"]

[[allow]]
definition = "fold"
version = ["*"]
`

func load(t *testing.T, text string) (*Policy, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "policy.toml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return Load(path)
}

func loadExample(t *testing.T) *Policy {
	t.Helper()
	p, err := load(t, strings.ReplaceAll(example, "DIGEST", digestA))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestAllows(t *testing.T) {
	p := loadExample(t)
	good := Request{Definition: "probe", Version: "1.2", Digest: digestA, Owner: "alice", Cores: 4, MemoryBytes: 2 << 30, Duration: time.Hour}
	for name, c := range map[string]struct {
		change func(*Request)
		rule   int
		clause string // empty: allowed
	}{
		"as it is":          {func(*Request) {}, 0, ""},
		"other owner":       {func(r *Request) { r.Owner = "bob" }, 0, ""},
		"by version":        {func(r *Request) { r.Digest, r.Version, r.Owner = digestB, "1.0", "carol" }, 0, ""},
		"no limits there":   {func(r *Request) { r.Version, r.Owner, r.Cores, r.Duration = "1.1", "carol", 999, 0 }, 0, ""},
		"any version":       {func(r *Request) { r.Definition, r.Version, r.Digest = "fold", "99", digestB }, 0, ""},
		"unknown code":      {func(r *Request) { r.Definition = "shell" }, 0, "definition"},
		"no code":           {func(r *Request) { r.Definition = "" }, 0, "definition"},
		"changed code":      {func(r *Request) { r.Digest = digestB }, 1, "digest"},
		"no digest":         {func(r *Request) { r.Digest = "" }, 1, "digest"},
		"upper case":        {func(r *Request) { r.Digest = strings.ToUpper(digestA) }, 1, "digest"},
		"stranger":          {func(r *Request) { r.Owner = "mallory" }, 1, "owners"},
		"nobody":            {func(r *Request) { r.Owner = "" }, 1, "owners"},
		"cores":             {func(r *Request) { r.Cores = 5 }, 1, "max_cores"},
		"memory":            {func(r *Request) { r.MemoryBytes++ }, 1, "max_memory"},
		"duration":          {func(r *Request) { r.Duration++ }, 1, "max_duration"},
		"unlimited":         {func(r *Request) { r.Duration = 0 }, 1, "max_duration"},
		"near the other":    {func(r *Request) { r.Digest, r.Version, r.Owner = digestB, "1.1", "mallory" }, 2, "owners"},
		"version like that": {func(r *Request) { r.Digest, r.Version, r.Owner = digestB, "1.0.0", "carol" }, 1, "digest"},
	} {
		t.Run(name, func(t *testing.T) {
			r := good
			c.change(&r)
			err := p.Allows(r)
			if c.clause == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			var refusal *Refusal
			if !errors.As(err, &refusal) || !errors.Is(err, ErrRefused) {
				t.Fatalf("got %v", err)
			}
			if refusal.Clause != c.clause || refusal.Rule != c.rule || refusal.Why == "" {
				t.Errorf("rule %d, %s: %v", refusal.Rule, refusal.Clause, err)
			}
		})
	}
}

func TestMatch(t *testing.T) {
	p := loadExample(t)
	n, err := p.Match(Request{Definition: "probe", Digest: digestA, Owner: "alice", Duration: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	if most := p.Allow[n-1].MaxOutput; most != 10*config.GiB {
		t.Errorf("max_output is %v", most)
	}
	if err := TooLarge(n, 306, 100); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), fmt.Sprintf("rule %d, max_output: the outputs have 306 bytes, at most 100", n)) {
		t.Errorf("got %v", err)
	}
}

// TestFetch: URLs are asked for beside the rules, and none is fetched unless the policy names it.
func TestFetch(t *testing.T) {
	p, err := load(t, "format = 1\n[fetch]\nurls = ['https://archive.example.org/pub/']\nmax_size = '1 GiB'\n[[allow]]\ndefinition = 'a'\nversion = ['*']\n")
	if err != nil {
		t.Fatal(err)
	}
	for text, why := range map[string]string{
		"https://archive.example.org/pub/m51.fits":               "",
		"https://archive.example.org/private/m51.fits?token=key": "https://archive.example.org/private/m51.fits?token= is not among",
		"https://me@archive.example.org/pub/m51.fits":            "user name",
	} {
		err := p.Allows(Request{Definition: "a", Version: "1", URLs: []string{text}})
		var refusal *Refusal
		switch {
		case why == "" && err != nil:
			t.Errorf("%s: %v", text, err)
		case why != "" && (!errors.As(err, &refusal) || refusal.Clause != "fetch.urls" || !strings.Contains(err.Error(), why)):
			t.Errorf("%s: %v", text, err)
		}
	}
	if p.Fetch.Most() != 1<<30 || new(Fetch).Most() != 10<<30 {
		t.Errorf("at most %d and %d", p.Fetch.Most(), new(Fetch).Most())
	}
	none := &Policy{Format: Format, Allow: p.Allow}
	if err := none.Allows(Request{Definition: "a", Version: "1", URLs: []string{"https://archive.example.org/pub/x"}}); !errors.Is(err, ErrRefused) {
		t.Errorf("a policy that names no URL says %v", err)
	}
}

func TestDenyByDefault(t *testing.T) {
	p, err := load(t, "format = 1\n")
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Allows(Request{Definition: "probe", Digest: digestA}); !errors.Is(err, ErrRefused) {
		t.Errorf("an empty policy says %v", err)
	}
	if err := new(Policy).Allows(Request{}); !errors.Is(err, ErrRefused) {
		t.Errorf("no policy says %v", err)
	}
}

func TestBadFiles(t *testing.T) {
	rule := func(lines string) string { return "format = 1\n[[allow]]\n" + lines }
	for name, c := range map[string]struct{ text, want string }{
		"empty":                 {"", "format"},
		"newer":                 {"format = 2", "format"},
		"unknown key":           {"format = 1\ndeny = true", "deny"},
		"unknown clause":        {rule("definition = 'probe'\nversion = ['1']\nmax_core = 1"), "max_core"},
		"not TOML":              {"format = ", "1"},
		"wrong type":            {rule("definition = 'probe'\nversion = '1'"), "version"},
		"no definition":         {rule("version = ['1']"), "allow[0].definition"},
		"pattern":               {rule("definition = '*'\nversion = ['*']"), "allow[0].definition"},
		"which code":            {rule("definition = 'probe'"), "allow[0].digest"},
		"which code, emptily":   {rule("definition = 'probe'\ndigest = []\nversion = []"), "allow[0].digest"},
		"digest":                {rule("definition = 'probe'\ndigest = ['abc']"), "allow[0].digest"},
		"version":               {rule("definition = 'probe'\nversion = ['1.x']"), "allow[0].version"},
		"owner":                 {rule("definition = 'probe'\nversion = ['1']\nowners = ['']"), "allow[0].owners"},
		"cores":                 {rule("definition = 'probe'\nversion = ['1']\nmax_cores = -1"), "allow[0].max_cores"},
		"memory":                {rule("definition = 'probe'\nversion = ['1']\nmax_memory = 'much'"), "max_memory"},
		"negative duration":     {rule("definition = 'probe'\nversion = ['1']\nmax_duration = '-1h'"), "max_duration"},
		"variable":              {"format = 1\nenvironment = { 'A-B' = 'c' }", "environment.A-B"},
		"variable of our own":   {"format = 1\nenvironment = { CONSORT_JOB = 'c' }", "environment.CONSORT_JOB"},
		"a host alone":          {"format = 1\nfetch.urls = ['archive.example.org']", "fetch.urls[0]"},
		"a name of a user":      {"format = 1\nfetch.urls = ['https://me@archive.example.org/']", "user name"},
		"part of a host":        {"format = 1\nfetch.urls = ['https://*.example.org/']", "fetch.urls[0]"},
		"no URLs":               {"format = 1\nfetch.urls = []", "leave it out to have nothing fetched"},
		"no bytes":              {"format = 1\nfetch.max_size = '0 B'", "leave it out for 10 GiB"},
		"too many URLs":         {"format = 1\nfetch.urls = [" + strings.Repeat("'https://a.org/',", siteapi.MaxURLPatterns+1) + "]", "fetch.urls"},
		"software path":         {"format = 1\nsoftware.a.path = ['bin']", "software.a.path"},
		"software path, colons": {"format = 1\nsoftware.a.path = ['/a:/b']", "software.a.path"},
		"software variable":     {"format = 1\nsoftware.a.environment = { '' = 'c' }", "software.a.environment"},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := load(t, c.text)
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "policy.toml") {
				t.Errorf("got %+v, %v; want an error about %s", p, err, c.want)
			}
		})
	}
	if _, err := Load(filepath.Join(t.TempDir(), "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}

// TestErrorsHaveLines checks that each problem of a file is told at its line, also those that only Validate sees.
func TestErrorsHaveLines(t *testing.T) {
	const rule = "format = 1\n\n[[allow]]\ndefinition = 'probe'\nversion = ['1']\n" // the next is line 6
	for text, want := range map[string][]string{
		"\nformat = 2":          {"policy.toml:2: format: "},
		"":                      {"policy.toml: format: "},
		rule + "max_cores = -1": {"policy.toml:6: allow[0].max_cores: "},
		rule + "digest = [\n'" + digestA + "',\n'x']":                 {"policy.toml:8: allow[0].digest[1]: "},
		rule + "owners = ['']":                                        {"policy.toml:6: allow[0].owners[0]: "},
		rule + "[[allow]]\nversion = ['1.x']":                         {"policy.toml:6: allow[1].definition: ", "policy.toml:7: allow[1].version[0]: "},
		rule + "[[allow]]\ndefinition = 'a'":                          {"policy.toml:6: allow[1].digest: "},
		"format = 1\nallow = [{ definition = '*', version = ['1'] }]": {"policy.toml:2: allow[0].definition: "},
		"format = 1\n[software.a]\npath = ['/a', 'bin']":              {"policy.toml:3: software.a.path[1]: "},
		"format = 1\n[fetch]\nurls = ['https://a.org/',\n'x']":        {"policy.toml:4: fetch.urls[1]: "},
		"format = 1\n[software.A-]":                                   {"policy.toml:2: software.A-: "},
		"format = 1\n[software.a.environment]\nCONSORT_JOB = ''":      {"policy.toml:3: software.a.environment.CONSORT_JOB: "},
		"format = 1\n[environment]\nA = 'a'\nB = \"\\u0000\"":         {"policy.toml:4: environment.B: "},
		"format = 1\n[software.a]\nversion = \"1\\n\"":                {"policy.toml:3: software.a.version: "},
		"format = 1\n[software.a]\nimage = 'sha256:12'":               {"policy.toml:3: software.a.image: "},
	} {
		_, err := Parse("policy.toml", []byte(text))
		list := config.List(err)
		if len(list) != len(want) {
			t.Errorf("%q: %v, want %d errors", text, err, len(want))
			continue
		}
		for i, e := range list {
			if !strings.HasPrefix(e.Error(), want[i]) {
				t.Errorf("%q: %v, want %s", text, e, want[i])
			}
		}
	}
}

// TestEmptyLimits checks that a clause which is written down and empty is not taken for no limit.
func TestEmptyLimits(t *testing.T) {
	for line, more := range map[string]string{
		"owners = []": "leave it out for no limit", "max_cores = 0": "leave it out for no limit", "max_memory = '0 B'": "leave it out for no limit",
		"max_duration = '0s'": "leave it out for no limit", "max_output = '0 B'": "leave it out for no limit", "digest = []": "leave it out to go by version",
	} {
		key, _, _ := strings.Cut(line, " ")
		_, err := Parse("policy.toml", []byte("format = 1\n[[allow]]\ndefinition = 'a'\nversion = ['1']\n[[allow]]\ndefinition = 'b'\nversion = ['1']\n"+line))
		if err == nil || !strings.HasPrefix(err.Error(), "policy.toml:8: allow[1]."+key+": ") || !strings.Contains(err.Error(), more) {
			t.Errorf("%s: %v", line, err)
		}
	}
}

func TestVariables(t *testing.T) {
	p := loadExample(t)
	want := map[string]string{"PATH": "/site/bin:/usr/bin:/bin", "OMP_PROC_BIND": "true"}
	if diff := cmp.Diff(want, p.Variables("unknown")); diff != "" {
		t.Error(diff)
	}
	want["PATH"] = "/opt/sextractor/bin:" + want["PATH"]
	want["SEX_HOME"] = "/opt/sextractor"
	if diff := cmp.Diff(want, p.Variables("source-extractor")); diff != "" {
		t.Error(diff)
	}
	if got := new(Policy).Variables()["PATH"]; got != DefaultPath {
		t.Errorf("PATH is %q", got)
	}
}

func TestInstalled(t *testing.T) {
	image := "sha256:" + strings.Repeat("0a", 32)
	p := &Policy{Software: map[string]Software{"astropy": {Version: "6.0.1"}, "numpy": {}, "box": {Version: "2", Image: image}, "other": {Version: "1"}}}
	versions, digest := p.Installed("astropy", "numpy", "unknown", "box")
	want := []siteapi.Software{{Name: "astropy", Version: "6.0.1"}, {Name: "box", Version: "2"}}
	if diff := cmp.Diff(want, versions); diff != "" || digest != image {
		t.Errorf("%s image %q", diff, digest)
	}
}

func TestWrite(t *testing.T) {
	path := filepath.Join(t.TempDir(), "policy.toml")
	want := loadExample(t)
	for range 2 {
		if err := Write(path, want); err != nil {
			t.Fatal(err)
		}
	}
	got, err := Load(path)
	if err != nil {
		text, _ := os.ReadFile(path)
		t.Fatalf("%v\n%s", err, text)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info.Mode(), err)
	}
	bad := &Policy{Format: Format, Allow: []Rule{{Definition: "probe"}}}
	if err := Write(path, bad); !errors.Is(err, ErrPolicy) {
		t.Errorf("wrote a bad policy: %v", err)
	}
	if again, err := Load(path); err != nil || !cmp.Equal(want, again) {
		t.Errorf("a refused write changed the file: %v", err)
	}
}

// TestRoundTrip checks that every policy that may be written is read back as it was.
func TestRoundTrip(t *testing.T) {
	text := rapid.StringMatching(`[ -~é]{1,20}`)
	rapid.Check(t, func(t *rapid.T) {
		want := &Policy{Format: Format, Environment: map[string]string{"A": text.Draw(t, "value")}}
		if rapid.Bool().Draw(t, "fetches") {
			want.Fetch = Fetch{URLs: []string{"https://*/", "http://127.0.0.1:8080/x/"}, MaxSize: config.Size(rapid.Int64Range(0, 1<<50).Draw(t, "size"))}
		}
		for range rapid.IntRange(1, 3).Draw(t, "rules") {
			want.Allow = append(want.Allow, Rule{
				Definition: rapid.StringMatching(`[a-z]{1,8}`).Draw(t, "definition"), Digests: []string{digestA, digestB}, Versions: []string{"1", AnyVersion},
				Owners: []string{text.Draw(t, "owner")}, MaxCores: rapid.IntRange(0, 99).Draw(t, "cores"),
				MaxMemory:   config.Size(rapid.Int64Range(0, 1<<50).Draw(t, "memory")),
				MaxDuration: config.Duration(rapid.Int64Range(0, 1<<60).Draw(t, "duration")),
			})
		}
		encoded, err := want.Encode()
		if err != nil {
			t.Fatal(err)
		}
		got, err := Parse("policy.toml", encoded)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatal(diff)
		}
	})
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(example))
	f.Add([]byte("format = 1\nfetch.urls = ['https://*/']\n"))
	f.Add([]byte("format = 1\n[[allow]]\ndefinition = 'probe'\nversion = ['*']\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := Parse("policy.toml", data)
		if err != nil {
			return
		}
		if err := p.Allows(Request{}); err == nil {
			t.Error("it allows a request for nothing")
		}
		text, err := p.Encode()
		if err != nil {
			t.Fatalf("a policy that was read cannot be written: %v", err)
		}
		if _, err := Parse("again", text); err != nil {
			t.Errorf("it is written as %q: %v", text, err)
		}
	})
}
