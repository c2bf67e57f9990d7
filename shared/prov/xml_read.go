package prov

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"consort/shared/xmltext"
)

// ReadXML reads a PROV-XML document strictly: elements that PROV does not know, structured values, text
// between elements, attributes that the graph cannot keep, a DOCTYPE, undeclared prefixes and names that are
// not NCNames of ASCII are errors, ErrSyntax or that of Add. A prefix has one meaning in the whole document;
// the namespaces of PROV, XML Schema and xsi may have any. Elements may come in any order. The subtypes of
// the note, such as prov:person or prov:wasRevisionOf, become their base with a prov:type.
func ReadXML(r io.Reader, limits Limits) (*Graph, error) {
	g, err := New()
	if err != nil {
		return nil, err
	}
	in := &xmlReader{dec: xmltext.NewDecoder(r, limits.Bytes), limits: limits, graph: g, prefixes: map[string]string{"xml": iriXML}}
	err = in.document()
	if err == nil {
		err = xmlError(in.dec.End())
	}
	if err != nil {
		return nil, fmt.Errorf("reading PROV-XML near byte %d: %w", in.dec.InputOffset(), err)
	}
	return g, nil
}

// xmlSubtypes are the elements that PROV-XML adds for subtypes of records.
var xmlSubtypes = map[string]struct {
	kind Kind
	typ  string
}{
	"person": {Agent, "Person"}, "organization": {Agent, "Organization"}, "softwareAgent": {Agent, "SoftwareAgent"},
	"plan": {Entity, "Plan"}, "collection": {Entity, "Collection"}, "emptyCollection": {Entity, "EmptyCollection"}, "bundle": {Entity, "Bundle"},
	"wasRevisionOf": {Derivation, "Revision"}, "wasQuotedFrom": {Derivation, "Quotation"}, "hadPrimarySource": {Derivation, "PrimarySource"},
}

type xmlReader struct {
	dec      *xmltext.Decoder
	limits   Limits
	graph    *Graph
	prefixes map[string]string // as the document binds them; "" is the default namespace
	records  int
}

// xmlError marks an error of the XML decoder.
func xmlError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, xmltext.ErrTooLarge):
		return fmt.Errorf("%w: %w", ErrTooLarge, err)
	case err == io.EOF:
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("%w: %w", ErrSyntax, err)
}

// start is the beginning of an element, its names resolved.
type start struct {
	name xml.Name // the namespace's prefix as written, and the local name
	prov string   // the local name of an element of PROV
	id   QName
	ref  QName
	typ  QName // xsi:type
	lang string
}

func (in *xmlReader) document() error {
	for {
		t, err := in.dec.RawToken()
		if err != nil {
			return xmlError(err)
		}
		switch t := t.(type) {
		case xml.StartElement:
			root, err := in.start(t)
			if err != nil {
				return err
			}
			if root.prov != "document" || !root.id.IsZero() {
				return fmt.Errorf("%w: the root element is not prov:document", ErrSyntax)
			}
			return in.children(root, func(s start) error {
				if s.prov == "bundleContent" {
					return in.bundle(s)
				}
				return in.record(in.graph, s)
			})
		case xml.CharData:
			if !blank(t) {
				return fmt.Errorf("%w: text before the document", ErrSyntax)
			}
		case xml.EndElement:
			return fmt.Errorf("%w: end of an element before the document", ErrSyntax)
		}
	}
}

func blank(text []byte) bool { return len(strings.Trim(string(text), " \t\r\n")) == 0 }

// children calls visit for each child of an element, until the element ends. Text other than white space is
// an error.
func (in *xmlReader) children(parent start, visit func(start) error) error {
	for {
		t, err := in.dec.RawToken()
		if err != nil {
			return xmlError(err)
		}
		switch t := t.(type) {
		case xml.StartElement:
			s, err := in.start(t)
			if err != nil {
				return err
			}
			if err := visit(s); err != nil {
				return err
			}
		case xml.EndElement:
			return ends(parent, t)
		case xml.CharData:
			if !blank(t) {
				return fmt.Errorf("%w: text between the elements of %s", ErrSyntax, parent.name.Local)
			}
		}
	}
}

// ends checks that an end tag is that of the element.
func ends(s start, t xml.EndElement) error {
	if t.Name != s.name {
		return fmt.Errorf("%w: <%.40s> is closed by </%.40s>", ErrSyntax, s.name.Local, t.Name.Local)
	}
	return nil
}

// text reads the text of an element without children.
func (in *xmlReader) text(s start) (string, error) {
	var b strings.Builder
	for {
		t, err := in.dec.RawToken()
		if err != nil {
			return "", xmlError(err)
		}
		switch t := t.(type) {
		case xml.CharData:
			b.Write(t)
		case xml.StartElement:
			return "", fmt.Errorf("%w: element %.40s inside the value %.40s", ErrSyntax, t.Name.Local, s.name.Local)
		case xml.EndElement:
			return b.String(), ends(s, t)
		}
	}
}

