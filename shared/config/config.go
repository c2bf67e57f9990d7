// Package config reads the TOML files of the product strictly: a key that nobody knows, a value of the
// wrong type and a broken line are errors that name file, line and key, and say what would be allowed.
// It also holds the two text types that such files share, Duration and Size.
//
// It is not a framework: it knows no search path, no environment, no flags and no defaults. A caller
// fills its struct with defaults, decodes over them, lets flags override, and validates.
package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/pelletier/go-toml/v2"
)

// MaxFile is the greatest size in bytes of a TOML file that Load and Decode accept.
const MaxFile = 1 << 20

// Error is one thing wrong in one file.
type Error struct {
	File    string // as given by the caller
	Line    int    // from 1; 0 when the whole file is meant
	Column  int    // in bytes, from 1; 0 when unknown
	Key     string // dotted path, array elements counted from 0: "parameter[2].unit"; may be empty
	Problem string // what is wrong and what would be right
	Unknown bool   // the key is unknown; everything else was still decoded
}

// Error returns "file:line: key: problem", leaving out what is not known.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.File)
	if e.Line > 0 {
		fmt.Fprintf(&b, ":%d", e.Line)
	}
	b.WriteString(": ")
	if e.Key != "" {
		b.WriteString(e.Key + ": ")
	}
	b.WriteString(e.Problem)
	return b.String()
}

// Errors is everything found wrong in one file, in the order of its lines.
type Errors []*Error

// Error returns one line per error.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, err := range e {
		lines[i] = err.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap gives the single errors to errors.Is and errors.As.
func (e Errors) Unwrap() []error {
	all := make([]error, len(e))
	for i, err := range e {
		all[i] = err
	}
	return all
}

// Err sorts the errors by line and returns them as an error, or nil when there are none.
func (e Errors) Err() error {
	if len(e) == 0 {
		return nil
	}
	slices.SortStableFunc(e, func(a, b *Error) int { return a.Line - b.Line })
	return e
}

// List returns the single errors within err, or nil when err did not come from this package.
func List(err error) []*Error {
	var all Errors
	if errors.As(err, &all) {
		return all
	}
	var one *Error
	if errors.As(err, &one) {
		return []*Error{one}
	}
	return nil
}

// Load reads the TOML file at path into the struct that into points to. See Decode.
func Load(path string, into any) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("open configuration: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, MaxFile+1))
	if err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	return Decode(path, data, into)
}

// Decode decodes the TOML text data into the struct that into points to, leaving fields alone that the
// text does not set. Unknown keys and values that do not fit are reported all together, a broken line
// alone. The error is an Errors; file is only used to name the file in it.
func Decode(file string, data []byte, into any) error {
	if len(data) > MaxFile {
		return Errors{{File: file, Problem: fmt.Sprintf("the file is larger than %s", Size(MaxFile))}}
	}
	if line, ok := invalidUTF8(data); !ok {
		return Errors{{File: file, Line: line, Problem: "not UTF-8 text"}}
	}
	where, err := Locate(data)
	if err != nil {
		return Errors{where.broken(file, err)}
	}
	errs := check(file, where, reflect.TypeOf(into))
	err = toml.NewDecoder(bytes.NewReader(data)).Decode(into) // goes on past unknown keys, which check has found
	if err != nil && (len(errs) == 0 || onlyUnknown(errs)) {
		errs = append(errs, fromDecoder(file, where, err))
	}
	return errs.Err()
}

func onlyUnknown(errs Errors) bool {
	return !slices.ContainsFunc(errs, func(e *Error) bool { return !e.Unknown })
}

// fromDecoder turns what only the decoder notices, such as a key set twice, into an Error.
func fromDecoder(file string, where *Positions, err error) *Error {
	var de *toml.DecodeError
	if !errors.As(err, &de) {
		return &Error{File: file, Problem: strings.TrimPrefix(err.Error(), "toml: ")}
	}
	line, column := de.Position()
	key := where.at(line, column)
	if key == "" {
		key = strings.Join(de.Key(), ".")
	}
	return &Error{File: file, Line: line, Column: column, Key: key, Problem: strings.TrimPrefix(de.Error(), "toml: ")}
}

func invalidUTF8(data []byte) (line int, ok bool) {
	if utf8.Valid(data) {
		return 0, true
	}
	line = 1
	for len(data) > 0 {
		r, n := utf8.DecodeRune(data)
		if r == utf8.RuneError && n == 1 {
			return line, false
		}
		if r == '\n' {
			line++
		}
		data = data[n:]
	}
	return line, true
}
