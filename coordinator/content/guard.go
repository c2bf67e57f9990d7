package content

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"sync"
)

// SFTP message types (draft-ietf-secsh-filexfer-02, section 3) that the guard looks at.
const (
	fxpClose  = 4
	fxpRead   = 5
	fxpWrite  = 6
	fxpHandle = 102
)

// fxpHead is length, type, id and a string's length, with which these messages begin.
const fxpHead = 4 + 1 + 4 + 4

// maxHandle bounds the length of a handle: the server's are short numbers.
const maxHandle = 20

// errHandle ends a session whose client uses a handle it was never given.
var errHandle = errors.New("read or write with a handle that was not given out")

// guard stands between the channel and pkg/sftp, and lets reads and writes pass only for handles that the
// client has been told. pkg/sftp numbers handles and registers a file before it is open, so that a client
// that guesses the number would have its write race with the open: a data race that could end the process.
type guard struct {
	ch io.ReadWriteCloser
	in *bufio.Reader

	left    int64 // bytes of the client's current message that are still to be read; the reader's own
	outLeft int64 // bytes of the server's current message that are still to be written; the writer's own

	mu      sync.Mutex
	handles map[string]bool
}

func newGuard(ch io.ReadWriteCloser) *guard {
	return &guard{ch: ch, in: bufio.NewReaderSize(ch, 32<<10), handles: make(map[string]bool)}
}

// Read gives the client's bytes, never beyond the message that was looked at.
func (g *guard) Read(b []byte) (int, error) {
	if g.left == 0 {
		if err := g.look(); err != nil {
			return 0, err
		}
	}
	n, err := g.in.Read(b[:min(int64(len(b)), g.left)])
	g.left -= int64(n)
	return n, err
}

// look checks the message that begins here.
func (g *guard) look() error {
	head, err := g.in.Peek(4)
	if err != nil {
		if errors.Is(err, io.EOF) && len(head) > 0 {
			err = io.ErrUnexpectedEOF
		}
		return err
	}
	length := int64(binary.BigEndian.Uint32(head))
	g.left = 4 + length
	if g.left < fxpHead {
		return nil // too short to name a handle: pkg/sftp says what is wrong with it
	}
	head, err = g.in.Peek(fxpHead)
	if err != nil {
		return err
	}
	kind, size := head[4], binary.BigEndian.Uint32(head[9:])
	if kind != fxpRead && kind != fxpWrite && kind != fxpClose {
		return nil
	}
	if size > maxHandle || g.left < fxpHead+int64(size) {
		return errHandle
	}
	head, err = g.in.Peek(fxpHead + int(size))
	if err != nil {
		return err
	}
	return g.use(string(head[fxpHead:]), kind)
}

func (g *guard) use(handle string, kind byte) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	known := g.handles[handle]
	if kind == fxpClose {
		delete(g.handles, handle)
		return nil
	}
	if !known {
		return errHandle
	}
	return nil
}

// Write sends the server's answers and notes the handles among them. One call never holds the end of one
// message and the beginning of the next, and an answer that gives a handle comes in one call.
func (g *guard) Write(b []byte) (int, error) {
	if g.outLeft == 0 && len(b) > 4 {
		g.outLeft = 4 + int64(binary.BigEndian.Uint32(b))
		if b[4] == fxpHandle && len(b) > fxpHead {
			g.mu.Lock()
			g.handles[string(b[fxpHead:])] = true
			g.mu.Unlock()
		}
	}
	g.outLeft -= min(g.outLeft, int64(len(b)))
	return g.ch.Write(b)
}

// Close closes the channel.
func (g *guard) Close() error { return g.ch.Close() }
