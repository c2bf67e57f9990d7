package provenance

import (
	"errors"
	"strings"

	"consort/coordinator/state"
	"consort/shared/prov"
)

// agents goes on from a job to the user and the site, where that is asked for.
func (w *walk) agents(s step, j *seenJob) error {
	if !w.q.agents || !j.shown || j.head.Deleted {
		return nil
	}
	w.enqueue(step{node{agentNode, userOf(j.head.Owner).Local}, s.direction, s.depth + 1})
	if j.head.Site != "" {
		w.enqueue(step{node{agentNode, prov.SiteID(j.head.Site).Local}, s.direction, s.depth + 1})
	}
	return nil
}

// anonymous is how the agent of jobs without an owner is called.
const anonymous = "anonymous"

func userOf(owner string) prov.QName {
	if owner == "" {
		owner = anonymous
	}
	return prov.UserID(owner)
}

// expandFound goes from an agent, a definition or software to the jobs of it that p may read.
func (w *walk) expandFound(s step) error {
	by, values, ok := discovery(s.node)
	if !ok {
		return nil
	}
	var cursor []byte
	for looked := 0; looked < maxWalk; looked += usesPage {
		found, next, err := w.v.Discover(by, values, cursor, usesPage)
		if err != nil {
			return err
		}
		for _, f := range found {
			head, err := w.s.head(w.v, w.p, f.Job)
			if errors.Is(err, ErrNotFound) {
				continue
			}
			if err != nil {
				return err
			}
			j, err := w.job(head.Id, s.depth+1, false)
			if err != nil {
				return err
			}
			if w.full {
				return nil
			}
			if j != nil {
				w.enqueue(step{node{jobNode, head.Id}, s.direction, s.depth + 1})
			}
		}
		if cursor = next; next == nil {
			return nil
		}
	}
	w.more, w.lost = true, true
	return nil
}

// discovery tells how the jobs of an agent, a definition or software are found; false for agents that no jobs are
// found by.
func discovery(n node) (by state.Discovery, values []string, ok bool) {
	switch n.kind {
	case definitionNode:
		name, version := definitionOf(n.name)
		return state.ByDefinition, []string{name + "@" + version}, true
	case softwareNode:
		name, version, ok := prov.SoftwareOf(n.name)
		return state.BySoftware, []string{name, version}, ok
	}
	what, rest, _ := strings.Cut(n.name, ".")
	switch what {
	case "user":
		name, err := unescapeLast(rest)
		if name == anonymous {
			name = ""
		}
		return state.ByOwner, []string{name}, err == nil
	case "site":
		site, _, _ := strings.Cut(rest, ".")
		name, err := unescapeLast(site)
		return state.BySite, []string{name}, err == nil
	}
	return 0, nil, false
}
