package prov

import (
	"fmt"
	"strconv"
	"strings"
)

// FromDefinition makes the graph of a job definition alone, as the records of its jobs tell of it too. Errors are those
// of FromRecord.
func FromDefinition(d DefinitionRecord, authority string) (*Graph, error) {
	if d.Name == "" {
		return nil, fmt.Errorf("%w: a definition needs a name", ErrRecord)
	}
	b, err := newBuilder(&JobRecord{Definition: d}, authority)
	if err != nil {
		return nil, err
	}
	b.thePlan()
	b.planParts()
	for _, log := range []string{"stdout", "stderr", internalLog} {
		b.logDescription(log)
	}
	if b.err != nil {
		return nil, fmt.Errorf("making the provenance of definition %.40q: %w", d.Name, b.err)
	}
	return b.g, nil
}

func (b *builder) definition() {
	b.thePlan()
	b.describe(b.job, b.plan, typeDescription)
	b.planParts()
}

// thePlan states the definition itself.
func (b *builder) thePlan() {
	d := &b.rec.Definition
	var l attrList
	l.types(provTerm("Plan"), voprovTerm("ActivityDescription"))
	l.text(nameLabel, strings.TrimSpace(d.Name+" "+d.Version))
	l.text(nameName, d.Name)
	l.text(voprovTerm("version"), d.Version)
	l.text(fedTerm("title"), d.Title)
	l.text(voprovTerm("description"), d.Description)
	l.text(voprovTerm("type"), d.Type)
	l.text(voprovTerm("subtype"), d.Subtype)
	l.text(voprovTerm("docurl"), d.Doc)
	l.text(fedTerm("codeLicence"), d.CodeLicence)
	l.text(fedTerm("resultsLicence"), d.ResultsLicence)
	for _, c := range d.Cite {
		l.text(fedTerm("cite"), c)
	}
	l.text(nameSHA256, d.Digest)
	b.add(Record{Kind: Entity, ID: b.plan, Attrs: l})
}

// planParts states the people of the definition, and its parts.
func (b *builder) planParts() {
	d := &b.rec.Definition
	for _, p := range d.People {
		b.person(p)
	}
	for _, s := range d.Software {
		b.partOfPlan(b.part(PartSoftware, s.Name), software(&s, fedTerm("versionWanted")))
	}
	for _, c := range d.Configs {
		b.configDescription(c)
	}
	for _, p := range d.Parameters {
		b.parameterDescription(p)
	}
	for _, f := range d.Inputs {
		b.fileDescription(PartUsed, "UsageDescription", f)
	}
	for _, f := range d.Outputs {
		b.fileDescription(PartGenerated, "GenerationDescription", f)
	}
}

// part names a part of the job's definition.
func (b *builder) part(part, what string) QName {
	return DefinitionPartID(b.rec.Definition.Name, b.rec.Definition.Version, part, what)
}

func (b *builder) parameterDescription(p ParameterDescription) {
	var l attrList
	l.types(voprovTerm("ParameterDescription"))
	l.text(nameName, p.Name)
	l.text(voprovTerm("valueType"), p.Type)
	l.text(voprovTerm("description"), p.Description)
	l.text(voprovTerm("unit"), p.Unit)
	l.text(voprovTerm("ucd"), p.UCD)
	l.text(voprovTerm("utype"), p.Utype)
	l.text(voprovTerm("min"), p.Min)
	l.text(voprovTerm("max"), p.Max)
	if p.Secret {
		l.put(nameSecret, Boolean(true))
	} else {
		for _, o := range p.Options {
			l.put(voprovTerm("options"), String(o))
		}
		if p.Default != nil {
			l.put(voprovTerm("default"), String(*p.Default))
		}
	}
	b.partOfPlan(b.part(PartParameter, p.Name), l)
}

// partOfPlan states a part of the definition.
func (b *builder) partOfPlan(id QName, l attrList) {
	b.add(Record{Kind: Entity, ID: id, Attrs: l})
	b.describe(b.plan, id, typeRelated)
}

