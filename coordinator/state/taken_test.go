package state

import (
	"testing"

	"consort/coordinator/command"
)

// TestTaken: which results, and which single files of collections, other jobs took.
func TestTaken(t *testing.T) {
	w := newWorld(t).furnish()
	w.completed(1)
	for n, result := range []string{"files", "files/\uffff", "files/a", "files/b/c", "files0", "filesystem", "answer"} {
		c := createJob(n + 2)
		c.Inputs = []*command.Input{{Name: "in", Source: command.Input_JOB, FromJob: jobID(1), FromResult: result, Sha256: sha("x"), Size: 1}}
		w.ok(c)
	}
	w.view(func(v *View) error {
		used, err := v.UsedResults(jobID(1), 100)
		diff(t, map[string]bool{"files": true, "files0": true, "filesystem": true, "answer": true}, used)
		if err != nil {
			return err
		}
		if used, err = v.UsedResults(jobID(1), 2); len(used) != 2 || err != nil {
			t.Errorf("at most two: %v, %v", used, err)
		}
		members, err := v.MemberUses(jobID(1), "files", 10)
		diff(t, []MemberUse{{"a", jobID(4)}, {"b/c", jobID(5)}, {"\uffff", jobID(3)}}, members)
		if err != nil {
			return err
		}
		members, err = v.MemberUses(jobID(1), "files", 1)
		diff(t, []MemberUse{{"a", jobID(4)}}, members)
		return err
	})
}
