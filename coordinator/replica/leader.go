package replica

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// establishPause is the wait before leader work that could not begin is begun again.
const establishPause = time.Second

// leadership is one term of this node as the leader, from its LeaderStarted on.
type leadership struct {
	term  uint64
	clock *clock
}

// OnLeadership says what only the leader runs; it is to be called once. establish is called, in a goroutine
// of the replica, after the term's LeaderStarted was applied; it must return soon, and what it starts must
// end with its context. revoke is called when the leadership ends, if establish had succeeded. They never
// overlap: a next establish comes after revoke has returned.
func (r *Replica) OnLeadership(establish func(ctx context.Context, term uint64) error, revoke func()) {
	r.hookOnce.Do(func() {
		r.establish, r.revoke = establish, revoke
		close(r.hooked)
	})
}

// Now returns the cluster's time, in microseconds that strictly increase, and whether this node may tell it:
// only the leader does.
func (r *Replica) Now() (time.Time, bool) {
	l := r.term.Load()
	if l == nil {
		return time.Time{}, false
	}
	return l.clock.now(), true
}

// watchLeader tells those who wait for a leader that there is another one, or none.
func (r *Replica) watchLeader() {
	seen := make(chan raft.Observation, 1) // a lost observation is no loss: another is waiting there
	observer := raft.NewObserver(seen, false, func(o *raft.Observation) bool {
		_, ok := o.Data.(raft.LeaderObservation)
		return ok
	})
	r.raft.RegisterObserver(observer)
	defer r.raft.DeregisterObserver(observer)
	for {
		select {
		case <-seen:
			r.changed.send()
		case <-r.ctx.Done():
			return
		}
	}
}

// watchTerms runs each term of this node as the leader. It takes notices at once, since Raft waits for that.
func (r *Replica) watchTerms(notify <-chan bool) {
	var end func() // ends the running term and waits for it
	stop := func() {
		if end != nil {
			end()
			end = nil
		}
	}
	defer stop()
	latest := make(chan bool, 1)
	r.wg.Go(func() { r.forwardLatest(notify, latest) })
	for {
		select {
		case leader := <-latest:
			stop()
			if leader {
				end = r.startTerm()
			}
		case <-r.ctx.Done():
			return
		}
	}
}

// forwardLatest passes notices on; one that was not taken yet is replaced by a newer one.
func (r *Replica) forwardLatest(notify <-chan bool, latest chan bool) {
	for {
		select {
		case leader := <-notify:
			select {
			case <-latest:
			default:
			}
			latest <- leader
		case <-r.ctx.Done():
			return
		}
	}
}

func (r *Replica) startTerm() (end func()) {
	ctx, cancel := context.WithCancel(r.ctx)
	var wg sync.WaitGroup
	wg.Go(func() { r.runTerm(ctx) })
	return func() {
		cancel()
		wg.Wait()
	}
}

// runTerm opens the leadership when its LeaderStarted is applied, and keeps it until ctx ends.
func (r *Replica) runTerm(ctx context.Context) {
	l, err := r.openTerm(ctx)
	if err != nil {
		if ctx.Err() == nil {
			r.cfg.Logger.Warn("leadership ended before it began", "error", err)
		}
		return
	}
	r.term.Store(l)
	r.changed.send()
	defer func() {
		r.term.Store(nil)
		r.changed.send()
	}()
	r.cfg.Logger.Info("this node leads", "term", l.term)
	select {
	case <-r.hooked:
	case <-ctx.Done():
		return
	}
	if r.establishTerm(ctx, l.term) {
		<-ctx.Done()
		r.term.Store(nil) // no reads or commands as leader while its work is taken down
		r.revoke()
	}
}

func (r *Replica) openTerm(ctx context.Context) (*leadership, error) {
	term := r.raft.CurrentTerm()
	for {
		data := r.cfg.LeaderStarted(term, newClock(time.Now(), r.cfg.LastTime()).now())
		future := r.raft.ApplyLog(raft.Log{Data: data}, r.cfg.Timeout)
		err := r.ask(ctx, future.Error)
		if err == raft.ErrEnqueueTimeout {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("propose the start of term %d: %w", term, err)
		}
		if _, no := future.Response().(unapplied); no {
			return nil, fmt.Errorf("start of term %d: %w", term, r.Err())
		}
		break
	}
	if now := r.raft.CurrentTerm(); now != term {
		return nil, fmt.Errorf("term %d was over: it is %d", term, now)
	}
	// All entries of earlier terms are applied now, so the state's last time is the log's.
	return &leadership{term: term, clock: newClock(time.Now(), r.cfg.LastTime())}, nil
}

// establishTerm starts the leader's work, and tells whether it runs.
func (r *Replica) establishTerm(ctx context.Context, term uint64) bool {
	for {
		err := r.establish(ctx, term)
		if err == nil {
			return true
		}
		if ctx.Err() != nil {
			return false
		}
		r.cfg.Logger.Error("begin the leader's work; will try again", "term", term, "error", err)
		select {
		case <-time.After(establishPause):
		case <-ctx.Done():
			return false
		}
	}
}

// clock tells the cluster's time in one term: it starts at the wall clock, or after the last time in the
// state if that is later, and then goes with the monotonic clock whatever is done to the wall clock.
type clock struct {
	start time.Time // for the monotonic reading
	base  int64     // microseconds at start

	mu   sync.Mutex
	last int64
}

func newClock(now, lastTime time.Time) *clock {
	c := &clock{start: now, base: now.UnixMicro()}
	if !lastTime.IsZero() {
		c.last = lastTime.UnixMicro()
		c.base = max(c.base, c.last+1)
	}
	return c
}

func (c *clock) now() time.Time {
	t := c.base + time.Since(c.start).Microseconds()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last = max(t, c.last+1)
	return time.UnixMicro(c.last).UTC()
}
