package state

import (
	"cmp"
	"iter"
	"slices"
)

// timeline is a set of jobs ordered by a time that no two of them share: times of commands strictly
// increase. New jobs nearly always come at its end. What is removed leaves a hole, so that a removal costs
// no moving; holes are closed when they are the greater part.
type timeline struct {
	moments []moment
	holes   int
}

type moment struct {
	at  int64
	job *Active // nil: a hole
}

func (l *timeline) len() int { return len(l.moments) - l.holes }

func (l *timeline) find(at int64) (int, bool) {
	return slices.BinarySearchFunc(l.moments, at, func(m moment, at int64) int { return cmp.Compare(m.at, at) })
}

// put adds a job, or takes the place of what was there at that time.
func (l *timeline) put(at int64, job *Active) {
	i, found := l.find(at)
	switch {
	case !found:
		l.moments = slices.Insert(l.moments, i, moment{at, job})
	case l.moments[i].job == nil:
		l.holes--
		l.moments[i].job = job
	default:
		l.moments[i].job = job
	}
}

// remove takes a job out if it is there at that time.
func (l *timeline) remove(at int64, id string) {
	i, found := l.find(at)
	if !found || l.moments[i].job == nil || l.moments[i].job.ID != id {
		return
	}
	l.moments[i].job = nil
	l.holes++
	if l.holes > 32 && l.holes > len(l.moments)/2 {
		l.moments = slices.DeleteFunc(l.moments, func(m moment) bool { return m.job == nil })
		l.holes = 0
	}
}

// newest yields the jobs older than the time given, newest first.
func (l *timeline) newest(before int64) iter.Seq[*Active] {
	return func(yield func(*Active) bool) {
		i, _ := l.find(before)
		for i--; i >= 0; i-- {
			if job := l.moments[i].job; job != nil && !yield(job) {
				return
			}
		}
	}
}

// oldest returns up to limit jobs younger than the time given, oldest first.
func (l *timeline) oldest(after int64, limit int) []*Active {
	i, found := l.find(after)
	if found {
		i++
	}
	var jobs []*Active
	for ; i < len(l.moments) && len(jobs) < limit; i++ {
		if job := l.moments[i].job; job != nil {
			jobs = append(jobs, job)
		}
	}
	return jobs
}
