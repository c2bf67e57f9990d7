package cli

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strconv"
	"unicode"
	"unicode/utf8"

	"github.com/mattn/go-isatty"
	"golang.org/x/sys/unix"
)

// terminal tells whether w is one.
func terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && isatty.IsTerminal(f.Fd())
}

// width is that of the terminal w, in characters.
func (a *App) width(w io.Writer) int {
	if n, err := strconv.Atoi(a.Getenv("COLUMNS")); err == nil && n > 0 {
		return n
	}
	if f, ok := w.(*os.File); ok {
		if size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ); err == nil && size.Col > 0 {
			return int(size.Col)
		}
	}
	return 80
}

// raw is where bytes from a server go unchanged, but for a terminal, which gets them harmless. close writes
// what is left.
func (a *App) raw() (w io.Writer, closeRaw func() error) {
	if !terminal(a.Out) {
		return a.Out, func() error { return nil }
	}
	f := &filter{w: a.Out}
	return f, f.Close
}

// filter writes text for a terminal: control characters are shown as less(1) shows them, other invisible
// ones and what is no UTF-8 as U+FFFD. Any kind of line end becomes a newline.
type filter struct {
	w     io.Writer
	rest  []byte // an incomplete character
	after bool   // the last character was a carriage return
}

func (f *filter) Write(p []byte) (int, error) {
	text := append(f.rest, p...)
	var out bytes.Buffer
	for len(text) > 0 && utf8.FullRune(text) {
		r, n := utf8.DecodeRune(text)
		text = text[n:]
		f.put(&out, r)
	}
	f.rest = bytes.Clone(text)
	if _, err := f.w.Write(out.Bytes()); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (f *filter) put(out *bytes.Buffer, r rune) {
	after := f.after
	f.after = r == '\r'
	switch {
	case r == '\n' && after:
	case r == '\n' || r == '\r':
		out.WriteByte('\n')
	case r == '\t' || unicode.IsPrint(r):
		out.WriteRune(r)
	case r < 0x20:
		out.WriteString("^" + string(r+'@'))
	case r == 0x7F:
		out.WriteString("^?")
	default:
		out.WriteRune(utf8.RuneError)
	}
}

// Close writes what is left of a character that never was completed.
func (f *filter) Close() error {
	if len(f.rest) == 0 {
		return nil
	}
	f.rest = nil
	_, err := fmt.Fprint(f.w, string(utf8.RuneError))
	return err
}
