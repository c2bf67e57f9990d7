package cli

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"consort/shared/samedata"
	"consort/shared/userapi"
)

func (a *App) provDiffCommand() *cobra.Command {
	var all, data bool
	cmd := command("diff JOB JOB", "Compare two jobs",
		`Compare two jobs: definition and version, parameters, inputs and outputs by their SHA-256, site, image and software.
Only what differs is printed; with --all everything is. With --data, outputs whose bytes differ are fetched and
compared: FITS files that differ in DATE and CHECKSUM cards alone, and VOTables that differ in spelling or in when
they were made, hold identical data.

Exit status: 0 nothing differs (with --data: nothing but bytes of identical data), 1 something does.`,
		`  consort prov diff j01ke5nzv0 j01ke5nzv1
  consort prov diff j01ke5nzv0 j01ke5nzv1 --data
  consort prov diff j01ke5nzv0 j01ke5nzv1 --all -o json`,
		arguments(2, 2), func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			defer c.Close()
			return a.diff(cmd.Context(), c, args[0], args[1], all, data)
		})
	cmd.Flags().BoolVar(&all, "all", false, "print what is the same, too")
	cmd.Flags().BoolVar(&data, "data", false, "fetch outputs that differ, and compare their data")
	cmd.ValidArgsFunction = a.completeJobs()
	return cmd
}

func (a *App) diff(ctx context.Context, c *userapi.Client, first, second string, all, data bool) error {
	one, err := a.findJob(ctx, c, first)
	if err != nil {
		return err
	}
	other, err := a.findJob(ctx, c, second)
	if err != nil {
		return err
	}
	d, err := c.Diff(ctx, one.ID, other.ID)
	if err != nil {
		return err
	}
	if data {
		if err := a.diffData(ctx, c, d, one, other); err != nil {
			return err
		}
	}
	if err := a.printDiff(d, all); err != nil {
		return err
	}
	if d.Same {
		a.say("Nothing differs.")
		return nil
	}
	return &statusError{status: exitFailure}
}

// diffData compares the data of outputs whose bytes differ; where they are identical, nothing differs there.
func (a *App) diffData(ctx context.Context, c *userapi.Client, d *userapi.ProvDiff, one, other *userapi.Job) error {
	d.Same = true
	for i := range d.Lines {
		line := &d.Lines[i]
		if line.Section == "output" && !line.Same {
			x, y := findResult(one, line.Name), findResult(other, line.Name)
			if x != nil && y != nil {
				verdict, err := a.compareResults(ctx, c, one, other, x, y)
				if err != nil {
					return err
				}
				line.Data = with(verdict.Verdict.String(), verdict.Reason)
				if verdict.Verdict != samedata.Different {
					line.Data = verdict.Verdict.String()
					continue
				}
			}
		}
		d.Same = d.Same && line.Same
	}
	return nil
}

func (a *App) printDiff(d *userapi.ProvDiff, all bool) error {
	if a.output == jsonFormat {
		return a.printJSON(d)
	}
	var rows [][]string
	for _, l := range d.Lines {
		if l.Same && !all {
			continue
		}
		mark := "differs"
		switch {
		case l.Same:
			mark = "same"
		case l.Data != "":
			mark = l.Data
		}
		rows = append(rows, []string{l.Section, l.Name, side(l.Section, l.A), side(l.Section, l.B), mark})
	}
	if len(rows) == 0 {
		return nil
	}
	return a.printTable([]string{"WHAT", "NAME", d.A, d.B, "COMPARED"}, rows)
}

// side is the values that one of the jobs has; hashes are told as far as people compare them.
func side(section string, values []string) string {
	short := make([]string, len(values))
	for i, v := range values {
		if (section == "input" || section == "output") && len(v) == 64 {
			v = v[:12]
		}
		short[i] = v
	}
	return strings.Join(short, ", ")
}

