package state

import (
	"slices"

	"consort/coordinator/command"
)

// purge removes what a job needs no more, a bounded number of keys at a time: what attempts without results
// staged; of an archived job also the references of its files; of a deleted job all but a bare head and,
// where other jobs used its results, what their provenance needs. What is to go follows from the head alone,
// so the command may be repeated at any time.
func (t *tx) purge(c *command.Purge) *command.Result {
	j := t.job(c.Id)
	if j == nil {
		r := noJob(c.Id)
		r.Done = true
		return r
	}
	limit := max(clampLimit(c.Limit, maxKeys/2), 64) // less might never get anywhere
	done := t.purgeAttempts(j, limit)
	if done && (j.Deleted || archived(j)) {
		done = t.purgeFiles(j, limit)
	}
	if done && j.Deleted {
		done = t.purgeRecords(j, limit)
	}
	if done {
		t.delete(keyPurge(c.Id))
	}
	r := answer(j)
	r.Done = done
	return r
}

// room is how many more keys the purge may touch.
func (t *tx) room(limit int) int { return limit - len(t.order) }

// purgeAttempts removes the staged manifests, and their references, of attempts that ended without results.
func (t *tx) purgeAttempts(j *Job, limit int) bool {
	last := j.Epoch
	if j.AttemptOpen && !final(j) {
		last-- // it may still commit
	}
	before, after := edit(j)
	for after.PurgedEpoch < last {
		epoch := after.PurgedEpoch + 1
		if epoch != j.CommitEpoch {
			manifest := t.dropParts(j, newKey(tagPart).attempt(j.Id, epoch), false, limit) &&
				t.drop(newKey(tagPartHash).attempt(j.Id, epoch), limit)
			if !manifest || !t.dropReferences(jobHolder(j.Id, epoch), nil, limit) {
				break
			}
		}
		after.PurgedEpoch = epoch
	}
	if after.PurgedEpoch != before.PurgedEpoch {
		t.put(keyJob(j.Id), after) // nothing that anybody sees: neither a version nor an event
		j.PurgedEpoch = after.PurgedEpoch
	}
	return after.PurgedEpoch == last
}

// purgeFiles removes references: to inputs, outputs and logs. An archived job keeps what its record is read from.
func (t *tx) purgeFiles(j *Job, limit int) bool {
	var keep []holderFile
	if !j.Deleted {
		keep = t.recordFiles(j)
	}
	return t.dropReferences(holder(newKey(holderJob).raw(j.Id)), keep, limit) &&
		t.dropReferences(holder(newKey(holderLogs).raw(j.Id)), keep, limit)
}

// holderFile is a reference: who keeps which file.
type holderFile struct {
	holder holder
	sha    string
}

// logProvenance is the log in which a code tells of itself.
const logProvenance = "provenance"

// recordFiles are the files that belong to a job's record, not to its data: values of parameters that are too large
// for a command, and what its code told of itself. There are few of them.
func (t *tx) recordFiles(j *Job) []holderFile {
	var files []holderFile
	spec, a := new(Spec), new(Attempt)
	if t.get(keySpec(j.Id), spec) {
		for _, in := range spec.Inputs {
			if in.Source == command.Input_PARAMETERS {
				files = append(files, holderFile{jobHolder(j.Id, 0), in.Sha256})
			}
		}
	}
	if t.get(keyAttempt(j.Id, j.Epoch), a) {
		for _, l := range a.GetFacts().GetLogs() {
			if l.Name == logProvenance {
				files = append(files, holderFile{logHolder(j.Id, j.Epoch), l.Sha256})
			}
		}
	}
	return files
}

// drop deletes the keys with a prefix; it tells whether none is left.
func (t *tx) drop(prefix key, limit int) bool {
	room := t.room(limit)
	keys := t.keys(prefix, room)
	for _, k := range keys {
		t.delete(k)
	}
	return len(keys) < room
}

// dropReferences ends the references of the holders with a prefix, but for the few to keep; it tells whether none is
// left.
func (t *tx) dropReferences(prefix holder, keep []holderFile, limit int) bool {
	const each = 4 // keys written for one reference
	start := newKey(tagReferenceOf).raw(string(prefix))
	room := t.room(limit) / each
	keys := t.keys(start, room)
	for _, k := range keys {
		body, sha := k[1:len(k)-32], k[len(k)-32:]
		if slices.Contains(keep, holderFile{holder(body), hexSHA(sha)}) {
			continue
		}
		t.letGo(holder(body), hexSHA(sha))
	}
	return len(keys) < room
}

