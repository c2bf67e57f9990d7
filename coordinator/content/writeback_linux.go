package content

import (
	"os"

	"golang.org/x/sys/unix"
)

// startWriteback asks the system to begin writing n bytes at off to disk, so that the sync at the seal
// finds little left to do. It is only a hint: the sync decides, and reports errors.
func startWriteback(f *os.File, off, n int64) {
	_ = unix.SyncFileRange(int(f.Fd()), off, n, unix.SYNC_FILE_RANGE_WRITE)
}
