package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/spf13/cobra"
)

// outputFormat is the value of --output.
type outputFormat string

const jsonFormat outputFormat = "json"

func (f *outputFormat) String() string {
	if *f == "" {
		return "table"
	}
	return string(*f)
}

func (f *outputFormat) Set(s string) error {
	if s != "table" && s != "json" {
		return fmt.Errorf("%q is neither table nor json", s)
	}
	*f = outputFormat(s)
	return nil
}

func (f *outputFormat) Type() string { return "format" }

// say tells people something that is not data.
func (a *App) say(format string, args ...any) {
	if !a.quiet {
		fmt.Fprintln(a.Err, prose(fmt.Sprintf(format, args...)))
	}
}

// printJSON writes v indented. Characters that a terminal might act on are escaped.
func (a *App) printJSON(v any) error {
	var buf bytes.Buffer
	e := json.NewEncoder(&buf)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		return fmt.Errorf("write JSON: %w", err)
	}
	var out strings.Builder
	for _, r := range buf.String() {
		switch {
		case r == '\n' || unicode.IsPrint(r):
			out.WriteRune(r)
		case r > 0xFFFF:
			r -= 0x10000
			fmt.Fprintf(&out, `\u%04x\u%04x`, 0xD800+r>>10, 0xDC00+r&0x3FF)
		default:
			fmt.Fprintf(&out, `\u%04x`, r)
		}
	}
	_, err := io.WriteString(a.Out, out.String())
	return err
}

// printTable writes rows under a heading. On a terminal the last column is cut to what fits.
func (a *App) printTable(heading []string, rows [][]string) error {
	all := append([][]string{heading}, rows...)
	widths := make([]int, len(heading))
	for _, row := range all {
		for i := range row {
			row[i] = cell(row[i])
			if row[i] == "" && len(row) > 1 {
				row[i] = "-"
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(row[i]))
		}
	}
	width := 0
	if terminal(a.Out) {
		width = a.width(a.Out)
	}
	var out strings.Builder
	for _, row := range all {
		var line strings.Builder
		for i, text := range row {
			if i > 0 {
				line.WriteString("  ")
			}
			line.WriteString(text)
			if i < len(row)-1 {
				line.WriteString(strings.Repeat(" ", widths[i]-utf8.RuneCountInString(text)))
			}
		}
		out.WriteString(clip(line.String(), width) + "\n")
	}
	_, err := io.WriteString(a.Out, out.String())
	return err
}

// printFacts writes names with values, leaving out empty ones.
func (a *App) printFacts(facts [][2]string) error {
	widest := 0
	for _, f := range facts {
		if f[1] != "" {
			widest = max(widest, utf8.RuneCountInString(f[0]))
		}
	}
	var out strings.Builder
	for _, f := range facts {
		if f[1] != "" {
			fmt.Fprintf(&out, "%-*s  %s\n", widest, f[0], cell(f[1]))
		}
	}
	_, err := io.WriteString(a.Out, out.String())
	return err
}

// section writes a table under a title, or nothing where there are no rows.
func (a *App) section(title string, heading []string, rows [][]string) error {
	if len(rows) == 0 {
		return nil
	}
	if _, err := fmt.Fprintf(a.Out, "\n%s\n", title); err != nil {
		return err
	}
	return a.printTable(heading, rows)
}

// prose makes text harmless for a terminal, keeping its lines.
func prose(s string) string { return harmless(s, true) }

// cell is prose on one line.
func cell(s string) string { return harmless(s, false) }

func harmless(s string, lines bool) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' && lines:
			return r
		case r == '\n' || r == '\t':
			return ' '
		case r == '\r' && lines:
			return -1
		case !unicode.IsPrint(r):
			return utf8.RuneError
		}
		return r
	}, s)
}

// clip cuts a line to a width in characters; 0: not at all.
func clip(s string, width int) string {
	if width <= 0 || utf8.RuneCountInString(s) <= width {
		return s
	}
	return string([]rune(s)[:max(width-1, 0)]) + "…"
}

func timeText(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02 15:04:05")
}

// bytesText is a size for people, in decimal units.
func bytesText(n int64) string {
	if n < 1000 {
		return fmt.Sprintf("%d B", n)
	}
	f := float64(n)
	for _, unit := range []string{"kB", "MB", "GB", "TB"} {
		if f /= 1000; f < 999.5 || unit == "TB" {
			return fmt.Sprintf("%.3g %s", f, unit)
		}
	}
	return ""
}

// command fills in what nearly all commands of this package have.
func command(use, short, long, example string, args cobra.PositionalArgs, run func(cmd *cobra.Command, args []string) error) *cobra.Command {
	return &cobra.Command{Use: use, Short: short, Long: long, Example: example, Args: args, RunE: run}
}
