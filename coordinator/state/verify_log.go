package state

import (
	"cmp"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// A write-ahead log is u64:0 and 12 random bytes, then entries, then zeros:
//
//	entry: meta  user meta  uvarint:length of key  uvarint:length of value  uvarint:expiry  key  value  u32:CRC-32C
//
// A key ends in the version, u64, bits inverted. The entries of a transaction have one version and metaTxn; one
// with metaEnd and the version as its value, in decimal, ends it.
const (
	walStart = 20
	metaTxn  = 1 << 6
	metaEnd  = 1 << 7
)

// walSpan is what a write-ahead log holds.
type walSpan struct {
	first, last uint64 // versions; 0: none
	end         int    // bytes, after the last whole transaction
	clean       bool   // only zeros follow
}

// verifyLogs checks the write-ahead logs: they go on where the tables end, at version reached, without a gap.
// All but the newest were synced before the next began, so they must be whole. At the end of the newest a power
// cut leaves anything; it is cut off for good.
func verifyLogs(dir string, reached uint64, log *slog.Logger) (uint64, error) {
	paths, err := walPaths(dir)
	if err != nil {
		return 0, err
	}
	for i, path := range paths {
		newest := i == len(paths)-1
		var span walSpan
		if err := mapped(path, func(data []byte) (err error) { span, err = readWAL(data); return err }); err != nil {
			if newest && errors.Is(err, errShort) { // a crash while it was made
				return reached, os.Remove(path)
			}
			return 0, damaged(path, "%w", err)
		}
		if span.first > reached+1 {
			return 0, damaged(path, "it begins with transaction %d, but what is before it ends at %d", span.first, reached)
		}
		reached = max(reached, span.last)
		if span.clean {
			continue
		}
		if !newest {
			return 0, damaged(path, "it cannot be read beyond transaction %d", span.last)
		}
		log.Warn("the end of the state's write-ahead log is cut off; the Raft log has what it lost", "file", path, "last", span.last)
		if err := truncate(path, int64(span.end)); err != nil {
			return 0, err
		}
	}
	return reached, nil
}

// walPaths returns the logs, oldest first.
func walPaths(dir string) ([]string, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "*.mem"))
	if err != nil {
		return nil, err
	}
	number := func(path string) (uint64, error) {
		return strconv.ParseUint(strings.TrimSuffix(filepath.Base(path), ".mem"), 10, 31)
	}
	for _, path := range paths {
		if _, err := number(path); err != nil {
			return nil, damaged(path, "it is not named as a log")
		}
	}
	slices.SortFunc(paths, func(a, b string) int {
		m, _ := number(a)
		n, _ := number(b)
		return cmp.Compare(m, n)
	})
	return paths, nil
}

func readWAL(data []byte) (walSpan, error) {
	if len(data) < walStart {
		return walSpan{}, errShort
	}
	if !zeros(data[:8]) {
		return walSpan{}, errors.New("it is encrypted")
	}
	s := walSpan{end: walStart}
	var version uint64 // of the transaction that is being read, 0: none
	for at := walStart; ; {
		e, n := readWALEntry(data[at:])
		if n == 0 {
			break
		}
		at += n
		if e.meta&metaTxn != 0 && (version == 0 || version == e.version) {
			version = e.version
			continue
		}
		if e.meta&metaEnd == 0 || version == 0 || string(e.value) != strconv.FormatUint(version, 10) {
			break
		}
		if s.first == 0 {
			s.first = version
		}
		s.last, s.end, version = version, at, 0
	}
	s.clean = zeros(data[s.end:])
	return s, nil
}

type walEntry struct {
	meta    byte
	version uint64
	value   []byte
}

// readWALEntry returns the entry at the start of data and its length in bytes; 0 when there is no whole one.
func readWALEntry(data []byte) (walEntry, int) {
	if len(data) < 2 {
		return walEntry{}, 0
	}
	at := 2
	var numbers [3]uint64 // lengths of key and value, expiry
	for i := range numbers {
		n, width := binary.Uvarint(data[at:])
		if width <= 0 {
			return walEntry{}, 0
		}
		numbers[i] = n
		at += width
	}
	left := uint64(len(data) - at)
	key, value := numbers[0], numbers[1]
	if key < 8 || key > left || value > left-key || left-key-value < crc32.Size {
		return walEntry{}, 0
	}
	valueAt := at + int(key)
	end := valueAt + int(value)
	if crc32.Checksum(data[:end], castagnoli) != binary.BigEndian.Uint32(data[end:]) {
		return walEntry{}, 0
	}
	version := ^binary.BigEndian.Uint64(data[valueAt-8:])
	return walEntry{meta: data[0], version: version, value: data[valueAt:end]}, end + crc32.Size
}

// truncate cuts a file off, durably: should the log not be the newest any more, it is to be whole.
func truncate(path string, size int64) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Truncate(size), f.Sync(), f.Close())
}
