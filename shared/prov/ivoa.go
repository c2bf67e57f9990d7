package prov

import (
	"iter"
	"slices"
	"strings"
	"time"
)

// view shows the records of a document, or of one of its bundles, as a model has them. The graph stays as it
// is: what the model wants and the graph states otherwise is made up record by record.
type view struct {
	graph    *Graph
	model    Model
	sections []section
	byType   map[classKey]*section
	byKind   [lastKind + 1]*section
	fed      string // prefix of our own vocabulary
	// members has the section of each record of the graph.
	members [lastKind + 1][]*section
	// The following are of the IVOA model only.
	generated, invalidated map[QName]time.Time
	described              map[QName]QName
	related, referenced    map[QName]QName
	contents               []string // media types of datasets that have no description
}

func newView(g *Graph, m Model) *view {
	v := &view{graph: g, model: m, sections: sections(m), byType: map[classKey]*section{}, fed: fedPrefix(g)}
	for i := range v.sections {
		s := &v.sections[i]
		if s.typ != "" {
			v.byType[classKey{s.kind, s.typ}] = s
		} else {
			v.byKind[s.kind] = s
		}
	}
	for k := range g.records {
		v.members[k] = make([]*section, len(g.records[k]))
		for i, r := range g.records[k] {
			v.members[k][i] = v.section(r)
		}
	}
	if m == IVOA {
		v.index()
	}
	return v
}

// classKey is the kind of records and the voprov class by which they belong to a section.
type classKey struct {
	kind Kind
	typ  string
}

// fedPrefix gives the prefix that the graph has for our own vocabulary, or a free one.
func fedPrefix(g *Graph) string {
	for _, ns := range g.Namespaces() {
		if ns.IRI == IRIFed {
			return ns.Prefix
		}
	}
	return freePrefix(g, "fed")
}

// index notes what the model shows with an entity and the graph states by relations.
func (v *view) index() {
	v.generated, v.invalidated = map[QName]time.Time{}, map[QName]time.Time{}
	v.described, v.related, v.referenced = map[QName]QName{}, map[QName]QName{}, map[QName]QName{}
	for k, times := range map[Kind]map[QName]time.Time{Generation: v.generated, Invalidation: v.invalidated} {
		for r := range v.graph.Records(k) {
			if known := times[r.Ref(0)]; known.IsZero() && !r.Time.IsZero() {
				times[r.Ref(0)] = r.Time
			}
		}
	}
	note := func(links map[QName]QName, from, to QName) {
		if _, known := links[from]; !known {
			links[from] = to
		}
	}
	for i, r := range v.graph.records[Influence] {
		switch v.members[Influence][i].name {
		case "isDescribedBy":
			note(v.described, r.Ref(0), r.Ref(1))
		case "isRelatedTo":
			note(v.related, r.Ref(1), r.Ref(0))
		case "hadReference":
			note(v.referenced, r.Ref(0), r.Ref(1))
		}
	}
	seen := map[string]bool{}
	for i, r := range v.graph.records[Entity] {
		for _, media := range v.contentTypes(v.members[Entity][i], r) {
			if _, known := v.graph.Get(Entity, v.datasetID(media)); !known && !seen[media] {
				seen[media] = true
				v.contents = append(v.contents, media)
			}
		}
	}
}

// section finds the section that a record belongs to.
func (v *view) section(r *Record) *section {
	if v.model == IVOA {
		for i := range r.Attrs {
			if s := v.byType[classKey{r.Kind, voprovType(&r.Attrs[i])}]; s != nil {
				return s
			}
		}
		if _, dataset := r.Attr(nameContent); dataset && r.Kind == Entity {
			return v.byType[classKey{Entity, "DatasetEntity"}]
		}
	}
	return v.byKind[r.Kind]
}

// voprovType gives the class of the IVOA model that an attribute asserts, or nothing.
func voprovType(a *Attr) string {
	if a.Name != nameType || a.Value.typ != typeQualifiedName {
		return ""
	}
	local, _ := strings.CutPrefix(a.Value.text, "voprov:")
	return local
}

