package jobs

import (
	"errors"
	"fmt"
	"os"

	"consort/coordinator/command"
	"consort/shared/prov"
	"consort/shared/uws"
)

// File is stored content with what a download needs to say about it.
type File struct {
	*os.File
	Name        string
	ContentType string
	SHA256      string
	Size        int64
}

// Output returns the result of that id, or nil. "result" is the main one, which comes first.
func (j *Job) Output(id string) *command.Output {
	if j.Results == nil || len(j.Results.Outputs) == 0 {
		return nil
	}
	if id == "result" {
		return j.Results.Outputs[0]
	}
	for _, o := range j.Results.Outputs {
		if o.Id == id {
			return o
		}
	}
	return nil
}

// OpenResult opens a result that is one file. The caller closes it.
func (s *Service) OpenResult(j *Job, o *command.Output) (*File, error) {
	if o.Collection {
		return nil, fmt.Errorf("%w: %s is a collection", ErrNotFound, o.Id)
	}
	return s.openFile(j, o.FileName, o.Sha256, o.Size, o.ContentType)
}

// OpenInput opens the n-th (from 0) file given for an input. The caller closes it.
func (s *Service) OpenInput(j *Job, name string, n int) (*File, error) {
	for _, in := range j.Spec.Inputs {
		if in.Name != name {
			continue
		}
		if n == 0 && in.Source == command.Input_URL {
			return nil, fmt.Errorf("%w: the site fetches the input from %s; it is not kept here", ErrNotFound, prov.PublicURL(in.Url))
		}
		if n == 0 {
			return s.openFile(j, in.FileName, in.Sha256, in.Size, in.ContentType)
		}
		n--
	}
	return nil, fmt.Errorf("%w: no such input file", ErrNotFound)
}

// errDestroyed explains why nothing of an archived job can be read.
var errDestroyed = errors.New("the files of this job were destroyed at the end of their retention")

func (s *Service) openFile(j *Job, name, sha256 string, size int64, contentType string) (*File, error) {
	if uws.Phase(j.Phase) == uws.Archived {
		return nil, fmt.Errorf("%w: %w", ErrNotFound, errDestroyed)
	}
	f, err := s.cfg.Files.Open(sha256)
	if err != nil {
		return nil, fmt.Errorf("open %s of job %s: %w", name, j.Id, err)
	}
	return &File{File: f, Name: name, ContentType: contentType, SHA256: sha256, Size: size}, nil
}
