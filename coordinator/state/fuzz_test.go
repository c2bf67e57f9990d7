package state

// Run with -fuzzminimizetime=1x: the goroutines of Badger look like coverage that comes and goes, and the
// engine would spend its time trying to shrink inputs.

import (
	"bytes"
	"testing"

	"consort/coordinator/command"
)

// FuzzApplyBatch applies any bytes: no panic, an error only for what is no command, the same state on two
// stores, and nothing written by an entry that is refused as unknown.
func FuzzApplyBatch(f *testing.F) {
	seed := newWorld(f).furnish()
	for _, c := range []*command.Command{
		wrap(createJob(1)), wrap(&command.RunJob{Id: jobID(1)}), wrap(&command.DeleteJob{Id: jobID(1)}),
		wrap(&command.GrantLease{Job: jobID(1), Epoch: 1, Site: "obs"}), wrap(&command.Purge{Id: jobID(1)}),
		wrap(&command.AddSite{Name: "obs", TokenSha256: make([]byte, 32)}), wrap(&command.ExpireRequests{BeforeUs: 1}),
		wrap(&command.ForgetContent{Sha256: []string{sha("x")}, BeforeUs: 1}),
		wrap(&command.Retract{Entity: "up.up", Sha256: sha("content of up"), Reason: "r"}), wrap(&command.Retract{Entity: "up.up", Withdraw: true}),
		wrap(reuse(2, 1, upload("in", "up"), far("far"), ofJob("old", 1))),
	} {
		c.RequestKey = "key"
		f.Add(seed.entry(c).Data)
	}
	// One pair of stores for all inputs: opening one costs more than a thousand commands.
	a, b := newWorld(f).furnish(), newWorld(f).furnish()
	f.Fuzz(func(t *testing.T, data []byte) {
		a.index++
		e := []Entry{{Index: a.index, Term: 1, Data: data}}
		resultsA, errA := a.s.ApplyBatch(e)
		resultsB, errB := b.s.ApplyBatch(e)
		if (errA == nil) != (errB == nil) {
			t.Fatalf("%v and %v", errA, errB)
		}
		if _, err := command.Decode(data); (err == nil) != (errA == nil) {
			t.Fatalf("decoding: %v, applying: %v", err, errA)
		}
		if errA != nil {
			a.s.halted, b.s.halted = nil, nil
			return
		}
		if a.s.mustHash(t) != b.s.mustHash(t) || resultsA[0].(*command.Result).String() != resultsB[0].(*command.Result).String() {
			t.Fatalf("the states differ: %v and %v", resultsA[0], resultsB[0])
		}
	})
}

// FuzzRestore reads any bytes as a snapshot: no panic, bounded memory, and what it takes for whole has
// records in order.
func FuzzRestore(f *testing.F) {
	w := newWorld(f).furnish()
	w.completed(1)
	good := snapshotBytes(f, w.s)
	if err := w.s.Close(); err != nil { // its goroutines would look like coverage
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(good[:len(good)/2])
	f.Add([]byte(snapshotMagic))
	f.Fuzz(func(t *testing.T, data []byte) {
		var last []byte
		_, err := readSnapshot(bytes.NewReader(data), func(k, _ []byte) error {
			if bytes.Compare(k, last) <= 0 {
				t.Fatalf("key %q after %q", k, last)
			}
			last = k
			return nil
		})
		if err != nil || bytes.Equal(data, good) {
			return
		}
		// Whole by its sums, so somebody made it: restoring may refuse it, or end in a store that works.
		s := openStore(t, t.TempDir())
		if s.Restore(bytes.NewReader(data)) == nil {
			s.mustHash(t)
		}
	})
}
