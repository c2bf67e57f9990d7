// Package peer is the one port by which the nodes of a cluster talk: a mutual-TLS listener on which ALPN
// picks what a connection is for, Raft or calls between nodes. Calls are small named requests and answers.
//
// It knows neither Raft's messages nor what the calls mean; their owners register handlers. It is not for
// agents or users, and does not carry files.
package peer

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"slices"
	"sync"
	"time"
)

// The protocols of the port, as negotiated by ALPN.
const (
	RaftProtocol = "consort-raft/1"
	CallProtocol = "consort-call/1"
)

const (
	handshakeTimeout = 10 * time.Second
	// maxConns bounds the connections accepted at a time, authenticated or not. A cluster needs a few for
	// each other node.
	maxConns = 512
)

// Config says where and as whom a node talks to its peers.
type Config struct {
	// Listen is the TCP address to listen on, such as "10.0.0.1:7000"; port 0 takes a free one.
	Listen string
	// Advertise is the address by which other nodes reach this one. Empty means the address listened
	// on, which then must name a host.
	Advertise string
	// TLS is used for both ends of connections. It must verify the other side, as pki's does; the port
	// sets NextProtos.
	TLS *tls.Config
	// PeerID returns the node id of the verified other end of a connection.
	PeerID func(tls.ConnectionState) (string, error)
	// Logger receives refused connections and broken calls.
	Logger *slog.Logger
}

// Port is a node's end of all connections to its peers.
type Port struct {
	cfg      Config
	listener net.Listener
	addr     address
	raft     *RaftStream
	slots    chan struct{} // one taken for each accepted connection

	ctx    context.Context // ends when the port closes
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu       sync.Mutex
	handlers map[string]Handler
	conns    map[*conn]struct{} // all that Close must cut
	lines    map[string]*line   // to call other nodes, by address
	closed   bool
}

// Listen opens the port and serves it until Close.
func Listen(cfg Config) (*Port, error) {
	if cfg.TLS == nil || cfg.PeerID == nil || cfg.Logger == nil {
		return nil, errors.New("peer: TLS, PeerID and Logger are needed")
	}
	l, err := net.Listen("tcp", cfg.Listen)
	if err != nil {
		return nil, fmt.Errorf("listen for peers on %q: %w", cfg.Listen, err)
	}
	addr := address(cfg.Advertise)
	if addr == "" {
		if t, ok := l.Addr().(*net.TCPAddr); ok && t.IP.IsUnspecified() {
			l.Close()
			return nil, fmt.Errorf("listen for peers on %q: other nodes cannot reach that address; set the address to advertise", cfg.Listen)
		}
		addr = address(l.Addr().String())
	}
	p := &Port{
		cfg: cfg, listener: l, addr: addr,
		slots:    make(chan struct{}, maxConns),
		handlers: make(map[string]Handler),
		conns:    make(map[*conn]struct{}),
		lines:    make(map[string]*line),
	}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	p.raft = &RaftStream{port: p, accepted: make(chan net.Conn), closed: make(chan struct{})}
	p.wg.Go(p.accept)
	return p, nil
}

// Addr returns the address by which other nodes reach this one.
func (p *Port) Addr() net.Addr { return p.addr }

// Close stops listening, cuts all connections, ends the contexts of handlers and waits for them. It may be
// repeated.
func (p *Port) Close() error {
	p.mu.Lock()
	already := p.closed
	p.closed = true
	p.cancel()
	if !already {
		p.listener.Close()
	}
	conns := slices.Collect(maps.Keys(p.conns))
	p.mu.Unlock()
	for _, c := range conns {
		c.Close()
	}
	p.wg.Wait()
	return nil
}

func (p *Port) accept() {
	for {
		select {
		case p.slots <- struct{}{}:
		case <-p.ctx.Done():
			return
		}
		c, err := p.listener.Accept()
		if err != nil {
			<-p.slots
			if p.ctx.Err() != nil {
				return
			}
			p.cfg.Logger.Warn("accept a peer's connection", "error", err) // out of descriptors, perhaps
			pause(p.ctx, 100*time.Millisecond)
			continue
		}
		p.wg.Go(func() {
			defer func() { <-p.slots }()
			p.serve(c)
		})
	}
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// serve authenticates a connection and hands it to its protocol.
func (p *Port) serve(raw net.Conn) {
	c, err := p.secure(p.ctx, raw, tls.Server, RaftProtocol, CallProtocol)
	if err != nil {
		if p.ctx.Err() == nil {
			p.cfg.Logger.Warn("refuse a peer's connection", "from", raw.RemoteAddr().String(), "error", err)
		}
		return
	}
	defer c.Close()
	if c.protocol == RaftProtocol {
		p.raft.offer(c)
		return
	}
	p.answer(c)
}

// conn is an authenticated connection that its port can cut.
type conn struct {
	*tls.Conn
	port     *Port
	peer     string // node id of the other end
	protocol string
	done     chan struct{} // closed with the connection
	once     sync.Once
	ofRaft   bool // handed to Raft; guarded by port.mu
}

func (c *conn) Close() error {
	err := net.ErrClosed
	c.once.Do(func() {
		c.port.mu.Lock()
		delete(c.port.conns, c)
		c.port.mu.Unlock()
		// NetConn first: closing TLS politely would wait for a peer that does not read.
		err = c.NetConn().Close()
		close(c.done)
	})
	return err
}

// secure makes the handshake as one of the sides and checks who is at the other end. On error it closes
// the connection.
func (p *Port) secure(ctx context.Context, raw net.Conn, side func(net.Conn, *tls.Config) *tls.Conn, protocols ...string) (*conn, error) {
	cfg := p.cfg.TLS.Clone()
	cfg.NextProtos = protocols
	c := &conn{Conn: side(raw, cfg), port: p, done: make(chan struct{})}
	if !p.track(c) {
		raw.Close()
		return nil, ErrClosed
	}
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	if err := c.HandshakeContext(ctx); err != nil {
		c.Close()
		return nil, fmt.Errorf("handshake: %w", err)
	}
	state := c.ConnectionState()
	id, err := p.cfg.PeerID(state)
	if err == nil && state.NegotiatedProtocol == "" {
		err = errors.New("peer asks for no protocol of ours")
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	c.peer, c.protocol = id, state.NegotiatedProtocol
	return c, nil
}

// track notes a connection for Close to cut, and tells whether the port is still open.
func (p *Port) track(c *conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.closed {
		p.conns[c] = struct{}{}
	}
	return !p.closed
}

// dial connects to another node for a protocol.
func (p *Port) dial(ctx context.Context, addr, protocol string) (*conn, error) {
	d := net.Dialer{KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 5 * time.Second, Interval: 2 * time.Second, Count: 3}}
	raw, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	return p.secure(ctx, raw, tls.Client, protocol)
}

// address is a host and port; it satisfies net.Addr.
type address string

func (address) Network() string  { return "tcp" }
func (a address) String() string { return string(a) }
