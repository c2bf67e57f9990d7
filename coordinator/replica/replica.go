// Package replica keeps the state machine of one node equal to those of its cluster, by Raft: it proposes
// commands, answers from where on a read is linearizable, runs what only the leader may run, and takes
// snapshots. It is the only importer of hashicorp/raft.
//
// It does not know what commands mean or how the state is stored; that is the StateMachine's. Changing
// the members of a running cluster is not its business yet: the first start fixes them.
package replica

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
	wal "github.com/hashicorp/raft-wal"
	"github.com/prometheus/client_golang/prometheus"

	"consort/coordinator/peer"
)

var (
	// ErrNotLeader means that no leader could be asked. Nothing was proposed: try again, here or elsewhere.
	ErrNotLeader = peer.NewError("not-leader", "no leader can be reached")
	// ErrUnknown means that the command may or may not take effect: leadership was lost, or time ran out,
	// after it had been proposed. Only a repetition with the same idempotency key is safe.
	ErrUnknown = peer.NewError("unknown-outcome", "outcome of the command is unknown")
	// ErrOverloaded means that too many commands are in flight. Nothing was proposed: try again later.
	ErrOverloaded = peer.NewError("overloaded", "too many commands in flight")
	// ErrStopped means that this node is stopping or has failed. Nothing was proposed.
	ErrStopped = peer.NewError("stopped", "node is stopping")
	// ErrInconsistent means that log, snapshots and state do not fit together, so that something of them
	// was lost or replaced; the node does not start.
	ErrInconsistent = errors.New("log, snapshots and state do not fit together")
)

// Entry is a committed command.
type Entry struct {
	Index, Term uint64
	Data        []byte
}

// StateMachine is the replicated state. ApplyBatch, StoreConfiguration, Snapshot and Restore are called from
// one goroutine; a snapshot is written while more is applied.
type StateMachine interface {
	// ApplyBatch applies the entries in order and durably, and returns a result for each. An error means
	// that the node must stop: it knows no such command, or its disk is broken.
	ApplyBatch(entries []Entry) ([]any, error)
	// StoreConfiguration keeps Raft's configuration, as encoded by Raft, with its index.
	StoreConfiguration(index uint64, configuration []byte) error
	// Applied returns index and term of the last entry that the state holds, zeros if it is empty.
	Applied() (index, term uint64)
	// Snapshot returns the state of now. It must be cheap.
	Snapshot() (Snapshot, error)
	// Restore replaces the state by a snapshot's. On error the old state must still be there.
	Restore(io.Reader) error
}

// Snapshot is the state at one point in time.
type Snapshot interface {
	WriteTo(w io.Writer) (int64, error)
	Close()
}

// Server is a voting member of the cluster.
type Server struct {
	ID      string
	Address string // of its peer port
}

// Config says what a replica needs. Fields without a stated default are needed.
type Config struct {
	// Dir is the directory of log and snapshots; it is made if missing.
	Dir string
	// Identity is written into a new Dir and must be that of an existing one.
	Identity Identity
	// Machine is the state machine, opened by the caller and closed by it after Shutdown.
	Machine StateMachine
	// Peer is the port to the other nodes, opened by the caller and closed by it after Shutdown. It serves
	// one replica: a next one needs a new port.
	Peer *peer.Port
	// Bootstrap lists the voters of a new cluster, the same list in the same order on each. It is looked at
	// only when Dir is new. Empty: wait to be taken into a cluster.
	Bootstrap []Server
	// LeaderStarted returns the command that opens a term; now is the cluster's time.
	LeaderStarted func(term uint64, now time.Time) []byte
	// LastTime returns the latest time in the state, zero if there is none.
	LastTime func() time.Time
	// Stamp returns the command with its time set. The leader calls it for each command, in the order
	// of the log, with strictly increasing microseconds. Nil: commands carry no time.
	Stamp func(data []byte, now time.Time) []byte
	// EncodeResult and DecodeResult carry results of ApplyBatch from the leader to the node that asked.
	EncodeResult func(any) ([]byte, error)
	DecodeResult func([]byte) (any, error)
	// StateBytes returns the size of the state on disk, to balance snapshots against it. Nil: unknown.
	StateBytes func() int64
	// Restored is called after a snapshot replaced the state, for all who wait to read again. May be nil.
	Restored func()
	// Logger receives what happens.
	Logger *slog.Logger
	// Registerer receives the metrics. Nil: none are kept.
	Registerer prometheus.Registerer

	// MaxInFlight bounds the commands proposed at a time through this node. 0 means 4,096.
	MaxInFlight int
	// Timeout bounds Propose and reads, besides their contexts. 0 means 10 s.
	Timeout time.Duration
	// LeaderWait is how long a request waits for a leader. 0 means 5 s.
	LeaderWait time.Duration
	// WriteTimeout is how long one write of the log may take before the disk is taken for broken and the
	// node fails, so that others can lead. 0 means 10 s.
	WriteTimeout time.Duration
	// ElectionTimeout is how long a silent leader is trusted. 0 means 1 s.
	ElectionTimeout time.Duration
	// SnapshotBytes of new log, or half of StateBytes if that is more, make a snapshot. 0 means 64 MiB.
	SnapshotBytes int64
	// SnapshotInterval is the least time between such snapshots. 0 means 10 min.
	SnapshotInterval time.Duration
	// TrailingLogs is how many entries are kept behind a snapshot for slow followers. 0 means 200,000.
	TrailingLogs uint64

	// segmentBytes is the size of the log's files, which are allocated ahead. 0 means 16 MiB, so that a
	// small cluster needs little room; tests make it small, since only whole files are dropped.
	segmentBytes int
}

