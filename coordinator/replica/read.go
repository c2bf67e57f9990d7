package replica

import (
	"context"
	"encoding/binary"
	"fmt"
	"sync"
	"sync/atomic"
)

// ReadIndex returns an index with this promise: a state that has seen it holds every command that anybody
// was told of before ReadIndex was called. Errors are ErrNotLeader and ErrStopped. Calls made at the same
// time share one question to the leader.
func (r *Replica) ReadIndex(ctx context.Context) (uint64, error) {
	return r.reads.get(ctx, r)
}

// WaitRead waits until reading this node's state is linearizable as of its call.
func (r *Replica) WaitRead(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, r.cfg.Timeout)
	defer cancel()
	index, err := r.ReadIndex(ctx)
	if err != nil {
		return err
	}
	return r.WaitIndex(ctx, index)
}

// WaitIndex waits until this node's state has seen the entry of that index, for a client to read what it
// wrote.
func (r *Replica) WaitIndex(ctx context.Context, index uint64) error {
	err := r.seen.wait(ctx, index, r.ctx.Done())
	if err != nil {
		return fmt.Errorf("wait for entry %d, have %d: %w", index, r.seen.load(), err)
	}
	return nil
}

// readOnce asks the leader, wherever it is.
func (r *Replica) readOnce() (uint64, error) {
	ctx, cancel := context.WithTimeout(r.ctx, r.cfg.Timeout)
	defer cancel()
	return atLeader(ctx, r,
		func(l *leadership) (uint64, error) { return r.readHere(ctx, l) },
		func(addr string) (uint64, error) { return r.readAt(ctx, addr) })
}

// verifyOnce asks this node as the leader.
func (r *Replica) verifyOnce() (uint64, error) {
	l := r.term.Load()
	if l == nil {
		return 0, ErrNotLeader
	}
	ctx, cancel := context.WithTimeout(r.ctx, r.cfg.Timeout)
	defer cancel()
	return r.readHere(ctx, l)
}

// readHere is the read index of Raft's thesis, section 6.4. l is open, so that an entry of its own term is
// committed. The index is never that of a no-op, which no state machine sees: the term's no-op comes
// before its LeaderStarted.
func (r *Replica) readHere(ctx context.Context, l *leadership) (uint64, error) {
	index := r.raft.CommitIndex()
	if err := r.ask(ctx, func() error { return r.raft.VerifyLeader().Error() }); err != nil {
		return 0, fmt.Errorf("%w: %w", ErrNotLeader, err)
	}
	if r.term.Load() != l || r.raft.CurrentTerm() != l.term {
		return 0, ErrNotLeader
	}
	return index, nil
}

func (r *Replica) readAt(ctx context.Context, addr string) (uint64, error) {
	body, err := r.cfg.Peer.Call(ctx, addr, callReadIndex, nil)
	if err != nil {
		return 0, fmt.Errorf("%w: %w", ErrNotLeader, err) // asking again is always safe
	}
	if len(body) != 8 {
		return 0, fmt.Errorf("%w: leader's read index has %d bytes", ErrNotLeader, len(body))
	}
	return binary.BigEndian.Uint64(body), nil
}

func (r *Replica) handleReadIndex(ctx context.Context, _ string, _ []byte) ([]byte, error) {
	index, err := r.verifies.get(ctx, r)
	if err != nil {
		return nil, err
	}
	return binary.BigEndian.AppendUint64(nil, index), nil
}

// coalescer lets callers share the runs of a question. A caller joins a run that begins after its call,
// never one under way, whose answer may be too old for it.
type coalescer struct {
	run func() (uint64, error)

	mu      sync.Mutex
	next    *round
	running bool
}

type round struct {
	done  chan struct{} // closed when index and err are set
	index uint64
	err   error
}

func (c *coalescer) get(ctx context.Context, r *Replica) (uint64, error) {
	c.mu.Lock()
	if c.next == nil {
		c.next = &round{done: make(chan struct{})}
	}
	mine := c.next
	if !c.running {
		if r.stopping.Load() || !r.spawn(c.loop) {
			c.next = nil
			c.mu.Unlock()
			return 0, ErrStopped
		}
		c.running = true
	}
	c.mu.Unlock()
	select {
	case <-mine.done:
		return mine.index, mine.err
	case <-ctx.Done():
		return 0, fmt.Errorf("%w: %w", ErrNotLeader, ctx.Err())
	}
}

func (c *coalescer) loop() {
	for {
		c.mu.Lock()
		now := c.next
		c.next = nil
		c.running = now != nil
		c.mu.Unlock()
		if now == nil {
			return
		}
		now.index, now.err = c.run()
		close(now.done)
	}
}

// progress is a number that only grows and can be waited for.
type progress struct {
	index atomic.Uint64
	reach broadcast
}

func (p *progress) load() uint64 { return p.index.Load() }

// advance is called by one goroutine at a time.
func (p *progress) advance(index uint64) {
	if index > p.index.Load() {
		p.index.Store(index)
		p.reach.send()
	}
}

func (p *progress) wait(ctx context.Context, index uint64, stopped <-chan struct{}) error {
	for p.load() < index {
		reached := p.reach.wait()
		if p.load() >= index {
			return nil
		}
		select {
		case <-reached:
		case <-ctx.Done():
			return ctx.Err()
		case <-stopped:
			return ErrStopped
		}
	}
	return nil
}

// broadcast wakes all who wait. Its zero value is ready.
type broadcast struct {
	mu sync.Mutex
	ch chan struct{} // nil while nobody waits
}

// wait returns a channel that the next send closes.
func (b *broadcast) wait() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ch == nil {
		b.ch = make(chan struct{})
	}
	return b.ch
}

func (b *broadcast) send() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ch != nil {
		close(b.ch)
		b.ch = nil
	}
}
