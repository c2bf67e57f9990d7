// Command consort-agent runs at a site: it takes jobs from the coordinators, runs them in the site's batch
// system and brings their results back. This package is flags and wiring only.
package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime/debug"

	"github.com/spf13/cobra"

	"consort/agent"
	"consort/shared/interrupt"
	"consort/shared/telemetry"
)

// version is what this program was built from, as the coordinators are told it.
var version = telemetry.Version().Version

// Exit statuses.
const (
	exitOK      = 0
	exitFailure = 1
	exitFenced  = 3 // a start anew would fence the other agent in turn; 2 is what a crash of a Go program gives
)

func main() {
	bound()
	err := root().ExecuteContext(interrupt.Context())
	if err != nil {
		fmt.Fprintln(os.Stderr, "consort-agent:", err)
	}
	os.Exit(status(err))
}

func status(err error) int {
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, agent.ErrFenced):
		return exitFenced
	}
	return exitFailure
}

// bound keeps the agent small on a login node, unless the environment says otherwise.
func bound() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(50)
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(256 << 20)
	}
}

func root() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "consort-agent",
		Short: "Run astronomy jobs of a Consort federation at this site",
		Long: `consort-agent connects a site to the coordinators of a Consort federation.

It needs no root, no inbound port and no file system shared with anybody: it
dials out over HTTPS and SFTP (HTTPS_PROXY, ALL_PROXY and NO_PROXY are
honoured), asks for jobs, runs those that the site's own policy allows in the
site's batch system, and pushes their results back. Stopped, killed or cut off
it loses nothing: jobs go on, and a new start takes them up.`,
		Example: `  consort-agent enroll --server https://consort.example.org --token TOKEN
  $EDITOR policy.toml        # nothing runs that it does not allow
  consort-agent run`,
		Version:       version,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	cmd.SetVersionTemplate("consort-agent {{.Version}}\n")
	cmd.AddCommand(enrolCommand(), runCommand(), versionCommand())
	return cmd
}

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  cobra.NoArgs,
		Run:   func(cmd *cobra.Command, _ []string) { fmt.Fprintln(cmd.OutOrStdout(), "consort-agent", version) },
	}
}

func runCommand() *cobra.Command {
	var configFile, level string
	var keep bool
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Take jobs and run them, until stopped",
		Long: `run takes jobs from the coordinators until it gets SIGINT or SIGTERM. Jobs that
run then go on by themselves; the next start takes them up, and sends what
ended meanwhile.

It reads agent.toml, which the enrolment wrote, and the policy.toml named
there. The policy is read again whenever it changes. Logs go to standard error.

Exit status: 0 when stopped; 3 when another agent of this site was started
later, so that starting this one again would only stop that one; 1 on any other
error that needs a human.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			logger, err := newLogger(level)
			if err != nil {
				return err
			}
			cfg, err := agent.LoadConfig(configFile)
			if err != nil {
				return err
			}
			cfg.Version, cfg.Logger = version, logger
			cfg.Keep = cfg.Keep || keep
			return agent.Run(cmd.Context(), cfg)
		},
	}
	cmd.Flags().StringVar(&configFile, "config", "agent.toml", "configuration `FILE`")
	cmd.Flags().StringVar(&level, "log-level", "info", "least `LEVEL` of messages: debug, info, warn or error")
	cmd.Flags().BoolVar(&keep, "keep", false, "keep the directories of ended attempts, to debug a code")
	return cmd
}

func enrolCommand() *cobra.Command {
	cfg := agent.EnrolConfig{Version: version}
	var tokenFile string
	cmd := &cobra.Command{
		Use:     "enroll",
		Aliases: []string{"enrol"},
		Short:   "Make this site's key and register it with the coordinators",
		Long: `enroll makes an Ed25519 key for this site, hands its public half to the
coordinators with the one-time token that an operator got from
"consort site add NAME", and writes three files into the directory:

  agent.toml   configuration, with the coordinators' SFTP host keys pinned
  agent.key    the site's private key (OpenSSH format, mode 0600)
  policy.toml  what may run here: nothing, until you say so (kept if there)

Compare the fingerprint it prints with the one the coordinators show.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := readToken(&cfg.Token, tokenFile); err != nil {
				return err
			}
			done, err := agent.Enrol(cmd.Context(), cfg)
			if err != nil {
				return err
			}
			printEnrolled(cmd, done)
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVar(&cfg.Server, "server", "", "base `URL` of a coordinator (required)")
	f.StringVar(&cfg.Token, "token", "", "one-time `TOKEN` from \"consort site add\"")
	f.StringVar(&tokenFile, "token-file", "", "`FILE` that holds the token, - for standard input; keeps it out of the list of processes")
	f.StringVar(&cfg.Dir, "dir", ".", "`DIRECTORY` for the three files")
	f.StringVar(&cfg.Site, "site", "", "`NAME` that the token must be for; empty: any")
	f.StringVar(&cfg.CAFile, "ca", "", "PEM `FILE` of the authority that signed the coordinators' certificates")
	f.IntVar(&cfg.Batch.Slots, "slots", 0, "attempts at a time; 0: as many as this machine has cores")
	_ = cmd.MarkFlagRequired("server")
	return cmd
}

// readToken fills in the token from a file, when one is named.
func readToken(token *string, file string) error {
	if file == "" && *token == "" {
		return errors.New("give the one-time token with --token or --token-file")
	}
	if file == "" {
		return nil
	}
	text, err := agent.ReadToken(file, os.Stdin)
	if err != nil {
		return err
	}
	*token = text
	return nil
}

func printEnrolled(cmd *cobra.Command, done *agent.Enrolled) {
	out := cmd.OutOrStdout()
	fmt.Fprintf(out, "site         %s\ncluster      %s\nfingerprint  %s\n", done.Site, done.Cluster, done.Fingerprint)
	for _, k := range done.HostKeys {
		fmt.Fprintf(out, "pinned       %s\n", k)
	}
	fmt.Fprintf(out, "\nNext: say in %s what may run here, then\n  consort-agent run --config %s\n", done.PolicyFile, done.ConfigFile)
}

func newLogger(level string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, fmt.Errorf("--log-level: %q is not debug, info, warn or error", level)
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: l})), nil
}
