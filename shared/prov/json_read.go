package prov

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Limits bound what a reader takes in. A document beyond them is an ErrTooLarge.
type Limits struct {
	// Bytes of the document.
	Bytes int64
	// Records of the document and all its bundles.
	Records int
	// Attributes of one record.
	Attributes int
	// Names is the number of namespaces, and that of bundles.
	Names int
}

// DefaultLimits suit a document of a stranger: 16 MiB, 100,000 records, 1,000 attributes of each, 100
// namespaces and bundles.
func DefaultLimits() Limits {
	return Limits{Bytes: 16 << 20, Records: 100_000, Attributes: 1000, Names: 100}
}

// ReadJSON reads a PROV-JSON document strictly: unknown record types, keys given twice, undeclared prefixes,
// a default namespace and names that are not NCNames are errors, ErrSyntax or that of Add. Records of one id
// may be in an array, as the submission permits.
func ReadJSON(r io.Reader, limits Limits) (*Graph, error) {
	capped := &cappedReader{r: r, left: limits.Bytes}
	d := json.NewDecoder(capped)
	d.UseNumber()
	in := &jsonReader{dec: d, limits: limits}
	g, err := in.document()
	if err == nil {
		if _, extra := d.Token(); extra != io.EOF {
			err = fmt.Errorf("%w: more after the document", ErrSyntax)
		}
	}
	if err != nil {
		if capped.over {
			err = fmt.Errorf("%w: more than %d bytes", ErrTooLarge, limits.Bytes)
		}
		return nil, fmt.Errorf("reading PROV-JSON near byte %d: %w", d.InputOffset(), err)
	}
	return g, nil
}

// cappedReader ends in an error where more than the permitted bytes come.
type cappedReader struct {
	r    io.Reader
	left int64
	over bool
}

func (c *cappedReader) Read(p []byte) (int, error) {
	if c.left < int64(len(p)) {
		p = p[:c.left+1]
	}
	n, err := c.r.Read(p)
	if c.left -= int64(n); c.left < 0 {
		c.over = true
		return 0, ErrTooLarge
	}
	return n, err
}

type jsonReader struct {
	dec     *json.Decoder
	limits  Limits
	records int
}

// document reads the whole. The sections of a document come in any order, but names can be checked only
// once prefixes are known: so the records wait as raw JSON until the end.
func (in *jsonReader) document() (*Graph, error) {
	sections, err := in.container()
	if err != nil {
		return nil, err
	}
	g, err := New()
	if err != nil {
		return nil, err
	}
	if err := in.fill(g, sections); err != nil {
		return nil, err
	}
	err = members(sections["bundle"], func(key string, d *json.Decoder) error {
		id, err := ParseQName(key)
		if err != nil {
			return err
		}
		if len(g.bundles) >= in.limits.Names {
			return fmt.Errorf("%w: more than %d bundles", ErrTooLarge, in.limits.Names)
		}
		inner := &jsonReader{dec: d, limits: in.limits, records: in.records}
		sections, err := inner.container()
		if err != nil {
			return err
		}
		if sections["bundle"] != nil {
			return fmt.Errorf("%w: bundle inside bundle %s", ErrSyntax, id)
		}
		// The bundle is named by a prefix of the document, and may declare more for itself.
		b, err := g.Bundle(id)
		if err != nil {
			return err
		}
		err = inner.fill(b, sections)
		in.records = inner.records
		return err
	})
	return g, err
}

// container reads an object of sections.
func (in *jsonReader) container() (map[string]json.RawMessage, error) {
	sections := map[string]json.RawMessage{}
	err := object(in.dec, func(key string) error {
		if key != "prefix" && key != "bundle" && sectionKind(key) == 0 {
			return fmt.Errorf("%w: unknown record type %.80q", ErrSyntax, key)
		}
		var raw json.RawMessage
		if err := in.dec.Decode(&raw); err != nil {
			return syntax(err)
		}
		sections[key] = raw
		return nil
	})
	return sections, err
}

