package replica

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/hashicorp/raft"
	wal "github.com/hashicorp/raft-wal"

	"consort/coordinator/peer"
)

const (
	// keptSnapshots lets an older snapshot stand in for a damaged newest one.
	keptSnapshots = 2
	// cachedEntries of the log's end are kept in memory for followers.
	cachedEntries = 1024
	// wayBack is what to do when something was lost. The data of a lone node are the only ones there are.
	wayBack = "restore the whole data directory from one backup; only where other nodes of the cluster go on can this node's data be removed instead, to let it rejoin"
)

// Open starts the node's part in the cluster. What it finds in Dir is checked against the state first: what
// does not fit is refused with ErrInconsistent, ErrForeign, ErrNewer, ErrLocked or ErrCorrupt, and left
// untouched.
func Open(cfg Config) (*Replica, error) {
	if err := cfg.setDefaults(); err != nil {
		return nil, err
	}
	r := &Replica{
		cfg:    cfg,
		order:  make(chan struct{}, 1),
		slots:  make(chan struct{}, cfg.MaxInFlight),
		asks:   make(chan struct{}, 16),
		hooked: make(chan struct{}),
		failed: make(chan struct{}),
	}
	r.grown.signal = make(chan struct{}, 1)
	r.stopRaft = sync.OnceValue(func() error { return r.raft.Shutdown().Error() })
	r.ctx, r.cancel = context.WithCancel(context.Background())
	if err := r.open(); err != nil {
		r.cancel()
		r.wg.Wait()
		return nil, errors.Join(err, r.closeAll(context.Background()))
	}
	return r, nil
}

func (r *Replica) open() (err error) {
	if r.claim, err = ClaimDir(r.cfg.Dir, r.cfg.Identity); err != nil {
		return err
	}
	if r.metrics, err = newMetrics(r); err != nil {
		return err
	}
	if err := r.openLog(); err != nil {
		return err
	}
	applied, _ := r.cfg.Machine.Applied()
	r.seen.advance(applied)
	r.fsm = &fsm{replica: r, machine: r.cfg.Machine, applied: applied}
	r.transport = raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream: stream{r.cfg.Peer.Raft()}, Logger: newHCLog(r.cfg.Logger),
		MaxPool: 3, Timeout: 10 * time.Second,
		MaxRPCsInFlight:         1, // with pipelining a follower whose disk stalled may be left behind for ever
		MsgpackUseNewTimeFormat: true,
	})
	return r.startRaft(applied)
}

// openLog opens log and snapshots.
func (r *Replica) openLog() (err error) {
	dir := filepath.Join(r.cfg.Dir, "log")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make directory of the Raft log: %w", err)
	}
	if r.log, err = wal.Open(dir, wal.WithSegmentSize(r.cfg.segmentBytes), wal.WithLogger(newHCLog(r.cfg.Logger))); err != nil {
		return fmt.Errorf("open Raft log in %s: %w; if the disk lost it, %s", dir, err, wayBack)
	}
	r.store = newLogStore(r.log, r.cfg.WriteTimeout, r.logged, r.fail)
	r.snapshots, err = raft.NewFileSnapshotStoreWithLogger(r.cfg.Dir, keptSnapshots, newHCLog(r.cfg.Logger))
	if err != nil {
		return fmt.Errorf("open snapshots in %s: %w", r.cfg.Dir, err)
	}
	return nil
}

func (r *Replica) startRaft(applied uint64) error {
	snapshot, err := r.checkHistory(applied)
	if err != nil {
		return err
	}
	cached, err := raft.NewLogCache(cachedEntries, r.store)
	if err != nil {
		return fmt.Errorf("make log cache: %w", err)
	}
	notify := make(chan bool, 1)
	conf := r.raftConfig(notify)
	// The state is durable of itself, so a snapshot is restored only if it is ahead of the state.
	conf.NoSnapshotRestoreOnStart = applied >= snapshot
	if err := r.bootstrap(conf, cached); err != nil {
		return err
	}
	if r.raft, err = raft.NewRaft(conf, r.fsm, cached, r.log, r.snapshots, r.transport); err != nil {
		return fmt.Errorf("start Raft: %w", err)
	}
	r.started.Store(r.raft)
	r.start(notify)
	return nil
}

func (r *Replica) raftConfig(notify chan<- bool) *raft.Config {
	conf := raft.DefaultConfig()
	conf.LocalID = raft.ServerID(r.cfg.Identity.Node)
	conf.Logger = newHCLog(r.cfg.Logger)
	conf.NotifyCh = notify
	conf.HeartbeatTimeout = r.cfg.ElectionTimeout
	conf.ElectionTimeout = r.cfg.ElectionTimeout
	conf.LeaderLeaseTimeout = r.cfg.ElectionTimeout / 2
	conf.MaxAppendEntries = 256
	conf.BatchApplyCh = true
	conf.NoLegacyTelemetry = true
	conf.TrailingLogs = r.cfg.TrailingLogs
	conf.SnapshotThreshold = math.MaxUint64 // snapshots are due by bytes of log; see snapshot.go
	conf.SnapshotInterval = 24 * time.Hour
	return conf
}

