package prov

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// FromRecord makes the provenance graph of a job, in the namespaces of the federation's authority. It is a
// pure function: the same record gives the same graph, in the same order. An authority that is not an IRI is
// an ErrName, a record that contradicts itself (two results of one id that differ) an ErrConflict, one without
// job or definition an ErrRecord.
func FromRecord(rec JobRecord, authority string) (*Graph, error) {
	namespaces, err := Namespaces(authority)
	if err != nil {
		return nil, err
	}
	if rec.Job == "" || rec.Definition.Name == "" {
		return nil, fmt.Errorf("%w: a job record needs a job id and a definition", ErrRecord)
	}
	g, err := New(namespaces...)
	if err != nil {
		return nil, err
	}
	b := &builder{g: g, rec: &rec, job: JobID(rec.Job), owner: UserID(anonymous), plan: DefinitionID(rec.Definition.Name, rec.Definition.Version)}
	if rec.Owner.ID != "" {
		b.owner = UserID(rec.Owner.ID)
	}
	b.countInputs()
	b.theJob()
	b.definition()
	b.parameters()
	b.configs()
	b.inputs()
	b.attempts()
	b.transfers()
	b.results()
	b.logs()
	if b.err != nil {
		return nil, fmt.Errorf("making the provenance of job %.40q: %w", rec.Job, b.err)
	}
	return g, nil
}

// anonymous is the owner of jobs without one.
const anonymous = "anonymous"

// Types of nodes in the graph of a job, as prov:type has them.
var (
	typeJob         = fedTerm("Job")
	typeAttempt     = fedTerm("Attempt")
	typeTransfer    = fedTerm("Transfer")
	typeContent     = fedTerm("Content")
	typeReplica     = fedTerm("Replica")
	typeLog         = fedTerm("Log")
	typeParameter   = voprovTerm("Parameter")
	typeConfigFile  = voprovTerm("ConfigFile")
	typeDataset     = voprovTerm("DatasetEntity")
	typePartOf      = fedTerm("wasPartOf")
	typeRetryOf     = fedTerm("retryOf")
	typeDescription = voprovTerm("DescriptionRelation")
	typeRelated     = voprovTerm("RelatedToRelation")
	typeConfigured  = voprovTerm("ConfigurationRelation")

	nameSHA256  = fedTerm("sha256")
	nameBytes   = fedTerm("bytes")
	nameWanted  = fedTerm("requestedInput")
	nameDefault = fedTerm("isDefault")
	nameSecret  = fedTerm("isSecret")
	nameError   = fedTerm("error")
	nameClass   = fedTerm("errorClass")
	namePhase   = uwsTerm("phase")
	nameName    = voprovTerm("name")
	nameVO      = voprovTerm("role")
)

// builder adds the records of one job; the first error stays.
type builder struct {
	g     *Graph
	rec   *JobRecord
	job   QName
	owner QName
	plan  QName
	// several tells which input roles have more than one file, whose names then carry a number.
	several map[string]int
	// sources finds the entity and the usage of inputs by role and number.
	sources []source
	err     error
}

type source struct {
	role   string
	n      int
	entity QName
	used   QName // zero: the job never got so far
	sha    string
}

func (b *builder) add(r Record) {
	if b.err == nil {
		b.err = b.g.Add(r)
	}
}

func (b *builder) relate(k Kind, refs ...QName) { b.add(Record{Kind: k, Refs: refs}) }

// attrList collects attributes, leaving out what is not known.
type attrList []Attr

func (l *attrList) put(name QName, v Value) { *l = append(*l, Attr{name, v}) }
func (l *attrList) types(types ...QName) {
	for _, t := range types {
		l.put(nameType, Name(t))
	}
}

func (l *attrList) text(name QName, s string) {
	if s != "" {
		l.put(name, String(s))
	}
}

func (l *attrList) time(name QName, t time.Time) {
	if !t.IsZero() {
		l.put(name, DateTime(t))
	}
}