// start declares the namespaces of an element and sorts its attributes.
func (in *xmlReader) start(t xml.StartElement) (start, error) {
	s := start{name: t.Name}
	if err := in.namespaces(t.Attr); err != nil {
		return s, err
	}
	iri, err := in.iri(t.Name.Space)
	if err != nil {
		return s, err
	}
	if iri == IRIProv {
		s.prov = t.Name.Local
	}
	seen := map[string]bool{}
	for _, a := range t.Attr {
		if a.Name.Space == "xmlns" || a.Name == (xml.Name{Local: "xmlns"}) {
			continue
		}
		if err := in.attr(&s, a, seen); err != nil {
			return s, err
		}
	}
	return s, nil
}

func (in *xmlReader) attr(s *start, a xml.Attr, seen map[string]bool) error {
	iri := ""
	if a.Name.Space != "" { // attributes do not take the default namespace
		var err error
		if iri, err = in.iri(a.Name.Space); err != nil {
			return err
		}
	}
	key := iri + " " + a.Name.Local
	if seen[key] {
		return fmt.Errorf("%w: attribute %.40s twice", ErrSyntax, a.Name.Local)
	}
	seen[key] = true
	var err error
	switch key {
	case IRIProv + " id":
		s.id, err = in.qname(a.Value)
	case IRIProv + " ref":
		s.ref, err = in.qname(a.Value)
	case iriXSI + " type":
		s.typ, err = in.datatype(a.Value)
	case iriXML + " lang":
		s.lang = a.Value
	case iriXSI + " schemaLocation":
	default:
		err = fmt.Errorf("%w: attribute %.40s of element %.40s", ErrSyntax, a.Name.Local, s.name.Local)
	}
	return err
}

// namespaces declares the prefixes that an element binds. The last one that the root binds to the namespace
// of xsi is the document's own, no one of the graph.
func (in *xmlReader) namespaces(attrs []xml.Attr) error {
	own := "xsi"
	for _, a := range attrs {
		if a.Name.Space == "xmlns" && a.Value == iriXSI {
			own = a.Name.Local
		}
	}
	for _, a := range attrs {
		prefix := a.Name.Local
		switch {
		case a.Name == xml.Name{Local: "xmlns"}:
			prefix = ""
		case a.Name.Space != "xmlns":
			continue
		}
		if known, bound := in.prefixes[prefix]; bound && known != a.Value {
			return fmt.Errorf("%w: prefix %.40q is bound twice", ErrName, prefix)
		}
		if len(in.prefixes) > in.limits.Names+1 {
			return fmt.Errorf("%w: more than %d namespaces", ErrTooLarge, in.limits.Names)
		}
		in.prefixes[prefix] = a.Value
		if prefix == "" || prefix == "xml" || prefix == own && a.Value == iriXSI || prefix != "prov" && a.Value == IRIProv {
			continue
		}
		iri := a.Value
		if prefix == "xsd" && iri == iriXSDinXML {
			iri = IRIXSD
		}
		if err := in.graph.declare(Namespace{prefix, iri}); err != nil {
			return err
		}
	}
	return nil
}

func (in *xmlReader) iri(prefix string) (string, error) {
	iri, ok := in.prefixes[prefix]
	if !ok {
		return "", fmt.Errorf("%w: prefix %.40q is not declared", ErrName, prefix)
	}
	return iri, nil
}

// qname reads a qualified name in a value.
func (in *xmlReader) qname(text string) (QName, error) {
	q, err := ParseQName(strings.Trim(text, " \t\r\n"))
	if err != nil {
		return QName{}, err
	}
	return in.resolve(q)
}

// resolve gives a name that the document declares the prefix by which this package knows the namespace of PROV.
func (in *xmlReader) resolve(q QName) (QName, error) {
	iri, err := in.iri(q.Prefix)
	if err != nil {
		return QName{}, err
	}
	if iri == IRIProv {
		q.Prefix = "prov"
	}
	return q, nil
}

// datatype reads the name of a datatype. Only there is the namespace of XML Schema the one of all other formats.
func (in *xmlReader) datatype(text string) (QName, error) {
	q, err := in.qname(text)
	if err == nil && in.prefixes[q.Prefix] == iriXSDinXML {
		q.Prefix = "xsd"
	}
	return q, err
}

func (in *xmlReader) bundle(s start) error {
	if s.id.IsZero() {
		return fmt.Errorf("%w: prov:bundleContent without prov:id", ErrSyntax)
	}
	if len(in.graph.bundles) >= in.limits.Names {
		return fmt.Errorf("%w: more than %d bundles", ErrTooLarge, in.limits.Names)
	}
	b, err := in.graph.Bundle(s.id)
	if err != nil {
		return err
	}
	return in.children(s, func(s start) error { return in.record(b, s) })
}

