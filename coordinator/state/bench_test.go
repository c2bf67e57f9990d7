package state

import (
	"os"
	"strconv"
	"testing"

	"consort/coordinator/command"
)

// BenchmarkCreate creates jobs in batches, with syncs, as Raft hands them over under load.
func BenchmarkCreate(b *testing.B) {
	for _, size := range []int{1, 16, 64} {
		b.Run("batch="+strconv.Itoa(size), func(b *testing.B) {
			w := newWorld(b)
			w.s.cfg.unsafeNoSync = false
			w.reopen()
			w.furnish()
			batch := make([]Entry, 0, size)
			n := 0
			for b.Loop() {
				c := createJob(n)
				c.Parameters = []*command.Parameter{{Name: "seconds", Values: []string{"1"}}, {Name: "text", Values: []string{"hello"}}}
				n++
				if batch = append(batch, w.entry(wrap(c))); len(batch) < size {
					continue
				}
				if _, err := w.s.ApplyBatch(batch); err != nil {
					b.Fatal(err)
				}
				batch = batch[:0]
			}
		})
	}
}

// BenchmarkList reads the newest hundred of many jobs; CONSORT_BENCH_JOBS says how many, 100,000 if unset.
func BenchmarkList(b *testing.B) {
	jobs := 100_000
	if s := os.Getenv("CONSORT_BENCH_JOBS"); s != "" {
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
			batch = append(batch, w.entry(wrap(createJob(n+i))))
			if i%2 == 0 {
				batch = append(batch, w.entry(wrap(&command.AbortJob{Id: jobID(n + i)})))
			}
		}
		if _, err := w.s.ApplyBatch(batch); err != nil {
			b.Fatal(err)
		}
		w.events = nil
	}
	for name, phases := range map[string][]string{"all": nil, "phase=active": {"QUEUED"}, "phase=ended": {"ABORTED"}, "phase=both": {"QUEUED", "ABORTED"}} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if got := w.list(ListQuery{Owner: "alice", Definition: "probe", Phases: phases, Limit: 100}); len(got) != 100 {
					b.Fatalf("%d jobs", len(got))
				}
			}
		})
	}
	b.Run("open", func(b *testing.B) {
		for b.Loop() {
			w.reopen()
		}
	})
}
