// Package testenv lets tests ask for programs that a plain machine may lack. Without the program a test
// is skipped; where CONSORT_REQUIRE_ALL is set, as in continuous integration, it fails instead, so that
// a missing installation can never pass for a green run.
package testenv

import (
	"os"
	"os/exec"
	"testing"
)

// Need returns the paths of the named programs, or skips (fails, under CONSORT_REQUIRE_ALL) the test.
// Programs of /usr/sbin are found too, though it is not in every user's PATH.
func Need(t testing.TB, programs ...string) []string {
	t.Helper()
	var paths []string
	for _, p := range programs {
		path, err := exec.LookPath(p)
		if err != nil {
			path, err = exec.LookPath("/usr/sbin/" + p)
		}
		if err != nil {
			Skip(t, "needs the program "+p)
		}
		paths = append(paths, path)
	}
	return paths
}

// Skip skips the test, or fails it under CONSORT_REQUIRE_ALL.
func Skip(t testing.TB, why string) {
	t.Helper()
	if os.Getenv("CONSORT_REQUIRE_ALL") != "" {
		t.Fatalf("%s, and CONSORT_REQUIRE_ALL is set", why)
	}
	t.Skip(why)
}
