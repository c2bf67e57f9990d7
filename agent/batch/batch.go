// Package batch is what the agent asks of a batch system: submit, list, cancel, account. The packages below
// it speak to one system each; package batchtest holds the tests that all of them pass.
//
// It also writes the shell script that every attempt runs in, whatever the batch system, and reads the
// two files that this wrapper leaves: started and exit.
//
// It does not decide anything about an attempt: retries, phases and clean-up belong to package attempt.
//
// Three rules hold for every implementation. A job that is missing from a list has not ended: only Account
// or the exit file can say so. A cancel is a request, to be repeated until the end is seen. A submit that
// may have happened is ErrAmbiguous, and is looked up by name before anyone tries again.
package batch

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"time"
	"unicode/utf8"
)

// ErrAmbiguous means that a submit may or may not have made a job: the batch system did not answer. The
// caller looks for the name in List, and in the attempt's directory, before it submits again.
var ErrAmbiguous = errors.New("the batch system may have taken the job")

// ErrRejected means that the batch system refused a job and made none. The error's text holds what it
// said, word for word.
var ErrRejected = errors.New("the batch system refused the job")

// ErrUnavailable means that the batch system does not answer. Nothing is known that was not known before.
var ErrUnavailable = errors.New("the batch system does not answer")

// Spec describes a job to be submitted.
type Spec struct {
	Name        string        // unique for ever, see ValidName; the job is found again by it
	Job         string        // the Consort job
	Epoch       uint64        // its attempt, from 1
	Dir         string        // the attempt's private directory, absolute: wrapper, started, exit
	WorkDir     string        // where the program runs, absolute
	Wrapper     string        // the script made by WriteWrapper, absolute
	Cores       int           // to reserve, at least 1
	MemoryBytes int64         // to reserve; 0 leaves it to the batch system
	WallTime    time.Duration // after which the batch system ends the job; 0 is no limit
}

var namePattern = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9._-]{0,127}$`)

// ValidName tells whether s may name a batch job: a letter, then at most 127 letters, digits, dots,
// underscores and hyphens.
func ValidName(s string) bool { return namePattern.MatchString(s) }

// Validate returns an ErrRejected that names the field when no batch system could take the job.
func (s Spec) Validate() error {
	refuse := func(format string, args ...any) error {
		return fmt.Errorf("%w: %s", ErrRejected, fmt.Sprintf(format, args...))
	}
	switch {
	case !ValidName(s.Name):
		return refuse("the name %q is not made of letters, digits, '.', '_' and '-'", s.Name)
	case !validJob(s.Job):
		return refuse("the job id %q is not made of letters, digits and '-'", s.Job)
	case s.Epoch == 0:
		return refuse("the epoch is 0")
	case s.Cores < 1:
		return refuse("%d cores", s.Cores)
	case s.MemoryBytes < 0:
		return refuse("%d bytes of memory", s.MemoryBytes)
	case s.WallTime < 0:
		return refuse("a wall time of %v", s.WallTime)
	}
	for field, path := range map[string]string{"Dir": s.Dir, "WorkDir": s.WorkDir, "Wrapper": s.Wrapper} {
		if !filepath.IsAbs(path) || hasNUL(path) || !utf8.ValidString(path) {
			return refuse("%s is %q, not an absolute path in UTF-8", field, path)
		}
	}
	return nil
}

// State is where a job is in the batch system.
type State string

// The states of a job, in the words of most batch systems.
const (
	Queued    State = "queued"    // waits for resources
	Held      State = "held"      // waits for somebody to release it
	Running   State = "running"   // has a node
	Suspended State = "suspended" // stopped by the batch system, will go on by itself
	Ending    State = "ending"    // being cancelled or cleaned up
	Ended     State = "ended"     // over; Account knows how
)

// Status is one job in the list.
type Status struct {
	ID     string    // the batch system's
	Name   string    // as submitted
	State  State     // now
	Reason string    // why it waits, in the batch system's words; may be empty
	Node   string    // where it runs; may be empty
	Start  time.Time // when it began to run; zero if it did not, or that is not known
}

// Cause is why a job ended.
type Cause string

// The causes of an end.
const (
	Exited      Cause = "exited"        // by itself: ExitCode or Signal says how
	TimeLimit   Cause = "time-limit"    // the batch system ended it when its wall time was over
	Cancelled   Cause = "cancelled"     // somebody asked for it
	OutOfMemory Cause = "out-of-memory" // it used more memory than it had
	NodeFailed  Cause = "node-failed"   // the machine went away
	Preempted   Cause = "preempted"     // it made room for another job
	Unknown     Cause = "unknown"       // it is over, and nobody knows why
)

// Account is what is known of a job when it is over.
type Account struct {
	Ended       bool      // false: not over yet, and nothing else is set
	Cause       Cause     // why it ended
	ExitCode    int       // 0–255, of a program that exited by itself
	Signal      int       // the signal that killed the program, or 0
	Reason      string    // more words, for people; may be empty
	Start, End  time.Time // site time; zero where not known
	CPUSeconds  float64   // user and system time of all its processes; 0 where not known
	MaxRSSBytes int64     // resident memory of its largest process; 0 where not known
	Node        string    // where it ran; may be empty
}

// Succeeded tells whether the program ended by itself with exit code 0.
func (a Account) Succeeded() bool {
	return a.Ended && a.Cause == Exited && a.ExitCode == 0 && a.Signal == 0
}

// Scheduler is a batch system. Its methods may be called at the same time, and obey the context.
type Scheduler interface {
	// Submit hands in a job and returns the batch system's id of it. Submitting a Spec again, with the same
	// name, must not start its program a second time; the wrapper sees to that at the latest.
	Submit(ctx context.Context, spec Spec) (id string, err error)

	// List returns this agent's jobs, in one query: all that are not over, and those that ended lately
	// where the batch system still shows them.
	List(ctx context.Context) ([]Status, error)

	// Cancel asks for the end of jobs and of every process of theirs. It does not wait. An id that is not
	// known, or over, is no error.
	Cancel(ctx context.Context, ids ...string) error

	// Account tells how jobs ended. An id that is not known is absent from the map.
	Account(ctx context.Context, ids ...string) (map[string]Account, error)
}

// Notifier is a Scheduler that tells at once when some job has changed, so that nobody needs to poll.
type Notifier interface {
	// Changed receives a value after a job has started or ended. It is a hint for one reader: several
	// changes may make one value.
	Changed() <-chan struct{}
}
