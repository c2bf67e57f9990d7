package attempt

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/sync/errgroup"

	"consort/agent/staging"
	"consort/shared/definition"
	"consort/shared/siteapi"
)

// inputs are the files given to the code.
type inputs struct {
	paths     map[string][]string // by role, relative to the working directory
	transfers []siteapi.Transfer  // in the order of the lease
}

// place puts the inputs into the working directory.
func (a *Attempt) place(ctx context.Context, bundle *definition.Bundle, grant Grant) (*inputs, error) {
	placed := &inputs{paths: map[string][]string{}, transfers: make([]siteapi.Transfer, len(a.lease.Inputs))}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(fetches)
	for i, in := range a.lease.Inputs {
		def := bundle.Definition.Input(in.Name)
		if def == nil {
			err := failf(string(definition.ClassSiteTransient), "the lease has an input %q that the definition does not know", in.Name)
			g.Go(func() error { return err })
			break
		}
		at := inputPath(def, in, i)
		placed.paths[def.Name] = append(placed.paths[def.Name], at)
		g.Go(func() (err error) {
			placed.transfers[i], err = a.placeInput(gctx, in, filepath.Join(a.dir.work(), at), limitsOf(def, grant))
			return err
		})
	}
	return placed, g.Wait()
}

func (a *Attempt) placeInput(ctx context.Context, in siteapi.Input, dst string, limits limits) (siteapi.Transfer, error) {
	got := siteapi.Transfer{Name: in.Name, Files: 1, Protocol: "https", Start: now(), Bytes: in.Size, SHA256: in.SHA256}
	var err error
	if in.URL != "" {
		err = a.download(ctx, in, limits, &got)
	} else if _, err = fetch(ctx, a.rt.Client, a.rt.Cache, a.Ref(), in.SHA256, in.Size); err != nil {
		err = fmt.Errorf("fetch input %s: %w", in.Name, err)
	}
	if err != nil {
		return got, err
	}
	got.End = now()
	if err := os.MkdirAll(filepath.Dir(dst), 0o700); err != nil {
		return got, transient(err)
	}
	if err := a.rt.Cache.Place(got.SHA256, dst); err != nil {
		return got, fmt.Errorf("place input %s: %w", in.Name, err)
	}
	return got, nil
}

// limits bound an input by URL.
type limits struct {
	staging.Rules
	declared bool // Most is the definition's, not the site's
}

func limitsOf(def *definition.Input, grant Grant) limits {
	l := limits{Rules: staging.Rules{URLs: grant.URLs, Most: grant.MaxFetch}}
	if most := int64(def.MaxSize); most > 0 && most <= l.Most {
		l.Most, l.declared = most, true
	}
	return l
}

// download fetches an input by its URL into the cache, and notes what came.
func (a *Attempt) download(ctx context.Context, in siteapi.Input, limits limits, got *siteapi.Transfer) error {
	var remote error
	var local writer
	sha, size, err := a.rt.Cache.Add(func(w io.Writer) error {
		local.w = w
		got.Protocol, remote = a.rt.Downloader.Get(ctx, in.URL, limits.Rules, &local)
		return remote
	})
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case local.err != nil:
		return transient(local.err)
	case remote != nil:
		return failf(string(downloadClass(remote, limits)), "input %s: %v", in.Name, remote)
	case err != nil:
		return transient(err)
	}
	got.SHA256, got.Bytes = sha, size
	return nil
}

// downloadClass says whose failure it is that a file cannot be fetched.
func downloadClass(err error, limits limits) definition.Class {
	switch {
	case errors.Is(err, staging.ErrNotAllowed):
		return definition.ClassSiteConfig
	case errors.Is(err, staging.ErrTooLarge) && !limits.declared:
		return definition.ClassSiteConfig
	case errors.Is(err, staging.ErrTooLarge), errors.Is(err, staging.ErrNoFile):
		return definition.ClassUser
	}
	return definition.ClassTransfer
}

// writer remembers that it was the disk that went wrong, not the server.
type writer struct {
	w   io.Writer
	err error
}

func (w *writer) Write(b []byte) (int, error) {
	n, err := w.w.Write(b)
	if err != nil {
		w.err = err
	}
	return n, err
}

// inputPath is where an input goes, relative to the working directory. In a directory of many the user's
// file name is kept, made harmless and distinct by a number in front.
func inputPath(def *definition.Input, in siteapi.Input, number int) string {
	if !strings.HasSuffix(def.File, "/") {
		return def.File
	}
	return path.Join(def.File, fmt.Sprintf("%03d-%s", number, harmless(in.FileName)))
}

// harmless keeps the letters, digits, dots, hyphens and underscores of a file name, at most 100.
func harmless(name string) string {
	keep := func(r rune) rune {
		if r < 0x80 && (r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._-", r)) {
			return r
		}
		return '_'
	}
	name = strings.Map(keep, name)
	name = name[max(0, len(name)-100):]
	if name == "" {
		return "file"
	}
	return name
}
