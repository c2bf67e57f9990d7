package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"consort/shared/config"
	"consort/shared/definition"
	"consort/shared/ids"
	"consort/shared/userapi"
)

// submitFlags are those of job submit.
type submitFlags struct {
	parameters, inputs            []string
	runID, duration, key, timeout string
	wait, draft, reuse            bool
}

func (a *App) submitCommand() *cobra.Command {
	var f submitFlags
	cmd := command("submit NAME[@VERSION]", "Create a job and run it",
		`Create a job of a definition, upload its inputs, and run it. The job's id is printed on standard output.

-p sets a parameter; it is given again where a parameter takes several values. -f gives an input: a file with
@, standard input with @-, a result of an earlier job as consort:JOB/RESULT, or an https or http URL, which the
site that runs the job fetches. "consort definition show NAME" tells which inputs there are and what each takes.

A submission whose answer is lost on the way is repeated under one key, so that it never makes two jobs. To
repeat it yourself, in a script that may itself be repeated, give the same --key.

Where a completed job was asked for the same, with the same version of the definition, the same inputs and
parameters, you are told. With --reuse the new job takes over its results at once, and says so in its
provenance; without, it is run as any other.`,
		`  consort job submit periodogram -p min_period=2 -f series=@sunspots.csv --wait
  consort job submit fold -f series=@sunspots.csv -p period=11.0
  consort job submit probe -f input=consort:j01ke5nz/answer --run-id night-42
  consort job submit fold -f series=https://archive.example.org/sunspots.csv -p period=11.0
  gunzip -c series.csv.gz | consort job submit periodogram -f series=@- --duration 30m
  consort job submit fold -f series=@sunspots.csv -p period=11.0 --reuse --wait
  id=$(consort job submit probe --draft) && consort job run "$id"`,
		arguments(1, 1), func(cmd *cobra.Command, args []string) error {
			return a.submit(cmd, args[0], &f)
		})
	cmd.ValidArgsFunction = a.completeDefinitions()
	flags := cmd.Flags()
	flags.StringArrayVarP(&f.parameters, "param", "p", nil, "set a parameter, `NAME=VALUE`; repeatable")
	flags.StringArrayVarP(&f.inputs, "file", "f", nil, "give an input, `NAME=@FILE`, NAME=consort:JOB/RESULT or NAME=URL; repeatable")
	flags.StringVar(&f.runID, "run-id", "", "`label` for finding the job again")
	flags.StringVar(&f.duration, "duration", "", "longest run `time`, such as 90s, 30m, 2h; default is the definition's")
	flags.StringVar(&f.key, "key", "", "idempotency `key`: the same key never makes a second job")
	flags.BoolVar(&f.draft, "draft", false, "leave the job PENDING instead of running it")
	flags.BoolVarP(&f.wait, "wait", "w", false, "wait until it has ended; the exit status then tells how")
	flags.StringVar(&f.timeout, "timeout", "", "with --wait: wait at most so long, such as 10m")
	flags.BoolVar(&f.reuse, "reuse", false, "take the results of a completed job of which the same was asked, where there is one")
	return cmd
}

