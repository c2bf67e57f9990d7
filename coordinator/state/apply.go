package state

import (
	"bytes"
	"fmt"

	"consort/coordinator/command"
)

// maxTimeUs is the last time a command may set: the end of the year 9999. Later ones are taken for a broken
// clock, so that no sum of times overflows.
const maxTimeUs = 253_402_300_799_999_999

// ApplyBatch applies committed entries, in order, and returns a *command.Result for each; nil for entries
// that were applied before. What a command refuses is a result. An error means that this node must stop and
// that nothing of the entry concerned was written: an entry it cannot read (command.ErrUnknown), or a disk
// that fails. Nothing can be applied after an error.
func (s *Store) ApplyBatch(entries []Entry) ([]any, error) {
	s.applying.Lock()
	defer s.applying.Unlock()
	if s.halted != nil {
		return nil, s.halted
	}
	results, err := s.applyBatch(entries)
	if err != nil {
		s.halted = fmt.Errorf("apply: %w", err)
		return nil, s.halted
	}
	return results, nil
}

func (s *Store) applyBatch(entries []Entry) ([]any, error) {
	// All are decoded first: a batch with an unknown command writes nothing.
	commands := make([]*command.Command, len(entries))
	applied := s.meta.AppliedIndex
	for i, e := range entries {
		if e.Index <= applied {
			continue
		}
		c, err := command.Decode(e.Data)
		if err != nil {
			return nil, fmt.Errorf("entry %d: %w", e.Index, err)
		}
		commands[i], applied = c, e.Index
	}
	results := make([]any, len(entries))
	b := s.begin()
	defer func() { b.discard() }()
	for i, c := range commands {
		if c == nil {
			continue
		}
		r, err := b.apply(c, entries[i])
		if err != nil {
			return nil, fmt.Errorf("entry %d: %w", entries[i].Index, err)
		}
		results[i] = r
	}
	return results, b.commit()
}

// apply runs one command. Its writes enter the batch only when it answers OK.
func (b *batch) apply(c *command.Command, e Entry) (*command.Result, error) {
	now := c.TimeUs
	if now <= b.meta.LastTimeUs || now > maxTimeUs {
		now = b.meta.LastTimeUs + 1
	}
	t := &tx{b: b, now: now, index: e.Index, who: c.Principal, staged: map[string][]byte{}}
	r := t.once(c)
	if t.err != nil {
		return nil, t.err
	}
	if len(t.order) > maxKeys || t.size > maxBytes {
		r = refuse(command.Result_TOO_LARGE, "the command would write %d keys and %d bytes, more than %d and %d",
			len(t.order), t.size, maxKeys, maxBytes)
	}
	if r.Code == command.Result_OK {
		if err := t.flush(); err != nil {
			return nil, err
		}
		if t.meta != nil {
			b.meta.ClusterId, b.meta.Authority = t.meta.ClusterId, t.meta.Authority
		}
	}
	b.meta.AppliedIndex, b.meta.AppliedTerm, b.meta.LastTimeUs, b.dirty = e.Index, e.Term, now, true
	return r, nil
}

// once answers a repeated request with the answer kept for it, and runs every other. Refusals are not kept:
// they changed nothing, and the repeat may find a better day.
func (t *tx) once(c *command.Command) *command.Result {
	if c.RequestKey == "" {
		return t.run(c)
	}
	if len(c.RequestKey) > maxText || len(c.Principal) > maxText {
		return refuse(command.Result_INVALID, "the idempotency key or the principal has more than %d bytes", maxText)
	}
	k, kept := keyRequest(c.Principal, c.RequestKey), new(Request)
	if t.get(k, kept) {
		if !bytes.Equal(kept.Hash, c.RequestHash) {
			return refuse(command.Result_KEY_CONFLICT, "this idempotency key was used for another request")
		}
		return kept.Result
	}
	r := t.run(c)
	if r.Code == command.Result_OK {
		t.put(k, &Request{Hash: c.RequestHash, Result: r, TimeUs: t.now})
		t.mark(keyRequestTime(t.now, c.Principal, c.RequestKey))
	}
	return r
}

