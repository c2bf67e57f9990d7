package jobs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"consort/coordinator/command"
	"consort/coordinator/content"
	"consort/coordinator/state"
	"consort/shared/failpoint"
	"consort/shared/ids"
	"consort/shared/siteapi"
	"consort/shared/uws"
)

// Attempt names an attempt and the site that speaks for it.
type Attempt struct {
	Site  string
	Job   string
	Epoch uint64
}

// open reads the job and the attempt, and fails with ErrStale when the attempt is not the job's current
// one, is closed, or belongs to another site. What a foreign site asks is told no more than that.
func (s *Service) open(ctx context.Context, a Attempt) (*state.Job, *state.Attempt, error) {
	var j *state.Job
	var attempt *state.Attempt
	err := s.view(ctx, func(v *state.View) (err error) {
		if j, err = v.Job(a.Job); err != nil {
			return err
		}
		attempt, err = v.Attempt(a.Job, a.Epoch)
		return err
	})
	if errors.Is(err, ErrNotFound) {
		return nil, nil, ErrStale
	}
	if err != nil {
		return nil, nil, err
	}
	if attempt.Site != a.Site || j.Epoch != a.Epoch || !j.AttemptOpen {
		return nil, nil, ErrStale
	}
	return j, attempt, nil
}

// UploadLease says what a site may push for an attempt. It makes Service the Leases of the SFTP server.
func (s *Service) UploadLease(ctx context.Context, site, job string, epoch uint64) (content.Lease, error) {
	j, attempt, err := s.open(ctx, Attempt{site, job, epoch})
	if errors.Is(err, ErrStale) || (err == nil && (attempt.Cancelling || uws.Phase(j.Phase).Final())) {
		return content.Lease{}, content.ErrNoLease
	}
	if err != nil {
		return content.Lease{}, err
	}
	return content.Lease{Job: job, Epoch: epoch, MaxFiles: MaxFiles, MaxBytes: MaxBytes, MaxFileBytes: MaxBytes}, nil
}

// Limits of the outputs of one job (DESIGN section 12).
const (
	MaxFiles = 100_000
	MaxBytes = 16 << 40
)

// reported are the states that a site may tell; how an attempt ends has calls of its own.
var reported = []string{
	state.AttemptStaging, state.AttemptSubmitted, state.AttemptRunning, state.AttemptSuspended, state.AttemptUploading,
}

// Report moves an attempt forward.
func (s *Service) Report(ctx context.Context, a Attempt, r siteapi.Report) (siteapi.Answer, error) {
	if !slices.Contains(reported, r.State) {
		return siteapi.Answer{}, fmt.Errorf("%w: state %.40q; an attempt is reported as one of %s", ErrInvalid, r.State, strings.Join(reported, ", "))
	}
	return s.tell(ctx, a, &command.Command{Body: &command.Command_ReportAttempt{ReportAttempt: &command.ReportAttempt{
		Job: a.Job, Epoch: a.Epoch, Site: a.Site, State: r.State, Facts: facts(r.Facts),
	}}})
}

// tell proposes a command about an attempt and answers with the job's phase.
func (s *Service) tell(ctx context.Context, a Attempt, c *command.Command) (siteapi.Answer, error) {
	c.Principal = "site:" + a.Site
	result, err := s.propose(ctx, c)
	if errors.Is(err, ErrNotFound) {
		return siteapi.Answer{}, ErrStale // as open says of what is not there
	}
	if err != nil {
		return siteapi.Answer{}, err
	}
	return siteapi.Answer{Phase: result.Phase, Cancel: uws.Phase(result.Phase) == uws.Aborted}, nil
}

