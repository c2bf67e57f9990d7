package attempt

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"consort/shared/definition"
	"consort/shared/siteapi"
)

func TestVersionIn(t *testing.T) {
	for text, want := range map[string]string{
		"MakeProfiles (GNU Astronomy Utilities) 0.19\nCopyright (C) 2015-2022": "0.19",
		"Source Extractor version 2.25.0 (2018-02-08)\n":                       "2.25.0",
		"Python 3.11.2":               "3.11.2",
		"v1.2.3-rc.1+build":           "1.2.3-rc.1",
		"version 1.2.":                "1.2",
		"\n\n  release of\tspring \n": "release of spring",
		"7\n":                         "7",
		"\xff\x00\x1b[1mseven\x7f":    "\uFFFD[1mseven",
		"":                            "unknown",
		" \n\x00\n\t":                 "unknown",
		strings.Repeat("ü", 200):      strings.Repeat("ü", 100),
		strings.Repeat("1.", 200):     strings.Repeat("1.", 50),
	} {
		if got := versionIn([]byte(text)); got != want {
			t.Errorf("in %q is %q, want %q", text, got, want)
		}
	}
}

func FuzzVersionIn(f *testing.F) {
	for _, seed := range []string{"", "tool 1.2", "\xff", "a\nb", strings.Repeat("1.", 200), "\u2028x"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		v := versionIn(text)
		if v == "" || v != strings.TrimSpace(v) || !utf8.ValidString(v) || utf8.RuneCountInString(v) > maxVersion {
			t.Errorf("in %q is %q", text, v)
		}
		for _, r := range v {
			if !unicode.IsPrint(r) {
				t.Errorf("in %q is %q", text, v)
			}
		}
	})
}

func TestToAsk(t *testing.T) {
	d := &definition.Definition{Software: []definition.Software{
		{Name: "silent"}, {Name: "known", Report: []string{"known", "-V"}}, {Name: "tool", Report: []string{"tool", "--version"}},
		{Name: "odd", Report: []string{"A=b"}}, {Name: "empty", Report: []string{""}}, {Name: "awk", Report: []string{"awk", "-W", "version"}},
	}}
	names, commands := toAsk(d, []siteapi.Software{{Name: "known", Version: "1"}})
	if diff := cmp.Diff([]string{"tool", "awk"}, names); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([][]string{{"tool", "--version"}, {"awk", "-W", "version"}}, commands); diff != "" {
		t.Error(diff)
	}
	for range 100 {
		d.Software = append(d.Software, definition.Software{Name: "more", Report: []string{"true"}})
	}
	if names, commands = toAsk(d, nil); len(names) != maxAsked || len(commands) != maxAsked {
		t.Errorf("%d are asked by %d commands", len(names), len(commands))
	}
}
