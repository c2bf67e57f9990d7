package prov

import "time"

// countInputs numbers the inputs of roles that have several.
func (b *builder) countInputs() {
	b.several = map[string]int{}
	for _, in := range b.rec.Inputs {
		b.several[in.Role]++
	}
}

// InputID names the occurrence of a file that an input is.
func InputID(in *InputRecord) QName {
	switch {
	case in.Job != "":
		return ResultID(in.Job, in.Result)
	case in.URL != "":
		return ExternalID(in.URL, in.SHA256)
	}
	return UploadID(in.Upload)
}

func (b *builder) inputs() {
	described := map[string]bool{}
	for _, f := range b.rec.Definition.Inputs {
		described[f.Role] = true
	}
	began, known := b.began()
	number := map[string]int{}
	for i := range b.rec.Inputs {
		in := &b.rec.Inputs[i]
		n := 0
		if b.several[in.Role] > 1 {
			number[in.Role]++
			n = number[in.Role]
		}
		s := source{role: in.Role, n: n, entity: InputID(in), sha: in.SHA256}
		b.inputFile(in, s.entity)
		b.retractions(s.entity, in.Retracted, in.Withdrawn)
		if in.Gone {
			b.add(Record{Kind: Invalidation, Refs: []QName{s.entity}, Time: in.Deleted, Attrs: []Attr{{nameReason, String("deleted")}}})
		}
		if known {
			s.used = UsedID(b.rec.Job, in.Role, n)
			l := attrList{{nameRole, String(in.Role)}}
			if described[in.Role] {
				l.put(voprovTerm("usageDescription"), Name(b.part(PartUsed, in.Role)))
			}
			b.add(Record{Kind: Usage, ID: s.used, Refs: []QName{b.job, s.entity}, Time: began, Attrs: l})
		}
		b.sources = append(b.sources, s)
	}
}

// began is when the job began to use its inputs, in the coordinators' time, and whether it ever did. The time is zero
// where the site's clock does not tell it.
func (b *builder) began() (at time.Time, known bool) {
	d := b.deciding()
	if d == nil || d.Started.IsZero() {
		return time.Time{}, b.rec.ReusedFrom != "" // then the results come from the inputs as those of the earlier job do
	}
	at = d.Started
	if at.Before(b.rec.Started) { // the coordinators heard of the start when it had happened
		at = b.rec.Started
	}
	if start, end := b.span(d); b.skewed(d, start, end) || outside(at, b.rec.Started, b.rec.Ended) {
		return time.Time{}, true
	}
	return at, true
}

// inputFile states the entity of an input. Of an earlier job's result only what that job's own record says
// too is repeated, so that both records can stand in one graph.
func (b *builder) inputFile(in *InputRecord, id QName) {
	var l attrList
	l.types(typeDataset)
	if in.Job == "" {
		l.text(nameLabel, in.Name)
		l.text(nameName, in.Name)
	}
	if in.URL != "" {
		l.put(nameLocation, AnyURI(PublicURL(in.URL)))
	}
	b.file(id, l, in.MediaType, in.SHA256, in.Size)
	if in.Upload != "" {
		b.describeFile(id, in.MediaType, PartUsed, in.Role, b.rec.Definition.Inputs)
		b.attribute(id, "Provider")
	}
}

// attribute attributes an entity to the owner of the job.
func (b *builder) attribute(id QName, role string) {
	b.add(Record{Kind: Attribution, Refs: []QName{id, b.owner}, Attrs: []Attr{{nameVO, String(role)}}})
}

// file states an entity that is a file, and joins it to the node of its content.
func (b *builder) file(id QName, l attrList, mediaType, sha string, size *int64) {
	b.digested(id, l, mediaType, sha, size)
	b.content(id, sha, size)
}

// digested states an entity whose digest is known, though no file that is kept has it.
func (b *builder) digested(id QName, l attrList, mediaType, sha string, size *int64) {
	l.text(nameContent, mediaType)
	l.text(nameSHA256, sha)
	l.long(nameBytes, size)
	b.add(Record{Kind: Entity, ID: id, Attrs: l})
}

