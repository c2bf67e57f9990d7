package wal

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"strconv"
	"syscall"
)

const header = "consort-log 1\n"

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func check(record []byte) error {
	if len(record) == 0 || len(record) > MaxRecord || bytes.IndexByte(record, '\n') >= 0 {
		return fmt.Errorf("%w: %d bytes", ErrRecord, len(record))
	}
	return nil
}

// frame makes the line of one record.
func frame(record []byte, synced int64) []byte {
	rest := make([]byte, 0, len(record)+32)
	rest = strconv.AppendInt(rest, int64(len(record)), 10)
	rest = append(rest, ' ')
	rest = strconv.AppendInt(rest, synced, 10)
	rest = append(rest, ' ')
	rest = append(rest, record...)
	line := fmt.Appendf(make([]byte, 0, len(rest)+10), "%08x ", crc32.Checksum(rest, castagnoli))
	line = append(line, rest...)
	return append(line, '\n')
}

// parse reads one line, without its line feed. It accepts only what frame writes.
func parse(line []byte) (record []byte, synced int64, ok bool) {
	sum, rest, found := bytes.Cut(line, []byte(" "))
	if !found || len(sum) != 8 {
		return nil, 0, false
	}
	want, err := strconv.ParseUint(string(sum), 16, 32)
	if err != nil || uint32(want) != crc32.Checksum(rest, castagnoli) {
		return nil, 0, false
	}
	length, rest, found := bytes.Cut(rest, []byte(" "))
	if !found {
		return nil, 0, false
	}
	upto, record, found := bytes.Cut(rest, []byte(" "))
	if !found {
		return nil, 0, false
	}
	n, err1 := strconv.Atoi(string(length))
	synced, err2 := strconv.ParseInt(string(upto), 10, 64)
	if err1 != nil || err2 != nil || n != len(record) || check(record) != nil || synced < 0 {
		return nil, 0, false
	}
	return record, synced, true
}

// scan gives replay every record of data and returns the length of the part that is sound.
func scan(data []byte, replay func([]byte) error) (good int64, err error) {
	if !bytes.HasPrefix(data, []byte(header)) {
		return 0, fmt.Errorf("%w: it must begin with %q", ErrNotALog, header)
	}
	at := len(header)
	for at < len(data) {
		end := bytes.IndexByte(data[at:], '\n')
		if end < 0 {
			break
		}
		record, _, ok := parse(data[at : at+end])
		if !ok {
			break
		}
		if err := replay(record); err != nil {
			return 0, fmt.Errorf("record at byte %d: %w", at, err)
		}
		at += end + 1
	}
	if err := judgeTail(data[at:], int64(at)); err != nil {
		return 0, err
	}
	return int64(at), nil
}

// judgeTail decides whether bytes that do not begin with a sound record may be the torn end of a log.
// They may not when a later record says that they had been synced, nor when a later record is sound and
// the bytes between are all written: what a power cut leaves out reads as NUL, which no record contains.
func judgeTail(tail []byte, at int64) error {
	gap := -1 // length of the unsound bytes before the first sound record
	next := 0
	for line := range bytes.Lines(tail) {
		if _, synced, ok := parse(bytes.TrimSuffix(line, []byte("\n"))); ok && line[len(line)-1] == '\n' {
			if gap < 0 {
				gap = next
			}
			if synced > at {
				return fmt.Errorf("%w: the record at byte %d is not sound, but the first %d bytes had been synced", ErrCorrupt, at, synced)
			}
		}
		next += len(line)
	}
	if gap >= 0 && bytes.IndexByte(tail[:gap], 0) < 0 {
		return fmt.Errorf("%w: the record at byte %d is not sound, and sound ones follow it", ErrCorrupt, at)
	}
	return nil
}

// datasync is fsync without the time stamps.
func datasync(f *os.File) error {
	for {
		err := syscall.Fdatasync(int(f.Fd()))
		if !errors.Is(err, syscall.EINTR) {
			return os.NewSyscallError("fdatasync", err)
		}
	}
}
