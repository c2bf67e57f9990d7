package provenance

import (
	"context"
	"errors"
	"fmt"
	"unicode/utf8"

	"consort/coordinator/auth"
	"consort/coordinator/command"
	"consort/coordinator/state"
	"consort/shared/prov"
)

// MaxReason is the greatest length in bytes of the reason of a retraction.
const MaxReason = 1 << 10

// Retract marks a file as one not to be used, for the reason given, or withdraws that. The owner of the job
// that made or uploaded it may do so, and operators. Retracting what is retracted changes nothing: told then says
// since when, by whom and why. To withdraw what is not retracted is ErrNotRetracted.
func (s *Service) Retract(ctx context.Context, p auth.Principal, entity, reason string, withdraw bool) (told string, err error) {
	if len(reason) > MaxReason || !utf8.ValidString(reason) || reason == "" && !withdraw {
		return "", &InvalidError{Parameter: "reason", Value: reason, Problem: fmt.Sprintf("must be a text of 1 to %d bytes", MaxReason)}
	}
	var body *command.Retract
	err = s.view(ctx, func(v *state.View) error {
		t, err := s.fileTarget(v, p, entity)
		if err != nil {
			return err
		}
		f, err := s.file(v, p, t.name)
		if err != nil {
			return err
		}
		body = &command.Retract{Entity: t.name, Sha256: f.info.SHA256, Reason: reason, Withdraw: withdraw}
		return s.mayRetract(v, p, f)
	})
	if err != nil {
		return "", err
	}
	result, err := s.cfg.Log.Propose(ctx, &command.Command{Principal: p.Owner(), Body: &command.Command_Retract{Retract: body}})
	if err != nil {
		return "", err
	}
	switch result.Code {
	case command.Result_OK:
		return result.Message, nil
	case command.Result_NOT_FOUND:
		return "", fmt.Errorf("%w: %s", ErrNotRetracted, result.Message)
	}
	return "", &InvalidError{Parameter: "entity", Value: entity, Problem: result.Message}
}

// mayRetract asks whether p may change the job that a file came from. What URLs answered with came from nobody's.
func (s *Service) mayRetract(v *state.View, p auth.Principal, f *stated) error {
	job := f.by
	if made, _, ok := madeBy(f.local); ok {
		job = made
	}
	head, err := v.Head(job)
	if err != nil {
		return err
	}
	if !p.Operator && (head.Deleted || f.info.URL != "") {
		return fmt.Errorf("%w: operators retract what no job of yours made or uploaded", auth.ErrForbidden)
	}
	return s.cfg.Guard.Allow(p, auth.ChangeJob, head.Owner)
}

