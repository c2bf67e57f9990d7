package attempt

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sync/errgroup"

	"consort/agent/client"
	"consort/shared/siteapi"
)

// kept is a file of the attempt that the coordinators store as a log.
type kept struct {
	name, path string
	// part is how many bytes of a file of full bytes are sent; open reads them.
	part func(full int64) int64
	open func(path string, full int64) (io.ReadCloser, error)
}

// kept lists what is stored of an attempt however it ended: what the code wrote to its standard output and error,
// and its own provenance.
func (a *Attempt) kept() []kept {
	part := func(full int64) int64 { return min(full, siteapi.MaxLog) }
	return []kept{
		{stdoutFile, a.dir.file(stdoutFile), part, openLog},
		{stderrFile, a.dir.file(stderrFile), part, openLog},
		{siteapi.LogProvenance, filepath.Join(a.dir.work(), siteapi.ProvenanceFile), provenancePart, openProvenance},
	}
}

// storeLogs stores what the code wrote. What it never made, or made into anything but a regular file, is left out;
// of its own provenance an empty file is stored then, so that the record says that there was something.
func (a *Attempt) storeLogs(ctx context.Context) ([]siteapi.Log, error) {
	files := a.kept()
	stored := make([]*siteapi.Log, len(files))
	g, gctx := errgroup.WithContext(ctx)
	for i, file := range files {
		g.Go(func() (err error) {
			stored[i], err = a.storeLog(gctx, file)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	var logs []siteapi.Log
	for _, l := range stored {
		if l != nil {
			logs = append(logs, *l)
		}
	}
	return logs, nil
}

func (a *Attempt) storeLog(ctx context.Context, k kept) (*siteapi.Log, error) {
	f, full, err := openRegular(k.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	switch {
	case irregular(err):
		a.logger.Warn("a file of the code is left out", "file", k.name, "error", err)
		if k.name != siteapi.LogProvenance {
			return nil, nil
		}
		full = 0
	case err != nil:
		return nil, fmt.Errorf("open %s: %w", k.name, err)
	default:
		f.Close()
	}
	size := k.part(full)
	if size < full {
		a.logger.Warn("a file of the code is too long to be kept whole", "file", k.name, "bytes", full, "kept", size)
	}
	answer, err := a.rt.Client.PutLog(ctx, a.Ref(), k.name, size, full, func() (io.ReadCloser, error) {
		return k.open(k.path, full)
	})
	if k.name == siteapi.LogProvenance && client.IsFinal(err) && !client.IsStale(err) {
		a.logger.Warn("the coordinators do not take the code's own provenance", "error", err)
		return nil, nil // the results count for more
	}
	if err != nil {
		return nil, err
	}
	return &siteapi.Log{Name: k.name, SHA256: answer.SHA256, Size: answer.Size, FullSize: full}, nil
}

// irregular tells that a code put something else in the place of a file: a link, a directory, a pipe, a socket.
func irregular(err error) bool {
	return errors.Is(err, errIrregular) || errors.Is(err, syscall.ELOOP) || errors.Is(err, syscall.ENXIO)
}

// provenancePart is all or nothing: half a document says nothing.
func provenancePart(full int64) int64 {
	if full > siteapi.MaxProvenance {
		return 0
	}
	return full
}

func openProvenance(path string, full int64) (io.ReadCloser, error) {
	if provenancePart(full) == 0 {
		return io.NopCloser(strings.NewReader("")), nil
	}
	return openLog(path, full)
}

// logReader closes the file that it reads a part of.
type logReader struct {
	io.Reader
	io.Closer
}

// openLog reads the first full bytes of a log; of a very long one the first and the last halves of what is
// kept.
func openLog(path string, full int64) (io.ReadCloser, error) {
	f, size, err := openRegular(path)
	if err != nil {
		return nil, err
	}
	if size < full {
		f.Close()
		return nil, fmt.Errorf("%s became shorter", path)
	}
	if full <= siteapi.MaxLog {
		return logReader{io.NewSectionReader(f, 0, full), f}, nil
	}
	const half = siteapi.MaxLog / 2
	return logReader{io.MultiReader(io.NewSectionReader(f, 0, half), io.NewSectionReader(f, full-half, half)), f}, nil
}
