package ids

import (
	"strings"
	"testing"
	"time"
)

func TestNewJob(t *testing.T) {
	seen := map[string]bool{}
	for range 1000 {
		id := NewJob(time.Unix(1_700_000_000, 0))
		if !ValidJob(id) {
			t.Fatalf("NewJob gave %q, which is not valid", id)
		}
		if seen[id] {
			t.Fatalf("NewJob gave %q twice", id)
		}
		seen[id] = true
	}
}

func TestValid(t *testing.T) {
	for _, c := range []struct {
		what  string
		valid func(string) bool
		good  []string
		bad   []string
	}{
		{"job", ValidJob, []string{"j01ar5nzv0fghjkmnpqrstvwxy0"},
			[]string{"", "j", "j01AR5NZV0FGHJKMNPQRSTVWXY0", "x01ar5nzv0fghjkmnpqrstvwxy0", "j01ar5nzv0fghjkmnpqrstvwxyu", "j01ar5nzv0fghjkmnpqrstvwxy0\n", "j81ar5nzv0fghjkmnpqrstvwxy0"}},
		{"name", ValidName, []string{"a", "source-extractor", "m51", strings.Repeat("a", 48)},
			[]string{"", "A", "1a", "a-", "a--b", "-a", "a.b", "a/b", "..", "a\x00", "a\n", strings.Repeat("a", 49)}},
		{"version", ValidVersion, []string{"1", "0.1", "1.2.0", "10.20.30"},
			[]string{"", "v1", "1.", "1.2.3.4", "01", "1.-2", "1.2a"}},
		{"field", ValidField, []string{"a", "A_1"}, []string{"", "_a", "1a", "a-b", "a b", "é", strings.Repeat("a", 65)}},
		{"sha256", ValidSHA256, []string{strings.Repeat("0a", 32)}, []string{"", strings.Repeat("0A", 32), strings.Repeat("0a", 31), strings.Repeat("zz", 32)}},
	} {
		for _, s := range c.good {
			if !c.valid(s) {
				t.Errorf("%s: %q should be valid", c.what, s)
			}
		}
		for _, s := range c.bad {
			if c.valid(s) {
				t.Errorf("%s: %q should not be valid", c.what, s)
			}
		}
	}
}
