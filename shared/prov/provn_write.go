package prov

import (
	"bufio"
	"fmt"
	"io"
	"time"
)

// WriteN writes the graph as PROV-N (W3C recommendation of 2013-04-30), in UTF-8, record by record. The
// notation has no escape for most control characters: but for tab, newline, carriage return, backspace and
// form feed they stand as they are.
func WriteN(w io.Writer, g *Graph) error {
	n := &nWriter{out: bufio.NewWriterSize(w, 1<<16)}
	n.out.WriteString("document\n")
	for _, ns := range g.Namespaces() {
		if ns.Prefix == "prov" || ns.Prefix == "xsd" {
			continue // declared by the notation itself (section 3.7.3)
		}
		fmt.Fprintf(n.out, "  prefix %s <%s>\n", ns.Prefix, ns.IRI)
	}
	n.records(g, "  ")
	for _, b := range g.bundles {
		fmt.Fprintf(n.out, "  bundle %s\n", b.id)
		n.records(b.graph, "    ")
		n.out.WriteString("  endBundle\n")
	}
	n.out.WriteString("endDocument\n")
	if err := n.out.Flush(); err != nil {
		return fmt.Errorf("writing PROV-N: %w", err)
	}
	return nil
}

// nWriter writes expressions. The errors of its buffer stay until Flush.
type nWriter struct {
	out     *bufio.Writer
	scratch []byte
}

func (n *nWriter) records(g *Graph, indent string) {
	for r := range g.All() {
		n.out.WriteString(indent)
		n.record(r)
		n.out.WriteByte('\n')
	}
}

// record writes one expression: its optional positional arguments all, or none.
func (n *nWriter) record(r *Record) {
	s := &shapes[r.Kind]
	n.out.WriteString(s.name)
	n.out.WriteByte('(')
	comma := ""
	if !r.ID.IsZero() {
		n.name(r.ID)
		if comma = ", "; !r.Kind.IsElement() {
			comma = "; "
		}
	}
	refs, times := len(s.refs), len(s.times)
	if len(r.Refs) <= s.required && r.Time.IsZero() && r.End.IsZero() {
		refs, times = s.required, 0
	}
	for i := range refs {
		n.out.WriteString(comma)
		comma = ", "
		n.name(r.Ref(i))
	}
	for i := range times {
		n.out.WriteString(comma)
		comma = ", "
		if t := r.times()[i]; t.IsZero() {
			n.out.WriteByte('-')
		} else {
			n.scratch = t.AppendFormat(n.scratch[:0], time.RFC3339Nano)
			n.out.Write(n.scratch)
		}
	}
	n.attributes(placedAttrs(r))
	n.out.WriteByte(')')
}

// name writes a qualified name, or the marker for none.
func (n *nWriter) name(q QName) {
	if q.IsZero() {
		n.out.WriteByte('-')
		return
	}
	n.out.WriteString(q.Prefix)
	n.out.WriteByte(':')
	n.out.WriteString(q.Local)
}

func (n *nWriter) attributes(attrs []Attr) {
	if len(attrs) == 0 {
		return
	}
	for i, a := range attrs {
		if i == 0 {
			n.out.WriteString(", [")
		} else {
			n.out.WriteString(", ")
		}
		n.name(a.Name)
		n.out.WriteByte('=')
		n.value(a.Value)
	}
	n.out.WriteByte(']')
}

func (n *nWriter) value(v Value) {
	if v.typ == typeQualifiedName {
		n.out.WriteByte('\'')
		n.out.WriteString(v.text)
		n.out.WriteByte('\'')
		return
	}
	n.scratch = appendN(n.scratch[:0], v.text)
	n.out.Write(n.scratch)
	switch {
	case v.lang != "":
		n.out.WriteByte('@')
		n.out.WriteString(v.lang)
	case v.typ != typeString:
		n.out.WriteString(" %% ")
		n.name(v.typ)
	}
}

// appendN appends a STRING_LITERAL2 with the escapes of ECHAR.
func appendN(b []byte, s string) []byte {
	b = append(b, '"')
	for i := 0; i < len(s); i++ {
		switch c := s[i]; c {
		case '"', '\\':
			b = append(b, '\\', c)
		case '\t':
			b = append(b, '\\', 't')
		case '\b':
			b = append(b, '\\', 'b')
		case '\n':
			b = append(b, '\\', 'n')
		case '\r':
			b = append(b, '\\', 'r')
		case '\f':
			b = append(b, '\\', 'f')
		default:
			b = append(b, c)
		}
	}
	return append(b, '"')
}
