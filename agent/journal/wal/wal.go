// Package wal is an append-only log of small text records in one file: every record carries its length
// and a checksum, many writers share one fsync, and the whole file is replaced atomically when it has
// grown too long. It keeps what an agent must not forget.
//
// It is not a database (readers replay the log into memory at open), not meant for records of many
// megabytes, and not safe for two processes at once: its owner holds a lock on the directory.
//
// The file is text, one record a line, so that an administrator can read it:
//
//	consort-log 1
//	<crc32c> <length> <synced> <payload>
//
// The checksum covers the rest of the line. "synced" is the length of the file that was known to be on
// disk when the record was written. It tells damage from a torn tail: bytes after the last fsync may be
// lost, in any order, when the power fails, and are dropped; bytes before it were promised, and if one of
// them is wrong the log is not opened.
package wal

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"sync"

	"consort/shared/atomicfile"
)

// ErrCorrupt means that a part of the log which had been synced is damaged. The file needs a human, or a
// backup; it is left as it is.
var ErrCorrupt = errors.New("the log is damaged")

// ErrNotALog means that the file is not a log of this format.
var ErrNotALog = errors.New("not a log of this format")

// ErrBroken means that an earlier write or fsync went wrong. What is on disk is not known any more, so
// the log takes no more records until it is opened again.
var ErrBroken = errors.New("the log is out of use after a write error")

// ErrRecord means that a record cannot be stored: empty, longer than MaxRecord, or with a line feed in it.
var ErrRecord = errors.New("not a record that the log can hold")

const tempSuffix = ".new-"

// MaxRecord is the greatest length of a record in bytes.
const MaxRecord = 16 << 20

// Log is an open log. Its methods may be called at the same time.
type Log struct {
	path string

	mu      sync.Mutex // guards the end of the file
	file    *os.File
	written int64 // bytes in the file
	broken  error

	syncMu sync.Mutex // held while one fsync runs for all who wait; taken before mu
	synced int64      // bytes known to be on disk; guarded by mu
}

// Open opens the log at path, or makes an empty one, and gives replay each record in the order written.
// The records are valid only during the call. An incomplete tail is cut off; dropped says how long it was.
func Open(path string, replay func(record []byte) error) (l *Log, dropped int64, err error) {
	if err := removeLeftovers(path); err != nil {
		return nil, 0, fmt.Errorf("remove unfinished logs: %w", err)
	}
	data, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		l, err = create(path, nil)
		return l, 0, err
	}
	if err != nil {
		return nil, 0, fmt.Errorf("read the log: %w", err)
	}
	good, err := scan(data, replay)
	if err != nil {
		return nil, 0, fmt.Errorf("read the log %s: %w", path, err)
	}
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, 0, fmt.Errorf("open the log: %w", err)
	}
	l = &Log{path: path, file: file, written: good, synced: good}
	if err := l.cutTail(good); err != nil {
		file.Close()
		return nil, 0, fmt.Errorf("cut the incomplete end of the log: %w", err)
	}
	return l, int64(len(data)) - good, nil
}

// removeLeftovers deletes what a compaction that was killed left behind.
func removeLeftovers(path string) error {
	names, err := filepath.Glob(filepath.Join(filepath.Dir(path), filepath.Base(path)+tempSuffix+"*"))
	for _, n := range names {
		err = errors.Join(err, os.Remove(n))
	}
	return err
}

// cutTail removes what follows the good part and makes the good part durable: it may have been read from
// memory that a killed process had not synced.
func (l *Log) cutTail(good int64) error {
	if err := l.file.Truncate(good); err != nil {
		return err
	}
	if _, err := l.file.Seek(good, 0); err != nil {
		return err
	}
	return l.file.Sync()
}