// purgeRecords removes the records of a deleted job, whose files are gone already.
func (t *tx) purgeRecords(j *Job, limit int) bool {
	used := len(t.keys(newKey(tagUsedBy).raw(j.Id), 1)) > 0
	if !t.dropParts(j, newKey(tagPart).raw(j.Id), used, limit) || !t.drop(newKey(tagPartHash).raw(j.Id), limit) ||
		!t.drop(newKey(tagFragment).raw(j.Id), limit) || !t.dropFound(j, limit) || !t.scrubAttempts(j, used, limit) {
		return false
	}
	const most = 4*maxInputs + 2*maxInputs + 10 // keys written from here on: inputs, what URLs answered with, records
	if t.room(max(limit, 2*most)) < most {
		return false
	}
	t.scrubSpec(j, used)
	t.scrubResults(j, used)
	t.put(keyJob(j.Id), bareHead(j, used))
	return true
}

// scrubAttempts removes attempts; the one whose results others used keeps site and times, and one that is
// still open stays until it is closed.
func (t *tx) scrubAttempts(j *Job, used bool, limit int) bool {
	room := t.room(limit)
	keys := t.keys(newKey(tagAttempt).raw(j.Id), room)
	for _, k := range keys {
		a := new(Attempt)
		if !t.get(k, a) {
			continue
		}
		if !t.scrubFacts(j, a, used, limit) {
			return false
		}
		if a.open() && j.AttemptOpen || used && a.Epoch == j.CommitEpoch {
			t.put(k, &Attempt{Job: a.Job, Epoch: a.Epoch, Site: a.Site, Boot: a.Boot, State: a.State,
				Cancelling: a.Cancelling, LeasedUs: a.LeasedUs, RunningUs: a.RunningUs, ClosedUs: a.ClosedUs,
				WorkLeaseUntilUs: a.WorkLeaseUntilUs, Fragment: a.Fragment})
			continue
		}
		t.delete(k)
	}
	return len(keys) < room
}

// scrubSpec erases values and file names. Where others used the job's results, the relations to its own
// inputs stay; else they go, and with them what kept the records of deleted jobs it used.
func (t *tx) scrubSpec(j *Job, used bool) {
	spec := new(Spec)
	if !t.get(keySpec(j.Id), spec) {
		return
	}
	if used {
		bare := &Spec{Externals: spec.Externals}
		for _, in := range spec.Inputs {
			bare.Inputs = append(bare.Inputs, &command.Input{Name: in.Name, Source: in.Source, Sha256: in.Sha256,
				Size: in.Size, FromJob: in.FromJob, FromResult: in.FromResult, Upload: in.Upload})
		}
		t.put(keySpec(j.Id), bare)
		return
	}
	for _, in := range spec.Inputs {
		if entity := inputEntity(in); entity != "" {
			t.forgetUse(j, entity, in.Sha256)
		}
		if in.Source == command.Input_JOB {
			t.leaveResult(j.Id, in)
		}
	}
	for _, e := range spec.Externals {
		t.forgetUse(j, e.Entity, e.Sha256)
	}
	t.delete(keySpec(j.Id))
}

// scrubResults keeps ids, hashes and sizes of results that others used.
func (t *tx) scrubResults(j *Job, used bool) {
	results := new(Results)
	if !t.get(keyResults(j.Id), results) {
		return
	}
	if !used {
		t.delete(keyResults(j.Id))
		return
	}
	bare := &Results{Epoch: results.Epoch}
	for _, o := range results.Outputs {
		bare.Outputs = append(bare.Outputs, &command.Output{Id: o.Id, Collection: o.Collection, Sha256: o.Sha256,
			Size: o.Size, ContentType: o.ContentType, Files: o.Files})
	}
	t.put(keyResults(j.Id), bare)
}

// bareHead is what stays of a deleted job for ever: its id is never given again.
func bareHead(j *Job, used bool) *Job {
	bare := &Job{Id: j.Id, Definition: j.Definition, DefinitionVersion: j.DefinitionVersion, Digest: j.Digest,
		Phase: j.Phase, Version: j.Version, CreatedUs: j.CreatedUs, EndedUs: j.EndedUs, Deleted: true, DeletedUs: j.DeletedUs,
		Epoch: j.Epoch, AttemptOpen: j.AttemptOpen, PurgedEpoch: j.PurgedEpoch}
	if j.AttemptOpen {
		bare.Site, bare.WorkLeaseUntilUs = j.Site, j.WorkLeaseUntilUs
		bare.RunStartedUs, bare.ExecutionSeconds = j.RunStartedUs, j.ExecutionSeconds // memory has them too
	}
	if used {
		bare.StartedUs, bare.CommitEpoch, bare.Site = j.StartedUs, j.CommitEpoch, j.Site
		bare.ReusedFrom = j.ReusedFrom
	}
	return bare
}
