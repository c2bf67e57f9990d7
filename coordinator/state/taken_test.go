package state

import (
	"testing"

	"consort/coordinator/command"
)

// TestTaken: which results, and which single files of collections, other jobs took.
func TestTaken(t *testing.T) {
	w := newWorld(t).furnish()
	w.completed(1)
	for n, result := range []string{"files", "files/\uffff", "files/a", "files/b/c", "files0", "filesystem", "answer", "answer", "answer", "answer", "answer", "answer", "answer", "answer", "answer"} {
		c := createJob(n + 2)
		c.Inputs = []*command.Input{{Name: "in", Source: command.Input_JOB, FromJob: jobID(1), FromResult: result, Sha256: sha("x"), Size: 1}}
		w.ok(c)
	}
	w.view(func(v *View) error {
		used, err := v.UsedResults(jobID(1), 100)
		diff(t, map[string]Taken{
			"files": {[]string{jobID(2)}, true}, "files0": {[]string{jobID(6)}, false}, "filesystem": {[]string{jobID(7)}, false},
			"answer": {[]string{jobID(8), jobID(9), jobID(10), jobID(11), jobID(12), jobID(13), jobID(14), jobID(15)}, true},
		}, used)
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
