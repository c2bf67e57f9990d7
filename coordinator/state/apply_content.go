package state

import (
	"consort/coordinator/command"
	"consort/shared/ids"
)

// hold makes h a holder of a file. Holding it twice is holding it once.
func (t *tx) hold(h holder, sha string, size int64) {
	if t.has(keyReference(sha, h)) {
		return
	}
	c := &Content{Size: size}
	t.get(keyContent(sha), c)
	if c.ZeroSinceUs != 0 {
		t.delete(keyUnreferenced(c.ZeroSinceUs, sha))
	}
	c.ZeroSinceUs = 0
	c.Refs++
	t.put(keyContent(sha), c)
	t.mark(keyReference(sha, h))
	t.mark(keyReferenceOf(h, sha))
}

// letGo ends it. A file that nobody holds is noted with the time since when.
func (t *tx) letGo(h holder, sha string) {
	if !t.has(keyReference(sha, h)) {
		return
	}
	t.delete(keyReference(sha, h))
	t.delete(keyReferenceOf(h, sha))
	c := new(Content)
	if !t.get(keyContent(sha), c) {
		return
	}
	if c.Refs--; c.Refs == 0 {
		c.ZeroSinceUs = t.now
		t.mark(keyUnreferenced(t.now, sha))
	}
	t.put(keyContent(sha), c)
}

// forgetContent drops the records of files that nobody held since before the time given. A file held again
// meanwhile is left alone, without an error.
func (t *tx) forgetContent(c *command.ForgetContent) *command.Result {
	const most = 500
	if len(c.Sha256) > most {
		return refuse(command.Result_TOO_LARGE, "at most %d files can be forgotten at once", most)
	}
	for _, sha := range c.Sha256 {
		if !ids.ValidSHA256(sha) {
			return refuse(command.Result_INVALID, "%.80q is not a SHA-256", sha)
		}
	}
	for _, sha := range c.Sha256 {
		content := new(Content)
		if t.get(keyContent(sha), content) && content.ZeroSinceUs != 0 && content.ZeroSinceUs < c.BeforeUs {
			t.delete(keyContent(sha))
			t.delete(keyUnreferenced(content.ZeroSinceUs, sha))
		}
	}
	return &command.Result{Done: true}
}
