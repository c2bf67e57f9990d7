// Package policy is what a site allows: the file policy.toml, which belongs to the site's administrator.
// Nothing runs that no rule allows, and nothing that comes from outside can change the file.
//
// It judges requests. It does not watch the file (the agent loads it again when it has changed), nor
// enforce limits on what runs.
package policy

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"

	"consort/shared/atomicfile"
	"consort/shared/config"
	"consort/shared/ids"
)

// ErrRefused is what every Refusal is.
var ErrRefused = errors.New("the site's policy does not allow this")

// ErrPolicy means that a policy contradicts itself or leaves out what it must say.
var ErrPolicy = errors.New("not a valid policy")

// Format is the version of policy.toml that this package reads and writes.
const Format = 1

// AnyVersion in Rule.Versions allows every version, also those to come: the site trusts whoever may
// publish that definition.
const AnyVersion = "*"

// DefaultPath is the PATH of programs when the policy sets none.
const DefaultPath = "/usr/local/bin:/usr/bin:/bin"

// Policy is the content of policy.toml. The zero value, with Format set, allows nothing.
type Policy struct {
	Format      int                 `toml:"format"` // 1
	Environment map[string]string   `toml:"environment,omitempty" comment:"for every program"`
	Software    map[string]Software `toml:"software,omitempty" comment:"what the software names of definitions mean here"`
	Allow       []Rule              `toml:"allow" comment:"what may run; everything else may not"`
}

// Software maps an abstract software name of definitions to this site.
type Software struct {
	Path        []string          `toml:"path,omitempty"`        // absolute directories that go in front of PATH
	Environment map[string]string `toml:"environment,omitempty"` // more variables
}

// Rule allows one definition. A request must satisfy every clause of one rule.
type Rule struct {
	Definition  string          `toml:"definition"`             // its name
	Digests     []string        `toml:"digest,omitempty"`       // the digest is one of these: exactly this code, safe against whoever publishes
	Versions    []string        `toml:"version,omitempty"`      // the version is one of these, or AnyVersion
	Owners      []string        `toml:"owners,omitempty"`       // the job's owner is one of these; absent: anybody whom the cluster lets run it
	MaxCores    int             `toml:"max_cores,omitempty"`    // 0 or absent: no limit
	MaxMemory   config.Size     `toml:"max_memory,omitempty"`   // the same
	MaxDuration config.Duration `toml:"max_duration,omitempty"` // the same
	MaxOutput   config.Size     `toml:"max_output,omitempty"`   // of all outputs of an attempt; the same
}

// Request is what somebody wants to run here.
type Request struct {
	Definition  string        // name
	Version     string        // 1 to 3 numbers
	Digest      string        // SHA-256 in lower-case hexadecimal, as computed here from the files that will run
	Owner       string        // the job's owner
	Cores       int           // to be reserved
	MemoryBytes int64         // to be reserved
	Duration    time.Duration // longest run
}

// Refusal says which clause refused. It is an ErrRefused.
type Refusal struct {
	Rule   int    // the position of the rule in the file, from 1; 0 when no rule is for the definition
	Clause string // the key of the clause: definition, digest, version, owners, max_cores, max_memory, max_duration, max_output
	Why    string // for people
}

// Error tells the reader what to ask the site for.
func (r *Refusal) Error() string {
	if r.Rule == 0 {
		return fmt.Sprintf("%v: %s", ErrRefused, r.Why)
	}
	return fmt.Sprintf("%v: rule %d, %s: %s", ErrRefused, r.Rule, r.Clause, r.Why)
}

// Unwrap makes a Refusal an ErrRefused.
func (r *Refusal) Unwrap() error { return ErrRefused }

// Load reads and validates policy.toml. What is wrong in the file is a config.Errors or an ErrPolicy.
func Load(path string) (*Policy, error) {
	p := &Policy{}
	if err := config.Load(path, p); err != nil {
		return nil, err
	}
	return p.validated(path)
}

