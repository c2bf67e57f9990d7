package jobs

import (
	"context"
	"errors"
	"fmt"
	"path"
	"sync"

	"consort/coordinator/command"
	"consort/coordinator/state"
)

// memberCacheFiles bounds the files whose places are remembered, all collections together.
const memberCacheFiles = 200_000

// eachMember calls fn for every file of a collection, in the order of the manifest.
func (s *Service) eachMember(ctx context.Context, j *Job, result string, fn func(*command.File) error) error {
	return s.view(ctx, func(v *state.View) error {
		for part, err := range v.ManifestParts(j.Id, j.CommitEpoch, 0) {
			if err != nil {
				return err
			}
			for _, f := range part.Files {
				if f.Output != result {
					continue
				}
				if err := fn(f); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// Members calls fn for every file of a collection.
func (s *Service) Members(ctx context.Context, j *Job, o *command.Output, fn func(*command.File) error) error {
	return s.eachMember(ctx, j, o.Id, fn)
}

// OpenMember opens one file of a collection by its path. The caller closes it.
func (s *Service) OpenMember(ctx context.Context, j *Job, o *command.Output, member string) (*File, error) {
	found, err := s.member(ctx, j, o, member)
	if err != nil {
		return nil, err
	}
	return s.openFile(j, path.Base(found.Path), found.Sha256, found.Size, found.ContentType)
}

// member finds a file by its path. Where all files of a collection are fetched one by one, as clients do, the
// manifest is read once for all of them: it never changes after the commit.
func (s *Service) member(ctx context.Context, j *Job, o *command.Output, member string) (*command.File, error) {
	missing := fmt.Errorf("%w: %s has no file %.200q", ErrNotFound, o.Id, member)
	key := collection{j.Id, o.Id}
	if files := s.members.get(key); files != nil {
		if f := files[member]; f != nil {
			return f, nil
		}
		return nil, missing
	}
	if o.Files > memberCacheFiles/4 {
		return s.findMember(ctx, j, o, member, missing)
	}
	files := make(map[string]*command.File, o.Files)
	err := s.eachMember(ctx, j, o.Id, func(f *command.File) error {
		files[f.Path] = f
		return nil
	})
	if err != nil {
		return nil, err
	}
	s.members.put(key, files)
	if f := files[member]; f != nil {
		return f, nil
	}
	return nil, missing
}

// findMember looks a file up without remembering the others, for collections that are too large for that.
func (s *Service) findMember(ctx context.Context, j *Job, o *command.Output, member string, missing error) (*command.File, error) {
	stop := errors.New("found")
	var found *command.File
	err := s.eachMember(ctx, j, o.Id, func(f *command.File) error {
		if f.Path == member {
			found = f
			return stop
		}
		return nil
	})
	switch {
	case errors.Is(err, stop):
		return found, nil
	case err != nil:
		return nil, err
	}
	return nil, missing
}

type collection struct{ job, result string }

// memberCache remembers the files of the collections asked for last.
type memberCache struct {
	mu    sync.Mutex
	order []collection // oldest first
	files map[collection]map[string]*command.File
	total int
}

func (c *memberCache) get(key collection) map[string]*command.File {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.files[key]
}

func (c *memberCache) put(key collection, files map[string]*command.File) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.files == nil {
		c.files = map[collection]map[string]*command.File{}
	}
	if _, known := c.files[key]; known {
		return
	}
	c.order, c.files[key], c.total = append(c.order, key), files, c.total+len(files)
	for c.total > memberCacheFiles {
		oldest := c.order[0]
		c.total -= len(c.files[oldest])
		delete(c.files, oldest)
		c.order = c.order[1:]
	}
}
