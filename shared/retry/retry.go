// Package retry spaces repeated attempts at something that may work later: exponential back-off with
// jitter, so that a thousand clients that lost the same server do not come back in the same second.
// It does not know which errors are worth repeating; its callers do.
package retry

import (
	"context"
	"math/rand/v2"
	"time"
)

// Backoff gives the waits between tries. The zero value starts at 100 ms and ends at one minute. It
// belongs to one goroutine.
type Backoff struct {
	First time.Duration // ceiling of the first wait; zero: 100 ms
	Max   time.Duration // ceiling of every wait; zero: one minute

	ceiling time.Duration
}

// Next returns how long to wait now: between half of a ceiling and the ceiling, which doubles each time
// up to Max.
func (b *Backoff) Next() time.Duration {
	first, most := orDefault(b.First, 100*time.Millisecond), orDefault(b.Max, time.Minute)
	switch {
	case b.ceiling == 0:
		b.ceiling = first
	case b.ceiling < most/2:
		b.ceiling *= 2
	default:
		b.ceiling = most
	}
	b.ceiling = min(b.ceiling, most)
	half := b.ceiling / 2
	return half + rand.N(half+1)
}

// Reset starts anew, after something worked.
func (b *Backoff) Reset() { b.ceiling = 0 }

// Wait sleeps for Next, but at least for atLeast (what a server asked for), or until ctx ends, whose error
// it returns then.
func (b *Backoff) Wait(ctx context.Context, atLeast time.Duration) error {
	return Sleep(ctx, max(b.Next(), atLeast))
}

// Sleep waits for d, or until ctx ends, whose error it returns then.
func Sleep(ctx context.Context, d time.Duration) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func orDefault(d, fallback time.Duration) time.Duration {
	if d <= 0 {
		return fallback
	}
	return d
}