// create writes a new log file beside path, with the given records, and moves it into place.
func create(path string, records iter.Seq[[]byte]) (*Log, error) {
	file, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+tempSuffix+"*")
	if err != nil {
		return nil, fmt.Errorf("make the log: %w", err)
	}
	l := &Log{path: path, file: file}
	if err := l.fill(records); err != nil {
		file.Close()
		os.Remove(file.Name())
		return nil, fmt.Errorf("write the log: %w", err)
	}
	return l, nil
}

func (l *Log) fill(records iter.Seq[[]byte]) error {
	var buf bytes.Buffer
	buf.WriteString(header)
	if records != nil {
		for r := range records {
			if err := check(r); err != nil {
				return err
			}
			buf.Write(frame(r, int64(len(header))))
			if buf.Len() >= 1<<20 {
				if err := l.flush(&buf); err != nil {
					return err
				}
			}
		}
	}
	if err := l.flush(&buf); err != nil {
		return err
	}
	if err := l.file.Sync(); err != nil {
		return err
	}
	if err := os.Rename(l.file.Name(), l.path); err != nil {
		return err
	}
	l.synced = l.written
	return atomicfile.SyncDir(filepath.Dir(l.path))
}

func (l *Log) flush(buf *bytes.Buffer) error {
	n, err := buf.WriteTo(l.file)
	l.written += n
	return err
}

// Append writes records at the end, all or none. They survive the death of the process at once, and a
// power cut after the next Sync.
func (l *Log) Append(records ...[]byte) error {
	for _, r := range records {
		if err := check(r); err != nil {
			return err
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.broken != nil {
		return l.broken
	}
	var buf []byte
	for _, r := range records {
		buf = append(buf, frame(r, l.synced)...)
	}
	n, err := l.file.Write(buf)
	if err == nil {
		l.written += int64(n)
		return nil
	}
	if cut := l.rewind(); cut != nil {
		l.fail(errors.Join(err, cut))
	}
	return fmt.Errorf("write to the log: %w", err)
}

// rewind takes back a write that was cut short, for example by a full disk, so that the log stays usable.
func (l *Log) rewind() error {
	if err := l.file.Truncate(l.written); err != nil {
		return err
	}
	_, err := l.file.Seek(l.written, 0)
	return err
}

// Sync returns when every record appended before the call is on disk. Callers that come while an fsync
// runs share the next one.
func (l *Log) Sync() error {
	l.mu.Lock()
	want := l.written
	l.mu.Unlock()

	l.syncMu.Lock()
	defer l.syncMu.Unlock()

	l.mu.Lock()
	file, upto, synced, broken := l.file, l.written, l.synced, l.broken
	l.mu.Unlock()
	if broken != nil {
		return broken
	}
	if synced >= want {
		return nil
	}
	err := datasync(file)
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		// The kernel may have dropped the pages: a second fsync would lie.
		l.fail(err)
		return l.broken
	}
	l.synced = upto
	return nil
}

// Compact replaces the log by one that holds only the given records. They must be all that matters of
// what was appended: the owner keeps others from appending meanwhile. When it fails the old log stays.
func (l *Log) Compact(records iter.Seq[[]byte]) error {
	l.syncMu.Lock()
	defer l.syncMu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.broken != nil {
		return l.broken
	}
	fresh, err := create(l.path, records)
	if err != nil {
		return fmt.Errorf("compact: %w", err)
	}
	old := l.file
	l.file, l.written, l.synced = fresh.file, fresh.written, fresh.synced
	return old.Close()
}

// Size is the length of the file in bytes.
func (l *Log) Size() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.written
}

// Close syncs and closes the log.
func (l *Log) Close() error {
	syncErr := l.Sync()
	l.syncMu.Lock()
	defer l.syncMu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	if errors.Is(syncErr, os.ErrClosed) {
		return nil
	}
	l.broken = fmt.Errorf("%w: %w", ErrBroken, os.ErrClosed)
	return errors.Join(syncErr, l.file.Close())
}

func (l *Log) fail(err error) { l.broken = fmt.Errorf("%w: %w", ErrBroken, err) }
