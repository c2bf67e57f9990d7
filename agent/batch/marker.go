package batch

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// ErrMarker means that a file left by a wrapper is not as a wrapper writes it. A file started that was cut
// short still means that the program may have been started.
var ErrMarker = errors.New("not a file written by the wrapper")

// maxMarker is the greatest size in bytes of a file started or exit.
const maxMarker = 4 << 10

// Started is the content of the file started.
type Started struct {
	Job    string // as in Program
	Epoch  uint64 // as in Program
	PID    int    // the wrapper's process
	BootID string // of the machine, or "-" where it is not known
}

// Exit is the content of the file exit.
type Exit struct {
	Started                  // who wrote it
	Host       string        // where the program ran
	Status     int           // as a shell sees it, 0–255; above 128 it is 128 and the signal's number
	Start, End time.Time     // when the files started and exit were written; Start is zero without the former
	CPU        time.Duration // user and system time of all processes that were waited for
	Error      string        // what kept the program from starting (workdir, stdin, stdout, stderr, signal), or empty
}

// Signal is the number of the signal that killed the program, or 0. A shell cannot tell a death by signal
// from an exit code that looks like one.
func (e *Exit) Signal() int {
	if e.Status > 128 && e.Status <= 128+64 {
		return e.Status - 128
	}
	return 0
}

// Code is the program's exit code, or 0 when a signal killed it.
func (e *Exit) Code() int {
	if e.Signal() != 0 {
		return 0
	}
	return e.Status
}

var (
	jobPattern  = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9-]{0,63}$`)
	hostPattern = regexp.MustCompile(`^[A-Za-z0-9._-]{1,255}$`)
	bootPattern = regexp.MustCompile(`^(-|[0-9a-f-]{36})$`)
	cpuPattern  = regexp.MustCompile(`^([0-9]{1,7})m([0-9]{1,2})[.,]([0-9]{1,9})s$`)
)

func validJob(s string) bool { return jobPattern.MatchString(s) }

// ReadStarted reads the file started of an attempt's directory. The error is fs.ErrNotExist when the
// wrapper has not run, and ErrMarker when the file is there but was cut short.
func ReadStarted(dir string) (*Started, error) {
	data, _, err := readMarker(filepath.Join(dir, StartedFile))
	if err != nil {
		return nil, err
	}
	return parseStarted(data)
}

// ReadExit reads the file exit of an attempt's directory. The error is fs.ErrNotExist when the wrapper has
// not come to its end.
func ReadExit(dir string) (*Exit, error) {
	data, end, err := readMarker(filepath.Join(dir, ExitFile))
	if err != nil {
		return nil, err
	}
	e, err := parseExit(data)
	if err != nil {
		return nil, err
	}
	e.End = end
	if _, start, err := readMarker(filepath.Join(dir, StartedFile)); err == nil && !start.After(end) {
		e.Start = start
	}
	return e, nil
}

// readMarker reads a small regular file and the time when it was written. The program could have put
// anything in its place, so it follows no link and waits for no pipe.
func readMarker(path string) (data []byte, written time.Time, err error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, written, err
	case errors.Is(err, syscall.ELOOP):
		return nil, written, fmt.Errorf("%w: %s is a symbolic link", ErrMarker, path)
	case err != nil:
		return nil, written, fmt.Errorf("read what the wrapper wrote: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return nil, written, fmt.Errorf("%w: %s is not a regular file", ErrMarker, path)
	}
	data, err = io.ReadAll(io.LimitReader(f, maxMarker+1))
	if err != nil {
		return nil, written, fmt.Errorf("read what the wrapper wrote: %w", err)
	}
	if len(data) > maxMarker {
		return nil, written, fmt.Errorf("%w: %s has more than %d bytes", ErrMarker, path, maxMarker)
	}
	return data, info.ModTime().UTC(), nil
}

// lines takes "key value" lines apart, one after the other; the first error stays.
type lines struct {
	rest []byte
	err  error
}

func (l *lines) next() string {
	line, rest, found := bytes.Cut(l.rest, []byte("\n"))
	if !found {
		l.fail("it ends too early")
		return ""
	}
	l.rest = rest
	return string(line)
}

func (l *lines) fail(what string) {
	if l.err == nil {
		l.err = fmt.Errorf("%w: %s", ErrMarker, what)
	}
}

func (l *lines) value(key string, pattern *regexp.Regexp) string {
	value, found := strings.CutPrefix(l.next(), key+" ")
	if !found || !pattern.MatchString(value) {
		l.fail("no sound line " + key)
		return ""
	}
	return value
}

var digits = regexp.MustCompile(`^[0-9]{1,19}$`)

func (l *lines) number(key string, most uint64) uint64 {
	value := l.value(key, digits)
	n, err := strconv.ParseUint(value, 10, 64)
	if value != "" && (err != nil || n > most) {
		l.fail("too large a number " + key)
	}
	return n
}

// cpu reads the two lines of the shell's times: the shell's own user and system time, and its children's.
func (l *lines) cpu() (sum time.Duration) {
	for range 2 {
		fields := strings.Fields(l.next())
		if len(fields) != 2 {
			l.fail("no sound line of times")
			return 0
		}
		for _, f := range fields {
			m := cpuPattern.FindStringSubmatch(f)
			if m == nil {
				l.fail("no sound line of times")
				return 0
			}
			minutes, _ := strconv.ParseInt(m[1], 10, 64) // at most 7 digits, and so on
			seconds, _ := strconv.ParseInt(m[2], 10, 64)
			nanos, _ := strconv.ParseInt((m[3] + "000000000")[:9], 10, 64)
			sum += time.Duration(minutes)*time.Minute + time.Duration(seconds)*time.Second + time.Duration(nanos)
		}
	}
	return sum
}

func (l *lines) literal(want string) {
	if l.next() != want {
		l.fail("no line " + want)
	}
}

func (l *lines) end() error {
	l.literal("done")
	if len(l.rest) > 0 {
		l.fail("it goes on after its end")
	}
	return l.err
}

const (
	maxPID   = 1 << 30
	maxEpoch = 1 << 62
)

func parseStarted(data []byte) (*Started, error) {
	l := &lines{rest: data}
	l.literal("consort-started 1")
	s := &Started{
		Job:    l.value("job", jobPattern),
		Epoch:  l.number("epoch", maxEpoch),
		PID:    int(l.number("pid", maxPID)),
		BootID: l.value("boot", bootPattern),
	}
	if err := l.end(); err != nil {
		return nil, err
	}
	return s, nil
}

var errorPattern = regexp.MustCompile(`^(-|workdir|stdin|stdout|stderr|signal)$`)

func parseExit(data []byte) (*Exit, error) {
	l := &lines{rest: data}
	l.literal("consort-exit 1")
	e := &Exit{}
	e.Job = l.value("job", jobPattern)
	e.Epoch = l.number("epoch", maxEpoch)
	e.Host = l.value("host", hostPattern)
	e.PID = int(l.number("pid", maxPID))
	e.BootID = l.value("boot", bootPattern)
	e.Status = int(l.number("status", 255))
	e.Error = strings.TrimPrefix(l.value("error", errorPattern), "-")
	e.CPU = l.cpu()
	if err := l.end(); err != nil {
		return nil, err
	}
	return e, nil
}
