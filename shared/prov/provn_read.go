package prov

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// ReadN reads a PROV-N document (W3C recommendation of 2013-04-30). It takes the whole grammar but for a
// default namespace, mentionOf and extension expressions, and names must be NCNames; what it does not take is
// an ErrSyntax or an error of Add.
func ReadN(r io.Reader, limits Limits) (*Graph, error) {
	text, err := io.ReadAll(io.LimitReader(r, limits.Bytes+1))
	if err != nil {
		return nil, fmt.Errorf("reading PROV-N: %w", err)
	}
	if int64(len(text)) > limits.Bytes {
		return nil, fmt.Errorf("reading PROV-N: %w: more than %d bytes", ErrTooLarge, limits.Bytes)
	}
	g, err := New()
	if err != nil {
		return nil, err
	}
	p := &nParser{text: string(text), limits: limits}
	if err := p.document(g); err != nil {
		line := 1 + strings.Count(p.text[:p.pos], "\n")
		return nil, fmt.Errorf("reading PROV-N at line %d: %w", line, err)
	}
	return g, nil
}

// nParser is a recursive-descent parser over the text of a document.
type nParser struct {
	text    string
	pos     int
	limits  Limits
	records int
}

func (p *nParser) document(g *Graph) error {
	if !utf8.ValidString(p.text) {
		return fmt.Errorf("%w: not UTF-8", ErrSyntax)
	}
	if word := p.word(); word != "document" {
		return p.unexpected("document", word)
	}
	word, err := p.expressions(g, "endDocument")
	if err != nil {
		return err
	}
	for word == "bundle" {
		if word, err = p.bundle(g); err != nil {
			return err
		}
	}
	if word != "endDocument" {
		return p.unexpected("bundle or endDocument", word)
	}
	if p.space(); p.pos < len(p.text) {
		return fmt.Errorf("%w: more after endDocument", ErrSyntax)
	}
	return nil
}

// bundle reads a bundle after its first word, and gives the word after it.
func (p *nParser) bundle(g *Graph) (string, error) {
	if len(g.bundles) >= p.limits.Names {
		return "", fmt.Errorf("%w: more than %d bundles", ErrTooLarge, p.limits.Names)
	}
	id, err := p.qname()
	if err != nil {
		return "", err
	}
	inner, err := g.Bundle(id)
	if err != nil {
		return "", err
	}
	word, err := p.expressions(inner, "endBundle")
	if err != nil {
		return "", err
	}
	if word != "endBundle" {
		return "", p.unexpected("endBundle", word)
	}
	return p.word(), nil
}

// expressions reads namespaces and expressions up to the final word, or to the word bundle.
func (p *nParser) expressions(g *Graph, end string) (string, error) {
	started := false
	for {
		word := p.word()
		switch k := kindNames[word]; {
		case word == end, word == "bundle":
			return word, nil
		case word == "prefix" && !started:
			if err := p.prefix(g); err != nil {
				return "", err
			}
		case k != 0:
			started = true
			if err := p.expression(g, k); err != nil {
				return "", err
			}
		default:
			return "", p.unexpected("an expression or "+end, word)
		}
	}
}

func (p *nParser) prefix(g *Graph) error {
	name := p.word()
	if !p.take('<') {
		return fmt.Errorf("%w: prefix %.40q without <IRI>", ErrSyntax, name)
	}
	iri, _, found := strings.Cut(p.text[p.pos:], ">")
	if !found {
		return fmt.Errorf("%w: IRI without >", ErrSyntax)
	}
	if len(g.Namespaces()) >= p.limits.Names {
		return fmt.Errorf("%w: more than %d namespaces", ErrTooLarge, p.limits.Names)
	}
	p.pos += len(iri) + 1
	return g.declare(Namespace{name, iri})
}

// expression reads (id; argument, argument, … [attributes]) and adds the record.
func (p *nParser) expression(g *Graph, k Kind) error {
	if p.records++; p.records > p.limits.Records {
		return fmt.Errorf("%w: more than %d records", ErrTooLarge, p.limits.Records)
	}
	if !p.take('(') {
		return fmt.Errorf("%w: ( is missing after %v", ErrSyntax, k)
	}
	var arguments []string
	r := Record{Kind: k}
	for first := true; ; first = false {
		if !first && p.take('[') {
			var err error
			if r.Attrs, err = p.attributes(); err != nil {
				return err
			}
			break
		}
		a := p.argument()
		if a == "" {
			return fmt.Errorf("%w: an argument of %v is missing", ErrSyntax, k)
		}
		if first && !k.IsElement() && p.take(';') {
			if err := marked(a, &r.ID); err != nil {
				return err
			}
			if a = p.argument(); a == "" {
				return fmt.Errorf("%w: an argument of %v is missing", ErrSyntax, k)
			}
		}
		arguments = append(arguments, a)
		if len(arguments) > 8 {
			return fmt.Errorf("%w: too many arguments of %v", ErrSyntax, k)
		}
		if !p.take(',') {
			break
		}
	}
	if !p.take(')') {
		return fmt.Errorf("%w: ) is missing after %v", ErrSyntax, k)
	}
	if err := formalArguments(&r, arguments); err != nil {
		return err
	}
	return g.Add(r)
}

