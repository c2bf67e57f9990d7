package prov

import "slices"

// Model is the vocabulary that a document speaks.
type Model string

// The two models of documents.
const (
	// W3C is PROV-DM: what the IVOA adds appears as types and attributes of its vocabulary.
	W3C Model = "W3C"
	// IVOA is the IVOA Provenance Data Model 1.0 (recommendation of 2020-04-11), with its classes as kinds of
	// records beside those of PROV-DM.
	IVOA Model = "IVOA"
)

// section is one kind of records in a document of a model: what stands under one key of a JSON document, or
// in one table.
type section struct {
	name string // key and table
	kind Kind   // of the graph's records
	typ  string // the voprov class that the records have as prov:type; empty: all records that no other section takes
	// class is that of the IVOA model, empty for what only PROV-DM has.
	class string
	about string
	// refs name the formal references where the model has other names for them than PROV-DM.
	refs   []QName
	fields []field
	links  []link
}

// field is an attribute that a model knows in a section.
type field struct {
	name string // in the model
	// from are the graph's attributes that may hold it: the first one of which the record has a value counts.
	from []QName
	key  QName // in JSON
	mode fieldMode
	ucd  string
	// accepts, if there is such a thing, tells which values may stand here.
	accepts func(Value) bool
}

type fieldMode uint8

const (
	optional fieldMode = iota // zero or one
	required                  // exactly one: where the graph has none, a substitute must be found
	many                      // any number
	moment                    // a time at most
	leading                   // the first value alone is shown here, others where free attributes are
)

// link is a reference that the graph states by a relation, shown as a column of what it starts from.
type link struct {
	name string
	how  linkKind
}

type linkKind uint8

const (
	byDescription linkKind = iota + 1 // from what is described to its description
	byRelation                        // from a part of an activity's description to the whole
	byReference                       // from a parameter to the entity that its value is
	byParameter                       // from a configuration to its parameter
	byConfigFile                      // from a configuration to its file
)

// sections lists what the documents of a model consist of, in their order.
func sections(m Model) []section {
	if m == IVOA {
		return ivoaSections
	}
	return w3cSections
}

var w3cSections = func() []section {
	var all []section
	for k := Entity; k <= lastKind; k++ {
		s := section{name: k.String(), kind: k, about: "PROV-DM: " + rdfTerms[k].class}
		if !shapes[k].bare {
			for _, name := range xmlOrder {
				if a := (Attr{name, String("")}); placed(k, &a) == name {
					s.fields = append(s.fields, field{name: name.Local, from: []QName{name}, key: name, mode: leading, ucd: fieldUCDs[name.Local]})
				}
			}
		}
		all = append(all, s)
	}
	return all
}()

var ivoaSections = []section{
	{name: "entity", kind: Entity, class: "Entity", about: "Entities that are neither datasets nor values, collections among them",
		fields: entityFields, links: []link{{"entityDescription", byDescription}}},
	{name: "datasetEntity", kind: Entity, typ: "DatasetEntity", class: "DatasetEntity", about: "Datasets",
		fields: entityFields, links: []link{{"entityDescription", byDescription}}},
	{name: "valueEntity", kind: Entity, typ: "ValueEntity", class: "ValueEntity", about: "Values",
		fields: append([]field{valueField}, entityFields...), links: []link{{"entityDescription", byDescription}}},
	{name: "activity", kind: Activity, class: "Activity", about: "Activities: jobs, their attempts and transfers",
		fields: voFields("name", "comment"), links: []link{{"activityDescription", byDescription}}},
	{name: "agent", kind: Agent, class: "Agent", about: "Persons, organizations and programs", fields: agentFields()},
	{name: "activityDescription", kind: Entity, typ: "ActivityDescription", class: "ActivityDescription", about: "Descriptions of jobs",
		fields: voFields("name!", "version", "description", "docurl", "type", "subtype")},
	{name: "usageDescription", kind: Entity, typ: "UsageDescription", class: "UsageDescription", about: "Descriptions of inputs",
		fields: voFields("role!", "description", "type", "multiplicity"), links: []link{{"activityDescription", byRelation}}},
	{name: "generationDescription", kind: Entity, typ: "GenerationDescription", class: "GenerationDescription", about: "Descriptions of results",
		fields: voFields("role!", "description", "type", "multiplicity"), links: []link{{"activityDescription", byRelation}}},
	{name: "entityDescription", kind: Entity, typ: "EntityDescription", class: "EntityDescription", about: "Descriptions of entities",
		fields: voFields("name!", "description", "docurl", "type")},
	{name: "datasetDescription", kind: Entity, typ: "DatasetDescription", class: "DatasetDescription", about: "Descriptions of datasets",
		fields: voFields("name!", "contentType!", "description", "docurl", "type")},
	{name: "valueDescription", kind: Entity, typ: "ValueDescription", class: "ValueDescription", about: "Descriptions of values",
		fields: voFields("name!", "valueType!", "unit", "ucd", "utype", "description", "docurl", "type")},
	{name: "parameterDescription", kind: Entity, typ: "ParameterDescription", class: "ParameterDescription", about: "Descriptions of parameters",
		fields: voFields("name!", "valueType!", "unit", "ucd", "utype", "min", "max", "default", "options*", "description"), links: []link{{"activityDescription", byRelation}}},
	{name: "configFileDescription", kind: Entity, typ: "ConfigFileDescription", class: "ConfigFileDescription", about: "Descriptions of configuration files",
		fields: voFields("name!", "contentType!", "description"), links: []link{{"activityDescription", byRelation}}},
	{name: "parameter", kind: Entity, typ: "Parameter", class: "Parameter", about: "Parameters as given to jobs",
		fields: append(voFields("name!"), valueField), links: []link{{"parameterDescription", byDescription}, {"valueEntity", byReference}}},
	{name: "configFile", kind: Entity, typ: "ConfigFile", class: "ConfigFile", about: "Configuration files and scripts of jobs",
		fields: append(voFields("name!", "comment"), field{name: "location", from: []QName{nameLocation, voprovTerm("location")}, key: nameLocation, mode: optional, ucd: "meta.ref.url"}),
		links:  []link{{"configFileDescription", byDescription}}},
	{name: "wasGeneratedBy", kind: Generation, class: "WasGeneratedBy", about: "Which activity made an entity", fields: voFields("role", "generationDescription")},
	{name: "used", kind: Usage, class: "Used", about: "Which entities an activity used", fields: voFields("role", "usageDescription")},
	{name: "wasInformedBy", kind: Communication, about: "Which activity depends on another"},
	{name: "wasStartedBy", kind: Start, about: "What started an activity", fields: voFields("role")},
	{name: "wasEndedBy", kind: End, about: "What ended an activity", fields: voFields("role")},
	{name: "wasInvalidatedBy", kind: Invalidation, about: "What brought an entity to its end", fields: voFields("role")},
	{name: "wasDerivedFrom", kind: Derivation, about: "Which entity comes from another"},
	{name: "wasAttributedTo", kind: Attribution, class: "WasAttributedTo", about: "To whom an entity is owed", fields: voFields("role")},
	{name: "wasAssociatedWith", kind: Association, class: "WasAssociatedWith", about: "Who took part in an activity", fields: voFields("role")},
	{name: "actedOnBehalfOf", kind: Delegation, about: "Which agent acted for another"},
	{name: "isDescribedBy", kind: Influence, typ: "DescriptionRelation", about: "Which description an activity, entity, parameter or file has", refs: voTerms("described", "descriptor")},
	{name: "isRelatedTo", kind: Influence, typ: "RelatedToRelation", about: "Which parts a description has", refs: voTerms("relator", "related")},
	{name: "wasConfiguredBy", kind: Influence, typ: "ConfigurationRelation", class: "WasConfiguredBy", about: "Which parameters and files configured an activity",
		refs: voTerms("configured", "configurator"), fields: voFields("artefactType!"), links: []link{{"parameter", byParameter}, {"configFile", byConfigFile}}},
	{name: "hadReference", kind: Influence, typ: "HadReference", about: "Which entity the value of a parameter is", refs: voTerms("referrer", "referenced")},
	{name: "wasInfluencedBy", kind: Influence, about: "Other influences"},
	{name: "specializationOf", kind: Specialization, about: "Which content, or more general thing, an entity shows"},
	{name: "alternateOf", kind: Alternate, about: "Which entities show the same thing"},
	{name: "hadMember", kind: Membership, about: "Members of collections"},
}

