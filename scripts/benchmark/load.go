package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/valyala/fasthttp"
	"golang.org/x/sys/unix"
)

// times are the durations of single operations.
type times []time.Duration

// quantile returns the duration that a share of all does not pass.
func (t times) quantile(share float64) time.Duration {
	if len(t) == 0 {
		return 0
	}
	slices.Sort(t)
	return t[min(len(t)-1, int(share*float64(len(t))))]
}

// show gives median and 99th percentile.
func (t times) show() string { return quantiles(t.quantile(0.5), t.quantile(0.99)) }

// pressed is what came of clients that ask without a pause.
type pressed struct {
	perSecond float64
	times     times
}

func (p pressed) show() string { return rate(p.perSecond) + ", " + p.times.show() }

// press has a number of clients call op without a pause for a while, after a short time that does not count.
func press(ctx context.Context, clients int, d time.Duration, op func() error) (pressed, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	begun := time.Now().Add(d / 10)
	end := begun.Add(d)
	all := make([]times, clients)
	var wg sync.WaitGroup
	for i := range clients {
		wg.Go(func() {
			for ctx.Err() == nil {
				start := time.Now()
				if start.After(end) {
					return
				}
				if err := op(); err != nil {
					cancel(err)
					return
				}
				if start.After(begun) {
					all[i] = append(all[i], time.Since(start))
				}
			}
		})
	}
	wg.Wait()
	if err := context.Cause(ctx); err != nil {
		return pressed{}, err
	}
	var p pressed
	for _, t := range all {
		p.times = append(p.times, t...)
	}
	p.perSecond = float64(len(p.times)) / time.Since(begun).Seconds()
	return p, nil
}

// caller is an HTTP client that takes little of the machine it shares with the server.
type caller struct{ http *fasthttp.HostClient }

func newCaller(address string) *caller {
	return &caller{&fasthttp.HostClient{Addr: address, MaxConns: 4096, ReadTimeout: time.Minute, NoDefaultUserAgentHeader: true}}
}

// get reads a path and returns the body's length.
func (c *caller) get(url string) (int, error) {
	_, n, err := c.do(fasthttp.MethodGet, url, "", fasthttp.StatusOK)
	return n, err
}

// post sends a form and returns where the answer points to.
func (c *caller) post(url, form string) (location string, err error) {
	location, _, err = c.do(fasthttp.MethodPost, url, form, fasthttp.StatusSeeOther)
	return location, err
}

func (c *caller) do(method, url, form string, want int) (location string, size int, err error) {
	request, answer := fasthttp.AcquireRequest(), fasthttp.AcquireResponse()
	defer fasthttp.ReleaseRequest(request)
	defer fasthttp.ReleaseResponse(answer)
	request.Header.SetMethod(method)
	request.SetRequestURI(url)
	if form != "" {
		request.Header.SetContentType("application/x-www-form-urlencoded")
		request.SetBodyString(form)
	}
	if err := c.http.Do(request, answer); err != nil {
		return "", 0, fmt.Errorf("%s %s: %w", method, url, err)
	}
	if answer.StatusCode() != want {
		return "", 0, fmt.Errorf("%s %s: status %d: %.200s", method, url, answer.StatusCode(), answer.Body())
	}
	return string(answer.Header.Peek("Location")), len(answer.Body()), nil
}

// settle waits until what was done before has no more work to leave in the background, such as the compaction of tables:
// until next to no CPU is used.
func settle(ctx context.Context, used func() time.Duration) error {
	const look, patience = 500 * time.Millisecond, 2 * time.Minute
	for end, before := time.Now().Add(patience), used(); time.Now().Before(end); {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(look):
		}
		now := used()
		if now-before <= look/20 {
			return nil
		}
		before = now
	}
	return nil
}

// ownCPU is how long this process has used a core.
func ownCPU() time.Duration {
	var r unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &r) != nil {
		return 0
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// fsyncs measures the disk: 4 KiB appended and made durable, again and again.
func fsyncs(dir string, d time.Duration) (times, error) {
	file, err := os.Create(filepath.Join(dir, "fsync"))
	if err != nil {
		return nil, err
	}
	defer os.Remove(file.Name())
	var all times
	block := make([]byte, 4096)
	for begun := time.Now(); time.Since(begun) < d; {
		start := time.Now()
		if _, err := file.Write(block); err != nil {
			return nil, errors.Join(err, file.Close())
		}
		if err := unix.Fdatasync(int(file.Fd())); err != nil {
			return nil, errors.Join(err, file.Close())
		}
		all = append(all, time.Since(start))
	}
	return all, file.Close()
}
