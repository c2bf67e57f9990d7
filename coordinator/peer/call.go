package peer

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// defaultTimeout bounds calls whose context has no deadline; maxTimeout bounds all.
const (
	defaultTimeout = 30 * time.Second
	maxTimeout     = 10 * time.Minute
)

// Call sends a request to the node at addr and waits for its answer. An error of the handler is an *Error;
// ErrUnreachable, ErrBroken, ErrClosed and those of ctx say that there was no answer. After ErrBroken
// and after an error of ctx it is unknown whether the request was acted on.
func (p *Port) Call(ctx context.Context, addr, name string, req []byte) ([]byte, error) {
	if len(req) > MaxMessage {
		return nil, fmt.Errorf("call %s: %w", name, ErrTooLarge)
	}
	if len(name) == 0 || len(name) > 255 {
		return nil, fmt.Errorf("call %q: a name has 1 to 255 bytes", name)
	}
	if _, ok := ctx.Deadline(); !ok {
		var stop context.CancelFunc
		ctx, stop = context.WithTimeout(ctx, defaultTimeout)
		defer stop()
	}
	c, err := p.line(addr).get(ctx)
	if err != nil {
		return nil, fmt.Errorf("call %s at %s: %w", name, addr, err)
	}
	out, err := c.call(ctx, name, req)
	var answered *Error
	if err != nil && !errors.As(err, &answered) {
		err = fmt.Errorf("call %s at %s: %w", name, addr, err)
	}
	return out, err
}

// line holds the connection to one address, made when first needed.
type line struct {
	port *Port
	addr string
	lock chan struct{} // a mutex that can be waited for with a context
	now  *client
}

func (p *Port) line(addr string) *line {
	p.mu.Lock()
	defer p.mu.Unlock()
	l := p.lines[addr]
	if l == nil {
		l = &line{port: p, addr: addr, lock: make(chan struct{}, 1)}
		p.lines[addr] = l
	}
	return l
}

// get returns a working connection.
func (l *line) get(ctx context.Context) (*client, error) {
	select {
	case l.lock <- struct{}{}:
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: %w", ErrUnreachable, ctx.Err())
	}
	defer func() { <-l.lock }()
	if l.now != nil && l.now.alive() {
		return l.now, nil
	}
	conn, err := l.port.dial(ctx, l.addr, CallProtocol)
	if err != nil {
		if l.port.ctx.Err() != nil {
			return nil, ErrClosed
		}
		return nil, fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	c := &client{conn: conn, waiting: make(map[uint64]chan<- result)}
	if !l.port.spawn(c.read) {
		conn.Close()
		return nil, ErrClosed
	}
	l.now = c
	return c, nil
}

// spawn runs f in a goroutine that Close waits for, unless the port is closed.
func (p *Port) spawn(f func()) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.closed {
		p.wg.Go(f)
	}
	return !p.closed
}

// client is the calling end of one connection.
type client struct {
	conn  *conn
	write sync.Mutex

	mu       sync.Mutex
	waiting  map[uint64]chan<- result // nil after the connection is lost
	last     uint64                   // number of the last call
	received uint64                   // frames so far
}

type result struct {
	body []byte
	err  error
}

func (c *client) alive() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.waiting != nil
}

func (c *client) call(ctx context.Context, name string, req []byte) ([]byte, error) {
	done := make(chan result, 1)
	c.mu.Lock()
	if c.waiting == nil {
		c.mu.Unlock()
		return nil, ErrUnreachable
	}
	c.last++
	id, before := c.last, c.received
	c.waiting[id] = done
	c.mu.Unlock()

	c.send(frame{kind: request, call: id, body: encodeRequest(timeoutMS(ctx), name, req)})
	select {
	case r := <-done:
		return r.body, r.err
	case <-ctx.Done():
		c.forget(ctx, id, before)
		return nil, ctx.Err()
	}
}

// forget ends a call that nobody waits for any more. When the time ran out and nothing at all came in
// since the call began, the connection itself is taken for dead.
func (c *client) forget(ctx context.Context, id, before uint64) {
	c.mu.Lock()
	delete(c.waiting, id)
	dead := c.received == before && errors.Is(ctx.Err(), context.DeadlineExceeded)
	c.mu.Unlock()
	if dead {
		c.end(errors.New("peer is silent"))
		return
	}
	c.conn.port.spawn(func() { c.send(frame{kind: cancel, call: id}) }) // the caller is in a hurry
}

func timeoutMS(ctx context.Context) uint32 {
	deadline, _ := ctx.Deadline()
	left := min(time.Until(deadline), maxTimeout)
	return uint32(max(left.Milliseconds(), 1))
}

// send writes a frame, or ends the connection.
func (c *client) send(f frame) {
	c.write.Lock()
	defer c.write.Unlock()
	if err := writeFrame(c.conn, f); err != nil {
		c.end(err)
	}
}

// read passes answers to those who wait, until the connection ends.
func (c *client) read() {
	r := bufio.NewReader(c.conn)
	for {
		f, err := readFrame(r)
		if err == nil {
			err = c.dispatch(f)
		}
		if err != nil {
			c.end(err)
			return
		}
	}
}

func (c *client) dispatch(f frame) error {
	var r result
	switch f.kind {
	case answer:
		r.body = f.body
	case failure:
		e, err := decodeFailure(f.body)
		if err != nil {
			return err
		}
		r.err = e
	default:
		return fmt.Errorf("peer sent a frame of kind %d to a caller", f.kind)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.received++
	if done := c.waiting[f.call]; done != nil { // else the caller gave up
		done <- r
		delete(c.waiting, f.call)
	}
	return nil
}

// end closes the connection and tells all who wait. It may be repeated.
func (c *client) end(err error) {
	c.conn.Close()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, done := range c.waiting {
		done <- result{err: fmt.Errorf("%w: %w", ErrBroken, err)}
	}
	c.waiting = nil
}
