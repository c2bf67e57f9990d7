package replica

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func startAll(t testing.TB, nodes []*node) *node {
	t.Helper()
	for _, n := range nodes {
		n.start(t)
	}
	return leaderOf(t, nodes)
}

// TestForwarding: any node takes commands and gives the leader's answer.
func TestForwarding(t *testing.T) {
	t.Parallel() // it mostly waits for elections
	nodes := cluster(t, 3)
	leader := startAll(t, nodes)
	var want []string
	for i, n := range nodes {
		for j := range 5 {
			c := fmt.Sprintf("%d/%d", i, j)
			propose(t, n.replica, c)
			want = append(want, c)
		}
	}
	for _, n := range nodes {
		if err := n.replica.WaitRead(within(t, 10*time.Second)); err != nil {
			t.Fatal(err)
		}
		if got := n.machine.commands(); !slices.Equal(got, want) {
			t.Errorf("%s has %v, want %v", n.id, got, want)
		}
		if s := n.replica.Status(); s.LeaderID != leader.id || len(s.Voters) != 3 {
			t.Errorf("%s: status %+v", n.id, s)
		}
		if err := n.replica.Ready(); err != nil {
			t.Errorf("%s is not ready: %v", n.id, err)
		}
	}
}

// TestReadsAreLinearizable: whoever was told of a command finds it on every node, at once.
func TestReadsAreLinearizable(t *testing.T) {
	nodes := cluster(t, 3)
	startAll(t, nodes)
	var told atomic.Int64
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for _, n := range nodes {
		for range 2 {
			wg.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
					}
					before := told.Load()
					if err := n.replica.WaitRead(within(t, 10*time.Second)); err != nil {
						t.Error(err)
						return
					}
					if got := len(n.machine.commands()); int64(got) < before {
						t.Errorf("%s shows %d commands, %d were answered", n.id, got, before)
						return
					}
				}
			})
		}
	}
	for i := range 150 {
		_, _, err := nodes[i%3].replica.Propose(within(t, 20*time.Second), fmt.Append(nil, i))
		switch {
		case err == nil:
			told.Add(1)
		case !errors.Is(err, ErrUnknown): // a busy machine may lose its leader
			t.Error(err)
		}
	}
	close(stop)
	wg.Wait()
}

// TestLeaderKilled: no answered command is lost with the leader, and the others go on.
func TestLeaderKilled(t *testing.T) {
	t.Parallel() // it mostly waits for elections
	nodes := cluster(t, 3)
	leader := startAll(t, nodes)
	rest := others(nodes, leader)
	var revoked atomic.Bool
	leader.replica.OnLeadership(func(context.Context, uint64) error { return nil }, func() { revoked.Store(true) })
	var mu sync.Mutex
	var acked, unknown []string
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for i, n := range rest {
		wg.Go(func() {
			for j := 0; ; j++ {
				select {
				case <-stop:
					return
				default:
				}
				c := fmt.Sprintf("%d/%d", i, j)
				_, _, err := n.replica.Propose(within(t, 20*time.Second), []byte(c))
				mu.Lock()
				switch {
				case err == nil:
					acked = append(acked, c)
				case errors.Is(err, ErrUnknown):
					unknown = append(unknown, c)
				case !errors.Is(err, ErrNotLeader): // then it was not proposed, and must not be found
					t.Errorf("Propose while the leader changes: %v", err)
				}
				mu.Unlock()
			}
		})
	}
	count := func() int {
		mu.Lock()
		defer mu.Unlock()
		return len(acked)
	}
	eventually(t, "some commands", func() bool { return count() > 20 })
	leader.kill(t)
	now := count()
	eventually(t, "commands under a new leader", func() bool { return count() > now+20 })
	close(stop)
	wg.Wait()
	if !revoked.Load() {
		t.Error("the leader's work was not revoked")
	}
	leader.start(t) // comes back as a follower and catches up
	for _, n := range nodes {
		if err := n.replica.WaitRead(within(t, 20*time.Second)); err != nil {
			t.Fatal(err)
		}
		checkAll(t, n, acked, unknown)
	}
}

