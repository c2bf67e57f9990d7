package jobs

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"

	"consort/coordinator/state"
)

// TestSharedReadsAreFresh: whoever asks after a change sees it, though reads are shared.
func TestSharedReadsAreFresh(t *testing.T) {
	var reads sharedReads
	var version, made atomic.Uint64
	var wg sync.WaitGroup
	const callers, rounds = 64, 200
	for range callers {
		wg.Go(func() {
			for range rounds {
				least := version.Add(1)
				j, err := reads.do(t.Context(), "j1", func(context.Context) (*Job, error) {
					made.Add(1)
					return &Job{Job: &state.Job{Version: version.Load()}}, nil
				})
				if err != nil || j.Version < least {
					t.Errorf("got version %v, %v; want at least %d", j, err, least)
					return
				}
			}
		})
	}
	wg.Wait()
	if n := made.Load(); n > callers*rounds {
		t.Errorf("%d reads for %d calls", n, callers*rounds)
	}
	if len(reads.flights) != 0 {
		t.Errorf("%d flights are left", len(reads.flights))
	}
}

// TestSharedReadOfMany: a thousand who wait for the same job cost a few reads.
func TestSharedReadOfMany(t *testing.T) {
	var reads sharedReads
	var made atomic.Int64
	begun, release := make(chan struct{}), make(chan struct{})
	read := func(context.Context) (*Job, error) {
		if made.Add(1) == 1 {
			close(begun)
			<-release
		}
		return &Job{}, nil
	}
	var wg sync.WaitGroup
	wg.Go(func() { reads.do(t.Context(), "j1", read) })
	<-begun
	var joined sync.WaitGroup
	for range 1000 {
		joined.Add(1)
		wg.Go(func() {
			joined.Done()
			if _, err := reads.do(t.Context(), "j1", read); err != nil {
				t.Error(err)
			}
		})
	}
	joined.Wait()
	close(release)
	wg.Wait()
	if n := made.Load(); n > 200 {
		t.Errorf("%d reads", n)
	}
}

func TestSharedReadError(t *testing.T) {
	var reads sharedReads
	want := errors.New("broken")
	if _, err := reads.do(t.Context(), "j1", func(context.Context) (*Job, error) { return nil, want }); !errors.Is(err, want) {
		t.Errorf("got %v", err)
	}
	if _, err := reads.do(t.Context(), "j1", func(context.Context) (*Job, error) { return &Job{}, nil }); err != nil {
		t.Errorf("an old error came back: %v", err)
	}
}
