package provenance

import (
	"context"
	"time"

	"consort/coordinator/auth"
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

// Users lists the jobs that used an entity, newest first. Those that p may not read are redacted.
func (s *Service) Users(ctx context.Context, p auth.Principal, entity, cursor string, limit int) (*Page[Use], error) {
	return nil, ErrNotFound
}

// Content lists the entities that p may read with the given content; with none it is ErrNotFound.
func (s *Service) Content(ctx context.Context, p auth.Principal, sha256, cursor string, limit int) (*Page[Node], error) {
	return nil, ErrNotFound
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
	return nil, ErrNotFound
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
	return nil, ErrNotFound
}
