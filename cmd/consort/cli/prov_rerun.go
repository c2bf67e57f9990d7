package cli

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"consort/shared/definition"
	"consort/shared/ids"
	"consort/shared/samedata"
	"consort/shared/userapi"
)

// rerunFlags are those of prov rerun.
type rerunFlags struct {
	secrets []string
	timeout string
	wait    bool
}

func (a *App) provRerunCommand() *cobra.Command {
	var f rerunFlags
	cmd := command("rerun JOB", "Run a job again, from its record, and compare what comes out",
		`Make a new job of what the record of a job says: the same version of the definition, the same parameters, the same
inputs. The new job's id is printed on standard output. Uploaded inputs are fetched, checked and sent again;
secret parameters are in no record and must be given with -p.

With --wait, wait until it has ended, and tell which inputs had other content, as what a URL answers with may, and
of each output whether its bytes are identical, or its data (FITS DATE and CHECKSUM cards, and what tells when a
VOTable was made, left aside), or whether it differs. Without, do so later with "consort prov diff JOB NEW --data".

Exit status with --wait: 0 all outputs have identical data, 1 one differs; else as of "consort job wait".`,
		`  consort prov rerun j01ke5nz --wait
  consort prov rerun j01ke5nz -p password=hush --wait --timeout 2h
  id=$(consort prov rerun j01ke5nz) && consort job wait "$id"`,
		arguments(1, 1), func(cmd *cobra.Command, args []string) error { return a.rerun(cmd, args[0], &f) })
	flags := cmd.Flags()
	flags.StringArrayVarP(&f.secrets, "param", "p", nil, "give a secret parameter, `NAME=VALUE`; repeatable")
	flags.BoolVarP(&f.wait, "wait", "w", false, "wait until it has ended, and compare the outputs")
	flags.StringVar(&f.timeout, "timeout", "", "with --wait: wait at most so long, such as 10m")
	cmd.ValidArgsFunction = a.completeJobs()
	return cmd
}

func (a *App) rerun(cmd *cobra.Command, text string, f *rerunFlags) error {
	var timeout time.Duration
	if err := flagDuration(cmd, "timeout", f.timeout, &timeout); err != nil {
		return err
	}
	if f.timeout != "" && !f.wait {
		return usage(cmd, "--timeout bounds the wait and needs --wait")
	}
	c, err := a.client()
	if err != nil {
		return err
	}
	defer c.Close()
	ctx := cmd.Context()
	job, err := a.findJob(ctx, c, text)
	if err != nil {
		return err
	}
	s, err := repetition(cmd, job, f.secrets)
	if err != nil {
		return err
	}
	closeFiles, err := a.sameInputs(ctx, c, job, s)
	defer closeFiles()
	if err != nil {
		return err
	}
	made, err := c.Submit(ctx, *s)
	if err != nil {
		return submitError(err, s, "")
	}
	a.warn(&made)
	again := userapi.Ref{Definition: job.Definition, ID: made.ID}
	if a.output != jsonFormat || !f.wait {
		if _, err := fmt.Fprintln(a.Out, again.ID); err != nil {
			return err
		}
	}
	if !f.wait {
		a.say("Job submitted. When it has ended, compare with: consort prov diff %s %s --data", job.ID, again.ID)
		return nil
	}
	limited, cancel := withLimit(ctx, timeout)
	defer cancel()
	if err := a.waitFor(limited, c, again, timeout); err != nil {
		return err
	}
	return a.compareJobs(ctx, c, job, again.ID)
}

// repetition is the submission that a job's record makes, but for inputs that must be sent.
func repetition(cmd *cobra.Command, job *userapi.Job, given []string) (*userapi.Submission, error) {
	s := &userapi.Submission{
		Definition: job.Definition + "@" + job.DefinitionVersion, RunID: job.RunID, Key: ids.NewKey(),
		Duration: time.Duration(job.ExecutionSeconds) * time.Second,
	}
	secrets := map[string]string{}
	for _, p := range given {
		name, value, ok := strings.Cut(p, "=")
		if !ok || !slices.ContainsFunc(job.Parameters, func(q userapi.Parameter) bool { return q.Name == name && q.Secret }) {
			return nil, usage(cmd, "-p %s: expected NAME=VALUE for a secret parameter of job %s; the others are repeated as they were", name, job.ID)
		}
		secrets[name] = value
	}
	for _, p := range job.Parameters {
		values := p.Values
		if p.Secret {
			value, ok := secrets[p.Name]
			if !ok {
				return nil, &advice{fmt.Errorf("parameter %s is secret, so that no record holds it", p.Name), "Give it with -p " + p.Name + "=VALUE."}
			}
			values = []string{value}
		} else if p.Default {
			continue
		}
		for _, v := range values {
			s.Fields = append(s.Fields, userapi.Field{Name: p.Name, Value: v})
		}
	}
	return s, nil
}

