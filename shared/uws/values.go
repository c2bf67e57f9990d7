package uws

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// ErrInvalid: a value of a request (time, number, phase, filter) is not what UWS allows. The message
// says what was expected; over HTTP it is a 400.
var ErrInvalid = errors.New("invalid value")

func invalid(name, value, want string) error {
	return fmt.Errorf("%w: %s %.80q: want %s", ErrInvalid, name, value, want)
}

// ParsePhase reads the name of a phase; names are case-sensitive.
func ParsePhase(s string) (Phase, error) {
	if p := Phase(s); p.Valid() {
		return p, nil
	}
	return "", invalid("PHASE", s, "one of PENDING, QUEUED, EXECUTING, COMPLETED, ERROR, UNKNOWN, HELD, SUSPENDED, ABORTED, ARCHIVED")
}

// ParseExecutionDuration reads a limit of execution in whole seconds, 0 (unlimited) to 2147483647.
func ParseExecutionDuration(s string) (int32, error) {
	n, err := strconv.ParseInt(strings.TrimSpace(s), 10, 32)
	if err != nil || n < 0 {
		return 0, invalid("EXECUTIONDURATION", s, "whole seconds, 0 (unlimited) to 2147483647")
	}
	return int32(n), nil
}

// Forever is the WAIT of a client that waits until something changes, or the server has enough.
const Forever = -1

// ParseWait reads a WAIT in whole seconds: 0 or more, or Forever. Numbers too great for an int32 are
// taken as its greatest value; the server caps them anyway.
func ParseWait(s string) (seconds int, err error) {
	if strings.TrimSpace(s) == "-1" {
		return Forever, nil
	}
	n, ok := parseCount(s)
	if !ok {
		return 0, invalid("WAIT", s, "whole seconds, or -1 to wait for a change")
	}
	return n, nil
}

// parseCount reads an integer >= 0, saturating at the greatest int32.
func parseCount(s string) (int, bool) {
	s = strings.TrimSpace(s)
	n, err := strconv.ParseInt(s, 10, 32)
	if errors.Is(err, strconv.ErrRange) && n > 0 {
		// The range is left before the rest of the text is looked at.
		return math.MaxInt32, strings.Trim(s, "+0123456789") == ""
	}
	return int(n), err == nil && n >= 0
}

// ParseTime reads an ISO 8601 time as DALI section 3.1.2 and clients write it, and returns it in UTC,
// cut to the microsecond: YYYY, YYYY-MM, YYYY-MM-DD or YYYYMMDD; after a full date, "T" or a space and
// hh:mm, hh:mm:ss or hh:mm:ss.fraction; after a time, "Z" or an offset (+05:00, converted). Without a
// zone the time is UTC. Years run from 1 to 9999. The error wraps ErrInvalid.
func ParseTime(s string) (time.Time, error) {
	p := timeParser{rest: strings.TrimSpace(s)}
	t := p.parse()
	if p.bad || p.rest != "" || t.Year() < 1 || t.Year() > 9999 {
		return time.Time{}, invalid("time", s, "ISO 8601 in UTC, as 2015-10-26T09:00:00Z")
	}
	return t, nil
}

// timeParser eats a time from the left; bad sticks.
type timeParser struct {
	rest string
	bad  bool
}

func (p *timeParser) parse() time.Time {
	year, month, day := p.number(4), 1, 1
	switch {
	case p.skip("-"):
		month = p.number(2)
		if !p.skip("-") {
			return p.date(year, month, 1)
		}
		day = p.number(2)
	case len(p.rest) >= 4:
		month, day = p.number(2), p.number(2)
	default:
		return p.date(year, 1, 1)
	}
	t := p.date(year, month, day)
	if p.rest == "" {
		return t
	}
	if !p.skip("T") && !p.skip("t") && !p.skip(" ") {
		p.bad = true
	}
	return t.Add(p.clock() - p.zone())
}

func (p *timeParser) clock() time.Duration {
	hour := p.number(2)
	p.want(":")
	minute, second, nanos := p.number(2), 0, 0
	if p.skip(":") {
		second = p.number(2)
		if p.skip(".") {
			nanos = p.fraction()
		}
	}
	p.bad = p.bad || hour > 23 || minute > 59 || second > 59
	return time.Duration(hour)*time.Hour + time.Duration(minute)*time.Minute +
		time.Duration(second)*time.Second + time.Duration(nanos)
}

// zone reads "", "Z" or an offset of at most 14 hours, as xs:dateTime has it.
func (p *timeParser) zone() time.Duration {
	if p.rest == "" || p.skip("Z") || p.skip("z") {
		return 0
	}
	sign := time.Duration(1)
	if p.skip("-") {
		sign = -1
	} else {
		p.want("+")
	}
	hour := p.number(2)
	p.want(":")
	minute := p.number(2)
	offset := time.Duration(hour)*time.Hour + time.Duration(minute)*time.Minute
	p.bad = p.bad || minute > 59 || offset > 14*time.Hour
	return sign * offset
}

// date refuses days that the calendar has not, which time.Date would carry over.
func (p *timeParser) date(year, month, day int) time.Time {
	t := time.Date(year, time.Month(month), day, 0, 0, 0, 0, time.UTC)
	p.bad = p.bad || t.Year() != year || int(t.Month()) != month || t.Day() != day
	return t
}

// number reads exactly n digits.
func (p *timeParser) number(n int) int {
	if len(p.rest) < n {
		p.bad = true
		return 0
	}
	v := 0
	for i := range n {
		c := p.rest[i]
		if c < '0' || c > '9' {
			p.bad = true
			return 0
		}
		v = v*10 + int(c-'0')
	}
	p.rest = p.rest[n:]
	return v
}

// fraction reads one digit or more as nanoseconds, cut to whole microseconds: finer times could never
// be told apart from what FormatTime shows.
func (p *timeParser) fraction() int {
	digits, nanos, unit := 0, 0, 100_000_000
	for ; digits < len(p.rest) && p.rest[digits] >= '0' && p.rest[digits] <= '9'; digits++ {
		if unit >= 1000 {
			nanos += int(p.rest[digits]-'0') * unit
			unit /= 10
		}
	}
	p.bad = p.bad || digits == 0
	p.rest = p.rest[digits:]
	return nanos
}

func (p *timeParser) skip(s string) bool {
	rest, ok := strings.CutPrefix(p.rest, s)
	p.rest = rest
	return ok
}

func (p *timeParser) want(s string) { p.bad = !p.skip(s) || p.bad }
