package prov

import (
	"fmt"
	"time"
)

// FromRecord makes the provenance graph of a job, in the namespaces of the federation's authority. It is a
// pure function: the same record gives the same graph, in the same order. An authority that is not an IRI is
// an ErrName, a record that contradicts itself (two results of one id that differ) an ErrConflict, one without
// job or definition an ErrRecord.
func FromRecord(rec JobRecord, authority string) (*Graph, error) {
	if rec.Job == "" || rec.Definition.Name == "" {
		return nil, fmt.Errorf("%w: a job record needs a job id and a definition", ErrRecord)
	}
	b, err := newBuilder(&rec, authority)
	if err != nil {
		return nil, err
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
	b.reuse()
	b.logs()
	b.record()
	b.internal()
	if b.err != nil {
		return nil, fmt.Errorf("making the provenance of job %.40q: %w", rec.Job, b.err)
	}
	return b.g, nil
}

func newBuilder(rec *JobRecord, authority string) (*builder, error) {
	namespaces, err := Namespaces(authority)
	if err != nil {
		return nil, err
	}
	g, err := New(namespaces...)
	if err != nil {
		return nil, err
	}
	b := &builder{
		g: g, rec: rec, authority: authority, job: JobID(rec.Job), owner: UserID(anonymous),
		plan: DefinitionID(rec.Definition.Name, rec.Definition.Version),
	}
	if rec.Owner.ID != "" {
		b.owner = UserID(rec.Owner.ID)
	}
	return b, nil
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
	typeBundle      = provTerm("Bundle")
	typeRecord      = fedTerm("ProvenanceRecord")
	typeRetraction  = fedTerm("Retraction")
	typeSoftware    = fedTerm("Software")
	typeScript      = fedTerm("Script")
	typeCachedFrom  = fedTerm("cachedFrom")

	nameSHA256  = fedTerm("sha256")
	nameBytes   = fedTerm("bytes")
	nameWanted  = fedTerm("requestedInput")
	nameDefault = fedTerm("isDefault")
	nameSecret  = fedTerm("isSecret")
	namePrivate = fedTerm("isPrivate")
	nameReason  = fedTerm("reason")
	nameSite    = fedTerm("site")
	nameORCID   = fedTerm("orcid")
	nameOutcome = fedTerm("outcome")
	nameError   = fedTerm("error")
	nameClass   = fedTerm("errorClass")
	namePhase   = uwsTerm("phase")
	nameName    = voprovTerm("name")
	nameVO      = voprovTerm("role")
)

// builder adds the records of one job; the first error stays.
type builder struct {
	g         *Graph
	rec       *JobRecord
	authority string
	job       QName
	owner     QName
	plan      QName
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

func (l *attrList) double(name QName, f *float64) {
	if f != nil {
		l.put(name, Double(*f))
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
	l.time(fedTerm("queuedAt"), rec.Queued)
	l.time(uwsTerm("quote"), rec.Quote)
	l.positive(uwsTerm("executionDuration"), rec.Duration)
	l.positive(fedTerm("attempts"), int64(len(rec.Attempts)))
	d := b.deciding()
	if d != nil {
		l.end(d)
	}
	l.failure(rec.Error)
	if rec.ReusedFrom != "" {
		l.put(typeCachedFrom, Name(JobID(rec.ReusedFrom)))
	} else if d == nil || d.Started.IsZero() {
		for i := range rec.Inputs {
			l.put(nameWanted, Name(InputID(&rec.Inputs[i])))
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

// end states how a code ended and what it used.
func (l *attrList) end(a *AttemptRecord) {
	if a.Exit != nil {
		l.put(fedTerm("exitCode"), Int(*a.Exit))
	}
	l.text(fedTerm("signal"), a.Signal)
	l.double(fedTerm("cpuSeconds"), a.CPUSeconds)
	l.double(fedTerm("wallSeconds"), a.WallSeconds)
	l.positive(fedTerm("maxRSS"), a.MaxRSS)
	l.positive(fedTerm("cores"), int64(a.Cores))
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
	l.text(nameORCID, b.rec.Owner.ORCID)
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

// record states the record of the job itself. Its attribution to the coordinators says that some activity of theirs
// made it (PROV-DM section 5.3.2), which is of no interest by itself.
func (b *builder) record() {
	if b.rec.Controller.Name == "" {
		return
	}
	id := RecordID(b.rec.Job)
	l := attrList{{nameType, Name(typeBundle)}, {nameType, Name(typeRecord)}, {nameLabel, String("provenance of " + b.rec.Job)}}
	l.time(voprovTerm("generatedAtTime"), b.rec.Ended)
	b.add(Record{Kind: Entity, ID: id, Attrs: l})
	b.add(Record{Kind: Attribution, Refs: []QName{id, ControllerID()}, Attrs: []Attr{{nameVO, String("Coordinator")}}})
}
