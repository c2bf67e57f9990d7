package prov

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// XML 1.0 has no way to write most control characters, U+FFFE and U+FFFF, not even as references, and XML
// Schema refuses a value that is not of its xsi:type, or whose type it does not know. Both are written inside
// the text, in the manner of the ST_Xstring of Office Open XML (ECMA-376 part 1, 22.9.2.19):
//
//	_xHHHH_         the character of that code, in four upper-case hexadecimal digits
//	_x005F_         an underscore that would otherwise begin such an escape
//	_x005E_p:local  at the end of a text: the circumflex of Turtle's "text"^^p:local, its datatype
//
// All other text stands as it is, so hardly any text is changed, and none is lost.

const (
	escapeLen    = len("_xHHHH_")
	datatypeMark = "_x005E_"
	codeMark     = '^'
)

// xmlIllegal tells whether XML 1.0 cannot hold r (production 2, Char). Lone surrogates are no text of ours.
func xmlIllegal(r rune) bool {
	return r < ' ' && r != '\t' && r != '\n' && r != '\r' || r == 0xFFFE || r == 0xFFFF
}

// escapeAt gives the character that the escape at the beginning of s stands for. With open set, s is text to
// be escaped, and the last underscore may come with the escape of what follows.
func escapeAt(s string, open bool) (rune, bool) {
	if len(s) < escapeLen-1 || s[0] != '_' || s[1] != 'x' {
		return 0, false
	}
	code := rune(0)
	for _, c := range []byte(s[2:6]) {
		digit := strings.IndexByte(upperHex, c)
		if digit < 0 {
			return 0, false
		}
		code = code<<4 | rune(digit)
	}
	if !xmlIllegal(code) && code != '_' && code != codeMark {
		return 0, false
	}
	if len(s) >= escapeLen && s[escapeLen-1] == '_' {
		return code, true
	}
	if !open || len(s) == escapeLen-1 {
		return code, open
	}
	next, _ := utf8.DecodeRuneInString(s[escapeLen-1:])
	return code, xmlIllegal(next)
}

// appendXMLSafe appends s with what XML cannot hold escaped. Markup is not escaped yet.
func appendXMLSafe(dst []byte, s string) []byte {
	start := 0
	for i, r := range s {
		escape := xmlIllegal(r)
		if r == '_' {
			_, escape = escapeAt(s[i:], true)
		}
		if escape {
			dst = append(dst, s[start:i]...)
			dst = fmt.Appendf(dst, "_x%04X_", r)
			start = i + utf8.RuneLen(r)
		}
	}
	return append(dst, s[start:]...)
}

// needsXMLEscape tells whether appendXMLSafe would change s.
func needsXMLEscape(s string) bool {
	for i, r := range s {
		if xmlIllegal(r) {
			return true
		}
		if r == '_' {
			if _, escape := escapeAt(s[i:], true); escape {
				return true
			}
		}
	}
	return false
}

// xmlSafe gives a text with what XML cannot hold escaped.
func xmlSafe(s string) string {
	if !needsXMLEscape(s) {
		return s
	}
	return string(appendXMLSafe(nil, s))
}

// unescapeXML is the inverse of appendXMLSafe. A datatype at the end is given apart.
func unescapeXML(s string) (text string, datatype QName) {
	if !strings.Contains(s, "_x") {
		return s, QName{}
	}
	var b strings.Builder
	for s != "" {
		code, ok := escapeAt(s, false)
		if ok && code == codeMark {
			q, err := ParseQName(s[escapeLen:])
			if err == nil {
				return b.String(), q
			}
			ok = false // not ours: text of another writer
		}
		if ok {
			b.WriteRune(code)
			s = s[escapeLen:]
			continue
		}
		b.WriteByte(s[0])
		s = s[1:]
	}
	return b.String(), QName{}
}
