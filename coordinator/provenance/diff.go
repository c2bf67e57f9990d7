package provenance

import (
	"context"

	"consort/coordinator/auth"
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
	SectionRun        = "run"    // site, image, software, phase, exit code
)

// Line is one fact of two jobs. A side that lacks it is empty. Secrets are never told.
type Line struct {
	Section, Name string
	A, B          []string
	Same          bool
}

// Diff compares two jobs that p may read.
func (s *Service) Diff(ctx context.Context, p auth.Principal, a, b string) (*Diff, error) {
	return nil, ErrNotFound
}
