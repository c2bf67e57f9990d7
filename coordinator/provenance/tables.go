package provenance

import (
	"context"
	"slices"

	"consort/coordinator/auth"
	"consort/coordinator/state"
	"consort/shared/prov"
)

// TableFilters are the keys of a filter of Table.
var TableFilters = []string{"job", "definition", "version", "image", "software", "parameter", "value", "site", "owner"}

// MaxTableJobs is the greatest number of jobs whose records one page of a table is made of.
const MaxTableJobs = 100

// Table answers with the graph whose rows of the named table (of prov.Tables, in either model) are wanted: the records of a page of at
// most limit ended jobs that p may read, newest first. Without a filter those are p's own. A table or a key of
// the filter that there is not is an *InvalidError.
func (s *Service) Table(ctx context.Context, p auth.Principal, name string, filter map[string]string, cursor string, limit int) (*Answer, error) {
	if err := checkTable(name, filter); err != nil {
		return nil, err
	}
	a := &assembly{s: s, q: Query{Members: true}, walk: new(walk), loaded: map[string]*facts{}, members: maxMembers}
	answer := new(Answer)
	var order []string
	load := func(v *state.View, id string) error {
		f, err := s.facts(v, id)
		if err == nil {
			a.loaded[id], order = f, append(order, id)
			answer.Focus = append(answer.Focus, prov.JobID(id))
		}
		return err
	}
	err := s.view(ctx, func(v *state.View) error {
		_, a.authority = v.Cluster()
		return nil
	})
	if err != nil {
		return nil, err
	}
	if id := filter["job"]; id != "" {
		err = s.view(ctx, func(v *state.View) error {
			t, err := s.jobTarget(v, p, "job", id)
			if err != nil {
				return err
			}
			return load(v, t.name)
		})
	} else {
		f := Filter{
			Definition: filter["definition"], Version: filter["version"], Image: filter["image"], Software: filter["software"],
			Parameter: filter["parameter"], Value: filter["value"], Site: filter["site"], Owner: filter["owner"],
		}
		if len(filter) == 0 {
			f.Owner = ownerName(p)
		}
		err = s.eachJob(ctx, p, f, cursor, bounded(limit, MaxTableJobs), &answer.Next, func(v *state.View, j *state.Job) error { return load(v, j.Id) })
	}
	if err != nil {
		return nil, err
	}
	answer.Graph, err = a.records(ctx, order)
	answer.Truncated = answer.Next != "" || a.cut
	return answer, err
}

func checkTable(name string, filter map[string]string) error {
	var tables []string
	for _, m := range []prov.Model{prov.W3C, prov.IVOA} {
		for _, t := range prov.Tables(m) {
			if !slices.Contains(tables, t.Name) {
				tables = append(tables, t.Name)
			}
		}
	}
	if !slices.Contains(tables, name) {
		return &InvalidError{Parameter: "table", Value: name, Problem: "is no table", Allowed: tables}
	}
	for key := range filter {
		if !slices.Contains(TableFilters, key) {
			return &InvalidError{Parameter: "filter", Value: key, Problem: "is no column that one can filter by", Allowed: TableFilters}
		}
	}
	return nil
}

// ownerName is how a filter names the owner of p's jobs.
func ownerName(p auth.Principal) string {
	if p.Anonymous {
		return anonymous
	}
	return p.Name
}
