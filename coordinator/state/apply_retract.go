package state

import (
	"cmp"
	"fmt"
	"time"

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
		return &command.Result{Message: fmt.Sprintf("%.256q was retracted at %s by %s: %s", c.Entity, timeText(old.TimeUs), whoText(old.By), old.Reason)}
	}
	if !t.exists(c.Entity, c.Sha256) {
		return refuse(command.Result_NOT_FOUND, "there is no entity %.256q with this content", c.Entity)
	}
	fresh := &Retraction{Entity: c.Entity, Sha256: c.Sha256, TimeUs: t.now, By: t.who, Reason: c.Reason}
	if known {
		fresh.Former = former(old)
	}
	t.put(k, fresh)
	return new(command.Result)
}

// maxFormer bounds the withdrawn retractions that are kept of one entity.
const maxFormer = 20

// former are the earlier retractions for one that follows r, which was withdrawn.
func former(r *Retraction) []*Retraction {
	list := append(r.Former, r)
	r.Former, r.Entity, r.Sha256 = nil, "", "" // as in the new one
	return list[max(len(list)-maxFormer, 0):]
}

func (t *tx) withdraw(entity string, known bool, r *Retraction) *command.Result {
	switch {
	case !known:
		return refuse(command.Result_NOT_FOUND, "%.256q is not retracted", entity)
	case r.WithdrawnUs != 0:
		return refuse(command.Result_NOT_FOUND, "%.256q is not retracted: %s withdrew that at %s", entity, whoText(r.WithdrawnBy), timeText(r.WithdrawnUs))
	}
	r.WithdrawnUs, r.WithdrawnBy = t.now, t.who
	t.put(keyRetraction(entity), r)
	return new(command.Result)
}

func timeText(us int64) string { return time.UnixMicro(us).UTC().Format(time.RFC3339) }

func whoText(principal string) string { return cmp.Or(principal, "anonymous") }

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
