package jobs

import (
	"fmt"
	"sync"
	"time"

	"consort/coordinator/watch"
	"consort/shared/siteapi"
)

const (
	// liveRing is how much of a stream is kept while its attempt is open (DESIGN section 12).
	liveRing = 1 << 20
	// watchFor is how long a reader counts as following after its last request.
	watchFor = time.Minute
	// idleRing is how long a stream is kept that nobody reads or writes: its attempt was lost.
	idleRing = time.Hour
)

// stream names standard output or error of one attempt.
type stream struct {
	job   string
	epoch uint64
	name  string
}

// liveLogs keeps the last bytes of the logs of open attempts, in memory only: they are a convenience while
// a job runs, the stored log is what counts. It also knows which logs somebody is reading, because sites
// send chunks only of those.
type liveLogs struct {
	hub *watch.Hub

	mu    sync.Mutex
	rings map[stream]*ring
}

type ring struct {
	site  string
	data  []byte    // the last bytes, at most liveRing
	end   int64     // offset in the stream of the end of data
	until time.Time // followed by somebody until then
	used  time.Time // last read or written
}

func newLiveLogs(hub *watch.Hub) *liveLogs {
	return &liveLogs{hub: hub, rings: map[stream]*ring{}}
}

// ring returns the stream's ring; a new one takes the place of those that are idle. The caller holds mu.
func (l *liveLogs) ring(k stream, site string, now time.Time) *ring {
	r := l.rings[k]
	if r == nil {
		for other, idle := range l.rings {
			if now.Sub(idle.used) > idleRing {
				delete(l.rings, other)
			}
		}
		r = &ring{site: site}
		l.rings[k] = r
	}
	r.used = now
	return r
}

// follow marks the stream as read by somebody and tells its site when that is news.
func (l *liveLogs) follow(k stream, site string, now time.Time) {
	l.mu.Lock()
	r := l.ring(k, site, now)
	news := now.After(r.until)
	r.until = now.Add(watchFor)
	l.mu.Unlock()
	if news {
		l.hub.Publish([]watch.Event{{Kind: "watch", Site: site}})
	}
}

// watched lists the attempts at site whose logs somebody reads.
func (l *liveLogs) watched(site string, now time.Time) []siteapi.AttemptRef {
	l.mu.Lock()
	defer l.mu.Unlock()
	seen := map[siteapi.AttemptRef]bool{}
	var refs []siteapi.AttemptRef
	for k, r := range l.rings {
		ref := siteapi.AttemptRef{Job: k.job, Epoch: k.epoch}
		if r.site == site && now.Before(r.until) && !seen[ref] {
			seen[ref] = true
			refs = append(refs, ref)
		}
	}
	return refs
}

// add appends a chunk at offset. Bytes already there are passed over; after a hole the ring starts anew.
func (l *liveLogs) add(k stream, site string, offset int64, chunk []byte, now time.Time) siteapi.LiveAnswer {
	l.mu.Lock()
	r := l.ring(k, site, now)
	if offset > r.end {
		r.data, r.end = nil, offset
	}
	if skip := r.end - offset; skip < int64(len(chunk)) {
		r.data = append(r.data, chunk[skip:]...)
		r.end += int64(len(chunk)) - skip
	}
	if over := len(r.data) - liveRing; over > 0 {
		r.data = append([]byte(nil), r.data[over:]...)
	}
	answer := siteapi.LiveAnswer{Next: r.end, Watching: now.Before(r.until)}
	l.mu.Unlock()
	l.hub.Publish([]watch.Event{{Kind: "log", Job: k.job}})
	return answer
}

// read returns at most limit bytes from offset on, and the first offset still kept.
func (l *liveLogs) read(k stream, offset int64, limit int) (data []byte, from, first int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := l.rings[k]
	if r == nil {
		return nil, offset, 0
	}
	first = r.end - int64(len(r.data))
	from = max(offset, first)
	if from >= r.end {
		return nil, min(from, max(r.end, offset)), first
	}
	part := r.data[from-first:]
	return append([]byte(nil), part[:min(len(part), limit)]...), from, first
}

// drop forgets the streams of attempts of job up to epoch.
func (l *liveLogs) drop(job string, epoch uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for k := range l.rings {
		if k.job == job && k.epoch <= epoch {
			delete(l.rings, k)
		}
	}
}

func checkStream(name string) error {
	if name != "stdout" && name != "stderr" {
		return fmt.Errorf("%w: log %q; there are stdout and stderr", ErrNotFound, name)
	}
	return nil
}
