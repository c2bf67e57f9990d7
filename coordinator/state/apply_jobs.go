package state

import (
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"consort/coordinator/command"
	"consort/shared/ids"
	"consort/shared/uws"
)

// Limits of a job (DESIGN section 12). A create is bounded by the size of a command too; these also hold
// for a job that grows by updates.
const (
	maxParameters = 1_000
	maxInputs     = 100
	maxSpecBytes  = 128 << 10
	maxReason     = 1 << 10
)

// createJob makes a job. Repeated with the same id it answers with the job there is.
func (t *tx) createJob(c *command.CreateJob) *command.Result {
	if bad := checkCreate(c); bad != nil {
		return bad
	}
	if j := t.job(c.Id); j != nil {
		if j.Owner != c.Owner || j.Digest != c.Digest {
			return refuse(command.Result_EXISTS, "job id %s is taken", c.Id)
		}
		return answer(j)
	}
	digest, found := t.digest(c.Definition, c.Version)
	if !found {
		return refuse(command.Result_NOT_FOUND, "there is no definition %s@%s", c.Definition, c.Version)
	}
	if digest != c.Digest {
		return refuse(command.Result_REFUSED, "definition %s@%s has another digest", c.Definition, c.Version)
	}
	spec := &Spec{Parameters: c.Parameters, Inputs: c.Inputs, Resources: c.Resources, Retry: c.Retry}
	if bad := checkSpec(spec); bad != nil {
		return bad
	}
	if bad := t.checkSources(spec.Inputs); bad != nil {
		return bad
	}
	j := &Job{
		Id: c.Id, Owner: c.Owner, Definition: c.Definition, DefinitionVersion: c.Version, Digest: c.Digest,
		RunId: c.RunId, Phase: string(uws.Pending), CreatedUs: t.now,
		MaxExecutionSeconds: c.MaxExecutionSeconds, MaxRetentionSeconds: c.MaxRetentionSeconds,
		HasSecrets: hasSecrets(spec),
	}
	j.ExecutionSeconds = clampExecution(c.ExecutionSeconds, j)
	j.DestructionUs = clampDestruction(firstDestruction(c, t.now), j)
	t.put(keySpec(j.Id), spec)
	t.holdInputs(j.Id, nil, spec.Inputs)
	switch {
	case c.ReuseOf != "":
		if bad := t.reuse(j, spec, c.ReuseOf); bad != nil {
			return bad
		}
		t.useInputs(j, spec)
	case c.Run:
		j.Phase, j.QueuedUs = string(uws.Queued), t.now
		t.useInputs(j, spec)
	}
	t.save(nil, j)
	return answer(j)
}

func checkCreate(c *command.CreateJob) *command.Result {
	switch {
	case !ids.ValidJob(c.Id):
		return refuse(command.Result_INVALID, "%.64q is not a job id", c.Id)
	case !ids.ValidName(c.Definition) || !ids.ValidVersion(c.Version):
		return refuse(command.Result_INVALID, "%.64q@%.64q does not name a definition", c.Definition, c.Version)
	case len(c.Owner) > maxText || len(c.RunId) > maxText:
		return refuse(command.Result_TOO_LARGE, "the owner's name or the RUNID has more than %d bytes", maxText)
	case c.ExecutionSeconds < 0 || c.RetentionSeconds < 0 || c.DestructionUs < 0 ||
		c.MaxExecutionSeconds < 0 || c.MaxRetentionSeconds < 0:
		return refuse(command.Result_INVALID, "a duration or a time is negative")
	}
	return nil
}

// firstDestruction is the destruction time asked for; 0 is as late as may be.
func firstDestruction(c *command.CreateJob, now int64) int64 {
	if c.DestructionUs > 0 || c.RetentionSeconds == 0 {
		return c.DestructionUs
	}
	return addUs(now, c.RetentionSeconds)
}

// clampExecution keeps a run time within the definition's; a server may override (UWS 1.1, section 2.2.3.2).
func clampExecution(seconds int64, j *Job) int64 {
	limit := j.MaxExecutionSeconds
	if limit > 0 && (seconds == 0 || seconds > limit) {
		return limit
	}
	return seconds
}

// clampDestruction keeps a destruction time within the definition's retention; 0 becomes the latest there
// is, or never.
func clampDestruction(us int64, j *Job) int64 {
	if j.MaxRetentionSeconds > 0 {
		latest := addUs(j.CreatedUs, j.MaxRetentionSeconds)
		if us == 0 || us > latest {
			return latest
		}
	}
	return min(us, maxTimeUs)
}

func hasSecrets(s *Spec) bool {
	return slices.ContainsFunc(s.Parameters, func(p *command.Parameter) bool { return p.Secret })
}

