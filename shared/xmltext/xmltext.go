// Package xmltext is the one place where strings from strangers become XML and XML from strangers
// becomes Go values. It escapes text and attributes by appending to a byte slice, several times faster
// than encoding/xml, and wraps encoding/xml's decoder with the limits that it lacks. It knows no
// document type and no schema.
package xmltext

import "unicode/utf8"

// Header is the XML declaration that every document starts with.
const Header = `<?xml version="1.0" encoding="UTF-8"?>` + "\n"

// replacement stands for every character that XML 1.0 cannot hold.
const replacement = "\uFFFD"

// Legal tells whether s can be the content of an XML 1.0 document: valid UTF-8 made of the characters
// of production 2 (Char) only. NUL, most control characters, U+FFFE and U+FFFF are not among them, not
// even as character references.
func Legal(s string) bool {
	for i := 0; i < len(s); {
		if c := s[i]; c < utf8.RuneSelf {
			if !legalASCII(c) {
				return false
			}
			i++
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		if !legalRune(r, size) {
			return false
		}
		i += size
	}
	return true
}

// AppendText appends s, escaped as the text of an element, to dst. What Legal refuses becomes U+FFFD.
// A carriage return becomes a reference, since parsers turn a literal one into a line feed.
func AppendText(dst []byte, s string) []byte { return appendEscaped(dst, s, false) }

// AppendAttr appends s, escaped as the value of an attribute in double quotes, to dst. What Legal
// refuses becomes U+FFFD. Tab, line feed and carriage return become references, since parsers turn
// literal ones into spaces.
func AppendAttr(dst []byte, s string) []byte { return appendEscaped(dst, s, true) }

func appendEscaped(dst []byte, s string, attr bool) []byte {
	start := 0
	for i := 0; i < len(s); {
		size, esc := 1, ""
		if c := s[i]; c >= utf8.RuneSelf {
			var r rune
			if r, size = utf8.DecodeRuneInString(s[i:]); !legalRune(r, size) {
				esc = replacement
			}
		} else if special[c] {
			esc = escapeASCII(c, attr)
		}
		if esc != "" {
			dst = append(dst, s[start:i]...)
			dst = append(dst, esc...)
			start = i + size
		}
		i += size
	}
	return append(dst, s[start:]...)
}

// special marks the ASCII characters that may need an escape, so that the others cost one look-up.
var special = func() (t [utf8.RuneSelf]bool) {
	for c := range t {
		t[c] = c < ' '
	}
	t['&'], t['<'], t['>'], t['"'] = true, true, true, true
	return t
}()

// escapeASCII returns what stands for c, or "" if c stands for itself.
func escapeASCII(c byte, attr bool) string {
	switch {
	case c == '&':
		return "&amp;"
	case c == '<':
		return "&lt;"
	case c == '>':
		return "&gt;" // "]]>" is forbidden in text
	case c == '\r':
		return "&#13;"
	case !legalASCII(c):
		return replacement
	case attr && c == '"':
		return "&quot;"
	case attr && c == '\t':
		return "&#9;"
	case attr && c == '\n':
		return "&#10;"
	}
	return ""
}

func legalASCII(c byte) bool { return c >= ' ' || c == '\t' || c == '\n' || c == '\r' }

// legalRune judges a decoded non-ASCII character; a size of 1 means invalid UTF-8.
func legalRune(r rune, size int) bool { return size > 1 && r != 0xFFFE && r != 0xFFFF }
