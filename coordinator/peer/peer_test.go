package peer

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"consort/coordinator/pki"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var errStale = NewError("stale-epoch", "the epoch is not current")

// nodes opens n ports of one cluster.
func nodes(t *testing.T, n int) []*Port {
	t.Helper()
	ca, err := pki.EnsureAuthority(t.TempDir(), "test")
	if err != nil {
		t.Fatal(err)
	}
	var ports []*Port
	for i := range n {
		id, err := ca.EnsureNode(t.TempDir(), fmt.Sprintf("node-%d", i))
		if err != nil {
			t.Fatal(err)
		}
		p, err := Listen(Config{Listen: "127.0.0.1:0", TLS: id.PeerTLS(), PeerID: id.PeerID, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { p.Close() })
		ports = append(ports, p)
	}
	return ports
}

func timeout(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func TestCall(t *testing.T) {
	ps := nodes(t, 2)
	to := ps[0].Addr().String()
	ps[0].Handle("echo", func(_ context.Context, caller string, req []byte) ([]byte, error) {
		return append([]byte(caller+":"), req...), nil
	})
	ps[0].Handle("stale", func(context.Context, string, []byte) ([]byte, error) {
		return nil, fmt.Errorf("commit j1: %w", errStale)
	})
	ps[0].Handle("plain", func(context.Context, string, []byte) ([]byte, error) { return nil, errors.New("disk is full") })
	ps[0].Handle("panic", func(context.Context, string, []byte) ([]byte, error) { panic("oops") })
	ps[0].Handle("huge", func(context.Context, string, []byte) ([]byte, error) { return make([]byte, MaxMessage+1), nil })
	ps[0].Handle("gone", func(context.Context, string, []byte) ([]byte, error) { return nil, nil })
	ps[0].Handle("gone", nil)

	big := bytes.Repeat([]byte("x"), MaxMessage-len("node-1:"))
	for _, tt := range []struct {
		name, req, want string
		err             error
		text            string
	}{
		{name: "echo", req: "hello", want: "node-1:hello"},
		{name: "echo", req: "", want: "node-1:"},
		{name: "echo", req: string(big), want: "node-1:" + string(big)},
		{name: "echo", req: string(make([]byte, MaxMessage+1)), err: ErrTooLarge},
		{name: "stale", err: errStale, text: "commit j1: the epoch is not current"},
		{name: "plain", err: &Error{Code: "internal"}, text: "disk is full"},
		{name: "panic", err: &Error{Code: "internal"}, text: "call panic panicked"},
		{name: "huge", err: ErrTooLarge},
		{name: "gone", err: ErrNoHandler},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ps[1].Call(t.Context(), to, tt.name, []byte(tt.req))
			if !errors.Is(err, tt.err) || err != nil && tt.text != "" && err.Error() != tt.text {
				t.Fatalf("error %v, want %v %q", err, tt.err, tt.text)
			}
			if err == nil && string(got) != tt.want {
				t.Errorf("answer of %d bytes, want %d", len(got), len(tt.want))
			}
		})
	}
	for _, name := range []string{"", strings.Repeat("n", 256)} {
		if _, err := ps[1].Call(t.Context(), to, name, nil); err == nil {
			t.Errorf("a name of %d bytes was accepted", len(name))
		}
	}
}

func TestCallsShareAConnection(t *testing.T) {
	ps := nodes(t, 2)
	const n = 200
	var arrived sync.WaitGroup
	arrived.Add(n)
	ps[0].Handle("meet", func(_ context.Context, _ string, req []byte) ([]byte, error) {
		arrived.Done()
		arrived.Wait() // so all calls are at hand at once
		return req, nil
	})
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			want := fmt.Sprint(i)
			if got, err := ps[1].Call(timeout(t, 20*time.Second), ps[0].Addr().String(), "meet", []byte(want)); err != nil || string(got) != want {
				t.Errorf("call %d: %q, %v", i, got, err)
			}
		})
	}
	wg.Wait()
	ps[0].mu.Lock()
	defer ps[0].mu.Unlock()
	if len(ps[0].conns) != 1 {
		t.Errorf("%d connections, want 1", len(ps[0].conns))
	}
}

func TestCallerGivesUp(t *testing.T) {
	ps := nodes(t, 2)
	started, ended := make(chan struct{}), make(chan struct{})
	ps[0].Handle("wait", func(ctx context.Context, _ string, _ []byte) ([]byte, error) {
		close(started)
		<-ctx.Done()
		close(ended)
		return nil, ctx.Err()
	})
	ctx, cancel := context.WithCancel(timeout(t, 20*time.Second))
	go func() {
		<-started
		cancel()
	}()
	if _, err := ps[1].Call(ctx, ps[0].Addr().String(), "wait", nil); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want context.Canceled", err)
	}
	<-ended // the handler was told
}

func TestSilentPeerIsLeft(t *testing.T) {
	ps := nodes(t, 2)
	to := ps[0].Addr().String()
	ps[0].Handle("hang", func(ctx context.Context, _ string, _ []byte) ([]byte, error) {
		<-ctx.Done()
		time.Sleep(20 * time.Millisecond) // no answer before the caller's own clock runs out
		return nil, ctx.Err()
	})
	ps[0].Handle("ok", func(context.Context, string, []byte) ([]byte, error) { return nil, nil })
	if _, err := ps[1].Call(timeout(t, 50*time.Millisecond), to, "hang", nil); err == nil {
		t.Fatal("a call without an answer succeeded")
	}
	if _, err := ps[1].Call(timeout(t, 20*time.Second), to, "ok", nil); err != nil {
		t.Errorf("a new connection was not made: %v", err)
	}
}

