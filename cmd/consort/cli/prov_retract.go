package cli

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"consort/shared/userapi"
)

func (a *App) provRetractCommand() *cobra.Command {
	var (
		r   userapi.Retract
		yes bool
	)
	cmd := command("retract JOB/RESULT", "Mark a result as one not to be used, and tell what was made of it",
		`Mark a result as one that should not be used, for a reason that all who see its provenance are told. It is not
deleted, and what was made of it stays; but every job and result that descends from it, at all sites, is listed,
so that those concerned can be told. Owners of other people's jobs are told to operators only, the jobs that you
may not read are counted.

Who owns the job that made the result may retract it, and operators. --withdraw takes a retraction back.`,
		`  consort prov retract j01ke5nz/cleaned --reason "wrong flat field"
  consort prov retract j01ke5nz/cleaned --reason "wrong flat field" --yes -o json
  consort prov retract j01ke5nz/cleaned --withdraw --reason "the flat field was right" --yes`,
		arguments(1, 1), func(cmd *cobra.Command, args []string) error {
			if strings.TrimSpace(r.Reason) == "" {
				return usage(cmd, "--reason is missing: say why, for those who used the result")
			}
			c, err := a.client()
			if err != nil {
				return err
			}
			defer c.Close()
			if r.Entity, err = a.node(cmd.Context(), c, args[0]); err != nil {
				if info, statErr := os.Stat(args[0]); statErr == nil && info.Mode().IsRegular() {
					return usage(cmd, "%s is a file on your disk; \"consort prov lineage %s\" tells which result it is: name that as JOB/RESULT", args[0], args[0])
				}
				return err
			}
			if strings.HasPrefix(r.Entity, "job:") {
				return usage(cmd, "%s is a job; name one of its results as JOB/RESULT", args[0])
			}
			return a.retract(cmd.Context(), c, args[0], r, yes)
		})
	flags := cmd.Flags()
	flags.StringVar(&r.Reason, "reason", "", "`why` it should not be used")
	flags.BoolVar(&r.Withdraw, "withdraw", false, "take the retraction back")
	flags.BoolVarP(&yes, "yes", "y", false, "do not ask")
	cmd.ValidArgsFunction = a.completeJobs()
	return cmd
}

func (a *App) retract(ctx context.Context, c *userapi.Client, text string, r userapi.Retract, yes bool) error {
	if !yes {
		found, err := a.impact(ctx, c, r.Entity)
		if err != nil {
			return provError(err, text)
		}
		question := fmt.Sprintf("Retract %s, from which %d jobs with %d results descend? [y/N] ", text, found.JobCount, found.ResultCount)
		if r.Withdraw {
			question = fmt.Sprintf("Take back the retraction of %s? [y/N] ", text)
		}
		if err := a.confirm(question); err != nil {
			return err
		}
	}
	told, err := c.Retract(ctx, r)
	if r.Withdraw && userapi.NotFound(err) {
		return fmt.Errorf("%s: %w", text, err)
	}
	if err != nil {
		return provError(err, text)
	}
	found, err := a.impact(ctx, c, r.Entity)
	if err != nil {
		return err
	}
	switch {
	case r.Withdraw:
		a.say("The retraction of %s is taken back.", text)
	case told != "":
		a.say("Nothing was changed: %s", told)
	default:
		a.say("%s is retracted.", text)
	}
	return a.printImpact(found)
}

// confirm asks a question whose answer is no unless it is yes.
func (a *App) confirm(question string) error {
	fmt.Fprint(a.Err, prose(question))
	line, err := bufio.NewReader(a.In).ReadString('\n')
	if err != nil && err != io.EOF {
		return fmt.Errorf("read the answer: %w", err)
	}
	switch strings.ToLower(strings.TrimSpace(line)) {
	case "y", "yes":
		return nil
	}
	return &advice{&statusError{status: exitFailure, message: "nothing was changed"}, "In a script, say --yes."}
}

// impact reads what came of a file, all pages in one.
func (a *App) impact(ctx context.Context, c *userapi.Client, entity string) (*userapi.ProvImpact, error) {
	all, err := c.Impact(ctx, entity, "", maxPage)
	if err != nil {
		return nil, err
	}
	for next := all.Next; next != ""; {
		page, err := c.Impact(ctx, entity, next, maxPage)
		if err != nil {
			return nil, err
		}
		all.Jobs = append(all.Jobs, page.Jobs...)
		all.JobCount += page.JobCount
		all.ResultCount += page.ResultCount
		all.HiddenJobs += page.HiddenJobs
		all.HiddenResults += page.HiddenResults
		all.Truncated = page.Truncated
		if page.Next == next {
			break
		}
		next = page.Next
	}
	all.Next = ""
	return all, nil
}

func (a *App) printImpact(i *userapi.ProvImpact) error {
	if a.output == jsonFormat {
		return a.printJSON(i)
	}
	if len(i.Same) > 0 {
		defer a.say("The same bytes are also %s. What was made of those is not told here: ask for it with \"consort prov lineage … --forth\".", sameText(i))
	}
	if i.HiddenJobs > 0 {
		defer a.say("%d more jobs, with %d results, are not for you to see; an operator can tell their owners.", i.HiddenJobs, i.HiddenResults)
	}
	if i.JobCount == 0 {
		a.say("Nothing was made of it.")
		return nil
	}
	rows := make([][]string, len(i.Jobs))
	for n, j := range i.Jobs {
		rows[n] = []string{strconv.Itoa(j.Steps), j.ID, strings.TrimSpace(j.Definition + " " + j.Version), j.Phase, j.Owner, strconv.Itoa(len(j.Results)), timeText(j.Created)}
	}
	if len(rows) == 0 {
		return nil
	}
	return a.printTable([]string{"STEPS", "JOB", "DEFINITION", "PHASE", "OWNER", "RESULTS", "CREATED (UTC)"}, rows)
}

// maxSameTold is how many files of equal content a line names.
const maxSameTold = 5

// sameText names the files that have the content of one.
func sameText(i *userapi.ProvImpact) string {
	var names []string
	for _, n := range i.Same[:min(len(i.Same), maxSameTold)] {
		name := n.ID
		if f := n.File; f != nil && f.Job != "" {
			name = f.Job + "/" + f.Result
		}
		names = append(names, name)
	}
	text := strings.Join(names, ", ")
	switch more := len(i.Same) - len(names); {
	case i.SameMore:
		text += fmt.Sprintf(" and more than %d others", more)
	case more > 0:
		text += fmt.Sprintf(" and %d others", more)
	}
	return text
}
