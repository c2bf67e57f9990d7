package replica

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"consort/coordinator/peer"
	"consort/coordinator/pki"
)

// TestMain ignores questions to a Raft that was killed: it does not answer them any more.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/hashicorp/raft.(*deferError).Error"))
}

// machine is a small state machine that remembers all commands. It outlives its replica, as a state on disk
// outlives a process.
type machine struct {
	mu       sync.Mutex
	state    machineState
	batches  [][]uint64 // indices it was handed
	restores int
}

type machineState struct {
	Index, Term   uint64
	Configuration uint64
	Time          time.Time
	Commands      []string
}

var errRefused = errors.New("unknown command")

func (m *machine) ApplyBatch(entries []Entry) ([]any, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	results := make([]any, len(entries))
	var indices []uint64
	for i, e := range entries {
		indices = append(indices, e.Index)
		stamp, command, _ := strings.Cut(string(e.Data), "|")
		if command == "unknown" {
			return nil, errRefused
		}
		at, err := time.Parse(time.RFC3339Nano, stamp)
		if err != nil {
			return nil, err
		}
		m.state.Time = at
		m.state.Commands = append(m.state.Commands, command)
		m.state.Index, m.state.Term = e.Index, e.Term
		results[i] = "did " + command
	}
	m.batches = append(m.batches, indices)
	return results, nil
}

func (m *machine) StoreConfiguration(index uint64, configuration []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.state.Index, m.state.Configuration = index, index
	return nil
}

func (m *machine) Applied() (uint64, uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.state.Index, m.state.Term
}

func (m *machine) lastTime() time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.state.Time
}

// commands returns the commands applied so far, without those that open terms.
func (m *machine) commands() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []string
	for _, c := range m.state.Commands {
		if !strings.HasPrefix(c, "term ") {
			out = append(out, c)
		}
	}
	return out
}

func (m *machine) Snapshot() (Snapshot, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	data, err := json.Marshal(m.state)
	return &machineSnapshot{data}, err
}

func (m *machine) Restore(r io.Reader) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.restores++
	m.state = machineState{}
	return json.NewDecoder(r).Decode(&m.state)
}

type machineSnapshot struct{ data []byte }

func (s *machineSnapshot) WriteTo(w io.Writer) (int64, error) {
	n, err := w.Write(s.data)
	return int64(n), err
}

func (s *machineSnapshot) Close() {}

// node is a replica and what it needs.
type node struct {
	id      string
	dir     string
	listen  string
	tls     *pki.Identity
	machine *machine
	voters  func() []Server
	tune    func(*Config)

	port    *peer.Port
	replica *Replica
}

// cluster makes n nodes that know each other, not started yet.
func cluster(t testing.TB, n int) []*node {
	t.Helper()
	ca, err := pki.EnsureAuthority(t.TempDir(), "test")
	if err != nil {
		t.Fatal(err)
	}
	var nodes []*node
	for i := range n {
		id := fmt.Sprintf("node-%d", i)
		tls, err := ca.EnsureNode(t.TempDir(), id)
		if err != nil {
			t.Fatal(err)
		}
		nodes = append(nodes, &node{id: id, dir: t.TempDir(), listen: "127.0.0.1:0", tls: tls, machine: new(machine)})
	}
	voters := func() []Server {
		var s []Server
		for _, n := range nodes {
			s = append(s, Server{n.id, n.listen})
		}
		return s
	}
	for _, n := range nodes {
		n.voters = voters
		n.openPort(t) // all addresses must be known before the first replica starts
	}
	t.Cleanup(func() {
		for _, n := range nodes {
			n.kill(t)
		}
	})
	return nodes
}

func (n *node) openPort(t testing.TB) {
	t.Helper()
	var err error
	n.port, err = peer.Listen(peer.Config{Listen: n.listen, TLS: n.tls.PeerTLS(), PeerID: n.tls.PeerID, Logger: logger(t)})
	if err != nil {
		t.Fatal(err)
	}
	n.listen = n.port.Addr().String()
}

func (n *node) config(t testing.TB) Config {
	cfg := Config{
		Dir: n.dir, Identity: Identity{"test", n.id}, Machine: n.machine, Peer: n.port, Bootstrap: n.voters(),
		LeaderStarted: func(term uint64, now time.Time) []byte { return stamp(fmt.Appendf(nil, "term %d", term), now) },
		LastTime:      n.machine.lastTime,
		Stamp:         stamp,
		EncodeResult:  func(r any) ([]byte, error) { return []byte(r.(string)), nil },
		DecodeResult:  func(b []byte) (any, error) { return string(b), nil },
		Logger:        logger(t),
	}
	if n.tune != nil {
		n.tune(&cfg)
	}
	return cfg
}

func stamp(data []byte, now time.Time) []byte {
	return append([]byte(now.Format(time.RFC3339Nano)+"|"), data...)
}

func logger(testing.TB) *slog.Logger { return slog.New(slog.DiscardHandler) }

func (n *node) start(t testing.TB) *Replica {
	t.Helper()
	if n.port == nil {
		n.openPort(t)
	}
	r, err := Open(n.config(t))
	if err != nil {
		t.Fatal(err)
	}
	n.replica = r
	return r
}

// stop ends a node politely.
func (n *node) stop(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := n.replica.Shutdown(ctx); err != nil {
		t.Errorf("stop %s: %v", n.id, err)
	}
	n.port.Close()
	n.replica, n.port = nil, nil
}

// kill cuts a node off and ends it without a word to the others.
func (n *node) kill(t testing.TB) {
	t.Helper()
	if n.port != nil {
		n.port.Close()
	}
	if n.replica != nil {
		n.replica.stopRaft()
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := n.replica.Shutdown(ctx); err != nil {
			t.Errorf("kill %s: %v", n.id, err)
		}
	}
	n.replica, n.port = nil, nil
}

// within returns a context that ends with the test or after a while.
func within(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func propose(t testing.TB, r *Replica, command string) uint64 {
	t.Helper()
	result, index, err := r.Propose(within(t, 10*time.Second), []byte(command))
	if err != nil || result != "did "+command || index == 0 {
		t.Fatalf("Propose(%q) = %v, %d, %v", command, result, index, err)
	}
	return index
}

// eventually waits for a condition.
func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	deadline := time.Now().Add(15 * time.Second)
	for !cond() {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within 15 s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// leaderOf waits for one of the running nodes to lead.
func leaderOf(t testing.TB, nodes []*node) *node {
	t.Helper()
	var leader *node
	eventually(t, "a leader", func() bool {
		for _, n := range nodes {
			if n.replica != nil && n.replica.Leading() {
				leader = n
			}
		}
		return leader != nil
	})
	return leader
}

func others(nodes []*node, not *node) []*node {
	var out []*node
	for _, n := range nodes {
		if n != not && n.replica != nil {
			out = append(out, n)
		}
	}
	return out
}