// Retractions lists what is retracted, of files that p may know of.
func (s *Service) Retractions(ctx context.Context, p auth.Principal, cursor string, limit int) (*Page[Retraction], error) {
	asked := question("retractions")
	position, err := decodeCursor(asked, cursor)
	if err != nil {
		return nil, err
	}
	page := new(Page[Retraction])
	err = s.view(ctx, func(v *state.View) error {
		for looked := 0; looked < maxLooked; {
			found, next, err := v.Retractions(position, pageSize(limit)-len(page.Items))
			if err != nil {
				return err
			}
			looked += len(found) + 1
			for _, r := range found {
				if _, err := s.file(v, p, r.Entity); errors.Is(err, ErrNotFound) || err == nil && r.WithdrawnUs != 0 {
					continue
				} else if err != nil {
					return err
				}
				page.Items = append(page.Items, retracted(r))
			}
			if position = next; next == nil || len(page.Items) == pageSize(limit) {
				break
			}
		}
		page.Next = encodeCursor(asked, position)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return page, nil
}

func retracted(r *state.Retraction) Retraction {
	return Retraction{Entity: node{fileNode, r.Entity}.qname().String(), Time: timeOf(r.TimeUs), By: r.By, Reason: r.Reason}
}

// retraction tells why a file should not be used; nil when nothing says so.
func retraction(v *state.View, local string) (*Retraction, error) {
	r, err := v.Retraction(local)
	if errors.Is(err, state.ErrNotFound) || err == nil && r.WithdrawnUs != 0 {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	found := retracted(r)
	return &found, nil
}

// Impact is what came of a file: the jobs that used it, those that used their results, and so on.
type Impact struct {
	Entity    string
	Retracted *Retraction
	// Same are other files of the same content that p may know of, up to 100; SameMore tells that there may be more.
	// What came of them is not counted here: it is asked for by their names.
	Same     []Node
	SameMore bool
	// Jobs are those that p may read, nearest first; owners are told to operators only.
	Jobs []Affected
	// JobCount and ResultCount count all of this page, HiddenJobs and HiddenResults those among them that p
	// may not read.
	JobCount, ResultCount     int
	HiddenJobs, HiddenResults int
	Truncated                 bool
	Next                      string
}

// Affected is a job that descends from a file.
type Affected struct {
	JobInfo
	Steps   int      // jobs from the file to this one, 1 for those that used it
	Results []string // qualified names
}

// Impact lists the descendants of a file, or of a job.
func (s *Service) Impact(ctx context.Context, p auth.Principal, entity, cursor string, limit int) (*Impact, error) {
	asked := question("impact", entity)
	from, err := walkPosition(asked, cursor)
	if err != nil {
		return nil, err
	}
	impact := new(Impact)
	err = s.view(ctx, func(v *state.View) error {
		t, err := s.target(v, p, entity)
		if err != nil {
			return err
		}
		impact.Entity = t.qname().String()
		if t.kind == fileNode {
			if impact.Retracted, err = retraction(v, t.name); err != nil {
				return err
			}
			if impact.Same, impact.SameMore, err = s.equals(v, p, t.name); err != nil {
				return err
			}
		}
		w := s.newWalk(v, p, walkQuery{direction: Forth, depth: All, limit: bounded(limit, MaxLineage), failed: true, from: from})
		if err := w.run([]node{t.node}); err != nil {
			return err
		}
		impact.Truncated, impact.Next = w.more, w.next(asked)
		return w.affected(v, t.node, impact)
	})
	if err != nil {
		return nil, err
	}
	return impact, nil
}

// equals lists other files with the content of a file.
func (s *Service) equals(v *state.View, p auth.Principal, local string) ([]Node, bool, error) {
	f, err := s.file(v, p, local)
	if err != nil || f.info.SHA256 == "" {
		return nil, false, err
	}
	same, more, err := s.occurrences(v, p, f.info.SHA256, local, maxSame)
	if err != nil {
		return nil, false, err
	}
	nodes := make([]Node, len(same))
	for i, o := range same {
		if o.info.Retracted, err = retraction(v, o.local); err != nil {
			return nil, false, err
		}
		nodes[i] = Node{ID: node{fileNode, o.local}.qname().String(), Kind: KindFile, File: &o.info}
	}
	return nodes, more, nil
}

// affected tells of the jobs of a page and their results.
func (w *walk) affected(v *state.View, start node, impact *Impact) error {
	for _, n := range w.order {
		if n.kind != jobNode || n == start || !w.onPage(n) {
			continue
		}
		j := w.jobs[n.name]
		names, err := resultNames(v, n.name)
		if err != nil {
			return err
		}
		impact.JobCount++
		impact.ResultCount += len(names)
		if !j.shown {
			impact.HiddenJobs++
			impact.HiddenResults += len(names)
			continue
		}
		a := Affected{JobInfo: *jobInfo(j.head), Steps: (j.depth + 1) / 2, Results: names}
		if !w.p.Operator {
			a.Owner = ""
		}
		impact.Jobs = append(impact.Jobs, a)
	}
	return nil
}

func resultNames(v *state.View, job string) ([]string, error) {
	results, err := v.Results(job)
	if errors.Is(err, state.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	names := make([]string, len(results.Outputs))
	for i, o := range results.Outputs {
		names[i] = prov.ResultID(job, o.Id).String()
	}
	return names, nil
}
