package uws

import (
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"
)

// Filter is what the query of a job list asks for (UWS 1.1, section 2.2.2.1). The conditions are ANDed;
// Last counts among the jobs that meet the others.
type Filter struct {
	Phases []Phase   // the union of these; none: every phase but ARCHIVED
	After  time.Time // created strictly later than this; zero: no condition
	Last   int       // the newest so many, newest first; 0: all
}

// ParseFilter reads PHASE (repeatable), AFTER and LAST from the decoded pairs of a query. Names are
// case-insensitive, values are not; other names are ignored. Errors wrap ErrInvalid.
func ParseFilter(query iter.Seq2[string, string]) (Filter, error) {
	var f Filter
	seen := single{}
	for name, value := range query {
		var err error
		switch strings.ToUpper(name) {
		case "PHASE":
			err = f.addPhase(value)
		case "AFTER":
			if err = seen.once("AFTER"); err == nil {
				f.After, err = ParseTime(value)
			}
		case "LAST":
			if err = seen.once("LAST"); err == nil {
				f.Last, err = parseLast(value)
			}
		}
		if err != nil {
			return Filter{}, err
		}
	}
	return f, nil
}

func (f *Filter) addPhase(value string) error {
	p, err := ParsePhase(value)
	if err != nil || slices.Contains(f.Phases, p) {
		return err
	}
	f.Phases = append(f.Phases, p)
	return nil
}

func parseLast(value string) (int, error) {
	n, ok := parseCount(value)
	if !ok || n == 0 {
		return 0, invalid("LAST", value, "a whole number from 1")
	}
	return n, nil
}

// Match tells whether a job passes PHASE and AFTER; Last is the caller's to count. Creation times are
// compared at the microsecond, as FormatTime shows them.
func (f *Filter) Match(phase Phase, created time.Time) bool {
	if !f.After.IsZero() && !created.Truncate(time.Microsecond).After(f.After) {
		return false
	}
	if len(f.Phases) == 0 {
		return phase != Archived
	}
	return slices.Contains(f.Phases, phase)
}

// Wait is what the query of a job asks for (UWS 1.1, section 2.2.1.1).
type Wait struct {
	Seconds int   // 0: answer at once; Forever: until a change; else at most so long
	Phase   Phase // block only while the job is in this phase; "": in any
}

// ParseWaitQuery reads WAIT and PHASE from the decoded pairs of a query. Names are case-insensitive;
// other names are ignored. Errors wrap ErrInvalid.
func ParseWaitQuery(query iter.Seq2[string, string]) (Wait, error) {
	var w Wait
	seen := single{}
	for name, value := range query {
		var err error
		switch strings.ToUpper(name) {
		case "WAIT":
			if err = seen.once("WAIT"); err == nil {
				w.Seconds, err = ParseWait(value)
			}
		case "PHASE":
			if err = seen.once("PHASE"); err == nil {
				w.Phase, err = ParsePhase(value)
			}
		}
		if err != nil {
			return Wait{}, err
		}
	}
	return w, nil
}

// Blocks tells whether the answer must wait while the job is in phase current.
func (w Wait) Blocks(current Phase) bool {
	return w.Seconds != 0 && current.Blocking() && (w.Phase == "" || w.Phase == current)
}

// single remembers the single-valued names of a query that were seen.
type single map[string]bool

func (s single) once(name string) error {
	if s[name] {
		return fmt.Errorf("%w: %s is given twice, and takes one value", ErrInvalid, name)
	}
	s[name] = true
	return nil
}
