package prov

import (
	"strconv"
	"time"
)

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
		b.ranWith(id, a)
	}
}

// ranWith states the programs that the code needed, in the versions that the site had.
func (b *builder) ranWith(id QName, a *AttemptRecord) {
	for _, s := range a.Software {
		program := SoftwareID(s.Name, s.Version)
		b.add(Record{Kind: Entity, ID: program, Attrs: software(&s, voprovTerm("version"))})
		b.describe(id, program, typeRelated)
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
	l.text(nameSite, a.Site)
	l.text(fedTerm("batchSystem"), a.Batch)
	l.text(fedTerm("batchId"), a.BatchID)
	l.text(fedTerm("node"), a.Node)
	l.time(fedTerm("leasedAt"), a.Leased)
	l.time(fedTerm("submittedAt"), a.Submitted)
	l.time(fedTerm("startedAt"), a.Started)
	l.time(fedTerm("endedAt"), a.Ended)
	l.text(nameOutcome, a.Outcome)
	l.end(a)
	l.failure(a.Error)
	l.text(fedTerm("imageDigest"), a.Image)
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
		l.text(nameSHA256, t.SHA256)
		if t.Failed {
			l.put(nameOutcome, String("failed"))
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
		l := attrList{{nameType, Name(typeReplica)}, {nameSite, String(site)}}
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
