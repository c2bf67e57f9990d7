package prov

import (
	"strconv"
	"time"
)

// configs states the configuration files and the script of the job. Their templates are part of the
// definition's digest.
func (b *builder) configs() {
	for _, c := range b.rec.Configs {
		var l attrList
		l.types(typeConfigFile)
		if c.Script {
			l.types(fedTerm("Script"))
		}
		l.text(nameLabel, c.Name)
		l.text(nameName, c.Name)
		id := ConfigID(b.rec.Job, c.Name)
		b.file(id, l, "", c.SHA256, c.Size)
		b.configured(id, "ConfigFile")
	}
}

// countInputs numbers the inputs of roles that have several.
func (b *builder) countInputs() {
	b.several = map[string]int{}
	for _, in := range b.rec.Inputs {
		b.several[in.Role]++
	}
}

// inputEntity names the occurrence of a file that an input is.
func inputEntity(in *InputRecord) QName {
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
		s := source{role: in.Role, n: n, entity: inputEntity(in), sha: in.SHA256}
		b.inputFile(in, s.entity)
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
		return time.Time{}, false
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
		b.attribute(id, "Provider")
	}
}

// attribute attributes an entity to the owner of the job.
func (b *builder) attribute(id QName, role string) {
	b.add(Record{Kind: Attribution, Refs: []QName{id, b.owner}, Attrs: []Attr{{nameVO, String(role)}}})
}

