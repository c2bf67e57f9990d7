// Consort runs astronomy codes at several observatories' clusters. This one program holds the client's
// commands (package cli), "consort dev" and "consort coordinator".
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"

	"consort/cmd/consort/cli"
	"consort/shared/telemetry"
)

func main() { os.Exit(run(os.Args[1:])) }

func run(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// A second Ctrl-C ends the program at once. One that comes within a second is still the first: make and process
	// managers pass on a signal that the whole group was sent.
	context.AfterFunc(ctx, func() { time.AfterFunc(time.Second, stop) })
	app := cli.New(telemetry.Version().String())
	root := app.Root()
	dev, coordinator := newDevCommand(), newCoordinatorCommand()
	dev.GroupID, coordinator.GroupID = cli.GroupServe, cli.GroupServe
	root.AddCommand(dev, coordinator)
	return app.Run(ctx, root, args)
}