// sameInputs adds the inputs of a job. closeFiles removes what was fetched.
func (a *App) sameInputs(ctx context.Context, c *userapi.Client, job *userapi.Job, s *userapi.Submission) (closeFiles func(), err error) {
	var files []*os.File
	closeFiles = func() {
		for _, f := range files {
			f.Close()
		}
	}
	for _, in := range job.Inputs {
		switch in.Source {
		case "job":
			s.Fields = append(s.Fields, userapi.Field{Name: in.Name, Value: definition.ResultScheme + in.FromJob + "/" + in.FromResult})
			continue
		case "url":
			s.Fields = append(s.Fields, userapi.Field{Name: in.Name, Value: in.FromURL})
			continue
		}
		f, size, err := fetchInput(ctx, c, &in)
		if err != nil {
			return closeFiles, fmt.Errorf("input %s of job %s: %w", in.Name, job.ID, err)
		}
		files = append(files, f)
		name := in.FileName
		if name == "" {
			name = in.Name
		}
		s.Uploads = append(s.Uploads, userapi.Upload{Input: in.Name, FileName: name, Content: f, Size: size})
	}
	return closeFiles, nil
}

// fetchInput fetches an uploaded input into a file without a name, and checks it.
func fetchInput(ctx context.Context, c *userapi.Client, in *userapi.Input) (*os.File, int64, error) {
	f, err := os.CreateTemp("", "consort-input-")
	if err != nil {
		return nil, 0, err
	}
	sum, size := sha256.New(), int64(0)
	err = c.Read(ctx, in.URL, func(r io.Reader) (err error) {
		size, err = io.Copy(io.MultiWriter(f, sum), r)
		return err
	})
	if err == nil && in.SHA256 != "" && hex.EncodeToString(sum.Sum(nil)) != in.SHA256 {
		err = userapi.ErrHash
	}
	if err = errors.Join(err, os.Remove(f.Name())); err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, size, nil
}

// comparison is what prov rerun prints as JSON.
type comparison struct {
	Job     string           `json:"job"`     // the new one
	Repeats string           `json:"repeats"` // the one that was run again
	Same    bool             `json:"same"`    // all outputs have identical data
	Inputs  []changedInput   `json:"inputs"`  // those of other content, such as what a URL answers with by now
	Outputs []comparedOutput `json:"outputs"`
}

// changedInput is an input that had other content when the job was run again.
type changedInput struct {
	Input  string `json:"input"`
	Before string `json:"before"` // SHA-256
	Now    string `json:"now"`
}

type comparedOutput struct {
	Result  string `json:"result"`
	Verdict string `json:"verdict"` // identical bytes, identical data, different
	Reason  string `json:"reason,omitempty"`
}

// changedInputs finds the inputs of two jobs that had other content, as far as it is known.
func changedInputs(before, after *userapi.Job) []changedInput {
	now := map[string][]string{}
	for _, in := range after.Inputs {
		now[in.Name] = append(now[in.Name], in.SHA256)
	}
	changed := []changedInput{}
	for _, in := range before.Inputs {
		if len(now[in.Name]) == 0 {
			continue
		}
		sum := now[in.Name][0]
		now[in.Name] = now[in.Name][1:]
		if in.SHA256 != "" && sum != "" && sum != in.SHA256 {
			changed = append(changed, changedInput{in.Name, in.SHA256, sum})
		}
	}
	return changed
}

// compareJobs tells which inputs of a job changed, and of each output how alike that of its repetition is.
func (a *App) compareJobs(ctx context.Context, c *userapi.Client, before *userapi.Job, again string) error {
	after, err := c.Job(ctx, again)
	if err != nil {
		return err
	}
	all := comparison{Job: again, Repeats: before.ID, Same: true, Inputs: changedInputs(before, after), Outputs: []comparedOutput{}}
	for _, in := range all.Inputs {
		a.say("Input %s differs: SHA-256 %s, and %s in job %s.", in.Input, in.Now, in.Before, before.ID)
	}
	var rows [][]string
	tell := func(result string, r samedata.Result) {
		all.Same = all.Same && r.Verdict != samedata.Different
		all.Outputs = append(all.Outputs, comparedOutput{result, r.Verdict.String(), r.Reason})
		rows = append(rows, []string{result, r.Verdict.String(), r.Reason})
	}
	for i := range before.Results {
		x := &before.Results[i]
		y := findResult(after, x.ID)
		if y == nil {
			tell(x.ID, samedata.Result{Reason: "the new job has no such result"})
			continue
		}
		r, err := a.compareResults(ctx, c, before, after, x, y)
		if err != nil {
			return fmt.Errorf("compare result %s: %w", x.ID, err)
		}
		tell(x.ID, r)
	}
	for _, y := range after.Results {
		if findResult(before, y.ID) == nil {
			tell(y.ID, samedata.Result{Reason: "only the new job has this result"})
		}
	}
	if a.output == jsonFormat {
		err = a.printJSON(all)
	} else if len(rows) > 0 {
		err = a.printTable([]string{"RESULT", "COMPARED", "WHERE"}, rows)
	}
	if err == nil && !all.Same {
		return &statusError{status: exitFailure, message: fmt.Sprintf("job %s did not give the data of job %s again", again, before.ID)}
	}
	return err
}
