package uws_test

import (
	"errors"
	"iter"
	"math"
	"testing"
	"time"

	"consort/shared/uws"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestParseTime(t *testing.T) { // F8, F9, D2, D4
	utc := func(y, mo, d, h, mi, s, us int) time.Time {
		return time.Date(y, time.Month(mo), d, h, mi, s, us*1000, time.UTC)
	}
	for in, want := range map[string]time.Time{
		"2015":                           utc(2015, 1, 1, 0, 0, 0, 0),
		"2015-10":                        utc(2015, 10, 1, 0, 0, 0, 0),
		"2015-10-26":                     utc(2015, 10, 26, 0, 0, 0, 0),
		"20151026":                       utc(2015, 10, 26, 0, 0, 0, 0),
		"2015-10-26 09:00":               utc(2015, 10, 26, 9, 0, 0, 0),
		"2015-10-26T09:00":               utc(2015, 10, 26, 9, 0, 0, 0),
		"2015-10-26T09:00:01":            utc(2015, 10, 26, 9, 0, 1, 0),
		"2015-10-26T09:00:01Z":           utc(2015, 10, 26, 9, 0, 1, 0),
		"2015-10-26t09:00:01z":           utc(2015, 10, 26, 9, 0, 1, 0),
		"2015-10-26T09:00:01.5":          utc(2015, 10, 26, 9, 0, 1, 500000),
		"2015-10-26T09:00:01.123456Z":    utc(2015, 10, 26, 9, 0, 1, 123456),
		"2015-10-26T09:00:01.123456789Z": utc(2015, 10, 26, 9, 0, 1, 123456),
		" 2015-10-26T09:00:01Z\n":        utc(2015, 10, 26, 9, 0, 1, 0),
		"2015-10-26T09:00:01+05:00":      utc(2015, 10, 26, 4, 0, 1, 0),
		"2015-10-26T09:00-14:00":         utc(2015, 10, 26, 23, 0, 0, 0),
		"2016-02-29":                     utc(2016, 2, 29, 0, 0, 0, 0),
		"9999-12-31T23:59:59.999999Z":    utc(9999, 12, 31, 23, 59, 59, 999999),
	} {
		if got, err := uws.ParseTime(in); err != nil || !got.Equal(want) || got.Location() != time.UTC {
			t.Errorf("ParseTime(%q) = %v, %v, want %v", in, got, err, want)
		}
	}
}

func TestParseTimeRefuses(t *testing.T) { // F17, D3
	for _, in := range []string{
		"", " ", "soon", "-1", "1e9", "2015-26-10", "2015-10-26T09:00 01:00", "2015-10-26T", "2015-10-26T9:00", "2015-10-26T09",
		"2015-02-29", "2015-10-32", "2015-00-01", "2015-10-00", "0000-01-01", "10000-01-01", "20155-01-01", "201510", "2015102", "2015-1-1",
		"2015-10-26T24:00", "2015-10-26T09:60", "2015-10-26T09:00:60", "2015-10-26T09:00:01.", "2015-10-26T09:00:01,5",
		"2015-10-26T09:00Z0", "2015-10-26T09:00+5", "2015-10-26T09:00+14:01", "2015-10-26T09:00+00:60", "2015-10-26T09:00+0500",
		"0001-01-01T00:00+01:00", "9999-12-31T23:59-01:00", "２０１５", "2015-10-26\x00", "2015-10-26T09:00:01.5x",
	} {
		if got, err := uws.ParseTime(in); !errors.Is(err, uws.ErrInvalid) {
			t.Errorf("ParseTime(%q) = %v, %v", in, got, err)
		}
	}
}

func TestTimeRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := time.UnixMicro(rapid.Int64Range(-62135596800e6, 253402300799e6).Draw(t, "µs")).In(time.FixedZone("", 3600))
		got, err := uws.ParseTime(uws.FormatTime(want))
		if err != nil || !got.Equal(want) {
			t.Fatalf("%v: %v, %v", want, got, err)
		}
	})
}

