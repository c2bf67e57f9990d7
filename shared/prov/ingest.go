package prov

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"
)

// InternalLimits bound what a code may tell of its own provenance: 8 MiB, 100,000 records, 300 attributes of
// each, 100 namespaces. Bundles it may not have.
func InternalLimits() Limits {
	return Limits{Bytes: 8 << 20, Records: 100_000, Attributes: 300, Names: 100}
}

// maxName bounds the bytes of a name in a code's own provenance.
const maxName = 1000

// currentJob is how a code's own provenance calls the activity of its job, under any prefix (as in OPUS).
const currentJob = "current_job"

// Ingest reads what a code told of its own provenance, a PROV-JSON document such as the python packages prov, voprov
// and logprov write, into a graph with the one bundle InternalID(job), ready to be merged into the graph of the job.
//
// The document is a stranger's, and cannot name anything outside itself: every id, and every term that is not of the
// vocabularies prov, xsd and voprov, becomes int:<job>.<its name, escaped>, but for the activity current_job, which
// is the job. Namespaces may be any text, as those tools write "session:" for one; a default namespace is accepted,
// and so are the record types of voprov's own JSON. Literals that XML Schema would refuse become strings.
//
// Refused are: what is no JSON or no PROV, a key given twice, a prefix that is not declared or that takes the name of
// prov or xsd for something else, bundles, derivations, specialisations and memberships that lead back to where they
// began, and whatever goes beyond the limits. The error says where.
func Ingest(doc []byte, job, authority string, limits Limits) (*Graph, error) {
	g, err := ingest(doc, job, authority, limits)
	if err != nil {
		return nil, fmt.Errorf("reading the provenance that the code wrote: %w", err)
	}
	return g, nil
}

func ingest(doc []byte, job, authority string, limits Limits) (*Graph, error) {
	if int64(len(doc)) > limits.Bytes {
		return nil, fmt.Errorf("%w: more than %d bytes", ErrTooLarge, limits.Bytes)
	}
	namespaces, err := Namespaces(authority)
	if err != nil {
		return nil, err
	}
	g, err := New(append(namespaces, Namespace{internalPrefix, strings.TrimRight(authority, "/") + "/id/internal/"})...)
	if err != nil {
		return nil, err
	}
	bundle, err := g.Bundle(InternalID(job))
	if err != nil {
		return nil, err
	}
	in := &ingester{g: bundle, job: job, limits: limits, prefixes: map[string]string{"prov": "prov", "xsd": "xsd"}}
	sections, err := in.sections(doc)
	if err != nil {
		return nil, err
	}
	if err := in.namespaces(sections["prefix"]); err != nil {
		return nil, fmt.Errorf("prefix: %w", err)
	}
	for _, name := range ingestNames {
		if err := in.section(name, sections[name]); err != nil {
			return nil, err
		}
	}
	if err := acyclic(bundle, Derivation, Specialization, Membership); err != nil {
		return nil, err
	}
	return g, g.Add(Record{Kind: Entity, ID: InternalID(job), Attrs: in.about})
}

// internalPrefix is that of the names which codes gave in their own provenance.
const internalPrefix = "int"

// ingester reads one document.
type ingester struct {
	g       *Graph // the bundle
	job     string
	limits  Limits
	records int
	// prefixes finds the vocabulary that a prefix stands for, or nothing for a prefix of the document's own.
	prefixes map[string]string
	about    attrList // what the bundle's entity tells of the document
}

// ingestKind is how records of a section are read: refs are the keys of the formal references.
type ingestKind struct {
	kind Kind
	refs []string
	typ  QName // added as prov:type, unless zero
}