func (l *attrList) long(name QName, n *int64) {
	if n != nil {
		l.put(name, Long(*n))
	}
}

func (l *attrList) positive(name QName, n int64) {
	if n > 0 {
		l.put(name, Long(n))
	}
}

func (l *attrList) failure(e *ErrorRecord) {
	if e != nil {
		l.text(nameClass, e.Class)
		l.text(nameError, e.Message)
	}
}

// deciding is the attempt that made the results, else the last one that started, else the last one.
func (b *builder) deciding() *AttemptRecord {
	var last, started *AttemptRecord
	for i := range b.rec.Attempts {
		a := &b.rec.Attempts[i]
		if a.Outcome == OutcomeCommitted {
			return a
		}
		if last = a; !a.Started.IsZero() {
			started = a
		}
	}
	if started != nil {
		return started
	}
	return last
}

func (b *builder) theJob() {
	rec := b.rec
	var l attrList
	l.types(typeJob)
	l.text(nameLabel, rec.Definition.Name+" "+rec.Job)
	l.text(nameName, rec.Definition.Name)
	l.text(namePhase, rec.Phase)
	l.text(uwsTerm("jobId"), rec.Job)
	l.text(uwsTerm("runId"), rec.RunID)
	l.time(uwsTerm("creationTime"), rec.Created)
	l.time(uwsTerm("quote"), rec.Quote)
	l.positive(uwsTerm("executionDuration"), rec.Duration)
	l.positive(fedTerm("attempts"), int64(len(rec.Attempts)))
	d := b.deciding()
	if d != nil && d.Exit != nil {
		l.put(fedTerm("exitCode"), Int(*d.Exit))
	}
	l.failure(rec.Error)
	if d == nil || d.Started.IsZero() {
		for i := range rec.Inputs {
			l.put(nameWanted, Name(inputEntity(&rec.Inputs[i])))
		}
	}
	b.add(Record{Kind: Activity, ID: b.job, Time: rec.Started, End: rec.Ended, Attrs: l})
	b.user()
	b.add(Record{Kind: Association, Refs: []QName{b.job, b.owner, b.plan}, Attrs: []Attr{{nameRole, String("Creator")}}})
	b.controller()
	if d != nil && d.Site != "" {
		b.site(d.Site)
		b.add(Record{Kind: Association, Refs: []QName{b.job, SiteID(d.Site)}, Attrs: []Attr{{nameRole, String("Provider")}}})
	}
}

func (b *builder) user() {
	var l attrList
	name := b.rec.Owner.Name
	if b.rec.Owner.ID != "" {
		l.types(provTerm("Person"))
		if name == "" {
			name = b.rec.Owner.ID
		}
	} else {
		name = anonymous
	}
	l.text(nameName, name)
	l.text(fedTerm("orcid"), b.rec.Owner.ORCID)
	b.add(Record{Kind: Agent, ID: b.owner, Attrs: l})
}

// controller states the coordinators as one agent. Versions change while the agent stays: so they stand on
// the association with the job.
func (b *builder) controller() {
	c := b.rec.Controller
	if c.Name == "" {
		return
	}
	b.software(ControllerID(), c.Name)
	l := attrList{{nameRole, String("Coordinator")}}
	l.text(fedTerm("softwareVersion"), c.Version)
	b.add(Record{Kind: Association, Refs: []QName{b.job, ControllerID()}, Attrs: l})
}

func (b *builder) software(id QName, name string) {
	b.add(Record{Kind: Agent, ID: id, Attrs: []Attr{{nameType, Name(provTerm("SoftwareAgent"))}, {nameName, String(name)}}})
}

func (b *builder) site(name string) {
	b.add(Record{Kind: Agent, ID: SiteID(name), Attrs: []Attr{{nameType, Name(provTerm("Organization"))}, {nameName, String(name)}}})
}