func FuzzParseTime(f *testing.F) {
	for _, s := range []string{"2015", "20151026", "2015-10-26 09:00", "2015-10-26T09:00:01.123456+05:00", "2015-26-10"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, err := uws.ParseTime(s)
		if err != nil {
			if !errors.Is(err, uws.ErrInvalid) {
				t.Fatal(err)
			}
			return
		}
		again, err := uws.ParseTime(uws.FormatTime(got))
		if err != nil || !again.Equal(got) {
			t.Fatalf("%q: %v, then %v, %v", s, got, again, err)
		}
		if std, err := time.Parse(time.RFC3339, s); err == nil && !std.Truncate(time.Microsecond).Equal(got) {
			t.Fatalf("%q: %v, the standard library has %v", s, got, std)
		}
	})
}

func TestParseExecutionDuration(t *testing.T) { // X2, X4
	for in, want := range map[string]int32{"0": 0, "1": 1, " 600 ": 600, "2147483647": math.MaxInt32} {
		if got, err := uws.ParseExecutionDuration(in); err != nil || got != want {
			t.Errorf("%q: %d, %v", in, got, err)
		}
	}
	for _, in := range []string{"", "abc", "-1", "1.5e99", "1.5", "2147483648", "99999999999999999999", "0x10", "1_000"} {
		if got, err := uws.ParseExecutionDuration(in); !errors.Is(err, uws.ErrInvalid) {
			t.Errorf("%q: %d, %v", in, got, err)
		}
	}
}

func TestParseWait(t *testing.T) { // W8, W9, W10
	for in, want := range map[string]int{"0": 0, "10": 10, "-1": uws.Forever, "99999999999999999999": math.MaxInt32} {
		if got, err := uws.ParseWait(in); err != nil || got != want {
			t.Errorf("%q: %d, %v", in, got, err)
		}
	}
	for _, in := range []string{"", "abc", "-2", "-99999999999999999999", "1.5", "1s"} {
		if got, err := uws.ParseWait(in); !errors.Is(err, uws.ErrInvalid) {
			t.Errorf("%q: %d, %v", in, got, err)
		}
	}
}

func TestSeconds(t *testing.T) {
	for in, want := range map[time.Duration]int32{-1: 0, 0: 0, 1: 1, time.Second: 1, time.Second + 1: 2, math.MaxInt64: math.MaxInt32} {
		if got := uws.Seconds(in); got != want {
			t.Errorf("Seconds(%v) = %d, want %d", in, got, want)
		}
	}
}

// pairs makes a query of name, value, name, value …
func pairs(kv ...string) iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		for i := 0; i+1 < len(kv); i += 2 {
			if !yield(kv[i], kv[i+1]) {
				return
			}
		}
	}
}

func TestParseFilter(t *testing.T) { // F1, F2, F4, F18, F22
	for _, c := range []struct {
		query []string
		want  uws.Filter
	}{
		{nil, uws.Filter{}},
		{[]string{"phase", "HELD", "Phase", "ERROR", "PHASE", "HELD"}, uws.Filter{Phases: []uws.Phase{uws.Held, uws.Error}}},
		{[]string{"last", "3", "AFTER", "2015", "x", "y", "phases", "z"}, uws.Filter{Last: 3, After: time.Date(2015, 1, 1, 0, 0, 0, 0, time.UTC)}},
		{[]string{"LAST", "99999999999999999999"}, uws.Filter{Last: math.MaxInt32}},
	} {
		got, err := uws.ParseFilter(pairs(c.query...))
		if diff := cmp.Diff(c.want, got); err != nil || diff != "" {
			t.Errorf("%q: %v %s", c.query, err, diff)
		}
	}
	for _, p := range uws.Phases {
		if got, err := uws.ParseFilter(pairs("PHASE", string(p))); err != nil || len(got.Phases) != 1 {
			t.Errorf("%s: %+v, %v", p, got, err)
		}
	}
}

func TestParseFilterRefuses(t *testing.T) { // F15, F16, F17, P17
	for _, q := range [][]string{
		{"PHASE", "DONE"}, {"PHASE", ""}, {"PHASE", "held"}, {"LAST", "0"}, {"LAST", "-1"}, {"LAST", ""}, {"LAST", "ten"}, {"LAST", "1.0"},
		{"AFTER", ""}, {"AFTER", "2015-26-10"}, {"AFTER", "2015-10-26T09:00 01:00"}, {"LAST", "1", "last", "1"}, {"AFTER", "2015", "after", "2015"},
	} {
		if got, err := uws.ParseFilter(pairs(q...)); !errors.Is(err, uws.ErrInvalid) {
			t.Errorf("%q: %+v, %v", q, got, err)
		}
	}
}

