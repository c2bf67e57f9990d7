// Package interrupt turns the signals that ask a program to stop into the end of a context.
package interrupt

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// again is how long a repeated signal counts as the first: make and process managers pass on a signal that
// the whole process group was sent.
const again = time.Second

// Context returns a context that ends with the first SIGINT or SIGTERM. A second one, later than a moment
// after it, ends the program at once. The signals stay caught until the program ends, so that one which comes
// while it is ending does not spoil its exit status. It is to be called once, by main.
func Context() context.Context {
	ctx, release := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, func() { time.AfterFunc(again, release) })
	return ctx
}
