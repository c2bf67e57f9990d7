//go:build unix

package userapi

import (
	"os"

	"golang.org/x/sys/unix"
)

// lock keeps other processes from writing the same file; it ends with the file's closing.
func lock(f *os.File) error {
	if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil {
		return ErrLocked
	}
	return nil
}
