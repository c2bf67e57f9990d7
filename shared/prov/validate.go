package prov

import (
	"fmt"
	"time"
)

// Problem is something that Validate found. Graphs with problems can be written all the same: an answer cut
// off at some depth refers to nodes outside it by design.
type Problem struct {
	Code   ProblemCode
	Record string // kind and id of the record concerned
	Text   string
}

// ProblemCode classifies problems.
type ProblemCode string

// What Validate looks for.
const (
	// Dangling: a formal reference to a node that neither the graph nor its parent declares.
	Dangling ProblemCode = "dangling"
	// WrongKind: one id declared as things that PROV-CONSTRAINTS (constraint 55) calls disjoint, or a
	// reference to an element of another kind than the relation takes.
	WrongKind ProblemCode = "wrong-kind"
	// TimeOrder: an activity that ends before it starts, or a usage or generation outside its activity.
	TimeOrder ProblemCode = "time-order"
	// ManyGenerations: an entity generated more than once (ProvDM 1.0: at most one).
	ManyGenerations ProblemCode = "many-generations"
)

// Validate lists what is wrong with the graph and its bundles beyond what Add refuses.
func (g *Graph) Validate() []Problem {
	var found []Problem
	report := func(code ProblemCode, r *Record, format string, args ...any) {
		found = append(found, Problem{code, fmt.Sprintf("%v(%s)", r.Kind, r.ID), fmt.Sprintf(format, args...)})
	}
	generations := map[QName]int{}
	for r := range g.All() {
		g.validateRefs(r, report)
		switch r.Kind {
		case Activity:
			if _, both := g.Get(Entity, r.ID); both {
				report(WrongKind, r, "is declared as an entity too")
			}
			if !r.Time.IsZero() && !r.End.IsZero() && r.End.Before(r.Time) {
				report(TimeOrder, r, "ends at %s, before its start at %s", formatTime(r.End), formatTime(r.Time))
			}
		case Generation:
			g.validateTime(r, r.Ref(1), report)
			if generations[r.Ref(0)]++; generations[r.Ref(0)] == 2 {
				report(ManyGenerations, r, "%s is generated more than once", r.Ref(0))
			}
		case Usage:
			g.validateTime(r, r.Ref(0), report)
		}
	}
	for _, inner := range g.Bundles() {
		found = append(found, inner.Validate()...)
	}
	return found
}

type reporter func(code ProblemCode, r *Record, format string, args ...any)

// validateRefs checks that each formal reference leads to a declared node of the right kind.
func (g *Graph) validateRefs(r *Record, report reporter) {
	for i, s := range shapes[r.Kind].refs {
		q := r.Ref(i)
		if q.IsZero() {
			continue
		}
		if s.target != 0 {
			if g.known(s.target, q) {
				continue
			}
		} else if g.known(Entity, q) || g.known(Activity, q) || g.known(Agent, q) {
			continue
		}
		for k := Entity; k <= lastKind; k++ {
			if g.known(k, q) {
				report(WrongKind, r, "prov:%s refers to %s, which is declared as %v", s.name, q, k)
				return
			}
		}
		report(Dangling, r, "prov:%s refers to %s, which is not declared", s.name, q)
	}
}

// known tells whether g, or the document around it, has a record of kind k with the id.
func (g *Graph) known(k Kind, id QName) bool {
	if _, ok := g.Get(k, id); ok {
		return true
	}
	return g.parent != nil && g.parent.known(k, id)
}

// validateTime checks that a relation happened while its activity went on.
func (g *Graph) validateTime(r *Record, activity QName, report reporter) {
	a, ok := g.Get(Activity, activity)
	if !ok || r.Time.IsZero() || !outside(r.Time, a.Time, a.End) {
		return
	}
	report(TimeOrder, r, "at %s lies outside its activity %s", formatTime(r.Time), activity)
}

// outside tells whether t is before start or after end, where those are known.
func outside(t, start, end time.Time) bool {
	return !start.IsZero() && t.Before(start) || !end.IsZero() && t.After(end)
}