// record reads the children of a record and adds it to g.
func (in *xmlReader) record(g *Graph, s start) error {
	r := Record{Kind: kindNames[s.prov], ID: s.id}
	if sub, ok := xmlSubtypes[s.prov]; ok {
		r.Kind = sub.kind
		r.Attrs = append(r.Attrs, Attr{nameType, Name(provTerm(sub.typ))})
	}
	if r.Kind == 0 || !s.ref.IsZero() || s.lang != "" {
		return fmt.Errorf("%w: element %.40s where a record should be", ErrSyntax, s.name.Local)
	}
	if !s.typ.IsZero() {
		r.Attrs = append(r.Attrs, Attr{nameType, Name(s.typ)})
	}
	r.Refs = make([]QName, len(shapes[r.Kind].refs))
	var members []QName // of a hadMember with several
	err := in.children(s, func(child start) error {
		if r.Kind == Membership && child.prov == "entity" && !r.Ref(1).IsZero() {
			members = append(members, child.ref)
			return in.formal(child, &QName{})
		}
		return in.child(&r, child)
	})
	if err != nil {
		return err
	}
	for {
		if in.records++; in.records > in.limits.Records {
			return fmt.Errorf("%w: more than %d records", ErrTooLarge, in.limits.Records)
		}
		if err := g.Add(r); err != nil || len(members) == 0 {
			return err
		}
		r.Refs[1], members = members[0], members[1:]
	}
}

// child reads a formal reference, a time or an attribute of a record.
func (in *xmlReader) child(r *Record, c start) error {
	s := &shapes[r.Kind]
	if c.prov != "" {
		for i, f := range s.refs {
			if f.name == c.prov {
				return in.formal(c, &r.Refs[i])
			}
		}
		for i, name := range s.times {
			if name == c.prov {
				return in.time(r, i, c)
			}
		}
	}
	if !c.id.IsZero() || !c.ref.IsZero() {
		return fmt.Errorf("%w: %s has no reference %.40s", ErrSyntax, s.name, c.name.Local)
	}
	if len(r.Attrs) >= in.limits.Attributes {
		return fmt.Errorf("%w: more than %d attributes", ErrTooLarge, in.limits.Attributes)
	}
	name, err := in.elementName(c)
	if err != nil {
		return err
	}
	text, err := in.text(c)
	if err != nil {
		return err
	}
	v, err := in.value(c, text)
	if err != nil {
		return fmt.Errorf("attribute %s: %w", name, err)
	}
	r.Attrs = append(r.Attrs, Attr{name, v})
	return nil
}

// elementName gives the name of the attribute that an element stands for.
func (in *xmlReader) elementName(c start) (QName, error) {
	if c.prov != "" {
		return provTerm(c.prov), nil
	}
	if c.name.Space == "" {
		return QName{}, fmt.Errorf("%w: element %.40s without a prefix", ErrSyntax, c.name.Local)
	}
	return in.resolve(QName{c.name.Space, c.name.Local})
}

// formal reads a formal reference into an empty place.
func (in *xmlReader) formal(c start, into *QName) error {
	if c.ref.IsZero() || !c.id.IsZero() || !c.typ.IsZero() || c.lang != "" {
		return fmt.Errorf("%w: prov:%.40s is not a prov:ref alone", ErrSyntax, c.prov)
	}
	if !into.IsZero() {
		return fmt.Errorf("%w: prov:%s twice", ErrSyntax, c.prov)
	}
	*into = c.ref
	return in.children(c, func(start) error {
		return fmt.Errorf("%w: prov:%s has content", ErrSyntax, c.prov)
	})
}

func (in *xmlReader) time(r *Record, i int, c start) error {
	text, err := in.text(c)
	if err != nil {
		return err
	}
	t, err := parseTime(strings.Trim(text, " \t\r\n"))
	if err != nil {
		return err
	}
	into := []*time.Time{&r.Time, &r.End}[i]
	if !into.IsZero() {
		return fmt.Errorf("%w: prov:%s twice", ErrSyntax, c.prov)
	}
	*into = t
	return nil
}

// value makes the value that the text of an element is.
func (in *xmlReader) value(c start, text string) (Value, error) {
	if c.typ == typeXSDQName {
		q, err := in.qname(text)
		if err != nil || c.lang != "" {
			return Value{}, fmt.Errorf("%w: %.80q is not a qualified name", ErrSyntax, text)
		}
		return Name(q), nil
	}
	plain, datatype := unescapeXML(text)
	switch {
	case c.lang != "" && datatype.IsZero() && (c.typ.IsZero() || c.typ == typeLangString):
		return LangString(plain, c.lang), nil
	case c.lang != "":
		return Value{}, fmt.Errorf("%w: a language with datatype %s", ErrSyntax, c.typ)
	case !c.typ.IsZero() && !datatype.IsZero():
		return Value{}, fmt.Errorf("%w: datatypes %s and %s", ErrSyntax, c.typ, datatype)
	case !c.typ.IsZero():
		datatype = c.typ
	case datatype.IsZero():
		return String(plain), nil
	}
	if datatype == typeQualifiedName || datatype == typeLangString {
		return Value{}, fmt.Errorf("%w: a value of datatype %s", ErrSyntax, datatype)
	}
	return Typed(plain, datatype), nil
}
