package provenance

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"consort/coordinator/auth"
	"consort/coordinator/state"
	"consort/shared/prov"
)

// maxLooked bounds how many jobs are looked at to find one that the caller may read.
const maxLooked = 1000

// view runs fn in one read transaction, in which everything acknowledged so far can be seen.
func (s *Service) view(ctx context.Context, fn func(*state.View) error) error {
	if err := s.cfg.Log.WaitRead(ctx); err != nil {
		return err
	}
	err := s.cfg.State.View(fn)
	switch {
	case errors.Is(err, state.ErrNotFound):
		return ErrNotFound
	case errors.Is(err, state.ErrCursor):
		return &InvalidError{Parameter: "cursor", Problem: err.Error()}
	}
	return err
}

// mayRead asks the policy for one job. What is left of a deleted one has no owner any more.
func (s *Service) mayRead(p auth.Principal, j *state.Job) bool {
	if j.Deleted {
		return p.Operator
	}
	return s.cfg.Guard.Allow(p, auth.ReadJob, j.Owner) == nil
}

// head reads a job that p may read and that is not deleted, else ErrNotFound.
func (s *Service) head(v *state.View, p auth.Principal, id string) (*state.Job, error) {
	j, err := v.Job(id)
	if errors.Is(err, state.ErrNotFound) || err == nil && !s.mayRead(p, j) {
		return nil, fmt.Errorf("%w: there is no job %.40q that you may read", ErrNotFound, id)
	}
	return j, err
}

// target finds what an id stands for, and that p may know of it; else it is ErrNotFound.
func (s *Service) target(v *state.View, p auth.Principal, id string) (target, error) {
	_, authority := v.Cluster()
	t, err := parseID(id, authority)
	if err != nil {
		return target{}, err
	}
	switch t.kind {
	case jobNode:
		_, err = s.head(v, p, t.name)
	case fileNode:
		var f *stated
		f, err = s.file(v, p, t.name)
		if errors.Is(err, ErrNotFound) {
			if f, err = s.wanted(v, p, t.name); err == nil {
				t.node = node{jobNode, f.by}
			}
		} else if err == nil && t.asked != t.qname() { // its retraction
			t.node = node{jobNode, f.by}
		}
	default:
		err = s.known(v, p, t.node)
	}
	return t, err
}

// known tells that there is something of a node that p may know of, else it is ErrNotFound. Definitions are public, and
// who made them.
func (s *Service) known(v *state.View, p auth.Principal, n node) (err error) {
	ok := false
	switch n.kind {
	case contentNode:
		ok, err = s.knownContent(v, p, n.name)
	case agentNode:
		ok, err = s.knownAgent(v, p, n)
	case definitionNode:
		var plans []*prov.DefinitionRecord
		plans, err = s.plans(v, n, nil)
		ok = len(plans) > 0
	default:
		ok, err = s.anyJob(v, p, n)
	}
	if err == nil && !ok {
		err = fmt.Errorf("%w: there is nothing of %s that you may read", ErrNotFound, n.qname())
	}
	return err
}

// emptyFile is the SHA-256 of no bytes, which everybody has.
const emptyFile = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

func (s *Service) knownContent(v *state.View, p auth.Principal, sha string) (bool, error) {
	if sha == emptyFile {
		return true, nil
	}
	found, _, err := s.occurrences(v, p, sha, "", 1)
	if err != nil || len(found) > 0 {
		return true, err
	}
	return v.InDefinition(sha)
}

func (s *Service) knownAgent(v *state.View, p auth.Principal, n node) (bool, error) {
	if n == controller {
		return true, nil
	}
	by, values, ok := discovery(n)
	if !ok {
		plans, err := s.plans(v, n, nil)
		return len(plans) > 0, err
	}
	if by == state.BySite {
		if s.cfg.Guard.Allow(p, auth.ReadSites, "") != nil {
			return false, nil
		}
		_, err := v.Site(values[0])
		if errors.Is(err, state.ErrNotFound) {
			return false, nil
		}
		return err == nil, err
	}
	for j, err := range v.List(state.ListQuery{Owner: values[0], Limit: 1}) {
		if err != nil || s.mayRead(p, j) {
			return true, err
		}
	}
	if ok, err := s.anyJob(v, p, n); ok || err != nil {
		return ok, err
	}
	return s.hasRetracted(v, p, values[0])
}

// anyJob tells that p may read some ended job of a node.
func (s *Service) anyJob(v *state.View, p auth.Principal, n node) (bool, error) {
	by, values, _ := discovery(n)
	var cursor []byte
	for looked := 0; looked < maxLooked; looked += usesPage {
		found, next, err := v.Discover(by, values, cursor, usesPage)
		if err != nil {
			return false, err
		}
		for _, f := range found {
			if _, err := s.head(v, p, f.Job); !errors.Is(err, ErrNotFound) {
				return true, err
			}
		}
		if cursor = next; next == nil {
			break
		}
	}
	return false, nil
}

// hasRetracted tells that a user took back a file that p may know of.
func (s *Service) hasRetracted(v *state.View, p auth.Principal, user string) (bool, error) {
	var cursor []byte
	for looked := 0; looked < maxLooked; looked += usesPage {
		found, next, err := v.Retractions(cursor, usesPage)
		if err != nil {
			return false, err
		}
		for _, r := range found {
			if !curated(r, user) {
				continue
			}
			if _, err := s.file(v, p, r.Entity); !errors.Is(err, ErrNotFound) {
				return true, err
			}
		}
		if cursor = next; next == nil {
			break
		}
	}
	return false, nil
}