// Parse is Load for a text that has been read already; file only names it in errors.
func Parse(file string, text []byte) (*Policy, error) {
	p := &Policy{}
	if err := config.Decode(file, text, p); err != nil {
		return nil, err
	}
	return p.validated(file)
}

func (p *Policy) validated(file string) (*Policy, error) {
	if err := p.Validate(); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return p, nil
}

// Encode validates a policy and returns it as TOML, as Parse reads it.
func (p *Policy) Encode() ([]byte, error) {
	if err := p.Validate(); err != nil {
		return nil, err
	}
	var text bytes.Buffer
	text.WriteString("# What this site allows Consort to run. Nothing else runs.\n\n")
	if err := toml.NewEncoder(&text).Encode(p); err != nil {
		return nil, fmt.Errorf("encode: %w", err)
	}
	return text.Bytes(), nil
}

// Write puts a policy at path atomically, readable by its owner only.
func Write(path string, p *Policy) error {
	text, err := p.Encode()
	if err != nil {
		return fmt.Errorf("write the policy: %w", err)
	}
	if err := atomicfile.Write(path, text, 0o600); err != nil {
		return fmt.Errorf("write the policy: %w", err)
	}
	return nil
}

// Allows returns nil when some rule allows the request, else the *Refusal of the rule that came nearest.
func (p *Policy) Allows(r Request) error {
	_, err := p.Match(r)
	return err
}

// Match returns the position, from 1, of the first rule that allows the request, for the limits that the caller
// has to enforce, or a *Refusal.
func (p *Policy) Match(r Request) (int, error) {
	var nearest *Refusal
	most := -1
	for i := range p.Allow {
		rule := &p.Allow[i]
		if rule.Definition != r.Definition {
			continue
		}
		passed, clause, why := rule.judge(r)
		if clause == "" {
			return i + 1, nil
		}
		if passed > most {
			most, nearest = passed, &Refusal{Rule: i + 1, Clause: clause, Why: why}
		}
	}
	if nearest == nil {
		return 0, &Refusal{Clause: "definition", Why: fmt.Sprintf("no rule is for the definition %q", r.Definition)}
	}
	return 0, nearest
}

// TooLarge is the refusal of outputs that are larger than the rule's MaxOutput.
func TooLarge(rule int, bytes, most int64) *Refusal {
	return &Refusal{Rule: rule, Clause: "max_output", Why: fmt.Sprintf("the outputs have %d bytes, at most %d are allowed", bytes, most)}
}

// judge returns the first clause that refuses, or "", and how many clauses allowed the request before.
func (rule *Rule) judge(r Request) (passed int, clause, why string) {
	unlisted := func(value string) string { return fmt.Sprintf("%q is not among those allowed", value) }
	for _, c := range []struct {
		key         string
		absent, met bool
		why         string
	}{
		{"digest", len(rule.Digests) == 0, slices.Contains(rule.Digests, r.Digest), unlisted(r.Digest)},
		{"version", len(rule.Versions) == 0,
			slices.Contains(rule.Versions, r.Version) || slices.Contains(rule.Versions, AnyVersion), unlisted(r.Version)},
		{"owners", len(rule.Owners) == 0, slices.Contains(rule.Owners, r.Owner), unlisted(r.Owner)},
		{"max_cores", rule.MaxCores == 0, r.Cores <= rule.MaxCores,
			fmt.Sprintf("%d are wanted, at most %d are allowed", r.Cores, rule.MaxCores)},
		{"max_memory", rule.MaxMemory == 0, r.MemoryBytes <= int64(rule.MaxMemory),
			fmt.Sprintf("%v is wanted, at most %v is allowed", config.Size(r.MemoryBytes), rule.MaxMemory)},
		// No limit at all is longer than every limit.
		{"max_duration", rule.MaxDuration == 0, r.Duration > 0 && r.Duration <= rule.MaxDuration.Std(),
			fmt.Sprintf("%v is wanted, at most %v is allowed", wanted(r.Duration), rule.MaxDuration)},
	} {
		switch {
		case c.absent:
		case !c.met:
			return passed, c.key, c.why
		default:
			passed++
		}
	}
	return passed, "", ""
}