// checkHistory compares log, snapshots and state, and returns the newest snapshot's index. Raft would not
// notice a state without its log: it would number new commands from the start, and the state would skip
// them as already applied.
func (r *Replica) checkHistory(applied uint64) (snapshot uint64, err error) {
	snapshots, err := r.snapshots.List()
	if err != nil {
		return 0, fmt.Errorf("list snapshots: %w", err)
	}
	if len(snapshots) > 0 {
		snapshot = snapshots[0].Index
	}
	first, err := r.log.FirstIndex()
	if err != nil {
		return 0, fmt.Errorf("read Raft log: %w", err)
	}
	last, err := r.log.LastIndex()
	if err != nil {
		return 0, fmt.Errorf("read Raft log: %w", err)
	}
	if applied > max(snapshot, last) {
		return 0, fmt.Errorf("%w: the state holds entry %d but the log in %s ends at %d and the newest snapshot is of %d; %s",
			ErrInconsistent, applied, r.cfg.Dir, last, snapshot, wayBack)
	}
	if first > snapshot+1 {
		return 0, fmt.Errorf("%w: the log in %s begins at entry %d but the newest snapshot is of %d; %s",
			ErrInconsistent, r.cfg.Dir, first, snapshot, wayBack)
	}
	if err := r.checkTerm(first, last); err != nil {
		return 0, err
	}
	r.grow(r.estimateLog(max(first, snapshot+1), last))
	return snapshot, nil
}

// checkTerm compares the term of the entry that the state holds last with that of the entry in the log.
func (r *Replica) checkTerm(first, last uint64) error {
	index, term := r.cfg.Machine.Applied()
	if index == 0 || index < first || index > last {
		return nil
	}
	var entry raft.Log
	if err := r.log.GetLog(index, &entry); err != nil {
		return fmt.Errorf("read entry %d of the Raft log in %s: %w", index, r.cfg.Dir, err)
	}
	if entry.Type == raft.LogCommand && entry.Term != term {
		return fmt.Errorf("%w: entry %d is of term %d in the state but of term %d in the log in %s; %s",
			ErrInconsistent, index, term, entry.Term, r.cfg.Dir, wayBack)
	}
	return nil
}

// estimateLog returns the bytes of the entries from first to last, from a sample of them.
func (r *Replica) estimateLog(first, last uint64) int64 {
	if last == 0 || first > last {
		return 0
	}
	const samples = 64
	n := last - first + 1
	step := max(n/samples, 1)
	var bytes, taken int64
	for i := first; i <= last; i += step {
		var entry raft.Log
		if err := r.log.GetLog(i, &entry); err == nil { // else Raft itself will complain
			bytes += entryBytes(&entry)
			taken++
		}
	}
	return bytes / max(taken, 1) * int64(n)
}

func (r *Replica) bootstrap(conf *raft.Config, logs raft.LogStore) error {
	exists, err := raft.HasExistingState(logs, r.log, r.snapshots)
	if err != nil {
		return fmt.Errorf("look for Raft's state: %w", err)
	}
	if exists || len(r.cfg.Bootstrap) == 0 {
		return nil
	}
	var servers []raft.Server
	for _, s := range r.cfg.Bootstrap {
		servers = append(servers, raft.Server{ID: raft.ServerID(s.ID), Address: raft.ServerAddress(s.Address)})
	}
	err = raft.BootstrapCluster(conf, logs, r.log, r.snapshots, r.transport, raft.Configuration{Servers: servers})
	if err != nil {
		return fmt.Errorf("begin a new cluster: %w", err)
	}
	return nil
}

// start runs everything that goes on while the node is up.
func (r *Replica) start(notify <-chan bool) {
	r.reads.run = r.readOnce
	r.verifies.run = r.verifyOnce
	r.cfg.Peer.Handle(callPropose, r.handlePropose)
	r.cfg.Peer.Handle(callReadIndex, r.handleReadIndex)
	r.wg.Go(func() { r.watchLeader() })
	r.wg.Go(func() { r.watchTerms(notify) })
	r.wg.Go(func() { r.snapshotLoop() })
	r.wg.Go(func() { r.watchFailure() })
	r.wg.Go(func() { r.standAlone() })
}

// watchFailure takes a failed node out of the cluster at once, so that another can lead.
func (r *Replica) watchFailure() {
	select {
	case <-r.failed:
		r.drain(r.ctx)
		if err := r.stopRaft(); err != nil {
			r.cfg.Logger.Error("stop Raft", "error", err)
		}
	case <-r.ctx.Done():
	}
}

// standAlone lets the only voter of a cluster lead at once: it asks itself to stand for election, as a
// leader asks its successor, instead of waiting for a leader that cannot exist.
func (r *Replica) standAlone() {
	voters := r.Status().Voters
	if len(voters) != 1 || voters[0].ID != r.cfg.Identity.Node {
		return
	}
	self := raft.ServerID(r.cfg.Identity.Node)
	addr := r.transport.LocalAddr()
	request := raft.TimeoutNowRequest{RPCHeader: raft.RPCHeader{
		ProtocolVersion: raft.ProtocolVersionMax,
		ID:              []byte(self),
		Addr:            r.transport.EncodePeer(self, addr),
	}}
	if err := r.transport.TimeoutNow(self, addr, &request, new(raft.TimeoutNowResponse)); err != nil {
		r.cfg.Logger.Debug("election waits for the time-out", "error", err)
	}
}

// stream is the port's stream in the types of Raft's transport.
type stream struct{ *peer.RaftStream }

func (s stream) Dial(addr raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	return s.RaftStream.Dial(string(addr), timeout)
}
