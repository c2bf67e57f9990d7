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
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/pelletier/go-toml/v2"

	"consort/shared/atomicfile"
	"consort/shared/config"
	"consort/shared/ids"
	"consort/shared/siteapi"
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
	Fetch       Fetch               `toml:"fetch,omitempty" comment:"what the agent may fetch as inputs; nothing else"`
	Allow       []Rule              `toml:"allow" comment:"what may run; everything else may not"`
}

// Software maps an abstract software name of definitions to this site.
type Software struct {
	Path        []string          `toml:"path,omitempty"`        // absolute directories that go in front of PATH
	Environment map[string]string `toml:"environment,omitempty"` // more variables
	Version     string            `toml:"version,omitempty"`     // what is installed, for provenance
	Image       string            `toml:"image,omitempty"`       // digest of the container image it runs in, for provenance
}

// Rule allows one definition. A request must satisfy every clause of one rule.
type Rule struct {
	Definition  string          `toml:"definition"`             // its name
	Digests     []string        `toml:"digest,omitempty"`       // the digest is one of these: exactly this code, safe against whoever publishes
	Versions    []string        `toml:"version,omitempty"`      // the version is one of these, or AnyVersion
	Owners      []string        `toml:"owners,omitempty"`       // the job's owner is one of these; absent: anybody whom the cluster lets run it
	MaxCores    int             `toml:"max_cores,omitempty"`    // 0: no limit, which a file says by leaving it out
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
	URLs        []string      // of inputs to be fetched
}

