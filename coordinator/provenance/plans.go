package provenance

import (
	"errors"
	"fmt"
	"strings"

	"consort/coordinator/definitions"
	"consort/coordinator/state"
	"consort/shared/prov"
)

// plans adds to the given definitions those that tell of a node: of a definition itself, of a person all that name them.
func (s *Service) plans(v *state.View, n node, to []*prov.DefinitionRecord) ([]*prov.DefinitionRecord, error) {
	if n.kind == definitionNode {
		name, version := definitionOf(n.name)
		d, err := s.plan(name, version)
		if err != nil || d == nil {
			return to, err
		}
		return append(to, d), nil
	}
	if !person(n) {
		return to, nil
	}
	all, err := v.Definitions()
	if err != nil {
		return nil, err
	}
	for _, newest := range all {
		versions, err := v.DefinitionVersions(newest.Name)
		if err != nil {
			return nil, err
		}
		for _, one := range versions {
			d, err := s.plan(one.Name, one.Version)
			if err != nil {
				return nil, err
			}
			if d != nil && names(d, n) {
				to = append(to, d)
			}
		}
	}
	return to, nil
}

// person tells whether a node is a person who is no user.
func person(n node) bool {
	what, _, _ := strings.Cut(n.name, ".")
	return n.kind == agentNode && (what == "person" || what == "orcid")
}

func names(d *prov.DefinitionRecord, n node) bool {
	for _, p := range d.People {
		if prov.PersonID(p.Name, p.ORCID) == n.qname() {
			return true
		}
	}
	return false
}

// plan describes a version of a definition as the records of its jobs do; nil when there is none. An alias names none.
func (s *Service) plan(name, version string) (*prov.DefinitionRecord, error) {
	entry, err := s.cfg.Definitions.Get(name + "@" + version)
	if errors.Is(err, definitions.ErrNotFound) || err == nil && entry.Record.Name != name {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read definition %s@%s: %w", name, version, err)
	}
	var r prov.JobRecord
	describeDefinition(&r.Definition, entry.Definition, entry.Record.Digest)
	describeConfigs(&r, entry.Record)
	return &r.Definition, nil
}
