package cli

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"consort/shared/ids"
	"consort/shared/prov"
	"consort/shared/userapi"
)

// lineageFlags are those of prov lineage.
type lineageFlags struct {
	back, forth, same, ascii bool
	depth                    string
	limit                    int
}

func (a *App) provLineageCommand() *cobra.Command {
	var f lineageFlags
	cmd := command("lineage JOB|JOB/RESULT|FILE", "Tell where a file comes from, and what was made of it",
		`Tell from which jobs and files a job, a result or a file on your disk comes (--back, the default), or what was
made of it (--forth): across all jobs, versions and sites. A result is JOB/RESULT, with /PATH for a file of a
collection. A file on your disk is known by its SHA-256, so it may have any name.

Each line is a job or a file; what stands below it, further in, is what it was made from, or with --forth what
it was used for. What was told above is not told again. Jobs of others that you may not read stand as redacted.`,
		`  consort prov lineage j01ke5nz
  consort prov lineage j01ke5nz/cleaned --forth
  consort prov lineage ./catalogue.fits --back --forth
  consort prov lineage j01ke5nz --depth 2 -o json`,
		arguments(1, 1), func(cmd *cobra.Command, args []string) error {
			if f.limit < 1 || f.limit > 10_000 {
				return usage(cmd, "--limit must be 1 to 10000")
			}
			depth, err := parseDepth(cmd, f.depth)
			if err != nil {
				return err
			}
			c, err := a.client()
			if err != nil {
				return err
			}
			defer c.Close()
			return a.lineageOf(cmd.Context(), c, args[0], depth, &f)
		})
	flags := cmd.Flags()
	flags.BoolVar(&f.back, "back", false, "tell what it was made from; the default")
	flags.BoolVar(&f.forth, "forth", false, "tell what was made of it; with --back, both")
	flags.StringVar(&f.depth, "depth", "all", "follow so many `relations`, two for each job; 0 is it alone, or all")
	flags.IntVar(&f.limit, "limit", maxLineage, "tell of at most so many `jobs`")
	flags.BoolVar(&f.same, "same", false, "go on through files of equal content")
	flags.BoolVar(&f.ascii, "ascii", false, "draw with ASCII characters; the default where the locale is not UTF-8")
	cmd.ValidArgsFunction = a.completeJobs()
	return cmd
}

// parseDepth reads --depth.
func parseDepth(cmd *cobra.Command, text string) (int, error) {
	if strings.EqualFold(text, "all") {
		return userapi.AllDepth, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		return 0, usage(cmd, "--depth %s is neither all nor a whole number from 0 on", text)
	}
	return n, nil
}

// direction is that of the JSON API.
func (f *lineageFlags) direction() string {
	switch {
	case f.back && f.forth:
		return "both"
	case f.forth:
		return "forth"
	}
	return "back"
}

func (a *App) lineageOf(ctx context.Context, c *userapi.Client, text string, depth int, f *lineageFlags) error {
	roots, err := a.roots(ctx, c, text)
	if err != nil {
		return err
	}
	all := &userapi.Lineage{Focus: roots[0], Nodes: []userapi.ProvNode{}, Edges: []userapi.ProvEdge{}}
	for i, root := range roots {
		focus, err := a.addLineage(ctx, c, all, root, depth, f)
		if err != nil {
			return provError(err, text)
		}
		roots[i] = focus
	}
	all.Focus = roots[0]
	if all.Truncated {
		defer a.say("There is more; raise --limit.")
	}
	if a.output == jsonFormat {
		return a.printJSON(all)
	}
	t := &lineageTree{lineage: all, style: unicodeStyle, width: 0}
	if f.ascii || !a.unicode() {
		t.style = asciiStyle
	}
	if terminal(a.Out) {
		t.width = a.width(a.Out)
	}
	_, err = io.WriteString(a.Out, t.draw(roots, f.direction()))
	return err
}

