package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"golang.org/x/sync/errgroup"

	"consort/shared/userapi"
)

// slots of the site that pace measures.
const slots = 64

// pace measures how many trivial jobs per second a site of many slots completes.
func pace(ctx context.Context, b *bench) error {
	s, err := b.wide("pace")
	if err != nil {
		return err
	}
	jobs := either(b.quick, 200, 1000)
	own, started := s.cpu()
	took, err := complete(ctx, s, jobs)
	if err == nil {
		b.table.note(fmt.Sprintf("jobs completed, %d slots", slots), fmt.Sprintf("%s (%d jobs)", rate(float64(jobs)/took.Seconds()), jobs))
		ownNow, startedNow := s.cpu()
		b.table.note("CPU of coordinator and agent per job", ms((ownNow-own)/time.Duration(jobs)))
		b.table.note("CPU of the job's own processes", ms((startedNow-started)/time.Duration(jobs)))
	}
	return errors.Join(err, s.stop())
}

// wide starts a coordinator and a site of many slots.
func (b *bench) wide(name string) (*server, error) {
	dir, err := b.scratch(name)
	if err != nil {
		return nil, err
	}
	s, err := b.dev(dir) // enrols the site
	if err != nil {
		return nil, err
	}
	if err := s.stop(); err != nil {
		return nil, err
	}
	if err := widen(filepath.Join(dir, "agent", "agent.toml")); err != nil {
		return nil, err
	}
	return b.dev(dir)
}

var batchTable = regexp.MustCompile(`(?m)^\[batch\]$`)

// widen gives the site many slots, on however few cores.
func widen(agentToml string) error {
	text, err := os.ReadFile(agentToml)
	if err != nil {
		return err
	}
	wide := batchTable.ReplaceAll(text, fmt.Appendf(nil, "[batch]\nslots = %d\ncores = %d\nmemory = '%d GiB'", slots, slots, slots))
	return os.WriteFile(agentToml, wide, 0o600)
}

// complete runs a number of jobs and returns how long all of them took, from the first creation to the last
// end.
func complete(ctx context.Context, s *server, jobs int) (time.Duration, error) {
	refs := make([]userapi.Ref, jobs)
	begun := time.Now()
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(slots)
	for i := range refs {
		g.Go(func() (err error) {
			refs[i], err = s.submit(gctx, "probe", false)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return 0, err
	}
	// The end of each is waited for in turn: the last one to end ends the waiting, in whatever order they do.
	for _, job := range refs {
		if err := s.finished(ctx, job); err != nil {
			return 0, err
		}
	}
	return time.Since(begun), nil
}
