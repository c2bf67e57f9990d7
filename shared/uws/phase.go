// Package uws holds the vocabulary of IVOA UWS 1.1 (recommendation of 2016-10-24): the execution phases
// and which may follow which, and the documents, written and read. It knows no HTTP and no storage.
package uws

// Phase is an execution phase of a job (UWS 1.1, section 2.1.3).
type Phase string

// The phases of UWS 1.1.
const (
	Pending   Phase = "PENDING"
	Queued    Phase = "QUEUED"
	Executing Phase = "EXECUTING"
	Completed Phase = "COMPLETED"
	Error     Phase = "ERROR"
	Aborted   Phase = "ABORTED"
	Unknown   Phase = "UNKNOWN"
	Held      Phase = "HELD"
	Suspended Phase = "SUSPENDED"
	Archived  Phase = "ARCHIVED"
)

// Phases lists every phase, in the order of the standard's schema.
var Phases = []Phase{Pending, Queued, Executing, Completed, Error, Unknown, Held, Suspended, Aborted, Archived}

// moves is the table of DESIGN section 7.
var moves = map[Phase][]Phase{
	Pending:   {Queued, Aborted, Archived},
	Queued:    {Executing, Completed, Held, Aborted, Error},
	Executing: {Completed, Error, Aborted, Queued, Suspended, Held},
	Held:      {Queued, Aborted, Error, Archived},
	Suspended: {Executing, Queued, Completed, Error, Aborted},
	Unknown:   {Executing, Completed, Error, Queued, Aborted},
	Completed: {Archived},
	Error:     {Archived},
	Aborted:   {Archived},
}

// Valid tells whether p is one of the ten phases.
func (p Phase) Valid() bool {
	_, ok := moves[p]
	return ok || p == Archived
}

// CanBecome tells whether a job in phase p may move to phase next.
func (p Phase) CanBecome(next Phase) bool {
	for _, m := range moves[p] {
		if m == next {
			return true
		}
	}
	return false
}

// Final tells whether the job has ended: phase, results and end time never change any more, but for
// archiving.
func (p Phase) Final() bool { return p == Completed || p == Error || p == Aborted || p == Archived }

// Blocking tells whether WAIT blocks in this phase: PENDING, QUEUED and EXECUTING (UWS 1.1, 2.2.1.1).
func (p Phase) Blocking() bool { return p == Pending || p == Queued || p == Executing }
