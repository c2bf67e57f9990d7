package coordinator

import (
	"context"
	"fmt"
	"io"
	"time"

	"consort/coordinator/command"
	"consort/coordinator/content"
	"consort/coordinator/replica"
	"consort/coordinator/state"
	"consort/coordinator/watch"
)

// machine shows the state to the replica.
type machine struct{ *state.Store }

func (m machine) ApplyBatch(entries []replica.Entry) ([]any, error) {
	own := make([]state.Entry, len(entries))
	for i, e := range entries {
		own[i] = state.Entry(e)
	}
	return m.Store.ApplyBatch(own)
}

func (m machine) Snapshot() (replica.Snapshot, error) { return m.Store.Snapshot() }

func (m machine) Restore(r io.Reader) error { return m.Store.Restore(r) }

// ledger is the replicated log as the use cases see it: typed commands in, typed results out.
type ledger struct {
	replica *replica.Replica
	files   *content.Store
}

// Propose appends c and returns what applying it answered. Below the hard floor of free disk space it
// refuses everything, before the log or the state could be hurt by a full disk.
func (l *ledger) Propose(ctx context.Context, c *command.Command) (*command.Result, error) {
	if _, hard, err := l.files.Low(); err != nil {
		return nil, fmt.Errorf("look at the free disk space: %w", err)
	} else if hard {
		return nil, content.ErrDiskLow
	}
	data, err := command.Encode(c)
	if err != nil {
		return nil, err
	}
	result, _, err := l.replica.Propose(ctx, data)
	if err != nil {
		return nil, err
	}
	return result.(*command.Result), nil
}

// WaitRead returns when everything acknowledged before the call can be read here.
func (l *ledger) WaitRead(ctx context.Context) error { return l.replica.WaitRead(ctx) }

// now is the cluster's time on the leader, else this machine's.
func (l *ledger) now() time.Time {
	if t, leading := l.replica.Now(); leading {
		return t
	}
	return time.Now()
}

func encodeResult(r any) ([]byte, error) { return command.EncodeResult(r.(*command.Result)) }

func decodeResult(data []byte) (any, error) { return command.DecodeResult(data) }

// leaderStarted is the command that opens a term.
func leaderStarted(node string) func(term uint64, now time.Time) []byte {
	return func(term uint64, now time.Time) []byte {
		data, err := command.Encode(&command.Command{
			TimeUs: now.UnixMicro(), Principal: "leader",
			Body: &command.Command_LeaderStarted{LeaderStarted: &command.LeaderStarted{Node: node, Term: term}},
		})
		if err != nil { // a constant command of a few bytes
			panic(err)
		}
		return data
	}
}

// publish hands the state's events to the hub.
func publish(hub *watch.Hub) func([]state.Event) {
	return func(events []state.Event) {
		out := make([]watch.Event, len(events))
		for i, e := range events {
			out[i] = watch.Event{Kind: e.Phase, Job: e.Job, Definition: e.Definition, Site: e.Site, Version: e.Version, Index: e.Index}
		}
		hub.Publish(out)
	}
}
