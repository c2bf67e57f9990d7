package state

import (
	"consort/coordinator/command"
	"consort/shared/ids"
	"consort/shared/prov"
)

// retract marks an entity as not to be used any more, or withdraws the mark. The mark stays when its job is
// deleted: what was made of the entity may be elsewhere by then.
func (t *tx) retract(c *command.Retract) *command.Result {
	if len(c.Reason) > maxReason || len(t.who) > maxText {
		return refuse(command.Result_TOO_LARGE, "the reason has more than %d bytes, or the principal more than %d", maxReason, maxText)
	}
	old, k := new(Retraction), keyRetraction(c.Entity)
	known := t.get(k, old)
	if c.Withdraw {
		return t.withdraw(c.Entity, known, old)
	}
	if !ids.ValidSHA256(c.Sha256) {
		return refuse(command.Result_INVALID, "what is retracted is named by its entity and the SHA-256 of its content")
	}
	if known && old.WithdrawnUs == 0 {
		return new(command.Result) // repeated
	}
	if !t.exists(c.Entity, c.Sha256) {
		return refuse(command.Result_NOT_FOUND, "there is no entity %.256q with this content", c.Entity)
	}
	t.put(k, &Retraction{Entity: c.Entity, Sha256: c.Sha256, TimeUs: t.now, By: t.who, Reason: c.Reason})
	return new(command.Result)
}

func (t *tx) withdraw(entity string, known bool, r *Retraction) *command.Result {
	switch {
	case !known:
		return refuse(command.Result_NOT_FOUND, "entity %.256q was not retracted", entity)
	case r.WithdrawnUs == 0:
		r.WithdrawnUs, r.WithdrawnBy = t.now, t.who
		t.put(keyRetraction(entity), r)
	}
	return new(command.Result)
}

// exists tells whether an entity with this content is known.
func (t *tx) exists(entity, sha string) bool {
	r := new(OccurrenceRecord)
	if t.get(keyOccurrence(sha, entity), r) {
		if visible, _ := visibleEntity(r, t.lookup); visible == entity {
			return true
		}
	}
	// A result of one file stands under its name as a member; a collection has content but does not occur.
	if len(entity) < ids.JobLen || !ids.ValidJob(entity[:ids.JobLen]) {
		return false
	}
	job, results := entity[:ids.JobLen], new(Results)
	t.get(keyResults(job), results)
	for _, o := range results.Outputs {
		if o.Sha256 == sha && prov.ResultID(job, o.Id).Local == entity {
			return true
		}
	}
	return false
}
