package definition

import (
	"cmp"
	"fmt"
	"math"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"
)

// MaxValue is the greatest length in bytes of one value of a parameter.
const MaxValue = 64 << 10

// Type is the type of a parameter.
type Type string

// The types of parameters: VOTable's, besides string and uri of XML Schema.
const (
	Boolean Type = "boolean"
	Int     Type = "int"  // 32 bits
	Long    Type = "long" // 64 bits
	Float   Type = "float"
	Double  Type = "double"
	String  Type = "string"
	URI     Type = "uri"
)

// Types lists all types.
var Types = []Type{Boolean, Int, Long, Float, Double, String, URI}

// Numeric tells whether values are numbers.
func (t Type) Numeric() bool { return t == Int || t == Long || t == Float || t == Double }

// Textual tells whether values are text chosen by the user.
func (t Type) Textual() bool { return t == String || t == URI }

// canonical checks one value of the type (one number, where the parameter is an array) and returns the
// form in which it is kept: numbers without leading zeros or plus sign, booleans as true or false.
func (t Type) canonical(s string) (string, error) {
	if t.Textual() {
		return s, checkText(t, s)
	}
	s = strings.TrimSpace(s)
	switch t {
	case Boolean:
		return canonicalBoolean(s)
	case Int:
		return canonicalInteger(s, 32)
	case Long:
		return canonicalInteger(s, 64)
	case Float:
		return canonicalReal(s, 32)
	}
	return canonicalReal(s, 64)
}

func canonicalBoolean(s string) (string, error) {
	switch strings.ToLower(s) {
	case "true", "t", "1":
		return "true", nil
	case "false", "f", "0":
		return "false", nil
	}
	return "", fmt.Errorf("must be true or false")
}

func canonicalInteger(s string, bits int) (string, error) {
	n, err := strconv.ParseInt(s, 10, bits)
	if err != nil {
		return "", fmt.Errorf("must be a whole number of at most %d bits", bits)
	}
	return strconv.FormatInt(n, 10), nil
}

var realPattern = regexp.MustCompile(`^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$`)

func canonicalReal(s string, bits int) (string, error) {
	v, err := strconv.ParseFloat(s, bits)
	if err != nil || math.IsInf(v, 0) || !realPattern.MatchString(s) {
		return "", fmt.Errorf("must be a number, such as 1.5 or 2e-3")
	}
	return strconv.FormatFloat(v, 'g', -1, bits), nil
}

// checkText refuses text that XML 1.0 cannot carry, since every value appears in UWS documents.
func checkText(t Type, s string) error {
	if len(s) > MaxValue {
		return fmt.Errorf("must not be longer than %d bytes", MaxValue)
	}
	if !utf8.ValidString(s) {
		return fmt.Errorf("must be UTF-8 text")
	}
	for _, r := range s {
		if r < 0x20 && r != '\t' && r != '\n' && r != '\r' || r == 0xFFFE || r == 0xFFFF {
			return fmt.Errorf("must not hold the control character U+%04X", r)
		}
	}
	if t == URI {
		return checkURI(s)
	}
	return nil
}

func checkURI(s string) error {
	u, err := url.Parse(s)
	if err != nil || u.Scheme == "" || strings.ContainsAny(s, " \t\r\n<>\"{}|\\^`") {
		return fmt.Errorf(`must be a URI with a scheme, such as "https://example.org/x"`)
	}
	return nil
}

// check validates one value against type, array size, range, options, pattern and length, and returns
// its canonical form.
func (p *Parameter) check(s string) (string, error) {
	v, err := p.canonical(s)
	if err != nil {
		return "", err
	}
	if err := p.checkLimits(v); err != nil {
		return "", err
	}
	if len(p.Options) > 0 && !p.hasOption(v) {
		return "", fmt.Errorf("must be one of %s", p.optionList())
	}
	if p.MaxLength > 0 && utf8.RuneCountInString(v) > p.MaxLength {
		return "", fmt.Errorf("must not be longer than %d characters", p.MaxLength)
	}
	if p.Pattern == "" {
		return v, nil
	}
	re, err := compileWhole(p.Pattern)
	if err != nil {
		return "", err
	}
	if !re.MatchString(v) {
		return "", fmt.Errorf("must match the pattern %s", p.Pattern)
	}
	return v, nil
}

