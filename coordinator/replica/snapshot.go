package replica

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

// retrySnapshot is the wait after a snapshot that could not be taken.
const retrySnapshot = time.Minute

// snapshotDue counts the log since the last snapshot. A snapshot costs as much as the state is big, so it
// is worth taking when the log has grown by a part of that.
type snapshotDue struct {
	bytes  atomic.Int64
	signal chan struct{} // of capacity 1
}

// logged is told of each write of the log.
func (r *Replica) logged(bytes int64, took time.Duration) {
	r.metrics.logWritten(took)
	r.grow(bytes)
}

func (r *Replica) grow(bytes int64) {
	if r.grown.bytes.Add(bytes) >= r.cfg.SnapshotBytes {
		select {
		case r.grown.signal <- struct{}{}:
		default:
		}
	}
}

// snapshotLoop takes a snapshot when one is due, but not too often.
func (r *Replica) snapshotLoop() {
	pause := time.NewTimer(0) // none at first: the last snapshot may be long ago
	defer pause.Stop()
	for {
		select {
		case <-pause.C:
		case <-r.ctx.Done():
			return
		}
		select {
		case <-r.grown.signal:
		case <-r.ctx.Done():
			return
		}
		if r.grown.bytes.Load() < r.snapshotLimit() {
			pause.Reset(time.Second) // spares a look at the state's size for each write
			continue
		}
		pause.Reset(r.cfg.SnapshotInterval)
		if err := r.Snapshot(r.ctx); err != nil && r.ctx.Err() == nil {
			r.cfg.Logger.Error("take a snapshot; will try again", "error", err)
			pause.Reset(min(r.cfg.SnapshotInterval, retrySnapshot))
		}
	}
}

func (r *Replica) snapshotLimit() int64 {
	limit := r.cfg.SnapshotBytes
	if r.cfg.StateBytes != nil {
		limit = max(limit, r.cfg.StateBytes()/2)
	}
	return limit
}

// Snapshot takes a snapshot of this node's state now and shortens its log.
func (r *Replica) Snapshot(ctx context.Context) error {
	covered := r.grown.bytes.Load()
	err := await(ctx, func() error { return r.raft.Snapshot().Error() })
	if errors.Is(err, raft.ErrNothingNewToSnapshot) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("take a snapshot: %w", err)
	}
	r.grown.bytes.Add(-covered)
	return nil
}
