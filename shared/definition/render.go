package definition

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
)

// MaxConfig is the greatest size in bytes of a rendered configuration file.
const MaxConfig = 16 << 20

// RenderConfig writes one configuration file from its template: values take the place of placeholders,
// quoted as the file's style asks, everything else stays as it is.
//
//	style     text          true     several     unset
//	plain     as it is      true     a b c       nothing
//	ini       as it is      true     a, b, c     nothing
//	namelist  'it''s'       .true.   'a', 'b'    nothing (Fortran's null value)
//	json      "it's"        true     ["a", "b"]  null
//	yaml      "it's"        true     ["a", "b"]  null
//
// The error is an ErrNotRenderable when a value has no safe form in the style.
func (d *Definition) RenderConfig(c ConfigFile, template []byte, ctx ArgvContext) ([]byte, error) {
	parts, err := parseParts(string(template))
	if err != nil {
		return nil, fmt.Errorf("read template %s: %w", c.Template, err)
	}
	var b strings.Builder
	for _, p := range parts {
		text := p.text
		if p.kind != literal {
			if text, err = d.renderPart(c.Style, ctx, p); err != nil {
				return nil, fmt.Errorf("render %s: %s: %w", c.File, p.name(), err)
			}
		}
		if b.Len()+len(text) > MaxConfig {
			return nil, fmt.Errorf("render %s: %w: the file would be larger than %d bytes", c.File, ErrNotRenderable, MaxConfig)
		}
		b.WriteString(text)
	}
	return []byte(b.String()), nil
}

// renderPart writes the values of one placeholder.
func (d *Definition) renderPart(style Style, ctx ArgvContext, p part) (string, error) {
	values := d.lookup(ctx, p)
	t, many := String, d.many(p)
	if p.kind == resourceRef {
		t = Long
	}
	if param := d.Parameter(p.text); p.kind == paramRef && param != nil {
		t = param.Type
		if param.isArray() && !many { // the elements are the values
			many = true
			values = strings.Fields(strings.Join(values, " "))
		}
	}
	words := make([]string, len(values))
	for i, v := range values {
		word, err := style.quote(t, v)
		if err != nil {
			return "", err
		}
		words[i] = word
	}
	return style.join(words, many), nil
}

// join writes quoted values one behind the other.
func (s Style) join(words []string, many bool) string {
	switch s {
	case JSON, YAML:
		if len(words) == 0 {
			return "null"
		}
		if many {
			return "[" + strings.Join(words, ", ") + "]"
		}
		return words[0]
	case Plain:
		return strings.Join(words, " ")
	}
	return strings.Join(words, ", ")
}

// quote writes one value of type t.
func (s Style) quote(t Type, v string) (string, error) {
	if t == Boolean && s == Namelist {
		return "." + v + ".", nil
	}
	if !t.Textual() {
		return v, nil
	}
	if s == JSON || s == YAML {
		text, err := marshalJSON(v)
		return escapeC1(string(text)), err
	}
	if strings.ContainsFunc(v, unicode.IsControl) {
		return "", fmt.Errorf("%w: it holds a line break or another control character", ErrNotRenderable)
	}
	if s == Namelist {
		return "'" + strings.ReplaceAll(v, "'", "''") + "'", nil
	}
	return v, nil
}

// escapeC1 writes the control characters that JSON allows in strings and YAML does not as escapes.
func escapeC1(s string) string {
	if !strings.ContainsFunc(s, yamlForbids) {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if yamlForbids(r) {
			fmt.Fprintf(&b, `\u%04x`, r)
			continue
		}
		b.WriteRune(r)
	}
	return b.String()
}

func yamlForbids(r rune) bool { return r >= 0x7f && r < 0xa0 || r == 0xFEFF }

// template checks a template against the definition. Free text never gets into a configuration file, as
// few formats have quoting that every reader of them understands.
func (l *lint) template(key string, d *Definition, c ConfigFile, text []byte) {
	parts, err := parseParts(string(text))
	if err != nil {
		l.add(key, "%s: %v", c.Template, err)
		return
	}
	var reported []part
	for _, p := range parts {
		if p.kind == literal || slices.Contains(reported, p) {
			continue
		}
		reported = append(reported, p)
		if why := d.refuses(p); why != "" {
			l.add(key, "%s: %s", c.Template, why)
			continue
		}
		param := d.Parameter(p.text)
		if p.kind == paramRef && param.Type.Textual() && len(param.Options) == 0 && param.Pattern == "" {
			l.add(key, "%s: {%s} is free text; a configuration file takes only text with options or a pattern", c.Template, p.name())
		}
	}
}
