package definitions

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"

	"consort/shared/config"
	"consort/shared/definition"
)

// Folder is a place that definitions are published from: one definition, with its definition.toml at the root, or
// any number of them, each in a folder of its own.
type Folder struct {
	Name string // what problems call it, usually its path
	FS   fs.FS
}

// PublishAll publishes what the folders hold. A definition that is wrong is kept among Problems, and the others
// go on; the error is of the cluster (no leader, no disk), not of a definition.
func (s *Service) PublishAll(ctx context.Context, folders ...Folder) error {
	var problems []string
	for _, f := range folders {
		dirs, err := f.definitions()
		if err != nil {
			problems = append(problems, f.problems(".", err)...)
		}
		for _, dir := range dirs {
			bundle, err := definition.Load(f.FS, dir)
			if err == nil {
				err = s.Publish(ctx, bundle)
				if err != nil && !errors.Is(err, ErrRefused) {
					return fmt.Errorf("publish %s: %w", path.Join(f.Name, dir), err)
				}
			}
			if err != nil {
				problems = append(problems, f.problems(dir, err)...)
			}
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.problems = problems
	return nil
}

// definitions returns the folders within f that are definitions; "." when f is one itself.
func (f Folder) definitions() ([]string, error) {
	entries, err := fs.ReadDir(f.FS, ".")
	if err != nil {
		return nil, fmt.Errorf("cannot be read: %w", err)
	}
	var dirs []string
	for _, e := range entries {
		if e.Name() == definition.MainFile {
			return []string{"."}, nil
		}
		if e.Type().IsRegular() {
			continue
		}
		if _, err := fs.Stat(f.FS, path.Join(e.Name(), definition.MainFile)); err == nil || errors.Is(err, fs.ErrPermission) {
			dirs = append(dirs, e.Name()) // reading it tells what is wrong
		}
	}
	if len(dirs) == 0 {
		return nil, fmt.Errorf("holds no job definition: neither %[1]s nor NAME/%[1]s", definition.MainFile)
	}
	return dirs, nil
}

// problems words what is wrong with the definition in dir, one line each, all with the path that an author knows.
func (f Folder) problems(dir string, err error) []string {
	var lines []string
	for _, e := range config.List(err) {
		here := *e
		here.File = path.Join(f.Name, e.File)
		lines = append(lines, here.Error())
	}
	if lines == nil {
		lines = []string{path.Join(f.Name, dir) + ": " + err.Error()}
	}
	return lines
}
