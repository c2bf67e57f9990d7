package state

import (
	"bytes"
	"slices"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"consort/coordinator/command"
	"consort/shared/ids"
	"consort/shared/uws"
)

// States of an attempt (DESIGN section 7).
const (
	AttemptLeased    = "leased"
	AttemptStaging   = "staging"
	AttemptSubmitted = "submitted"
	AttemptRunning   = "running"
	AttemptSuspended = "suspended"
	AttemptUploading = "uploading"
	AttemptCommitted = "committed"
	AttemptFailed    = "failed"
	AttemptLost      = "lost"
	AttemptCancelled = "cancelled"
)

// Error classes that apply knows by name; the others are what a definition's retry policy lists.
const (
	ClassTimeLimit = "timelimit"
	ClassQuota     = "quota"
	ClassPreempted = "preempted"
	ClassLost      = "lost"
)

// rank orders the open states: an attempt only goes up. Running and suspended may alternate.
func rank(state string) int {
	switch state {
	case AttemptLeased:
		return 1
	case AttemptStaging:
		return 2
	case AttemptSubmitted:
		return 3
	case AttemptRunning, AttemptSuspended:
		return 4
	case AttemptUploading:
		return 5
	}
	return 0 // ended, or no state at all
}

// open tells whether an attempt has not ended.
func (a *Attempt) open() bool { return a.ClosedUs == 0 }

func (t *tx) grantLease(c *command.GrantLease) *command.Result {
	j := t.job(c.Job)
	if j == nil || j.Deleted {
		return noJob(c.Job)
	}
	if j.AttemptOpen && j.Epoch == c.Epoch && j.Site == c.Site && !final(j) {
		return answer(j) // repeated
	}
	if bad := t.checkLeaseSite(c.Site); bad != nil {
		return bad
	}
	switch {
	case phase(j) != uws.Queued:
		return refuseJob(j, command.Result_ILLEGAL_PHASE, "a job that is %s cannot be leased", j.Phase)
	case j.AttemptOpen || c.Epoch != j.Epoch+1:
		return refuseJob(j, command.Result_STALE_EPOCH, "the job's attempt %d is the newest; asked for %d", j.Epoch, c.Epoch)
	case t.now < j.NotBeforeUs:
		return refuseJob(j, command.Result_ILLEGAL_PHASE, "the job waits before its next attempt")
	case c.WorkLeaseSeconds < 0 || len(c.Boot) > maxText:
		return refuseJob(j, command.Result_INVALID, "the lease's duration or boot id is malformed")
	}
	before, after := edit(j)
	after.Epoch, after.AttemptOpen, after.Site, after.Reason = c.Epoch, true, c.Site, ""
	after.NotBeforeUs, after.RunStartedUs, after.WorkLeaseUntilUs = 0, 0, addUs(t.now, c.WorkLeaseSeconds)
	t.put(keyAttempt(j.Id, c.Epoch), &Attempt{Job: j.Id, Epoch: c.Epoch, Site: c.Site, Boot: c.Boot,
		State: AttemptLeased, LeasedUs: t.now, WorkLeaseUntilUs: after.WorkLeaseUntilUs})
	t.save(before, after)
	return answer(after)
}

func (t *tx) checkLeaseSite(name string) *command.Result {
	s := t.site(name)
	switch {
	case s == nil:
		return refuse(command.Result_NOT_FOUND, "there is no site %.64q", name)
	case s.EnrolledUs == 0 || s.RevokedUs != 0:
		return refuse(command.Result_REFUSED, "site %s is not enrolled", name)
	}
	return nil
}

// attempt returns job and attempt that an agent speaks of, or the refusal: the attempt must be its own.
func (t *tx) attempt(job string, epoch uint64, site string) (*Job, *Attempt, *command.Result) {
	j, a := t.job(job), new(Attempt)
	if j == nil {
		return nil, nil, noJob(job)
	}
	if !t.get(keyAttempt(job, epoch), a) || a.Site != site {
		return nil, nil, refuseJob(j, command.Result_STALE_EPOCH, "attempt %d is not at this site", epoch)
	}
	return j, a, nil
}

