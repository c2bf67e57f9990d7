package config

import (
	"fmt"
	"math"
	"math/big"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Duration is a length of time, written "90s", "10m", "2h30m" or "30d". It is never negative.
type Duration time.Duration

var durationUnits = []struct {
	name string
	is   time.Duration
}{
	{"d", 24 * time.Hour}, {"h", time.Hour}, {"m", time.Minute}, {"s", time.Second},
	{"ms", time.Millisecond}, {"us", time.Microsecond}, {"ns", time.Nanosecond},
}

var (
	durationPattern = regexp.MustCompile(`^([0-9]{1,19}(d|h|ms|m|us|ns|s))+$`)
	durationPart    = regexp.MustCompile(`([0-9]+)(d|h|ms|m|us|ns|s)`)
)

// ParseDuration reads whole numbers with units d (24 hours), h, m, s, ms, us or ns, such as "2h30m".
func ParseDuration(s string) (Duration, error) {
	if s == "0" {
		return 0, nil
	}
	if !durationPattern.MatchString(s) {
		return 0, fmt.Errorf(`%s is not a duration; write whole numbers with d, h, m, s or ms, as in "90s", "10m", "2h30m", "30d"`, quote(s))
	}
	var sum time.Duration
	for _, part := range durationPart.FindAllStringSubmatch(s, -1) {
		n, err := strconv.ParseInt(part[1], 10, 64)
		unit := durationUnit(part[2])
		if err != nil || n > int64(math.MaxInt64-sum)/int64(unit) {
			return 0, fmt.Errorf("%s is too long a duration; the longest is about 292 years", quote(s))
		}
		sum += time.Duration(n) * unit
	}
	return Duration(sum), nil
}

func durationUnit(name string) time.Duration {
	for _, u := range durationUnits {
		if u.name == name {
			return u.is
		}
	}
	return time.Nanosecond
}

// Std returns d as the standard library's type.
func (d Duration) Std() time.Duration { return time.Duration(d) }

// String returns d as ParseDuration reads it: "30d", "2h30m", "0s".
func (d Duration) String() string {
	if d <= 0 {
		return "0s"
	}
	var b strings.Builder
	rest := time.Duration(d)
	for _, u := range durationUnits {
		if n := rest / u.is; n > 0 {
			fmt.Fprintf(&b, "%d%s", n, u.name)
			rest -= n * u.is
		}
	}
	return b.String()
}

// MarshalText returns String.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads what ParseDuration reads.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := ParseDuration(string(text))
	if err != nil {
		return err
	}
	*d = v
	return nil
}

// Size is a number of bytes, written "2 GiB", "500 MB" or "100 B". It is never negative.
type Size int64

// Sizes in bytes.
const (
	KiB Size = 1 << 10
	MiB Size = 1 << 20
	GiB Size = 1 << 30
	TiB Size = 1 << 40
)

var sizeUnits = []struct {
	name string
	is   Size
}{
	{"TiB", TiB}, {"TB", 1e12}, {"GiB", GiB}, {"GB", 1e9}, {"MiB", MiB}, {"MB", 1e6}, {"KiB", KiB}, {"kB", 1e3}, {"B", 1},
}

var sizePattern = regexp.MustCompile(`^([0-9]{1,19}(?:\.[0-9]{1,9})?) ?([A-Za-z]+)$`)

// ParseSize reads a number, which may have a fraction, with a unit B, kB, MB, GB, TB (powers of 1000)
// or KiB, MiB, GiB, TiB (powers of 1024), such as "1.5 GiB". Part of a byte is dropped.
func ParseSize(s string) (Size, error) {
	if s == "0" {
		return 0, nil
	}
	bad := fmt.Errorf(`%s is not a size; write a number with B, kB, MB, GB, TB, KiB, MiB, GiB or TiB, as in "2 GiB"`, quote(s))
	m := sizePattern.FindStringSubmatch(s)
	if m == nil {
		return 0, bad
	}
	n, ok := new(big.Rat).SetString(m[1])
	if !ok {
		return 0, bad
	}
	for _, u := range sizeUnits {
		if !strings.EqualFold(u.name, m[2]) {
			continue
		}
		n.Mul(n, new(big.Rat).SetInt64(int64(u.is)))
		whole := new(big.Int).Quo(n.Num(), n.Denom())
		if !whole.IsInt64() {
			return 0, fmt.Errorf("%s is too large a size", quote(s))
		}
		return Size(whole.Int64()), nil
	}
	return 0, bad
}

// String returns s as ParseSize reads it, exactly, in the unit that gives the smallest number.
func (s Size) String() string {
	if s <= 0 {
		return "0 B"
	}
	best := sizeUnits[len(sizeUnits)-1]
	for _, u := range sizeUnits {
		if s%u.is == 0 && u.is > best.is {
			best = u
		}
	}
	return fmt.Sprintf("%d %s", s/best.is, best.name)
}

// MarshalText returns String.
func (s Size) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads what ParseSize reads.
func (s *Size) UnmarshalText(text []byte) error {
	v, err := ParseSize(string(text))
	if err != nil {
		return err
	}
	*s = v
	return nil
}

// quote shows untrusted text in an error, on one line and not too long.
func quote(s string) string {
	if len(s) > 60 {
		s = s[:60] + "…"
	}
	return strconv.Quote(s)
}
