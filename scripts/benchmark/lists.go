package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	"consort/coordinator/command"
)

// inFlight is how many commands are proposed at a time to fill a data directory.
const inFlight = 500

// lists measures job lists at growing numbers of jobs, half of them ended, and what a start with them takes.
func lists(ctx context.Context, b *bench) error {
	dir, err := b.scratch("list")
	if err != nil {
		return err
	}
	s, err := b.dev(dir) // makes identity and definitions
	if err != nil {
		return err
	}
	d, err := s.client.Definition(ctx, "probe")
	if err = errors.Join(err, s.stop()); err != nil {
		return err
	}
	have := 0
	for _, n := range either(b.quick, []int{1_000, 100_000}, []int{1_000, 100_000, 1_000_000}) {
		begun := time.Now()
		if err := fill(ctx, filepath.Join(dir, "coordinator"), d.Version, d.Digest, n-have); err != nil {
			return err
		}
		b.table.note(fmt.Sprintf("filling up to %s jobs", count(n)), rate(float64(n-have)*1.5/time.Since(begun).Seconds())+" commands")
		have = n
		if err := listsOf(ctx, b, dir, n); err != nil {
			return err
		}
	}
	return nil
}

// count shows a number with its thousands apart.
func count(n int) string {
	if n < 1000 {
		return strconv.Itoa(n)
	}
	return fmt.Sprintf("%s,%03d", count(n/1000), n%1000)
}

// fill creates jobs below the use cases, and aborts every other one.
func fill(ctx context.Context, dir, version, digest string, jobs int) error {
	e, err := openEngine(ctx, dir)
	if err != nil {
		return err
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(inFlight)
	for i := range jobs {
		g.Go(func() error {
			c := createProbe(version, digest)
			if err := e.propose(gctx, c); err != nil || i%2 == 0 {
				return err
			}
			return e.propose(gctx, &command.Command{Body: &command.Command_AbortJob{
				AbortJob: &command.AbortJob{Id: c.GetCreateJob().Id}}})
		})
	}
	return errors.Join(g.Wait(), e.close())
}

func listsOf(ctx context.Context, b *bench, dir string, jobs int) error {
	begun := time.Now()
	s, err := b.dev(dir)
	if err != nil {
		return err
	}
	at := " at " + count(jobs) + " jobs"
	b.table.note("start"+at, fmt.Sprintf("%s, then %s resident", ms(time.Since(begun)), mib(s.resident())))
	c, url := newCaller(s.address), s.url()+"/rest/probe"
	var last, ended, first times
	for range 200 {
		start := time.Now()
		if _, err := c.get(url + "?LAST=100"); err != nil {
			return errors.Join(err, s.stop())
		}
		last = append(last, time.Since(start))
		start = time.Now()
		if _, err := c.get(url + "?LAST=100&PHASE=ABORTED&PHASE=PENDING"); err != nil {
			return errors.Join(err, s.stop())
		}
		ended = append(ended, time.Since(start))
	}
	for range 20 {
		took, err := firstByte(ctx, url)
		if err != nil {
			return errors.Join(err, s.stop())
		}
		first = append(first, took)
	}
	within(&b.table, "LAST=100"+at+", median", last.quantile(0.5), 10*time.Millisecond, ms)
	b.table.note("LAST=100"+at, last.show())
	b.table.note("LAST=100 of two phases"+at, ended.show())
	b.table.note("first byte of the whole list"+at, first.show())
	return s.stop()
}

// firstByte is how long the first byte of a body takes to come; the rest is not read.
func firstByte(ctx context.Context, url string) (time.Duration, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, err
	}
	start := time.Now()
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, err
	}
	defer answer.Body.Close()
	if _, err := answer.Body.Read(make([]byte, 1)); err != nil {
		return 0, err
	}
	return time.Since(start), nil
}
