package provenance

import (
	"context"

	"consort/coordinator/auth"
)

// Report is what a check of a job's evidence found.
type Report struct {
	Job    string
	OK     bool // all checks are
	Checks []Check
}

// Check is one line of a Report.
type Check struct {
	What   string // what was looked at, such as "result answer" or "fragment 7 of meudon: signature"
	OK     bool
	Detail string
}

// Verify recomputes the hashes of a job's stored files, and checks what its sites signed: signatures, the
// chain of each site around it, and whether the state says the same.
func (s *Service) Verify(ctx context.Context, p auth.Principal, job string) (*Report, error) {
	return nil, ErrNotFound
}
