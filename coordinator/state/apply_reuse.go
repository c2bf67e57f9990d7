package state

import (
	"consort/coordinator/command"
	"consort/shared/uws"
)

// maxReuseFiles is the greatest manifest that a job can take over: all of it is written in one command.
const maxReuseFiles = 450

// reuse gives a new job the results of another, as if it had computed them now. They are copied, records and
// references, so that neither job needs the other from then on.
func (t *tx) reuse(j *Job, spec *Spec, from string) *command.Result {
	old, results := t.job(from), new(Results)
	switch {
	case from == j.Id:
		return refuse(command.Result_INVALID, "a job cannot reuse its own results")
	case old == nil || old.Deleted || archived(old):
		return refuse(command.Result_NOT_FOUND, "job %.64q has no results, or not any more", from)
	case phase(old) != uws.Completed || !t.get(keyResults(from), results):
		return refuse(command.Result_ILLEGAL_PHASE, "job %s is %s: it has no results", from, old.Phase)
	case !t.sameRequest(j, spec, old):
		return refuse(command.Result_REFUSED, "job %s computed something else", from)
	}
	if bad, _ := retractedOf(old, t.lookup); len(bad) > 0 { // an error sticks to t
		return refuse(command.Result_REFUSED, "job %s used or made what is retracted: %.256q", from, bad[0])
	}
	const epoch = 1
	if bad := t.copyParts(old, j.Id, epoch, results.Parts); bad != nil {
		return bad
	}
	results.Epoch = epoch
	t.put(keyResults(j.Id), results)
	j.ReusedFrom, j.CommitEpoch = from, epoch
	j.QueuedUs, j.StartedUs = t.now, t.now
	t.end(j, uws.Completed, "")
	return nil
}

// sameRequest tells whether a new job asks for what the old one computed.
func (t *tx) sameRequest(j *Job, spec *Spec, old *Job) bool {
	a := new(Attempt)
	t.get(keyAttempt(old.Id, old.CommitEpoch), a)
	want, known := RequestDigest(j.Digest, spec.Inputs, spec.Parameters, t.definition(j).Defaults)
	return known && string(want) == string(t.requestOf(old, a.Facts))
}

// copyParts gives a job a copy of another one's manifest, and references to its files.
func (t *tx) copyParts(old *Job, id string, epoch uint64, parts int32) *command.Result {
	h, files := jobHolder(id, epoch), 0
	for n := range parts {
		part := new(ManifestPart)
		hash, ok := t.raw(keyPartHash(old.Id, old.CommitEpoch, n))
		if !t.get(keyPart(old.Id, old.CommitEpoch, n), part) || !ok {
			return refuse(command.Result_NOT_FOUND, "part %d of the manifest of job %s is gone", n, old.Id)
		}
		if files += len(part.Files); files > maxReuseFiles {
			return refuse(command.Result_TOO_LARGE, "job %s has more than %d files: too many to be reused at once", old.Id, maxReuseFiles)
		}
		for _, f := range part.Files {
			if !t.has(keyContent(f.Sha256)) {
				return refuse(command.Result_NOT_FOUND, "the content of file %.256q of job %s is gone", f.Path, old.Id)
			}
			t.hold(h, f.Sha256, f.Size)
		}
		t.put(keyPart(id, epoch, n), part)
		t.set(keyPartHash(id, epoch, n), hash)
		t.occurFiles(id, epoch, n, part.Files)
	}
	return nil
}
