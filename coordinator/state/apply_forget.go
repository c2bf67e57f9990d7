package state

import (
	"encoding/binary"

	"consort/coordinator/command"
	"consort/shared/ids"
	"consort/shared/prov"
)

// forgetFiles removes the occurrences of a staged part that another takes the place of.
func (t *tx) forgetFiles(job string, epoch uint64, part int32) {
	old := new(ManifestPart)
	t.get(keyPart(job, epoch, part), old)
	for _, f := range old.Files {
		if _, ours := t.fileOccurrence(job, epoch, part, f); ours {
			t.delete(keyFile(job, f))
		}
	}
}

// fileOccurrence returns the occurrence of a part's file, and whether there is one: the same file of a later
// attempt takes its place.
func (t *tx) fileOccurrence(job string, epoch uint64, part int32, f *command.File) (*OccurrenceRecord, bool) {
	r := new(OccurrenceRecord)
	found := t.get(keyFile(job, f), r)
	return r, found && r.Kind == OccurrenceRecord_FILE && r.Epoch == epoch && r.Part == part
}

// dropParts removes parts of manifests and the occurrences of their files; it tells whether none is left. Of
// a deleted job the occurrences of what others used stay.
func (t *tx) dropParts(j *Job, prefix key, used bool, limit int) bool {
	room := t.room(limit)
	keys := t.keys(prefix, room)
	for _, k := range keys {
		part := new(ManifestPart)
		t.get(k, part)
		tail := k[len(k)-12:]
		for _, f := range part.Files {
			r, ours := t.fileOccurrence(j.Id, keyU64(tail), int32(binary.BigEndian.Uint32(tail[8:])), f)
			if ours && !t.dropFile(j, f, r, used, limit) {
				return false
			}
		}
		if t.room(limit) < 1 {
			return false
		}
		t.delete(k)
	}
	return len(keys) < room
}

// dropFile removes the occurrence of a file; it tells whether there was room to.
func (t *tx) dropFile(j *Job, f *command.File, r *OccurrenceRecord, used bool, limit int) bool {
	if t.room(limit) < 2 {
		return false
	}
	t.delete(keyFile(j.Id, f))
	if !used {
		return true
	}
	entity, _ := visibleEntity(r, t.lookup)
	if entity == "" {
		return true
	}
	result := f.Output
	if entity != prov.ResultID(j.Id, result).Local {
		result += "/" + f.Path
	}
	if t.taken(j.Id, result, "") {
		t.put(keyOccurrence(f.Sha256, entity),
			&OccurrenceRecord{Kind: OccurrenceRecord_RESULT, Job: j.Id, Epoch: r.Epoch, Entity: entity})
	}
	return true
}

// taken tells whether a job other than the one given took a result.
func (t *tx) taken(job, result, but string) bool {
	return t.another(newKey(tagUsedBy).raw(job).text(result), but) != ""
}

// another returns a job other than the one given from the end of a key with the prefix.
func (t *tx) another(prefix key, but string) string {
	for _, k := range t.keys(prefix, 2) {
		if id := string(k[len(k)-ids.JobLen:]); id != but {
			return id
		}
	}
	return ""
}

// dropFound removes the keys by which a job can be found; it tells whether none is left.
func (t *tx) dropFound(j *Job, limit int) bool {
	for _, k := range t.foundKeys(j) {
		if !t.has(k) {
			continue
		}
		if t.room(limit) < 1 {
			return false
		}
		t.delete(k)
	}
	return true
}

// scrubFacts forgets the logs of a deleted job's attempt, and what URLs answered with; it tells whether there
// was room to. What went into results that others used stays, in the spec.
func (t *tx) scrubFacts(j *Job, a *Attempt, used bool, limit int) bool {
	for _, l := range a.GetFacts().GetLogs() {
		k := keyOccurrence(l.Sha256, logEntity(j.Id, l))
		if !t.has(k) {
			continue
		}
		if t.room(limit) < 1 {
			return false
		}
		t.delete(k)
	}
	if len(a.GetFacts().GetTransfers()) == 0 {
		return t.room(limit) > 0
	}
	spec := t.spec(j.Id)
	told := externals(spec, a.Facts)
	if used && a.Epoch == j.CommitEpoch {
		spec.Externals = told
		t.put(keySpec(j.Id), spec)
		return t.room(limit) > 0
	}
	for _, e := range told {
		if !t.has(keyUse(e.Entity, j)) {
			continue
		}
		if t.room(limit) < 3 {
			return false
		}
		t.forgetUse(j, e.Entity, e.Sha256)
	}
	return t.room(limit) > 0
}

// forgetUse removes a job's use of an entity. The occurrence of an input goes with the last job that used it.
func (t *tx) forgetUse(j *Job, entity, sha string) {
	if k := keyUse(entity, j); t.has(k) {
		t.delete(k)
	}
	k, r := keyOccurrence(sha, entity), new(OccurrenceRecord)
	if !t.get(k, r) || r.Kind != OccurrenceRecord_INPUT {
		return
	}
	switch other := t.another(prefixUse(entity), j.Id); {
	case other == "":
		t.delete(k)
	case r.Job == j.Id:
		r.Job = other
		t.put(k, r)
	}
}

// leaveResult ends what a job's input keeps of another job. If that one was deleted, more of it may go now.
func (t *tx) leaveResult(id string, in *command.Input) {
	if !ids.ValidJob(in.FromJob) {
		return
	}
	t.delete(keyUsedBy(in.FromJob, in.FromResult, id))
	source := t.job(in.FromJob)
	if source == nil || !source.Deleted {
		return
	}
	t.mark(keyPurge(source.Id))
	k := keyOccurrence(in.Sha256, prov.ResultID(in.FromJob, in.FromResult).Local)
	if !t.taken(in.FromJob, in.FromResult, id) && t.has(k) {
		t.delete(k)
	}
}
