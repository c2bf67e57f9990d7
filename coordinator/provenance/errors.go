package provenance

import (
	"fmt"
	"strings"

	"consort/coordinator/jobs"
)

// ErrNotFound is returned for what does not exist and for what the caller may not read, alike.
var ErrNotFound = jobs.ErrNotFound

// ErrNotRetracted is returned for the withdrawal of a retraction that there is not. It is an ErrNotFound.
var ErrNotRetracted = fmt.Errorf("%w: not retracted", ErrNotFound)

// InvalidError is returned for a parameter that has a value it can't have. It is a jobs.ErrInvalid.
type InvalidError struct {
	Parameter string
	Value     string
	Problem   string   // what is wrong, when the allowed values do not say it
	Allowed   []string // the values that there are, if they can be counted
}

// Error tells what is wrong and what would be right.
func (e *InvalidError) Error() string {
	text := e.Parameter
	if e.Value != "" || e.Problem == "" {
		text += fmt.Sprintf(": %.100q", e.Value)
	}
	if e.Problem != "" {
		text += " " + e.Problem
	}
	if len(e.Allowed) > 0 {
		text += "; allowed: " + strings.Join(e.Allowed, ", ")
	}
	return text
}

// Unwrap makes it one of the errors that callers know.
func (e *InvalidError) Unwrap() error { return jobs.ErrInvalid }

func badCursor(cursor string) error {
	return &InvalidError{Parameter: "cursor", Value: cursor, Problem: "is not one that this server gave for this question"}
}