func (t *tx) run(c *command.Command) *command.Result {
	switch body := c.Body.(type) {
	case *command.Command_LeaderStarted:
		return new(command.Result) // the entry itself says all: its index, its term, its time
	case *command.Command_CreateCluster:
		return t.createCluster(body.CreateCluster)
	case *command.Command_PublishDefinition:
		return t.publishDefinition(body.PublishDefinition)
	case *command.Command_CreateJob:
		return t.createJob(body.CreateJob)
	case *command.Command_UpdateJob:
		return t.updateJob(body.UpdateJob)
	case *command.Command_RunJob:
		return t.runJob(body.RunJob)
	case *command.Command_AbortJob:
		return t.abortJob(body.AbortJob)
	case *command.Command_DeleteJob:
		return t.deleteJob(body.DeleteJob)
	case *command.Command_ArchiveJob:
		return t.archiveJob(body.ArchiveJob)
	case *command.Command_Purge:
		return t.purge(body.Purge)
	case *command.Command_GrantLease:
		return t.grantLease(body.GrantLease)
	case *command.Command_ReportAttempt:
		return t.reportAttempt(body.ReportAttempt)
	case *command.Command_StageManifest:
		return t.stageManifest(body.StageManifest)
	case *command.Command_Commit:
		return t.commit(body.Commit)
	case *command.Command_FailAttempt:
		return t.failAttempt(body.FailAttempt)
	case *command.Command_CloseAttempt:
		return t.closeAttempt(body.CloseAttempt)
	case *command.Command_AddSite:
		return t.addSite(body.AddSite)
	case *command.Command_EnrolSite:
		return t.enrolSite(body.EnrolSite)
	case *command.Command_RevokeSite:
		return t.revokeSite(body.RevokeSite)
	case *command.Command_ForgetContent:
		return t.forgetContent(body.ForgetContent)
	case *command.Command_ExpireRequests:
		return t.expireRequests(body.ExpireRequests)
	case *command.Command_Retract:
		return t.retract(body.Retract)
	}
	t.err = fmt.Errorf("%w: body %T", command.ErrUnknown, c.Body)
	return nil
}

// createCluster fixes the identity of the cluster. A cluster that has one keeps it.
func (t *tx) createCluster(c *command.CreateCluster) *command.Result {
	if c.GetClusterId() == "" || c.GetAuthority() == "" {
		return refuse(command.Result_INVALID, "a cluster needs an id and an authority")
	}
	has := t.b.meta
	switch {
	case has.ClusterId == "":
		t.meta = &Meta{ClusterId: c.ClusterId, Authority: c.Authority}
	case has.ClusterId != c.ClusterId || has.Authority != c.Authority:
		return refuse(command.Result_EXISTS, "this is cluster %s with authority %s, for ever", has.ClusterId, has.Authority)
	}
	return new(command.Result)
}

// expireRequests drops the oldest answers kept for idempotency keys.
func (t *tx) expireRequests(c *command.ExpireRequests) *command.Result {
	limit := clampLimit(c.GetLimit(), maxKeys/2-1) // its own answer may be kept too
	times := t.keys(newKey(tagRequestTime), limit)
	r := &command.Result{Done: len(times) < limit}
	for _, k := range times {
		if int64(keyU64(k[1:])) >= c.GetBeforeUs() {
			r.Done = true
			break
		}
		t.delete(k)
		t.delete(append(newKey(tagRequest), k[9:]...))
	}
	return r
}

func clampLimit(n int32, most int) int {
	if n <= 0 || int(n) > most {
		return most
	}
	return int(n)
}

// clip shortens s to at most n bytes at a character's boundary.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && s[n]&0xc0 == 0x80 {
		n--
	}
	return s[:n]
}

// addUs is a + seconds in microseconds, at most the last time there is.
func addUs(a, seconds int64) int64 {
	if seconds > (maxTimeUs-a)/1e6 {
		return maxTimeUs
	}
	return a + seconds*1e6
}
