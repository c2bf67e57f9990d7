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
	by := func(jobs ...int) (by []TakenBy) {
		for _, n := range jobs {
			by = append(by, TakenBy{jobID(n), "in"})
		}
		return by
	}
	w.view(func(v *View) error {
		used, err := v.UsedResults(jobID(1), 100)
		diff(t, map[string]Taken{
			"files": {by(2), true}, "files0": {by(6), false}, "filesystem": {by(7), false}, "answer": {by(8, 9, 10, 11, 12, 13, 14, 15), true},
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

// TestTakenInRoles: a job may take a result in several roles, and change its mind as long as it is a draft.
func TestTakenInRoles(t *testing.T) {
	w := newWorld(t).furnish()
	w.completed(1)
	took := func(want ...TakenBy) {
		t.Helper()
		w.view(func(v *View) error {
			used, err := v.UsedResults(jobID(1), 100)
			diff(t, want, used["answer"].By)
			return err
		})
	}
	inputs := func(roles ...string) (inputs []*command.Input) {
		for _, role := range roles {
			inputs = append(inputs, &command.Input{Name: role, Source: command.Input_JOB, FromJob: jobID(1), FromResult: "answer", Sha256: sha("x"), Size: 1})
		}
		return inputs
	}
	c := createJob(2)
	c.Run = false
	c.Inputs = inputs("in", "dark", "in")
	w.ok(c)
	took(TakenBy{jobID(2), "in,dark"})
	w.ok(&command.UpdateJob{Id: jobID(2), Unset: []string{"in"}})
	took(TakenBy{jobID(2), "dark"})
	w.ok(&command.UpdateJob{Id: jobID(2), SetInputs: inputs("flat")})
	took(TakenBy{jobID(2), "dark,flat"})
	w.ok(&command.UpdateJob{Id: jobID(2), Unset: []string{"dark", "flat"}})
	took()
}
