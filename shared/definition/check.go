package definition

import (
	"fmt"
	"iter"
	"regexp"
	"slices"
	"strings"

	"consort/shared/config"
	"consort/shared/ids"
)

// Problem is one thing wrong with what a user gave.
type Problem struct {
	Name  string `json:"name"`            // parameter, input or resource field
	Value string `json:"value,omitempty"` // as given, shortened; empty for a secret
	Why   string `json:"why"`
	// Missing tells that a required parameter or input was not given, which is a wrong only when the job is to run.
	Missing bool `json:"missing,omitempty"`
}

// Error returns the problem in one line.
func (p Problem) Error() string {
	if p.Value == "" {
		return p.Name + ": " + p.Why
	}
	return fmt.Sprintf("%s: %q: %s", p.Name, p.Value, p.Why)
}

// Value is the effective value of one parameter, or its values.
type Value struct {
	Name    string   `json:"name"`
	Values  []string `json:"values"`  // canonical
	Default bool     `json:"default"` // from the definition, not from the user
	Secret  bool     `json:"secret,omitempty"`
}

// Values holds the effective values of a job in the order of the definition. Parameters that are unset
// are not among them.
type Values struct{ list []Value }

// All iterates over the effective values.
func (v Values) All() iter.Seq[Value] { return slices.Values(v.list) }

// Get returns the values of a parameter by its exact name, and whether it is set.
func (v Values) Get(name string) ([]string, bool) {
	for _, e := range v.list {
		if e.Name == name {
			return e.Values, true
		}
	}
	return nil, false
}

// Map returns all effective values by name, as Check takes them.
func (v Values) Map() map[string][]string {
	m := make(map[string][]string, len(v.list))
	for _, e := range v.list {
		m[e.Name] = slices.Clone(e.Values)
	}
	return m
}

// standardFields are fields of DALI and of services built on it that a client may send to any service.
// Where a definition does not declare them they are ignored.
var standardFields = []string{"VERSION", "LANG", "FORMAT", "MAXREC", "QUERY_TIMEOUT"}

// Check compares given parameters with the definition and returns the effective values, defaults
// included. Names match in any case. Fields that name inputs, resources or standard fields of UWS and
// DALI are left alone. An empty value of a parameter that is no free text counts as not given, as web
// forms send it. A required parameter that is missing is a problem only with requireAll.
func (d *Definition) Check(given map[string][]string, requireAll bool) (Values, []Problem) {
	byName, problems := d.sortFields(given)
	var values Values
	for i := range d.Parameters {
		p := &d.Parameters[i]
		v, found := p.effective(byName[p.Name])
		problems = append(problems, found...)
		if v != nil {
			values.list = append(values.list, *v)
		} else if p.Required && requireAll && len(found) == 0 {
			problems = append(problems, Problem{Name: p.Name, Why: "must be given", Missing: true})
		}
	}
	return values, append(problems, d.dashes(values)...)
}

// sortFields gathers the given fields under the canonical names of parameters.
func (d *Definition) sortFields(given map[string][]string) (map[string][]string, []Problem) {
	byName := map[string][]string{}
	var problems []Problem
	for _, name := range sortedKeys(given) {
		if p := d.Parameter(name); p != nil {
			byName[p.Name] = append(byName[p.Name], given[name]...)
			continue
		}
		if d.Input(name) != nil || reservedField(name) || slices.Contains(standardFields, strings.ToUpper(name)) {
			continue
		}
		problems = append(problems, Problem{Name: clip(name), Why: "unknown parameter; there are: " + joined(append(parameterNames(d), inputNames(d)...))})
	}
	return byName, problems
}

// effective returns the checked given values, else the default, else nil.
func (p *Parameter) effective(given []string) (*Value, []Problem) {
	given = slices.DeleteFunc(slices.Clone(given), func(s string) bool { return s == "" && !p.emptyIsValue() })
	if len(given) == 0 {
		if p.Default == nil {
			return nil, nil
		}
		return &Value{Name: p.Name, Values: slices.Clone(p.Default), Default: true, Secret: p.Secret}, nil
	}
	if !p.Multiplicity.Allows(len(given)) {
		return nil, []Problem{{Name: p.Name, Why: fmt.Sprintf("is given %d times, allowed: %s", len(given), p.Multiplicity)}}
	}
	v := Value{Name: p.Name, Secret: p.Secret}
	var problems []Problem
	for _, s := range given {
		value, err := p.check(s)
		if err != nil {
			problems = append(problems, p.problem(s, err.Error()))
		}
		v.Values = append(v.Values, value)
	}
	if len(problems) > 0 {
		return nil, problems
	}
	return &v, nil
}

// emptyIsValue tells whether "" is a value of the parameter rather than a field left blank.
func (p *Parameter) emptyIsValue() bool {
	if p.Type != String {
		return false
	}
	_, err := p.check("")
	return err == nil
}

func (p *Parameter) problem(value, why string) Problem {
	if p.Secret {
		value = ""
	}
	return Problem{Name: p.Name, Value: clip(value), Why: why}
}