var (
	entityFields = append(voFields("name", "generatedAtTime@", "invalidatedAtTime@", "comment"),
		field{name: "location", from: []QName{nameLocation, voprovTerm("location")}, key: voprovTerm("location"), mode: optional, ucd: "meta.ref.url"})
	valueField = field{name: "value", from: []QName{voprovTerm("value"), nameValue}, key: nameValue, mode: required}
)

// voFields makes the fields of attributes of the IVOA model, marked with '!' if there must be one, with '*' if
// there may be several and with '@' if it is a time. In JSON names and roles are of the prov namespace, after the manner of the
// voprov library.
func voFields(marked ...string) []field {
	var fields []field
	for _, name := range marked {
		f := field{mode: optional}
		switch name[len(name)-1] {
		case '!':
			f.mode, name = required, name[:len(name)-1]
		case '*':
			f.mode, name = many, name[:len(name)-1]
		case '@':
			f.mode, name, f.accepts = moment, name[:len(name)-1], isTime
		}
		f.name, f.ucd = name, fieldUCDs[name]
		f.key, f.from = voprovTerm(name), []QName{voprovTerm(name), provTerm(name)}
		if name == "name" || name == "role" {
			f.key = provTerm(name)
		}
		if name == "type" { // prov:type is another thing
			f.from = f.from[:1]
		}
		fields = append(fields, f)
	}
	return fields
}

// agentFields has the type from a list that the model closes.
func agentFields() []field {
	fields := voFields("name!", "type", "comment", "email", "affiliation", "phone", "address", "url")
	fields[1].accepts = func(v Value) bool { return v.typ == typeString && slices.Contains(agentTypes, v.text) }
	return fields
}

var agentTypes = []string{"Person", "Organization", "SoftwareAgent"}

func isTime(v Value) bool {
	_, err := parseTime(v.text)
	return err == nil
}

func voTerms(local ...string) []QName {
	var names []QName
	for _, name := range local {
		names = append(names, voprovTerm(name))
	}
	return names
}

// fieldUCDs are the UCDs (UCD1+ 1.4) of columns, where one suits.
var fieldUCDs = map[string]string{
	"name": "meta.title", "label": "meta.title", "comment": "meta.note", "description": "meta.note", "location": "meta.ref.url", "docurl": "meta.ref.url", "url": "meta.ref.url",
	"email": "meta.email", "version": "meta.version", "unit": "meta.unit", "ucd": "meta.ucd", "contentType": "meta.code.mime", "type": "meta.code.class", "role": "meta.code",
}

// formalKey gives the name of a formal reference in JSON.
func (s *section) formalKey(i int) QName {
	if s.refs != nil {
		return s.refs[i]
	}
	return provTerm(shapes[s.kind].refs[i].name)
}
