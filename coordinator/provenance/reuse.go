package provenance

import (
	"context"

	"consort/coordinator/auth"
	"consort/coordinator/jobs"
	"consort/coordinator/state"
)

// Computed lists completed jobs that p may read and that were asked for the same: the same definition, inputs
// and parameters. Newest come first.
func (s *Service) Computed(ctx context.Context, p auth.Principal, r jobs.CreateRequest) ([]JobInfo, error) {
	found, err := s.cfg.Jobs.Computed(ctx, p, r)
	return jobInfos(found), err
}

// ComputedLike is Computed for what an existing job was asked for, without that job.
func (s *Service) ComputedLike(ctx context.Context, p auth.Principal, job string) ([]JobInfo, error) {
	found, err := s.cfg.Jobs.ComputedLike(ctx, p, job)
	return jobInfos(found), err
}

func jobInfos(found []*state.Job) []JobInfo {
	infos := make([]JobInfo, len(found))
	for i, j := range found {
		infos[i] = *jobInfo(j)
	}
	return infos
}