func stale(j *Job, epoch uint64) *command.Result {
	return refuseJob(j, command.Result_STALE_EPOCH, "attempt %d has ended", epoch)
}

func (t *tx) reportAttempt(c *command.ReportAttempt) *command.Result {
	j, a, bad := t.attempt(c.Job, c.Epoch, c.Site)
	if bad != nil {
		return bad
	}
	if !a.open() {
		return stale(j, c.Epoch)
	}
	if bad := checkFacts(j, c.Facts); bad != nil {
		return bad
	}
	was := a.State
	if rank(c.State) > rank(was) || rank(c.State) == 4 && rank(was) == 4 {
		a.State = c.State
	}
	before, after := edit(j)
	t.learn(after, a, c.Facts)
	if rank(a.State) >= 4 && a.RunningUs == 0 {
		a.RunningUs, after.RunStartedUs = t.now, t.now
	}
	t.put(keyAttempt(c.Job, c.Epoch), a)
	if a.Cancelling || final(j) {
		return answer(j) // the job has ended; its phase tells the agent to stop
	}
	before, after = t.follow(before, after, a.State)
	if reason := c.Facts.GetReason(); reason != "" {
		after.Reason = clip(reason, maxReason)
	}
	if a.State != was || !proto.Equal(before, after) {
		t.save(before, after)
	}
	return answer(after)
}

// follow moves the job's phase to where its attempt is, and returns the head as saved and as changed since.
// To SUSPENDED a queued job passes through EXECUTING, since there is no other way (DESIGN section 7).
func (t *tx) follow(before, after *Job, state string) (*Job, *Job) {
	if rank(state) < 4 {
		return before, after
	}
	target := uws.Executing
	if state == AttemptSuspended {
		target = uws.Suspended
	}
	if after.StartedUs == 0 {
		after.StartedUs = t.now
	}
	if phase(after) == target {
		return before, after
	}
	after.Reason = ""
	if !phase(after).CanBecome(target) {
		after.Phase = string(uws.Executing)
		t.save(before, after)
		before, after = edit(after)
	}
	after.Phase = string(target)
	return before, after
}

func (t *tx) stageManifest(c *command.StageManifest) *command.Result {
	j, a, bad := t.attempt(c.Job, c.Epoch, c.Site)
	if bad != nil {
		return bad
	}
	if !a.open() || a.Cancelling || final(j) || c.Epoch != j.Epoch {
		return stale(j, c.Epoch)
	}
	const maxParts = 1 << 16
	if c.Part < 0 || c.Part >= maxParts || len(c.Files) == 0 || len(c.Files) > command.MaxManifestPart {
		return refuseJob(j, command.Result_INVALID, "a manifest has parts 0 to %d of 1 to %d files",
			maxParts-1, command.MaxManifestPart)
	}
	for _, f := range c.Files {
		if !ids.ValidSHA256(f.Sha256) || f.Size < 0 {
			return refuseJob(j, command.Result_INVALID, "file %.256q: its SHA-256 or size is malformed", f.Path)
		}
	}
	k, hash := keyPartHash(c.Job, c.Epoch, c.Part), command.PartHash(c.Files)
	old, staged := t.raw(k)
	if staged && bytes.Equal(old, hash) {
		return answer(j)
	}
	if !staged {
		a.Parts++
		t.put(keyAttempt(c.Job, c.Epoch), a)
	}
	if staged {
		t.forgetFiles(c.Job, c.Epoch, c.Part)
	}
	// A part that replaces another leaves the references of the other: they only keep files a while longer.
	t.set(k, hash)
	t.put(keyPart(c.Job, c.Epoch, c.Part), &ManifestPart{Files: c.Files})
	h := jobHolder(c.Job, c.Epoch)
	for _, f := range c.Files {
		t.hold(h, f.Sha256, f.Size)
	}
	t.occurFiles(c.Job, c.Epoch, c.Part, c.Files)
	return answer(j)
}

