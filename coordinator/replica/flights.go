package replica

import (
	"context"
	"sync"
)

// maxFlights is how many groups of commands are on their way at a time: one being written to the log while
// another is applied.
const maxFlights = 2

// flights lets commands travel in groups. Raft would write each few commands that come together as a batch of
// their own, and the log takes a batch faster than the state machine does; so the batches would stay small and
// wait, each with its own sync of the state, however many clients there are. Here, what comes while two groups
// are on their way waits and then goes as one. A command that finds less than that on its way goes at once.
type flights struct {
	mu    sync.Mutex
	aloft int
	waits *flight // the group that goes next, nil when nobody waits
}

// flight is one group.
type flight struct {
	departed chan struct{}
	aboard   int // guarded by flights.mu
}

// board returns when the caller's command may go. The caller calls land when it has arrived.
func (f *flights) board(ctx context.Context) (land func(), err error) {
	f.mu.Lock()
	if f.waits == nil && f.aloft < maxFlights {
		f.aloft++
		f.mu.Unlock()
		return f.landing(&flight{aboard: 1}), nil
	}
	if f.waits == nil {
		f.waits = &flight{departed: make(chan struct{})}
	}
	mine := f.waits
	mine.aboard++
	f.mu.Unlock()
	select {
	case <-mine.departed:
		return f.landing(mine), nil
	case <-ctx.Done():
		f.leave(mine)
		return nil, ctx.Err()
	}
}

func (f *flights) landing(mine *flight) func() { return func() { f.leave(mine) } }

// leave takes one command off its flight, before or after it went. When a flight has ended, the next goes.
func (f *flights) leave(mine *flight) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if mine.aboard--; mine.aboard > 0 {
		return
	}
	if mine == f.waits { // all gave up
		f.waits = nil
		return
	}
	f.aloft--
	if f.waits != nil {
		f.aloft++
		close(f.waits.departed)
		f.waits = nil
	}
}
