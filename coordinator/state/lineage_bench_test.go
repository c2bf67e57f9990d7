package state

import (
	"fmt"
	"os"
	"strconv"
	"testing"

	"consort/coordinator/command"
	"consort/shared/prov"
)

// users fills a store with jobs that all used one dataset and ended; CONSORT_BENCH_USERS says how many,
// 200,000 if unset.
func users(b *testing.B) *world {
	b.Helper()
	jobs := 200_000
	if s := os.Getenv("CONSORT_BENCH_USERS"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil {
			b.Fatal(err)
		}
		jobs = n
	}
	w := newWorld(b).furnish()
	const size = 500
	for n := 0; n < jobs; n += size {
		var batch []Entry
		for i := range size {
			c := createJob(n + i)
			c.Inputs = []*command.Input{upload("in", "hot"), upload("mask", fmt.Sprint(n+i))}
			batch = append(batch, w.entry(wrap(c)), w.entry(wrap(&command.AbortJob{Id: jobID(n + i)})))
		}
		if _, err := w.s.ApplyBatch(batch); err != nil {
			b.Fatal(err)
		}
		w.events = nil
	}
	return w
}

// BenchmarkLineage reads pages of a hundred from long rows, and single steps.
func BenchmarkLineage(b *testing.B) {
	w := users(b)
	hot, one := prov.UploadID("hot").Local, prov.UploadID("17").Local
	page := func(want int, read func(v *View, cursor []byte) (int, []byte, error)) func(*testing.B) {
		return func(b *testing.B) {
			var cursor []byte
			for b.Loop() {
				err := w.s.View(func(v *View) error {
					n, next, err := read(v, cursor)
					if n != want && next != nil {
						b.Fatalf("%d items", n)
					}
					cursor = next // from page to page through the whole row
					return err
				})
				if err != nil {
					b.Fatal(err)
				}
			}
		}
	}
	b.Run("users=hot", page(100, func(v *View, cursor []byte) (int, []byte, error) {
		uses, next, err := v.UsesOf(hot, cursor, 100)
		return len(uses), next, err
	}))
	b.Run("users=one", page(1, func(v *View, cursor []byte) (int, []byte, error) {
		uses, next, err := v.UsesOf(one, cursor, 100)
		return len(uses), next, err
	}))
	b.Run("parameter", page(100, func(v *View, cursor []byte) (int, []byte, error) {
		found, next, err := v.Discover(ByParameter, []string{"probe", "n", "7"}, cursor, 100)
		return len(found), next, err
	}))
	b.Run("content", page(1, func(v *View, cursor []byte) (int, []byte, error) {
		found, next, err := v.Occurrences(sha("content of hot"), cursor, 100)
		return len(found), next, err
	}))
}

// BenchmarkComplete takes jobs from creation to their results, in batches, with syncs.
func BenchmarkComplete(b *testing.B) {
	w := newWorld(b)
	w.s.cfg.unsafeNoSync = false
	w.reopen()
	w.furnish()
	const size = 16
	n := 0
	for b.Loop() {
		var batch []Entry
		for range size {
			c := createJob(n)
			c.Parameters = []*command.Parameter{{Name: "seconds", Values: []string{"1"}}, {Name: "text", Values: []string{"hello"}}}
			c.Inputs = []*command.Input{upload("in", fmt.Sprint(n))}
			files := []*command.File{{Output: "answer", Path: "answer.txt", Sha256: sha(fmt.Sprint("answer", n)), Size: 4}}
			id := jobID(n)
			batch = append(batch, w.entry(wrap(c)),
				w.entry(wrap(&command.GrantLease{Job: id, Epoch: 1, Site: "obs", Boot: "b", WorkLeaseSeconds: 100})),
				w.entry(wrap(&command.ReportAttempt{Job: id, Epoch: 1, Site: "obs", State: AttemptRunning})),
				w.entry(wrap(&command.StageManifest{Job: id, Epoch: 1, Site: "obs", Files: files})),
				w.entry(wrap(&command.Commit{Job: id, Epoch: 1, Site: "obs", Parts: 1,
					Hash:    command.ManifestHash([][]byte{command.PartHash(files)}),
					Outputs: []*command.Output{{Id: "answer", FileName: "answer.txt", Sha256: files[0].Sha256, Size: 4}},
					Facts:   &command.Facts{Logs: []*command.Log{{Name: "stdout", Sha256: sha(fmt.Sprint("log", n)), Size: 3}}}})))
			n++
		}
		if _, err := w.s.ApplyBatch(batch); err != nil {
			b.Fatal(err)
		}
		w.events = nil
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "jobs/s")
}
