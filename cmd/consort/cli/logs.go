package cli

import (
	"context"
	"io"
	"time"

	"github.com/spf13/cobra"

	"consort/shared/retry"
	"consort/shared/userapi"
)

func (a *App) logsCommand() *cobra.Command {
	var follow, stderr bool
	cmd := command("logs ID", "Print what a job wrote",
		`Print a job's standard output, or its standard error, while it runs and after. With -f go on until it has ended.
While a job runs only the last MiB is kept. On a terminal, control characters are shown instead of sent.`,
		`  consort job logs j01ke5nz
  consort job logs -f --stderr j01ke5nz
  consort job logs j01ke5nz > out.txt`,
		arguments(1, 1), func(cmd *cobra.Command, args []string) (err error) {
			c, err := a.client()
			if err != nil {
				return err
			}
			defer c.Close()
			job, err := a.findJob(cmd.Context(), c, args[0])
			if err != nil {
				return err
			}
			stream := "stdout"
			if stderr {
				stream = "stderr"
			}
			out, closeOut := a.raw()
			if err := a.copyLog(cmd.Context(), c, job.ID, stream, follow, out); err != nil {
				return err
			}
			return closeOut()
		})
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on until the job has ended")
	cmd.Flags().BoolVar(&stderr, "stderr", false, "standard error instead of standard output")
	return cmd
}

// copyLog copies a log from its beginning, and with follow until it is complete.
func (a *App) copyLog(ctx context.Context, c *userapi.Client, id, stream string, follow bool, out io.Writer) error {
	var (
		offset int64
		epoch  uint64 // the attempt whose log is being copied
		wait   time.Duration
	)
	answered := time.Now() // when the job was looked up
	if follow {
		wait = 50 * time.Second
	}
	idle := retry.Backoff{First: time.Second, Max: 5 * time.Second}
	for {
		asked := time.Now()
		chunk, err := c.Log(ctx, id, stream, offset, wait)
		switch {
		case err == nil:
			answered = time.Now()
		case ctx.Err() != nil:
			a.say("The job goes on. Its log so far was printed.")
			return err
		case follow && userapi.Passing(err) && time.Since(answered) < userapi.DefaultOutage:
			a.say("(%v; trying on)", err)
			if err := idle.Wait(ctx, 0); err != nil {
				return err
			}
			continue
		default:
			return err
		}
		if epoch != 0 && chunk.Epoch != epoch {
			a.say("(attempt %d follows)", chunk.Epoch)
			epoch, offset = chunk.Epoch, 0
			continue
		}
		epoch = chunk.Epoch
		if chunk.Offset > offset {
			a.say("(%s are no longer kept)", bytesText(chunk.Offset-offset))
		}
		if _, err := out.Write(chunk.Data); err != nil {
			return err
		}
		offset = chunk.Next
		empty := len(chunk.Data) == 0
		if empty && (chunk.Complete || !follow) {
			return nil
		}
		if !empty || time.Since(asked) >= time.Second {
			idle.Reset()
			continue
		}
		if err := idle.Wait(ctx, 0); err != nil {
			return err
		}
	}
}