// curated tells whether a user retracted something, or withdrew that.
func curated(r *state.Retraction, user string) bool {
	return r.By == user || r.WithdrawnBy == user ||
		slices.ContainsFunc(r.Former, func(f *state.Retraction) bool { return curated(f, user) })
}

// controller is the agent of all jobs.
var controller = node{agentNode, prov.ControllerID().Local}

// stated is a file, and a job that p may read and whose record tells of it.
type stated struct {
	local string
	info  FileInfo
	by    string
}

// file finds a file that p may know of: made or used by a job that p may read. Else it is ErrNotFound.
func (s *Service) file(v *state.View, p auth.Principal, local string) (*stated, error) {
	if job, result, ok := madeBy(local); ok {
		head, err := v.Job(job)
		switch {
		case err != nil && !errors.Is(err, state.ErrNotFound):
			return nil, err
		case err == nil && s.mayRead(p, head):
			info, err := resultInfo(v, head, result)
			if err != nil {
				return nil, err
			}
			return &stated{local, info, job}, nil
		}
	}
	var cursor []byte
	for looked := 0; looked < maxLooked; {
		uses, next, err := v.UsesOf(local, cursor, usesPage)
		if err != nil {
			return nil, err
		}
		for _, u := range uses {
			looked++
			if f, err := s.usedFile(v, p, u.Job, local); err != nil || f != nil {
				return f, err
			}
		}
		if cursor = next; next == nil {
			break
		}
	}
	return nil, fmt.Errorf("%w: there is no file %.100q that you may read", ErrNotFound, local)
}

// usedFile finds what a job that p may read says of a file that it used; nil when p may not.
func (s *Service) usedFile(v *state.View, p auth.Principal, job, local string) (*stated, error) {
	head, err := s.head(v, p, job)
	if errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	used, err := inputsOf(v, head)
	for _, in := range used {
		if in.local == local {
			return &stated{local, in.info, job}, nil
		}
	}
	return nil, err
}

// maxWanted is how many jobs are searched for one that is yet to use a file.
const maxWanted = 100

// wanted finds a file that no job used so far among the inputs of the newest jobs that p may read: of drafts, and what no
// URL has answered with. Else it is ErrNotFound.
func (s *Service) wanted(v *state.View, p auth.Principal, local string) (*stated, error) {
	missing := fmt.Errorf("%w: there is no file %.100q that you may read", ErrNotFound, local)
	if _, _, made := madeBy(local); made {
		return nil, missing
	}
	for j, err := range v.List(state.ListQuery{AllOwners: p.Operator, Owner: p.Owner(), Limit: maxWanted}) {
		if err != nil {
			return nil, err
		}
		if f, err := s.usedFile(v, p, j.Id, local); err != nil || f != nil {
			return f, err
		}
	}
	return nil, missing
}

// resultInfo tells of a result, a member of a collection or a log of a job.
func resultInfo(v *state.View, head *state.Job, result string) (FileInfo, error) {
	id, path, member := strings.Cut(result, "/")
	missing := fmt.Errorf("%w: job %s has no result %.200q", ErrNotFound, head.Id, result)
	results, err := v.Results(head.Id)
	if err != nil && !errors.Is(err, state.ErrNotFound) {
		return FileInfo{}, err
	}
	if err == nil {
		for _, o := range results.Outputs {
			if o.Id != id {
				continue
			}
			if member {
				return memberInfo(v, head, id, path, missing)
			}
			return outputInfo(head.Id, o), nil
		}
	}
	if head.Epoch == 0 {
		return FileInfo{}, missing
	}
	a, err := v.Attempt(head.Id, head.Epoch)
	if err != nil {
		return FileInfo{}, err
	}
	for _, l := range a.GetFacts().GetLogs() {
		if l.Name == result {
			return FileInfo{SHA256: l.Sha256, Size: l.Size, Name: l.Name, Job: head.Id, Result: result}, nil
		}
	}
	return FileInfo{}, missing
}

func memberInfo(v *state.View, head *state.Job, id, path string, missing error) (FileInfo, error) {
	for part, err := range v.ManifestParts(head.Id, head.CommitEpoch, 0) {
		if err != nil {
			return FileInfo{}, err
		}
		for _, f := range part.Files {
			if f.Output == id && f.Path == path {
				return FileInfo{SHA256: f.Sha256, Size: f.Size, MediaType: f.ContentType, Name: path, Job: head.Id, Result: id + "/" + path}, nil
			}
		}
	}
	return FileInfo{}, missing
}

// occurrences finds up to limit entities with a content that p may know of, without the one that is known already;
// more tells that there may be others.
func (s *Service) occurrences(v *state.View, p auth.Principal, sha, known string, limit int) (found []*stated, more bool, err error) {
	var cursor []byte
	for looked := 0; looked < maxLooked; {
		page, next, err := v.Occurrences(sha, cursor, limit)
		if err != nil {
			return nil, false, err
		}
		for _, o := range page {
			if looked++; o.Entity == known {
				continue
			}
			f, err := s.file(v, p, o.Entity)
			if errors.Is(err, ErrNotFound) {
				continue
			}
			if err != nil {
				return nil, false, err
			}
			if len(found) == limit {
				return found, true, nil
			}
			found = append(found, f)
		}
		if cursor = next; next == nil {
			return found, false, nil
		}
	}
	return found, true, nil
}