func (t *tx) commit(c *command.Commit) *command.Result {
	j, a, bad := t.attempt(c.Job, c.Epoch, c.Site)
	if bad != nil {
		return bad
	}
	if j.CommitEpoch == c.Epoch && a.State == AttemptCommitted {
		return answer(j) // repeated
	}
	if !a.open() || a.Cancelling || final(j) || c.Epoch != j.Epoch {
		return stale(j, c.Epoch)
	}
	if bad := checkFacts(j, c.Facts); bad != nil {
		return bad
	}
	if bad := t.checkManifest(j, c); bad != nil {
		return bad
	}
	before, after := edit(j)
	t.learn(after, a, c.Facts)
	t.ran(after, a)
	t.contribute(j, a, c.Fragment)
	t.put(keyResults(c.Job), &Results{Epoch: c.Epoch, Parts: c.Parts, Outputs: c.Outputs})
	t.end(after, uws.Completed, "")
	after.CommitEpoch, after.Failure = c.Epoch, nil
	after.Request = t.requestOf(after, a.Facts)
	t.close(after, a, AttemptCommitted)
	t.save(before, after)
	return answer(after)
}

// checkManifest tells whether the parts staged are those that the commit means.
func (t *tx) checkManifest(j *Job, c *command.Commit) *command.Result {
	var hashes [][]byte
	for part := range c.Parts {
		hash, ok := t.raw(keyPartHash(c.Job, c.Epoch, part))
		if !ok {
			return refuseJob(j, command.Result_INCOMPLETE, "part %d of the manifest is missing", part)
		}
		hashes = append(hashes, hash)
	}
	if !bytes.Equal(command.ManifestHash(hashes), c.Hash) {
		return refuseJob(j, command.Result_INCOMPLETE, "the parts staged are not those of the manifest: their hash differs")
	}
	return nil
}

func (t *tx) failAttempt(c *command.FailAttempt) *command.Result {
	j, a, bad := t.attempt(c.Job, c.Epoch, c.Site)
	if bad != nil {
		return bad
	}
	ended := AttemptFailed
	if c.Class == ClassLost {
		ended = AttemptLost
	}
	if !a.open() {
		if a.State == ended || a.Cancelling {
			return answer(j) // repeated
		}
		return stale(j, c.Epoch)
	}
	if bad := checkFacts(j, c.Facts); bad != nil {
		return bad
	}
	if c.RetryAfterSeconds < 0 {
		return refuseJob(j, command.Result_INVALID, "the delay before a retry is negative")
	}
	before, after := edit(j)
	t.learn(after, a, c.Facts)
	t.ran(after, a)
	t.contribute(j, a, c.Fragment)
	a.Class, a.Message = clip(c.Class, maxReason), clip(c.Message, maxReason)
	if a.Cancelling || final(j) {
		ended = AttemptCancelled
	} else {
		t.decide(after, c)
	}
	t.close(after, a, ended)
	t.queuePurge(after, a)
	t.save(before, after)
	return answer(after)
}

// decide chooses what becomes of a job whose attempt failed.
func (t *tx) decide(j *Job, c *command.FailAttempt) {
	spec := new(Spec)
	t.get(keySpec(j.Id), spec)
	class, message := clip(c.Class, maxReason), clip(c.Message, maxReason)
	failure := &Failure{Class: class, Message: message}
	canHold := phase(j).CanBecome(uws.Held)
	switch {
	case class == ClassTimeLimit:
		t.end(j, uws.Aborted, message)
	case retries(spec.Retry, class, j.FailedAttempts):
		if class != ClassPreempted && class != ClassLost {
			j.FailedAttempts++
		}
		if phase(j) != uws.Queued {
			j.Phase, j.QueuedUs = string(uws.Queued), t.now
		}
		j.Reason, j.NotBeforeUs = message, addUs(t.now, c.RetryAfterSeconds)
	case class == ClassQuota && canHold, class == ClassLost && canHold && spec.Retry.GetLost() != "stop":
		j.Phase, j.Reason, j.Failure = string(uws.Held), message, failure
	default:
		t.end(j, uws.Error, message)
		j.Failure = failure
	}
}

// retries tells whether the policy asks for another attempt. Being preempted is nobody's fault and does not
// count; neither does a lost site when the definition says "requeue".
func retries(r *command.Retry, class string, failed int32) bool {
	switch {
	case class == ClassLost && r.GetLost() == "requeue":
		return true
	case !slices.Contains(r.GetOn(), class):
		return false
	}
	return class == ClassPreempted || failed < r.GetMax()
}

