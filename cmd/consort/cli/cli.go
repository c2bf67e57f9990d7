// Package cli holds the commands of consort that talk to a server: jobs, results, definitions, sites and
// provenance. They parse flags and print; every call is package userapi's.
//
// Standard output carries data, standard error everything said to people. The package runs no server: those
// commands are added to the root by package main.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"consort/shared/userapi"
)

// Environment variables that stand for flags.
const (
	envServer    = "CONSORT_SERVER"
	envToken     = "CONSORT_TOKEN"
	envTokenFile = "CONSORT_TOKEN_FILE"
)

// DefaultServer is where consort dev listens.
const DefaultServer = "http://127.0.0.1:8080"

// App is one invocation of the program.
type App struct {
	In       io.Reader
	Out, Err io.Writer
	Getenv   func(string) string
	Version  string // of the program; its first word goes into the User-Agent

	server, token, tokenFile string
	output                   outputFormat
	quiet                    bool
}

// New is the invocation by the process's own streams and environment.
func New(version string) *App {
	return &App{In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Getenv: os.Getenv, Version: version}
}

// Groups of commands in the help.
const (
	GroupUse   = "use"
	GroupServe = "serve"
)

// Root makes the root command with the global flags and all commands of this package.
func (a *App) Root() *cobra.Command {
	root := &cobra.Command{
		Use:   "consort",
		Short: "Run astronomy codes on the clusters of several observatories",
		Long: `Consort runs analysis and simulation codes on the clusters of several observatories through one interface,
IVOA UWS 1.1, and keeps the provenance of every result.

Data goes to standard output, everything said to people to standard error. Jobs are named by their id, by
its first characters where no other job begins so, or by their URL.

Exit status: 0 done; 1 it did not work; 2 wrong usage; 3 the job ended in ERROR; 4 the job was aborted;
5 time-out while waiting; 6 not logged in, or not permitted; 7 the server cannot be reached; 130 interrupted.

Environment: CONSORT_SERVER stands for --server, CONSORT_TOKEN for --token, CONSORT_TOKEN_FILE for
--token-file. Flags win. HTTPS_PROXY and NO_PROXY are honoured. No colours are used.`,
		Example: `  consort job submit periodogram -f series=@sunspots.csv --wait
  consort job results get j01ke5nz -d out
  consort prov show j01ke5nz`,
		Version:       a.Version,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.ArbitraryArgs,
		RunE:          onlySubcommands,

		SuggestionsMinimumDistance: 2,
	}
	root.SetIn(a.In)
	root.SetOut(a.Out)
	root.SetErr(a.Err)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return usage(cmd, "%v", err) })
	flags := root.PersistentFlags()
	flags.StringVar(&a.server, "server", "", "`URL` of the server (default $"+envServer+" or "+DefaultServer+")")
	flags.StringVar(&a.token, "token", "", "access `token`; other users of this machine can see it, so prefer --token-file")
	flags.StringVar(&a.tokenFile, "token-file", "", "`file` that holds the access token and is readable by you alone")
	flags.VarP(&a.output, "output", "o", "`format` of the output: table or json")
	flags.BoolVarP(&a.quiet, "quiet", "q", false, "say nothing but errors on standard error")
	must(root.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"table", "json"}, cobra.ShellCompDirectiveNoFileComp)))
	root.AddGroup(
		&cobra.Group{ID: GroupUse, Title: "Commands for using a federation:"},
		&cobra.Group{ID: GroupServe, Title: "Commands that serve:"},
	)
	for _, cmd := range []*cobra.Command{a.jobCommand(), a.definitionCommand(), a.siteCommand(), a.provCommand()} {
		cmd.GroupID = GroupUse
		root.AddCommand(cmd)
	}
	root.AddCommand(a.versionCommand())
	return root
}

// Run executes a command line, tells errors, and returns the exit status.
func (a *App) Run(ctx context.Context, root *cobra.Command, args []string) int {
	began := false
	onBegin(root, &began)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	var own *statusError
	if err != nil && !began && !errors.As(err, &own) {
		err = usage(nil, "%v", err) // cobra refused flags or arguments
	}
	return a.report(err)
}

// onBegin notes when any command below cmd begins its work.
func onBegin(cmd *cobra.Command, began *bool) {
	if run := cmd.RunE; run != nil {
		cmd.RunE = func(cmd *cobra.Command, args []string) error {
			*began = true
			return run(cmd, args)
		}
	}
	for _, c := range cmd.Commands() {
		onBegin(c, began)
	}
}

// group makes a command that only holds others.
func group(use, short, long string, children ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{
		Use: use, Short: short, Long: long, Args: cobra.ArbitraryArgs, RunE: onlySubcommands, SuggestionsMinimumDistance: 2,
	}
	cmd.AddCommand(children...)
	return cmd
}

// onlySubcommands shows help, or refuses a subcommand that does not exist.
func onlySubcommands(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return cmd.Help()
	}
	text := fmt.Sprintf("%q is no command of %s", args[0], cmd.CommandPath())
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		text += "; did you mean " + strings.Join(near, " or ") + "?"
	}
	return usage(cmd, "%s", text)
}

