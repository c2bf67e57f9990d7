package scheduler

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"

	"consort/coordinator/command"
	"consort/coordinator/state"
	"consort/coordinator/watch"
	"consort/shared/failpoint"
	"consort/shared/siteapi"
)

// match grants leases: whenever a job was queued, a site made an offer or time let a retry go on, it walks
// the queue, oldest first, and gives each job to the waiting site with the most free slots. Grants of one
// walk are proposed side by side, so that they share a batch of the log.
func (s *Scheduler) match(ctx context.Context) {
	sub := s.cfg.Hub.Subscribe(watch.All)
	defer sub.Close()
	for ctx.Err() == nil && !sub.Closed() {
		retry := s.matchOnce(ctx)
		timer := newTimer(s.cfg.Now(), retry)
		select {
		case <-ctx.Done():
		case <-sub.C():
		case <-timer.C:
		}
		timer.Stop()
	}
}

// matchOnce walks the queue once and returns when the next waiting retry may go on, 0 if none waits.
func (s *Scheduler) matchOnce(ctx context.Context) (nextUs int64) {
	if low, _, err := s.cfg.Files.Low(); err != nil || low {
		return 0 // results would have no place; looked at again with the next event, or in a minute
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	now := s.cfg.Now().UnixMicro()
	refused := map[want]bool{} // what no site takes now: a long queue of the same is passed over quickly
	for j := range s.queue() {
		if j.NotBeforeUs > now {
			if nextUs == 0 || j.NotBeforeUs < nextUs {
				nextUs = j.NotBeforeUs
			}
			continue
		}
		if !s.roomAnywhere() {
			continue
		}
		need, err := s.need(j)
		if err != nil {
			s.cfg.Logger.Error("read a queued job", "job", j.ID, "error", err)
			continue
		}
		w := *need
		if refused[w] {
			continue
		}
		name, ok := s.take(need)
		if !ok {
			refused[w] = true
			continue
		}
		wg.Go(func() { s.grant(ctx, j, name) })
	}
	return nextUs
}

// queue yields the jobs that wait for a site, the oldest first.
func (s *Scheduler) queue() iter.Seq[*state.Active] {
	return func(yield func(*state.Active) bool) {
		const page = 500
		for after := int64(-1); ; {
			jobs := s.cfg.State.Queued(after, page)
			for _, j := range jobs {
				if !yield(j) {
					return
				}
			}
			if len(jobs) < page {
				return
			}
			after = jobs[page-1].QueuedUs
		}
	}
}

// want is what a job asks of a site.
type want struct {
	definition, version, digest string
	owner                       string
	seconds                     int64 // run limit, 0: none
	capacity                    siteapi.Capacity
	urls                        string // of inputs to be fetched, one a line
}

// need is what one attempt of j takes.
func (s *Scheduler) need(j *state.Active) (*want, error) {
	w := new(want)
	err := s.cfg.State.View(func(v *state.View) error {
		head, err := v.Job(j.ID)
		if err != nil {
			return err
		}
		spec, err := v.Spec(j.ID)
		if err != nil {
			return err
		}
		w.definition, w.version, w.digest = head.Definition, head.DefinitionVersion, head.Digest
		w.owner, w.seconds = head.Owner, head.ExecutionSeconds
		w.urls = urlsOf(spec.Inputs)
		r := spec.Resources
		w.capacity.Slots = 1
		w.capacity.Cores = max(1, int(r.GetNodes())) * max(1, int(r.GetTasks())) * max(1, int(r.GetCores()))
		w.capacity.MemoryBytes = r.GetMemoryBytes()
		return nil
	})
	return w, err
}

func urlsOf(inputs []*command.Input) string {
	var urls []string
	for _, in := range inputs {
		if in.Source == command.Input_URL {
			urls = append(urls, in.Url)
		}
	}
	return strings.Join(urls, "\n")
}

// unfetched is the first URL of the inputs that a site may not fetch; empty when there is none.
func unfetched(p *siteapi.PollRequest, w *want) string {
	for text := range strings.Lines(w.urls) {
		text = strings.TrimSuffix(text, "\n")
		if u, err := siteapi.ParseURL(text); err != nil || !siteapi.URLAllowed(p.URLs, u) {
			return text
		}
	}
	return ""
}

// fits tells whether there is room; a site whose total of something is 0 does not count it.
func fits(need, free, total siteapi.Capacity) bool {
	return free.Slots >= need.Slots && (total.Cores == 0 || free.Cores >= need.Cores) &&
		(total.MemoryBytes == 0 || free.MemoryBytes >= need.MemoryBytes)
}

// accepts tells whether a rule of the site's policy allows the job.
func accepts(p *siteapi.PollRequest, w *want) bool {
	return !p.Drain && slices.ContainsFunc(p.Accepts, func(a siteapi.Accept) bool {
		return (a.Definition == "" || a.Definition == w.definition) &&
			(len(a.Digests) == 0 || slices.Contains(a.Digests, w.digest)) &&
			(len(a.Versions) == 0 || slices.Contains(a.Versions, w.version) || slices.Contains(a.Versions, siteapi.AnyVersion)) &&
			(len(a.Owners) == 0 || slices.Contains(a.Owners, w.owner)) &&
			(a.MaxCores == 0 || w.capacity.Cores <= a.MaxCores) &&
			(a.MaxMemoryBytes == 0 || w.capacity.MemoryBytes <= a.MaxMemoryBytes) &&
			(a.MaxSeconds == 0 || w.seconds > 0 && w.seconds <= a.MaxSeconds)
	})
}

// take reserves room at the best site that waits for work.
func (s *Scheduler) take(w *want) (string, bool) {
	need := w.capacity
	s.mu.Lock()
	defer s.mu.Unlock()
	best := ""
	for name, st := range s.sites {
		if st.waiting == 0 || !accepts(&st.poll, w) || unfetched(&st.poll, w) != "" || !fits(need, st.free, st.poll.Total) {
			continue
		}
		if best == "" || st.free.Slots > s.sites[best].free.Slots ||
			(st.free.Slots == s.sites[best].free.Slots && name < best) {
			best = name
		}
	}
	if best == "" {
		return "", false
	}
	st := s.sites[best]
	st.free.Slots -= need.Slots
	st.free.Cores -= min(need.Cores, st.free.Cores)
	st.free.MemoryBytes -= min(need.MemoryBytes, st.free.MemoryBytes)
	st.grants.begun++
	return best, true
}

func (s *Scheduler) roomAnywhere() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, st := range s.sites {
		if st.waiting > 0 && st.free.Slots > 0 {
			return true
		}
	}
	return false
}