func (c *Config) setDefaults() error {
	if c.Dir == "" || c.Machine == nil || c.Peer == nil || c.LeaderStarted == nil || c.LastTime == nil ||
		c.EncodeResult == nil || c.DecodeResult == nil || c.Logger == nil {
		return errors.New("replica: Dir, Machine, Peer, LeaderStarted, LastTime, EncodeResult, DecodeResult and Logger are needed")
	}
	setDefault(&c.MaxInFlight, 4096)
	setDefault(&c.Timeout, 10*time.Second)
	setDefault(&c.LeaderWait, 5*time.Second)
	setDefault(&c.WriteTimeout, 10*time.Second)
	setDefault(&c.ElectionTimeout, time.Second)
	setDefault(&c.SnapshotBytes, 64<<20)
	setDefault(&c.SnapshotInterval, 10*time.Minute)
	setDefault(&c.TrailingLogs, 200_000)
	setDefault(&c.segmentBytes, 16<<20)
	return nil
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Replica is one node's part in the cluster.
type Replica struct {
	cfg       Config
	claim     *Claim
	log       *wal.WAL
	store     *logStore
	snapshots *raft.FileSnapshotStore
	transport *raft.NetworkTransport
	raft      *raft.Raft
	started   atomic.Pointer[raft.Raft] // the same, for metrics that are asked before it runs
	metrics   *metrics

	fsm      *fsm
	seen     progress                   // of command and configuration entries
	grown    snapshotDue                // bytes of log since the last snapshot
	term     atomic.Pointer[leadership] // nil unless this node leads and its LeaderStarted was applied
	changed  broadcast                  // leader or term changed
	order    chan struct{}              // a lock: commands enter the log in the order of their times
	slots    chan struct{}              // one taken for each command in flight
	flights  flights                    // the groups they travel in
	asks     chan struct{}              // one taken for each other question to Raft, which may outlive who asked
	reads    coalescer
	verifies coalescer

	hooked    chan struct{} // closed when establish and revoke are known
	hookOnce  sync.Once
	establish func(context.Context, uint64) error
	revoke    func()

	ctx      context.Context // ends when the node stops
	cancel   context.CancelFunc
	wg       sync.WaitGroup
	spawning sync.Mutex  // guards the end of spawn
	stopping atomic.Bool // no more requests are taken
	stopOnce sync.Once
	stopErr  error
	stopRaft func() error // once
	drained  sync.Once
	failOnce sync.Once
	failed   chan struct{}
	failure  error // set before failed is closed
}

// Failed is closed when the node can go on no longer: the state machine refused an entry or the disk is
// broken. The caller should then call Shutdown and end the process; Err says why.
func (r *Replica) Failed() <-chan struct{} { return r.failed }

// Err returns why the node failed, nil while it has not.
func (r *Replica) Err() error {
	select {
	case <-r.failed:
		return r.failure
	default:
		return nil
	}
}

// fail stops the node's part in the cluster for good. Going on would fork the state or acknowledge what is
// not on disk.
func (r *Replica) fail(err error) {
	r.failOnce.Do(func() {
		r.failure = err
		r.stopping.Store(true)
		r.cfg.Logger.Error("this node stops taking part in the cluster", "error", err)
		close(r.failed)
	})
}

// Status is what a node knows of itself and its cluster.
type Status struct {
	State         string // "Leader", "Follower", "Candidate" or "Shutdown"
	Term          uint64
	LeaderID      string // empty if unknown
	LeaderAddress string
	Seen          uint64 // index of the last command or configuration that the state holds
	Commit        uint64
	LastIndex     uint64
	Voters        []Server
}

// Status returns the node's view of the moment.
func (r *Replica) Status() Status {
	addr, id := r.raft.LeaderWithID()
	s := Status{
		State: r.raft.State().String(), Term: r.raft.CurrentTerm(),
		LeaderID: string(id), LeaderAddress: string(addr),
		Seen: r.seen.load(), Commit: r.raft.CommitIndex(), LastIndex: r.raft.LastIndex(),
	}
	for _, server := range r.raft.GetConfiguration().Configuration().Servers {
		if server.Suffrage == raft.Voter {
			s.Voters = append(s.Voters, Server{string(server.ID), string(server.Address)})
		}
	}
	return s
}

// Elected tells whether this node is the leader, be it open for commands and reads already or not.
func (r *Replica) Elected() bool { return r.raft.State() == raft.Leader }

// Leading tells whether this node leads and its leadership is open for commands and reads.
func (r *Replica) Leading() bool { return r.term.Load() != nil }

// Ready returns nil if a leader is known and this node can take requests, else why not.
func (r *Replica) Ready() error {
	if err := r.Err(); err != nil {
		return err
	}
	if r.stopping.Load() {
		return ErrStopped
	}
	if addr, _ := r.raft.LeaderWithID(); addr == "" || r.raft.State() == raft.Leader && !r.Leading() {
		return ErrNotLeader
	}
	return nil
}

// Shutdown ends the node's part in the cluster: it takes no more commands, waits for those in flight, gives
// leadership away if there is somebody to take it, and closes the log. ctx bounds the polite part. It may
// be repeated.
func (r *Replica) Shutdown(ctx context.Context) error {
	r.stopOnce.Do(func() { r.stopErr = r.shutdown(ctx) })
	return r.stopErr
}

func (r *Replica) shutdown(ctx context.Context) error {
	r.stopping.Store(true)
	r.cfg.Peer.Handle(callPropose, nil)
	r.cfg.Peer.Handle(callReadIndex, nil)
	r.drain(ctx)
	if r.Err() == nil && r.raft.State() == raft.Leader && len(r.Status().Voters) > 1 {
		if err := await(ctx, r.raft.LeadershipTransfer().Error); err != nil {
			r.cfg.Logger.Warn("give leadership away before stopping", "error", err)
		}
	}
	r.spawning.Lock()
	r.cancel()
	r.spawning.Unlock()
	waited := await(ctx, func() error { r.wg.Wait(); return nil })
	short, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	takeAll(short, r.asks) // Raft leaves questions unanswered once it stops
	return errors.Join(waited, r.closeAll(ctx))
}

// spawn runs f in a goroutine that Shutdown waits for, unless the node stops.
func (r *Replica) spawn(f func()) bool {
	r.spawning.Lock()
	defer r.spawning.Unlock()
	if r.ctx.Err() != nil {
		return false
	}
	r.wg.Go(f)
	return true
}

// drain waits until no command is in flight, or for two seconds at most. No command gets in after it.
func (r *Replica) drain(ctx context.Context) {
	r.drained.Do(func() {
		ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		takeAll(ctx, r.slots)
	})
}

// takeAll takes all places of a semaphore, which waits for those who hold some.
func takeAll(ctx context.Context, semaphore chan struct{}) {
	for range cap(semaphore) {
		select {
		case semaphore <- struct{}{}:
		case <-ctx.Done():
			return
		}
	}
}

// closeAll closes what Open opened, also when it did not come to its end.
func (r *Replica) closeAll(ctx context.Context) error {
	var errs []error
	if r.raft != nil {
		if err := await(ctx, r.stopRaft); err != nil {
			errs = append(errs, fmt.Errorf("stop Raft: %w", err))
		}
	}
	if r.transport != nil {
		r.transport.Close() // Raft closed it if it stopped
	}
	if r.store != nil {
		r.store.close()
	}
	if r.log != nil {
		if err := await(ctx, r.log.Close); err != nil {
			errs = append(errs, fmt.Errorf("close Raft log: %w", err))
		}
	}
	if r.claim != nil {
		errs = append(errs, r.claim.Release())
	}
	if r.metrics != nil {
		r.metrics.unregister()
	}
	return errors.Join(errs...)
}

// ask runs f, a question to Raft that cannot be interrupted, and waits for its answer until ctx ends.
func (r *Replica) ask(ctx context.Context, f func() error) error {
	select {
	case r.asks <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	return await(ctx, func() error {
		defer func() { <-r.asks }()
		return f()
	})
}

// await runs f, which cannot be interrupted, and waits for it until ctx ends.
func await(ctx context.Context, f func() error) error {
	done := make(chan error, 1)
	go func() { done <- f() }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}