func compileWhole(pattern string) (*regexp.Regexp, error) {
	if _, err := regexp.Compile(pattern); err != nil { // alone first, so that "a)(b" cannot slip through
		return nil, err
	}
	return regexp.Compile(`^(?:` + pattern + `)$`)
}

// canonical returns the canonical form of a value: of each number, where the parameter is an array.
func (p *Parameter) canonical(s string) (string, error) {
	if !p.isArray() {
		return p.Type.canonical(s)
	}
	if len(s) > MaxValue {
		return "", fmt.Errorf("must not be longer than %d bytes", MaxValue)
	}
	words := strings.Fields(s)
	for i, w := range words {
		v, err := p.Type.canonical(w)
		if err != nil {
			return "", fmt.Errorf("element %d %w", i+1, err)
		}
		words[i] = v
	}
	if size, fixed := arrayLength(p.ArraySize); len(words) == 0 || fixed && len(words) != size || !fixed && size > 0 && len(words) > size {
		return "", fmt.Errorf("must be values separated by blanks, as many as arraysize %q says", p.ArraySize)
	}
	return strings.Join(words, " "), nil
}

// isArray tells whether a value holds several numbers. For strings, arraysize only counts characters.
func (p *Parameter) isArray() bool {
	return p.ArraySize != "" && p.ArraySize != "1" && !p.Type.Textual()
}

var arraySizePattern = regexp.MustCompile(`^([1-9][0-9]{0,4}x)*([1-9][0-9]{0,4}|([1-9][0-9]{0,4})?\*)$`)

// arrayLength returns the number of elements of a VOTable arraysize. Where it is not fixed, the number
// is the greatest one, or 0 for any.
func arrayLength(arraysize string) (n int, fixed bool) {
	n, fixed = 1, true
	for dim := range strings.SplitSeq(arraysize, "x") {
		if digits, variable := strings.CutSuffix(dim, "*"); variable {
			fixed = false
			if digits == "" {
				return 0, false
			}
			dim = digits
		}
		length, err := strconv.Atoi(dim)
		if err != nil {
			return 0, false
		}
		n = min(n*length, 1<<30)
	}
	return n, fixed
}

func (p *Parameter) checkLimits(v string) error {
	if !p.Type.Numeric() || p.Min == "" && p.Max == "" {
		return nil
	}
	for word := range strings.FieldsSeq(v) {
		if p.Min != "" && p.Type.compare(word, p.Min.String()) < 0 {
			return fmt.Errorf("must not be below %s", p.Min)
		}
		if p.Max != "" && p.Type.compare(word, p.Max.String()) > 0 {
			return fmt.Errorf("must not be above %s", p.Max)
		}
	}
	return nil
}

// compare orders two canonical numbers of the type.
func (t Type) compare(a, b string) int {
	if t == Int || t == Long {
		x, _ := strconv.ParseInt(a, 10, 64)
		y, _ := strconv.ParseInt(b, 10, 64)
		return cmp.Compare(x, y)
	}
	x, _ := strconv.ParseFloat(a, 64)
	y, _ := strconv.ParseFloat(b, 64)
	return cmp.Compare(x, y)
}

func (p *Parameter) hasOption(v string) bool {
	for _, o := range p.Options {
		if o.Value == v {
			return true
		}
	}
	return false
}

func (p *Parameter) optionList() string {
	names := make([]string, len(p.Options))
	for i, o := range p.Options {
		names[i] = o.Value
	}
	return strings.Join(names, ", ")
}
