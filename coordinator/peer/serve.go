package peer

import (
	"bufio"
	"context"
	"fmt"
	"sync"
	"time"
)

const (
	// maxCalls bounds the calls at hand on one connection, that is of one other node.
	maxCalls = 8192
	// writeTimeout is how long a peer may take to accept one frame before the connection is cut.
	writeTimeout = 10 * time.Second
)

// Handler answers one kind of call. caller is the verified node id of the caller; ctx ends with the
// caller's patience, its connection or the port. Handlers run at the same time.
type Handler func(ctx context.Context, caller string, request []byte) ([]byte, error)

// Handle registers the handler of a call, whose name has at most 255 bytes. A later registration of the same
// name replaces the former; a nil handler removes it.
func (p *Port) Handle(name string, h Handler) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if h == nil {
		delete(p.handlers, name)
		return
	}
	p.handlers[name] = h
}

// server is the answering end of one connection.
type server struct {
	port  *Port
	conn  *conn
	calls sync.WaitGroup

	mu      sync.Mutex
	cancels map[uint64]context.CancelFunc // of the calls at hand
	write   sync.Mutex
}

// answer serves the calls of one connection until it ends, then waits for their handlers.
func (p *Port) answer(c *conn) {
	s := &server{port: p, conn: c, cancels: make(map[uint64]context.CancelFunc)}
	ctx, stop := context.WithCancel(p.ctx)
	defer s.calls.Wait()
	defer stop()
	r := bufio.NewReader(c)
	for {
		f, err := readFrame(r)
		if err != nil {
			return
		}
		switch f.kind {
		case request:
			s.start(ctx, f)
		case cancel:
			s.cancel(f.call)
		default:
			p.cfg.Logger.Warn("cut a peer that sends answers to nothing", "peer", c.peer)
			return
		}
	}
}

func (s *server) start(ctx context.Context, f frame) {
	timeout, name, req, err := decodeRequest(f.body)
	if err != nil {
		s.send(frame{kind: failure, call: f.call, body: encodeFailure(toWire(err))})
		return
	}
	ctx, cancel := context.WithTimeout(ctx, time.Duration(timeout)*time.Millisecond)
	if !s.admit(f.call, cancel) {
		cancel()
		s.send(frame{kind: failure, call: f.call, body: encodeFailure(ErrBusy)})
		return
	}
	s.calls.Go(func() {
		defer cancel()
		defer s.forget(f.call)
		out := s.run(ctx, f.call, name, req)
		if out.kind == failure && s.port.ctx.Err() != nil {
			return // we broke the call off ourselves; the cut says that, an error would pass for a verdict
		}
		s.send(out)
	})
}

// admit notes how to cancel a call, and tells whether it may start.
func (s *server) admit(call uint64, cancel context.CancelFunc) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, repeated := s.cancels[call]; repeated || len(s.cancels) >= maxCalls {
		return false
	}
	s.cancels[call] = cancel
	return true
}

func (s *server) run(ctx context.Context, call uint64, name string, req []byte) (out frame) {
	defer func() { // one bad request must not take the node down with it
		if r := recover(); r != nil {
			s.port.cfg.Logger.Error("handler of a peer's call panicked", "call", name, "peer", s.conn.peer, "panic", r)
			out = frame{kind: failure, call: call, body: encodeFailure(toWire(fmt.Errorf("call %s panicked", name)))}
		}
	}()
	s.port.mu.Lock()
	h := s.port.handlers[name]
	s.port.mu.Unlock()
	err := error(ErrNoHandler)
	var body []byte
	if h != nil {
		body, err = h(ctx, s.conn.peer, req)
	}
	if err == nil && len(body) > MaxMessage {
		err = ErrTooLarge
	}
	if err != nil {
		return frame{kind: failure, call: call, body: encodeFailure(toWire(err))}
	}
	return frame{kind: answer, call: call, body: body}
}

func (s *server) forget(call uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.cancels, call)
}

func (s *server) cancel(call uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if cancel, ok := s.cancels[call]; ok {
		cancel()
	}
}

func (s *server) send(f frame) {
	s.write.Lock()
	defer s.write.Unlock()
	if writeFrame(s.conn, f) != nil {
		s.conn.Close() // a torn frame would garble all later ones
	}
}

func writeFrame(c *conn, f frame) error {
	if err := c.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return err
	}
	_, err := c.Write(f.encode())
	return err
}
