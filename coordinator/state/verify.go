package state

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
	"github.com/dgraph-io/badger/v4/pb"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"
)

// Badger trusts its files: a damaged table makes it panic in a goroutine of its own, where nobody can
// recover, a damaged block ends an iteration as if there were no more keys, and the damaged middle of a
// write-ahead log loses what comes after, also when a later log has newer transactions. So every file is read and
// its sums are checked before Badger sees it. What a power cut may leave behind passes; the Raft log has it.

const (
	manifestStart = "Bdgr\x00\x00\x00\x08" // the last two pairs: version of ours, version of Badger
	mostLevels    = 7
)

// verifyDatabase checks the files of a database that is not open. The error is ErrCorrupt, ErrLocked, or of
// the file system.
func verifyDatabase(dir string, log *slog.Logger) error {
	lock, err := lockDatabase(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // Badger will make it
	}
	if err != nil {
		return err
	}
	defer lock.Close() // Badger takes it next
	listed, err := readManifest(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return verifyNone(dir)
	}
	if err != nil {
		return err
	}
	reached, err := verifyTables(dir, listed.tables)
	if err != nil {
		return err
	}
	if err := errors.Join(verifyKeys(dir), verifyUnused(dir)); err != nil {
		return err
	}
	if reached, err = verifyLogs(dir, reached, log); err != nil {
		return err
	}
	if err := verifyUnlisted(dir, listed.tables, reached); err != nil {
		return err
	}
	return listed.mend(dir)
}

// verifyNone checks that there is no database without a manifest: Badger would make an empty one of it.
func verifyNone(dir string) error {
	for _, kind := range []string{"*.sst", "*.mem"} {
		if files, err := filepath.Glob(filepath.Join(dir, kind)); err != nil || len(files) > 0 {
			return errors.Join(err, damaged(filepath.Join(dir, badger.ManifestFilename), "it is missing"))
		}
	}
	return nil
}

// lockDatabase takes the lock that Badger takes, so that the files do not change while they are checked.
func lockDatabase(dir string) (*os.File, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err == nil {
		return f, nil
	}
	f.Close()
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil, fmt.Errorf("%w: stop the other process first", ErrLocked)
	}
	return nil, fmt.Errorf("lock %s: %w", dir, err)
}

func damaged(path, format string, args ...any) error {
	return fmt.Errorf("%w: %s: %w", ErrCorrupt, filepath.Base(path), fmt.Errorf(format, args...))
}

// tableList is what MANIFEST says.
type tableList struct {
	tables map[uint64]bool // ids of those that the database is made of
	end    int             // bytes, after the last whole change
	cut    bool            // a part of another change follows
}

// readManifest reads MANIFEST, with big endian numbers:
//
//	"Bdgr" u16 u16
//	changes: u32:length  u32:CRC-32C  a protobuf ManifestChangeSet
//
// The last change may be cut off by a crash.
func readManifest(dir string) (tableList, error) {
	path := filepath.Join(dir, badger.ManifestFilename)
	data, err := os.ReadFile(path)
	if err != nil {
		return tableList{}, err
	}
	if !bytes.HasPrefix(data, []byte(manifestStart)) {
		return tableList{}, damaged(path, "it does not begin as a manifest")
	}
	m := tableList{tables: map[uint64]bool{}, end: len(manifestStart)}
	for len(data)-m.end >= 8 {
		head, rest := data[m.end:m.end+8], data[m.end+8:]
		length, sum := binary.BigEndian.Uint32(head), binary.BigEndian.Uint32(head[4:])
		if uint64(length) > uint64(len(rest)) {
			if wholeWithin(rest, sum) {
				return tableList{}, damaged(path, "the length of a change is wrong")
			}
			break
		}
		if crc32.Checksum(rest[:length], castagnoli) != sum {
			return tableList{}, damaged(path, "the sum of a change differs")
		}
		if err := applyChanges(m.tables, rest[:length]); err != nil {
			return tableList{}, damaged(path, "%w", err)
		}
		m.end += 8 + int(length)
	}
	m.cut = m.end < len(data)
	return m, nil
}

// mend cuts off what is no whole change. Badger does so too, but not when the change would have been long.
func (m tableList) mend(dir string) error {
	if !m.cut {
		return nil
	}
	return truncate(filepath.Join(dir, badger.ManifestFilename), int64(m.end))
}

// wholeWithin tells whether data begins with something of this sum: then it is not cut off, and what was said
// of its length is wrong.
func wholeWithin(data []byte, sum uint32) bool {
	var s uint32
	for i := range data {
		if s = crc32.Update(s, castagnoli, data[i:i+1]); s == sum {
			return true
		}
	}
	return false
}

