package definition

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// MaxOutputFiles is the greatest number of files that the outputs of one job may have together.
const MaxOutputFiles = 100_000

// Match is what was found for one output.
type Match struct {
	Output string // its name
	Files  []MatchedFile
}

// MatchedFile is a regular file in the working directory.
type MatchedFile struct {
	Path string // relative to the working directory, with "/"
	Size int64  // bytes
}

// MatchOutputs finds the files of every output in the working directory fsys, in the order of the
// definition, sorted by path. A pattern is one of path.Match, in which "*" stays within a directory.
// Symbolic links are not followed and match nothing; neither do the definition's files, its
// configuration files and the inputs. A file belongs to one output: the one that names it exactly, else
// the first whose pattern matches.
//
// Errors are ErrMissingOutput and ErrTooManyOutputs, joined; what was found is returned beside them.
func (d *Definition) MatchOutputs(fsys fs.FS, values Values) ([]Match, error) {
	m := matcher{fsys: fsys, taken: map[string]bool{}, dirs: map[string]bool{}, d: d}
	for _, f := range d.Files {
		m.taken[f] = true
	}
	for _, c := range d.Config {
		m.taken[c.File] = true
	}
	matches := make([]Match, len(d.Outputs))
	var errs []error
	for _, exact := range []bool{true, false} {
		for i := range d.Outputs {
			o := &d.Outputs[i]
			pattern, set := outputPattern(o, values)
			if isGlob(o.File) == exact {
				continue
			}
			matches[i].Output = o.Name
			if !set {
				continue
			}
			files, err := m.match(o, pattern, exact)
			matches[i].Files = files
			errs = append(errs, err)
			if m.count > MaxOutputFiles {
				return matches, errors.Join(append(errs, fmt.Errorf("%w: more than %d", ErrTooManyOutputs, MaxOutputFiles))...)
			}
		}
	}
	return matches, errors.Join(errs...)
}

// outputPattern returns the path or pattern of an output, unless it is named by an unset parameter.
func outputPattern(o *Output, values Values) (pattern string, set bool) {
	if o.NameFrom == "" {
		return o.File, true
	}
	list, _ := values.Get(o.NameFrom)
	if len(list) != 1 || badPath(list[0]) != "" {
		return "", false
	}
	return list[0], true
}

// matcher finds output files one output at a time.
type matcher struct {
	fsys  fs.FS
	d     *Definition
	taken map[string]bool // paths that belong to something already
	dirs  map[string]bool // whether each directory looked at is a real one
	count int
}

func (m *matcher) match(o *Output, pattern string, exact bool) ([]MatchedFile, error) {
	paths := []string{pattern}
	if !exact {
		var err error
		if paths, err = fs.Glob(m.fsys, pattern); err != nil {
			return nil, fmt.Errorf("output %s: match %q: %w", o.Name, pattern, err)
		}
	}
	slices.Sort(paths)
	var files []MatchedFile
	irregular := ""
	for _, p := range paths {
		if m.taken[p] || m.isInput(p) {
			continue
		}
		size, ok := m.regular(p)
		if !ok {
			if _, err := fs.Lstat(m.fsys, p); err == nil {
				irregular = p
			}
			continue
		}
		m.taken[p] = true
		files = append(files, MatchedFile{p, size})
		if m.count++; m.count > MaxOutputFiles {
			break
		}
	}
	return files, m.verdict(o, pattern, len(files), irregular)
}

// verdict compares the number of files with the multiplicity.
func (m *matcher) verdict(o *Output, pattern string, n int, irregular string) error {
	switch {
	case n < o.Multiplicity.Min && irregular != "":
		return fmt.Errorf("%w: output %s: %q is a link or no regular file", ErrMissingOutput, o.Name, irregular)
	case n < o.Multiplicity.Min && n == 0:
		return fmt.Errorf("%w: output %s: nothing matches %q", ErrMissingOutput, o.Name, pattern)
	case n < o.Multiplicity.Min:
		return fmt.Errorf("%w: output %s: %d files match %q, wanted: %s", ErrMissingOutput, o.Name, n, pattern, o.Multiplicity)
	case !o.Multiplicity.Allows(n):
		return fmt.Errorf("%w: output %s: %d files match %q, wanted: %s", ErrTooManyOutputs, o.Name, n, pattern, o.Multiplicity)
	}
	return nil
}

// isInput tells whether a path belongs to an input or to the agent.
func (m *matcher) isInput(p string) bool {
	if strings.HasPrefix(p, ReservedDir+"/") {
		return true
	}
	return slices.ContainsFunc(m.d.Inputs, func(in Input) bool {
		return p == in.File || strings.HasSuffix(in.File, "/") && strings.HasPrefix(p, in.File)
	})
}

// regular returns the size of a regular file that is reached through real directories only.
func (m *matcher) regular(p string) (size int64, ok bool) {
	for dir := path.Dir(p); dir != "."; dir = path.Dir(dir) {
		real, known := m.dirs[dir]
		if !known {
			info, err := fs.Lstat(m.fsys, dir)
			real = err == nil && info.IsDir()
			m.dirs[dir] = real
		}
		if !real {
			return 0, false
		}
	}
	info, err := fs.Lstat(m.fsys, p)
	if err != nil || !info.Mode().IsRegular() {
		return 0, false
	}
	return info.Size(), true
}
