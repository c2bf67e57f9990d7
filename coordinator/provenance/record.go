package provenance

import (
	"context"

	"consort/coordinator/auth"
	"consort/coordinator/jobs"
	"consort/shared/prov"
)

// Record returns a job that p may read with what is known about it, for what is made of more than the graph.
func (s *Service) Record(ctx context.Context, p auth.Principal, list, id string) (*jobs.Job, *prov.JobRecord, error) {
	job, err := s.cfg.Jobs.Get(ctx, p, list, id)
	if err != nil {
		return nil, nil, err
	}
	attempts, err := s.cfg.Jobs.Attempts(ctx, p, id)
	if err != nil {
		return nil, nil, err
	}
	record, err := s.record(ctx, job, attempts, everything)
	return job, record, err
}
