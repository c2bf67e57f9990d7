package definition

import (
	"fmt"
	"regexp"
	"strings"
)

// kind says what a part of a text with placeholders is.
type kind int

const (
	literal kind = iota
	paramRef
	inputRef
	resourceRef
	scriptRef
)

// part is a stretch of literal text or one placeholder.
type part struct {
	kind kind
	text string // the literal text, or the name that the placeholder refers to
}

var placeholderPattern = regexp.MustCompile(`^\{(?:(param|input)\.([A-Za-z][A-Za-z0-9_]*)|resource\.([a-z]+)|(script))\}`)

// parseParts splits a text at its placeholders. "{{" stands for one brace; a brace that no letter
// follows stands for itself, so that JSON and most other texts need no escaping.
func parseParts(s string) ([]part, error) {
	var parts []part
	var text strings.Builder
	flush := func() {
		if text.Len() > 0 {
			parts = append(parts, part{literal, text.String()})
			text.Reset()
		}
	}
	for i := 0; i < len(s); {
		if s[i] != '{' || i+1 == len(s) || !isLetter(s[i+1]) && s[i+1] != '{' {
			text.WriteByte(s[i])
			i++
			continue
		}
		if s[i+1] == '{' {
			text.WriteByte('{')
			i += 2
			continue
		}
		m := placeholderPattern.FindStringSubmatch(s[i:])
		if m == nil {
			return nil, fmt.Errorf(`%q is no placeholder; there are {param.NAME}, {input.NAME}, {resource.KEY} and {script}; write {{ for a brace`, clip(upTo(s[i:], '}')))
		}
		flush()
		parts = append(parts, reference(m))
		i += len(m[0])
	}
	flush()
	return parts, nil
}

func reference(m []string) part {
	switch {
	case m[1] == "param":
		return part{paramRef, m[2]}
	case m[1] == "input":
		return part{inputRef, m[2]}
	case m[3] != "":
		return part{resourceRef, m[3]}
	}
	return part{kind: scriptRef}
}

func isLetter(c byte) bool { return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' }

// upTo returns s up to and with the first c, or the first 40 bytes.
func upTo(s string, c byte) string {
	if i := strings.IndexByte(s, c); i >= 0 {
		return s[:i+1]
	}
	return s[:min(len(s), 40)]
}
