package retry

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

func TestNextStaysInBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		first := time.Duration(rapid.Int64Range(0, int64(time.Hour)).Draw(t, "first"))
		most := time.Duration(rapid.Int64Range(0, int64(time.Hour)).Draw(t, "most"))
		b := Backoff{First: first, Max: most}
		ceiling := min(orDefault(first, 100*time.Millisecond), orDefault(most, time.Minute))
		for range 70 {
			d := b.Next()
			if d < ceiling/2 || d > ceiling {
				t.Fatalf("waits %v, want between %v and %v", d, ceiling/2, ceiling)
			}
			ceiling = min(2*ceiling, orDefault(most, time.Minute))
		}
		b.Reset()
		if d := b.Next(); d > orDefault(first, 100*time.Millisecond) {
			t.Fatalf("after Reset it waits %v", d)
		}
	})
}

func TestWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b Backoff
		start := time.Now()
		if err := b.Wait(t.Context(), 3*time.Second); err != nil || time.Since(start) != 3*time.Second {
			t.Errorf("waited %v, %v; want the 3 s asked for", time.Since(start), err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start = time.Now()
		if err := b.Wait(ctx, time.Hour); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != time.Second {
			t.Errorf("waited %v, %v; want the context's end after 1 s", time.Since(start), err)
		}
		if err := Sleep(ctx, 0); err == nil {
			t.Error("an ended context lets Sleep pass")
		}
	})
}