func applyChanges(tables map[uint64]bool, data []byte) error {
	var set pb.ManifestChangeSet
	if err := proto.Unmarshal(data, &set); err != nil {
		return err
	}
	for _, c := range set.Changes {
		switch {
		case c.Op == pb.ManifestChange_DELETE:
			delete(tables, c.Id)
		case c.Op != pb.ManifestChange_CREATE || tables[c.Id]:
			return fmt.Errorf("table %d is changed in an unknown way", c.Id)
		case c.Level >= mostLevels || c.KeyId != 0 || options.CompressionType(c.Compression) != options.Snappy:
			return fmt.Errorf("table %d is not one of consort's", c.Id)
		default:
			tables[c.Id] = true
		}
	}
	return nil
}

// verifyTables checks the tables and returns the newest version in them. Versions number the transactions.
func verifyTables(dir string, tables map[uint64]bool) (newest uint64, err error) {
	const atOnce = 4 // enough to keep a disk busy
	var group errgroup.Group
	group.SetLimit(atOnce)
	var mu sync.Mutex
	for id := range tables {
		group.Go(func() error {
			version, err := verifyTable(filepath.Join(dir, tableName(id)))
			mu.Lock()
			defer mu.Unlock()
			newest = max(newest, version)
			return err
		})
	}
	err = group.Wait()
	return newest, err
}

func tableName(id uint64) string { return fmt.Sprintf("%06d.sst", id) }

// verifyUnlisted looks at the tables that the manifest does not name, which Badger removes. A crash leaves some,
// but what is in them is in others or in a log too, up to version reached; if not, the manifest lost them.
func verifyUnlisted(dir string, tables map[uint64]bool, reached uint64) error {
	paths, err := filepath.Glob(filepath.Join(dir, "*.sst"))
	if err != nil {
		return err
	}
	for _, path := range paths {
		id, err := strconv.ParseUint(strings.TrimSuffix(filepath.Base(path), ".sst"), 10, 64)
		if err == nil && tables[id] {
			continue
		}
		version, err := verifyTable(path)
		if err == nil && version > reached { // an error: it was not whole when the crash came
			return damaged(path, "it has transaction %d, but what the manifest names ends at %d", version, reached)
		}
	}
	return nil
}

// verifyKeys checks the registry of encryption keys, of which we have none: 16 random bytes and a known text.
func verifyKeys(dir string) error {
	path := filepath.Join(dir, badger.KeyRegistryFileName)
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // Badger makes an empty one
	}
	if err == nil && (len(data) < 16 || string(data[16:]) != "Hello Badger") {
		return damaged(path, "it is not an empty registry of keys")
	}
	return err
}

// verifyUnused checks the files of the value log, in which no value of ours ever comes. Badger reads them up
// to the first zeros.
func verifyUnused(dir string) error {
	logs, err := filepath.Glob(filepath.Join(dir, "*.vlog"))
	if err != nil {
		return err
	}
	for _, path := range logs {
		info, err := os.Stat(path)
		if err == nil && info.Size() < walStart { // a crash while it was made, over which Badger stumbles
			err = os.Remove(path)
		} else if err == nil {
			err = verifyEmpty(path, walStart)
		}
		if err != nil {
			return err
		}
	}
	err = verifyEmpty(filepath.Join(dir, "DISCARD"), 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// verifyEmpty checks that a file begins with the zeros that make it unencrypted, and that no entry comes after
// its header.
func verifyEmpty(path string, header int) error {
	const entry = 32 // bytes, more than Badger looks at
	return mapped(path, func(data []byte) error {
		header := min(header, len(data))
		if !zeros(data[:min(header, 8)]) || !zeros(data[header:min(header+entry, len(data))]) {
			return damaged(path, "it is not empty")
		}
		return nil
	})
}

var zeroPage [64 << 10]byte

func zeros(data []byte) bool {
	for len(data) > 0 {
		n := min(len(data), len(zeroPage))
		if !bytes.Equal(data[:n], zeroPage[:n]) {
			return false
		}
		data = data[n:]
	}
	return true
}

// mapped calls fn with the bytes of a file.
func mapped(path string, fn func(data []byte) error) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || info.Size() == 0 {
		return errors.Join(err, fn(nil))
	}
	data, err := unix.Mmap(int(f.Fd()), 0, int(info.Size()), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return fmt.Errorf("map %s: %w", path, err)
	}
	return errors.Join(fn(data), unix.Munmap(data))
}
