package replica

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"

	"consort/coordinator/peer"
)

// Names of the calls between nodes.
const (
	callPropose   = "replica/propose"
	callReadIndex = "replica/read-index"
)

// MaxCommand is the greatest size in bytes of a command. Package command has a smaller limit; this one
// keeps any mistake out of the log.
const MaxCommand = 128 << 10

// retryPause is how long a node waits before it asks a leader again that did not feel like one.
const retryPause = 20 * time.Millisecond

// outcome is what came of a command.
type outcome struct {
	result any
	index  uint64
}

// Propose has a command replicated and applied, by way of the leader, and returns the state machine's
// result and the command's index in the log. Errors are ErrNotLeader, ErrOverloaded and ErrStopped,
// when nothing was proposed, and ErrUnknown.
func (r *Replica) Propose(ctx context.Context, data []byte) (result any, index uint64, err error) {
	if len(data) == 0 || len(data) > MaxCommand {
		return nil, 0, fmt.Errorf("propose a command of %d bytes: want 1 to %d", len(data), MaxCommand)
	}
	start := time.Now()
	ctx, cancel := context.WithTimeout(ctx, r.cfg.Timeout)
	defer cancel()
	out, err := atLeader(ctx, r,
		func(l *leadership) (outcome, error) { return r.proposeHere(ctx, l, data) },
		func(addr string) (outcome, error) { return r.proposeAt(ctx, addr, data) })
	r.metrics.proposed(time.Since(start), err)
	return out.result, out.index, err
}

// atLeader does something where the leader is: here, or at another node's address. It waits for a leader
// for a while, and tries again as long as nothing was done.
func atLeader[T any](ctx context.Context, r *Replica, here func(*leadership) (T, error), there func(string) (T, error)) (T, error) {
	var zero T
	wait := time.NewTimer(r.cfg.LeaderWait)
	defer wait.Stop()
	for {
		if r.stopping.Load() {
			return zero, ErrStopped
		}
		changed := r.changed.wait() // before looking, so that no change is missed
		out, err := zero, error(ErrNotLeader)
		addr, id := r.raft.LeaderWithID()
		if l := r.term.Load(); l != nil {
			out, err = here(l)
		} else if addr != "" && string(id) != r.cfg.Identity.Node {
			out, err = there(string(addr))
		}
		if !errors.Is(err, ErrNotLeader) {
			return out, err
		}
		var again <-chan time.Time
		if addr != "" {
			again = time.After(retryPause) // the leader we know of may open, or may be the wrong one
		}
		select {
		case <-changed:
		case <-again:
		case <-wait.C:
			return zero, fmt.Errorf("wait for a leader: %w", ErrNotLeader)
		case <-ctx.Done():
			return zero, fmt.Errorf("%w: %w", ErrNotLeader, ctx.Err())
		case <-r.ctx.Done():
			return zero, ErrStopped
		}
	}
}

// proposeHere puts a command into this leader's log.
func (r *Replica) proposeHere(ctx context.Context, l *leadership, data []byte) (outcome, error) {
	select {
	case r.slots <- struct{}{}:
	case <-ctx.Done():
		return outcome{}, fmt.Errorf("%w: %w", ErrOverloaded, ctx.Err())
	case <-r.ctx.Done():
		return outcome{}, ErrStopped
	}
	land, err := r.flights.board(ctx)
	if err != nil {
		<-r.slots
		return outcome{}, fmt.Errorf("%w: %w", ErrOverloaded, err)
	}
	future, err := r.enqueue(ctx, l, data)
	if err != nil {
		land()
		<-r.slots
		return outcome{}, err
	}
	type answer struct {
		outcome
		err error
	}
	done := make(chan answer, 1)
	go func() { // Raft's futures cannot be waited for with a context
		defer func() { land(); <-r.slots }()
		err := classify(future.Error())
		if err != nil {
			done <- answer{err: err}
			return
		}
		done <- answer{outcome: outcome{future.Response(), future.Index()}}
	}()
	select {
	case a := <-done:
		if _, no := a.result.(unapplied); no {
			return outcome{}, fmt.Errorf("%w: the state machine stopped", ErrUnknown)
		}
		return a.outcome, a.err
	case <-ctx.Done():
		return outcome{}, fmt.Errorf("%w: %w", ErrUnknown, ctx.Err())
	case <-r.ctx.Done():
		return outcome{}, fmt.Errorf("%w: the node stopped", ErrUnknown)
	}
}