// contentTypes gives the media types of a dataset, or of the files of a role, for which the IVOA model wants
// descriptions of datasets and the graph has none.
func (v *view) contentTypes(s *section, r *Record) []string {
	var found []string
	switch s.name {
	case "datasetEntity":
		if _, described := v.described[r.ID]; described {
			return nil
		}
		if media, ok := r.Attr(nameContent); ok {
			found = append(found, media.text)
		}
	case "usageDescription", "generationDescription":
		for _, a := range r.Attrs {
			if a.Name == nameContent {
				found = append(found, a.Value.text)
			}
		}
	}
	return found
}

var nameContent = voprovTerm("contentType")

// datasetID names the description of the datasets of a media type.
func (v *view) datasetID(media string) QName { return QName{v.fed, "dataset." + last(media)} }

// records goes through the records of a kind, each with its section, and then through those that the model
// wants and the graph has not.
func (v *view) records(k Kind) iter.Seq2[*Record, *section] {
	return func(yield func(*Record, *section) bool) {
		for i, r := range v.graph.records[k] {
			if !yield(r, v.members[k][i]) {
				return
			}
		}
		if v.model == IVOA && k == Entity {
			v.descriptions(yield)
		}
		if v.model == IVOA && k == Influence {
			v.descriptionsOf(yield)
		}
	}
}

// descriptions yields the descriptions of datasets that the graph has not.
func (v *view) descriptions(yield func(*Record, *section) bool) {
	s := v.byType[classKey{Entity, "DatasetDescription"}]
	for _, media := range v.contents {
		r := &Record{Kind: Entity, ID: v.datasetID(media), Attrs: []Attr{
			{nameType, Name(voprovTerm(s.typ))}, {nameName, String(media)}, {nameContent, String(media)}}}
		if !yield(r, s) {
			return
		}
	}
}

// descriptionsOf yields the relations that lead to those descriptions.
func (v *view) descriptionsOf(yield func(*Record, *section) bool) {
	for i, r := range v.graph.records[Entity] {
		typ := typeRelated
		if v.members[Entity][i].name == "datasetEntity" {
			typ = typeDescription
		}
		for _, media := range v.contentTypes(v.members[Entity][i], r) {
			relation := &Record{Kind: Influence, Refs: []QName{r.ID, v.datasetID(media)}, Attrs: []Attr{{nameType, Name(typ)}}}
			if !yield(relation, v.byType[classKey{Influence, typ.Local}]) {
				return
			}
		}
	}
}

// link follows a link from a record, to the zero QName if it has none.
func (v *view) link(how linkKind, s *section, r *Record) QName {
	switch how {
	case byDescription:
		if to, ok := v.described[r.ID]; ok {
			return to
		}
		if media := v.contentTypes(s, r); len(media) > 0 {
			return v.datasetID(media[0])
		}
	case byRelation:
		return v.related[r.ID]
	case byReference:
		return v.referenced[r.ID]
	case byParameter:
		if v.artefact(r) == "Parameter" {
			return r.Ref(1)
		}
	case byConfigFile:
		if v.artefact(r) == "ConfigFile" {
			return r.Ref(1)
		}
	}
	return QName{}
}

// artefact tells what a relation of configuration leads to.
func (v *view) artefact(r *Record) string {
	if a, ok := r.Attr(voprovTerm("artefactType")); ok {
		return a.text
	}
	if to, ok := v.graph.Get(Entity, r.Ref(1)); ok && v.section(to).name == "configFile" {
		return "ConfigFile"
	}
	return "Parameter"
}

// show sorts the attributes of a record into the fields of its section, each with its values, and the rest.
func (v *view) show(s *section, r *Record) (fields [][]Value, rest []Attr) {
	attrs := placedAttrs(r)
	fields = make([][]Value, len(s.fields))
	chosen := make([]QName, len(s.fields))
	for i := range s.fields {
		chosen[i], fields[i] = s.fields[i].values(attrs)
	}
	var media []string
	if v.model == IVOA {
		media = v.contentTypes(s, r)
	}
	for i := range attrs {
		a := &attrs[i]
		if a.Name == nameContent && len(media) > 0 && (s.name != "datasetEntity" || a.Value.text == media[0]) {
			continue // there is a description of such datasets
		}
		if !v.shown(s, chosen, fields, a) {
			rest = append(rest, Attr{v.restName(a.Name), a.Value})
		}
	}
	if v.model == IVOA {
		rest = v.supply(s, r, fields, unite(make([]Attr, 0, len(rest)), rest))
	}
	return fields, rest
}

