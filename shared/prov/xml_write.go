package prov

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
	"time"

	"consort/shared/xmltext"
)

const (
	iriXSDinXML = "http://www.w3.org/2001/XMLSchema" // without '#', unlike everywhere else in PROV
	iriXSI      = "http://www.w3.org/2001/XMLSchema-instance"
	iriXML      = "http://www.w3.org/XML/1998/namespace"
	iriXMLNS    = "http://www.w3.org/2000/xmlns/"
)

// typeXSDQName marks, in PROV-XML only, the values that are prov:QUALIFIED_NAME elsewhere.
var typeXSDQName = xsdTerm("QName")

// WriteXML writes the graph as PROV-XML (W3C note of 2013-04-30), in UTF-8, record by record. The document is
// valid against the schema of the note whatever the graph holds: texts that XML cannot hold, and values that
// are not of a datatype of XML Schema, are escaped within the text (see xml_escape.go), and ReadXML brings
// them back.
func WriteXML(w io.Writer, g *Graph) error {
	x := &xmlWriter{out: bufio.NewWriterSize(w, 1<<16)}
	x.out.WriteString(xmltext.Header + "<prov:document")
	for _, ns := range g.Namespaces() {
		iri := ns.IRI
		if ns.Prefix == "xsd" {
			iri = iriXSDinXML
		}
		x.namespace(ns.Prefix, iri)
	}
	x.xsi = freePrefix(g, "xsi")
	x.namespace(x.xsi, iriXSI)
	x.out.WriteString(">\n")
	x.records(g, " ")
	for _, b := range g.bundles {
		x.out.WriteString(" <prov:bundleContent")
		x.nameAttr("prov:id", b.id)
		x.out.WriteString(">\n")
		x.records(b.graph, "  ")
		x.out.WriteString(" </prov:bundleContent>\n")
	}
	x.out.WriteString("</prov:document>\n")
	if err := x.out.Flush(); err != nil {
		return fmt.Errorf("writing PROV-XML: %w", err)
	}
	return nil
}

// freePrefix gives the wanted prefix, or one like it that the graph does not declare.
func freePrefix(g *Graph, wanted string) string {
	prefix := wanted
	for n := 1; g.iri(prefix) != ""; n++ {
		prefix = wanted + strconv.Itoa(n)
	}
	return prefix
}

// xmlWriter writes elements. The errors of its buffer stay until Flush.
type xmlWriter struct {
	out     *bufio.Writer
	scratch []byte
	xsi     string // prefix of the namespace of xsi:type
}

func (x *xmlWriter) namespace(prefix, iri string) {
	x.out.WriteString("\n xmlns:")
	x.out.WriteString(prefix)
	x.out.WriteString(`="`)
	x.scratch = xmltext.AppendAttr(x.scratch[:0], iri)
	x.out.Write(x.scratch)
	x.out.WriteByte('"')
}

func (x *xmlWriter) name(q QName) {
	x.out.WriteString(q.Prefix)
	x.out.WriteByte(':')
	x.out.WriteString(q.Local)
}

// nameAttr writes an attribute whose value is a qualified name.
func (x *xmlWriter) nameAttr(attribute string, q QName) {
	x.out.WriteByte(' ')
	x.out.WriteString(attribute)
	x.out.WriteString(`="`)
	x.name(q)
	x.out.WriteByte('"')
}

func (x *xmlWriter) records(g *Graph, indent string) {
	for r := range g.All() {
		x.out.WriteString(indent)
		x.record(r)
	}
}

// xmlOrder is the order in which the schema wants the attributes of the prov namespace; all others follow.
var xmlOrder = []QName{nameLabel, nameLocation, nameRole, nameType, nameValue}

func (x *xmlWriter) record(r *Record) {
	s := &shapes[r.Kind]
	x.out.WriteString("<prov:")
	x.out.WriteString(s.name)
	if !r.ID.IsZero() {
		x.nameAttr("prov:id", r.ID)
	}
	x.out.WriteByte('>')
	for i := range s.refs {
		if q := r.Ref(i); !q.IsZero() {
			x.out.WriteString("<prov:")
			x.out.WriteString(s.refs[i].name)
			x.nameAttr("prov:ref", q)
			x.out.WriteString("/>")
		}
	}
	for i := range s.times {
		if t := r.times()[i]; !t.IsZero() {
			x.time(s.times[i], t)
		}
	}
	attrs := placedAttrs(r)
	for _, name := range xmlOrder {
		for i := range attrs {
			if attrs[i].Name == name {
				x.attribute(&attrs[i])
			}
		}
	}
	for i := range attrs {
		if attrs[i].Name.Prefix != "prov" {
			x.attribute(&attrs[i])
		}
	}
	x.out.WriteString("</prov:")
	x.out.WriteString(s.name)
	x.out.WriteString(">\n")
}

func (x *xmlWriter) time(name string, t time.Time) {
	x.out.WriteString("<prov:")
	x.out.WriteString(name)
	x.out.WriteByte('>')
	x.scratch = t.AppendFormat(x.scratch[:0], time.RFC3339Nano)
	x.out.Write(x.scratch)
	x.out.WriteString("</prov:")
	x.out.WriteString(name)
	x.out.WriteByte('>')
}

func (x *xmlWriter) attribute(a *Attr) {
	x.out.WriteByte('<')
	x.name(a.Name)
	v := &a.Value
	mark := QName{} // a datatype to be told within the text
	switch {
	case v.lang != "":
		// Elements of the simple types of the schema take xml:lang by the type of the note only.
		if a.Name.Prefix == "prov" && a.Name != nameLabel {
			x.nameAttr(x.xsi+":type", typeLangString)
		}
		x.out.WriteString(` xml:lang="`)
		x.out.WriteString(v.lang)
		x.out.WriteByte('"')
	case v.typ == typeString:
	case v.typ == typeQualifiedName:
		x.nameAttr(x.xsi+":type", typeXSDQName)
	case xsdValid(v.text, v.typ) && !needsXMLEscape(v.text):
		x.nameAttr(x.xsi+":type", v.typ)
	default:
		mark = v.typ
	}
	x.out.WriteByte('>')
	x.text(v.text, v.typ != typeQualifiedName)
	if !mark.IsZero() {
		x.out.WriteString(datatypeMark)
		x.name(mark)
	}
	x.out.WriteString("</")
	x.name(a.Name)
	x.out.WriteByte('>')
}

func (x *xmlWriter) text(s string, escape bool) {
	if escape {
		s = xmlSafe(s)
	}
	x.scratch = xmltext.AppendText(x.scratch[:0], s)
	x.out.Write(x.scratch)
}
