package provenance

import (
	"context"

	"consort/coordinator/auth"
	"consort/coordinator/state"
)

// Given is a file that a job was given as an input.
type Given struct {
	Role string
	ID   string // qualified name
	FileInfo
}

// Inputs tells of the files that a job was given, in their order within each role: the content that URLs answered with,
// once it is known, and which of them are retracted. It fails with ErrNotFound.
func (s *Service) Inputs(ctx context.Context, p auth.Principal, job string) ([]Given, error) {
	var given []Given
	err := s.view(ctx, func(v *state.View) error {
		head, err := v.Head(job)
		if err != nil {
			return err
		}
		if !s.mayRead(p, head) {
			return ErrNotFound
		}
		used, err := inputsOf(v, head)
		if err != nil {
			return err
		}
		for _, in := range used {
			if in.info.Retracted, err = retraction(v, in.local); err != nil {
				return err
			}
			given = append(given, Given{Role: in.role, ID: node{fileNode, in.local}.qname().String(), FileInfo: in.info})
		}
		return nil
	})
	return given, err
}
