package provenance

import (
	"context"

	"consort/coordinator/auth"
	"consort/coordinator/jobs"
)

// Computed lists completed jobs that p may read and that were asked for the same: the same definition, inputs
// and parameters. Newest come first.
func (s *Service) Computed(ctx context.Context, p auth.Principal, r jobs.CreateRequest) ([]JobInfo, error) {
	return nil, ErrNotFound
}

// ComputedLike is Computed for what an existing job was asked for, without that job.
func (s *Service) ComputedLike(ctx context.Context, p auth.Principal, job string) ([]JobInfo, error) {
	return nil, ErrNotFound
}
