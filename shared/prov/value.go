package prov

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Attr is one attribute of a record. A record may have several attributes of one name.
type Attr struct {
	Name  QName
	Value Value
}

// Value is a literal of PROV: a text with a datatype, or with a language. Make one with String, LangString,
// Int, Long, Double, Boolean, DateTime, AnyURI, Name or Typed; values are comparable with ==.
type Value struct {
	text string
	lang string
	typ  QName
}

// langTag is LANGTAG of PROV-N without its '@'.
var langTag = regexp.MustCompile(`^[a-zA-Z]+(-[a-zA-Z0-9]+)*$`)

// String makes a plain string. Bytes that are not UTF-8 become U+FFFD, as no serialisation can hold them.
func String(s string) Value { return Value{text: clean(s), typ: typeString} }

// LangString makes a string in the language of a tag such as "en" or "pt-BR".
func LangString(s, lang string) Value { return Value{text: clean(s), lang: lang, typ: typeLangString} }

// Int makes an xsd:int.
func Int(n int32) Value { return Value{text: strconv.FormatInt(int64(n), 10), typ: xsdTerm("int")} }

// Long makes an xsd:long.
func Long(n int64) Value { return Value{text: strconv.FormatInt(n, 10), typ: xsdTerm("long")} }

// Boolean makes an xsd:boolean.
func Boolean(b bool) Value { return Value{text: strconv.FormatBool(b), typ: xsdTerm("boolean")} }

// Double makes an xsd:double, with the spelling of XML Schema for NaN and the infinities.
func Double(f float64) Value {
	text := strconv.FormatFloat(f, 'g', -1, 64)
	switch {
	case math.IsInf(f, 1):
		text = "INF"
	case math.IsInf(f, -1):
		text = "-INF"
	}
	return Value{text: text, typ: xsdTerm("double")}
}

// DateTime makes an xsd:dateTime in UTC.
func DateTime(t time.Time) Value { return Value{text: formatTime(t), typ: xsdTerm("dateTime")} }

// AnyURI makes an xsd:anyURI.
func AnyURI(s string) Value { return Value{text: clean(s), typ: xsdTerm("anyURI")} }

// Name makes a qualified name used as a value, such as the class in prov:type.
func Name(q QName) Value { return Value{text: q.String(), typ: typeQualifiedName} }

// Typed makes a literal of any datatype from its lexical form, which is not checked.
func Typed(text string, datatype QName) Value { return Value{text: clean(text), typ: datatype} }

// Text is the lexical form.
func (v Value) Text() string { return v.text }

// Lang is the language tag, or empty.
func (v Value) Lang() string { return v.lang }

// Type is the datatype: xsd:string for a plain string, prov:InternationalizedString for one with a
// language, prov:QUALIFIED_NAME for a qualified name.
func (v Value) Type() QName { return v.typ }

// QName gives the qualified name that v is, if it is one.
func (v Value) QName() (QName, bool) {
	if v.typ != typeQualifiedName {
		return QName{}, false
	}
	q, err := ParseQName(v.text)
	return q, err == nil
}

// check tells what makes v unfit for a graph whose declared prefixes are known to declared.
func (v Value) check(declared func(QName) error) error {
	if v.typ.IsZero() {
		return fmt.Errorf("%w: a value without a datatype", ErrRecord)
	}
	if (v.lang != "") != (v.typ == typeLangString) || v.lang != "" && !langTag.MatchString(v.lang) {
		return fmt.Errorf("%w: bad language tag %.40q", ErrRecord, v.lang)
	}
	if v.typ == typeQualifiedName {
		q, err := ParseQName(v.text)
		if err != nil {
			return err
		}
		return declared(q)
	}
	return declared(v.typ)
}

func clean(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}

// formatTime writes a time as all serialisations do: UTC with Z, with the fraction it has.
func formatTime(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

// parseTime reads an xsd:dateTime of the years 1 to 9999. Without a time zone it is taken as UTC, as other
// provenance tools do.
func parseTime(s string) (time.Time, error) {
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999"} {
		if t, err := time.Parse(layout, s); err == nil && validTime(t) {
			return t.UTC(), nil
		}
	}
	return time.Time{}, fmt.Errorf("%w: %.60q is not an xsd:dateTime", ErrSyntax, s)
}

// validTime tells whether t can be written and is not the zero time, which stands for "not given".
func validTime(t time.Time) bool {
	t = t.UTC()
	return !t.IsZero() && t.Year() >= 1 && t.Year() <= 9999
}