// file states an entity that is a file, and joins it to the node of its content.
func (b *builder) file(id QName, l attrList, mediaType, sha string, size *int64) {
	l.text(voprovTerm("contentType"), mediaType)
	l.text(nameSHA256, sha)
	l.long(nameBytes, size)
	b.add(Record{Kind: Entity, ID: id, Attrs: l})
	b.content(id, sha, size)
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

func (b *builder) attempts() {
	var previous QName
	for i := range b.rec.Attempts {
		a := &b.rec.Attempts[i]
		id := AttemptID(b.rec.Job, a.Epoch)
		b.attempt(id, a)
		b.partOf(id, b.job)
		if !previous.IsZero() {
			b.add(Record{Kind: Communication, Refs: []QName{id, previous}, Attrs: []Attr{{nameType, Name(typeRetryOf)}}})
		}
		previous = id
		b.operators(id, a)
	}
}

// partOf states that one activity was a part of another.
func (b *builder) partOf(inner, outer QName) {
	b.add(Record{Kind: Communication, Refs: []QName{inner, outer}, Attrs: []Attr{{nameType, Name(typePartOf)}}})
}

func (b *builder) attempt(id QName, a *AttemptRecord) {
	var l attrList
	l.types(typeAttempt)
	l.text(nameLabel, "attempt "+strconv.FormatUint(a.Epoch, 10))
	l.text(fedTerm("site"), a.Site)
	l.text(fedTerm("batchSystem"), a.Batch)
	l.text(fedTerm("batchId"), a.BatchID)
	l.text(fedTerm("node"), a.Node)
	l.time(fedTerm("leasedAt"), a.Leased)
	l.time(fedTerm("submittedAt"), a.Submitted)
	l.time(fedTerm("startedAt"), a.Started)
	l.time(fedTerm("endedAt"), a.Ended)
	l.text(fedTerm("outcome"), a.Outcome)
	if a.Exit != nil {
		l.put(fedTerm("exitCode"), Int(*a.Exit))
	}
	l.failure(a.Error)
	l.text(fedTerm("imageDigest"), a.Image)
	if a.CPUSeconds != nil {
		l.put(fedTerm("cpuSeconds"), Double(*a.CPUSeconds))
	}
	l.positive(fedTerm("maxRSS"), a.MaxRSS)
	l.positive(fedTerm("cores"), int64(a.Cores))
	start, end := b.span(a)
	if b.skewed(a, start, end) {
		l.put(fedTerm("clockSkew"), Boolean(true))
	}
	b.add(Record{Kind: Activity, ID: id, Time: start, End: end, Attrs: l})
}

// span is when an attempt began and ended in the site's time, with the transfers that are parts of it: inputs come
// before the code starts, results go after it has ended.
func (b *builder) span(a *AttemptRecord) (start, end time.Time) {
	start, end = a.Started, a.Ended
	begins := func(t time.Time) {
		if !t.IsZero() && (start.IsZero() || t.Before(start)) {
			start = t
		}
	}
	begins(a.Submitted)
	for i := range b.rec.Transfers {
		t := &b.rec.Transfers[i]
		if t.Epoch != a.Epoch {
			continue
		}
		begins(t.Started)
		if !end.IsZero() && t.Ended.After(end) {
			end = t.Ended
		}
	}
	return start, end
}

// clockTolerance is how far the clocks of site and coordinators may differ without a note: about as much as an
// agent notices.
const clockTolerance = 3 * time.Second

// skewed tells that the site's clock was wrong: the attempt began before the coordinators leased it, or its results
// were theirs before it had ended.
func (b *builder) skewed(a *AttemptRecord, start, end time.Time) bool {
	leased := a.Leased
	if leased.IsZero() {
		leased = b.rec.Created
	}
	if !start.IsZero() && start.Before(leased.Add(-clockTolerance)) {
		return true
	}
	return a.Outcome == OutcomeCommitted && !b.rec.Ended.IsZero() && end.After(b.rec.Ended.Add(clockTolerance))
}

// operators states the programs that ran an attempt, on behalf of the site.
func (b *builder) operators(id QName, a *AttemptRecord) {
	if a.Site == "" {
		return
	}
	b.site(a.Site)
	site := SiteID(a.Site)
	b.add(Record{Kind: Association, Refs: []QName{id, site}, Attrs: []Attr{{nameRole, String("Provider")}}})
	operate := func(agent QName, name, version string) {
		if name == "" {
			return
		}
		b.software(agent, name)
		l := attrList{{nameRole, String("Operator")}}
		l.text(fedTerm("softwareVersion"), version)
		b.add(Record{Kind: Association, Refs: []QName{id, agent, b.plan}, Attrs: l})
		b.relate(Delegation, agent, site, id)
	}
	operate(SiteAgentID(a.Site), a.Agent.Name, a.Agent.Version)
	operate(BatchID(a.Site, a.Batch), a.Batch, "")
}

func (b *builder) transfers() {
	copied := map[QName]bool{}
	for i := range b.rec.Transfers {
		t := &b.rec.Transfers[i]
		id := TransferID(b.rec.Job, t.N)
		var l attrList
		l.types(typeTransfer)
		l.text(fedTerm("direction"), t.Direction)
		l.text(fedTerm("protocol"), t.Protocol)
		l.put(nameBytes, Long(t.Bytes))
		l.positive(fedTerm("files"), t.Files)
		if t.Failed {
			l.put(fedTerm("outcome"), String("failed"))
		}
		b.add(Record{Kind: Activity, ID: id, Time: t.Started, End: t.Ended, Attrs: l})
		b.partOf(id, AttemptID(b.rec.Job, t.Epoch))
		switch {
		case t.Direction == TransferOut && t.Role != "":
			b.relate(Usage, id, ResultID(b.rec.Job, t.Role))
		case t.Direction == TransferIn:
			b.stageIn(id, t, copied)
		}
	}
}

// stageIn states what a transfer to the site read, and the copy that it made. A copy has one generation:
// fetching the same input again at the same site is another reading only.
func (b *builder) stageIn(id QName, t *TransferRecord, copied map[QName]bool) {
	for _, s := range b.sources {
		if s.role != t.Role || s.n != t.Index && !(s.n == 0 && t.Index <= 1) {
			continue
		}
		b.relate(Usage, id, s.entity)
		site := b.siteOf(t.Epoch)
		replica := ReplicaID(b.rec.Job, s.role, s.n, site)
		if t.Failed || site == "" || copied[replica] {
			return
		}
		copied[replica] = true
		l := attrList{{nameType, Name(typeReplica)}, {fedTerm("site"), String(site)}}
		b.file(replica, l, "", s.sha, nil)
		b.add(Record{Kind: Generation, Refs: []QName{replica, id}, Time: t.Ended})
		b.relate(Alternate, replica, s.entity)
		return
	}
}

// siteOf finds the site of an attempt.
func (b *builder) siteOf(epoch uint64) string {
	for _, a := range b.rec.Attempts {
		if a.Epoch == epoch {
			return a.Site
		}
	}
	return ""
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
			if len(r.Members) == 0 {
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
		b.file(id, l, r.MediaType, r.SHA256, r.Size)
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
	reason.text(fedTerm("reason"), b.rec.Reason)
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

func (b *builder) logs() {
	for _, log := range b.rec.Logs {
		l := attrList{{nameType, Name(typeLog)}, {nameLabel, String(log.ID)}, {nameName, String(log.ID)}}
		id := ResultID(b.rec.Job, log.ID)
		b.file(id, l, "text/plain", log.SHA256, log.Size)
		b.generated(id, log.ID, QName{})
	}
}