// checkSpec tells what is wrong with a spec; nil when nothing is.
func checkSpec(s *Spec) *command.Result {
	if len(s.Parameters) > maxParameters || len(s.Inputs) > maxInputs || proto.Size(s) > maxSpecBytes {
		return refuse(command.Result_TOO_LARGE,
			"a job has at most %d parameters, %d inputs and %d bytes of both", maxParameters, maxInputs, maxSpecBytes)
	}
	for _, in := range s.Inputs {
		if in.Sha256 != "" && !ids.ValidSHA256(in.Sha256) || in.Size < 0 {
			return refuse(command.Result_INVALID, "input %.64q: its SHA-256 or size is malformed", in.Name)
		}
		if in.Source == command.Input_URL {
			continue
		}
		if in.Sha256 == "" {
			return refuse(command.Result_INVALID, "input %.64q has no SHA-256", in.Name)
		}
		if in.Source != command.Input_JOB {
			continue
		}
		if !ids.ValidJob(in.FromJob) || len(in.FromResult) > maxText {
			return refuse(command.Result_INVALID, "input %.64q does not name a result of a job", in.Name)
		}
	}
	return nil
}

// holdInputs changes what a job's inputs hold from those of old to those of fresh: files, and the results of
// other jobs they came from.
func (t *tx) holdInputs(id string, old, fresh []*command.Input) {
	h := jobHolder(id, 0)
	roles := map[string][]string{} // of results, by key
	for _, in := range fresh {
		if in.Sha256 != "" {
			t.hold(h, in.Sha256, in.Size)
		}
		if in.Source == command.Input_JOB {
			k := keyUsedBy(in.FromJob, in.FromResult, id)
			if !slices.Contains(roles[string(k)], in.Name) {
				roles[string(k)] = append(roles[string(k)], in.Name)
			}
			t.set(k, []byte(strings.Join(roles[string(k)], ",")))
		}
	}
	for _, in := range old {
		if in.Sha256 != "" && !slices.ContainsFunc(fresh, func(f *command.Input) bool { return f.Sha256 == in.Sha256 }) {
			t.letGo(h, in.Sha256)
		}
		if in.Source == command.Input_JOB && !slices.ContainsFunc(fresh, func(f *command.Input) bool { return sameResult(f, in) }) {
			t.leaveResult(id, in)
		}
	}
}

func sameResult(a, b *command.Input) bool {
	return a.Source == b.Source && a.FromJob == b.FromJob && a.FromResult == b.FromResult
}

// checkSources tells which inputs come from jobs that have no results, or whose files are gone.
func (t *tx) checkSources(inputs []*command.Input) *command.Result {
	for _, in := range inputs {
		if in.Source != command.Input_JOB {
			continue
		}
		if j := t.job(in.FromJob); j == nil || j.Deleted || archived(j) || j.CommitEpoch == 0 {
			return refuse(command.Result_NOT_FOUND, "input %.64q: job %s has no results, or not any more", in.Name, in.FromJob)
		}
	}
	return nil
}

func (t *tx) updateJob(c *command.UpdateJob) *command.Result {
	j := t.job(c.Id)
	if j == nil || j.Deleted {
		return noJob(c.Id)
	}
	draft := phase(j) == uws.Pending
	changesSpec := len(c.SetParameters)+len(c.SetInputs)+len(c.Unset) > 0 || c.Resources != nil
	switch {
	case archived(j), changesSpec && !draft, c.ExecutionSeconds != nil && final(j):
		return refuseJob(j, command.Result_ILLEGAL_PHASE, "this cannot be changed while the job is %s", j.Phase)
	case c.GetExecutionSeconds() < 0 || c.GetDestructionUs() < 0:
		return refuseJob(j, command.Result_INVALID, "a duration or a time is negative")
	case len(c.GetRunId()) > maxText:
		return refuseJob(j, command.Result_TOO_LARGE, "the RUNID has more than %d bytes", maxText)
	}
	before, after := edit(j)
	if changesSpec {
		if bad := t.updateSpec(after, c); bad != nil {
			return bad
		}
	}
	if c.RunId != nil {
		after.RunId = *c.RunId
	}
	if c.ExecutionSeconds != nil {
		after.ExecutionSeconds = clampExecution(*c.ExecutionSeconds, after)
	}
	if c.DestructionUs != nil {
		after.DestructionUs = clampDestruction(*c.DestructionUs, after)
	}
	t.save(before, after)
	return answer(after)
}