// arguments refuses a wrong number of arguments as wrong usage. most < 0: any number.
func arguments(least, most int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) < least:
			return usage(cmd, "too few arguments: expected %s", strings.TrimSuffix(cmd.UseLine(), " [flags]"))
		case most >= 0 && len(args) > most:
			return usage(cmd, "%q is one argument too many: expected %s", args[most], strings.TrimSuffix(cmd.UseLine(), " [flags]"))
		}
		return nil
	}
}

// client makes the client that the flags and the environment describe.
func (a *App) client() (*userapi.Client, error) {
	return a.clientFor(userapi.Config{})
}

func (a *App) clientFor(cfg userapi.Config) (*userapi.Client, error) {
	token, err := a.accessToken()
	if err != nil {
		return nil, err
	}
	version, _, _ := strings.Cut(a.Version, " ")
	cfg.Server, cfg.Token, cfg.UserAgent = a.serverURL(), token, "consort/"+version
	c, err := userapi.New(cfg)
	if err != nil {
		return nil, usage(nil, "%v", err)
	}
	if u, err := url.Parse(c.Server()); token != "" && err == nil && u.Scheme == "http" && !loopback(u.Hostname()) {
		a.say("The token goes to %s unencrypted; use https there.", u.Host)
	}
	return c, nil
}

func (a *App) serverURL() string {
	for _, s := range []string{a.server, a.Getenv(envServer)} {
		if s != "" {
			return s
		}
	}
	return DefaultServer
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

func (a *App) accessToken() (string, error) {
	file := a.tokenFile
	switch {
	case a.token != "" && a.tokenFile != "":
		return "", usage(nil, "--token and --token-file exclude each other")
	case a.token != "":
		return a.token, nil
	case file == "" && a.Getenv(envToken) != "":
		return a.Getenv(envToken), nil
	case file == "":
		file = a.Getenv(envTokenFile)
	}
	if file == "" {
		return "", nil
	}
	info, err := os.Stat(file)
	if err != nil {
		return "", fmt.Errorf("read the access token: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return "", fmt.Errorf("others may read the access token in %s: run chmod 600 %s, and ask for a new token if the machine is shared", file, file)
	}
	if info.Size() > 64<<10 {
		return "", fmt.Errorf("%s is too large to be an access token", file)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("read the access token: %w", err)
	}
	return strings.TrimSpace(string(text)), nil
}

// complete makes a completion function out of one that asks the server. Silence is better there than an
// error or a wait.
func (a *App) complete(list func(context.Context, *userapi.Client) ([]cobra.Completion, error)) cobra.CompletionFunc {
	return func(cmd *cobra.Command, _ []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		a.quiet = true
		c, err := a.clientFor(userapi.Config{RetryFor: -1})
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		defer c.Close()
		ctx, cancel := context.WithTimeout(cmd.Context(), 2*time.Second)
		defer cancel()
		found, err := list(ctx, c)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return found, cobra.ShellCompDirectiveNoFileComp
	}
}

func (a *App) completeJobs() cobra.CompletionFunc {
	return a.complete(func(ctx context.Context, c *userapi.Client) ([]cobra.Completion, error) {
		list, err := c.Jobs(ctx, userapi.JobQuery{Limit: 100})
		var found []cobra.Completion
		for _, j := range list.Jobs {
			found = append(found, cobra.CompletionWithDesc(cell(j.ID), cell(j.Definition+" "+j.Phase)))
		}
		return found, err
	})
}

func (a *App) completeDefinitions() cobra.CompletionFunc {
	return a.complete(func(ctx context.Context, c *userapi.Client) ([]cobra.Completion, error) {
		list, err := c.Definitions(ctx)
		var found []cobra.Completion
		for _, d := range list.Definitions {
			found = append(found, cobra.CompletionWithDesc(cell(d.Name), cell(d.Title)))
		}
		return found, err
	})
}

// must stops on a mistake in the program text itself, such as a flag that does not exist.
func must(err error) {
	if err != nil {
		panic(err)
	}
}

func (a *App) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the versions of this program and of the server",
		Long: `Print the version of this program, and version, cluster id and authority of the server. A server that cannot
be reached is told on standard error and is no failure.`,
		Example: "  consort version\n  consort version -o json",
		Args:    arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.clientFor(userapi.Config{RetryFor: -1})
			if err != nil {
				return err
			}
			defer c.Close()
			both := struct {
				Client string           `json:"client"`
				Server *userapi.Version `json:"server,omitempty"`
			}{Client: a.Version}
			if server, err := c.Version(cmd.Context()); err == nil {
				both.Server = server
			} else if cmd.Context().Err() != nil {
				return err
			} else {
				a.say("%v", err)
			}
			if a.output == jsonFormat {
				return a.printJSON(both)
			}
			facts := [][2]string{{"consort", both.Client}}
			if s := both.Server; s != nil {
				facts = append(facts, [2]string{"server", s.Version}, [2]string{"cluster", s.ClusterID}, [2]string{"authority", s.Authority})
			}
			return a.printFacts(facts)
		},
	}
}