// dashes finds text that would be taken for an option of the program, and names of output files that
// would leave the working directory, at submission instead of at the site.
func (d *Definition) dashes(values Values) []Problem {
	var problems []Problem
	for _, e := range d.Run.Command {
		for _, s := range e.List {
			parts, err := parseParts(s)
			if err != nil || len(parts) == 0 || parts[0].kind != paramRef {
				continue
			}
			p := d.Parameter(parts[0].text)
			list, _ := values.Get(p.Name)
			if i := slices.IndexFunc(list, func(v string) bool { return p.Type.Textual() && strings.HasPrefix(v, "-") }); i >= 0 {
				problems = append(problems, p.problem(list[i], `must not begin with "-", as the program would take it for an option`))
			}
		}
	}
	for _, o := range d.Outputs {
		list, _ := values.Get(o.NameFrom)
		if len(list) == 1 && (badPath(list[0]) != "" || isGlob(list[0])) {
			problems = append(problems, d.Parameter(o.NameFrom).problem(list[0], "must be a plain relative file name"))
		}
	}
	return problems
}

// Reference is one file that a user gave for an input.
type Reference struct {
	Kind Source `json:"kind"`
	Ref  string `json:"ref"`            // URL, id, or "consort:<job>/<result>"; free for an upload
	Size int64  `json:"size,omitempty"` // bytes of an upload; 0 unknown
}

// ResultScheme begins a reference to a result of an earlier job.
const ResultScheme = "consort:"

var resultPattern = regexp.MustCompile(`^` + ResultScheme + `([a-z0-9]+)/([A-Za-z][A-Za-z0-9_]{0,63})(?:/(.+))?$`)

// ParseReference reads the text a user gave for an input: "consort:<job>/<result>", an http, https or
// ftp URL, or else an id.
func ParseReference(s string) Reference {
	lower := strings.ToLower(s)
	switch {
	case strings.HasPrefix(s, ResultScheme):
		return Reference{Kind: FromJob, Ref: s}
	case strings.HasPrefix(lower, "https://"), strings.HasPrefix(lower, "http://"), strings.HasPrefix(lower, "ftp://"):
		return Reference{Kind: FromURL, Ref: s}
	}
	return Reference{Kind: FromID, Ref: s}
}

// JobResult returns the parts of a reference "consort:<job>/<result>" or, for a member of a collection,
// "consort:<job>/<result>/<path>".
func (r Reference) JobResult() (job, result, member string, ok bool) {
	m := resultPattern.FindStringSubmatch(r.Ref)
	if r.Kind != FromJob || m == nil || !ids.ValidJob(m[1]) || m[3] != "" && badPath(m[3]) != "" {
		return "", "", "", false
	}
	return m[1], m[2], m[3], true
}

// InputValue is what stands for one input of a job.
type InputValue struct {
	Name       string      `json:"name"`
	References []Reference `json:"references"`
	Default    bool        `json:"default,omitempty"`
}

// CheckInputs compares given files with the definition and returns the effective inputs, defaults
// included, in the definition's order. Names match in any case; names that are no inputs are problems.
// A required input that is missing is a problem only with requireAll.
func (d *Definition) CheckInputs(given map[string][]Reference, requireAll bool) ([]InputValue, []Problem) {
	byName := map[string][]Reference{}
	var problems []Problem
	for _, name := range sortedKeys(given) {
		in := d.Input(name)
		if in == nil {
			problems = append(problems, Problem{Name: clip(name), Why: "unknown input; there are: " + joined(inputNames(d))})
			continue
		}
		byName[in.Name] = append(byName[in.Name], given[name]...)
	}
	var inputs []InputValue
	for i := range d.Inputs {
		in := &d.Inputs[i]
		v, found := in.effective(byName[in.Name])
		problems = append(problems, found...)
		if v != nil {
			inputs = append(inputs, *v)
		} else if in.Required && requireAll && len(found) == 0 {
			problems = append(problems, Problem{Name: in.Name, Why: "must be given", Missing: true})
		}
	}
	return inputs, problems
}

func (in *Input) effective(given []Reference) (*InputValue, []Problem) {
	if len(given) == 0 {
		if in.Default == "" {
			return nil, nil
		}
		return &InputValue{Name: in.Name, References: []Reference{ParseReference(in.Default)}, Default: true}, nil
	}
	if !in.Multiplicity.Allows(len(given)) {
		return nil, []Problem{{Name: in.Name, Why: fmt.Sprintf("is given %d times, allowed: %s", len(given), in.Multiplicity)}}
	}
	var problems []Problem
	for _, r := range given {
		if why := in.allowed(r); why != "" {
			problems = append(problems, Problem{Name: in.Name, Value: clip(r.Ref), Why: why})
		}
	}
	if len(problems) > 0 {
		return nil, problems
	}
	return &InputValue{Name: in.Name, References: slices.Clone(given)}, nil
}

// allowed says why a file may not stand for the input, or "".
func (in *Input) allowed(r Reference) string {
	switch {
	case slices.Contains(in.From, r.Kind):
	case r.Kind == FromID && slices.Contains(in.From, FromUpload):
		return fmt.Sprintf("is neither a file nor a reference; allowed: %s; to send a file, write %s=@FILE with consort or curl", strings.Join(texts(in.From), ", "), in.Name)
	default:
		return fmt.Sprintf("may not come from %s; allowed: %s", r.Kind, strings.Join(texts(in.From), ", "))
	}
	if in.MaxSize > 0 && r.Size > int64(in.MaxSize) {
		return fmt.Sprintf("has %d bytes, allowed are %s", r.Size, in.MaxSize)
	}
	switch r.Kind {
	case FromJob:
		if _, _, _, ok := r.JobResult(); !ok {
			return "must be consort:<job>/<result>"
		}
	case FromURL:
		if err := checkText(URI, r.Ref); err != nil {
			return err.Error()
		}
	case FromID:
		if err := checkText(String, r.Ref); err != nil || r.Ref == "" || len(r.Ref) > int(4*config.KiB) {
			return "must be an identifier of at most 4096 bytes"
		}
	}
	return ""
}
