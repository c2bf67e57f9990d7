package cli

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"consort/shared/config"
	"consort/shared/userapi"
	"consort/shared/uws"
)

func (a *App) jobCommand() *cobra.Command {
	results := group("results", "List and fetch the results of a job", "The files that a job left behind.",
		a.resultsListCommand(), a.resultsGetCommand())
	children := []*cobra.Command{
		a.submitCommand(), a.jobListCommand(), a.jobGetCommand(), a.waitCommand(), a.logsCommand(), results,
		a.jobRunCommand(), a.jobAbortCommand(), a.jobDeleteCommand(),
	}
	for _, c := range append(children, results.Commands()...) {
		if c.ValidArgsFunction == nil {
			c.ValidArgsFunction = a.completeJobs()
		}
	}
	cmd := group("job", "Submit jobs, follow them, fetch their results",
		`A job runs one job definition with the parameters and inputs given to it. It is PENDING while it is a draft,
QUEUED until a site starts it, EXECUTING while it runs and its outputs are on their way, and then COMPLETED,
ERROR or ABORTED for ever. HELD means that its user must act: run it again, or abort it.`, children...)
	cmd.Aliases = []string{"jobs"}
	return cmd
}

// findJob reads the job that the user means.
func (a *App) findJob(ctx context.Context, c *userapi.Client, text string) (*userapi.Job, error) {
	job, err := c.FindJob(ctx, text)
	if userapi.NotFound(err) {
		return nil, &advice{fmt.Errorf("job %s: %w", text, err), `"consort job ls" lists your jobs; one that was deleted is gone.`}
	}
	return job, err
}

func (a *App) jobListCommand() *cobra.Command {
	var (
		q     userapi.JobQuery
		after string
		limit int
	)
	cmd := command("ls", "List jobs, newest first",
		`List jobs, newest first. Archived jobs, whose files are gone, are listed only with --phase ARCHIVED.`,
		`  consort job ls
  consort job ls --phase QUEUED --phase EXECUTING
  consort job ls --definition periodogram --after 2026-01-01 --limit 0 -o json`,
		arguments(0, 0), func(cmd *cobra.Command, _ []string) error {
			for i, p := range q.Phases {
				q.Phases[i] = strings.ToUpper(p)
				if _, err := uws.ParsePhase(q.Phases[i]); err != nil {
					return usage(cmd, "--phase: %v", err)
				}
			}
			if after != "" {
				t, err := uws.ParseTime(after)
				if err != nil {
					return usage(cmd, "--after: %v", err)
				}
				q.After = t
			}
			if limit < 0 {
				return usage(cmd, "--limit must not be negative; 0 means all")
			}
			return a.listJobs(cmd.Context(), q, limit, cmd.Flags().Changed("limit"))
		})
	cmd.Aliases = []string{"list"}
	cmd.ValidArgsFunction = cobra.NoFileCompletions
	flags := cmd.Flags()
	flags.StringArrayVar(&q.Phases, "phase", nil, "only jobs in this `phase`; repeatable")
	flags.StringVar(&q.Definition, "definition", "", "only jobs of the definition `name`")
	flags.StringVar(&after, "after", "", "only jobs created after this `time`, such as 2026-01-31 or 2026-01-31T12:00Z")
	flags.IntVar(&limit, "limit", 50, "list at most so many; 0: all")
	must(cmd.RegisterFlagCompletionFunc("definition", a.completeDefinitions()))
	return cmd
}

// maxPage is the greatest page that the server gives.
const maxPage = 500

// listJobs prints up to limit jobs. That there are more is news only to those who did not ask for so many.
func (a *App) listJobs(ctx context.Context, q userapi.JobQuery, limit int, asked bool) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	defer c.Close()
	jobs := []userapi.Summary{}
	for {
		q.Limit = maxPage
		if limit > 0 {
			q.Limit = min(maxPage, limit-len(jobs))
		}
		page, err := c.Jobs(ctx, q)
		if err != nil {
			return err
		}
		jobs = append(jobs, page.Jobs...)
		q.Cursor = page.Next
		if page.Next == "" || len(page.Jobs) == 0 || limit > 0 && len(jobs) >= limit {
			break
		}
	}
	if q.Cursor != "" && !asked {
		defer a.say("There are more; raise --limit (0: all).")
	}
	if a.output == jsonFormat {
		return a.printJSON(jobs)
	}
	if len(jobs) == 0 {
		a.say("No jobs.")
		return nil
	}
	rows := make([][]string, len(jobs))
	for i, j := range jobs {
		rows[i] = []string{j.ID, j.Definition, j.Phase, j.Site, timeText(j.Created), j.RunID, j.Reason}
	}
	return a.printTable([]string{"ID", "DEFINITION", "PHASE", "SITE", "CREATED (UTC)", "RUN ID", "REASON"}, rows)
}

func (a *App) jobGetCommand() *cobra.Command {
	return command("get ID", "Show everything about a job",
		`Show a job: its phase and why, times (UTC), parameters as they took effect, inputs, attempts and results.`,
		`  consort job get j01ke5nz
  consort job get j01ke5nz -o json`,
		arguments(1, 1), func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			defer c.Close()
			job, err := a.findJob(cmd.Context(), c, args[0])
			if err != nil {
				return err
			}
			if a.output == jsonFormat {
				return a.printJSON(job)
			}
			return a.printJob(job)
		})
}

