package provenance

import (
	"context"

	"consort/coordinator/auth"
)

// TableFilters are the keys of a filter of Table.
var TableFilters = []string{"job", "definition", "version", "site", "owner"}

// Table answers with the graph whose rows of the named table are wanted: the records of a page of jobs that p
// may read, newest first. Keys of the filter that are not TableFilters are an *InvalidError.
func (s *Service) Table(ctx context.Context, p auth.Principal, name string, filter map[string]string, cursor string, limit int) (*Answer, error) {
	return nil, ErrNotFound
}