// person states who made the definition. Addresses of people stay out of records.
func (b *builder) person(p PersonRecord) {
	id := PersonID(p.Name, p.ORCID)
	l := attrList{{nameType, Name(provTerm("Person"))}}
	l.text(nameName, p.Name)
	l.text(nameORCID, p.ORCID)
	b.add(Record{Kind: Agent, ID: id, Attrs: l})
	role := p.Role
	if role == "" {
		role = "Contributor"
	}
	l = attrList{{nameVO, String(role)}}
	if p.Contact {
		l.put(fedTerm("contact"), Boolean(true))
	}
	b.add(Record{Kind: Attribution, Refs: []QName{b.plan, id}, Attrs: l})
}

// software describes a program, with its version under the name given.
func software(s *DependencyRecord, version QName) attrList {
	l := attrList{{nameType, Name(typeSoftware)}}
	l.text(nameLabel, strings.TrimSpace(s.Name+" "+s.Version))
	l.text(nameName, s.Name)
	l.text(version, s.Version)
	l.text(fedTerm("image"), s.Image)
	l.text(fedTerm("digest"), s.Digest)
	return l
}

func (b *builder) configDescription(c ConfigDescription) {
	l := attrList{{nameType, Name(voprovTerm("ConfigFileDescription"))}}
	unknown := "application/octet-stream"
	if c.Script || c.Template != "" {
		unknown = "text/plain"
	}
	if c.Script {
		l.types(typeScript)
	}
	l.text(nameName, c.Name)
	l.text(nameContent, contentType(c.ContentType, unknown))
	l.text(fedTerm("template"), c.Template)
	l.text(nameSHA256, c.SHA256)
	b.partOfPlan(b.part(PartConfig, c.Name), l)
}

// contentType is a media type, or the one that stands for it where none is known.
func contentType(known, otherwise string) string {
	if known != "" {
		return known
	}
	return otherwise
}

// fileDescription states what a definition says of an input or an output: its role, and of each type that the
// file may have a DatasetDescription.
func (b *builder) fileDescription(part, class string, f FileDescription) {
	var l attrList
	l.types(voprovTerm(class))
	l.text(nameVO, f.Role)
	l.text(voprovTerm("type"), f.Usage)
	l.text(voprovTerm("description"), f.Description)
	l.text(voprovTerm("multiplicity"), f.Multiplicity)
	id := b.part(part, f.Role)
	b.partOfPlan(id, l)
	for i, c := range f.ContentTypes {
		if c == "" {
			continue
		}
		l := attrList{{nameType, Name(voprovTerm("DatasetDescription"))}}
		l.text(nameName, f.Role)
		l.text(nameContent, c)
		file := b.fileDescriptionID(part, f, i)
		b.add(Record{Kind: Entity, ID: file, Attrs: l})
		b.describe(id, file, typeRelated)
	}
}

// fileDescriptionID names the description of the i-th type that a file of a role may have.
func (b *builder) fileDescriptionID(part string, f FileDescription, i int) QName {
	if part == PartUsed {
		part = PartUsedFile
	} else {
		part = PartGeneratedFile
	}
	if len(f.ContentTypes) == 1 {
		return b.part(part, f.Role)
	}
	return QName{"jdl", dotted(DefinitionID(b.rec.Definition.Name, b.rec.Definition.Version).Local, part, inner(f.Role), strconv.Itoa(i+1))}
}

// describeFile joins a file to the description of its type, where the definition has one.
func (b *builder) describeFile(file QName, mediaType, part, role string, described []FileDescription) {
	for _, f := range described {
		if f.Role != role {
			continue
		}
		for i, c := range f.ContentTypes {
			if c != "" && c == mediaType {
				b.describe(file, b.fileDescriptionID(part, f, i), typeDescription)
				return
			}
		}
	}
}