func (s *Scheduler) grant(ctx context.Context, j *state.Active, name string) {
	s.mu.Lock()
	boot := s.sites[name].boot
	s.mu.Unlock()
	defer s.granted(name)
	result, err := s.cfg.Log.Propose(ctx, &command.Command{
		Principal: "scheduler",
		Body: &command.Command_GrantLease{GrantLease: &command.GrantLease{
			Job: j.ID, Epoch: j.Epoch + 1, Site: name, Boot: boot, WorkLeaseSeconds: s.workLease(j),
		}},
	})
	failpoint.Here("coordinator-after-lease-commit")
	if err == nil && result.Code != command.Result_OK {
		err = fmt.Errorf("%s: %s", result.Code, result.Message)
	}
	if err != nil && ctx.Err() == nil {
		s.cfg.Logger.Warn("grant a lease", "job", j.ID, "site", name, "error", err)
	}
}

// granted tells the site's polls that a grant is done.
func (s *Scheduler) granted(name string) {
	s.mu.Lock()
	s.sites[name].grants.done++
	s.mu.Unlock()
	s.cfg.Hub.Publish([]watch.Event{{Kind: "lease", Site: name}})
}

// workLease is how long no other attempt of j is started: its run limit and a grace, in seconds. A job
// without a limit gets a month; its site is asked long before.
func (s *Scheduler) workLease(j *state.Active) int64 {
	limit := j.ExecutionSeconds
	if limit == 0 {
		limit = 30 * 24 * 3600
	}
	return limit + int64(s.cfg.Grace.Seconds())
}
