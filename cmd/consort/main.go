// Consort runs astronomy codes at several observatories' clusters. This one program holds the client's
// commands (package cli), "consort dev" and "consort coordinator".
package main

import (
	"os"

	"consort/cmd/consort/cli"
	"consort/shared/interrupt"
	"consort/shared/telemetry"
)

func main() { os.Exit(run(os.Args[1:])) }

func run(args []string) int {
	ctx := interrupt.Context()
	app := cli.New(telemetry.Version().String())
	root := app.Root()
	dev, coordinator := newDevCommand(), newCoordinatorCommand()
	dev.GroupID, coordinator.GroupID = cli.GroupServe, cli.GroupServe
	root.AddCommand(dev, coordinator)
	return app.Run(ctx, root, args)
}
