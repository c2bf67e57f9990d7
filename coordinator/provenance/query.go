package provenance

import (
	"context"
	"fmt"
	"time"

	"consort/coordinator/auth"
	"consort/coordinator/state"
	"consort/shared/prov"
)

// Direction says which way to follow relations.
type Direction int

// The directions: into the past, into the future, both ways.
const (
	Back Direction = iota
	Forth
	Both
)

// All as a depth follows relations to the end.
const All = -1

// Query asks for a part of the provenance of the whole federation. Jobs and files are found from the start
// nodes by the relations used and wasGeneratedBy; what describes a job comes with it.
type Query struct {
	// IDs are the nodes to start from: qualified names (job:…, ent:…, data:…, agt:…, jdl:…), their IRIs, ids
	// of jobs, local names of entities, "sha256:<hex>", "consort:<job>/<result>", or URLs of jobs.
	IDs []string
	// Depth is how many relations between jobs and files are followed; All: every one. A depth of 0 gives
	// the nodes asked for alone, without what describes them.
	Depth     int
	Direction Direction
	// Agents includes agents, FollowAgents goes on through users and sites to their other jobs.
	Agents, FollowAgents bool
	// Members includes the files of collections, Steps the attempts and transfers of jobs; Same goes on
	// through equal content.
	Members, Steps, Same bool
	// Descriptions: 0 none, 1 those of activities, 2 also those of their parts.
	Descriptions int
	// Configuration includes parameters and configuration files.
	Configuration bool
	// MaxRecords bounds the jobs of the answer; 0 and more than MaxJobs count as MaxJobs.
	MaxRecords int
	// Cursor goes on where an answer was cut.
	Cursor string
	// Since and Until bound the creation of jobs, where not zero; the start nodes count always.
	Since, Until time.Time
	// Failed includes jobs that failed or were aborted.
	Failed bool
	// Site leaves out jobs that another site ran; empty: none.
	Site string
}

// MaxJobs is the greatest number of jobs in one answer.
const MaxJobs = 1000

// DefaultQuery is what is asked when nothing but the start nodes is said.
func DefaultQuery(ids ...string) Query {
	return Query{IDs: ids, Depth: 1, Agents: true, Configuration: true, Failed: true}
}

// Answer is the graph that answers a Query.
type Answer struct {
	Graph *prov.Graph
	// Truncated tells that more follows; Next is the cursor for it.
	Truncated bool
	Next      string
	// Focus are the start nodes.
	Focus []prov.QName
}

// maxStarts bounds the start nodes of one query.
const maxStarts = 100

// Query answers q with what p may read. Other nodes on the way stand as nodes of type fed:Redacted, with an
// id that means something to p only. It fails with ErrNotFound and *InvalidError.
func (s *Service) Query(ctx context.Context, p auth.Principal, q Query) (*Answer, error) {
	if err := q.check(); err != nil {
		return nil, err
	}
	asked := question("query", q.IDs, q.Depth, q.Direction, q.FollowAgents, q.Same, q.Since, q.Until, q.Failed, q.Site)
	from, err := walkPosition(asked, q.Cursor)
	if err != nil {
		return nil, err
	}
	a := &assembly{s: s, q: q}
	if q.Members {
		a.members = maxMembers
	}
	answer := new(Answer)
	err = s.view(ctx, func(v *state.View) error {
		var starts []node
		for _, id := range q.IDs {
			t, err := s.target(v, p, id)
			if err != nil {
				return err
			}
			starts = append(starts, t.node)
			a.focus, answer.Focus = append(a.focus, t), append(answer.Focus, t.asked)
			if _, member := collectionOf(t.entity()); member {
				a.members = maxMembers // which tell of it, or of what became of it
			}
		}
		a.walk = s.newWalk(v, p, walkQuery{
			direction: q.Direction, depth: q.Depth, limit: bounded(q.MaxRecords, MaxJobs), same: q.Same, agents: q.FollowAgents,
			failed: q.Failed, since: q.Since, until: q.Until, site: q.Site, from: from,
		})
		if err := a.walk.run(starts); err != nil {
			return err
		}
		answer.Truncated, answer.Next = a.walk.more, a.walk.next(asked)
		a.first = from.skip == 0
		return a.load(v)
	})
	if err != nil {
		return nil, err
	}
	answer.Graph, err = a.graph(ctx)
	answer.Truncated = answer.Truncated || a.cut
	return answer, err
}

func (q *Query) check() error {
	switch {
	case len(q.IDs) == 0:
		return &InvalidError{Parameter: "ID", Problem: "is missing"}
	case len(q.IDs) > maxStarts:
		return &InvalidError{Parameter: "ID", Value: fmt.Sprint(len(q.IDs)), Problem: fmt.Sprintf("are too many; at most %d are allowed", maxStarts)}
	case q.Depth < All:
		return &InvalidError{Parameter: "DEPTH", Value: fmt.Sprint(q.Depth), Allowed: []string{"0", "1", "2", "…", "ALL"}}
	case q.Direction < Back || q.Direction > Both:
		return &InvalidError{Parameter: "DIRECTION", Value: fmt.Sprint(int(q.Direction)), Allowed: []string{"BACK", "FORTH", "BOTH"}}
	case q.Descriptions < 0 || q.Descriptions > 2:
		return &InvalidError{Parameter: "DESCRIPTIONS", Value: fmt.Sprint(q.Descriptions), Allowed: []string{"0", "1", "2"}}
	}
	return nil
}
