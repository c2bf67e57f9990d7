package provenance

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"consort/coordinator/auth"
	"consort/coordinator/state"
	"consort/shared/ids"
	"consort/shared/prov"
)

// Page is a part of a list; Next is the cursor for more, empty at the end. A page may be shorter than asked
// for, even empty, and more follow.
type Page[T any] struct {
	Items []T
	Next  string
}

// Use is a job that used a file, and the role it had there.
type Use struct {
	Node
	Role string
}

// MaxPage bounds the items of a page.
const MaxPage = 1000

// defaultPage is the size of a page when none is asked for.
const defaultPage = 100

func pageSize(asked int) int {
	if asked <= 0 {
		return defaultPage
	}
	return min(asked, MaxPage)
}

// Users lists the jobs that used an entity, newest first. Those that p may not read are redacted.
func (s *Service) Users(ctx context.Context, p auth.Principal, entity, cursor string, limit int) (*Page[Use], error) {
	page := new(Page[Use])
	err := s.view(ctx, func(v *state.View) error {
		t, err := s.fileTarget(v, p, entity)
		if err != nil {
			return err
		}
		asked := question("users", t.name)
		from, err := decodeCursor(asked, cursor)
		if err != nil {
			return err
		}
		uses, next, err := v.UsesOf(t.name, from, pageSize(limit))
		if err != nil {
			return err
		}
		for _, u := range uses {
			use, err := s.user(v, p, u)
			if err != nil {
				return err
			}
			page.Items = append(page.Items, *use)
		}
		page.Next = encodeCursor(asked, next)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return page, nil
}

// fileTarget is target for ids that must be of files.
func (s *Service) fileTarget(v *state.View, p auth.Principal, entity string) (target, error) {
	t, err := s.target(v, p, entity)
	if err == nil && t.kind != fileNode {
		err = &InvalidError{Parameter: "entity", Value: entity, Problem: "is no file; name it as ent:…"}
	}
	return t, err
}

func (s *Service) user(v *state.View, p auth.Principal, u state.Use) (*Use, error) {
	head, err := v.Head(u.Job)
	if err != nil {
		return nil, fmt.Errorf("read job %s: %w", u.Job, err)
	}
	n := node{jobNode, u.Job}
	if !s.mayRead(p, head) {
		return &Use{Node: Node{ID: s.opaque(p, n).String(), Kind: KindRedacted}}, nil
	}
	return &Use{Node: Node{ID: n.qname().String(), Kind: KindJob, Job: jobInfo(head)}, Role: u.Role}, nil
}

// Content lists the entities that p may know of with the given content; with none it is ErrNotFound.
func (s *Service) Content(ctx context.Context, p auth.Principal, sha256, cursor string, limit int) (*Page[Node], error) {
	sha256, _ = strings.CutPrefix(strings.ToLower(sha256), "sha256:")
	asked := question("content", sha256)
	from, err := decodeCursor(asked, cursor)
	if err != nil {
		return nil, err
	}
	page := new(Page[Node])
	err = s.view(ctx, func(v *state.View) error {
		next := from
		for looked := 0; looked < maxLooked; {
			var found []state.Occurrence
			if found, next, err = v.Occurrences(sha256, next, pageSize(limit)-len(page.Items)); err != nil {
				return err
			}
			looked += len(found) + 1
			if err := s.readable(v, p, found, page); err != nil {
				return err
			}
			if next == nil || len(page.Items) == pageSize(limit) {
				break
			}
		}
		page.Next = encodeCursor(asked, next)
		return nil
	})
	if err != nil {
		return nil, err
	}
	if len(page.Items) == 0 && from == nil {
		return nil, fmt.Errorf("%w: there is no file with the SHA-256 %.64q that you may read", ErrNotFound, sha256)
	}
	return page, nil
}

// readable adds the files among found that p may know of.
func (s *Service) readable(v *state.View, p auth.Principal, found []state.Occurrence, page *Page[Node]) error {
	for _, o := range found {
		f, err := s.file(v, p, o.Entity)
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		if f.info.Retracted, err = retraction(v, f.local); err != nil {
			return err
		}
		page.Items = append(page.Items, Node{ID: node{fileNode, f.local}.qname().String(), Kind: KindFile, File: &f.info})
	}
	return nil
}

// Filter chooses jobs; empty fields allow any.
type Filter struct {
	Definition, Version string // a version needs its definition
	Image               string // digest of the container image
	Software            string // name, or name@version, of what ran
	Parameter, Value    string // of a definition, which is needed then
	Site, Owner         string
	Since, Until        time.Time // of creation
}

// Jobs lists the ended jobs of a filter that p may read, newest first.
func (s *Service) Jobs(ctx context.Context, p auth.Principal, f Filter, cursor string, limit int) (*Page[JobInfo], error) {
	page := new(Page[JobInfo])
	err := s.eachJob(ctx, p, f, cursor, limit, &page.Next, func(_ *state.View, j *state.Job) error {
		page.Items = append(page.Items, *jobInfo(j))
		return nil
	})
	if err != nil {
		return nil, err
	}
	return page, nil
}

// eachJob calls fn for a page of the jobs that a filter leaves and p may read.
func (s *Service) eachJob(ctx context.Context, p auth.Principal, f Filter, cursor string, limit int, next *string,
	fn func(*state.View, *state.Job) error) error {
	if err := f.check(); err != nil {
		return err
	}
	asked := question("jobs", f)
	position, err := decodeCursor(asked, cursor)
	if err != nil {
		return err
	}
	by, values, err := f.index(p)
	if err != nil {
		return err
	}
	return s.view(ctx, func(v *state.View) error {
		taken := 0
		for looked := 0; looked < maxScanned; {
			// No more than one page may hold is asked for, so that what it ends with is where the next one begins.
			found, after, err := v.Discover(by, values, position, pageSize(limit)-taken)
			if err != nil {
				return err
			}
			looked += len(found) + 1
			for _, one := range found {
				j, err := s.matching(v, p, f, one)
				if err != nil {
					return err
				}
				if j == nil {
					continue
				}
				taken++
				if err := fn(v, j); err != nil {
					return err
				}
			}
			if position = after; after == nil || taken == pageSize(limit) || f.past(found) {
				break
			}
		}
		*next = encodeCursor(asked, position)
		return nil
	})
}

// maxScanned bounds the index keys that one page looks at.
const maxScanned = 20_000

func (f *Filter) check() error {
	switch {
	case f.Version != "" && f.Definition == "":
		return &InvalidError{Parameter: "version", Value: f.Version, Problem: "needs the definition that it is of"}
	case f.Version != "" && !ids.ValidVersion(f.Version):
		return &InvalidError{Parameter: "version", Value: f.Version, Problem: "is not of the form 1, 1.2 or 1.2.3"}
	case f.Parameter != "" && f.Definition == "":
		return &InvalidError{Parameter: "parameter", Value: f.Parameter, Problem: "needs the definition that it is of"}
	case f.Value != "" && f.Parameter == "":
		return &InvalidError{Parameter: "value", Value: f.Value, Problem: "needs the parameter that it is of"}
	case f.Software != "" && !strings.Contains(f.Software, "@"):
		return &InvalidError{Parameter: "software", Value: f.Software, Problem: "is not of the form name@version"}
	}
	return nil
}

// index chooses the index to go through: the one that is likely to hold the fewest jobs.
func (f *Filter) index(p auth.Principal) (state.Discovery, []string, error) {
	name, version, _ := strings.Cut(f.Software, "@")
	owner := f.Owner
	if owner == anonymous {
		owner = ""
	}
	switch {
	case f.Parameter != "":
		return state.ByParameter, []string{f.Definition, f.Parameter, f.Value}, nil
	case f.Image != "":
		return state.ByImage, []string{f.Image}, nil
	case f.Software != "":
		return state.BySoftware, []string{name, version}, nil
	case f.Owner != "":
		return state.ByOwner, []string{owner}, nil
	case !p.Operator: // who may read none but their own
		return state.ByOwner, []string{p.Owner()}, nil
	case f.Version != "":
		return state.ByDefinition, []string{f.Definition + "@" + f.Version}, nil
	case f.Site != "":
		return state.BySite, []string{f.Site}, nil
	case f.Definition != "":
		return state.ByDefinition, []string{f.Definition}, nil
	}
	return 0, nil, f.unindexed()
}

// unindexed is the refusal of a filter without anything that jobs are indexed by.
func (f *Filter) unindexed() error {
	e := &InvalidError{Parameter: "filter", Problem: "is not enough",
		Allowed: []string{"definition", "image", "software", "definition, parameter and value", "site", "owner"}}
	switch {
	case !f.Since.IsZero():
		e.Parameter, e.Value = "since", f.Since.UTC().Format(time.RFC3339)
	case !f.Until.IsZero():
		e.Parameter, e.Value = "until", f.Until.UTC().Format(time.RFC3339)
	}
	return e
}

// past tells that all that follows is older than what is wanted.
func (f *Filter) past(found []state.Found) bool {
	n := len(found)
	return n > 0 && !f.Since.IsZero() && timeOf(found[n-1].CreatedUs).Before(f.Since)
}

// matching reads a job that was found and checks what the index did not; nil when it does not match.
func (s *Service) matching(v *state.View, p auth.Principal, f Filter, one state.Found) (*state.Job, error) {
	created := timeOf(one.CreatedUs)
	if !f.Since.IsZero() && created.Before(f.Since) || !f.Until.IsZero() && created.After(f.Until) {
		return nil, nil
	}
	j, err := s.head(v, p, one.Job)
	if errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	switch {
	case f.Definition != "" && j.Definition != f.Definition,
		f.Version != "" && j.DefinitionVersion != f.Version,
		f.Owner != "" && j.Owner != f.Owner && !(f.Owner == anonymous && j.Owner == ""):
		return nil, nil
	}
	if f.Site == "" && f.Image == "" && f.Software == "" {
		return j, nil
	}
	attempts, err := v.Attempts(j.Id)
	if err != nil || !f.ran(attempts) {
		return nil, err
	}
	return j, nil
}

// ran tells whether attempts were made where, and with what, the filter says.
func (f *Filter) ran(attempts []*state.Attempt) bool {
	site, image, software := f.Site == "", f.Image == "", f.Software == ""
	for _, a := range attempts {
		site = site || a.Site == f.Site
		image = image || a.GetFacts().GetImage() == f.Image
		for _, s := range a.GetFacts().GetSoftware() {
			software = software || s.Name+"@"+s.Version == f.Software
		}
	}
	return site && image && software
}

// Resolved says what an id stands for.
type Resolved struct {
	Node prov.QName
	// List and Job name the job whose record describes the node; both are empty for content, agents and
	// definitions, which many records describe.
	List, Job string
}

// Resolve finds what an id, in any of the forms of Query.IDs, stands for.
func (s *Service) Resolve(ctx context.Context, p auth.Principal, id string) (*Resolved, error) {
	r := new(Resolved)
	err := s.view(ctx, func(v *state.View) error {
		t, err := s.target(v, p, id)
		if err != nil {
			return err
		}
		r.Node = t.asked
		switch t.kind {
		case jobNode:
			r.Job = t.name
		case fileNode:
			f, err := s.file(v, p, t.name)
			if err != nil {
				return err
			}
			r.Job = f.by
		default:
			return nil
		}
		j, err := v.Job(r.Job)
		if err != nil {
			return err
		}
		r.List = j.Definition
		return nil
	})
	if err != nil {
		return nil, err
	}
	return r, nil
}