func (a *App) submit(cmd *cobra.Command, name string, f *submitFlags) error {
	ctx := cmd.Context()
	s := userapi.Submission{Definition: name, RunID: f.runID, Draft: f.draft, Reuse: f.reuse, Key: f.key}
	if s.Key == "" {
		s.Key = ids.NewKey()
	}
	var timeout time.Duration
	err := errors.Join(
		flagDuration(cmd, "duration", f.duration, &s.Duration),
		flagDuration(cmd, "timeout", f.timeout, &timeout),
	)
	if err != nil {
		return err
	}
	switch {
	case f.draft && f.wait:
		return usage(cmd, "--draft leaves the job PENDING, so that there is nothing to wait for: leave out --draft or --wait")
	case f.draft && f.reuse:
		return usage(cmd, "--reuse completes the job at once, and --draft leaves it PENDING: leave out one of them")
	case f.timeout != "" && !f.wait:
		return usage(cmd, "--timeout bounds the wait and needs --wait; the longest run is set by --duration")
	}
	for _, p := range f.parameters {
		key, value, ok := strings.Cut(p, "=")
		if !ok || key == "" {
			return usage(cmd, "-p %s: expected NAME=VALUE", p)
		}
		s.Fields = append(s.Fields, userapi.Field{Name: key, Value: value})
	}
	c, err := a.client()
	if err != nil {
		return err
	}
	defer c.Close()
	closeFiles, err := a.inputs(cmd, c, f.inputs, &s)
	defer closeFiles()
	if err != nil {
		return err
	}
	made, err := c.Submit(ctx, s)
	if err != nil {
		return submitError(err, &s, forgottenAt(f.inputs, err))
	}
	a.warn(&made)
	a.offer(ctx, c, &made, f.reuse)
	name, _, _ = strings.Cut(name, "@")
	return a.submitted(ctx, c, userapi.Ref{Definition: name, ID: made.ID}, f, timeout)
}

// warn tells of inputs that should not be used. The job is made nevertheless: it may be what shows why.
func (a *App) warn(made *userapi.Submitted) {
	for _, entity := range made.Retracted {
		a.say("An input was retracted, %s: \"consort job get %s\" tells why.", entity, made.ID)
	}
}

// offer tells of an earlier job of which the same was asked, or whose results were taken over.
func (a *App) offer(ctx context.Context, c *userapi.Client, made *userapi.Submitted, reuse bool) {
	if !reuse {
		if made.Computed != "" {
			a.say("Job %s was asked for the same and has completed: its results can be fetched, or taken over with --reuse.", made.Computed)
		}
		return
	}
	job, err := c.Job(ctx, made.ID)
	switch {
	case err != nil: // the job is there; how it came to its results can be seen later
	case job.ReusedFrom != "":
		a.say("The results are those of job %s, of which the same was asked.", job.ReusedFrom)
	default:
		a.say("No completed job was asked for the same, so this one is run.")
	}
}

// submitted tells of the new job and, if asked, waits for it.
func (a *App) submitted(ctx context.Context, c *userapi.Client, job userapi.Ref, f *submitFlags, timeout time.Duration) error {
	if a.output != jsonFormat {
		if _, err := fmt.Fprintln(a.Out, job.ID); err != nil {
			return err
		}
	}
	var ended error
	switch {
	case f.wait:
		limited, cancel := withLimit(ctx, timeout)
		defer cancel()
		ended = a.waitFor(limited, c, job, timeout)
	case f.draft:
		a.say("Draft made. Run it with: consort job run %s", job.ID)
	default:
		a.say("Job submitted. Follow it with: consort job wait %s", job.ID)
	}
	if a.output == jsonFormat {
		// The job is there even if waiting was interrupted: say which it is.
		full, err := c.Job(context.WithoutCancel(ctx), job.ID)
		if err != nil {
			return errors.Join(ended, err)
		}
		if err := a.printJSON(full); err != nil {
			return err
		}
	}
	return ended
}

// submitError says what is known when a submission went wrong; hint is added to what can be done about wrong values.
func submitError(err error, s *userapi.Submission, hint string) error {
	var (
		gone *userapi.Unreachable
		p    *userapi.Problem
	)
	switch {
	case errors.As(err, &p) && p.Status == 404:
		return &advice{err, `"consort definition ls" lists what can be run.`}
	case errors.As(err, &p) && (p.Status == 400 || p.Code == "missing-parameters"):
		return &advice{err, fmt.Sprintf("%q tells what it takes.", "consort definition show "+s.Definition) + hint}
	case errors.As(err, &gone), errors.Is(err, context.Canceled), p != nil && p.Status >= 500:
		return &advice{err, fmt.Sprintf("Whether the job was made is not known. The same command with --key %s finds it, or makes it, without making a second one.", s.Key)}
	}
	return err
}