func (b *builder) content(id QName, sha string, size *int64) {
	if sha == "" {
		return
	}
	var l attrList
	l.types(typeContent)
	l.text(nameSHA256, sha)
	l.long(nameBytes, size)
	b.add(Record{Kind: Entity, ID: ContentID(sha), Attrs: l})
	b.relate(Specialization, id, ContentID(sha))
}

func (b *builder) results() {
	described := map[string]bool{}
	for _, f := range b.rec.Definition.Outputs {
		described[f.Role] = true
	}
	for i := range b.rec.Results {
		r := &b.rec.Results[i]
		var l attrList
		l.types(typeDataset)
		if r.Collection || len(r.Members) > 0 {
			l.types(provTerm("Collection"))
			if len(r.Members) == 0 && !r.Unlisted && b.rec.Destroyed.IsZero() { // else they may be forgotten
				l.types(provTerm("EmptyCollection"))
			}
		}
		name := r.Name
		if name == "" {
			name = r.ID
		}
		l.text(nameLabel, name)
		l.text(nameName, name)
		id := ResultID(b.rec.Job, r.ID)
		b.made(&l)
		if r.Collection {
			b.digested(id, l, r.MediaType, r.SHA256, r.Size)
		} else {
			b.file(id, l, r.MediaType, r.SHA256, r.Size)
		}
		b.describeFile(id, r.MediaType, PartGenerated, r.ID, b.rec.Definition.Outputs)
		b.retractions(id, r.Retracted, r.Withdrawn)
		var of QName
		if described[r.ID] {
			of = b.part(PartGenerated, r.ID)
		}
		b.generated(id, r.ID, of)
		b.attribute(id, "Creator")
		b.members(id, r)
		b.derivations(id, r)
	}
}

// generated states that the job made an entity, and its end if the files went.
func (b *builder) generated(id QName, role string, description QName) {
	l := attrList{{nameRole, String(role)}}
	if !description.IsZero() {
		l.put(voprovTerm("generationDescription"), Name(description))
	}
	b.add(Record{Kind: Generation, ID: GeneratedID(b.rec.Job, role), Refs: []QName{id, b.job}, Time: b.rec.Ended, Attrs: l})
	if b.rec.Destroyed.IsZero() {
		return
	}
	var reason attrList
	reason.text(nameReason, b.rec.Reason)
	b.add(Record{Kind: Invalidation, Refs: []QName{id}, Time: b.rec.Destroyed, Attrs: reason})
}

func (b *builder) members(id QName, r *ResultRecord) {
	for i := range r.Members {
		m := &r.Members[i]
		var l attrList
		l.types(typeDataset)
		l.text(nameLabel, m.Path)
		l.text(nameName, m.Path)
		member := MemberID(b.rec.Job, r.ID, m.Path)
		b.file(member, l, m.MediaType, m.SHA256, m.Size)
		b.retractions(member, m.Retracted, m.Withdrawn)
		b.relate(Membership, id, member)
	}
}

// derivations states what the definition declares, where the job really used it.
func (b *builder) derivations(id QName, r *ResultRecord) {
	for _, role := range r.DerivedFrom {
		for _, s := range b.sources {
			if s.role == role && !s.used.IsZero() {
				b.relate(Derivation, id, s.entity, b.job, GeneratedID(b.rec.Job, r.ID), s.used)
			}
		}
	}
}

// logs states what the code wrote beside its results. No definition declares them, but each has them.
func (b *builder) logs() {
	for _, log := range b.rec.Logs {
		l := attrList{{nameType, Name(typeLog)}, {nameLabel, String(log.ID)}, {nameName, String(log.ID)}}
		if log.Size != nil && log.FullSize > *log.Size {
			l.put(fedTerm("bytesWritten"), Long(log.FullSize))
		}
		description := b.logDescription(log.ID)
		mediaType := description.ContentTypes[0]
		id := ResultID(b.rec.Job, log.ID)
		b.made(&l)
		b.file(id, l, mediaType, log.SHA256, log.Size)
		b.describeFile(id, mediaType, PartGenerated, log.ID, []FileDescription{description})
		b.generated(id, log.ID, b.part(PartGenerated, log.ID))
	}
}

