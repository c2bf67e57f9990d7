package prov

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
	"time"
	"unicode/utf8"
)

// WriteJSON writes the graph as PROV-JSON (W3C member submission of 2013-04-24), in UTF-8, record by record.
// An End is written under the key wasEndedBy, as the text of the submission and its tools have it; the
// submission's schema misspells that key.
func WriteJSON(w io.Writer, g *Graph) error {
	j := &jsonWriter{out: bufio.NewWriterSize(w, 1<<16)}
	j.open()
	j.line("prefix")
	j.open()
	for _, ns := range g.Namespaces() {
		j.line(ns.Prefix)
		j.text(ns.IRI)
	}
	j.close()
	j.graphs(g, j.records)
	if err := j.out.Flush(); err != nil {
		return fmt.Errorf("writing PROV-JSON: %w", err)
	}
	return nil
}

// jsonWriter writes JSON with one line for each record. The errors of its buffer stay until Flush.
type jsonWriter struct {
	out     *bufio.Writer
	scratch []byte
	comma   bool // a member or element went before, on this level
	blanks  int  // relations without id so far: their keys are _:n1, _:n2, …
}

// graphs writes the records of a document and of its bundles, and ends it.
func (j *jsonWriter) graphs(g *Graph, records func(*Graph)) {
	records(g)
	if len(g.bundles) > 0 {
		j.line("bundle")
		j.open()
		for _, b := range g.bundles {
			j.line(b.id.String())
			j.open()
			records(b.graph)
			j.close()
		}
		j.close()
	}
	j.close()
	j.out.WriteByte('\n')
}

func (j *jsonWriter) open() {
	j.out.WriteByte('{')
	j.comma = false
}

func (j *jsonWriter) close() {
	j.out.WriteByte('}')
	j.comma = true
}

// newline lets the next member of an object begin on a line of its own.
func (j *jsonWriter) newline() {
	if j.comma {
		j.out.WriteByte(',')
		j.comma = false
	}
	j.out.WriteByte('\n')
}

// line starts a member of an object on a line of its own.
func (j *jsonWriter) line(key string) {
	j.newline()
	j.text(key)
	j.out.WriteByte(':')
	j.comma = true
}

// memberName starts a member of an object whose key is a qualified name.
func (j *jsonWriter) memberName(key QName) {
	if j.comma {
		j.out.WriteByte(',')
	}
	j.name(key)
	j.out.WriteByte(':')
	j.comma = true
}

// name writes a qualified name, which needs no escapes.
func (j *jsonWriter) name(q QName) {
	j.out.WriteByte('"')
	j.out.WriteString(q.Prefix)
	j.out.WriteByte(':')
	j.out.WriteString(q.Local)
	j.out.WriteByte('"')
}

func (j *jsonWriter) text(s string) {
	j.scratch = appendJSON(j.scratch[:0], s)
	j.out.Write(j.scratch)
}

func (j *jsonWriter) records(g *Graph) {
	for k := Entity; k <= lastKind; k++ {
		if len(g.records[k]) == 0 {
			continue
		}
		j.line(k.String())
		j.open()
		for _, r := range g.records[k] {
			j.record(r)
		}
		j.close()
	}
}

func (j *jsonWriter) record(r *Record) {
	id := r.ID
	if id.IsZero() {
		j.blanks++
		id = QName{"_", "n" + strconv.Itoa(j.blanks)}
	}
	j.newline()
	j.memberName(id)
	j.open()
	s := &shapes[r.Kind]
	for i := range s.refs {
		if q := r.Ref(i); !q.IsZero() {
			j.memberName(provTerm(s.refs[i].name))
			j.name(q)
		}
	}
	for i := range s.times {
		if t := r.times()[i]; !t.IsZero() {
			j.memberName(provTerm(s.times[i]))
			j.scratch = append(t.AppendFormat(append(j.scratch[:0], '"'), time.RFC3339Nano), '"')
			j.out.Write(j.scratch)
		}
	}
	j.attributes(placedAttrs(r))
	j.close()
}

// attributes writes attributes of which those of equal names stand together.
func (j *jsonWriter) attributes(attrs []Attr) {
	for len(attrs) > 0 {
		n := 1
		for n < len(attrs) && attrs[n].Name == attrs[0].Name {
			n++
		}
		j.attribute(attrs[:n])
		attrs = attrs[n:]
	}
}

// attribute writes all attributes of one name.
func (j *jsonWriter) attribute(same []Attr) {
	j.memberName(same[0].Name)
	if len(same) == 1 {
		j.value(same[0].Value)
		return
	}
	for i, a := range same {
		if i == 0 {
			j.out.WriteByte('[')
		} else {
			j.out.WriteByte(',')
		}
		j.value(a.Value)
	}
	j.out.WriteByte(']')
}

func (j *jsonWriter) value(v Value) {
	if v.typ == typeString {
		j.text(v.text)
		return
	}
	j.out.WriteString(`{"$":`)
	j.text(v.text)
	if v.lang != "" {
		j.out.WriteString(`,"lang":`)
		j.text(v.lang)
	} else {
		j.out.WriteString(`,"type":`)
		j.name(v.typ)
	}
	j.out.WriteByte('}')
}

// appendJSON appends a JSON string. Control characters, U+2028 and U+2029 are escaped; all else stands as
// it is.
func appendJSON(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b = append(b, '\\', byte(r))
		case r == '\n':
			b = append(b, '\\', 'n')
		case r < ' ' || r >= 0x7f && r < 0xa0 || r == 0x2028 || r == 0x2029:
			b = append(b, '\\', 'u', hex[r>>12&15], hex[r>>8&15], hex[r>>4&15], hex[r&15])
		default:
			b = utf8.AppendRune(b, r)
		}
	}
	return append(b, '"')
}