// ingestKinds are the sections that may occur: those of PROV-JSON, and those that the python package voprov adds for
// the classes and relations of ProvDM. ingestNames is their order.
var ingestKinds, ingestNames = func() (map[string]ingestKind, []string) {
	kinds, names := map[string]ingestKind{}, []string{}
	put := func(name string, k ingestKind) { kinds[name], names = k, append(names, name) }
	for k := Entity; k <= lastKind; k++ {
		var refs []string
		for _, r := range shapes[k].refs {
			refs = append(refs, "prov:"+r.name)
		}
		put(k.String(), ingestKind{kind: k, refs: refs})
	}
	for _, class := range []string{"activityDescription", "usageDescription", "generationDescription", "entityDescription", "datasetDescription",
		"valueDescription", "parameterDescription", "configFileDescription", "parameter", "configFile", "datasetEntity", "valueEntity"} {
		put(class, ingestKind{kind: Entity, typ: voprovTerm(strings.ToUpper(class[:1]) + class[1:])})
	}
	put("isDescribedBy", ingestKind{Influence, []string{"voprov:described", "voprov:descriptor"}, typeDescription})
	put("isRelatedTo", ingestKind{Influence, []string{"voprov:related", "voprov:relator"}, typeRelated})
	put("wasConfiguredBy", ingestKind{Influence, []string{"voprov:configured", "voprov:configurator"}, typeConfigured})
	put("hadReference", ingestKind{Influence, []string{"voprov:referenced", "voprov:referrer"}, voprovTerm("ReferenceRelation")})
	return kinds, names
}()