// logDescription states what every definition says of a log, though none declares it.
func (b *builder) logDescription(log string) FileDescription {
	mediaType := "text/plain"
	if log == internalLog {
		mediaType = "application/json"
	}
	description := FileDescription{Role: log, Usage: "Log", ContentTypes: []string{mediaType}}
	b.fileDescription(PartGenerated, "GenerationDescription", description)
	return description
}

// made tells when a file of the job was made, and went.
func (b *builder) made(l *attrList) {
	l.time(voprovTerm("generatedAtTime"), b.rec.Ended)
	l.time(voprovTerm("invalidatedAtTime"), b.rec.Destroyed)
}

// retractions states that somebody took an entity back, and what was withdrawn of that. An entity is invalid only by
// what stands; the other acts influenced it, for a while.
func (b *builder) retractions(id QName, stands *RetractionRecord, withdrawn []RetractionRecord) {
	for i := range withdrawn {
		act := b.retraction(id, &withdrawn[i])
		b.add(Record{Kind: Influence, Refs: []QName{id, act}, Attrs: []Attr{{nameType, Name(typeRetraction)}}})
	}
	if stands == nil {
		return
	}
	act := b.retraction(id, stands)
	l := attrList{{nameType, Name(typeRetraction)}}
	l.text(nameReason, stands.Reason)
	b.add(Record{Kind: Invalidation, Refs: []QName{id, act}, Time: stands.Time, Attrs: l})
}

// retraction states the act of taking an entity back.
func (b *builder) retraction(id QName, r *RetractionRecord) QName {
	act := RetractionID(id, r.Time)
	var l attrList
	l.types(typeRetraction)
	l.text(nameReason, r.Reason)
	l.time(fedTerm("withdrawn"), r.Withdrawn)
	if r.WithdrawnBy != "" {
		l.put(fedTerm("withdrawnBy"), Name(UserID(r.WithdrawnBy)))
	}
	b.add(Record{Kind: Activity, ID: act, Time: r.Time, End: r.Time, Attrs: l})
	b.curator(act, r.By)
	b.curator(act, r.WithdrawnBy)
	return act
}

func (b *builder) curator(act QName, user string) {
	if user == "" {
		return
	}
	by := UserID(user)
	if by != b.owner {
		b.add(Record{Kind: Agent, ID: by, Attrs: []Attr{{nameType, Name(provTerm("Person"))}, {nameName, String(user)}}})
	}
	b.add(Record{Kind: Association, Refs: []QName{act, by}, Attrs: []Attr{{nameRole, String("Curator")}}})
}

// reuse states that the results are those of an earlier job. Of that job only what its own record says too is
// repeated.
func (b *builder) reuse() {
	if b.rec.ReusedFrom == "" {
		return
	}
	old := JobID(b.rec.ReusedFrom)
	b.add(Record{Kind: Activity, ID: old, Attrs: []Attr{{nameType, Name(typeJob)}}})
	b.add(Record{Kind: Communication, Refs: []QName{b.job, old}, Attrs: []Attr{{nameType, Name(typeCachedFrom)}}})
	same := func(result string) {
		there := ResultID(b.rec.ReusedFrom, result)
		b.add(Record{Kind: Entity, ID: there, Attrs: []Attr{{nameType, Name(typeDataset)}}})
		b.relate(Alternate, ResultID(b.rec.Job, result), there)
	}
	for _, r := range b.rec.Results {
		same(r.ID)
		for _, m := range r.Members {
			same(r.ID + "/" + m.Path)
		}
	}
}
