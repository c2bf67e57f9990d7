package prov

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
	"time"
)

// WriteIVOAJSON writes the graph in the JSON of MODEL=IVOA, which the voprov library established: PROV-JSON
// with the classes of the IVOA Provenance Data Model 1.0 as further kinds of records. No W3C tool accepts it.
// Attributes that the model does not know stand under names of our own vocabulary; several values of an
// attribute that has one only are written as the text of a JSON array.
func WriteIVOAJSON(w io.Writer, g *Graph) error {
	j := &ivoaWriter{jsonWriter{out: bufio.NewWriterSize(w, 1<<16)}}
	j.open()
	j.line("prefix")
	j.open()
	for _, ns := range g.Namespaces() {
		j.line(ns.Prefix)
		j.text(ns.IRI)
	}
	if fed := fedPrefix(g); g.iri(fed) == "" {
		j.line(fed)
		j.text(IRIFed)
	}
	j.close()
	j.graphs(g, func(g *Graph) { j.sections(newView(g, IVOA)) })
	if err := j.out.Flush(); err != nil {
		return fmt.Errorf("writing the JSON of the IVOA model: %w", err)
	}
	return nil
}

type ivoaWriter struct{ jsonWriter }

func (j *ivoaWriter) sections(v *view) {
	for i := range v.sections {
		s := &v.sections[i]
		empty := true
		for r, of := range v.records(s.kind) {
			if of != s {
				continue
			}
			if empty {
				j.line(s.name)
				j.open()
				empty = false
			}
			j.record(v, s, r)
		}
		if !empty {
			j.close()
		}
	}
}

func (j *ivoaWriter) record(v *view, s *section, r *Record) {
	id := r.ID
	if id.IsZero() {
		j.blanks++
		id = QName{"_", "n" + strconv.Itoa(j.blanks)}
	}
	j.newline()
	j.memberName(id)
	j.open()
	for i := range shapes[r.Kind].refs {
		if q := r.Ref(i); !q.IsZero() {
			j.memberName(s.formalKey(i))
			j.name(q)
		}
	}
	for i, name := range shapes[r.Kind].times {
		if t := r.times()[i]; !t.IsZero() {
			j.memberName(provTerm(name))
			j.scratch = append(t.AppendFormat(append(j.scratch[:0], '"'), time.RFC3339Nano), '"')
			j.out.Write(j.scratch)
		}
	}
	fields, rest := v.show(s, r)
	for i, values := range fields {
		f := &s.fields[i]
		switch {
		case len(values) == 0:
		case f.mode == many:
			j.attribute(named(f.key, values...))
		default:
			j.attribute(named(f.key, single(values)))
		}
	}
	j.attributes(rest)
	j.close()
}

// named makes attributes of one name.
func named(name QName, values ...Value) []Attr {
	attrs := make([]Attr, len(values))
	for i, value := range values {
		attrs[i] = Attr{name, value}
	}
	return attrs
}
