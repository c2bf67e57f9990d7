// Package telemetry sets up what a program says of itself: structured logs whose lines no user's text can
// forge, ids that follow a request through them, and the version of the build. Metrics and probes are in
// package metrics below it, for programs that serve them.
//
// It keeps no logger: loggers are passed in configurations.
package telemetry

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// SafeLength is the greatest length, in characters, of a value made by Safe.
const SafeLength = 256

// valueLength bounds every other value in a line, such as an error's text, in characters.
const valueLength = 4096

// Formats of NewLogger.
const (
	FormatText = "text"
	FormatJSON = "json"
)

// ParseLevel reads "debug", "info", "warn" or "error".
func ParseLevel(s string) (slog.Level, error) {
	switch s {
	case "debug":
		return slog.LevelDebug, nil
	case "info":
		return slog.LevelInfo, nil
	case "warn":
		return slog.LevelWarn, nil
	case "error":
		return slog.LevelError, nil
	}
	return 0, fmt.Errorf("log level %q: want debug, info, warn or error", s)
}

// NewLogger returns a logger that writes one line for each record to w, in FormatText or FormatJSON, and
// adds what With put into the context. Control, bidirectional and other invisible characters in any
// value are escaped, and long values are cut.
func NewLogger(w io.Writer, format string, level slog.Leveler) (*slog.Logger, error) {
	options := &slog.HandlerOptions{Level: level}
	switch format {
	case FormatText: // quotes and escapes what is not printable by itself
		options.ReplaceAttr = func(_ []string, a slog.Attr) slog.Attr { return plain(a, escapeDelete) }
		return slog.New(&contextHandler{slog.NewTextHandler(w, options)}), nil
	case FormatJSON: // escapes only what JSON must
		options.ReplaceAttr = func(_ []string, a slog.Attr) slog.Attr { return plain(a, escape) }
		return slog.New(&contextHandler{slog.NewJSONHandler(w, options)}), nil
	}
	return nil, fmt.Errorf("log format %q: want %s or %s", format, FormatText, FormatJSON)
}

// plain turns a value that may hold text of any origin into a string, cut and escaped.
func plain(a slog.Attr, escape func(string) string) slog.Attr {
	switch a.Value.Kind() {
	case slog.KindString:
		a.Value = slog.StringValue(escape(cut(a.Value.String(), valueLength)))
	case slog.KindAny:
		switch v := a.Value.Any().(type) {
		case slog.Level, *slog.Source: // of slog itself
		case error:
			a.Value = slog.StringValue(escape(cut(v.Error(), valueLength)))
		default:
			a.Value = slog.StringValue(escape(cut(fmt.Sprintf("%+v", v), valueLength)))
		}
	}
	return a
}

// escape writes what cannot be seen, or turns the direction of text, as Go's escapes.
func escape(s string) string {
	if strings.IndexFunc(s, unprintable) < 0 {
		return s
	}
	var b strings.Builder
	for _, c := range s {
		if unprintable(c) && c != '\n' && c != '\t' && c != '\r' { // JSON escapes these itself, readably
			q := strconv.QuoteRuneToASCII(c)
			b.WriteString(q[1 : len(q)-1])
			continue
		}
		b.WriteRune(c)
	}
	return b.String()
}

// escapeDelete writes the one control character that slog's text takes for printable.
func escapeDelete(s string) string { return strings.ReplaceAll(s, "\x7f", `\x7f`) }

func unprintable(c rune) bool { return !unicode.IsPrint(c) }

// Safe returns a value for text that a user or a site supplied: valid UTF-8 and at most SafeLength characters.
// The logger escapes it.
func Safe(s string) slog.Value { return slog.StringValue(cut(s, SafeLength)) }

// cut shortens s to n characters and says how much was left out.
func cut(s string, n int) string {
	if len(s) <= n {
		return strings.ToValidUTF8(s, string(utf8.RuneError))
	}
	end, count := len(s), 0
	for i := range s { // stops after n characters, however long s is
		if count == n {
			end = i
			break
		}
		count++
	}
	short := strings.ToValidUTF8(s[:end], string(utf8.RuneError))
	if end == len(s) {
		return short
	}
	return fmt.Sprintf("%s… (%d bytes more)", short, len(s)-end)
}

type attrsKey struct{}

// With returns a context whose log records carry the attributes, after those it carries already.
func With(ctx context.Context, attrs ...slog.Attr) context.Context {
	have, _ := ctx.Value(attrsKey{}).([]slog.Attr)
	return context.WithValue(ctx, attrsKey{}, append(have[:len(have):len(have)], attrs...))
}

type requestKey struct{}

// WithRequest returns a context that carries the id of the request being served, also into log records.
func WithRequest(ctx context.Context, id string) context.Context {
	return context.WithValue(With(ctx, slog.Any("request", Safe(id))), requestKey{}, id)
}

// Request returns the id of the request being served, empty if there is none.
func Request(ctx context.Context) string {
	id, _ := ctx.Value(requestKey{}).(string)
	return id
}

// WithJob returns a context whose log records name a job.
func WithJob(ctx context.Context, id string) context.Context {
	return With(ctx, slog.Any("job", Safe(id)))
}

// contextHandler adds the context's attributes to records.
type contextHandler struct{ slog.Handler }

func (h *contextHandler) Handle(ctx context.Context, r slog.Record) error {
	if attrs, ok := ctx.Value(attrsKey{}).([]slog.Attr); ok {
		r = r.Clone()
		r.AddAttrs(attrs...)
	}
	return h.Handler.Handle(ctx, r)
}

func (h *contextHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &contextHandler{h.Handler.WithAttrs(attrs)}
}

func (h *contextHandler) WithGroup(name string) slog.Handler {
	return &contextHandler{h.Handler.WithGroup(name)}
}
