package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"consort/coordinator"
	"consort/coordinator/definitions"
	"consort/shared/telemetry"
)

func newCoordinatorCommand() *cobra.Command {
	var path, level, format string
	cmd := &cobra.Command{
		Use:   "coordinator",
		Short: "Run one coordinator, configured by a file",
		Long: `Run one coordinator: UWS and the JSON API over HTTP, the content store with its SFTP server, and the
replicated log. Sites are added with "consort site add" and run consort-agent. docs/coordinator.md describes
every key of coordinator.toml.

When it can serve, it prints one line that begins with "ready" on standard output. SIGTERM and Ctrl-C stop it
within five seconds.`,
		Example: `  consort coordinator --config /etc/consort/coordinator.toml`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runCoordinator(cmd.Context(), path, level, format, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	cmd.Flags().StringVar(&path, "config", "", "`file` to read (required)")
	cmd.Flags().StringVar(&level, "log-level", "info", "debug, info, warn or error")
	cmd.Flags().StringVar(&format, "log-format", "json", "json or text")
	_ = cmd.MarkFlagRequired("config")
	return cmd
}

func runCoordinator(ctx context.Context, path, level, format string, out, talk io.Writer) error {
	logger, err := newLogger(talk, format, level)
	if err != nil {
		return err
	}
	file, err := coordinator.LoadFile(path)
	if err != nil {
		return err
	}
	cfg := coordinator.Config{
		Dir: file.Data, HTTP: file.HTTP, SFTP: file.SFTP, Peer: file.Peer, Metrics: file.Metrics,
		PublicURL: file.PublicURL, TLSCert: file.TLSCert, TLSKey: file.TLSKey, PublicSFTP: file.PublicSFTP, Authority: file.Authority,
		Auth: file.AuthConfig(), Version: telemetry.Version().Version, Logger: logger,
	}
	if file.Examples {
		cfg.Definitions = append(cfg.Definitions, exampleFolder())
	}
	for _, d := range file.Definitions {
		if info, err := os.Stat(d); err != nil || !info.IsDir() {
			return fmt.Errorf("%s: definitions: %s is not a folder", path, d)
		}
		cfg.Definitions = append(cfg.Definitions, definitions.Folder{Name: d, FS: os.DirFS(d)})
	}
	server, err := coordinator.Start(ctx, cfg)
	if err != nil {
		return unlessStopped(ctx, err)
	}
	for _, p := range server.Problems() {
		logger.Error("job definition left out", "problem", p)
	}
	fmt.Fprintln(out, readyLine(server.Addresses()))
	err = server.Wait(ctx)
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	return errors.Join(err, server.Stop(stop))
}
