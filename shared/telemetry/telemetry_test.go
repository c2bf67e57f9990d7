package telemetry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func line(t testing.TB, format string, log func(*slog.Logger)) string {
	t.Helper()
	var b bytes.Buffer
	l, err := NewLogger(&b, format, slog.LevelInfo)
	if err != nil {
		t.Fatal(err)
	}
	log(l)
	return b.String()
}

func TestNewLoggerRefuses(t *testing.T) {
	if _, err := NewLogger(nil, "xml", slog.LevelInfo); err == nil || !strings.Contains(err.Error(), "text or json") {
		t.Errorf("error %v", err)
	}
	if _, err := ParseLevel("loud"); err == nil {
		t.Error("the level loud was accepted")
	}
	if l, err := ParseLevel("warn"); err != nil || l != slog.LevelWarn {
		t.Errorf("ParseLevel(warn) = %v, %v", l, err)
	}
}

func TestContext(t *testing.T) {
	ctx := WithJob(WithRequest(t.Context(), "r1"), "j1")
	WithJob(ctx, "j2") // a sibling must not leak into ctx
	got := line(t, FormatText, func(l *slog.Logger) { l.With("site", "paris").InfoContext(ctx, "lease") })
	if !strings.HasSuffix(got, "level=INFO msg=lease site=paris request=r1 job=j1\n") {
		t.Errorf("line %q", got)
	}
	if Request(ctx) != "r1" || Request(context.Background()) != "" {
		t.Error("Request() is wrong")
	}
}

func TestSafe(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"", ""},
		{"abc", "abc"},
		{"a\xffb", "a\uFFFDb"},
		{strings.Repeat("é", 256), strings.Repeat("é", 256)},
		{strings.Repeat("é", 300), strings.Repeat("é", 256) + "… (88 bytes more)"},
	} {
		if got := Safe(tt.in).String(); got != tt.want {
			t.Errorf("Safe(%.20q) = %q, want %q", tt.in, got, tt.want)
		}
	}
}

// FuzzLine: whatever a value holds, it makes one line without invisible characters; JSON stays JSON.
func FuzzLine(f *testing.F) {
	for _, s := range []string{"plain", "two\nlines level=ERROR msg=forged", "\u202eevil", "\x1b[31m", "\u0085\u2028", "\xff\"\\", "\x7f", `{"a":1}`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, format := range []string{FormatText, FormatJSON} {
			got := line(t, format, func(l *slog.Logger) {
				l.Info(s, "value", s, "safe", Safe(s), "error", errors.New(s), "list", []string{s}, slog.Group("g", "v", s))
			})
			body, ok := strings.CutSuffix(got, "\n")
			if !ok || !utf8.ValidString(body) || strings.ContainsFunc(body, func(c rune) bool { return !unicode.IsPrint(c) }) {
				t.Errorf("%s: %q", format, got)
			}
			if format == FormatJSON && !json.Valid([]byte(body)) {
				t.Errorf("not JSON: %s", body)
			}
		}
	})
}

func TestVersion(t *testing.T) {
	b := Version()
	if b.Version == "" || b.Go == "" || !strings.Contains(b.String(), b.Version) {
		t.Errorf("Version() = %+v", b)
	}
	b = Build{Version: "v1.2.3", Revision: "0123456789abcdef", Modified: true, Go: "go1.26"}
	if got, want := b.String(), "v1.2.3 (0123456789ab, modified) go1.26"; got != want {
		t.Errorf("String() = %q, want %q", got, want)
	}
}
