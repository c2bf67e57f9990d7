package provenance

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"consort/coordinator/auth"
	"consort/coordinator/state"
)

// Diff compares two jobs.
type Diff struct {
	A, B  string // ids of the jobs
	Same  bool   // no line differs
	Lines []Line
}

// The sections of a Diff.
const (
	SectionDefinition = "definition" // name, version, digest
	SectionParameter  = "parameter"
	SectionInput      = "input"  // by SHA-256
	SectionOutput     = "output" // by SHA-256
	SectionRun        = "run"    // phase, exit code, site, image, software
)

var sections = []string{SectionDefinition, SectionParameter, SectionInput, SectionOutput, SectionRun}

// Line is one fact of two jobs. A side that lacks it is empty. Secrets are never told.
type Line struct {
	Section, Name string
	A, B          []string
	Same          bool
}

// Diff compares two jobs that p may read.
func (s *Service) Diff(ctx context.Context, p auth.Principal, a, b string) (*Diff, error) {
	d := new(Diff)
	var sides [2]side
	err := s.view(ctx, func(v *state.View) error {
		for i, id := range []string{a, b} {
			t, err := s.jobTarget(v, p, "job", id)
			if err != nil {
				return err
			}
			f, err := s.facts(v, t.name)
			if err != nil {
				return err
			}
			if sides[i], err = f.side(v); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	d.A, d.B, d.Same = sides[0].job, sides[1].job, true
	for _, section := range sections {
		is, was := sides[0].facts[section], sides[1].facts[section]
		names := slices.Concat(slices.Collect(maps.Keys(is)), slices.Collect(maps.Keys(was)))
		slices.Sort(names)
		for _, name := range slices.Compact(names) {
			line := Line{Section: section, Name: name, A: is[name], B: was[name], Same: slices.Equal(is[name], was[name])}
			d.Lines = append(d.Lines, line)
			d.Same = d.Same && line.Same
		}
	}
	return d, nil
}

// side is one job of a Diff: values by section and name.
type side struct {
	job   string
	facts map[string]map[string][]string
}

func (s *side) put(section, name string, values ...string) {
	if s.facts[section] == nil {
		s.facts[section] = map[string][]string{}
	}
	s.facts[section][name] = append(s.facts[section][name], values...)
}

// secret stands for the value of a secret parameter.
const secret = "(secret)"

// side gathers what is compared of a job.
func (f *facts) side(v *state.View) (side, error) {
	j := f.job
	s := side{j.Id, map[string]map[string][]string{}}
	s.put(SectionDefinition, "name", j.Job.Definition)
	s.put(SectionDefinition, "version", j.DefinitionVersion)
	s.put(SectionDefinition, "digest", j.Digest)
	for value := range j.Values.All() {
		if value.Secret {
			s.put(SectionParameter, value.Name, secret)
		} else {
			s.put(SectionParameter, value.Name, value.Values...)
		}
	}
	for _, name := range j.WipedSecrets() {
		s.put(SectionParameter, name, secret)
	}
	used, err := inputsOf(v, j.Job)
	if err != nil {
		return s, err
	}
	for _, in := range used {
		s.put(SectionInput, in.role, in.info.SHA256)
	}
	if j.Results != nil {
		for _, o := range j.Results.Outputs {
			s.put(SectionOutput, o.Id, o.Sha256)
		}
	}
	f.run(&s)
	return s, nil
}

// run tells how the job ended, and of its last attempt where and with what.
func (f *facts) run(s *side) {
	s.put(SectionRun, "phase", f.job.Phase)
	if len(f.attempts) == 0 {
		return
	}
	a := f.attempts[len(f.attempts)-1]
	s.put(SectionRun, "site", a.Site)
	told := a.GetFacts()
	if told != nil && told.ExitCode != nil {
		s.put(SectionRun, "exit code", strconv.Itoa(int(*told.ExitCode)))
	}
	if told.GetImage() != "" {
		s.put(SectionRun, "image", told.GetImage())
	}
	for _, software := range told.GetSoftware() {
		s.put(SectionRun, fmt.Sprintf("software %s", software.Name), software.Version)
	}
}
