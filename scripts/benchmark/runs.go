package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/valyala/fasthttp"

	"consort/shared/uws"
)

// stamp is a code that writes the time at which it began.
const stamp = `format = 1
name = "stamp"
version = "1"
title = "Stamp"
description = "For benchmarks: writes the time at which it began."
licence = { code = "Apache-2.0", results = "CC0-1.0" }
people = [{ name = "Consort developers", role = "Author" }]
files = ["stamp.sh"]
resources = { cores = 1, memory = "16 MiB" }

[run]
script = "stamp.sh"
command = ["/bin/sh", "{script}"]

[[output]]
name = "stamp"
usage = "Main"
main = true
file = "stamp.txt"
content_type = "text/plain"
description = "Nanoseconds since 1970"
`

// runs measures from the request that runs a job to the first line of its code, and to the answer that tells
// the user of its end; jobs come one by one, with pauses, as from one user.
func runs(ctx context.Context, b *bench) error {
	dir, err := b.scratch("run")
	if err != nil {
		return err
	}
	codes := filepath.Join(dir, "codes", "stamp")
	err = os.MkdirAll(codes, 0o700)
	for name, text := range map[string]string{"definition.toml": stamp, "stamp.sh": "date +%s%N >stamp.txt\n"} {
		err = errors.Join(err, os.WriteFile(filepath.Join(codes, name), []byte(text), 0o600))
	}
	if err != nil {
		return err
	}
	s, err := b.dev(dir, "--definitions", filepath.Dir(codes))
	if err != nil {
		return err
	}
	var starts, ends times
	for i := range either(b.quick, 15, 30) + 2 {
		started, ended, err := runOne(ctx, s)
		if err != nil {
			return errors.Join(err, s.stop())
		}
		if i >= 2 { // the first ones fetch the definition
			starts, ends = append(starts, started), append(ends, ended)
		}
	}
	within(&b.table, "RUN → process, median", starts.quantile(0.5), 50*time.Millisecond, ms)
	within(&b.table, "RUN → COMPLETED, median", ends.quantile(0.5), 150*time.Millisecond, ms)
	b.table.note("RUN → process", starts.show())
	b.table.note("RUN → COMPLETED", ends.show())
	return s.stop()
}

func runOne(ctx context.Context, s *server) (started, ended time.Duration, err error) {
	time.Sleep(400 * time.Millisecond) // the job before is tidied away meanwhile
	job, err := s.submit(ctx, "stamp", true)
	if err != nil {
		return 0, 0, err
	}
	begun := time.Now()
	if err := s.client.Run(ctx, job); err != nil {
		return 0, 0, err
	}
	phase := uws.Queued
	for !phase.Final() {
		doc, err := s.client.UWSJob(ctx, job, uws.Wait{Seconds: 50, Phase: phase})
		if err != nil {
			return 0, 0, err
		}
		phase = doc.Phase
	}
	ended = time.Since(begun)
	if phase != uws.Completed {
		return 0, 0, fmt.Errorf("job %s ended as %s", job.ID, phase)
	}
	_, text, err := fasthttp.Get(nil, fmt.Sprintf("%s/rest/stamp/%s/results/stamp/stamp.txt", s.url(), job.ID))
	if err != nil {
		return 0, 0, err
	}
	ns, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	return time.Unix(0, ns).Sub(begun), ended, err
}
