package provenance

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"consort/coordinator/auth"
	"consort/coordinator/command"
	"consort/coordinator/content"
	"consort/coordinator/state"
	"consort/shared/prov"
	"consort/shared/uws"
)

// Report is what a check of a job's evidence found.
type Report struct {
	Job    string
	OK     bool // all checks are
	Checks []Check
}

// Check is one line of a Report.
type Check struct {
	What   string // what was looked at, such as "result answer" or "attempt 1: signature"
	OK     bool
	Detail string
	Remark bool // it is no check, but what a reader should know though all is in order
}

func (r *Report) add(what string, ok bool, detail string) {
	r.Checks = append(r.Checks, Check{What: what, OK: ok, Detail: detail})
}

func (r *Report) remark(what, detail string) {
	r.Checks = append(r.Checks, Check{What: what, OK: true, Detail: detail, Remark: true})
}

// evidence is all that Verify looks at, read in one view.
type evidence struct {
	*facts
	cluster   string
	parts     []*state.ManifestPart // of the attempt whose results are the job's
	fragments []*signed
	retracted []note
}

// note is what is to be said of a file.
type note struct{ what, text string }

// Verify recomputes the hashes of a job's stored files, and checks what its sites signed: signatures, the
// chain of each site around it, and whether the state says the same. It reads every file of the job.
func (s *Service) Verify(ctx context.Context, p auth.Principal, job string) (*Report, error) {
	var e *evidence
	err := s.view(ctx, func(v *state.View) error {
		t, err := s.jobTarget(v, p, "job", job)
		if err != nil {
			return err
		}
		e, err = s.evidence(v, t.name)
		return err
	})
	if err != nil {
		return nil, err
	}
	r := &Report{Job: e.job.Id}
	e.checkAttempts(r)
	e.checkResults(r)
	if err := s.checkFiles(ctx, r, e); err != nil {
		return nil, err
	}
	for _, n := range e.retracted {
		r.remark(n.what, n.text)
	}
	r.OK = true
	for _, c := range r.Checks {
		r.OK = r.OK && c.OK
	}
	return r, nil
}

// jobTarget is target for ids that must be of jobs.
func (s *Service) jobTarget(v *state.View, p auth.Principal, parameter, id string) (target, error) {
	t, err := s.target(v, p, id)
	if err == nil && t.kind != jobNode {
		err = &InvalidError{Parameter: parameter, Value: id, Problem: "is no job"}
	}
	return t, err
}

func (s *Service) evidence(v *state.View, id string) (*evidence, error) {
	f, err := s.facts(v, id)
	if err != nil {
		return nil, err
	}
	e := &evidence{facts: f}
	e.cluster, _ = v.Cluster()
	if f.job.Results != nil {
		for part, err := range v.ManifestParts(id, f.job.CommitEpoch, 0) {
			if err != nil {
				return nil, err
			}
			e.parts = append(e.parts, part)
		}
	}
	if err := e.takenBack(v); err != nil {
		return nil, err
	}
	records, err := v.Fragments(id)
	if err != nil {
		return nil, err
	}
	for _, record := range records {
		signed, err := readSigned(v, record)
		if err != nil {
			return nil, err
		}
		e.fragments = append(e.fragments, signed)
	}
	return e, nil
}

// takenBack notes which inputs and results of the job are not to be used, and why.
func (e *evidence) takenBack(v *state.View) error {
	some, _, err := v.Retractions(nil, 1)
	if err != nil || len(some) == 0 {
		return err
	}
	used, err := inputsOf(v, e.job.Job)
	if err != nil {
		return err
	}
	for _, in := range used {
		if err := e.note(v, "input "+in.role, in.local); err != nil {
			return err
		}
	}
	if e.job.Results == nil {
		return nil
	}
	for _, o := range e.job.Results.Outputs {
		if err := e.note(v, "result "+o.Id, prov.ResultID(e.job.Id, o.Id).Local); err != nil {
			return err
		}
	}
	for _, part := range e.parts {
		for _, f := range part.Files {
			member := f.Output + "/" + f.Path
			if err := e.note(v, "result "+member, prov.ResultID(e.job.Id, member).Local); err != nil {
				return err
			}
		}
	}
	return nil
}

