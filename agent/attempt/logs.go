package attempt

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"golang.org/x/sync/errgroup"

	"consort/shared/siteapi"
)

// storeLogs stores what the code wrote to its standard output and error. A stream that was never opened is
// left out.
func (a *Attempt) storeLogs(ctx context.Context) ([]siteapi.Log, error) {
	streams := []string{stdoutFile, stderrFile}
	stored := make([]*siteapi.Log, len(streams))
	g, gctx := errgroup.WithContext(ctx)
	for i, name := range streams {
		g.Go(func() (err error) {
			stored[i], err = a.storeLog(gctx, name)
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

func (a *Attempt) storeLog(ctx context.Context, name string) (*siteapi.Log, error) {
	f, full, err := openRegular(a.dir.file(name))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, errIrregular) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", name, err)
	}
	f.Close()
	size := min(full, siteapi.MaxLog)
	answer, err := a.rt.Client.PutLog(ctx, a.Ref(), name, size, full, func() (io.ReadCloser, error) {
		return openLog(a.dir.file(name), full)
	})
	if err != nil {
		return nil, err
	}
	return &siteapi.Log{Name: name, SHA256: answer.SHA256, Size: answer.Size, FullSize: full}, nil
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