// Refusal says which clause refused. It is an ErrRefused.
type Refusal struct {
	Rule   int    // the position of the rule in the file, from 1; 0 when no rule is for the definition
	Clause string // the key of the clause: definition, digest, version, owners, max_cores, max_memory, max_duration, max_output, fetch.urls
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

// Load reads and validates policy.toml. What is wrong in the file is a config.Errors, with lines.
func Load(path string) (*Policy, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open the policy: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, config.MaxFile+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return Parse(path, text)
}

// Parse is Load for a text that has been read already; file only names it in errors.
func Parse(file string, text []byte) (*Policy, error) {
	p := &Policy{}
	if err := config.Decode(file, text, p); err != nil {
		return nil, err
	}
	where, err := config.Locate(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	var errs config.Errors
	for _, wrong := range append(p.problems(), p.emptyLimits(where)...) {
		line, column := where.Find(wrong.key)
		errs = append(errs, &config.Error{File: file, Line: line, Column: column, Key: wrong.key, Problem: wrong.text})
	}
	if err := errs.Err(); err != nil {
		return nil, err
	}
	return p, nil
}

// emptyLimits finds clauses that are written down and empty. In a Rule that is no limit; whoever writes
// "owners = []" or "max_cores = 0" may well mean nobody and nothing.
func (p *Policy) emptyLimits(where *config.Positions) []problem {
	found := p.Fetch.emptyLimits(where)
	for i, rule := range p.Allow {
		for _, clause := range []struct {
			key   string
			empty bool
			more  string
		}{
			{"digest", len(rule.Digests) == 0 && len(rule.Versions) > 0, "leave it out to go by version alone"},
			{"version", len(rule.Versions) == 0 && len(rule.Digests) > 0, "leave it out to go by digest alone"},
			{"owners", len(rule.Owners) == 0, "leave it out for no limit"},
			{"max_cores", rule.MaxCores == 0, "leave it out for no limit"},
			{"max_memory", rule.MaxMemory == 0, "leave it out for no limit"},
			{"max_duration", rule.MaxDuration == 0, "leave it out for no limit"},
			{"max_output", rule.MaxOutput == 0, "leave it out for no limit"},
		} {
			if key := fmt.Sprintf("allow[%d].%s", i, clause.key); clause.empty && where.Has(key) {
				found = append(found, problem{key, "it would allow nothing; " + clause.more + ", or take the rule out to allow nothing"})
			}
		}
	}
	return found
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
	for _, text := range r.URLs {
		if err := p.Fetch.allows(text); err != nil {
			return 0, err
		}
	}
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

// problem is one thing that cannot be meant so. The key is a path as in config.Error.
type problem struct{ key, text string }

// Validate returns an ErrPolicy that names the key when the policy cannot be meant so. A rule that forgets
// to say which code it allows is an error and not a rule that allows any.
func (p *Policy) Validate() error {
	if all := p.problems(); len(all) > 0 {
		return fmt.Errorf("%w: %s: %s", ErrPolicy, all[0].key, all[0].text)
	}
	return nil
}

// problems returns everything that Validate objects to.
func (p *Policy) problems() []problem {
	if p.Format != Format { // then the rest need not mean what it seems to
		return []problem{{"format", fmt.Sprintf("this program reads format = %d, the file has %d", Format, p.Format)}}
	}
	var all []problem
	for i := range p.Allow {
		for _, wrong := range p.Allow[i].problems() {
			all = append(all, problem{fmt.Sprintf("allow[%d].%s", i, wrong.key), wrong.text})
		}
	}
	all = append(all, p.Fetch.problems()...)
	all = append(all, environmentProblems("environment", p.Environment)...)
	for _, name := range slices.Sorted(maps.Keys(p.Software)) {
		key, software := "software."+name, p.Software[name]
		if !ids.ValidName(name) {
			all = append(all, problem{key, "not the name of a software"})
		}
		for i, dir := range software.Path {
			if !filepath.IsAbs(dir) || strings.ContainsAny(dir, ":\x00") {
				all = append(all, problem{fmt.Sprintf("%s.path[%d]", key, i), fmt.Sprintf("%q is not an absolute path without colons", dir)})
			}
		}
		all = append(all, environmentProblems(key+".environment", software.Environment)...)
		if !printable(software.Version) {
			all = append(all, problem{key + ".version", fmt.Sprintf("a version is at most %d printable characters", maxVersion)})
		}
		if software.Image != "" && !imageDigest.MatchString(software.Image) {
			all = append(all, problem{key + ".image", `a digest is "sha256:" and 64 hexadecimal digits in small letters`})
		}
	}
	return all
}

// maxVersion bounds the bytes of the version of a software.
const maxVersion = 100

var imageDigest = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)

func printable(s string) bool {
	return len(s) <= maxVersion && utf8.ValidString(s) && strings.IndexFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) < 0
}

// Installed returns which versions of the named software the site has, as far as the policy says, and the digest of
// the container image that one of them runs in.
func (p *Policy) Installed(software ...string) (versions []siteapi.Software, image string) {
	for _, name := range software {
		s := p.Software[name]
		if s.Version != "" {
			versions = append(versions, siteapi.Software{Name: name, Version: s.Version})
		}
		if image == "" {
			image = s.Image
		}
	}
	return versions, image
}

// problems returns what is wrong in the rule, with keys relative to it.
func (rule *Rule) problems() []problem {
	var all []problem
	if !ids.ValidName(rule.Definition) {
		all = append(all, problem{"definition", fmt.Sprintf("%q is not the name of a definition", rule.Definition)})
	}
	if len(rule.Digests)+len(rule.Versions) == 0 {
		all = append(all, problem{"digest", fmt.Sprintf(`the rule must say which code it allows: digest = ["…"], version = ["1.0"], or version = [%q] for any`, AnyVersion)})
	}
	for i, d := range rule.Digests {
		if !ids.ValidSHA256(d) {
			all = append(all, problem{fmt.Sprintf("digest[%d]", i), fmt.Sprintf("%q is not a SHA-256 in 64 lower-case hexadecimal digits", d)})
		}
	}
	for i, v := range rule.Versions {
		if v != AnyVersion && !ids.ValidVersion(v) {
			all = append(all, problem{fmt.Sprintf("version[%d]", i), fmt.Sprintf("%q is neither 1 to 3 numbers, as in 1.2.0, nor %q", v, AnyVersion)})
		}
	}
	if i := slices.Index(rule.Owners, ""); i >= 0 {
		all = append(all, problem{fmt.Sprintf("owners[%d]", i), "an owner is empty"})
	}
	if rule.MaxCores < 0 {
		all = append(all, problem{"max_cores", "it is negative"})
	}
	return all
}

func environmentProblems(key string, env map[string]string) []problem {
	var all []problem
	for _, name := range slices.Sorted(maps.Keys(env)) {
		switch {
		case !variablePattern.MatchString(name) || strings.HasPrefix(name, "CONSORT_"):
			all = append(all, problem{key + "." + name, "not the name of a variable that a policy may set"})
		case strings.IndexByte(env[name], 0) >= 0:
			all = append(all, problem{key + "." + name, "the value has a NUL byte"})
		}
	}
	return all
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
