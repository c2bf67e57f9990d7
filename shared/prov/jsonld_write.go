package prov

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// ContextJSONLD is the address of the JSON-LD context that the documents of WriteJSONLD name.
const ContextJSONLD = "https://openprovenance.org/prov-jsonld/context.jsonld"

// WriteJSONLD writes the graph as PROV-JSONLD (W3C member submission of 2024-08-25), in UTF-8, record by record.
//
// The schema of the submission lets no other than its own attributes be links: a qualified name that is the value of
// any other attribute is a literal of the type prov:QUALIFIED_NAME. It lets labels be strings only: any other label
// stays under the name prov:label.
func WriteJSONLD(w io.Writer, g *Graph) error {
	j := &jsonldWriter{jsonWriter: jsonWriter{out: bufio.NewWriterSize(w, 1<<16)}, long: map[string]string{}}
	for _, ns := range g.Namespaces() {
		if !compacts(ns) {
			j.long[ns.Prefix] = ns.IRI
		}
	}
	j.open()
	j.context(g)
	j.graph(g)
	j.close()
	j.out.WriteByte('\n')
	if err := j.out.Flush(); err != nil {
		return fmt.Errorf("writing PROV-JSONLD: %w", err)
	}
	return nil
}

// contextTerms are the terms of the context, which win over prefixes of the same name.
var contextTerms = func() map[string]bool {
	terms := map[string]bool{"provext": true, "rdf": true, "rdfs": true, "role": true, "type": true, "label": true, "location": true, "value": true}
	for k := Entity; k <= lastKind; k++ {
		terms[rdfTerms[k].class] = true
		for _, r := range shapes[k].refs {
			terms[r.name] = true
		}
		for _, t := range shapes[k].times {
			terms[t] = true
		}
	}
	return terms
}()

// compacts tells whether names of a namespace may be written with its prefix: where they may be keys by the schema, and
// JSON-LD 1.1 (section 4.1.5) expands them by our context.
func compacts(ns Namespace) bool {
	return !contextTerms[ns.Prefix] && !strings.Contains(ns.Prefix, "-") && strings.ContainsAny(ns.IRI[len(ns.IRI)-1:], ":/?#[]@")
}

// jsonldWriter writes statements, one on a line.
type jsonldWriter struct {
	jsonWriter
	long map[string]string // namespaces whose names are written in full
}

func (j *jsonldWriter) context(g *Graph) {
	j.key("@context")
	j.out.WriteByte('[')
	j.open()
	for _, ns := range g.Namespaces() {
		j.key(ns.Prefix)
		j.text(ns.IRI)
	}
	j.close()
	j.out.WriteByte(',')
	j.text(ContextJSONLD)
	j.out.WriteByte(']')
}

func (j *jsonldWriter) graph(g *Graph) {
	j.key("@graph")
	j.out.WriteByte('[')
	j.comma = false
	for r := range g.All() {
		j.newline()
		j.record(r)
	}
	for _, b := range g.bundles {
		j.newline()
		j.open()
		j.key("@type")
		j.text("prov:Bundle")
		j.id("@id", b.id)
		j.context(g)
		j.graph(b.graph)
		j.close()
	}
	j.out.WriteString("\n]")
	j.comma = true
}

// key starts a member of an object.
func (j *jsonldWriter) key(name string) {
	if j.comma {
		j.out.WriteByte(',')
	}
	j.text(name)
	j.out.WriteByte(':')
	j.comma = true
}

// id writes a member whose value is the name of a node.
func (j *jsonldWriter) id(key string, q QName) {
	j.key(key)
	j.link(q)
}

// link writes a qualified name, in full where its prefix does not serve.
func (j *jsonldWriter) link(q QName) {
	if iri, ok := j.long[q.Prefix]; ok {
		j.text(iri + q.Local)
		return
	}
	j.name(q)
}

func (j *jsonldWriter) record(r *Record) {
	j.open()
	j.key("@type")
	j.text(rdfTerms[r.Kind].class)
	if !r.ID.IsZero() {
		j.id("@id", r.ID)
	}
	s := &shapes[r.Kind]
	for i := range s.refs {
		if q := r.Ref(i); !q.IsZero() {
			j.id(s.refs[i].name, q)
		}
	}
	for i := range s.times {
		if t := r.times()[i]; !t.IsZero() {
			j.key(s.times[i])
			j.scratch = append(t.AppendFormat(append(j.scratch[:0], '"'), time.RFC3339Nano), '"')
			j.out.Write(j.scratch)
		}
	}
	attrs := placedAttrs(r)
	for len(attrs) > 0 {
		n := 1
		for n < len(attrs) && attrs[n].Name == attrs[0].Name {
			n++
		}
		j.attribute(attrs[:n])
		attrs = attrs[n:]
	}
	j.close()
}

// attribute writes all attributes of one name.
func (j *jsonldWriter) attribute(same []Attr) {
	switch name := same[0].Name; name {
	case nameType, nameRole, nameLocation, nameValue:
		j.values(name, name.Local, same)
	case nameLabel:
		if !slices.ContainsFunc(same, notText) {
			j.values(name, name.Local, same)
			return
		}
		j.values(name, name.Local, slices.DeleteFunc(slices.Clone(same), notText))
		j.values(name, "", slices.DeleteFunc(slices.Clone(same), isText))
	default:
		j.values(name, "", same)
	}
}

// notText tells whether the schema forbids an attribute as a label.
func notText(a Attr) bool { return a.Value.typ != typeString && a.Value.typ != typeLangString }

func isText(a Attr) bool { return !notText(a) }

// values writes attributes as an array under a term of the context, or under their name.
func (j *jsonldWriter) values(name QName, term string, same []Attr) {
	if len(same) == 0 {
		return
	}
	if term != "" {
		j.key(term)
	} else {
		if j.comma {
			j.out.WriteByte(',')
		}
		j.link(name)
		j.out.WriteByte(':')
		j.comma = true
	}
	for i, a := range same {
		if i == 0 {
			j.out.WriteByte('[')
		} else {
			j.out.WriteByte(',')
		}
		j.value(a, term)
	}
	j.out.WriteByte(']')
}

// value writes a link where the context takes the strings of a term for such, else a value object.
func (j *jsonldWriter) value(a Attr, term string) {
	links := term != "" && term != nameValue.Local && term != nameLabel.Local
	if links && a.Value.typ == typeQualifiedName {
		prefix, local, _ := strings.Cut(a.Value.text, ":")
		j.link(QName{prefix, local})
		return
	}
	if a.Name == nameLocation && a.Value.typ == xsdTerm("anyURI") && validIRI(a.Value.text) {
		// With "//" after the scheme no prefix is looked for.
		if _, rest, _ := strings.Cut(a.Value.text, ":"); strings.HasPrefix(rest, "//") {
			j.text(a.Value.text)
			return
		}
	}
	j.literal(a.Value)
}

// literal writes a value object.
func (j *jsonldWriter) literal(v Value) {
	j.out.WriteString(`{"@value":`)
	j.text(v.text)
	switch {
	case v.lang != "":
		j.out.WriteString(`,"@language":`)
		j.text(v.lang)
	case v.typ != typeString:
		j.out.WriteString(`,"@type":`)
		j.link(v.typ)
	}
	j.out.WriteByte('}')
}
