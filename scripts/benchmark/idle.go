package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"consort/agent"
	"consort/coordinator/auth"
	"consort/shared/userapi"
)

// waiters hold a request open for one job; as many as one user may.
const waiters = 1000

// idle measures an agent of its own that has nothing to do, and how soon those who wait for a job hear of it.
func idle(ctx context.Context, b *bench) error {
	info, err := os.Stat(filepath.Join(b.bin, "consort-agent"))
	if err != nil {
		return err
	}
	within(&b.table, "size of consort-agent", info.Size(), 20<<20, mib)
	dir, err := b.scratch("idle")
	if err != nil {
		return err
	}
	s, err := b.coordinator(dir, auth.HashToken(operator))
	if err != nil {
		return err
	}
	err = idleAgent(ctx, b, s)
	if err == nil {
		b.table.note("idle coordinator's memory", mib(s.resident()))
		err = wakeUp(ctx, b, s)
	}
	return errors.Join(err, s.stop())
}

func idleAgent(ctx context.Context, b *bench, s *server) error {
	invitation, err := s.client.AddSite(ctx, userapi.AddSite{Name: "bench"})
	if err != nil {
		return err
	}
	dir := filepath.Join(s.dir, "site")
	if _, err := agent.Enrol(ctx, agent.EnrolConfig{Server: s.url(), Token: invitation.Token, Dir: dir, Site: "bench"}); err != nil {
		return err
	}
	p, err := b.start(dir, nil, "consort-agent", "run", "--config", filepath.Join(dir, "agent.toml"))
	if err != nil {
		return err
	}
	select {
	case <-time.After(5 * time.Second): // until its start is over
	case <-p.waited:
		return fmt.Errorf("the agent ended: %s", p.lastWords())
	}
	within(&b.table, "idle agent's memory", p.resident(), 30<<20, mib)
	return p.stop()
}

// wakeUp has many clients wait for one job and aborts it: from the request to abort to each answer.
func wakeUp(ctx context.Context, b *bench, s *server) error {
	var all times
	for range either(b.quick, 3, 5) {
		took, err := wakeAll(s)
		if err != nil {
			return err
		}
		all = append(all, took...)
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	within(&b.table, fmt.Sprintf("WAIT wakes %s waiters, p99", count(waiters)), all.quantile(0.99), 100*time.Millisecond, ms)
	b.table.note(fmt.Sprintf("WAIT wakes %s waiters", count(waiters)), all.show())
	return nil
}

func wakeAll(s *server) (times, error) {
	c := newCaller(s.address)
	job, err := c.post(s.url()+"/rest/probe", "text=wait")
	if err != nil {
		return nil, err
	}
	answered := make([]time.Time, waiters)
	errs := make([]error, waiters)
	var wg sync.WaitGroup
	for i := range waiters {
		wg.Go(func() {
			_, errs[i] = c.get(job + "?WAIT=50&PHASE=PENDING")
			answered[i] = time.Now()
		})
	}
	time.Sleep(2 * time.Second) // until all wait: nothing tells how many do
	begun := time.Now()
	_, err = c.post(job+"/phase", "PHASE=ABORT")
	wg.Wait()
	took := make(times, waiters)
	for i, t := range answered {
		took[i] = t.Sub(begun)
		if took[i] < 0 {
			err = errors.Join(err, errors.New("a waiter was answered before anything had changed"))
			break
		}
	}
	return took, errors.Join(append(errs, err)...)
}
