package coordinator

import (
	"fmt"

	"consort/coordinator/state"
)

// checkAuthority refuses a configured authority that is not the one under which identifiers were given out
// already: it is fixed when the cluster is made.
func (s *Server) checkAuthority() error {
	_, known := s.cluster()
	if known == "" || s.cfg.Authority == known || s.cfg.Authority == defaultAuthority(s.identity.Cluster) {
		return nil
	}
	return fmt.Errorf("authority: the identifiers of this cluster stand under %s for good, not under %s; leave the key out, or set it to the former",
		known, s.cfg.Authority)
}

func defaultAuthority(cluster string) string { return "https://" + cluster + ".consort.invalid" }

// cluster tells id and authority as the state has them; the authority is empty before the cluster is made.
func (s *Server) cluster() (id, authority string) {
	_ = s.state.View(func(v *state.View) error { // it fails only once the server has stopped
		_, authority = v.Cluster()
		return nil
	})
	return s.identity.Cluster, authority
}