func (t *tx) closeAttempt(c *command.CloseAttempt) *command.Result {
	j, a, bad := t.attempt(c.Job, c.Epoch, c.Site)
	if bad != nil {
		return bad
	}
	if !a.open() {
		if a.Cancelling {
			return answer(j) // repeated
		}
		return stale(j, c.Epoch)
	}
	if !a.Cancelling {
		return refuseJob(j, command.Result_ILLEGAL_PHASE, "attempt %d is not being cancelled", c.Epoch)
	}
	if bad := checkFacts(j, c.Facts); bad != nil {
		return bad
	}
	before, after := edit(j)
	t.learn(after, a, c.Facts)
	t.ran(after, a)
	t.contribute(j, a, c.Fragment)
	t.close(after, a, AttemptCancelled)
	t.queuePurge(after, a)
	t.save(before, after)
	return answer(after)
}

// close ends the attempt, which is the job's current one. The caller saves the job.
func (t *tx) close(j *Job, a *Attempt, state string) {
	a.State, a.ClosedUs = state, t.now
	t.put(keyAttempt(a.Job, a.Epoch), a)
	t.conclude(j, a)
	j.AttemptOpen, j.RunStartedUs, j.WorkLeaseUntilUs = false, 0, 0
}

// queuePurge asks for what an attempt without results leaves behind to be removed.
func (t *tx) queuePurge(j *Job, a *Attempt) {
	if a.Parts > 0 || archived(j) || j.Deleted {
		t.mark(keyPurge(j.Id))
	}
}

func checkFacts(j *Job, f *command.Facts) *command.Result {
	if len(f.GetLogs()) > maxLogs {
		return refuseJob(j, command.Result_INVALID, "an attempt has at most %d logs", maxLogs)
	}
	for _, l := range f.GetLogs() {
		if !ids.ValidSHA256(l.Sha256) || l.Size < 0 {
			return refuseJob(j, command.Result_INVALID, "log %.64q: its SHA-256 or size is malformed", l.Name)
		}
	}
	return nil
}

// learn merges facts into an attempt: each field that is set replaces what was known. Of a deleted job
// nothing is learnt any more.
func (t *tx) learn(j *Job, a *Attempt, f *command.Facts) {
	if f == nil || j.Deleted {
		return
	}
	if a.Facts == nil {
		a.Facts = new(command.Facts)
	}
	known := a.Facts.ProtoReflect()
	f.ProtoReflect().Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		known.Set(field, value)
		return true
	})
	for _, l := range f.Logs {
		t.hold(logHolder(a.Job, a.Epoch), l.Sha256, l.Size)
	}
}

// ran notes when an attempt's code started, where nobody reported that it ran: it may have been too quick. The
// site's clock is believed between the lease and the end, and when it tells no time, the code started by now.
func (t *tx) ran(j *Job, a *Attempt) {
	f := a.GetFacts()
	if f.GetStartedUs() <= 0 && (f == nil || f.ExitCode == nil) {
		return
	}
	until := t.now
	if j.EndedUs > 0 {
		until = j.EndedUs
	}
	started := until
	if f.StartedUs > 0 {
		started = min(max(f.StartedUs, a.LeasedUs), until)
	}
	if a.RunningUs == 0 {
		a.RunningUs = started
	}
	if j.StartedUs == 0 {
		j.StartedUs = a.RunningUs
	}
}

// contribute stores a site's own part of the provenance as it came. Its number is not checked here: results
// must not be lost over it, and a gap or a repeat in a site's numbers shows whenever they are verified.
func (t *tx) contribute(j *Job, a *Attempt, f *command.Fragment) {
	if f == nil || j.Deleted {
		return
	}
	a.Fragment = f.Number
	t.put(keyFragment(a.Job, a.Epoch), &FragmentRecord{Site: a.Site, Job: a.Job, Epoch: a.Epoch,
		ReceivedUs: t.now, Fragment: f})
	t.mark(keySiteFragment(a.Site, f.Number, a.Job, a.Epoch))
	if s := t.site(a.Site); s != nil && f.Number > s.LastFragment {
		s.LastFragment = f.Number
		t.put(keySite(s.Name), s)
	}
}
