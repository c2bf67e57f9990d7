// Package staging moves an attempt's files at the agent's side: Uploader pushes outputs to a coordinator
// over SFTP and resumes there what was cut, Cache keeps verified inputs by their SHA-256 and places copies
// in working directories.
//
// It decides nothing about attempts: what to push, when to seal and commit, and where inputs come from is
// the caller's. It asks coordinators nothing over HTTPS either; the caller hands in the functions that do.
package staging

import "errors"

var (
	// ErrChanged says that a local file is not what it was when it was collected, or changed while it was
	// read. To push it again is useless; the attempt has to be collected again or fail.
	ErrChanged = errors.New("the file changed while it was sent")
	// ErrNoLease says that the coordinator takes no uploads for this job and epoch from this site: the
	// attempt has ended, or a newer one has begun. The caller learns which with its next poll.
	ErrNoLease = errors.New("the coordinator takes no uploads for this attempt")
	// ErrRefused says that the coordinator refused a request for a reason that reconnecting does not
	// cure, such as a limit, a full disk or a seal. The text around it is the coordinator's. Some of these
	// pass: the caller may push again after a while.
	ErrRefused = errors.New("refused by the coordinator")
	// ErrHostKey says that the server is not the one that was pinned at enrolment. Nothing was sent.
	ErrHostKey = errors.New("the SFTP server's host key is not the pinned one")
)
