package state

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"consort/coordinator/command"
)

func TestList(t *testing.T) {
	w := newWorld(t).furnish()
	w.ok(&command.PublishDefinition{Name: "fold", Version: "1", Digest: "d"})
	var heads []*Job
	for n := range 60 {
		c := createJob(n)
		c.Run = n%5 != 0
		c.Owner = []string{"alice", "bob", ""}[n%3]
		if n%2 == 0 {
			c.Definition, c.Version, c.Digest = "fold", "1", "d"
		}
		w.ok(c)
		switch n % 7 {
		case 1:
			w.ok(&command.AbortJob{Id: c.Id})
		case 2:
			w.ok(&command.ArchiveJob{Id: c.Id, DueUs: maxTimeUs})
		case 3:
			w.ok(&command.DeleteJob{Id: c.Id})
		case 4:
			if c.Run {
				w.ok(&command.ReportAttempt{Job: c.Id, Epoch: w.lease(n), Site: "obs", State: AttemptRunning})
			}
		}
	}
	for n := 59; n >= 0; n-- {
		heads = append(heads, w.head(jobID(n)))
	}
	// The plainest list there is.
	want := func(q ListQuery) (found []string) {
		for _, j := range heads {
			if j.Deleted || !q.AllOwners && j.Owner != q.Owner || q.Definition != "" && j.Definition != q.Definition ||
				j.CreatedUs <= q.AfterUs || len(q.Phases) > 0 && !slices.Contains(q.Phases, j.Phase) ||
				len(q.Phases) == 0 && archived(j) {
				continue
			}
			if found = append(found, j.Id); len(found) == q.Limit {
				break
			}
		}
		return found
	}
	check := func(t *testing.T) {
		for _, owner := range []string{"alice", "bob", "", "nobody", "*"} {
			for _, definition := range []string{"", "probe", "fold", "none"} {
				for _, phases := range [][]string{nil, {"QUEUED"}, {"PENDING", "QUEUED"}, {"ABORTED"}, {"ARCHIVED", "ABORTED", "ABORTED"},
					{"EXECUTING", "ABORTED", "QUEUED"}, {"COMPLETED"}, {"no such phase"}} {
					for _, limit := range []int{0, 1, 4} {
						q := ListQuery{AllOwners: owner == "*", Owner: owner, Definition: definition, Phases: phases, Limit: limit}
						for _, q.AfterUs = range []int64{0, heads[30].CreatedUs} {
							if a, b := want(q), w.list(q); !slices.Equal(a, b) {
								t.Fatalf("%+v:\n got %v\nwant %v", q, b, a)
							}
						}
					}
				}
			}
		}
	}
	t.Run("as applied", check)
	w.reopen()
	t.Run("after a restart", check)
	t.Run("by pages", func(t *testing.T) {
		for _, phases := range [][]string{nil, {"QUEUED", "ABORTED"}} {
			q := ListQuery{AllOwners: true, Phases: phases}
			all := want(q)
			var got []string
			for q.Limit = 7; ; {
				page := w.list(q)
				if len(page) == 0 {
					break
				}
				got = append(got, page...)
				q.Cursor = Cursor(w.head(page[len(page)-1]))
			}
			diff(t, all, got)
		}
	})
	t.Run("bad cursors", func(t *testing.T) {
		for _, cursor := range []string{"!", "-1", "0", "zzz", "c.", "c.-1", "c.0", "c.!", "c.zzzzzzzzzzzzzzzzzzzzz"} {
			w.view(func(v *View) error {
				for j, err := range v.List(ListQuery{AllOwners: true, Cursor: cursor}) {
					if !errors.Is(err, ErrCursor) {
						t.Errorf("cursor %q: %v, %v", cursor, j, err)
					}
				}
				return nil
			})
		}
	})
}

func TestTimeline(t *testing.T) {
	var l timeline
	for _, at := range []int64{5, 1, 9, 3} {
		l.put(at, &Active{ID: fmt.Sprint(at)})
	}
	l.put(3, &Active{ID: "three"})
	l.remove(5, "another")
	l.remove(9, "9")
	var got []string
	for a := range l.newest(100) {
		got = append(got, a.ID)
	}
	diff(t, []string{"5", "three", "1"}, got)
	if old := l.oldest(1, 1); len(old) != 1 || old[0].ID != "three" || l.len() != 3 {
		t.Errorf("oldest: %v of %d", old, l.len())
	}
	for at := range int64(1000) {
		l.put(1000+at, &Active{ID: "x"})
	}
	for at := range int64(1000) {
		l.remove(1000+at, "x")
	}
	if len(l.moments) > 100 || l.len() != 3 {
		t.Errorf("%d moments for %d jobs", len(l.moments), l.len())
	}
}