// checkAll: each acknowledged command is there once, and nothing that was not proposed.
func checkAll(t *testing.T, n *node, acked, unknown []string) {
	t.Helper()
	times := make(map[string]int)
	for _, c := range n.machine.commands() {
		times[c]++
	}
	for _, c := range acked {
		if times[c] != 1 {
			t.Errorf("%s: acknowledged command %s is there %d times", n.id, c, times[c])
		}
		delete(times, c)
	}
	for c, k := range times {
		if k != 1 || !slices.Contains(unknown, c) {
			t.Errorf("%s: command %s, neither acknowledged nor unknown, is there %d times", n.id, c, k)
		}
	}
}

// TestMinority: a leader cut off from the others neither acknowledges nor answers reads; what it was given
// has an unknown outcome.
func TestMinority(t *testing.T) {
	t.Parallel() // it mostly waits for elections
	nodes := cluster(t, 3)
	leader := startAll(t, nodes)
	propose(t, leader.replica, "a")
	for _, n := range others(nodes, leader) {
		n.port.Close()
	}
	_, _, err := leader.replica.Propose(within(t, 20*time.Second), []byte("b"))
	if !errors.Is(err, ErrUnknown) {
		t.Errorf("Propose: %v, want ErrUnknown", err)
	}
	if err := leader.replica.WaitRead(within(t, 2*time.Second)); !errors.Is(err, ErrNotLeader) {
		t.Errorf("WaitRead: %v, want ErrNotLeader", err)
	}
	eventually(t, "the leader steps down", func() bool { return leader.replica.Ready() != nil })
	if _, _, err := leader.replica.Propose(within(t, time.Second), []byte("c")); !errors.Is(err, ErrNotLeader) {
		t.Errorf("Propose without a leader: %v, want ErrNotLeader", err)
	}
}

// TestPoliteStop: a leader that stops hands over, faster than an election by time-out.
func TestPoliteStop(t *testing.T) {
	t.Parallel() // it mostly waits for elections
	nodes := cluster(t, 3)
	for _, n := range nodes {
		n.tune = func(c *Config) { c.ElectionTimeout = 2 * time.Second }
	}
	leader := startAll(t, nodes)
	propose(t, leader.replica, "a")
	rest := others(nodes, leader)
	leader.stop(t)
	start := time.Now()
	propose(t, rest[0].replica, "b")
	if took := time.Since(start); took > 1500*time.Millisecond {
		t.Errorf("the next command took %v, so the leadership was not handed over", took)
	}
}

// TestFollowerFromSnapshot: a follower away for longer than the log reaches gets the state itself.
func TestFollowerFromSnapshot(t *testing.T) {
	t.Parallel() // it mostly waits for elections
	nodes := cluster(t, 3)
	var restored atomic.Int64
	for _, n := range nodes {
		n.tune = func(c *Config) {
			c.TrailingLogs, c.segmentBytes = 1, 4096
			c.Restored = func() { restored.Add(1) }
		}
	}
	leader := startAll(t, nodes)
	away := others(nodes, leader)[0]
	away.stop(t)
	for i := range 50 {
		propose(t, leader.replica, strings.Repeat("x", 1000)+fmt.Sprint(i))
	}
	if err := leader.replica.Snapshot(t.Context()); err != nil {
		t.Fatal(err)
	}
	propose(t, leader.replica, "after")
	away.start(t)
	if err := away.replica.WaitRead(within(t, 20*time.Second)); err != nil {
		t.Fatal(err)
	}
	if got, want := away.machine.commands(), leader.machine.commands(); !slices.Equal(got, want) {
		t.Errorf("%d commands, want %d", len(got), len(want))
	}
	if away.machine.restores != 1 || restored.Load() != 1 {
		t.Errorf("%d restores, %d calls of Restored", away.machine.restores, restored.Load())
	}
}

// TestFailedLeaderMakesWay: a node whose state machine stops does not block the cluster.
func TestFailedLeaderMakesWay(t *testing.T) {
	t.Parallel() // it mostly waits for elections
	nodes := cluster(t, 3)
	leader := startAll(t, nodes)
	propose(t, leader.replica, "a")
	leader.replica.fail(errors.New("disk is broken"))
	rest := others(nodes, leader)
	propose(t, rest[0].replica, "b")
	if next := leaderOf(t, rest); next == leader {
		t.Error("the failed node still leads")
	}
}