func TestErrorsOfConnections(t *testing.T) {
	ps := nodes(t, 3)
	to := ps[0].Addr().String()
	started := make(chan struct{})
	ps[0].Handle("wait", func(ctx context.Context, _ string, _ []byte) ([]byte, error) {
		close(started)
		<-ctx.Done()
		return nil, ctx.Err()
	})
	go func() {
		<-started
		ps[0].Close()
	}()
	if _, err := ps[1].Call(timeout(t, 20*time.Second), to, "wait", nil); !errors.Is(err, ErrBroken) {
		t.Errorf("the peer stopped in the middle: %v, want ErrBroken", err)
	}
	if _, err := ps[2].Call(timeout(t, 20*time.Second), to, "wait", nil); !errors.Is(err, ErrUnreachable) {
		t.Errorf("the peer is gone: %v, want ErrUnreachable", err)
	}
	ps[1].Close()
	if _, err := ps[1].Call(timeout(t, 20*time.Second), ps[2].Addr().String(), "wait", nil); !errors.Is(err, ErrClosed) {
		t.Errorf("our own port is closed: %v, want ErrClosed", err)
	}
}

func TestStrangers(t *testing.T) {
	ours, theirs := nodes(t, 1)[0], nodes(t, 1)[0]
	if _, err := theirs.Call(timeout(t, 20*time.Second), ours.Addr().String(), "echo", nil); err == nil {
		t.Error("a node of another cluster was served")
	}
	if c, err := theirs.Raft().Dial(ours.Addr().String(), 20*time.Second); err == nil {
		c.Close()
		t.Error("a node of another cluster may dial")
	}
	cfg := ours.cfg.TLS.Clone()
	cfg.NextProtos = []string{"http/1.1"}
	if c, err := tls.Dial("tcp", ours.Addr().String(), cfg); err == nil {
		c.Close()
		t.Error("an unknown protocol was accepted")
	}
	cfg.NextProtos = nil
	if c, err := tls.Dial("tcp", ours.Addr().String(), cfg); err == nil {
		if _, err := c.Read(make([]byte, 1)); err == nil {
			t.Error("a connection without a protocol was served")
		}
		c.Close()
	}
}

func TestRaftStream(t *testing.T) {
	ps := nodes(t, 2)
	go func() {
		c, err := ps[0].Raft().Accept()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		io.Copy(c, c)
	}()
	c, err := ps[1].Raft().Dial(ps[0].Raft().Addr().String(), 20*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte("vote")); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 4)
	if _, err := io.ReadFull(c, got); err != nil || string(got) != "vote" {
		t.Errorf("read %q, %v", got, err)
	}
	ps[0].Raft().Close()
	if _, err := ps[0].Raft().Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept after Close: %v", err)
	}
}

func TestUnspecifiedAddressNeedsAdvertise(t *testing.T) {
	p := nodes(t, 1)[0]
	cfg := p.cfg
	cfg.Listen = "0.0.0.0:0"
	if _, err := Listen(cfg); err == nil || !strings.Contains(err.Error(), "advertise") {
		t.Errorf("error %v", err)
	}
	cfg.Advertise = "coordinator.example.org:7000"
	q, err := Listen(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	if q.Raft().Addr().String() != cfg.Advertise {
		t.Errorf("address %v", q.Addr())
	}
}

// TestMalformedFrames: an authenticated but broken peer is cut, and a length alone reserves no memory.
func TestMalformedFrames(t *testing.T) {
	ps := nodes(t, 2)
	for _, raw := range [][]byte{
		binary.BigEndian.AppendUint32(nil, 0xffffffff),
		append(binary.BigEndian.AppendUint32(nil, 3), make([]byte, 20)...),
		frame{kind: 9}.encode(),
		frame{kind: answer}.encode(),
	} {
		c, err := ps[1].dial(timeout(t, 20*time.Second), ps[0].Addr().String(), CallProtocol)
		if err != nil {
			t.Fatal(err)
		}
		c.Write(append(raw, make([]byte, frameHead)...))
		c.SetReadDeadline(time.Now().Add(20 * time.Second))
		if _, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("% x was not answered by a cut: %v", raw, err)
		}
		c.Close()
	}
}

func FuzzReadFrame(f *testing.F) {
	f.Add(frame{kind: request, call: 7, body: encodeRequest(1, "propose", []byte("x"))}.encode())
	f.Add(frame{kind: failure, call: 8, body: encodeFailure(errStale)}.encode())
	f.Add([]byte{0, 0, 0, 9})
	f.Fuzz(func(t *testing.T, b []byte) {
		fr, err := readFrame(bytes.NewReader(b))
		if err != nil {
			return
		}
		if got := fr.encode(); !bytes.Equal(got, b[:len(got)]) {
			t.Errorf("% x is read as % x", b, got)
		}
		if ms, name, req, err := decodeRequest(fr.body); err == nil && !bytes.Equal(encodeRequest(ms, name, req), fr.body) {
			t.Error("request does not survive decoding and encoding")
		}
		if e, err := decodeFailure(fr.body); err == nil && !bytes.Equal(encodeFailure(e), fr.body) && len(e.Text) <= 64<<10 {
			t.Error("failure does not survive decoding and encoding")
		}
	})
}
