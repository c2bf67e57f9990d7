package prov

import (
	"fmt"
	"net/url"
	"strings"
	"unicode"

	"consort/shared/xmltext"
)

// IRIs of the vocabularies that every graph may use.
const (
	IRIProv   = "http://www.w3.org/ns/prov#"
	IRIXSD    = "http://www.w3.org/2001/XMLSchema#"
	IRIVOProv = "http://www.ivoa.net/documents/ProvenanceDM/index.html#"
	IRIUWS    = "http://www.ivoa.net/xml/UWS/v1.0#"
	IRIFed    = "https://w3id.org/consort/prov#"
)

// QName is a qualified name: a declared prefix and a local name. The zero QName stands for "not given".
type QName struct {
	Prefix string
	Local  string
}

// String gives prefix:local, or the empty string for the zero QName.
func (q QName) String() string {
	if q.IsZero() {
		return ""
	}
	return q.Prefix + ":" + q.Local
}

// IsZero tells whether q stands for "not given".
func (q QName) IsZero() bool { return q == QName{} }

// Valid tells whether prefix and local name have the form that all serialisations accept.
func (q QName) Valid() bool { return ValidPrefix(q.Prefix) && ValidLocal(q.Local) }

// ParseQName reads prefix:local; both must have the form that all serialisations accept, else ErrName.
func ParseQName(s string) (QName, error) {
	prefix, local, found := strings.Cut(s, ":")
	q := QName{prefix, local}
	if !found || !q.Valid() {
		return QName{}, fmt.Errorf("%w: %.80q is not prefix:name, the name of ASCII letters, digits, '_', '-' and '.'", ErrName, s)
	}
	return q, nil
}

// ValidPrefix tells whether s may be a prefix: [A-Za-z][A-Za-z0-9_-]*, the common part of PN_PREFIX of PROV-N,
// NCName of XML and the pattern of the PROV-JSON schema; but not xml and xmlns, which XML binds itself.
func ValidPrefix(s string) bool {
	if s == "" || !isLetter(s[0]) || s == "xml" || s == "xmlns" {
		return false
	}
	for i := 1; i < len(s); i++ {
		if !isNameByte(s[i]) || s[i] == '.' {
			return false
		}
	}
	return true
}

// ValidLocal tells whether s may be a local name: [A-Za-z_][A-Za-z0-9_.-]* not ending in '.', which PROV-N
// and Turtle forbid.
func ValidLocal(s string) bool {
	if s == "" || !(isLetter(s[0]) || s[0] == '_') || s[len(s)-1] == '.' {
		return false
	}
	for i := 1; i < len(s); i++ {
		if !isNameByte(s[i]) {
			return false
		}
	}
	return true
}

func isLetter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }
func isDigit(c byte) bool  { return c >= '0' && c <= '9' }
func isNameByte(c byte) bool {
	return isLetter(c) || isDigit(c) || c == '_' || c == '-' || c == '.'
}

const upperHex = "0123456789ABCDEF"

// emptyEscape stands for the empty string. Escape writes an underscore before 'x' as "_x5F_", so no other
// text becomes this.
const emptyEscape = "_x_"

// Escape turns any bytes into a valid local name, and different bytes into different names. Bytes outside
// the permitted set become _xHH_ (two upper-case hexadecimal digits); a text that is already a valid local
// name without "_x" stays as it is.
func Escape(s string) string {
	if s == "" {
		return emptyEscape
	}
	if ValidLocal(s) && !strings.Contains(s, "_x") {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if escapes(s, i) {
			b.WriteString("_x")
			b.WriteByte(upperHex[s[i]>>4])
			b.WriteByte(upperHex[s[i]&15])
			b.WriteByte('_')
			continue
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// escapes tells whether byte i of s must be escaped where it stands.
func escapes(s string, i int) bool {
	c := s[i]
	switch {
	case !isNameByte(c):
		return true
	case c == '_':
		return i+1 < len(s) && s[i+1] == 'x'
	case c == '.':
		return i == 0 || i == len(s)-1
	case c == '-', isDigit(c):
		return i == 0
	}
	return false
}

// Unescape is the inverse of Escape. Whatever Escape cannot have made is an ErrName.
func Unescape(name string) (string, error) {
	if s := unescape(name); Escape(s) == name {
		return s, nil
	}
	return "", fmt.Errorf("%w: %.80q is not an escaped name", ErrName, name)
}

// unescape is Unescape for names that may be escaped more than is needed.
func unescape(name string) string {
	if name == emptyEscape {
		return ""
	}
	var b strings.Builder
	for rest := name; rest != ""; {
		if len(rest) >= 5 && rest[:2] == "_x" && rest[4] == '_' {
			hi, lo := strings.IndexByte(upperHex, rest[2]), strings.IndexByte(upperHex, rest[3])
			if hi >= 0 && lo >= 0 {
				b.WriteByte(byte(hi<<4 | lo))
				rest = rest[5:]
				continue
			}
		}
		b.WriteByte(rest[0])
		rest = rest[1:]
	}
	return b.String()
}

// Namespace binds a prefix to an IRI.
type Namespace struct {
	Prefix string
	IRI    string
}

// Namespaces lists the namespaces of a federation's graphs. The authority is its permanent IRI (http or
// https, without query and fragment; a final slash does not count); anything else is an ErrName.
func Namespaces(authority string) ([]Namespace, error) {
	u, err := url.Parse(authority)
	if err != nil || (u.Scheme != "https" && u.Scheme != "http") || u.Host == "" || u.User != nil ||
		strings.ContainsAny(authority, "?#") || !validIRI(authority) {
		return nil, fmt.Errorf("%w: authority %.200q is not an http or https IRI without user, query and fragment", ErrName, authority)
	}
	id := strings.TrimRight(authority, "/") + "/id/"
	return []Namespace{
		{"prov", IRIProv}, {"xsd", IRIXSD}, {"voprov", IRIVOProv}, {"uws", IRIUWS}, {"fed", IRIFed},
		{"job", id + "job/"}, {"ent", id + "entity/"}, {"data", id + "data/"}, {"jdl", id + "jdl/"}, {"agt", id + "agent/"},
	}, nil
}

// validIRI tells whether s is an absolute IRI that may stand between < and > (IRI_REF of SPARQL and PROV-N).
func validIRI(s string) bool {
	scheme, _, found := strings.Cut(s, ":")
	if !found || !ValidPrefix(scheme) || !xmltext.Legal(s) || s == iriXML || s == iriXMLNS {
		return false // XML lets no prefix stand for the last two
	}
	return strings.IndexFunc(s, func(r rune) bool {
		return r <= ' ' || strings.ContainsRune("<>\"{}|^`\\", r) || unicode.IsSpace(r) || unicode.IsControl(r)
	}) < 0
}

// The functions below name terms of the vocabularies.
func provTerm(local string) QName   { return QName{"prov", local} }
func xsdTerm(local string) QName    { return QName{"xsd", local} }
func voprovTerm(local string) QName { return QName{"voprov", local} }
func uwsTerm(local string) QName    { return QName{"uws", local} }
func fedTerm(local string) QName    { return QName{"fed", local} }

var (
	nameType          = provTerm("type")
	nameLabel         = provTerm("label")
	nameRole          = provTerm("role")
	nameValue         = provTerm("value")
	nameLocation      = provTerm("location")
	typeQualifiedName = provTerm("QUALIFIED_NAME")
	typeLangString    = provTerm("InternationalizedString")
	typeString        = xsdTerm("string")
)
