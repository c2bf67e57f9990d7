package replica

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestFlights(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var f flights
		first, err := f.board(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		second, err := f.board(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var mu sync.Mutex
		var lands []func()
		wait := func(ctx context.Context) {
			go func() {
				land, err := f.board(ctx)
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					lands = append(lands, land)
				} else if !errors.Is(err, context.Canceled) {
					t.Error(err)
				}
			}()
		}
		impatient, giveUp := context.WithCancel(t.Context())
		defer giveUp()
		for range 10 {
			wait(t.Context())
			wait(impatient)
		}
		synctest.Wait()
		giveUp()
		synctest.Wait()
		if len(lands) != 0 {
			t.Fatalf("%d commands went while two flights were on their way", len(lands))
		}
		first()
		synctest.Wait()
		if len(lands) != 10 {
			t.Fatalf("%d of 10 commands went together", len(lands))
		}
		wait(t.Context())
		second()
		synctest.Wait()
		if len(lands) != 11 {
			t.Fatal("a command waits though only one flight is on its way")
		}
		for _, land := range lands {
			land()
		}
		if f.aloft != 0 || f.waits != nil {
			t.Errorf("left: %d aloft, waiting %v", f.aloft, f.waits)
		}
	})
}

// TestFlightsAllArrive: whatever gives up when, everybody else goes, never more than two flights at a time.
func TestFlightsAllArrive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var f flights
		var wg sync.WaitGroup
		for range 1000 {
			wg.Go(func() {
				time.Sleep(rand.N(time.Second))
				ctx, cancel := context.WithTimeout(t.Context(), rand.N(100*time.Millisecond))
				defer cancel()
				land, err := f.board(ctx)
				if err != nil {
					return
				}
				f.mu.Lock()
				if f.aloft < 1 || f.aloft > maxFlights {
					t.Errorf("%d flights", f.aloft)
				}
				f.mu.Unlock()
				time.Sleep(rand.N(20 * time.Millisecond))
				land()
			})
		}
		wg.Wait()
		if f.aloft != 0 || f.waits != nil {
			t.Errorf("left: %d aloft, waiting %v", f.aloft, f.waits)
		}
	})
}
