package provenance

import (
	"context"

	"consort/coordinator/auth"
)

// Retract marks a file as one not to be used, for the reason given, or withdraws that. The owner of the job
// that made or uploaded it may do so, and operators. Doing it again changes nothing.
func (s *Service) Retract(ctx context.Context, p auth.Principal, entity, reason string, withdraw bool) error {
	return ErrNotFound
}

// Retractions lists what was retracted, of files that p may read.
func (s *Service) Retractions(ctx context.Context, p auth.Principal, cursor string, limit int) (*Page[Retraction], error) {
	return nil, ErrNotFound
}

// Impact is what came of a file: the jobs that used it, those that used their results, and so on.
type Impact struct {
	Entity    string
	Retracted *Retraction
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

// Impact lists the descendants of an entity.
func (s *Service) Impact(ctx context.Context, p auth.Principal, entity, cursor string, limit int) (*Impact, error) {
	return nil, ErrNotFound
}