// enqueue stamps a command and hands it to Raft, one at a time so that times follow the order of the log.
func (r *Replica) enqueue(ctx context.Context, l *leadership, data []byte) (raft.ApplyFuture, error) {
	select {
	case r.order <- struct{}{}:
		defer func() { <-r.order }()
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: %w", ErrOverloaded, ctx.Err())
	}
	deadline, ok := ctx.Deadline()
	left := time.Until(deadline)
	if !ok || left <= 0 { // Raft takes 0 for no limit
		return nil, ErrOverloaded
	}
	if r.cfg.Stamp != nil {
		data = r.cfg.Stamp(data, l.clock.now())
	}
	return r.raft.ApplyLog(raft.Log{Data: data}, left), nil
}

// classify turns an error of Raft into one of ours.
func classify(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrLeadershipTransferInProgress):
		return fmt.Errorf("%w: %w", ErrNotLeader, err)
	case errors.Is(err, raft.ErrEnqueueTimeout):
		return fmt.Errorf("%w: %w", ErrOverloaded, err)
	default: // leadership lost, shut down, log not written: the entry may be in other logs
		return fmt.Errorf("%w: %w", ErrUnknown, err)
	}
}

// proposeAt forwards a command to the leader at addr.
func (r *Replica) proposeAt(ctx context.Context, addr string, data []byte) (outcome, error) {
	body, err := r.cfg.Peer.Call(ctx, addr, callPropose, data)
	if err != nil {
		return outcome{}, classifyCall(err)
	}
	if len(body) < 8 {
		return outcome{}, fmt.Errorf("%w: leader's answer has %d bytes", ErrUnknown, len(body))
	}
	result, err := r.cfg.DecodeResult(body[8:])
	if err != nil {
		return outcome{}, fmt.Errorf("%w: read leader's answer: %w", ErrUnknown, err)
	}
	return outcome{result, binary.BigEndian.Uint64(body)}, nil
}

// classifyCall turns an error of a call to the leader into one of ours.
func classifyCall(err error) error {
	switch {
	case errors.Is(err, ErrNotLeader), errors.Is(err, ErrOverloaded), errors.Is(err, ErrUnknown):
		return err
	case errors.Is(err, peer.ErrUnreachable), errors.Is(err, peer.ErrNoHandler), errors.Is(err, ErrStopped):
		return fmt.Errorf("%w: %w", ErrNotLeader, err)
	case errors.Is(err, peer.ErrBusy):
		return fmt.Errorf("%w: %w", ErrOverloaded, err)
	case errors.Is(err, peer.ErrClosed):
		return fmt.Errorf("%w: %w", ErrStopped, err)
	default:
		return fmt.Errorf("%w: %w", ErrUnknown, err)
	}
}

// handlePropose answers a node that forwards a command. It never forwards it again.
func (r *Replica) handlePropose(ctx context.Context, _ string, data []byte) ([]byte, error) {
	if r.stopping.Load() {
		return nil, ErrStopped
	}
	l := r.term.Load()
	if l == nil {
		return nil, ErrNotLeader
	}
	if len(data) == 0 || len(data) > MaxCommand {
		return nil, fmt.Errorf("forwarded command has %d bytes: want 1 to %d", len(data), MaxCommand)
	}
	ctx, cancel := context.WithTimeout(ctx, r.cfg.Timeout)
	defer cancel()
	out, err := r.proposeHere(ctx, l, data)
	if err != nil {
		return nil, err
	}
	body, err := r.cfg.EncodeResult(out.result)
	if err != nil {
		return nil, fmt.Errorf("%w: encode result: %w", ErrUnknown, err)
	}
	return append(binary.BigEndian.AppendUint64(nil, out.index), body...), nil
}