// values gives the values of a field, and the name of the attribute that has them.
func (f *field) values(attrs []Attr) (QName, []Value) {
	for _, name := range f.from {
		var values []Value
		for i := range attrs {
			if attrs[i].Name == name && (f.accepts == nil || f.accepts(attrs[i].Value)) {
				values = append(values, attrs[i].Value)
			}
		}
		switch {
		case len(values) > 1 && (f.mode == leading || f.mode == moment):
			return name, values[:1]
		case len(values) > 0:
			return name, values
		}
	}
	return QName{}, nil
}

// shown tells whether section and fields say all that an attribute says. An attribute of another name that
// repeats the one value of a field is no news either.
func (v *view) shown(s *section, chosen []QName, fields [][]Value, a *Attr) bool {
	if class := voprovType(a); v.model == IVOA && class != "" && class == s.typ {
		return true
	}
	for i := range s.fields {
		f := &s.fields[i]
		all := f.mode != leading && f.mode != moment
		switch {
		case chosen[i] == a.Name && all:
			return f.accepts == nil || f.accepts(a.Value)
		case chosen[i] == a.Name:
			return fields[i][0] == a.Value
		case len(fields[i]) == 1 && slices.Contains(f.from, a.Name) && fields[i][0].text == a.Value.text && fields[i][0].lang == a.Value.lang:
			return true
		}
	}
	return false
}

// restName keeps the namespaces of the two models free of names that they do not know: those become names
// of our own vocabulary.
func (v *view) restName(name QName) QName {
	if v.model != IVOA || name.Prefix != "voprov" && name.Prefix != "prov" || name == nameType || name == nameLabel {
		return name
	}
	return QName{v.fed, name.Local}
}

// supply fills the fields that the graph states in another way, or that the model wants at any rate.
func (v *view) supply(s *section, r *Record, fields [][]Value, rest []Attr) []Attr {
	for i := range s.fields {
		f := &s.fields[i]
		switch {
		case len(fields[i]) > 0:
		case s.name == "agent" && f.name == "type":
			fields[i], rest = agentType(rest)
		case f.mode == moment && f.name == "generatedAtTime":
			fields[i] = timeValue(v.generated[r.ID])
		case f.mode == moment:
			fields[i] = timeValue(v.invalidated[r.ID])
		case f.mode == required:
			fields[i] = []Value{v.substitute(f, r)}
		}
	}
	return rest
}

func timeValue(t time.Time) []Value {
	if t.IsZero() {
		return nil
	}
	return []Value{DateTime(t)}
}

// agentType takes the type of an agent, one of the three that both models know, from its attributes.
func agentType(attrs []Attr) ([]Value, []Attr) {
	for i, a := range attrs {
		for _, typ := range agentTypes {
			if a == (Attr{nameType, Name(provTerm(typ))}) {
				return []Value{String(typ)}, slices.Delete(slices.Clone(attrs), i, i+1)
			}
		}
	}
	return nil, attrs
}

// substitute gives the value of a mandatory attribute for a record that has none. The value of a secret
// parameter is not known to the graph, and empty.
func (v *view) substitute(f *field, r *Record) Value {
	switch f.name {
	case "name":
		if label, ok := r.Attr(nameLabel); ok {
			return label
		}
		return String(r.ID.Local)
	case "role":
		return String(r.ID.Local[strings.LastIndexByte(r.ID.Local, '.')+1:])
	case "artefactType":
		return String(v.artefact(r))
	case "contentType":
		return String("application/octet-stream")
	case "valueType":
		return String("unicodeChar")
	}
	return String("")
}

// single gives the one value that a field of one value shows; the texts of several become a JSON array.
func single(values []Value) Value {
	if len(values) == 1 {
		return values[0]
	}
	text := []byte{'['}
	for i, value := range values {
		if i > 0 {
			text = append(text, ',')
		}
		text = appendJSON(text, value.text)
	}
	return String(string(append(text, ']')))
}
