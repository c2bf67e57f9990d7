package prov

import (
	"regexp"
	"strconv"
)

// xsdPatterns are the lexical forms of the datatypes of XML Schema (part 2, section 3) that PROV-XML marks
// with xsi:type, where validators would refuse another form. They may be narrower than the standard: a text
// outside them costs only the xsi:type.
var xsdPatterns = map[string]*regexp.Regexp{
	"boolean":            regexp.MustCompile(`^(true|false|0|1)$`),
	"decimal":            regexp.MustCompile(`^[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)$`),
	"float":              floatPattern,
	"double":             floatPattern,
	"integer":            regexp.MustCompile(`^[+-]?[0-9]+$`),
	"nonNegativeInteger": regexp.MustCompile(`^[+]?[0-9]+$`),
	"positiveInteger":    regexp.MustCompile(`^[+]?0*[1-9][0-9]*$`),
	"nonPositiveInteger": regexp.MustCompile(`^(-[0-9]+|0+)$`),
	"negativeInteger":    regexp.MustCompile(`^-0*[1-9][0-9]*$`),
	"dateTime":           regexp.MustCompile(`^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?(Z|[+-](0[0-9]|1[0-3]):[0-5][0-9])?$`),
	"anyURI":             regexp.MustCompile(`^[A-Za-z][A-Za-z0-9+.-]*:(//[A-Za-z0-9.-]+(:[0-9]{1,5})?(/` + uriPart + `)?|(/?` + uriChar + uriPart + `)?)(\?` + uriPart + `)?(#` + uriPart + `)?$`),
	"token":              regexp.MustCompile(`^([^\t\n\r ]+( [^\t\n\r ]+)*)?$`),
	"normalizedString":   regexp.MustCompile(`^[^\t\n\r]*$`),
}

var floatPattern = regexp.MustCompile(`^([+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?|-?INF|NaN)$`)

const (
	// uriChar is pchar of RFC 3986 without percent-encoding, uriPart a path with it.
	uriChar = `[A-Za-z0-9._~!$&'()*+,;=:@-]`
	uriPart = `([A-Za-z0-9._~!$&'()*+,;=:@/-]|%[0-9A-Fa-f]{2})*`
)

// xsdBits are the sizes of the bounded integer types; negative: unsigned.
var xsdBits = map[string]int{
	"byte": 8, "short": 16, "int": 32, "long": 64,
	"unsignedByte": -8, "unsignedShort": -16, "unsignedInt": -32, "unsignedLong": -64,
}

// xsdValid tells whether a text is surely a literal of a datatype of XML Schema.
func xsdValid(text string, datatype QName) bool {
	if datatype.Prefix != "xsd" {
		return false
	}
	if bits := xsdBits[datatype.Local]; bits > 0 {
		_, err := strconv.ParseInt(text, 10, bits)
		return err == nil
	} else if bits < 0 {
		_, err := strconv.ParseUint(text, 10, -bits)
		return err == nil
	}
	if pattern := xsdPatterns[datatype.Local]; pattern == nil || !pattern.MatchString(text) {
		return false
	}
	if datatype.Local == "dateTime" {
		_, err := parseTime(text)
		return err == nil
	}
	return true
}
