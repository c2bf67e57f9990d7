package attempt

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sync/errgroup"

	"consort/agent/client"
	"consort/agent/journal"
	"consort/agent/policy"
	"consort/agent/staging"
	"consort/shared/definition"
	"consort/shared/failpoint"
	"consort/shared/retry"
	"consort/shared/siteapi"
)

// output is one file that the job left.
type output struct {
	name, path, contentType string
	size                    int64
}

// outputs finds what the job left in its working directory, and compares it with what it may leave.
func (a *Attempt) outputs(d *definition.Definition) ([]output, error) {
	if a.found != nil {
		return a.found, nil
	}
	given, err := a.values(d)
	if err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(a.dir.work())
	if err != nil {
		return nil, transient(err)
	}
	defer root.Close()
	matches, err := d.MatchOutputs(root.FS(), given.Values)
	if err != nil {
		return nil, failf(string(definition.ClassDefinition), "%v", err)
	}
	all := []output{}
	var bytes int64
	for _, m := range matches {
		contentType := ""
		if o := d.Output(m.Output); o != nil {
			contentType = o.ContentType
		}
		for _, f := range m.Files {
			all = append(all, output{m.Output, f.Path, contentType, f.Size})
			bytes += f.Size
		}
	}
	if most := a.lease.MaxFiles; most > 0 && len(all) > most {
		return nil, failf(string(definition.ClassQuota), "the job left %d files, allowed are %d", len(all), most)
	}
	if most := a.lease.MaxBytes; most > 0 && bytes > most {
		return nil, failf(string(definition.ClassQuota), "the job's outputs have %d bytes, allowed are %d", bytes, most)
	}
	if rule, most := a.granted(); most > 0 && bytes > most {
		return nil, a.denied(policy.TooLarge(rule, bytes, most))
	}
	a.found = all
	return all, nil
}

// granted is which rule of the site's policy allowed the attempt, and how many bytes of outputs; 0: any number.
func (a *Attempt) granted() (rule int, most int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.rec.Rule, a.rec.MaxOut
}

// upload sends outputs and logs, has the outputs sealed, and keeps the manifest.
func (a *Attempt) upload(ctx context.Context) error {
	bundle, err := a.bundle(ctx)
	if err != nil {
		return err
	}
	outputs, err := a.outputs(bundle.Definition)
	if err != nil {
		return err
	}
	var manifest []siteapi.ManifestFile
	var logs []siteapi.Log
	begun := now()
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) {
		manifest, err = a.pushAndSeal(gctx, outputs)
		return err
	})
	g.Go(func() (err error) {
		logs, err = a.storeLogs(gctx)
		return err
	})
	if err := g.Wait(); err != nil {
		return err
	}
	sent := siteapi.Transfer{Out: true, Files: int64(len(manifest)), Protocol: "sftp", Start: begun, End: now()}
	for _, f := range manifest {
		sent.Bytes += f.Size
	}
	data, err := json.Marshal(manifest)
	if err != nil {
		return fmt.Errorf("encode the manifest: %w", err)
	}
	// It is not synced: what a power cut leaves of it is no JSON, and then the outputs are sent again.
	if err := os.WriteFile(a.dir.file(manifestFile), data, 0o600); err != nil {
		return fmt.Errorf("keep the manifest: %w", err)
	}
	return a.save(journal.Sealed, a.rt.Journal.Note, func(r *record) {
		r.Facts.Logs = logs
		in := slices.DeleteFunc(slices.Clone(r.Facts.Transfers), func(t siteapi.Transfer) bool { return t.Out })
		r.Facts.Transfers = append(in, sent)
	})
}

// pushAndSeal sends the files until the coordinator has sealed every one.
func (a *Attempt) pushAndSeal(ctx context.Context, outputs []output) ([]siteapi.ManifestFile, error) {
	manifest := make([]siteapi.ManifestFile, len(outputs))
	index := map[string]int{}
	todo := make([]int, len(outputs))
	for i, o := range outputs {
		manifest[i] = siteapi.ManifestFile{Output: o.name, Path: o.path, Size: o.size, ContentType: o.contentType}
		index[o.path], todo[i] = i, i
	}
	if a.adopted || a.sent {
		var err error
		if todo, err = a.unsent(ctx, manifest); err != nil {
			return nil, err
		}
	}
	a.sent = true
	var pause retry.Backoff
	for len(outputs) > 0 {
		pushed, err := a.push(ctx, outputs, todo)
		if err != nil {
			return nil, err
		}
		for _, f := range pushed {
			manifest[index[f.Path]].SHA256 = f.SHA256
		}
		failpoint.Here("agent-before-seal")
		bad, err := a.seal(ctx, manifest)
		if err != nil {
			return nil, err
		}
		failpoint.Here("agent-after-seal")
		todo = todo[:0]
		for _, b := range bad {
			i, known := index[b.Path]
			if !known {
				return nil, fmt.Errorf("the coordinator found %q %s, which was not sent", b.Path, b.Problem)
			}
			a.logger.Warn("the coordinator did not accept an output; sending it again", "path", b.Path, "problem", b.Problem)
			todo = append(todo, i)
		}
		if len(todo) == 0 {
			break
		}
		if err := pause.Wait(ctx, 0); err != nil {
			return nil, err
		}
	}
	return manifest, nil
}

