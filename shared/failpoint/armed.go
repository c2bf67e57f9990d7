//go:build failpoint

// Package failpoint names the places in the code where tests kill the process to see what survives.
// In a normal build it does nothing; built with the tag "failpoint" it acts on CONSORT_FAILPOINT.
package failpoint

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
)

// armed is the failpoint named by CONSORT_FAILPOINT as "name" or "name:n" (die at the nth passage).
var armed, after = parse(os.Getenv("CONSORT_FAILPOINT"))

var passed atomic.Int64

func parse(s string) (string, int64) {
	name, n, ok := strings.Cut(s, ":")
	if !ok {
		return name, 1
	}
	count, err := strconv.ParseInt(n, 10, 64)
	if err != nil || count < 1 {
		panic(fmt.Sprintf("CONSORT_FAILPOINT=%q: want name or name:count", s))
	}
	return name, count
}

// Here kills the process with SIGKILL, as a power cut would, when it is the armed failpoint.
func Here(name string) {
	if name != armed || passed.Add(1) != after {
		return
	}
	fmt.Fprintf(os.Stderr, "failpoint %s: killing the process\n", name)
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {} // the signal is on its way
}
