package attempt

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"sync"
	"time"

	"consort/agent/client"
	"consort/shared/retry"
	"consort/shared/siteapi"
)

const (
	liveEvery   = 500 * time.Millisecond // between two looks at a growing log
	liveAnyway  = 10 * time.Second       // after which an empty chunk asks whether somebody still watches
	liveHistory = 1 << 20                // bytes of a log that a first viewer gets: the coordinators keep no more
)

// Watch tells that somebody follows the logs.
func (a *Attempt) Watch() {
	select {
	case a.watched <- struct{}{}:
	default:
	}
}

func (a *Attempt) setWatching(on bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.watching = on
}

// live sends chunks of the growing logs while somebody watches and the job is not over.
type live struct {
	a      *Attempt
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

func (a *Attempt) startLive(ctx context.Context) *live {
	ctx, cancel := context.WithCancel(ctx)
	l := &live{a: a, cancel: cancel}
	l.wg.Go(func() { l.run(ctx) })
	return l
}

func (l *live) stop() {
	l.cancel()
	l.wg.Wait()
}

func (l *live) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-l.a.watched:
		}
		l.a.setWatching(true)
		var streams sync.WaitGroup
		for _, name := range []string{stdoutFile, stderrFile} {
			streams.Go(func() { l.stream(ctx, name) })
		}
		streams.Wait()
		l.a.setWatching(false)
	}
}

// stream follows one log until nobody watches it.
func (l *live) stream(ctx context.Context, name string) {
	var pause retry.Backoff
	var offset int64 = -1
	var told time.Time
	for retry.Sleep(ctx, liveEvery) == nil {
		chunk, at, err := readChunk(l.a.dir.file(name), offset)
		if err != nil {
			l.a.logger.Warn("a log cannot be read", "stream", name, "error", err)
			return
		}
		offset = at
		if len(chunk) == 0 && time.Since(told) < liveAnyway {
			continue
		}
		answer, err := l.a.rt.Client.LiveLog(ctx, l.a.Ref(), name, offset, chunk)
		if err != nil {
			if client.IsFinal(err) || pause.Wait(ctx, client.RetryAfter(err)) != nil {
				return
			}
			continue
		}
		pause.Reset()
		told, offset = time.Now(), answer.Next
		if !answer.Watching {
			return
		}
	}
}

// readChunk reads the next bytes of a log from offset, or from near its end when offset is negative or
// beyond it. A log that is not there yet is empty.
func readChunk(path string, offset int64) (chunk []byte, at int64, err error) {
	f, size, err := openRegular(path)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, errIrregular) {
		return nil, max(0, offset), nil
	}
	if err != nil {
		return nil, 0, err
	}
	defer f.Close()
	if offset < 0 || offset > size {
		offset = max(0, size-liveHistory)
	}
	chunk = make([]byte, min(size-offset, siteapi.MaxLiveChunk))
	n, err := f.ReadAt(chunk, offset)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return chunk[:n], offset, err
}