func TestFilterMatch(t *testing.T) { // F1, F3, F7, F10, T9
	all, held := uws.Filter{}, uws.Filter{Phases: []uws.Phase{uws.Held}}
	archived := uws.Filter{Phases: []uws.Phase{uws.Archived}}
	after, both := uws.Filter{After: at}, uws.Filter{Phases: []uws.Phase{uws.Held}, After: at}
	for _, c := range []struct {
		filter  uws.Filter
		phase   uws.Phase
		created time.Time
		want    bool
	}{
		{all, uws.Pending, at, true}, {all, uws.Archived, at, false},
		{held, uws.Held, at, true}, {held, uws.Error, at, false}, {archived, uws.Archived, at, true},
		{after, uws.Error, at, false}, {after, uws.Error, at.Add(999), false}, {after, uws.Error, at.Add(time.Microsecond), true},
		{after, uws.Archived, at.Add(time.Hour), false}, {both, uws.Held, at, false}, {both, uws.Held, at.Add(time.Hour), true},
	} {
		if got := c.filter.Match(c.phase, c.created); got != c.want {
			t.Errorf("%+v on %s %v: %v", c.filter, c.phase, c.created, got)
		}
	}
}

func FuzzParseFilter(f *testing.F) {
	f.Add("PHASE", "HELD", "LAST", "1")
	f.Add("after", "2015-10-26T09:00", "LAST", "x")
	f.Fuzz(func(t *testing.T, a, b, c, d string) {
		got, err := uws.ParseFilter(pairs(a, b, c, d))
		if err != nil && !errors.Is(err, uws.ErrInvalid) {
			t.Fatal(err)
		}
		for _, p := range got.Phases {
			if !p.Valid() {
				t.Fatalf("phase %q", p)
			}
		}
		if got.Last < 0 {
			t.Fatalf("last %d", got.Last)
		}
	})
}

func TestWaitQuery(t *testing.T) { // W1-W5, W8, W9, W14
	for _, c := range []struct {
		query   []string
		current uws.Phase
		want    bool
	}{
		{nil, uws.Executing, false}, {[]string{"WAIT", "0"}, uws.Executing, false},
		{[]string{"PHASE", "EXECUTING"}, uws.Executing, false},
		{[]string{"wait", "2"}, uws.Pending, true}, {[]string{"WAIT", "-1"}, uws.Queued, true},
		{[]string{"WAIT", "9", "phase", "QUEUED"}, uws.Queued, true}, {[]string{"WAIT", "9", "PHASE", "QUEUED"}, uws.Executing, false},
		{[]string{"WAIT", "9"}, uws.Held, false}, {[]string{"WAIT", "9"}, uws.Suspended, false}, {[]string{"WAIT", "9"}, uws.Unknown, false},
		{[]string{"WAIT", "9"}, uws.Completed, false}, {[]string{"WAIT", "9", "PHASE", "HELD"}, uws.Held, false},
	} {
		w, err := uws.ParseWaitQuery(pairs(c.query...))
		if err != nil || w.Blocks(c.current) != c.want {
			t.Errorf("%q in %s: %+v, %v", c.query, c.current, w, err)
		}
	}
	for _, q := range [][]string{{"WAIT", "x"}, {"WAIT", "1", "wait", "2"}, {"PHASE", "x"}, {"PHASE", "HELD", "PHASE", "HELD"}} {
		if w, err := uws.ParseWaitQuery(pairs(q...)); !errors.Is(err, uws.ErrInvalid) {
			t.Errorf("%q: %+v, %v", q, w, err)
		}
	}
}

func TestPhases(t *testing.T) {
	for _, p := range uws.Phases {
		if !p.Valid() || p.CanBecome(p) {
			t.Errorf("%s: valid %v, becomes itself %v", p, p.Valid(), p.CanBecome(p))
		}
		for _, next := range uws.Phases {
			if p.Final() && p.CanBecome(next) && next != uws.Archived {
				t.Errorf("final %s becomes %s", p, next)
			}
			if next == uws.Pending && p.CanBecome(next) {
				t.Errorf("%s becomes PENDING", p)
			}
		}
	}
	if uws.Phase("DONE").Valid() || uws.Phase("").Valid() {
		t.Error("unknown phases are valid")
	}
}
