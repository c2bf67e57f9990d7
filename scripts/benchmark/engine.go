package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"path/filepath"
	"time"

	"consort/coordinator/command"
	"consort/coordinator/peer"
	"consort/coordinator/pki"
	"consort/coordinator/replica"
	"consort/coordinator/state"
	"consort/shared/ids"
)

// engine is what lies below a coordinator's use cases — Raft log, state machine, Badger — without HTTP, checks
// and files. It is the ceiling of what a coordinator can create, and fills data directories quickly.
type engine struct {
	state   *state.Store
	port    *peer.Port
	replica *replica.Replica
}

// machine shows the state to the replica.
type machineOf struct{ *state.Store }

func (m machineOf) ApplyBatch(entries []replica.Entry) ([]any, error) {
	own := make([]state.Entry, len(entries))
	for i, e := range entries {
		own[i] = state.Entry(e)
	}
	return m.Store.ApplyBatch(own)
}

func (m machineOf) Snapshot() (replica.Snapshot, error) { return m.Store.Snapshot() }

func (m machineOf) Restore(r io.Reader) error { return m.Store.Restore(r) }

// openEngine opens the data directory of a coordinator that does not run, or makes one.
func openEngine(ctx context.Context, dir string) (e *engine, err error) {
	e = &engine{}
	defer func() {
		if err != nil {
			err = errors.Join(err, e.close())
		}
	}()
	log := slog.New(slog.DiscardHandler)
	id, err := replica.ReadIdentity(dir)
	if errors.Is(err, fs.ErrNotExist) {
		id, err = replica.Identity{Cluster: pki.NewID(), Node: pki.NewID()}, nil
	}
	if err != nil {
		return e, err
	}
	ca, err := pki.EnsureAuthority(filepath.Join(dir, "pki"), id.Cluster)
	if err != nil {
		return e, err
	}
	node, err := ca.EnsureNode(filepath.Join(dir, "pki"), id.Node)
	if err != nil {
		return e, err
	}
	if e.state, err = state.Open(state.Config{Dir: filepath.Join(dir, "state"), Logger: log}); err != nil {
		return e, err
	}
	e.port, err = peer.Listen(peer.Config{Listen: "127.0.0.1:0", TLS: node.PeerTLS(), PeerID: node.PeerID, Logger: log})
	if err != nil {
		return e, err
	}
	e.replica, err = replica.Open(replica.Config{
		Dir: filepath.Join(dir, "raft"), Identity: id, Machine: machineOf{e.state}, Peer: e.port,
		Bootstrap: []replica.Server{{ID: id.Node, Address: e.port.Addr().String()}},
		LastTime:  e.state.LastTime, Stamp: command.Stamp, Logger: log, Timeout: time.Minute,
		LeaderStarted: func(term uint64, now time.Time) []byte {
			data, _ := command.Encode(&command.Command{TimeUs: now.UnixMicro(), Principal: "leader",
				Body: &command.Command_LeaderStarted{LeaderStarted: &command.LeaderStarted{Node: id.Node, Term: term}}})
			return data
		},
		EncodeResult: func(r any) ([]byte, error) { return command.EncodeResult(r.(*command.Result)) },
		DecodeResult: func(data []byte) (any, error) { return command.DecodeResult(data) },
	})
	if err != nil {
		return e, err
	}
	return e, e.lead(ctx)
}

// lead waits until the only node leads.
func (e *engine) lead(ctx context.Context) error {
	leading := make(chan struct{}, 1)
	e.replica.OnLeadership(func(context.Context, uint64) error { leading <- struct{}{}; return nil }, func() {})
	select {
	case <-leading:
		return nil
	case <-e.replica.Failed():
		return e.replica.Err()
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (e *engine) close() error {
	var errs []error
	if e.replica != nil {
		errs = append(errs, e.replica.Shutdown(context.Background()))
	}
	if e.port != nil {
		errs = append(errs, e.port.Close())
	}
	if e.state != nil {
		errs = append(errs, e.state.Close())
	}
	return errors.Join(errs...)
}

// propose has a command applied; one that the state refuses is an error.
func (e *engine) propose(ctx context.Context, c *command.Command) error {
	data, err := command.Encode(c)
	if err != nil {
		return err
	}
	out, _, err := e.replica.Propose(ctx, data)
	if err != nil {
		return err
	}
	if r := out.(*command.Result); r.Code != command.Result_OK {
		return fmt.Errorf("%s: %s", r.Code, r.Message)
	}
	return nil
}

// publish makes a definition that jobs can be created of.
func (e *engine) publish(ctx context.Context, name, version, digest string) error {
	return e.propose(ctx, &command.Command{Body: &command.Command_PublishDefinition{PublishDefinition: &command.PublishDefinition{
		Name: name, Version: version, Digest: digest,
		Files: []*command.BundleFile{{Path: "definition.toml", Sha256: digest, Size: 1}},
	}}})
}

// createProbe is the command that a coordinator proposes for a probe job with a text.
func createProbe(version, digest string) *command.Command {
	hash := sha256.Sum256([]byte(digest))
	return &command.Command{RequestKey: ids.NewKey(), RequestHash: hash[:],
		Body: &command.Command_CreateJob{CreateJob: &command.CreateJob{
			Id: ids.NewJob(time.Now()), Definition: "probe", Version: version, Digest: digest,
			Parameters:       []*command.Parameter{{Name: "text", Values: []string{"hello"}}},
			Resources:        &command.Resources{Nodes: 1, Tasks: 1, Cores: 1, MemoryBytes: 64 << 20, ScratchBytes: 100e6},
			ExecutionSeconds: 3600, MaxExecutionSeconds: 3600, RetentionSeconds: 30 * 86400, Retry: &command.Retry{Lost: "hold"},
		}}}
}
