package config

import (
	"encoding"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

// maxErrors bounds how many problems of one file are reported.
const maxErrors = 50

var textUnmarshaler = reflect.TypeFor[encoding.TextUnmarshaler]()

// check compares every key of the text with the Go type it is meant for.
func check(file string, where *Positions, into reflect.Type) Errors {
	var errs Errors
	known := keys{}
	var bad [][]string // paths already reported: what is below them says nothing new
	for _, e := range where.entries {
		if len(errs) == maxErrors {
			break
		}
		if slices.ContainsFunc(bad, func(b []string) bool { return hasPrefix(e.path, b) }) {
			continue
		}
		problem, unknown := known.checkEntry(e, into)
		if problem == "" {
			continue
		}
		line, column := where.position(e.at)
		errs = append(errs, &Error{File: file, Line: line, Column: column, Key: pathString(e.path), Problem: problem, Unknown: unknown})
		bad = append(bad, e.path)
	}
	return errs
}

func hasPrefix(path, prefix []string) bool {
	return len(path) >= len(prefix) && slices.Equal(path[:len(prefix)], prefix)
}

// checkEntry says what is wrong with one key and its value, or "", and whether nobody knows the key.
func (k keys) checkEntry(e entry, into reflect.Type) (problem string, unknown bool) {
	t := into
	for i, part := range e.path {
		t = deref(t)
		switch {
		case t.Kind() == reflect.Interface:
			return "", false // decoded as it comes, checked by the owner of the type
		case t.Kind() == reflect.Map, t.Kind() == reflect.Slice, t.Kind() == reflect.Array:
			t = t.Elem()
		case t.Kind() == reflect.Struct:
			f, allowed := k.field(t, part)
			if f == nil && i == len(e.path)-1 {
				return "unknown key; allowed: " + strings.Join(allowed, ", "), true
			}
			if f == nil {
				return "", false
			}
			t = f
		default:
			return "", false
		}
	}
	return checkValue(e, deref(t)), false
}

func deref(t reflect.Type) reflect.Type {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return t
}

// checkValue says what is wrong with a value meant for type t, or "".
func checkValue(e entry, t reflect.Type) string {
	scalar := e.kind != unstable.Array && e.kind != unstable.InlineTable
	if reflect.PointerTo(t).Implements(textUnmarshaler) {
		if !scalar {
			return "must be a string"
		}
		if err := reflect.New(t).Interface().(encoding.TextUnmarshaler).UnmarshalText([]byte(e.text)); err != nil {
			return err.Error()
		}
		return ""
	}
	want, ok := wanted(e.kind, t.Kind())
	if ok {
		return ""
	}
	return fmt.Sprintf("must be %s, not %s", want, kindName(e.kind))
}

// wanted names the TOML type that a Go kind takes, and tells whether the value has it.
func wanted(is unstable.Kind, t reflect.Kind) (want string, ok bool) {
	switch t {
	case reflect.String:
		return "a string", is == unstable.String
	case reflect.Bool:
		return "true or false", is == unstable.Bool
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return "an integer", is == unstable.Integer
	case reflect.Float32, reflect.Float64:
		return "a number", is == unstable.Float || is == unstable.Integer
	case reflect.Slice, reflect.Array:
		return "an array", is == unstable.Array
	case reflect.Struct, reflect.Map:
		return "a table", is == unstable.InlineTable
	}
	return "", true
}

func kindName(k unstable.Kind) string {
	switch k {
	case unstable.String:
		return "a string"
	case unstable.Bool:
		return "true or false"
	case unstable.Integer:
		return "an integer"
	case unstable.Float:
		return "a number with a fraction"
	case unstable.Array:
		return "an array"
	case unstable.InlineTable:
		return "a table"
	}
	return "a date or time"
}

// keys remembers the TOML keys of the struct types met, as listing them by reflection is slow.
type keys map[reflect.Type][]key

type key struct {
	name string
	is   reflect.Type
}

// field returns the type of the field that the TOML key names, or nil and all keys there are.
func (k keys) field(t reflect.Type, name string) (reflect.Type, []string) {
	known, ok := k[t]
	if !ok {
		known = keysOf(t)
		k[t] = known
	}
	allowed := make([]string, len(known))
	for i, f := range known {
		if f.name == name {
			return f.is, nil
		}
		allowed[i] = f.name
	}
	return nil, allowed
}

func keysOf(t reflect.Type) []key {
	var all []key
	for _, f := range reflect.VisibleFields(t) {
		name, _, _ := strings.Cut(f.Tag.Get("toml"), ",")
		if !f.IsExported() || name == "-" || f.Anonymous && name == "" {
			continue
		}
		if name == "" {
			name = f.Name
		}
		all = append(all, key{name, f.Type})
	}
	return all
}
