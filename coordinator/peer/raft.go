package peer

import (
	"context"
	"net"
	"sync"
	"time"
)

// RaftStream is the port seen by Raft's transport: it accepts and dials only Raft's connections. Closing it
// leaves the port open for calls.
type RaftStream struct {
	port     *Port
	accepted chan net.Conn
	closed   chan struct{}
	once     sync.Once
}

// Raft returns the port's stream for Raft; it is the same each time.
func (p *Port) Raft() *RaftStream { return p.raft }

// Accept waits for the next connection of another node's Raft.
func (s *RaftStream) Accept() (net.Conn, error) {
	select {
	case c := <-s.accepted:
		return c, nil
	case <-s.closed:
	case <-s.port.ctx.Done():
	}
	return nil, net.ErrClosed
}

// Dial connects to the Raft of the node at addr, "host:port".
func (s *RaftStream) Dial(addr string, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(s.port.ctx, timeout)
	defer cancel()
	c, err := s.port.dial(ctx, addr, RaftProtocol)
	if err != nil {
		return nil, err
	}
	if !s.claim(c) {
		c.Close()
		return nil, net.ErrClosed
	}
	return c, nil
}

// claim marks a connection as Raft's, for Close to cut, and tells whether the stream is still open.
func (s *RaftStream) claim(c *conn) bool {
	s.port.mu.Lock()
	defer s.port.mu.Unlock()
	select {
	case <-s.closed:
		return false
	default:
		c.ofRaft = true
		return true
	}
}

// Addr returns the address by which other nodes reach this one.
func (s *RaftStream) Addr() net.Addr { return s.port.addr }

// Close ends Accept and cuts Raft's connections, whose readers Raft's transport leaves behind.
func (s *RaftStream) Close() error {
	s.port.mu.Lock()
	s.once.Do(func() { close(s.closed) })
	var cut []*conn
	for c := range s.port.conns {
		if c.ofRaft {
			cut = append(cut, c)
		}
	}
	s.port.mu.Unlock()
	for _, c := range cut {
		c.Close()
	}
	return nil
}

// offer hands a connection to Accept and returns when it has been closed.
func (s *RaftStream) offer(c *conn) {
	if !s.claim(c) {
		return
	}
	select {
	case s.accepted <- c:
		<-c.done
	case <-s.closed:
	case <-s.port.ctx.Done():
	}
}