// formalArguments sets id, references and times of r from the positional arguments.
func formalArguments(r *Record, arguments []string) error {
	s := &shapes[r.Kind]
	if r.Kind.IsElement() {
		if err := marked(arguments[0], &r.ID); err != nil {
			return err
		}
		arguments = arguments[1:]
	}
	if n := len(arguments); n != s.required && n != len(s.refs)+len(s.times) {
		return fmt.Errorf("%w: %v with %d arguments", ErrSyntax, r.Kind, n)
	}
	r.Refs = make([]QName, len(s.refs))
	for i, a := range arguments {
		if i < len(s.refs) {
			if err := marked(a, &r.Refs[i]); err != nil {
				return err
			}
			continue
		}
		if a == "-" {
			continue
		}
		t, err := parseTime(a)
		if err != nil {
			return err
		}
		if i == len(s.refs) {
			r.Time = t
		} else {
			r.End = t
		}
	}
	return nil
}

// marked reads a name, or the marker - for none.
func marked(s string, into *QName) (err error) {
	if s == "-" {
		return nil
	}
	*into, err = ParseQName(s)
	return err
}

func (p *nParser) attributes() ([]Attr, error) {
	if p.take(']') {
		return nil, nil
	}
	var attrs []Attr
	for {
		name, err := p.qname()
		if err != nil {
			return nil, err
		}
		if !p.take('=') {
			return nil, fmt.Errorf("%w: = is missing after %s", ErrSyntax, name)
		}
		v, err := p.literal()
		if err != nil {
			return nil, err
		}
		if attrs = append(attrs, Attr{name, v}); len(attrs) > p.limits.Attributes {
			return nil, fmt.Errorf("%w: more than %d attributes", ErrTooLarge, p.limits.Attributes)
		}
		if p.take(',') {
			continue
		}
		if !p.take(']') {
			return nil, fmt.Errorf("%w: ] is missing", ErrSyntax)
		}
		return attrs, nil
	}
}

func (p *nParser) literal() (Value, error) {
	switch {
	case p.take('\''):
		q, err := p.qname()
		if err == nil && !p.take('\'') {
			err = fmt.Errorf("%w: ' is missing", ErrSyntax)
		}
		return Name(q), err
	case p.take('"'):
		return p.stringLiteral()
	}
	digits := p.argument()
	if n := strings.TrimPrefix(digits, "-"); n == "" || strings.Trim(n, "0123456789") != "" {
		return Value{}, fmt.Errorf("%w: %.40q is not a literal", ErrSyntax, digits)
	}
	return Typed(digits, xsdTerm("int")), nil
}

// stringLiteral reads a string after its first quote, with its language or datatype.
func (p *nParser) stringLiteral() (Value, error) {
	long := strings.HasPrefix(p.text[p.pos:], `""`)
	if long {
		p.pos += 2
	}
	text, err := p.quoted(long)
	if err != nil {
		return Value{}, err
	}
	if strings.HasPrefix(p.text[p.pos:], "@") {
		p.pos++
		return LangString(text, p.argument()), nil
	}
	if p.space(); strings.HasPrefix(p.text[p.pos:], "%%") {
		p.pos += 2
		typ, err := p.qname()
		return Typed(text, typ), err
	}
	return String(text), nil
}

// quoted reads the inside of a string and its closing quotes.
func (p *nParser) quoted(long bool) (string, error) {
	var b strings.Builder
	for p.pos < len(p.text) {
		c := p.text[p.pos]
		switch {
		case c == '\\':
			if p.pos+1 >= len(p.text) {
				return "", fmt.Errorf("%w: string without end", ErrSyntax)
			}
			at := strings.IndexByte(`tbnrf\"'`, p.text[p.pos+1])
			if at < 0 {
				return "", fmt.Errorf("%w: unknown escape in a string", ErrSyntax)
			}
			b.WriteByte("\t\b\n\r\f\\\"'"[at])
			p.pos += 2
			continue
		case c == '"' && !long:
			p.pos++
			return b.String(), nil
		case c == '"' && strings.HasPrefix(p.text[p.pos:], `"""`):
			p.pos += 3
			return b.String(), nil
		case (c == '\n' || c == '\r') && !long:
			return "", fmt.Errorf("%w: line break in a short string", ErrSyntax)
		}
		b.WriteByte(c)
		p.pos++
	}
	return "", fmt.Errorf("%w: string without end", ErrSyntax)
}

// space skips white space and comments.
func (p *nParser) space() {
	for p.pos < len(p.text) {
		rest := p.text[p.pos:]
		switch {
		case strings.IndexByte(" \t\r\n", rest[0]) >= 0:
			p.pos++
		case strings.HasPrefix(rest, "//"):
			line, _, _ := strings.Cut(rest, "\n")
			p.pos += len(line)
		case strings.HasPrefix(rest, "/*") && strings.Contains(rest[2:], "*/"):
			p.pos += 2 + strings.Index(rest[2:], "*/") + 2
		default:
			return
		}
	}
}

// take skips the byte c, after white space, if it comes next.
func (p *nParser) take(c byte) bool {
	if p.space(); p.pos < len(p.text) && p.text[p.pos] == c {
		p.pos++
		return true
	}
	return false
}

// argument reads a run of the bytes of names, times, integers and markers; empty, if there is none.
func (p *nParser) argument() string {
	p.space()
	start := p.pos
	for p.pos < len(p.text) && (isNameByte(p.text[p.pos]) || p.text[p.pos] == ':' || p.text[p.pos] == '+') {
		p.pos++
	}
	return p.text[start:p.pos]
}

// word reads a keyword or a prefix.
func (p *nParser) word() string { return p.argument() }

func (p *nParser) qname() (QName, error) { return ParseQName(p.argument()) }

func (p *nParser) unexpected(want, got string) error {
	if got == "" && p.pos < len(p.text) {
		got = p.text[p.pos:min(p.pos+20, len(p.text))]
	}
	return fmt.Errorf("%w: %s is expected, not %.40q", ErrSyntax, want, got)
}