func wanted(d time.Duration) string {
	if d <= 0 {
		return "an unlimited run"
	}
	return config.Duration(d).String()
}

var variablePattern = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// Validate returns an ErrPolicy that names the key when the policy cannot be meant so. A rule that forgets
// to say which code it allows is an error and not a rule that allows any.
func (p *Policy) Validate() error {
	if p.Format != Format {
		return fmt.Errorf("%w: format: this program reads format = %d, the file has %d", ErrPolicy, Format, p.Format)
	}
	for i := range p.Allow {
		if key, problem := p.Allow[i].problem(); key != "" {
			return fmt.Errorf("%w: allow[%d].%s: %s", ErrPolicy, i, key, problem)
		}
	}
	if err := checkEnvironment("environment", p.Environment); err != nil {
		return err
	}
	for name, s := range p.Software {
		if !ids.ValidName(name) {
			return fmt.Errorf("%w: software.%s: not the name of a software", ErrPolicy, name)
		}
		for _, dir := range s.Path {
			if !filepath.IsAbs(dir) || strings.ContainsAny(dir, ":\x00") {
				return fmt.Errorf("%w: software.%s.path: %q is not an absolute path without colons", ErrPolicy, name, dir)
			}
		}
		if err := checkEnvironment("software."+name+".environment", s.Environment); err != nil {
			return err
		}
	}
	return nil
}

// problem returns the first key of the rule that is wrong, or "".
func (rule *Rule) problem() (key, problem string) {
	switch {
	case !ids.ValidName(rule.Definition):
		return "definition", fmt.Sprintf("%q is not the name of a definition", rule.Definition)
	case len(rule.Digests)+len(rule.Versions) == 0:
		return "digest", fmt.Sprintf(`the rule must say which code it allows: digest = ["…"], version = ["1.0"], or version = [%q] for any`, AnyVersion)
	case slices.Contains(rule.Owners, ""):
		return "owners", "an owner is empty"
	case rule.MaxCores < 0:
		return "max_cores", "it is negative"
	}
	for _, d := range rule.Digests {
		if !ids.ValidSHA256(d) {
			return "digest", fmt.Sprintf("%q is not a SHA-256 in 64 lower-case hexadecimal digits", d)
		}
	}
	for _, v := range rule.Versions {
		if v != AnyVersion && !ids.ValidVersion(v) {
			return "version", fmt.Sprintf("%q is neither 1 to 3 numbers, as in 1.2.0, nor %q", v, AnyVersion)
		}
	}
	return "", ""
}

func checkEnvironment(key string, env map[string]string) error {
	for name, value := range env {
		if !variablePattern.MatchString(name) || strings.HasPrefix(name, "CONSORT_") {
			return fmt.Errorf("%w: %s.%s: not the name of a variable that a policy may set", ErrPolicy, key, name)
		}
		if strings.IndexByte(value, 0) >= 0 {
			return fmt.Errorf("%w: %s.%s: the value has a NUL byte", ErrPolicy, key, name)
		}
	}
	return nil
}

// Variables returns the environment that the site gives to a program which needs the named software: the
// policy's own, then each software's, whose directories go in front of PATH. A name without an entry
// counts as installed in the ordinary PATH.
func (p *Policy) Variables(software ...string) map[string]string {
	env := map[string]string{"PATH": DefaultPath}
	maps.Copy(env, p.Environment)
	for _, name := range software {
		s := p.Software[name]
		maps.Copy(env, s.Environment)
		if len(s.Path) > 0 {
			env["PATH"] = strings.Join(append(slices.Clone(s.Path), env["PATH"]), ":")
		}
	}
	return env
}
