package scheduler

import (
	"fmt"
	"time"

	"consort/coordinator/state"
	"consort/shared/prov"
	"consort/shared/uws"
)

// Explain says why a job waits for a site, in one sentence for its user; empty when it does not.
func (s *Scheduler) Explain(j *state.Job) string {
	if uws.Phase(j.Phase) != uws.Queued || j.AttemptOpen {
		return ""
	}
	now := s.cfg.Now()
	if j.NotBeforeUs > now.UnixMicro() {
		wait := time.UnixMicro(j.NotBeforeUs).Sub(now).Round(time.Second)
		return fmt.Sprintf("the last attempt failed; the next one starts in %s", wait)
	}
	if low, _, err := s.cfg.Files.Low(); err == nil && low {
		return "the coordinator's disk is nearly full; no job starts before its operator makes room"
	}
	active := s.cfg.State.Active(j.Id)
	if active == nil {
		return ""
	}
	w, err := s.need(active)
	if err != nil {
		return ""
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	online, draining, accepting, fetching, large := 0, 0, 0, 0, 0
	var address string // that no accepting site may fetch
	for _, st := range s.sites {
		if !s.online(st) {
			continue
		}
		online++
		if st.poll.Drain {
			draining++
			continue
		}
		if !accepts(&st.poll, w) {
			continue
		}
		accepting++
		if missed := unfetched(&st.poll, w); missed != "" {
			address = missed
			continue
		}
		fetching++
		if fits(w.capacity, st.poll.Total, st.poll.Total) {
			large++
		}
	}
	name := j.Definition + " " + j.DefinitionVersion
	switch {
	case online == 0:
		return "no site is online; the job starts when one comes back"
	case online == draining:
		return "the sites that are online take no new work at the moment"
	case accepting == 0:
		return fmt.Sprintf("no site that is online accepts %s as it is asked for (%d online)", name, online)
	case fetching == 0:
		return fmt.Sprintf("no site that accepts %s may fetch %s", name, prov.PublicURL(address))
	case large == 0:
		return fmt.Sprintf("no site that accepts %s offers %d cores and %d MiB of memory", name, w.capacity.Cores, w.capacity.MemoryBytes>>20)
	}
	return "waiting for a free slot at a site"
}

// SilentSince tells since when a site has been out of contact, the zero time when it is not, or when this
// node has never heard of it.
func (s *Scheduler) SilentSince(name string) time.Time {
	info := s.Site(name)
	if info.Online {
		return time.Time{}
	}
	return info.LastSeen
}