// sectionKind finds the kind of a section, also under the misspelt key of the submission's schema.
func sectionKind(key string) Kind {
	if key == "wasEndedby" {
		return End
	}
	return kindNames[key]
}

// fill adds namespaces and records of a container to g.
func (in *jsonReader) fill(g *Graph, sections map[string]json.RawMessage) error {
	err := members(sections["prefix"], func(key string, d *json.Decoder) error {
		iri, err := readString(d)
		if err != nil {
			return err
		}
		if len(g.Namespaces()) >= in.limits.Names {
			return fmt.Errorf("%w: more than %d namespaces", ErrTooLarge, in.limits.Names)
		}
		if key == "default" {
			return fmt.Errorf("%w: a default namespace is not supported, give it a prefix", ErrSyntax)
		}
		return g.declare(Namespace{key, iri})
	})
	if err != nil {
		return err
	}
	if sections["wasEndedBy"] != nil && sections["wasEndedby"] != nil {
		return fmt.Errorf("%w: both wasEndedBy and wasEndedby", ErrSyntax)
	}
	for _, key := range append(shapeNames(), "wasEndedby") {
		err := members(sections[key], func(id string, d *json.Decoder) error {
			return in.instances(g, sectionKind(key), id, d)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func shapeNames() []string {
	var names []string
	for k := Entity; k <= lastKind; k++ {
		names = append(names, k.String())
	}
	return names
}

// instances reads what stands under one id: a record, or an array of records.
func (in *jsonReader) instances(g *Graph, k Kind, key string, d *json.Decoder) error {
	var id QName
	if !strings.HasPrefix(key, "_:") {
		var err error
		if id, err = ParseQName(key); err != nil {
			return err
		}
	}
	t, err := d.Token()
	if err != nil {
		return syntax(err)
	}
	switch t {
	case json.Delim('{'):
		return in.record(g, k, id, d)
	case json.Delim('['):
		for d.More() {
			if t, err := d.Token(); err != nil || t != json.Delim('{') {
				return fmt.Errorf("%w: %s %.80q is not an object", ErrSyntax, k, key)
			}
			if err := in.record(g, k, id, d); err != nil {
				return err
			}
		}
		_, err := d.Token()
		return syntax(err)
	}
	return fmt.Errorf("%w: %s %.80q is neither an object nor an array", ErrSyntax, k, key)
}

// record reads the members of a record, after its opening brace, and adds it to g.
func (in *jsonReader) record(g *Graph, k Kind, id QName, d *json.Decoder) error {
	if in.records++; in.records > in.limits.Records {
		return fmt.Errorf("%w: more than %d records", ErrTooLarge, in.limits.Records)
	}
	s := &shapes[k]
	r := Record{Kind: k, ID: id, Refs: make([]QName, len(s.refs))}
	err := rest(d, func(key string) error {
		for i, f := range s.refs {
			if key == "prov:"+f.name {
				return readRef(d, &r.Refs[i])
			}
		}
		for i, name := range s.times {
			if key == "prov:"+name {
				text, err := readString(d)
				if err != nil {
					return err
				}
				t, err := parseTime(text)
				if i == 0 {
					r.Time = t
				} else {
					r.End = t
				}
				return err
			}
		}
		name, err := ParseQName(key)
		if err != nil {
			return err
		}
		r.Attrs, err = in.attribute(r.Attrs, name, d)
		return err
	})
	if err != nil {
		return err
	}
	return g.Add(r)
}

func readRef(d *json.Decoder, into *QName) error {
	text, err := readString(d)
	if err != nil {
		return err
	}
	*into, err = ParseQName(text)
	return err
}

// attribute reads the value or the values of an attribute.
func (in *jsonReader) attribute(attrs []Attr, name QName, d *json.Decoder) ([]Attr, error) {
	var raw any
	if err := d.Decode(&raw); err != nil {
		return nil, syntax(err)
	}
	values, many := raw.([]any)
	if !many {
		values = []any{raw}
	}
	if len(attrs)+len(values) > in.limits.Attributes {
		return nil, fmt.Errorf("%w: more than %d attributes", ErrTooLarge, in.limits.Attributes)
	}
	for _, x := range values {
		v, err := jsonValue(x)
		if err != nil {
			return nil, fmt.Errorf("attribute %s: %w", name, err)
		}
		attrs = append(attrs, Attr{name, v})
	}
	return attrs, nil
}

// jsonValue makes a value of a JSON string, number, boolean or typed literal.
func jsonValue(x any) (Value, error) {
	switch x := x.(type) {
	case string:
		return String(x), nil
	case bool:
		return Boolean(x), nil
	case json.Number:
		return numberValue(x)
	case map[string]any:
		return typedValue(x)
	}
	return Value{}, fmt.Errorf("%w: a value is a string, number, boolean or typed literal", ErrSyntax)
}

// numberValue types a bare number: int, long or double, whichever first holds it.
func numberValue(n json.Number) (Value, error) {
	if i, err := n.Int64(); err == nil {
		if int64(int32(i)) == i {
			return Int(int32(i)), nil
		}
		return Long(i), nil
	}
	f, err := n.Float64()
	if err != nil {
		return Value{}, fmt.Errorf("%w: number %.40s", ErrSyntax, n)
	}
	return Double(f), nil
}

// typedValue reads {"$": text, "type": datatype} or {"$": text, "lang": tag}. Some writers put a bare
// number or boolean under "$".
func typedValue(m map[string]any) (Value, error) {
	var text, lang, datatype string
	for key, x := range m {
		s, isString := x.(string)
		switch {
		case key == "$" && isString:
			text = s
		case key == "$":
			v, err := jsonValue(x)
			if _, object := x.(map[string]any); err != nil || object {
				return Value{}, fmt.Errorf(`%w: "$" of a typed literal is not a simple value`, ErrSyntax)
			}
			text = v.text
		case key == "lang" && isString && s != "":
			lang = s
		case key == "type" && isString && s != "":
			datatype = s
		default:
			return Value{}, fmt.Errorf("%w: typed literal with bad member %.40q", ErrSyntax, key)
		}
	}
	if _, ok := m["$"]; !ok {
		return Value{}, fmt.Errorf(`%w: typed literal without "$"`, ErrSyntax)
	}
	if datatype == "" {
		if lang != "" {
			return LangString(text, lang), nil
		}
		return String(text), nil
	}
	typ, err := ParseQName(datatype)
	switch {
	case err != nil:
		return Value{}, err
	case lang != "" && typ != typeLangString:
		return Value{}, fmt.Errorf("%w: language with datatype %s", ErrSyntax, typ)
	case lang != "":
		return LangString(text, lang), nil
	}
	return Typed(text, typ), nil
}

// members goes through the members of a raw object; none, if there is no such section.
func members(raw json.RawMessage, visit func(key string, d *json.Decoder) error) error {
	if raw == nil {
		return nil
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	return object(d, func(key string) error { return visit(key, d) })
}

// object reads an object and calls visit for each key, which must read the value.
func object(d *json.Decoder, visit func(key string) error) error {
	if t, err := d.Token(); err != nil {
		return syntax(err)
	} else if t != json.Delim('{') {
		return fmt.Errorf("%w: an object is expected", ErrSyntax)
	}
	return rest(d, visit)
}

// rest is object after the opening brace.
func rest(d *json.Decoder, visit func(key string) error) error {
	seen := map[string]bool{}
	for d.More() {
		key, err := readString(d)
		if err != nil {
			return err
		}
		if seen[key] {
			return fmt.Errorf("%w: key %.80q twice", ErrSyntax, key)
		}
		seen[key] = true
		if err := visit(key); err != nil {
			return err
		}
	}
	_, err := d.Token()
	return syntax(err)
}

func readString(d *json.Decoder) (string, error) {
	t, err := d.Token()
	if err != nil {
		return "", syntax(err)
	}
	s, ok := t.(string)
	if !ok {
		return "", fmt.Errorf("%w: a string is expected", ErrSyntax)
	}
	return s, nil
}

// syntax marks an error of the JSON decoder.
func syntax(err error) error {
	if err == nil || errors.Is(err, ErrTooLarge) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrSyntax, err)
}
