package jobs

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strconv"

	"consort/coordinator/auth"
	"consort/coordinator/command"
	"consort/shared/config"
	"consort/shared/definition"
	"consort/shared/ids"
	"consort/shared/siteapi"
)

// input finds the file that stands behind a reference. A collection of an earlier job gives all its files.
func (s *Service) input(ctx context.Context, p auth.Principal, name string, ref definition.Reference, uploads []Upload) ([]*command.Input, error) {
	switch ref.Kind {
	case definition.FromUpload:
		i, err := strconv.Atoi(ref.Ref)
		if err != nil || i < 0 || i >= len(uploads) {
			return nil, fmt.Errorf("%w: input %s: upload %q did not come with the request", ErrInvalid, name, ref.Ref)
		}
		u := uploads[i]
		return []*command.Input{{
			Name: name, Source: command.Input_UPLOAD, FileName: clip(path.Base(u.FileName), 255),
			Sha256: u.Blob.SHA256, Size: u.Blob.Size, ContentType: clip(u.ContentType, 255), Upload: ids.NewUpload(s.cfg.Now()),
		}}, nil
	case definition.FromJob:
		return s.resultInput(ctx, p, name, ref)
	case definition.FromURL:
		return urlInput(name, ref.Ref)
	}
	return nil, fmt.Errorf("%w: input %s: this server does not find inputs by %s yet; upload the file, or give its URL or consort:<job>/<result>", ErrInvalid, name, ref.Kind)
}

// urlInput is a file that the site fetches. What it holds is known when it has been fetched.
func urlInput(name, text string) ([]*command.Input, error) {
	u, err := siteapi.ParseURL(text)
	if err != nil {
		return nil, fmt.Errorf("%w: input %s: %w", ErrInvalid, name, err)
	}
	in := &command.Input{Name: name, Source: command.Input_URL, Url: u.String()}
	if base := path.Base(u.Path); base != "/" {
		in.FileName = clip(base, 255)
	}
	return []*command.Input{in}, nil
}

// resultInput finds a result of an earlier job that p may read.
func (s *Service) resultInput(ctx context.Context, p auth.Principal, name string, ref definition.Reference) ([]*command.Input, error) {
	job, result, member, ok := ref.JobResult()
	if !ok {
		return nil, fmt.Errorf("%w: input %s: %.100q is not of the form consort:<job>/<result>", ErrInvalid, name, ref.Ref)
	}
	j, err := s.Get(ctx, p, "", job)
	if errors.Is(err, ErrNotFound) || errors.Is(err, auth.ErrForbidden) || errors.Is(err, auth.ErrUnauthenticated) {
		return nil, fmt.Errorf("%w: input %s: there is no job %s that you may read", ErrInvalid, name, job)
	}
	if err != nil {
		return nil, err
	}
	out := j.Output(result)
	switch {
	case j.Results == nil:
		return nil, fmt.Errorf("%w: input %s: job %s has no results (it is %s)", ErrInvalid, name, job, j.Phase)
	case out == nil:
		return nil, fmt.Errorf("%w: input %s: job %s has no result %q", ErrInvalid, name, job, result)
	case j.Phase == "ARCHIVED":
		return nil, fmt.Errorf("%w: input %s: the files of job %s were destroyed", ErrInvalid, name, job)
	case !out.Collection:
		return []*command.Input{resultFile(name, job, out.Id, out.FileName, out.Sha256, out.Size, out.ContentType)}, nil
	}
	var inputs []*command.Input
	err = s.eachMember(ctx, j, out.Id, func(f *command.File) error {
		if member == "" || f.Path == member {
			inputs = append(inputs, resultFile(name, job, out.Id+"/"+f.Path, path.Base(f.Path), f.Sha256, f.Size, f.ContentType))
		}
		if len(inputs) > MaxUploads {
			return fmt.Errorf("%w: input %s: the collection %s has more than %d files; name one as consort:%s/%s/<path>", ErrTooLarge, name, out.Id, MaxUploads, job, out.Id)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if len(inputs) == 0 {
		return nil, fmt.Errorf("%w: input %s: result %s of job %s has no file %q", ErrInvalid, name, out.Id, job, member)
	}
	return inputs, nil
}

func resultFile(name, job, result, file, sha256 string, size int64, contentType string) *command.Input {
	return &command.Input{
		Name: name, Source: command.Input_JOB, FileName: file, Sha256: sha256, Size: size,
		ContentType: contentType, FromJob: job, FromResult: result,
	}
}

func seconds(d config.Duration) int64 { return int64(d.Std().Seconds()) }