// unsent asks the coordinator what it has of an earlier try, fills in the hashes of what is all there, and
// returns what is still to be sent. That saves work, and it is the only way on when the answer to a seal was
// lost: what is sealed can be sealed again, but takes no more writes.
func (a *Attempt) unsent(ctx context.Context, manifest []siteapi.ManifestFile) ([]int, error) {
	var todo []int
	for start := 0; start < len(manifest); start += siteapi.MaxOffsetPaths {
		some := manifest[start:min(start+siteapi.MaxOffsetPaths, len(manifest))]
		paths := make([]string, len(some))
		for i := range some {
			paths[i] = some[i].Path
		}
		there, err := a.rt.Client.Offsets(ctx, a.Ref(), paths)
		if err != nil {
			return nil, err
		}
		for i := range some {
			f := &some[i]
			offset, known := there.Offsets[f.Path]
			if !known || offset != f.Size || there.SHA256[f.Path] == "" {
				todo = append(todo, start+i)
				continue
			}
			if f.SHA256, err = hashFile(ctx, filepath.Join(a.dir.work(), f.Path)); err != nil {
				return nil, err
			}
			if f.SHA256 != there.SHA256[f.Path] {
				todo = append(todo, start+i)
			}
		}
	}
	return todo, nil
}

func hashFile(ctx context.Context, path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("hash an output: %w", err)
	}
	defer f.Close()
	sum := sha256.New()
	buf := make([]byte, 1<<20)
	for ctx.Err() == nil {
		n, err := f.Read(buf)
		sum.Write(buf[:n])
		if err == io.EOF {
			return hex.EncodeToString(sum.Sum(nil)), nil
		}
		if err != nil {
			return "", fmt.Errorf("hash an output: %w", err)
		}
	}
	return "", context.Cause(ctx)
}

// push sends some of the outputs over SFTP.
func (a *Attempt) push(ctx context.Context, outputs []output, which []int) ([]staging.ManifestFile, error) {
	up := staging.Upload{Job: a.lease.Job, Epoch: a.lease.Epoch}
	for _, i := range which {
		o := outputs[i]
		up.Files = append(up.Files, staging.File{Local: filepath.Join(a.dir.work(), o.path), Remote: o.path, Size: o.size})
	}
	// An attempt that is stale must end the push, which takes every error of Offsets for a passing one.
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	up.Offsets = func(ctx context.Context, path string) (int64, string, error) {
		answer, err := a.rt.Client.Offsets(ctx, a.Ref(), []string{path})
		if client.IsFinal(err) {
			stop(err)
		}
		return answer.Offsets[path], answer.SHA256[path], err
	}
	pushed, err := a.rt.Pusher.Push(ctx, up)
	switch {
	case errors.Is(err, staging.ErrChanged):
		return nil, failf(string(definition.ClassDefinition), "an output changed after the code had ended: %v", err)
	case err != nil && ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case errors.Is(err, staging.ErrNoLease):
		return nil, a.askWhetherStale(ctx, err)
	}
	return pushed, err
}

// askWhetherStale tells an attempt that is over from a server that has not heard of it yet.
func (a *Attempt) askWhetherStale(ctx context.Context, err error) error {
	if _, stale := a.rt.Client.Offsets(ctx, a.Ref(), nil); stale != nil {
		return stale
	}
	return err
}

// seal has all files sealed together, or gets to know which to send again.
func (a *Attempt) seal(ctx context.Context, manifest []siteapi.ManifestFile) ([]siteapi.BadFile, error) {
	files := make([]siteapi.File, len(manifest))
	for i, m := range manifest {
		files[i] = siteapi.File{Path: m.Path, SHA256: m.SHA256, Size: m.Size}
	}
	return a.rt.Client.Seal(ctx, a.Ref(), files)
}

// declare sends the list of outputs, which shows nowhere before the commit, and prepares the commit.
func (a *Attempt) declare(ctx context.Context) error {
	var manifest []siteapi.ManifestFile
	data, err := os.ReadFile(a.dir.file(manifestFile))
	if err == nil {
		err = json.Unmarshal(data, &manifest)
	}
	if err != nil {
		a.logger.Warn("the manifest is lost; sending the outputs again", "error", err)
		return a.save(journal.Uploading, a.rt.Journal.Note, nil)
	}
	all := slices.Collect(slices.Chunk(manifest, siteapi.MaxManifestPart))
	for i, files := range all {
		answer, err := a.rt.Client.Manifest(ctx, a.Ref(), siteapi.ManifestPart{Part: i, Files: files})
		if err != nil {
			return err
		}
		if answer.Cancel {
			a.Cancel()
			return errOrdered
		}
		failpoint.Here("agent-between-manifest-parts")
	}
	return a.prepareCommit(len(all), siteapi.ManifestHash(all))
}