// forgottenAt is a hint for inputs that the server refused and that look like names of files.
func forgottenAt(inputs []string, refused error) string {
	hint := ""
	for _, given := range inputs {
		name, value, _ := strings.Cut(given, "=")
		if !strings.HasPrefix(value, "@") && strings.Contains(refused.Error(), name+": ") && definition.ParseReference(value).Kind == definition.FromID {
			hint += fmt.Sprintf("\nTo send a file, write -f %s=@%s.", name, value)
		}
	}
	return hint
}

// inputs adds what -f gave to a submission. closeFiles closes the files in any case.
func (a *App) inputs(cmd *cobra.Command, c *userapi.Client, given []string, s *userapi.Submission) (closeFiles func(), err error) {
	var files []*os.File
	closeFiles = func() {
		for _, f := range files {
			f.Close()
		}
	}
	for _, g := range given {
		name, value, ok := strings.Cut(g, "=")
		if !ok || name == "" || value == "" {
			return closeFiles, usage(cmd, "-f %s: expected NAME=@FILE, NAME=consort:JOB/RESULT or NAME=URL", g)
		}
		file, isFile := strings.CutPrefix(value, "@")
		if !isFile {
			if value, err = reference(cmd, c, g, value); err != nil {
				return closeFiles, err
			}
			s.Fields = append(s.Fields, userapi.Field{Name: name, Value: value})
			continue
		}
		f, size, err := a.openInput(file)
		if err != nil {
			return closeFiles, fmt.Errorf("input %s: %w", name, err)
		}
		files = append(files, f)
		fileName := filepath.Base(file)
		if file == "-" {
			fileName = name
		}
		s.Uploads = append(s.Uploads, userapi.Upload{Input: name, FileName: fileName, Content: f, Size: size})
	}
	return closeFiles, nil
}

// reference completes a job's id in consort:JOB/RESULT, and catches a forgotten @.
func reference(cmd *cobra.Command, c *userapi.Client, given, value string) (string, error) {
	rest, ok := strings.CutPrefix(value, definition.ResultScheme)
	if !ok {
		if _, err := os.Stat(value); err == nil && definition.ParseReference(value).Kind == definition.FromID {
			return "", usage(cmd, "-f %s: to send the file, write -f %s=@%s", given, strings.TrimSuffix(given, "="+value), value)
		}
		return value, nil
	}
	job, result, ok := strings.Cut(rest, "/")
	if !ok || job == "" || result == "" {
		return "", usage(cmd, "-f %s: expected consort:JOB/RESULT", given)
	}
	id, err := c.FindID(cmd.Context(), job)
	if err != nil {
		return "", fmt.Errorf("-f %s: %w", given, err)
	}
	return definition.ResultScheme + id + "/" + result, nil
}

// openInput opens a file so that it can be sent more than once: what is no regular file is copied first.
func (a *App) openInput(name string) (*os.File, int64, error) {
	source := a.In
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, 0, err
		}
		info, err := f.Stat()
		if err == nil && info.IsDir() {
			err = fmt.Errorf("%s is a folder; pack it into one file first", name)
		}
		if err != nil {
			f.Close()
			return nil, 0, err
		}
		if info.Mode().IsRegular() {
			return f, info.Size(), nil
		}
		defer f.Close()
		source = f
	}
	spool, err := os.CreateTemp("", "consort-input-")
	if err != nil {
		return nil, 0, err
	}
	size, err := io.Copy(spool, source)
	if err = errors.Join(err, os.Remove(spool.Name())); err != nil {
		spool.Close()
		return nil, 0, fmt.Errorf("read %s: %w", name, err)
	}
	return spool, size, nil
}

// flagDuration reads a duration with a unit, or in seconds.
func flagDuration(cmd *cobra.Command, flag, text string, into *time.Duration) error {
	if text == "" {
		return nil
	}
	if seconds, err := strconv.ParseUint(text, 10, 31); err == nil {
		*into = time.Duration(seconds) * time.Second
	} else if d, err := config.ParseDuration(text); err == nil {
		*into = d.Std()
	} else {
		return usage(cmd, "--%s: %v", flag, err)
	}
	if *into <= 0 {
		return usage(cmd, "--%s must be greater than zero", flag)
	}
	return nil
}
