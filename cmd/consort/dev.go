package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"consort/coordinator"
	"consort/coordinator/auth"
	"consort/coordinator/definitions"
	"consort/examples"
	"consort/shared/telemetry"
)

// stopTimeout bounds how long a server takes to stop once it was asked to.
const stopTimeout = 5 * time.Second

// serverFlags are what dev and coordinator have in common.
type serverFlags struct {
	data, http, sftp, peer, metrics, config, token, logLevel string
	definitions                                              []string
}

func newDevCommand() *cobra.Command {
	var f serverFlags
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Run everything on this machine: coordinator, content store, one local site with its agent",
		Long: `Run everything in one process on loopback: a coordinator, its content store and SFTP server, and a
site called "local" whose agent runs jobs as plain processes. It is for trying Consort out and for writing
job definitions, not for serving others: it takes anonymous requests, from this machine only. With --token it
takes none, and may listen for other machines.

All it keeps is below the data directory, so the next start goes on where this one ended, and finishes jobs
that ran meanwhile. When it can serve, it prints one line on standard output:

    ready http=http://127.0.0.1:8080 sftp=127.0.0.1:2222 peer=127.0.0.1:… metrics=127.0.0.1:…

Ctrl-C stops it; jobs that run go on and are picked up by the next start.`,
		Example: `  consort dev
  consort dev --definitions ./my-codes
  consort dev --data /tmp/trial --http 127.0.0.1:0 --sftp 127.0.0.1:0`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runDev(cmd.Context(), &f, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.data, "data", "", "data directory (default: consort/dev below $XDG_STATE_HOME or ~/.local/state)")
	flags.StringVar(&f.http, "http", "127.0.0.1:8080", "`address` of the HTTP API; port 0 takes any free one")
	flags.StringVar(&f.sftp, "sftp", "127.0.0.1:2222", "`address` of the SFTP server that outputs are pushed to")
	flags.StringVar(&f.peer, "peer", "127.0.0.1:0", "`address` for other coordinators")
	flags.StringVar(&f.metrics, "metrics", "127.0.0.1:0", "`address` of /metrics, /healthz and /readyz")
	flags.StringArrayVar(&f.definitions, "definitions", nil, "`folder` of a job definition, or of several, besides the examples; repeatable")
	flags.StringVar(&f.token, "token", "", "ask every client for this bearer `token`; for machines that others use too")
	flags.StringVar(&f.config, "config", "", "coordinator.toml to read first; flags given here override it")
	flags.StringVar(&f.logLevel, "log-level", "warn", "debug, info, warn or error")
	return cmd
}

func runDev(ctx context.Context, f *serverFlags, out, talk io.Writer) error {
	logger, err := newLogger(talk, "text", f.logLevel)
	if err != nil {
		return err
	}
	cfg, dir, err := devConfig(f, logger)
	if err != nil {
		return err
	}
	server, err := coordinator.Start(ctx, cfg)
	if err != nil {
		return unlessStopped(ctx, err)
	}
	site := &localSite{dir: filepath.Join(dir, "agent"), server: server, token: f.token, logger: logger}
	err = site.start(ctx)
	if err == nil {
		announce(out, talk, server, f.token != "")
		err = waitFirst(ctx, server.Wait, site.wait)
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	return errors.Join(unlessStopped(ctx, err), site.stop(), server.Stop(stop))
}

// unlessStopped is err, or nil when it only tells that the user ended ctx, which is no failure of a server.
func unlessStopped(ctx context.Context, err error) error {
	if ctx.Err() != nil && (errors.Is(err, ctx.Err()) || errors.Is(err, context.Cause(ctx))) {
		return nil
	}
	return err
}

// devConfig puts flags over the file over the defaults.
func devConfig(f *serverFlags, logger *slog.Logger) (cfg coordinator.Config, dir string, err error) {
	cfg = coordinator.Config{
		HTTP: f.http, SFTP: f.sftp, Peer: f.peer, Metrics: f.metrics, LocalOnly: true,
		Definitions: []definitions.Folder{exampleFolder()}, Version: telemetry.Version().Version, Logger: logger,
		Auth: auth.Config{Anonymous: true, AnonymousOperator: true},
	}
	if f.config != "" {
		file, err := coordinator.LoadFile(f.config)
		if err != nil {
			return cfg, "", err
		}
		dir = file.Data
		cfg.Auth.Tokens = file.AuthConfig().Tokens
		cfg.Authority = file.Authority
		f.definitions = append(file.Definitions, f.definitions...)
	}
	if f.data != "" || dir == "" {
		if dir, err = dataDir(f.data); err != nil {
			return cfg, "", err
		}
	}
	if f.token != "" {
		cfg.Auth.Anonymous, cfg.Auth.AnonymousOperator = false, false
		cfg.Auth.Tokens = append(cfg.Auth.Tokens, auth.Token{Name: "dev", SHA256: auth.HashToken(f.token), Operator: true})
	}
	for _, d := range f.definitions {
		if info, err := os.Stat(d); err != nil || !info.IsDir() {
			return cfg, "", fmt.Errorf("--definitions %s: not a folder", d)
		}
		cfg.Definitions = append(cfg.Definitions, definitions.Folder{Name: d, FS: os.DirFS(d)})
	}
	if cfg.Auth.Anonymous && !loopback(f.http) {
		return cfg, "", fmt.Errorf("--http %s: other machines would reach a server that asks for no credentials; give --token TOKEN, or an address of this machine alone, such as 127.0.0.1:8080", f.http)
	}
	cfg.Dir = filepath.Join(dir, "coordinator")
	return cfg, dir, nil
}

// exampleFolder is the definitions that come with the program.
func exampleFolder() definitions.Folder { return definitions.Folder{Name: "examples", FS: examples.FS} }

// loopback tells whether only this machine reaches an address. One that is malformed is refused later, for that.
func loopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	ip := net.ParseIP(host)
	return err != nil || host == "localhost" || ip != nil && ip.IsLoopback()
}