// describe adds an influence with the type by which the W3C document tells relations of ProvDM.
func (b *builder) describe(what, by QName, typ QName) {
	b.add(Record{Kind: Influence, Refs: []QName{what, by}, Attrs: []Attr{{nameType, Name(typ)}}})
}

func (b *builder) definition() {
	d := &b.rec.Definition
	var l attrList
	l.types(provTerm("Plan"), voprovTerm("ActivityDescription"))
	l.text(nameLabel, strings.TrimSpace(d.Name+" "+d.Version))
	l.text(nameName, d.Name)
	l.text(voprovTerm("version"), d.Version)
	l.text(voprovTerm("title"), d.Title)
	l.text(voprovTerm("description"), d.Description)
	l.text(voprovTerm("type"), d.Type)
	l.text(voprovTerm("subtype"), d.Subtype)
	l.text(voprovTerm("docurl"), d.Doc)
	l.text(nameSHA256, d.Digest)
	b.add(Record{Kind: Entity, ID: b.plan, Attrs: l})
	b.describe(b.job, b.plan, typeDescription)
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
	id := b.part(PartParameter, p.Name)
	b.add(Record{Kind: Entity, ID: id, Attrs: l})
	b.describe(b.plan, id, typeRelated)
}

func (b *builder) fileDescription(part, class string, f FileDescription) {
	var l attrList
	l.types(voprovTerm(class))
	l.text(nameVO, f.Role)
	l.text(voprovTerm("type"), f.Usage)
	l.text(voprovTerm("description"), f.Description)
	l.text(voprovTerm("multiplicity"), f.Multiplicity)
	for _, c := range f.ContentTypes {
		l.text(voprovTerm("contentType"), c)
	}
	id := b.part(part, f.Role)
	b.add(Record{Kind: Entity, ID: id, Attrs: l})
	b.describe(b.plan, id, typeRelated)
}

func (b *builder) parameters() {
	described := map[string]bool{}
	secret := map[string]bool{}
	for _, p := range b.rec.Definition.Parameters {
		described[p.Name], secret[p.Name] = true, p.Secret
	}
	for _, p := range b.rec.Parameters {
		id := ParameterID(b.rec.Job, p.Name)
		var l attrList
		l.types(typeParameter)
		l.text(nameName, p.Name)
		if p.Secret || secret[p.Name] {
			l.put(nameSecret, Boolean(true))
		} else {
			for _, v := range p.Values {
				l.put(voprovTerm("value"), String(v))
			}
			if len(p.Values) == 1 { // PROV-XML takes prov:value once
				l.put(nameValue, typedParameter(p.Type, p.Values[0]))
			}
		}
		l.put(nameDefault, Boolean(p.Default))
		b.add(Record{Kind: Entity, ID: id, Attrs: l})
		b.configured(id, "Parameter")
		if described[p.Name] {
			b.describe(id, b.part(PartParameter, p.Name), typeDescription)
		}
	}
}

// configured states that a parameter or a configuration file configured the job.
func (b *builder) configured(by QName, artefact string) {
	b.add(Record{Kind: Influence, Refs: []QName{b.job, by}, Attrs: []Attr{
		{nameType, Name(typeConfigured)}, {voprovTerm("artefactType"), String(artefact)}}})
}

// typedParameter gives a parameter's value the datatype of its definition, where the text has its form.
func typedParameter(typ, text string) Value {
	switch typ {
	case "boolean":
		if v, err := strconv.ParseBool(text); err == nil {
			return Boolean(v)
		}
	case "int":
		if n, err := strconv.ParseInt(text, 10, 32); err == nil {
			return Int(int32(n))
		}
	case "long":
		if n, err := strconv.ParseInt(text, 10, 64); err == nil {
			return Long(n)
		}
	case "float", "double":
		if f, err := strconv.ParseFloat(text, 64); err == nil {
			return Double(f)
		}
	case "uri":
		return AnyURI(text)
	}
	return String(text)
}
