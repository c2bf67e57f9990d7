package attempt

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// layout is an attempt's private directory, mode 0700 throughout:
//
//	work/  the working directory: inputs, files, configuration; outputs are matched here and nowhere else
//	meta/  wrapper, started, exit, stdout, stderr, params.json, secrets.json, error, manifest.json, report-0, …
//	home/  HOME   tmp/  TMPDIR
type layout string

func dirName(job string, epoch uint64) string { return fmt.Sprintf("%s-%d", job, epoch) }

func (l layout) work() string            { return filepath.Join(string(l), "work") }
func (l layout) meta() string            { return filepath.Join(string(l), "meta") }
func (l layout) home() string            { return filepath.Join(string(l), "home") }
func (l layout) tmp() string             { return filepath.Join(string(l), "tmp") }
func (l layout) file(name string) string { return filepath.Join(l.meta(), name) }

// Names in meta/ beside those of package batch.
const (
	stdoutFile   = "stdout"
	stderrFile   = "stderr"
	paramsFile   = "params.json"
	secretsFile  = "secrets.json"
	errorFile    = "error"
	manifestFile = "manifest.json"
)

// make makes the directories anew. What is in meta/ stays: should a batch job exist after all that nobody
// could see, its marker keeps the program from being started twice.
func (l layout) make() error {
	for _, d := range []string{l.work(), l.home(), l.tmp()} {
		if err := removeAll(d); err != nil {
			return err
		}
	}
	for _, d := range []string{string(l), l.meta(), l.work(), l.home(), l.tmp()} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return fmt.Errorf("make the attempt's directory: %w", err)
		}
	}
	return nil
}

// removeAll is os.RemoveAll for trees in which a code changed the modes of directories.
func removeAll(path string) error {
	err := os.RemoveAll(path)
	if err == nil {
		return nil
	}
	walk := filepath.WalkDir(path, func(p string, d fs.DirEntry, err error) error {
		if d != nil && d.IsDir() && err == nil {
			return os.Chmod(p, 0o700) // called before the directory is read
		}
		return nil
	})
	if err = os.RemoveAll(path); err != nil {
		return fmt.Errorf("remove the attempt's directory: %w", errors.Join(err, walk))
	}
	return nil
}