// addLineage reads the pages of one lineage, and gives the name of its node.
func (a *App) addLineage(ctx context.Context, c *userapi.Client, all *userapi.Lineage, id string, depth int, f *lineageFlags) (string, error) {
	q := userapi.LineageQuery{ID: id, Direction: f.direction(), Depth: depth, Limit: f.limit, Same: f.same}
	page, err := c.Lineage(ctx, q)
	if err != nil {
		return "", err
	}
	have := map[string]bool{}
	for _, n := range all.Nodes {
		have[n.ID] = true
	}
	for _, n := range page.Nodes {
		if !have[n.ID] {
			all.Nodes = append(all.Nodes, n)
		}
	}
	all.Edges = append(all.Edges, page.Edges...)
	all.Truncated = all.Truncated || page.Truncated
	return page.Focus, nil
}

// roots finds the nodes that the user means: a job, a result, a file on disk, or a name of the provenance itself.
func (a *App) roots(ctx context.Context, c *userapi.Client, text string) ([]string, error) {
	if info, err := os.Stat(text); err == nil && !ids.ValidJob(text) {
		if info.IsDir() {
			return nil, fmt.Errorf("%s is a folder; name one file", text)
		}
		return a.contentRoots(ctx, c, text)
	}
	node, err := a.node(ctx, c, text)
	return []string{node}, err
}

// node is the identifier, as the JSON API takes it, of a job, a result or a name of the provenance itself, short or in
// full.
func (a *App) node(ctx context.Context, c *userapi.Client, text string) (string, error) {
	if strings.HasPrefix(text, "sha256:") || prefixed(text) || strings.Contains(text, "://") && strings.Contains(text, "/id/") {
		return text, nil
	}
	text = strings.TrimPrefix(text, "consort:")
	job, result, ok := strings.Cut(text, "/")
	if !ok || strings.Contains(text, "/rest/") {
		found, err := a.findJob(ctx, c, text)
		if err != nil {
			return "", err
		}
		return prov.JobID(found.ID).String(), nil
	}
	id, err := c.FindID(ctx, job)
	if err != nil {
		return "", fmt.Errorf("%s is no file here, and as a result: %w", text, err)
	}
	if result == "result" {
		found, err := a.findJob(ctx, c, id)
		if err != nil {
			return "", err
		}
		if len(found.Results) == 0 {
			return "", errors.New(noResults(found))
		}
		result = found.Results[0].ID
	}
	return "consort:" + id + "/" + result, nil
}

// prefixed tells whether text is a qualified name of a record.
func prefixed(text string) bool {
	prefix, _, ok := strings.Cut(text, ":")
	switch prefix {
	case "job", "ent", "data", "agt", "jdl":
		return ok
	}
	return false
}

// contentRoots finds the entities that have the content of a file on disk.
func (a *App) contentRoots(ctx context.Context, c *userapi.Client, name string) ([]string, error) {
	sum, err := a.hashFile(ctx, name)
	if err != nil {
		return nil, err
	}
	const most = 10 // the rest has the same content, and other origins
	found, err := c.Content(ctx, sum, "", most)
	if userapi.NotFound(err) || err == nil && len(found.Entities) == 0 {
		return nil, &advice{fmt.Errorf("no job that you may read used or made the content of %s, SHA-256 %s", name, sum),
			"It may have been changed since it was fetched: even a new DATE card makes another file of it."}
	}
	if err != nil {
		return nil, err
	}
	if found.Next != "" {
		a.say("There are more than %d files of this content; the first are told.", most)
	}
	var roots []string
	for _, e := range found.Entities {
		roots = append(roots, e.ID)
	}
	return roots, nil
}

// hashFile reads a file once and tells how far it is.
func (a *App) hashFile(ctx context.Context, name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	m := a.newMeter()
	m.total = info.Size()
	defer m.clear()
	sum := sha256.New()
	_, err = io.Copy(io.MultiWriter(sum, metered{m}), &interruptible{ctx, f})
	if err != nil {
		return "", fmt.Errorf("read %s: %w", name, err)
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// metered counts what goes by.
type metered struct{ *meter }

func (m metered) Write(p []byte) (int, error) {
	m.add(int64(len(p)))
	return len(p), nil
}

// interruptible stops reading when its context ends.
type interruptible struct {
	ctx context.Context
	io.Reader
}

func (r *interruptible) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.Reader.Read(p)
}

// provError adds to "not found" what it may mean.
func provError(err error, text string) error {
	if userapi.NotFound(err) {
		return &advice{fmt.Errorf("%s: %w", text, err), `"consort job results ls JOB" lists the results of a job.`}
	}
	return err
}
