package definition

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
)

// MaxArgument is the greatest length in bytes of one argument.
const MaxArgument = 32 << 10

// maxArguments bounds the bytes of all arguments together, well below what Linux passes to a process.
const maxArguments = 1 << 20

// ArgvContext is what placeholders expand to.
type ArgvContext struct {
	Values    Values
	Inputs    map[string][]string // paths of the staged files, relative to the working directory, by input
	Resources Resources
	Script    string // path of the staged script
}

// Argv returns the arguments that start the code: the command with its placeholders expanded, or the
// script behind the interpreter its first line names, so that the file needs no execute permission.
// An element that is exactly one placeholder becomes as many arguments as there are values. A list, or
// an element outside of lists, is dropped when a value in it is unset. The error is an ErrArgument.
func (d *Definition) Argv(ctx ArgvContext) ([]string, error) {
	if len(d.Run.Command) == 0 {
		return append(append([]string(nil), d.Run.Interpreter...), ctx.Script), nil
	}
	var argv []string
	total := 0
	for _, e := range d.Run.Command {
		args, err := d.expandElement(ctx, e)
		if err != nil {
			return nil, err
		}
		for _, a := range args {
			if len(a) > MaxArgument || strings.ContainsRune(a, 0) {
				return nil, fmt.Errorf("%w: %q is longer than %d bytes or holds a NUL", ErrArgument, clip(a), MaxArgument)
			}
			total += len(a) + 1
		}
		argv = append(argv, args...)
	}
	if total > maxArguments {
		return nil, fmt.Errorf("%w: all arguments together are longer than %d bytes", ErrArgument, maxArguments)
	}
	return argv, nil
}

func (d *Definition) expandElement(ctx ArgvContext, e Element) ([]string, error) {
	var args []string
	for _, s := range e.List {
		parts, err := parseParts(s)
		if err != nil {
			return nil, err
		}
		expanded, set, err := d.expandArgument(ctx, parts)
		if err != nil || !set {
			return nil, err
		}
		args = append(args, expanded...)
	}
	return args, nil
}

// expandArgument expands one string of a command; set is false when a value in it is unset.
func (d *Definition) expandArgument(ctx ArgvContext, parts []part) (args []string, set bool, err error) {
	if len(parts) == 1 {
		values := d.lookup(ctx, parts[0])
		for _, v := range values {
			if d.userText(parts[0]) && strings.HasPrefix(v, "-") {
				return nil, false, fmt.Errorf("%w: %s: %q begins with \"-\"", ErrArgument, parts[0].name(), clip(v))
			}
		}
		return values, len(values) > 0, nil
	}
	var b strings.Builder
	for _, p := range parts {
		values := d.lookup(ctx, p)
		if len(values) != 1 {
			return nil, false, nil
		}
		if b.Len() == 0 && d.userText(p) && strings.HasPrefix(values[0], "-") {
			return nil, false, fmt.Errorf("%w: %s: %q begins with \"-\"", ErrArgument, p.name(), clip(values[0]))
		}
		b.WriteString(values[0])
	}
	return []string{b.String()}, true, nil
}

// userText tells whether a placeholder expands to text that the user chose freely.
func (d *Definition) userText(p part) bool {
	switch p.kind {
	case paramRef:
		param := d.Parameter(p.text)
		return param == nil || param.Type.Textual()
	case inputRef:
		return true
	}
	return false
}

// lookup returns the values of a part; none when it is unset.
func (d *Definition) lookup(ctx ArgvContext, p part) []string {
	switch p.kind {
	case paramRef:
		values, _ := ctx.Values.Get(p.text)
		return values
	case inputRef:
		return ctx.Inputs[p.text]
	case resourceRef:
		return []string{ctx.Resources.text(p.text)}
	case scriptRef:
		return []string{ctx.Script}
	}
	return []string{p.text}
}

// Environment returns the definition's own variables as NAME=value, sorted. A variable that names an
// input which was not given is left out.
func (d *Definition) Environment(ctx ArgvContext) ([]string, error) {
	var env []string
	for _, name := range sortedKeys(d.Run.Environment) {
		parts, err := parseParts(d.Run.Environment[name])
		if err != nil {
			return nil, err
		}
		value, set := "", true
		for _, p := range parts {
			values := d.lookup(ctx, p)
			if len(values) != 1 {
				set = false
				break
			}
			value += values[0]
		}
		if set {
			env = append(env, name+"="+value)
		}
	}
	return env, nil
}

// Stdin returns the path of the file that becomes standard input, or "" for none.
func (d *Definition) Stdin(ctx ArgvContext) string {
	parts, err := parseParts(d.Run.Stdin)
	if err != nil || len(parts) != 1 {
		return ""
	}
	if paths := d.lookup(ctx, parts[0]); len(paths) == 1 {
		return paths[0]
	}
	return ""
}

// ParamsJSON returns the content of params.json: one object with every parameter that is no secret, in
// the definition's order, typed, null where unset, an array where there may be several values.
func (d *Definition) ParamsJSON(values Values) ([]byte, error) {
	return d.valuesJSON(values, false)
}

// SecretsJSON returns the same of the secret parameters alone, or nil when there are none.
func (d *Definition) SecretsJSON(values Values) ([]byte, error) {
	for _, p := range d.Parameters {
		if p.Secret {
			return d.valuesJSON(values, true)
		}
	}
	return nil, nil
}

func (d *Definition) valuesJSON(values Values, secret bool) ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i := range d.Parameters {
		p := &d.Parameters[i]
		if p.Secret != secret {
			continue
		}
		list, set := values.Get(p.Name)
		text, err := marshalJSON(p.typed(list, set))
		if err != nil {
			return nil, fmt.Errorf("write parameter %s as JSON: %w", p.Name, err)
		}
		if b.Len() > 1 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, "\n  %q: %s", p.Name, text)
	}
	b.WriteString("\n}\n")
	return b.Bytes(), nil
}

// typed returns values as they are marshalled to JSON.
func (p *Parameter) typed(list []string, set bool) any {
	if !set {
		return nil
	}
	all := make([]any, len(list))
	for i, s := range list {
		all[i] = p.typedValue(s)
	}
	if p.Multiplicity.Many() {
		return all
	}
	if len(all) == 0 {
		return nil
	}
	return all[0]
}

func (p *Parameter) typedValue(s string) any {
	if !p.isArray() {
		return p.Type.typed(s)
	}
	elements := []any{}
	for word := range strings.FieldsSeq(s) {
		elements = append(elements, p.Type.typed(word))
	}
	return elements
}

func (t Type) typed(s string) any {
	switch {
	case t == Boolean:
		return s == "true"
	case t.Numeric():
		return json.Number(s)
	}
	return s
}

// marshalJSON is json.Marshal without escaping for HTML, which would only puzzle a reader.
func marshalJSON(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimRight(b.Bytes(), "\n"), nil
}
