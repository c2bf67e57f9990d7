package definition

import (
	"fmt"
	"regexp"
	"strconv"
)

// Unbounded is the Max of a multiplicity without upper bound.
const Unbounded = -1

// maxCount bounds the numbers in a multiplicity.
const maxCount = 100_000

// Multiplicity is how many values or files there may be, as in the IVOA Provenance Data Model: "1",
// "0..1", "1..5", "2..*" or "*" (from none to any number).
type Multiplicity struct{ Min, Max int }

var multiplicityPattern = regexp.MustCompile(`^(?:\*|([0-9]{1,6})(?:\.\.([0-9]{1,6}|\*))?)$`)

// ParseMultiplicity reads a multiplicity.
func ParseMultiplicity(s string) (Multiplicity, error) {
	m := multiplicityPattern.FindStringSubmatch(s)
	if m == nil {
		return Multiplicity{}, fmt.Errorf(`%q is not a multiplicity; allowed: "1", "0..1", "1..5", "2..*", "*"`, clip(s))
	}
	if s == "*" {
		return Multiplicity{0, Unbounded}, nil
	}
	low, _ := strconv.Atoi(m[1]) // at most six digits
	high := low
	switch m[2] {
	case "":
	case "*":
		high = Unbounded
	default:
		high, _ = strconv.Atoi(m[2])
	}
	if low > maxCount || high > maxCount || high == 0 || high != Unbounded && high < low {
		return Multiplicity{}, fmt.Errorf("%q is not a multiplicity: bounds go from 0 to %d, the first is not above the second, which is not 0", s, maxCount)
	}
	return Multiplicity{low, high}, nil
}

// Allows tells whether n values are within the bounds.
func (m Multiplicity) Allows(n int) bool { return n >= m.Min && (m.Max == Unbounded || n <= m.Max) }

// Many tells whether there may be more than one.
func (m Multiplicity) Many() bool { return m.Max != 1 }

// String returns the shortest form that ParseMultiplicity reads.
func (m Multiplicity) String() string {
	switch {
	case m.Max == Unbounded && m.Min == 0:
		return "*"
	case m.Max == Unbounded:
		return fmt.Sprintf("%d..*", m.Min)
	case m.Min == m.Max:
		return strconv.Itoa(m.Min)
	}
	return fmt.Sprintf("%d..%d", m.Min, m.Max)
}

// MarshalText returns String.
func (m Multiplicity) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText reads what ParseMultiplicity reads.
func (m *Multiplicity) UnmarshalText(text []byte) error {
	v, err := ParseMultiplicity(string(text))
	if err != nil {
		return err
	}
	*m = v
	return nil
}

// clip shortens untrusted text that an error repeats.
func clip(s string) string {
	if len(s) > 80 {
		return s[:80] + "…"
	}
	return s
}