// compareResults tells how alike two results are.
func (a *App) compareResults(ctx context.Context, c *userapi.Client, one, other *userapi.Job, x, y *userapi.Result) (samedata.Result, error) {
	switch {
	case x.Collection != y.Collection:
		return samedata.Result{Reason: "one is a collection"}, nil
	case x.SHA256 != "" && x.SHA256 == y.SHA256:
		return samedata.Result{Verdict: samedata.Bytes}, nil
	case x.Collection:
		return a.compareCollections(ctx, c, one, other, x.ID)
	}
	return compareFiles(ctx, c, x.URL, y.URL)
}

// compareFiles reads two files at once.
func compareFiles(ctx context.Context, c *userapi.Client, x, y string) (result samedata.Result, err error) {
	err = c.Read(ctx, x, func(p io.Reader) error {
		return c.Read(ctx, y, func(q io.Reader) (err error) {
			result, err = samedata.Compare(p, q)
			return err
		})
	})
	return result, err
}

// compareCollections compares file by file, and is as alike as the least alike of them.
func (a *App) compareCollections(ctx context.Context, c *userapi.Client, one, other *userapi.Job, result string) (samedata.Result, error) {
	first, err := members(ctx, c, one.ID, result)
	if err != nil {
		return samedata.Result{}, err
	}
	second, err := members(ctx, c, other.ID, result)
	if err != nil {
		return samedata.Result{}, err
	}
	least := samedata.Result{Verdict: samedata.Bytes}
	for _, m := range first {
		same, ok := second[m.Path]
		if !ok {
			return samedata.Result{Reason: m.Path + ": only one has it"}, nil
		}
		delete(second, m.Path)
		if m.SHA256 == same.SHA256 {
			continue
		}
		got, err := compareFiles(ctx, c, m.URL, same.URL)
		if err != nil {
			return got, err
		}
		if got.Verdict == samedata.Different {
			return samedata.Result{Reason: with(m.Path, got.Reason)}, nil
		}
		least.Verdict = min(least.Verdict, got.Verdict)
	}
	if len(second) > 0 {
		return samedata.Result{Reason: fmt.Sprintf("one has %d files more", len(second))}, nil
	}
	return least, nil
}

// members lists the files of a collection by path.
func members(ctx context.Context, c *userapi.Client, job, result string) (map[string]userapi.Member, error) {
	all, cursor := map[string]userapi.Member{}, ""
	for {
		page, err := c.Members(ctx, job, result, cursor)
		if err != nil {
			return nil, err
		}
		for _, m := range page.Members {
			all[m.Path] = m
		}
		if page.Next == "" || page.Next == cursor || len(page.Members) == 0 {
			return all, nil
		}
		cursor = page.Next
	}
}

func (a *App) provVerifyCommand() *cobra.Command {
	cmd := command("verify JOB", "Check that the record of a job was not changed",
		`Have the server check the evidence of a job: the SHA-256 of its stored results, logs and inputs is computed anew, and
what the sites signed about it is compared with the record: signatures, the chain of each site, and what they say.

Exit status: 0 all is in order, 1 something is not.`,
		`  consort prov verify j01ke5nz
  consort prov verify j01ke5nz -o json`,
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
			report, err := c.Verify(cmd.Context(), job.ID)
			if err != nil {
				return err
			}
			return a.printReport(report)
		})
	cmd.ValidArgsFunction = a.completeJobs()
	return cmd
}

func (a *App) printReport(r *userapi.ProvReport) error {
	wrong, remarks := 0, 0
	rows := make([][]string, len(r.Checks))
	for i, check := range r.Checks {
		mark := "ok"
		switch {
		case check.Remark:
			mark = "note"
			remarks++
		case !check.OK:
			mark = "WRONG"
			wrong++
		}
		rows[i] = []string{mark, check.What, check.Detail}
	}
	if a.output == jsonFormat {
		if err := a.printJSON(r); err != nil {
			return err
		}
	} else if err := a.printTable([]string{"STATE", "CHECK", "DETAIL"}, rows); err != nil {
		return err
	}
	if !r.OK {
		return &statusError{status: exitFailure, message: fmt.Sprintf("the record of job %s is not in order: %d of %d checks failed", r.Job, wrong, len(rows)-remarks)}
	}
	a.say("Job %s: all %d checks passed.", r.Job, len(rows)-remarks)
	return nil
}
