package api

import (
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gofiber/fiber/v2"
)

// tracker is a listener that knows its open connections, so that a stop can cut those that linger.
type tracker struct {
	net.Listener
	mu     sync.Mutex
	conns  map[*trackedConn]struct{}
	closed bool
}

func newTracker(ln net.Listener) *tracker {
	return &tracker{Listener: ln, conns: map[*trackedConn]struct{}{}}
}

// Accept waits for a connection.
func (t *tracker) Accept() (net.Conn, error) {
	conn, err := t.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c := &trackedConn{Conn: conn, owner: t}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		conn.Close()
		return nil, net.ErrClosed
	}
	t.conns[c] = struct{}{}
	return c, nil
}

// closeAll cuts every connection.
func (t *tracker) closeAll() {
	t.mu.Lock()
	t.closed = true
	open := make([]*trackedConn, 0, len(t.conns))
	for c := range t.conns {
		open = append(open, c)
	}
	t.mu.Unlock()
	for _, c := range open {
		c.Conn.Close()
	}
}

type trackedConn struct {
	net.Conn
	owner  *tracker
	unread atomic.Bool // a request was refused, and its body perhaps not read to the end
}

// How long a connection may stay open for a client that sends on after it was refused, and how much it may send.
const (
	lingerTime  = 5 * time.Second
	lingerBytes = 64 << 20
)

// expectRest has the connection of a refused request stay open, when it is to be closed, until the client has sent
// its body. Closed at once, it would be reset by what arrives, and the client would never see why it was refused.
func expectRest(c *fiber.Ctx) {
	if conn, ok := c.Context().Conn().(*trackedConn); ok && c.Request().Header.ContentLength() != 0 {
		conn.unread.Store(true)
	}
}

// Close closes the connection and forgets it.
func (c *trackedConn) Close() error {
	if tcp, ok := c.Conn.(*net.TCPConn); ok && c.unread.Load() && tcp.CloseWrite() == nil &&
		tcp.SetReadDeadline(time.Now().Add(lingerTime)) == nil {
		_, _ = io.CopyN(io.Discard, tcp, lingerBytes)
	}
	c.owner.mu.Lock()
	delete(c.owner.conns, c)
	c.owner.mu.Unlock()
	return c.Conn.Close()
}
