package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"consort/shared/prov"
	"consort/shared/userapi"
)

// maxLineage bounds how many jobs prov show goes back through.
const maxLineage = 200

func (a *App) provCommand() *cobra.Command {
	return group("prov", "See where results come from, and what was made of them",
		`The provenance of jobs and results: where they come from, what was made of them, whether the record is sound, and
whether the same comes out again.`,
		a.provShowCommand(), a.provLineageCommand(), a.provGraphCommand(), a.provExportCommand(), a.provDiffCommand(),
		a.provVerifyCommand(), a.provRerunCommand(), a.provRetractCommand())
}

func (a *App) provShowCommand() *cobra.Command {
	var format, result string
	var ascii bool
	cmd := command("show JOB", "Trace a result back to what it was made from",
		`Trace a result, by default the main one, back to the job that made it, its parameters, the site where it ran, and
the SHA-256 of its inputs. Where an input is the result of another job, that job is traced too, and so on back
to the first inputs.

With --format json or n print the provenance document of this one job instead, as PROV-JSON or PROV-N.`,
		`  consort prov show j01ke5nz
  consort prov show j01ke5nz --result plot --ascii
  consort prov show j01ke5nz --format json > prov.json`,
		arguments(1, 1), func(cmd *cobra.Command, args []string) error {
			if format != "tree" && format != userapi.ProvJSON && format != userapi.ProvN {
				return usage(cmd, "--format %s is none of tree, json, n", format)
			}
			if a.output == jsonFormat && !cmd.Flags().Changed("format") {
				format = userapi.ProvJSON
			}
			c, err := a.client()
			if err != nil {
				return err
			}
			defer c.Close()
			job, err := a.findJob(cmd.Context(), c, args[0])
			if err != nil {
				return err
			}
			if format == "tree" {
				return a.provTree(cmd.Context(), c, job, result, ascii)
			}
			doc, err := c.Provenance(cmd.Context(), job.ID, format)
			if err != nil {
				return err
			}
			out, closeOut := a.raw()
			_, err = out.Write(doc)
			return errors.Join(err, closeOut())
		})
	flags := cmd.Flags()
	flags.StringVar(&format, "format", "tree", "tree, json (PROV-JSON) or n (PROV-N)")
	flags.StringVar(&result, "result", "", "`id` of the result to trace; a file of a collection is ID/PATH, and stdout and stderr are results too")
	flags.BoolVar(&ascii, "ascii", false, "draw the tree with ASCII characters; the default where the locale is not UTF-8")
	must(cmd.RegisterFlagCompletionFunc("format", cobra.FixedCompletions([]string{"tree", "json", "n"}, cobra.ShellCompDirectiveNoFileComp)))
	cmd.ValidArgsFunction = a.completeJobs()
	return cmd
}

func (a *App) provTree(ctx context.Context, c *userapi.Client, job *userapi.Job, result string, ascii bool) error {
	graph, err := a.lineage(ctx, c, job)
	if err != nil {
		return err
	}
	root := prov.JobID(job.ID)
	switch {
	case result != "" && result != "result":
		root = prov.ResultID(job.ID, result)
	case len(job.Results) > 0:
		root = prov.ResultID(job.ID, job.Results[0].ID)
	case result == "result":
		return errors.New(noResults(job))
	}
	var tree bytes.Buffer
	err = prov.Tree(&tree, graph, root, prov.TreeOptions{ASCII: ascii || !a.unicode()})
	if errors.Is(err, prov.ErrNotFound) {
		return &advice{fmt.Errorf("the provenance of job %s knows no result %q", job.ID, result), `"consort job results ls" lists the results.`}
	}
	if err != nil {
		return err
	}
	_, err = a.Out.Write(tree.Bytes())
	return err
}

// source is a job that another one had results of, and what was given.
type source struct{ job, given string }

func sources(j *userapi.Job) []source {
	var from []source
	if j.ReusedFrom != "" {
		from = append(from, source{j.ReusedFrom, "results were taken over"})
	}
	for _, input := range j.Inputs {
		if input.FromJob != "" {
			from = append(from, source{input.FromJob, "result was used as " + input.Name})
		}
	}
	return from
}

// lineage merges the provenance of a job with that of the jobs whose results it used, and so on. What cannot
// be read is told, and ends that branch.
func (a *App) lineage(ctx context.Context, c *userapi.Client, job *userapi.Job) (*prov.Graph, error) {
	graph, err := a.graph(ctx, c, job.ID)
	if err != nil {
		return nil, err
	}
	seen := map[string]bool{job.ID: true}
	queue := []*userapi.Job{job}
	for len(queue) > 0 {
		from := queue[0]
		queue = queue[1:]
		for _, source := range sources(from) {
			if seen[source.job] {
				continue
			}
			if len(seen) >= maxLineage {
				a.say("The lineage goes back through more than %d jobs; the rest is left out.", maxLineage)
				return graph, nil
			}
			seen[source.job] = true
			earlier, err := a.addJob(ctx, c, graph, source.job)
			if ctx.Err() != nil {
				return nil, err
			}
			if err != nil {
				a.say("Job %s, whose %s, cannot be traced: %v", source.job, source.given, err)
				continue
			}
			queue = append(queue, earlier)
		}
	}
	return graph, nil
}

// addJob merges the provenance of one earlier job.
func (a *App) addJob(ctx context.Context, c *userapi.Client, graph *prov.Graph, id string) (*userapi.Job, error) {
	part, err := a.graph(ctx, c, id)
	if err != nil {
		return nil, err
	}
	if err := graph.Merge(part); err != nil {
		return nil, err
	}
	return c.Job(ctx, id)
}

func (a *App) graph(ctx context.Context, c *userapi.Client, id string) (*prov.Graph, error) {
	doc, err := c.Provenance(ctx, id, userapi.ProvJSON)
	if err != nil {
		return nil, err
	}
	limits := prov.DefaultLimits()
	limits.Bytes, limits.Records = int64(len(doc)), 1_000_000 // our own server's; collections are large
	return prov.ReadJSON(bytes.NewReader(doc), limits)
}

// unicode tells whether the locale's character set is UTF-8.
func (a *App) unicode() bool {
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if locale := a.Getenv(name); locale != "" {
			locale = strings.ToLower(locale)
			return strings.Contains(locale, "utf-8") || strings.Contains(locale, "utf8")
		}
	}
	return false
}
