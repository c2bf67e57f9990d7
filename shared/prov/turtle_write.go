package prov

import (
	"bufio"
	"fmt"
	"io"
	"time"
	"unicode/utf8"
)

// Terms of vocabularies whose prefix a document may have given to something else.
const (
	iriRDFS    = "http://www.w3.org/2000/01/rdf-schema#"
	iriContent = "http://www.w3.org/2011/content#"
	iriTerms   = "http://purl.org/dc/terms/"
)

// WriteTurtle writes the graph in the terms of PROV-O as RDF 1.1 Turtle, in UTF-8, record by record.
//
// Every relation that PROV-O can qualify is written both ways, as the direct property and as a node of its own, which
// has id, time and attributes: so as many nodes of the class prov:Usage are in the document as usages in the graph. A
// prov:type that is a qualified name becomes a class; any other stays under the name prov:type. A prov:role is an
// object in PROV-O: a text becomes the label of a blank prov:Role. A location that is an IRI becomes that resource.
//
// Turtle has no named graphs. What a bundle says must not be mixed with what the document says, and must not be lost
// either: so a bundle is a prov:Bundle whose records are, as a Turtle document of their own, its text (cnt:chars of the
// W3C note Representing Content in RDF 1.0).
func WriteTurtle(w io.Writer, g *Graph) error {
	out := bufio.NewWriterSize(w, 1<<16)
	newTurtleWriter(out, g).document(g)
	if err := out.Flush(); err != nil {
		return fmt.Errorf("writing Turtle: %w", err)
	}
	return nil
}

// turtleWriter writes statements. The errors of its buffer stay until Flush.
type turtleWriter struct {
	out     *bufio.Writer
	scratch []byte
	label   string // the property rdfs:label
	rdfs    bool   // the prefix rdfs is ours
}

func newTurtleWriter(out *bufio.Writer, g *Graph) *turtleWriter {
	t := &turtleWriter{out: out, label: "rdfs:label"}
	switch g.iri("rdfs") {
	case "":
		t.rdfs = true
	case iriRDFS:
	default:
		t.label = "<" + iriRDFS + "label>"
	}
	return t
}

func (t *turtleWriter) document(g *Graph) {
	for _, ns := range g.Namespaces() {
		fmt.Fprintf(t.out, "@prefix %s: <%s> .\n", ns.Prefix, ns.IRI)
	}
	if t.rdfs {
		fmt.Fprintf(t.out, "@prefix rdfs: <%s> .\n", iriRDFS)
	}
	for r := range g.All() {
		t.out.WriteByte('\n')
		switch {
		case r.Kind.IsElement():
			t.name(r.ID)
			t.node(r)
		case shapes[r.Kind].bare:
			t.name(r.Ref(0))
			t.direct(r)
		default:
			t.relation(r)
		}
		t.out.WriteString(" .\n")
	}
	for _, b := range g.bundles {
		t.bundle(b)
	}
}

// relation writes a relation both ways.
func (t *turtleWriter) relation(r *Record) {
	t.name(r.Ref(0))
	if !r.Ref(1).IsZero() {
		t.direct(r)
		t.out.WriteString(" ;\n   ")
	}
	t.out.WriteString(" prov:qualified")
	t.out.WriteString(rdfTerms[r.Kind].class)
	t.out.WriteByte(' ')
	if r.ID.IsZero() {
		t.out.WriteByte('[')
		t.node(r)
		t.out.WriteString(" ]")
		return
	}
	t.name(r.ID)
	t.out.WriteString(" .\n")
	t.name(r.ID)
	t.node(r)
}

// direct writes the unqualified property of a relation and its object.
func (t *turtleWriter) direct(r *Record) {
	t.out.WriteString(" prov:")
	t.out.WriteString(shapes[r.Kind].name)
	t.out.WriteByte(' ')
	t.name(r.Ref(1))
}

// node writes class, formal attributes and attributes of the node that stands for a record.
func (t *turtleWriter) node(r *Record) {
	terms := &rdfTerms[r.Kind]
	t.out.WriteString(" a prov:")
	t.out.WriteString(terms.class)
	for i, property := range terms.refs {
		if q := r.Ref(i + 1); !q.IsZero() {
			t.property(provTerm(property))
			t.name(q)
		}
	}
	for i, property := range terms.times {
		if at := r.times()[i]; !at.IsZero() {
			t.property(provTerm(property))
			t.scratch = at.AppendFormat(append(t.scratch[:0], '"'), time.RFC3339Nano)
			t.out.Write(t.scratch)
			t.out.WriteString(`"^^xsd:dateTime`)
		}
	}
	for _, a := range placedAttrs(r) {
		t.attribute(a)
	}
}

