package jobs

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path"
	"sort"

	"consort/coordinator/command"
	"consort/coordinator/content"
	"consort/coordinator/state"
	"consort/shared/definition"
	"consort/shared/siteapi"
)

// summarize reads the staged parts once, checks them against the hash that the agent gave, and fills body
// with the results they make. A commit that came before is not looked at again: apply answers it.
func (s *Service) summarize(ctx context.Context, a Attempt, r siteapi.CommitRequest, body *command.Commit) error {
	j, _, err := s.open(ctx, a)
	if err != nil {
		return s.committed(ctx, a, err)
	}
	entry, err := s.cfg.Definitions.Get(j.Definition + "@" + j.DefinitionVersion)
	if err != nil {
		return err
	}
	sums := newSummary(entry.Definition)
	agents, ours := sha256.New(), sha256.New()
	parts := 0
	err = s.view(ctx, func(v *state.View) error {
		for part, err := range v.ManifestParts(a.Job, a.Epoch, 0) {
			if err != nil {
				return err
			}
			files := siteFiles(part.Files)
			h := siteapi.PartHash(files)
			agents.Write(h[:])
			own := command.PartHash(part.Files)
			ours.Write(own[:])
			parts++
			if err := sums.add(part.Files); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if parts != r.Parts || hex.EncodeToString(agents.Sum(nil)) != r.Hash {
		return fmt.Errorf("%w: %d of %d parts are here, or their hash differs", ErrIncomplete, parts, r.Parts)
	}
	body.Hash = ours.Sum(nil)
	body.Outputs, err = sums.outputs()
	return err
}

// committed turns the ErrStale of an attempt that is closed into nil when it is the one that was
// committed, so that a repeated commit reaches apply and gets its answer.
func (s *Service) committed(ctx context.Context, a Attempt, stale error) error {
	err := s.view(ctx, func(v *state.View) error {
		j, err := v.Job(a.Job)
		if err != nil {
			return err
		}
		attempt, err := v.Attempt(a.Job, a.Epoch)
		if err != nil {
			return err
		}
		if j.CommitEpoch != a.Epoch || attempt.Site != a.Site {
			return stale
		}
		return nil
	})
	if err != nil {
		return stale
	}
	return nil
}

func siteFiles(files []*command.File) []siteapi.ManifestFile {
	out := make([]siteapi.ManifestFile, len(files))
	for i, f := range files {
		out[i] = siteapi.ManifestFile{Output: f.Output, Path: f.Path, SHA256: f.Sha256, Size: f.Size, ContentType: f.ContentType}
	}
	return out
}

// summary collects the files of a manifest into results.
type summary struct {
	definition *definition.Definition
	byOutput   map[string]*command.Output
	lines      map[string][]string // of collections: "<sha256>  <path>"
}

func newSummary(d *definition.Definition) *summary {
	return &summary{definition: d, byOutput: map[string]*command.Output{}, lines: map[string][]string{}}
}

func (s *summary) add(files []*command.File) error {
	for _, f := range files {
		o := s.definition.Output(f.Output)
		if o == nil {
			return fmt.Errorf("%w: the definition has no output %q", ErrInvalid, f.Output)
		}
		out := s.byOutput[f.Output]
		switch {
		case out == nil:
			out = &command.Output{Id: f.Output, Collection: o.Collection(), ContentType: f.ContentType}
			s.byOutput[f.Output] = out
		case !out.Collection:
			return fmt.Errorf("%w: output %q has several files", ErrInvalid, f.Output)
		}
		out.Files++
		out.Size += f.Size
		if !out.Collection {
			out.FileName, out.Sha256 = path.Base(f.Path), f.Sha256
			continue
		}
		s.lines[f.Output] = append(s.lines[f.Output], f.Sha256+"  "+f.Path+"\n")
	}
	return nil
}

// outputs gives the results, the main one first, the others as declared.
func (s *summary) outputs() ([]*command.Output, error) {
	var first, rest []*command.Output
	for _, o := range s.definition.Outputs {
		out := s.byOutput[o.Name]
		if out == nil {
			continue
		}
		if out.Collection {
			lines := s.lines[o.Name]
			sort.Strings(lines)
			h := sha256.New()
			for _, l := range lines {
				h.Write([]byte(l))
			}
			out.Sha256 = hex.EncodeToString(h.Sum(nil))
		}
		if o.Main {
			first = append(first, out)
		} else {
			rest = append(rest, out)
		}
	}
	if len(first) == 0 && s.definition.Main().Multiplicity.Min > 0 {
		return nil, fmt.Errorf("%w: the main output is not in the manifest", ErrIncomplete)
	}
	return append(first, rest...), nil
}

func badFiles(e *content.SealError) []siteapi.BadFile {
	bad := make([]siteapi.BadFile, len(e.Problems))
	for i, p := range e.Problems {
		bad[i] = siteapi.BadFile{Path: p.Path, Problem: string(p.Kind)}
	}
	return bad
}
