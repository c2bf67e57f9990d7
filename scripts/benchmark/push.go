package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"consort/shared/userapi"
	"consort/shared/uws"
)

// load is what a job leaves.
type outputs struct {
	name   string
	n      int
	size   int64
	target float64 // of the ratio to OpenSSH
}

// push measures from the end of a job's code to COMPLETED: the agent reads, hashes and pushes the outputs, the
// coordinator hashes, syncs and stores them, and the commit. Beside it, the same files by OpenSSH's sftp, with
// sha256sum at both ends, and by cp with a sync.
func push(ctx context.Context, b *bench) error {
	dir, err := b.scratch("push")
	if err != nil {
		return err
	}
	s, err := b.dev(dir)
	if err != nil {
		return err
	}
	for _, o := range []outputs{
		{"1 file of " + either(b.quick, "256 MiB", "1 GiB"), 1, either[int64](b.quick, 256<<20, 1<<30), 0.9},
		{"2,000 files of 4 KiB", 2000, 4 << 10, 2},
	} {
		if err == nil {
			err = pushOne(ctx, b, s, o)
		}
	}
	return errors.Join(err, s.stop())
}

func pushOne(ctx context.Context, b *bench, s *server, o outputs) error {
	files, err := makeFiles(b, o)
	if err != nil {
		return err
	}
	defer os.RemoveAll(files)
	var ours, theirs, copies []time.Duration
	for range either(b.quick, 1, 3) { // alternating: the machine is not equally fast for long
		took, err := pushJob(ctx, s, o)
		if err != nil {
			return err
		}
		ours = append(ours, took)
		if took, err = openssh(ctx, b, files); err != nil {
			return err
		}
		theirs = append(theirs, took)
		if took, err = copySynced(b, files); err != nil {
			return err
		}
		copies = append(copies, took)
	}
	took, other, cp := times(ours).quantile(0.5), times(theirs).quantile(0.5), times(copies).quantile(0.5)
	show := func(d time.Duration) string {
		if o.n == 1 {
			return fmt.Sprintf("%s (%s)", seconds(d), mibs(float64(o.size)/d.Seconds()))
		}
		return fmt.Sprintf("%s (%s)", seconds(d), rate(float64(o.n)/d.Seconds()))
	}
	b.table.against("push, seal, commit: "+o.name+"; beside sftp + sha256sum", show(took), show(other), other.Seconds()/took.Seconds(), o.target)
	b.table.against("push, seal, commit: "+o.name+"; beside cp + fsync", show(took), show(cp), cp.Seconds()/took.Seconds(), 0)
	return nil
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.2f s", d.Seconds()) }

// pushJob runs a job that leaves the outputs, and returns the time from its end at the site to its end.
func pushJob(ctx context.Context, s *server, o outputs) (time.Duration, error) {
	job, err := s.submit(ctx, "many", false, fmt.Sprintf("n=%d", o.n), fmt.Sprintf("size=%d", o.size))
	if err != nil {
		return 0, err
	}
	if err := s.finished(ctx, job); err != nil {
		return 0, err
	}
	doc, err := s.client.UWSJob(ctx, job, uws.Wait{})
	if err != nil {
		return 0, err
	}
	ended, err := siteEnd(ctx, s, job)
	if err != nil {
		return 0, err
	}
	return doc.EndTime.Sub(ended), s.client.Delete(ctx, job)
}

// siteEnd is when the code of a job's first attempt ended, as its provenance tells.
func siteEnd(ctx context.Context, s *server, job userapi.Ref) (time.Time, error) {
	text, err := s.client.Provenance(ctx, job.ID, "json")
	if err != nil {
		return time.Time{}, err
	}
	var record struct {
		Activity map[string]struct {
			Ended struct { // of the code; the attempt itself ends with its transfers
				Time time.Time `json:"$"`
			} `json:"fed:endedAt"`
		} `json:"activity"`
	}
	if err := json.Unmarshal(text, &record); err != nil {
		return time.Time{}, err
	}
	attempt, ok := record.Activity["job:"+job.ID+".a1"]
	if !ok || attempt.Ended.Time.IsZero() {
		return time.Time{}, fmt.Errorf("the provenance of %s does not say when the code of its first attempt ended", job.ID)
	}
	return attempt.Ended.Time, nil
}

// makeFiles makes files like those that the job leaves.
func makeFiles(b *bench, o outputs) (string, error) {
	dir, err := b.scratch("files")
	if err != nil {
		return "", err
	}
	block := []byte(strings.Repeat("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.\n", 1024))
	for i := range o.n {
		f, err := os.Create(filepath.Join(dir, fmt.Sprintf("%06d.dat", i+1)))
		if err != nil {
			return "", err
		}
		_, err = fmt.Fprintf(f, "%06d\n", i+1)
		for left := o.size - 7; left > 0 && err == nil; left -= int64(len(block)) {
			_, err = f.Write(block[:min(left, int64(len(block)))])
		}
		if err = errors.Join(err, f.Close()); err != nil {
			return "", err
		}
	}
	return dir, nil
}

// copySynced copies files one by one and makes each durable.
func copySynced(b *bench, from string) (time.Duration, error) {
	to, err := b.scratch("copy")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(to)
	entries, err := os.ReadDir(from)
	if err != nil {
		return 0, err
	}
	begun := time.Now()
	for _, e := range entries {
		if err := copyOne(filepath.Join(from, e.Name()), filepath.Join(to, e.Name())); err != nil {
			return 0, err
		}
	}
	return time.Since(begun), nil
}

func copyOne(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Sync(), out.Close())
}
