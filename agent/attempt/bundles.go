package attempt

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"golang.org/x/sync/errgroup"

	"consort/agent/client"
	"consort/agent/staging"
	"consort/shared/definition"
	"consort/shared/siteapi"
)

// maxKept is the size in bytes of the files of one definition up to which it is kept in memory.
const maxKept = 1 << 20

// fetches is how many files of one attempt are fetched at a time.
const fetches = 8

// maxBundles is how many definitions are kept in memory.
const maxBundles = 32

// Bundles fetches definitions and keeps the small ones that were used lately. The zero value is ready.
type Bundles struct {
	mu   sync.Mutex
	kept map[string]*definition.Bundle // by digest
}

// get returns the definition of a lease. Its digest is computed here, from the bytes, so that nobody can
// slip in another code under an allowed one's name.
func (b *Bundles) get(ctx context.Context, c *client.Client, cache *staging.Cache, lease *siteapi.Lease) (*definition.Bundle, error) {
	b.mu.Lock()
	found := b.kept[lease.Definition.Digest]
	b.mu.Unlock()
	if found != nil {
		return found, nil
	}
	ref := siteapi.AttemptRef{Job: lease.Job, Epoch: lease.Epoch}
	data := make([][]byte, len(lease.Definition.Files))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(fetches)
	for i, f := range lease.Definition.Files {
		g.Go(func() error {
			path, err := fetch(gctx, c, cache, ref, f.SHA256, f.Size)
			if err != nil {
				return fmt.Errorf("fetch %s of the definition: %w", f.Path, err)
			}
			data[i], err = os.ReadFile(path)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	contents := map[string][]byte{}
	for i, f := range lease.Definition.Files {
		contents[f.Path] = data[i]
	}
	bundle, err := definition.FromFiles(contents)
	if err != nil {
		return nil, failf(string(definition.ClassDefinition), "this site cannot read the definition: %v", err)
	}
	d := bundle.Definition
	if bundle.Digest != lease.Definition.Digest || d.Name != lease.Definition.Name || d.Version != lease.Definition.Version {
		return nil, failf(string(definition.ClassSiteConfig), "the definition that came is %s %s with digest %s, the lease names %s %s with digest %s",
			d.Name, d.Version, bundle.Digest, lease.Definition.Name, lease.Definition.Version, lease.Definition.Digest)
	}
	b.keep(bundle)
	return bundle, nil
}

func (b *Bundles) keep(bundle *definition.Bundle) {
	var size int64
	for _, f := range bundle.Files {
		size += f.Size
	}
	if size > maxKept {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.kept == nil || len(b.kept) >= maxBundles { // to begin anew is simpler than to know the oldest
		b.kept = map[string]*definition.Bundle{}
	}
	b.kept[bundle.Digest] = bundle
}

// fetch returns the path of a content in the site's cache, which it fills when needed.
func fetch(ctx context.Context, c *client.Client, cache *staging.Cache, ref siteapi.AttemptRef, sha256 string, size int64) (string, error) {
	path, err := cache.Get(ctx, sha256, size, func(ctx context.Context, w io.Writer, offset int64) error {
		return c.Content(ctx, ref, sha256, w, offset)
	})
	var refused *client.Error
	if errors.As(err, &refused) && client.IsFinal(err) && !client.IsStale(err) {
		return "", failf(string(definition.ClassTransfer), "the coordinators do not give out the content %s: %s", sha256, refused.Message)
	}
	return path, err
}
