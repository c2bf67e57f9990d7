package picture

import (
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"
)

func TestGraphemes(t *testing.T) {
	for text, want := range map[string][]string{
		"abc":                      {"a", "b", "c"},
		"e\u0301x":                 {"e\u0301", "x"},
		"👩\u200d👧x":                {"👩\u200d👧", "x"},
		"👍🏽👍":                      {"👍🏽", "👍"},
		"🇫🇷🇩🇪x":                    {"🇫🇷", "🇩🇪", "x"},
		"한국":                       {"한", "국"},
		"\u1112\u1161\u11ab\u1100": {"\u1112\u1161\u11ab", "\u1100"},
		"நி":                       {"நி"},
	} {
		var got []string
		for s := text; s != ""; s = s[grapheme(s):] {
			got = append(got, s[:grapheme(s)])
		}
		if strings.Join(got, "|") != strings.Join(want, "|") {
			t.Errorf("%q is divided into %q, want %q", text, got, want)
		}
	}
}

func TestFit(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		s := plain(rapid.OneOf(rapid.SampledFrom(nasty), rapid.String()).Draw(r, "text"))
		width := rapid.Float64Range(20, 200).Draw(r, "width")
		for _, cut := range []func(string, float64, float64, bool) string{fit, fitMiddle} {
			got := cut(s, width, sizeLabel, true)
			if textWidth(got, sizeLabel, true) > width || !utf8.ValidString(got) {
				r.Fatalf("%q, %.1f wide, cut to %q, %.1f wide", s, width, got, textWidth(got, sizeLabel, true))
			}
			if textWidth(s, sizeLabel, true) <= width && got != s {
				r.Fatalf("%q fits, but is cut to %q", s, got)
			}
		}
	})
	if got := fit("fold j01ke5nzv1fghjkmnpqrstvwxy0", 100, sizeLabel, false); got != "fold j01ke5nz…" && !strings.HasPrefix(got, "fold j01") {
		t.Errorf("got %q", got)
	}
	if got := fitMiddle("j01ke5nzv1fghjkmnpqrstvwxy0.r.table", 120, sizeLabel, false); !strings.HasPrefix(got, "j01") || !strings.HasSuffix(got, "table") {
		t.Errorf("got %q", got)
	}
}

func TestPlain(t *testing.T) {
	for text, want := range map[string]string{
		"a\nb\tc":       "a b c",
		" x ":           "x",
		"\x1b[31mred":   "\ufffd[31mred",
		"\u202eexe.txt": "\ufffdexe.txt",
		"a\u2028b":      "a b",
		"\ufeffa\uffff": "a\ufffd",
	} {
		if got := plain(text); got != want {
			t.Errorf("%q becomes %q, want %q", text, got, want)
		}
	}
}

func TestClip(t *testing.T) {
	if got := clip("äöü", 3); got != "ä…" {
		t.Errorf("got %q", got)
	}
	if got := clip("abc", 3); got != "abc" {
		t.Errorf("got %q", got)
	}
}