// dialable is a listener's address as clients on this machine reach it: one that listens everywhere names no host.
func dialable(address string) string {
	host, port, err := net.SplitHostPort(address)
	if ip := net.ParseIP(host); err != nil || host != "" && (ip == nil || !ip.IsUnspecified()) {
		return address
	}
	return net.JoinHostPort("127.0.0.1", port)
}

func dataDir(given string) (string, error) {
	if given != "" {
		return filepath.Abs(given)
	}
	if state := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(state) {
		return filepath.Join(state, "consort", "dev"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("find a place for the data: %w; give one with --data", err)
	}
	return filepath.Join(home, ".local", "state", "consort", "dev"), nil
}

func newLogger(w io.Writer, format, level string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, fmt.Errorf("--log-level %q: want debug, info, warn or error", level)
	}
	return telemetry.NewLogger(w, format, l)
}

// waitFirst waits until one of the parts ends, and returns why.
func waitFirst(ctx context.Context, parts ...func(context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, len(parts))
	for _, wait := range parts {
		go func() { ended <- wait(ctx) }()
	}
	return <-ended
}

// readyLine is what scripts wait for. Its addresses are those that clients on this machine use.
func readyLine(a coordinator.Addresses) string {
	line := fmt.Sprintf("ready http=http://%s sftp=%s peer=%s", dialable(a.HTTP), dialable(a.SFTP), dialable(a.Peer))
	if a.Metrics != "" {
		line += " metrics=" + dialable(a.Metrics)
	}
	return line
}

func announce(out, talk io.Writer, server *coordinator.Server, token bool) {
	a := server.Addresses()
	for _, p := range server.Problems() {
		fmt.Fprintf(talk, "left out: %s\n", p)
	}
	fmt.Fprintln(out, readyLine(a))
	fmt.Fprint(talk, welcome("http://"+dialable(a.HTTP), token))
}

// welcome is what to do first. A token is not repeated: what a program prints ends up in logs.
func welcome(base string, token bool) string {
	export, header := "", ""
	if token {
		export = "  export CONSORT_TOKEN=...    # the token given with --token\n"
		header = ` -H "Authorization: Bearer $CONSORT_TOKEN"`
	}
	return fmt.Sprintf(`
Consort runs. Try, in another terminal, from the repository:

%[2]s  curl -sS -D- -o/dev/null%[3]s -F series=@examples/periodogram/sunspots.csv -F PHASE=RUN %[1]s/rest/periodogram
  bin/consort --server %[1]s job submit periodogram -f series=@examples/periodogram/sunspots.csv --wait
  bin/consort --server %[1]s job ls

Job lists: %[1]s/api/v1/definitions    Ctrl-C stops it; running jobs go on.
`, base, export, header)
}