// updateSpec changes parameters, inputs and resources of a draft.
func (t *tx) updateSpec(j *Job, c *command.UpdateJob) *command.Result {
	spec := new(Spec)
	t.get(keySpec(j.Id), spec)
	old := slices.Clone(spec.Inputs)
	for _, name := range c.Unset {
		spec.Parameters = slices.DeleteFunc(spec.Parameters, func(p *command.Parameter) bool { return p.Name == name })
		spec.Inputs = slices.DeleteFunc(spec.Inputs, func(in *command.Input) bool { return in.Name == name })
	}
	for _, p := range c.SetParameters {
		spec.Parameters = replace(spec.Parameters, p)
	}
	spec.Inputs = slices.DeleteFunc(spec.Inputs, func(in *command.Input) bool { // an input may have several files
		return slices.ContainsFunc(c.SetInputs, func(set *command.Input) bool { return set.Name == in.Name })
	})
	spec.Inputs = append(spec.Inputs, c.SetInputs...)
	if c.Resources != nil {
		spec.Resources = c.Resources
	}
	if bad := checkSpec(spec); bad != nil {
		return bad
	}
	if bad := t.checkSources(c.SetInputs); bad != nil {
		return bad
	}
	j.HasSecrets = hasSecrets(spec)
	t.put(keySpec(j.Id), spec)
	t.holdInputs(j.Id, old, spec.Inputs)
	return nil
}

// replace puts item in the place of the one with its name, or at the end.
func replace[T interface{ GetName() string }](items []T, item T) []T {
	for i := range items {
		if items[i].GetName() == item.GetName() {
			items[i] = item
			return items
		}
	}
	return append(items, item)
}

func (t *tx) runJob(c *command.RunJob) *command.Result {
	j := t.job(c.Id)
	if j == nil || j.Deleted {
		return noJob(c.Id)
	}
	switch phase(j) {
	case uws.Queued:
		return answer(j)
	case uws.Pending, uws.Held:
	default:
		return refuseJob(j, command.Result_ILLEGAL_PHASE, "a job that is %s cannot be run", j.Phase)
	}
	if phase(j) == uws.Pending {
		t.useInputs(j, t.spec(j.Id))
	}
	before, after := edit(j)
	after.Phase, after.QueuedUs = string(uws.Queued), t.now
	after.Reason, after.Failure, after.FailedAttempts, after.NotBeforeUs = "", nil, 0, 0
	t.save(before, after)
	return answer(after)
}

func (t *tx) abortJob(c *command.AbortJob) *command.Result {
	j := t.job(c.Id)
	switch {
	case j == nil || j.Deleted:
		return noJob(c.Id)
	case final(j):
		return answer(j)
	case c.Epoch != 0 && (c.Epoch != j.Epoch || !j.AttemptOpen):
		return refuseJob(j, command.Result_STALE_EPOCH, "attempt %d is not the current one", c.Epoch)
	}
	return answer(t.abort(j, c.Reason))
}

// abort ends a job that has not ended. Its open attempt goes on as cancelling until it is closed.
func (t *tx) abort(j *Job, reason string) *Job {
	before, after := edit(j)
	t.end(after, uws.Aborted, reason)
	if a := new(Attempt); after.AttemptOpen && t.get(keyAttempt(j.Id, j.Epoch), a) {
		a.Cancelling = true
		t.put(keyAttempt(j.Id, j.Epoch), a)
	}
	t.save(before, after)
	return after
}

// end gives a job its final phase and wipes its secrets. The caller saves it.
func (t *tx) end(j *Job, p uws.Phase, reason string) {
	j.Phase, j.EndedUs, j.Reason, j.NotBeforeUs = string(p), t.now, clip(reason, maxReason), 0
	if !j.HasSecrets {
		return
	}
	spec := new(Spec)
	if t.get(keySpec(j.Id), spec) {
		for _, p := range spec.Parameters {
			if p.Secret {
				p.Values = nil
			}
		}
		t.put(keySpec(j.Id), spec)
	}
	j.HasSecrets = false
}

// deleteJob hides a job; a job that has not ended is aborted first. Repeating it changes nothing.
func (t *tx) deleteJob(c *command.DeleteJob) *command.Result {
	j := t.job(c.Id)
	if j == nil {
		return noJob(c.Id)
	}
	if j.Deleted {
		return answer(j)
	}
	if !final(j) {
		j = t.abort(j, "deleted by its user")
	}
	before, after := edit(j)
	after.Deleted, after.DeletedUs = true, t.now
	t.save(before, after)
	t.mark(keyPurge(j.Id))
	return answer(after)
}

// archiveJob ends the life of a job's files at its destruction time.
func (t *tx) archiveJob(c *command.ArchiveJob) *command.Result {
	j := t.job(c.Id)
	if j == nil {
		return noJob(c.Id)
	}
	if j.Deleted || archived(j) || j.DestructionUs == 0 || j.DestructionUs > c.DueUs {
		return answer(j)
	}
	const reason = "its destruction time came"
	if !final(j) {
		j = t.abort(j, reason)
	}
	before, after := edit(j)
	after.Phase, after.Reason = string(uws.Archived), reason
	t.save(before, after)
	t.mark(keyPurge(j.Id))
	return answer(after)
}
