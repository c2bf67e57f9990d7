//go:build !failpoint

// Package failpoint names the places in the code where tests kill the process to see what survives.
// In a normal build it does nothing; built with the tag "failpoint" it acts on CONSORT_FAILPOINT.
package failpoint

// Here is a place where the process may be made to die. It does nothing in a normal build.
func Here(string) {}