// sections reads the outermost object. Its members come in any order, but names can be read only when all prefixes
// are known.
func (in *ingester) sections(doc []byte) (map[string]json.RawMessage, error) {
	d := json.NewDecoder(bytes.NewReader(doc))
	sections := map[string]json.RawMessage{}
	err := object(d, func(key string) error {
		if _, known := ingestKinds[key]; !known && key != "prefix" {
			if key == "bundle" {
				return fmt.Errorf("%w: a code's own provenance is one bundle and cannot hold others", ErrSyntax)
			}
			return fmt.Errorf("%w: unknown record type %.80q", ErrSyntax, key)
		}
		var raw json.RawMessage
		err := d.Decode(&raw)
		sections[key] = raw
		return syntax(err)
	})
	if err == nil {
		if _, extra := d.Token(); extra != io.EOF {
			err = fmt.Errorf("%w: more after the document", ErrSyntax)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("near byte %d: %w", d.InputOffset(), err)
	}
	return sections, nil
}

// namespaces reads the prefixes. Their IRIs are kept as text, so that the names of the document can be found again.
func (in *ingester) namespaces(raw json.RawMessage) error {
	return members(raw, func(prefix string, d *json.Decoder) error {
		iri, err := readString(d)
		if err != nil {
			return err
		}
		if len(in.about) >= in.limits.Names || len(prefix) > maxName || len(iri) > maxName {
			return fmt.Errorf("%w: more than %d namespaces, or %d bytes in one", ErrTooLarge, in.limits.Names, maxName)
		}
		v := vocabulary(prefix, iri)
		if (prefix == "prov" || prefix == "xsd") && v != prefix {
			return fmt.Errorf("%w: %s stands for <%.200s>", ErrName, prefix, iri)
		}
		in.prefixes[prefix] = v
		in.about.put(fedTerm("originalNamespace"), String(prefix+" <"+iri+">"))
		return nil
	})
}

// vocabulary finds the vocabulary that an IRI means. ProvDM has no agreed one: what is called voprov and looks like it
// is taken for it.
func vocabulary(prefix, iri string) string {
	switch {
	case iri == IRIProv:
		return "prov"
	case iri == IRIXSD || iri+"#" == IRIXSD:
		return "xsd"
	case iri == IRIVOProv, prefix == "voprov" && (iri == "voprov:" || strings.HasPrefix(iri, "http://www.ivoa.net/documents/")):
		return "voprov"
	}
	return ""
}

// section reads all records of a section.
func (in *ingester) section(name string, raw json.RawMessage) error {
	k := ingestKinds[name]
	err := members(raw, func(key string, d *json.Decoder) error {
		err := in.instances(&k, key, d)
		if err != nil {
			return fmt.Errorf("%.80q: %w", key, err)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("%s %w", name, err)
	}
	return nil
}

// instances reads what stands under one id: a record, or an array of records.
func (in *ingester) instances(k *ingestKind, key string, d *json.Decoder) error {
	var id QName
	if !shapes[k.kind].bare && (k.kind.IsElement() || !strings.HasPrefix(key, "_:")) {
		var err error
		if id, err = in.id(key); err != nil {
			return err
		}
	}
	if id == JobID(in.job) && k.kind != Activity {
		return fmt.Errorf("%w: %s is an activity", ErrConflict, currentJob)
	}
	return each(d, func(t json.Token) error {
		if t != json.Delim('{') {
			return fmt.Errorf("%w: a record is an object", ErrSyntax)
		}
		return in.record(k, id, d)
	})
}

// each reads one thing, or an array of things, of which visit gets the first token.
func each(d *json.Decoder, visit func(json.Token) error) error {
	t, err := d.Token()
	if err != nil {
		return syntax(err)
	}
	if t != json.Delim('[') {
		return visit(t)
	}
	for d.More() {
		if t, err = d.Token(); err != nil {
			return syntax(err)
		}
		if err := visit(t); err != nil {
			return err
		}
	}
	_, err = d.Token()
	return syntax(err)
}

// record reads the members of a record, after its opening brace, and adds it.
func (in *ingester) record(k *ingestKind, id QName, d *json.Decoder) error {
	r := Record{Kind: k.kind, ID: id, Refs: make([]QName, len(k.refs))}
	var more []QName // further members of a collection, which may be named together
	var attrs attrList
	if !k.typ.IsZero() {
		attrs.types(k.typ)
	}
	err := rest(d, func(key string) error {
		for i, name := range k.refs {
			if key == name {
				return in.refs(d, func(q QName) error {
					switch {
					case r.Refs[i].IsZero():
						r.Refs[i] = q
					case k.kind == Membership && i == 1:
						more = append(more, q)
						return in.room(len(more))
					default:
						return fmt.Errorf("%w: %s has several values", ErrSyntax, key)
					}
					return nil
				})
			}
		}
		for i, name := range shapes[k.kind].times {
			if key == "prov:"+name {
				return readTime(d, []*time.Time{&r.Time, &r.End}[i])
			}
		}
		if err := in.attribute(&attrs, key, d); err != nil {
			return fmt.Errorf("%.80q: %w", key, err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	r.Attrs = attrs
	if err := in.add(r); err != nil {
		return err
	}
	for _, q := range more {
		if err := in.add(Record{Kind: r.Kind, Refs: []QName{r.Refs[0], q}}); err != nil {
			return err
		}
	}
	return nil
}

func readTime(d *json.Decoder, into *time.Time) error {
	text, err := readString(d)
	if err != nil {
		return err
	}
	*into, err = parseTime(text)
	return err
}

// room tells whether the document may have so many records more.
func (in *ingester) room(more int) error {
	if in.records+more > in.limits.Records {
		return fmt.Errorf("%w: more than %d records", ErrTooLarge, in.limits.Records)
	}
	return nil
}

// add counts a record and adds it.
func (in *ingester) add(r Record) error {
	if err := in.room(1); err != nil {
		return err
	}
	in.records++
	if err := in.g.Add(r); err != nil || r.ID.IsZero() {
		return err
	}
	// Records of one id are united: so together they may have no more than one.
	if all, _ := in.g.Get(r.Kind, r.ID); len(all.Attrs) > in.limits.Attributes {
		return fmt.Errorf("%w: more than %d attributes", ErrTooLarge, in.limits.Attributes)
	}
	return nil
}

func (in *ingester) refs(d *json.Decoder, visit func(QName) error) error {
	return each(d, func(t json.Token) error {
		text, ok := t.(string)
		if !ok {
			return fmt.Errorf("%w: a reference is a string", ErrSyntax)
		}
		q, err := in.id(text)
		if err != nil {
			return err
		}
		return visit(q)
	})
}

// split divides a name and tells what its prefix stands for.
func (in *ingester) split(text string) (vocabulary, local string, err error) {
	if len(text) > maxName {
		return "", "", fmt.Errorf("%w: a name of more than %d bytes", ErrTooLarge, maxName)
	}
	prefix, local, prefixed := strings.Cut(text, ":")
	if !prefixed {
		prefix, local = "default", text
	}
	vocabulary, declared := in.prefixes[prefix]
	if prefixed && !declared && prefix != "_" {
		return "", "", fmt.Errorf("%w: the prefix of %.80q is not declared", ErrName, text)
	}
	return vocabulary, local, nil
}

// id reads the name of a node.
func (in *ingester) id(text string) (QName, error) {
	_, local, err := in.split(text)
	if err != nil {
		return QName{}, err
	}
	if local == currentJob {
		return JobID(in.job), nil
	}
	return in.own(text), nil
}

// own gives a name of the document its place among those of all jobs.
func (in *ingester) own(text string) QName {
	return QName{internalPrefix, dotted(first(in.job), last(text))}
}

// term reads a name that may be one of a vocabulary.
func (in *ingester) term(text string) (QName, error) {
	v, local, err := in.split(text)
	if err == nil && v != "" && ValidLocal(local) {
		return QName{v, local}, nil
	}
	if err != nil {
		return QName{}, err
	}
	return in.id(text)
}

// attributeName reads the name of an attribute. Of the prov vocabulary only five stand in documents; those which
// ProvDM has by the same name become its, the rest are names of the document's own.
func (in *ingester) attributeName(text string) (QName, error) {
	name, err := in.term(text)
	if err != nil || name.Prefix != "prov" {
		return name, err
	}
	switch name.Local {
	case "type", "label", "role", "value", "location":
		return name, nil
	case "name", "generatedAtTime", "invalidatedAtTime":
		return voprovTerm(name.Local), nil
	}
	return in.own(text), nil
}

// attribute reads the value or the values of an attribute.
func (in *ingester) attribute(attrs *attrList, key string, d *json.Decoder) error {
	name, err := in.attributeName(key)
	if err != nil {
		return err
	}
	return each(d, func(t json.Token) error {
		if len(*attrs) >= in.limits.Attributes {
			return fmt.Errorf("%w: more than %d attributes", ErrTooLarge, in.limits.Attributes)
		}
		v, err := in.value(t, d)
		if err != nil {
			return err
		}
		attrs.put(in.fit(*attrs, name, v))
		return nil
	})
}

// fit gives an attribute the form that all serialisations can hold.
func (in *ingester) fit(attrs attrList, name QName, v Value) (QName, Value) {
	switch name {
	case nameLabel:
		if v.lang == "" {
			v = String(v.text)
		}
	case nameValue: // PROV-XML takes it once
		for _, a := range attrs {
			if a.Name == nameValue {
				return voprovTerm("value"), v
			}
		}
	case nameType: // some tools write classes as text
		if local, found := strings.CutPrefix(v.text, "voprov:"); found && v.typ == typeString && ValidLocal(local) {
			v = Name(voprovTerm(local))
		}
	}
	return name, v
}

// value reads a value that begins with token t.
func (in *ingester) value(t json.Token, d *json.Decoder) (Value, error) {
	switch t := t.(type) {
	case string:
		return String(t), nil
	case bool:
		return Boolean(t), nil
	case json.Number:
		return numberValue(t)
	case json.Delim:
		if t == '{' {
			return in.literal(d)
		}
	}
	return Value{}, fmt.Errorf("%w: a value is a string, number, boolean or typed literal", ErrSyntax)
}

// literal reads {"$": text, "type": datatype} or {"$": text, "lang": tag}, after its opening brace.
func (in *ingester) literal(d *json.Decoder) (Value, error) {
	m := map[string]any{}
	err := rest(d, func(key string) error {
		t, err := d.Token()
		if err != nil {
			return syntax(err)
		}
		if _, compound := t.(json.Delim); compound {
			return fmt.Errorf("%w: %.40q of a typed literal is not a simple value", ErrSyntax, key)
		}
		m[key] = t
		return nil
	})
	if err != nil {
		return Value{}, err
	}
	v, err := typedText(m)
	if err != nil {
		return Value{}, err
	}
	if v.typ.IsZero() { // the name of the datatype is in the document's words
		typ, err := in.term(m["type"].(string))
		if err != nil {
			return Value{}, err
		}
		v = Typed(v.text, typ)
	}
	return in.typed(v)
}

// typedText reads the text of a typed literal, leaving the datatype open where there is one.
func typedText(m map[string]any) (Value, error) {
	datatype, typed := m["type"]
	delete(m, "type")
	if n, ok := m["$"].(json.Number); ok && typed {
		m["$"] = n.String() // with all its digits
	}
	v, err := typedValue(m)
	if err != nil || !typed {
		return v, err
	}
	m["type"] = datatype
	if s, ok := datatype.(string); !ok || s == "" || v.lang != "" {
		return Value{}, fmt.Errorf("%w: typed literal with bad datatype", ErrSyntax)
	}
	return Value{text: v.text}, nil
}

// typed gives a literal a datatype that every tool knows and whose form its text has, or makes it a string.
func (in *ingester) typed(v Value) (Value, error) {
	switch v.typ {
	case typeQualifiedName, xsdTerm("QName"):
		q, err := in.term(v.text)
		return Name(q), err
	case typeString, typeLangString:
		return v, nil
	}
	if !xsdValid(v.text, v.typ) {
		return String(v.text), nil
	}
	return v, nil
}