// Content opens a file that the attempt needs: an input, or a file of its definition. Anything else is
// ErrNotFound, so that a site sees only what its leases name.
func (s *Service) Content(ctx context.Context, a Attempt, sha256 string) (*os.File, error) {
	j, _, err := s.open(ctx, a)
	if err != nil {
		return nil, err
	}
	needed := false
	err = s.view(ctx, func(v *state.View) error {
		spec, err := v.Spec(a.Job)
		if err != nil {
			return err
		}
		for _, in := range spec.Inputs {
			needed = needed || in.Sha256 == sha256
		}
		d, err := v.Definition(j.Definition, j.DefinitionVersion)
		if err != nil {
			return err
		}
		for _, f := range d.Files {
			needed = needed || f.Sha256 == sha256
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if !needed {
		return nil, fmt.Errorf("%w: the lease names no such content", ErrNotFound)
	}
	return s.cfg.Files.Open(sha256)
}

// Offsets tells how much of each file was received and hashed without a hole.
func (s *Service) Offsets(ctx context.Context, a Attempt, r siteapi.OffsetRequest) (siteapi.OffsetResponse, error) {
	if len(r.Paths) > siteapi.MaxOffsetPaths {
		return siteapi.OffsetResponse{}, fmt.Errorf("%w: at most %d paths at once", ErrTooLarge, siteapi.MaxOffsetPaths)
	}
	if _, _, err := s.open(ctx, a); err != nil {
		return siteapi.OffsetResponse{}, err
	}
	answer := siteapi.OffsetResponse{Offsets: map[string]int64{}, SHA256: map[string]string{}}
	for _, path := range r.Paths {
		offset, sum, err := s.cfg.Uploads.Offset(ctx, a.Job, a.Epoch, path)
		if errors.Is(err, content.ErrNotFound) {
			continue
		}
		if err != nil {
			return siteapi.OffsetResponse{}, fmt.Errorf("offset of %q: %w", path, err)
		}
		answer.Offsets[path], answer.SHA256[path] = offset, sum
	}
	return answer, nil
}

// Seal makes files durable, checks them and moves them into the store. The answer names those that did not
// pass.
func (s *Service) Seal(ctx context.Context, a Attempt, r siteapi.SealRequest) (siteapi.SealResponse, error) {
	if len(r.Files) > siteapi.MaxSealFiles {
		return siteapi.SealResponse{}, fmt.Errorf("%w: at most %d files at once", ErrTooLarge, siteapi.MaxSealFiles)
	}
	if _, err := s.UploadLease(ctx, a.Site, a.Job, a.Epoch); errors.Is(err, content.ErrNoLease) {
		return siteapi.SealResponse{}, ErrStale
	} else if err != nil {
		return siteapi.SealResponse{}, err
	}
	files := make([]content.ManifestFile, len(r.Files))
	for i, f := range r.Files {
		files[i] = content.ManifestFile{Path: f.Path, Size: f.Size, SHA256: f.SHA256}
	}
	err := s.cfg.Uploads.Seal(ctx, a.Job, a.Epoch, files)
	var bad *content.SealError
	if errors.As(err, &bad) {
		return siteapi.SealResponse{Bad: badFiles(bad)}, nil
	}
	return siteapi.SealResponse{}, err
}

// StageManifest keeps one part of the list of outputs. Every file of it must have been sealed by this attempt:
// to know the hash of somebody else's file must not be enough to get it.
func (s *Service) StageManifest(ctx context.Context, a Attempt, part siteapi.ManifestPart) (siteapi.Answer, error) {
	if len(part.Files) == 0 || len(part.Files) > siteapi.MaxManifestPart {
		return siteapi.Answer{}, fmt.Errorf("%w: a part of a manifest has 1 to %d files", ErrInvalid, siteapi.MaxManifestPart)
	}
	if part.Part < 0 || part.Part > MaxFiles {
		return siteapi.Answer{}, fmt.Errorf("%w: part %d", ErrInvalid, part.Part)
	}
	if _, _, err := s.open(ctx, a); err != nil {
		return siteapi.Answer{}, err
	}
	body := &command.StageManifest{Job: a.Job, Epoch: a.Epoch, Site: a.Site, Part: int32(part.Part)}
	for _, f := range part.Files {
		if err := s.checkSealed(ctx, a, f); err != nil {
			return siteapi.Answer{}, err
		}
		body.Files = append(body.Files, &command.File{
			Output: f.Output, Path: f.Path, Sha256: f.SHA256, Size: f.Size, ContentType: f.ContentType,
		})
	}
	answer, err := s.tell(ctx, a, &command.Command{Body: &command.Command_StageManifest{StageManifest: body}})
	failpoint.Here("coordinator-between-manifest-parts")
	return answer, err
}

func (s *Service) checkSealed(ctx context.Context, a Attempt, f siteapi.ManifestFile) error {
	if !ids.ValidSHA256(f.SHA256) || f.Size < 0 {
		return fmt.Errorf("%w: the SHA-256 or the size of file %.256q is malformed", ErrInvalid, f.Path)
	}
	size, sum, err := s.cfg.Uploads.Offset(ctx, a.Job, a.Epoch, f.Path)
	if errors.Is(err, content.ErrBadPath) {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if err != nil {
		return fmt.Errorf("look for sealed file %.256q: %w", f.Path, err)
	}
	blob, err := s.cfg.Files.Stat(f.SHA256)
	if err != nil || size != f.Size || sum != f.SHA256 || blob.Size != f.Size {
		return fmt.Errorf("%w: %.256q is not sealed", ErrIncomplete, f.Path)
	}
	return nil
}

// Commit makes the results visible and the job COMPLETED, in one entry. Repeating it is harmless.
func (s *Service) Commit(ctx context.Context, a Attempt, r siteapi.CommitRequest) (siteapi.Answer, error) {
	body := &command.Commit{
		Job: a.Job, Epoch: a.Epoch, Site: a.Site, Parts: int32(r.Parts),
		Facts: facts(r.Facts), Fragment: fragment(r.Fragment),
	}
	if err := s.summarize(ctx, a, r, body); err != nil {
		return siteapi.Answer{}, err
	}
	failpoint.Here("coordinator-before-commit")
	answer, err := s.tell(ctx, a, &command.Command{Body: &command.Command_Commit{Commit: body}})
	failpoint.Here("coordinator-after-commit")
	if err == nil {
		s.closed(ctx, a)
	}
	return answer, err
}

// Fail ends an attempt without results.
func (s *Service) Fail(ctx context.Context, a Attempt, r siteapi.FailRequest) (siteapi.Answer, error) {
	answer, err := s.tell(ctx, a, &command.Command{Body: &command.Command_FailAttempt{FailAttempt: &command.FailAttempt{
		Job: a.Job, Epoch: a.Epoch, Site: a.Site, Class: r.Class, Message: clip(r.Message, 4<<10),
		Facts: facts(r.Facts), Fragment: fragment(r.Fragment), RetryAfterSeconds: retryAfter(a.Epoch),
	}}})
	if err == nil {
		s.closed(ctx, a)
	}
	return answer, err
}

// Close ends a cancelled attempt with its last facts.
func (s *Service) Close(ctx context.Context, a Attempt, r siteapi.CloseRequest) (siteapi.Answer, error) {
	answer, err := s.tell(ctx, a, &command.Command{Body: &command.Command_CloseAttempt{CloseAttempt: &command.CloseAttempt{
		Job: a.Job, Epoch: a.Epoch, Site: a.Site, Facts: facts(r.Facts), Fragment: fragment(r.Fragment),
	}}})
	if err == nil {
		s.closed(ctx, a)
	}
	return answer, err
}

// closed drops what only an open attempt needs. What stays after an error here is swept later.
func (s *Service) closed(ctx context.Context, a Attempt) {
	s.live.drop(a.Job, a.Epoch)
	if err := s.cfg.Uploads.Discard(ctx, a.Job, a.Epoch); err != nil {
		s.cfg.Logger.Warn("discard uploads of a closed attempt", "job", a.Job, "epoch", a.Epoch, "error", err)
	}
}

// retryAfter spaces the attempts of a job: 5 s after the first failure, doubled each time, at most 5 min.
func retryAfter(epoch uint64) int64 { return min(int64(5)<<min(epoch-1, 6), 300) }

// clip cuts s to at most n bytes, at a character's boundary.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && s[n]&0xC0 == 0x80 {
		n--
	}
	return s[:n]
}

// StoreLog keeps the final log of an attempt, or its code's own provenance, also of one that failed or was
// cancelled.
func (s *Service) StoreLog(ctx context.Context, a Attempt, name string, r io.Reader) (siteapi.StoredLog, error) {
	most := int64(siteapi.MaxLog)
	if name == siteapi.LogProvenance {
		most = siteapi.MaxProvenance
	} else if err := checkStream(name); err != nil {
		return siteapi.StoredLog{}, err
	}
	if _, _, err := s.open(ctx, a); err != nil {
		return siteapi.StoredLog{}, err
	}
	blob, err := s.cfg.Files.Put(ctx, r, most)
	if errors.Is(err, content.ErrTooLarge) {
		return siteapi.StoredLog{}, fmt.Errorf("%w: %s has at most %d bytes", ErrTooLarge, name, most)
	}
	return siteapi.StoredLog{SHA256: blob.SHA256, Size: blob.Size}, err
}

// LiveLog takes a chunk of a running attempt's log.
func (s *Service) LiveLog(ctx context.Context, a Attempt, name string, offset int64, chunk []byte) (siteapi.LiveAnswer, error) {
	if err := checkStream(name); err != nil {
		return siteapi.LiveAnswer{}, err
	}
	if offset < 0 || len(chunk) > siteapi.MaxLiveChunk {
		return siteapi.LiveAnswer{}, fmt.Errorf("%w: chunk of %d bytes at %d", ErrInvalid, len(chunk), offset)
	}
	if _, _, err := s.open(ctx, a); err != nil {
		return siteapi.LiveAnswer{}, err
	}
	return s.live.add(stream{a.Job, a.Epoch, name}, a.Site, offset, chunk, s.cfg.Now()), nil
}

// Watched lists the attempts at site whose logs somebody reads now.
func (s *Service) Watched(site string) []siteapi.AttemptRef { return s.live.watched(site, s.cfg.Now()) }