func (a *App) printJob(j *userapi.Job) error {
	limit := "unlimited"
	if j.ExecutionSeconds > 0 {
		limit = config.Duration(time.Duration(j.ExecutionSeconds) * time.Second).String()
	}
	failure := ""
	if j.Error != nil {
		failure = strings.TrimPrefix(j.Error.Class+": "+j.Error.Message, ": ")
	}
	err := a.printFacts([][2]string{
		{"job", j.ID}, {"definition", j.Definition + " " + j.DefinitionVersion}, {"run id", j.RunID}, {"owner", j.Owner},
		{"phase", j.Phase}, {"reason", j.Reason}, {"error", failure},
		{"created", timeText(j.Created)}, {"queued", timeText(j.Queued)}, {"started", timeText(j.Started)},
		{"ended", timeText(j.Ended)}, {"results of", j.ReusedFrom}, {"kept until", timeText(j.Destruction)}, {"time limit", limit}, {"url", j.URL},
	})
	if err != nil {
		return err
	}
	var parameters, inputs, attempts [][]string
	for _, p := range j.Parameters {
		value, origin := strings.Join(p.Values, ", "), "given"
		if p.Secret {
			value = "(secret)"
		}
		if p.Default {
			origin = "default"
		}
		parameters = append(parameters, []string{p.Name, origin, p.Unit, value})
	}
	for _, i := range j.Inputs {
		from := i.FileName
		if i.FromJob != "" {
			from = "consort:" + i.FromJob + "/" + i.FromResult
		}
		if i.FromURL != "" {
			from = i.FromURL
		}
		if len(i.SameAs) > 0 {
			from += ", same content as " + i.SameAs[0]
		}
		if i.Retracted != nil {
			from += " RETRACTED: " + i.Retracted.Reason
		}
		size := bytesText(i.Size)
		if i.SHA256 == "" { // a URL that was not fetched yet
			size = ""
		}
		inputs = append(inputs, []string{i.Name, i.Source, size, i.SHA256, from})
	}
	for _, t := range j.Attempts {
		attempts = append(attempts, []string{strconv.FormatUint(t.Epoch, 10), t.Site, t.State, strings.TrimSpace(t.BatchSystem + " " + t.BatchID), t.Node, exitText(&t)})
	}
	return errors.Join(
		a.section("Parameters", []string{"NAME", "ORIGIN", "UNIT", "VALUE"}, parameters),
		a.section("Inputs", []string{"NAME", "SOURCE", "SIZE", "SHA-256", "FROM"}, inputs),
		a.section("Attempts", []string{"NO", "SITE", "STATE", "BATCH JOB", "NODE", "EXIT"}, attempts),
		a.section("Results", resultHeading, resultRows(j.Results)),
	)
}

// exitText tells how an attempt ended.
func exitText(t *userapi.Attempt) string {
	var parts []string
	if t.ExitCode != nil {
		parts = append(parts, strconv.Itoa(*t.ExitCode))
	}
	if t.Signal != "" {
		parts = append(parts, t.Signal)
	}
	if t.Error != nil {
		parts = append(parts, t.Error.Class+": "+t.Error.Message)
	}
	return strings.Join(parts, ", ")
}

// change makes a command that does one thing to each job named.
func (a *App) change(use, short, long, example, done string, do func(context.Context, *userapi.Client, *userapi.Job) error) *cobra.Command {
	return command(use, short, long, example, arguments(1, -1), func(cmd *cobra.Command, args []string) error {
		c, err := a.client()
		if err != nil {
			return err
		}
		defer c.Close()
		for _, text := range args {
			job, err := a.findJob(cmd.Context(), c, text)
			if err != nil {
				return err
			}
			if err := do(cmd.Context(), c, job); err != nil {
				return fmt.Errorf("job %s: %w", job.ID, err)
			}
			a.say("%s %s.", job.ID, done)
		}
		return nil
	})
}

func (a *App) jobRunCommand() *cobra.Command {
	return a.change("run ID...", "Run a draft, or a job that is held",
		`Put jobs that are PENDING or HELD into the queue.`,
		`  consort job run j01ke5nz`, "is queued",
		func(ctx context.Context, c *userapi.Client, job *userapi.Job) error { return c.Run(ctx, job.Ref()) })
}

func (a *App) jobAbortCommand() *cobra.Command {
	cmd := a.change("abort ID...", "End jobs before they are done",
		`End jobs. Each is ABORTED at once; its site kills what runs. A job that has ended stays as it is.`,
		`  consort job abort j01ke5nz`, "is ended",
		func(ctx context.Context, c *userapi.Client, job *userapi.Job) error { return c.Abort(ctx, job.Ref()) })
	cmd.Aliases = []string{"cancel"}
	return cmd
}

func (a *App) jobDeleteCommand() *cobra.Command {
	cmd := a.change("rm ID...", "Delete jobs with their files",
		`Delete jobs with their inputs, results and logs; one that runs is killed. Of the provenance there stays only
what the results of other jobs depend on. This cannot be undone.`,
		`  consort job rm j01ke5nz`, "is deleted",
		func(ctx context.Context, c *userapi.Client, job *userapi.Job) error { return c.Delete(ctx, job.Ref()) })
	cmd.Aliases = []string{"delete"}
	return cmd
}