// note notes that a file was retracted, if it was.
func (e *evidence) note(v *state.View, what, entity string) error {
	r, err := retraction(v, entity)
	if r != nil {
		by := cmp.Or(r.By, "anonymous")
		e.retracted = append(e.retracted, note{what, fmt.Sprintf("retracted at %s by %s: %s", r.Time.Format(time.RFC3339), by, r.Reason)})
	}
	return err
}

// checkResults compares the results that the job shows with the manifest of its attempt.
func (e *evidence) checkResults(r *Report) {
	if e.job.Results == nil {
		return
	}
	files := map[string][]*command.File{}
	for _, part := range e.parts {
		for _, f := range part.Files {
			files[f.Output] = append(files[f.Output], f)
		}
	}
	for _, o := range e.job.Results.Outputs {
		listed := files[o.Id]
		switch {
		case o.Collection:
			r.add("result "+o.Id+": manifest", int64(len(listed)) == int64(o.Files), fmt.Sprintf("%d of %d files are listed", len(listed), o.Files))
		case len(listed) != 1:
			r.add("result "+o.Id+": manifest", false, fmt.Sprintf("%d files are listed, not one", len(listed)))
		default:
			same := listed[0].Sha256 == o.Sha256 && listed[0].Size == o.Size
			r.add("result "+o.Id+": manifest", same, differ(same, "SHA-256 "+o.Sha256, "the manifest says "+listed[0].Sha256))
		}
	}
}

func differ(same bool, good, bad string) string {
	if same {
		return good
	}
	return bad
}

// stored is a file that should be in the content store.
type stored struct{ what, sha string }

// checkFiles reads the job's files again.
func (s *Service) checkFiles(ctx context.Context, r *Report, e *evidence) error {
	if uws.Phase(e.job.Phase) == uws.Archived {
		r.add("files", true, "they were destroyed at the end of their retention; their hashes stay")
		return nil
	}
	var files []stored
	for _, in := range e.job.Spec.Inputs {
		if in.Sha256 != "" && in.Source != command.Input_URL {
			files = append(files, stored{"input " + in.Name, in.Sha256})
		}
	}
	for _, a := range e.attempts {
		for _, l := range a.GetFacts().GetLogs() {
			files = append(files, stored{fmt.Sprintf("attempt %d: %s", a.Epoch, l.Name), l.Sha256})
		}
	}
	members := map[string][]stored{}
	for _, part := range e.parts {
		for _, f := range part.Files {
			members[f.Output] = append(members[f.Output], stored{f.Path, f.Sha256})
		}
	}
	for _, f := range files {
		problem, err := s.reread(ctx, f.sha)
		if err != nil {
			return err
		}
		r.add(f.what+": content", problem == "", differ(problem == "", "SHA-256 "+f.sha, problem))
	}
	if e.job.Results == nil {
		return nil
	}
	for _, o := range e.job.Results.Outputs {
		if err := s.checkOutput(ctx, r, o, members[o.Id]); err != nil {
			return err
		}
	}
	return nil
}

// maxBad bounds the bad files of a collection that are named.
const maxBad = 10

// checkOutput reads all files of a result again.
func (s *Service) checkOutput(ctx context.Context, r *Report, o *command.Output, files []stored) error {
	if !o.Collection {
		files = []stored{{o.FileName, o.Sha256}}
	}
	var bad []string
	count := 0
	for _, f := range files {
		problem, err := s.reread(ctx, f.sha)
		if err != nil {
			return err
		}
		if problem == "" {
			continue
		}
		if count++; count <= maxBad {
			bad = append(bad, f.what+": "+problem)
		}
	}
	switch {
	case count > 0:
		r.add("result "+o.Id+": content", false, fmt.Sprintf("%d of %d files: %s", count, len(files), strings.Join(bad, "; ")))
	case o.Collection:
		r.add("result "+o.Id+": content", true, fmt.Sprintf("%d files", len(files)))
	default:
		r.add("result "+o.Id+": content", true, "SHA-256 "+o.Sha256)
	}
	return nil
}

// reread says what is wrong with a stored file; nothing when it is what it was.
func (s *Service) reread(ctx context.Context, sha string) (string, error) {
	err := s.cfg.Files.Verify(ctx, sha)
	switch {
	case err == nil:
		return "", nil
	case ctx.Err() != nil:
		return "", ctx.Err()
	case errors.Is(err, content.ErrCorrupt):
		return "the stored bytes have changed", nil
	case errors.Is(err, content.ErrNotFound):
		return "the file is gone", nil
	}
	return "", fmt.Errorf("read %s again: %w", sha, err)
}
