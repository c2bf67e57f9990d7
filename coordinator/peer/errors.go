package peer

import (
	"errors"
	"fmt"
)

var (
	// ErrUnreachable means that the request was not sent: it may be repeated without harm.
	ErrUnreachable = errors.New("peer cannot be reached")
	// ErrBroken means that the connection was lost after the request may have been sent: whether it was
	// acted on is unknown.
	ErrBroken = errors.New("connection to peer was lost")
	// ErrClosed means that this node's own port is closed.
	ErrClosed = errors.New("peer port is closed")
	// ErrTooLarge means that a request or an answer is over MaxMessage.
	ErrTooLarge = NewError("too-large", fmt.Sprintf("message between nodes is over %d bytes", MaxMessage))
	// ErrNoHandler means that the other node does not know the call; it may be of another version.
	ErrNoHandler = NewError("no-handler", "peer does not know this call")
	// ErrBusy means that the other node has too many of our calls at hand; the call was not started.
	ErrBusy = NewError("busy", "peer has too many calls at hand")
)

// Error is an error that keeps its identity from node to node: errors.Is compares codes.
type Error struct {
	Code string // lower-case words joined by hyphens, permanent
	Text string
}

// NewError returns an error to be used as a sentinel. Handlers may wrap it; the caller on another node
// finds it with errors.Is.
func NewError(code, text string) *Error { return &Error{Code: code, Text: text} }

func (e *Error) Error() string { return e.Text }

// Is tells whether target is an Error of the same code.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code
}

// toWire turns any error of a handler into one that can be sent.
func toWire(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return &Error{Code: e.Code, Text: err.Error()}
	}
	return &Error{Code: "internal", Text: err.Error()}
}