// next goes on with another property of the same subject.
func (t *turtleWriter) next() { t.out.WriteString(" ;\n    ") }

// property begins the next property of the same subject.
func (t *turtleWriter) property(q QName) {
	t.next()
	t.name(q)
	t.out.WriteByte(' ')
}

func (t *turtleWriter) attribute(a Attr) {
	isName := a.Value.typ == typeQualifiedName
	switch {
	case a.Name == nameType && isName:
		t.next()
		t.out.WriteString("a ")
	case a.Name == nameLabel:
		t.next()
		t.out.WriteString(t.label)
		t.out.WriteByte(' ')
	case a.Name == nameLocation:
		t.property(provTerm("atLocation"))
		if a.Value.typ == xsdTerm("anyURI") && validIRI(a.Value.text) {
			t.iri(a.Value.text)
			return
		}
	case a.Name == nameRole:
		t.property(provTerm("hadRole"))
		if !isName {
			t.out.WriteString("[ a prov:Role ; ")
			t.out.WriteString(t.label)
			t.out.WriteByte(' ')
			t.value(a.Value)
			t.out.WriteString(" ]")
			return
		}
	default:
		t.property(a.Name)
	}
	t.value(a.Value)
}

// name writes a qualified name; those of the model need no escapes.
func (t *turtleWriter) name(q QName) {
	t.out.WriteString(q.Prefix)
	t.out.WriteByte(':')
	t.out.WriteString(q.Local)
}

func (t *turtleWriter) iri(s string) {
	t.out.WriteByte('<')
	t.out.WriteString(s)
	t.out.WriteByte('>')
}

func (t *turtleWriter) value(v Value) {
	if v.typ == typeQualifiedName {
		t.out.WriteString(v.text)
		return
	}
	t.scratch = appendTurtle(t.scratch[:0], v.text)
	t.out.Write(t.scratch)
	switch {
	case v.lang != "":
		t.out.WriteByte('@')
		t.out.WriteString(v.lang)
	case v.typ != typeString:
		t.out.WriteString("^^")
		t.name(v.typ)
	}
}

// bundle writes a bundle with its records as text.
func (t *turtleWriter) bundle(b bundle) {
	t.out.WriteByte('\n')
	t.name(b.id)
	fmt.Fprintf(t.out, " a prov:Entity, prov:Bundle, <%sContentAsText> ;\n    <%sformat> \"text/turtle\" ;\n    <%schars> \"", iriContent, iriTerms, iriContent)
	out := bufio.NewWriter(&turtleText{t.out})
	newTurtleWriter(out, b.graph).document(b.graph)
	out.Flush() // its error stays in t.out
	t.out.WriteString("\" .\n")
}

// turtleText writes a Turtle document into a string of another.
type turtleText struct{ out *bufio.Writer }

func (s *turtleText) Write(p []byte) (int, error) {
	for _, c := range p {
		switch c {
		case '\n':
			s.out.WriteString(`\n`)
		case '"', '\\':
			s.out.WriteByte('\\')
			s.out.WriteByte(c)
		default:
			s.out.WriteByte(c)
		}
	}
	return len(p), nil
}

// appendTurtle appends a STRING_LITERAL_QUOTE. Control characters and the line separators of Unicode are escaped.
func appendTurtle(b []byte, s string) []byte {
	const hex = "0123456789ABCDEF"
	b = append(b, '"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b = append(b, '\\', byte(r))
		case r == '\n':
			b = append(b, '\\', 'n')
		case r == '\r':
			b = append(b, '\\', 'r')
		case r == '\t':
			b = append(b, '\\', 't')
		case r < ' ' || r >= 0x7f && r < 0xa0 || r == 0x2028 || r == 0x2029:
			b = append(b, '\\', 'u', hex[r>>12&15], hex[r>>8&15], hex[r>>4&15], hex[r&15])
		default:
			b = utf8.AppendRune(b, r)
		}
	}
	return append(b, '"')
}
