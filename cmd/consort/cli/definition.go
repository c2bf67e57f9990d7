package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"consort/shared/config"
	"consort/shared/definition"
	"consort/shared/userapi"
)

func (a *App) definitionCommand() *cobra.Command {
	cmd := group("definition", "See which codes can be run; check your own job definitions",
		`A job definition says what a code takes, how it is started, and what it leaves behind.`,
		a.definitionListCommand(), a.definitionShowCommand(), a.lintCommand())
	cmd.Aliases = []string{"definitions", "def"}
	return cmd
}

func (a *App) definitionListCommand() *cobra.Command {
	cmd := command("ls", "List what can be run",
		`List the published job definitions, each in its newest version. Definitions that the server could not read are
told on standard error.`,
		"  consort definition ls\n  consort definition ls -o json",
		arguments(0, 0), func(cmd *cobra.Command, _ []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			defer c.Close()
			list, err := c.Definitions(cmd.Context())
			if err != nil {
				return err
			}
			for _, p := range list.Problems {
				a.say("left out by the server: %s", p)
			}
			if a.output == jsonFormat {
				return a.printJSON(list.Definitions)
			}
			rows := make([][]string, len(list.Definitions))
			for i, d := range list.Definitions {
				rows[i] = []string{d.Name, d.Version, timeText(d.Published), d.Title}
			}
			return a.printTable([]string{"NAME", "VERSION", "PUBLISHED (UTC)", "TITLE"}, rows)
		})
	cmd.Aliases = []string{"list"}
	return cmd
}

func (a *App) definitionShowCommand() *cobra.Command {
	var source bool
	cmd := command("show NAME[@VERSION]", "Show what a code takes and gives",
		`Show parameters, inputs and outputs of a job definition; with --source its definition.toml as published.`,
		`  consort definition show periodogram
  consort definition show periodogram@1.0.0 --source > definition.toml`,
		arguments(1, 1), func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			defer c.Close()
			d, err := c.Definition(cmd.Context(), args[0])
			if userapi.NotFound(err) {
				return &advice{err, `"consort definition ls" lists what there is.`}
			}
			if err != nil {
				return err
			}
			switch {
			case source:
				out, closeOut := a.raw()
				_, err := io.WriteString(out, d.Source)
				return errors.Join(err, closeOut())
			case a.output == jsonFormat:
				return a.printJSON(d)
			}
			return a.printDefinition(d)
		})
	cmd.Flags().BoolVar(&source, "source", false, "print definition.toml instead")
	cmd.ValidArgsFunction = a.completeDefinitions()
	return cmd
}

func (a *App) printDefinition(d *userapi.Definition) error {
	content, err := contentOf(d)
	if err != nil {
		return &advice{err, "Use --source or -o json."}
	}
	err = a.printFacts([][2]string{
		{"definition", d.Name + " " + d.Version}, {"title", d.Title}, {"description", content.Description},
		{"aliases", strings.Join(d.Aliases, ", ")}, {"documentation", content.Doc}, {"cite", strings.Join(content.Cite, ", ")},
		{"published", timeText(d.Published)}, {"digest", d.Digest},
		{"time limit", content.Duration.Default.String() + ", at most " + content.Duration.Max.String()},
		{"kept for", content.Retention.Default.String()}, {"job list", d.URL},
	})
	if err != nil {
		return err
	}
	var parameters, inputs, outputs [][]string
	for _, p := range content.Parameters {
		value := strings.Join(p.Default, ", ")
		if p.Required {
			value = "(required)"
		}
		parameters = append(parameters, []string{p.Name, string(p.Type), value, p.Unit, allowed(&p), p.Description})
	}
	for _, i := range content.Inputs {
		from := make([]string, len(i.From))
		for n, s := range i.From {
			from[n] = string(s)
		}
		inputs = append(inputs, []string{i.Name, howMany(&i), strings.Join(from, ", "), strings.Join(i.ContentType, ", "), i.Description})
	}
	for _, o := range content.Outputs {
		name := o.Name
		if o.Main {
			name += " (main)"
		}
		outputs = append(outputs, []string{name, o.Multiplicity.String(), o.ContentType, o.Description})
	}
	return errors.Join(
		a.section("Parameters (-p NAME=VALUE)", []string{"NAME", "TYPE", "DEFAULT", "UNIT", "ALLOWED", "DESCRIPTION"}, parameters),
		a.section("Inputs (-f NAME=@FILE)", []string{"NAME", "HOW MANY", "FROM", "TYPE", "DESCRIPTION"}, inputs),
		a.section("Outputs", []string{"NAME", "HOW MANY", "TYPE", "DESCRIPTION"}, outputs),
	)
}

// howMany tells how many files an input takes; one that may be left out takes none, too.
func howMany(i *definition.Input) string {
	m := i.Multiplicity
	switch {
	case i.Required || m.Min == 0:
		return m.String()
	case m.Min == 1:
		return definition.Multiplicity{Min: 0, Max: m.Max}.String()
	}
	return "0 or " + m.String()
}

// contentOf reads the content that the server sent as the type that it has.
func contentOf(d *userapi.Definition) (*definition.Definition, error) {
	text, err := json.Marshal(d.Content)
	if err != nil {
		return nil, fmt.Errorf("read the definition: %w", err)
	}
	content := new(definition.Definition)
	if err := json.Unmarshal(text, content); err != nil {
		return nil, fmt.Errorf("this program does not understand the definition, it may be too old: %w", err)
	}
	return content, nil
}

// allowed tells the values that a parameter may have.
func allowed(p *definition.Parameter) string {
	var parts []string
	if len(p.Options) > 0 {
		values := make([]string, len(p.Options))
		for i, o := range p.Options {
			values[i] = o.Value
		}
		parts = append(parts, strings.Join(values, " | "))
	}
	switch {
	case p.Min != "" && p.Max != "":
		parts = append(parts, string(p.Min)+" to "+string(p.Max))
	case p.Min != "":
		parts = append(parts, "from "+string(p.Min))
	case p.Max != "":
		parts = append(parts, "up to "+string(p.Max))
	}
	if p.Pattern != "" {
		parts = append(parts, p.Pattern)
	}
	if p.Multiplicity.Many() {
		parts = append(parts, "repeatable: "+p.Multiplicity.String())
	}
	return strings.Join(parts, ", ")
}

// linted is what lint tells of one definition.
type linted struct {
	Path    string      `json:"path"`
	Name    string      `json:"name,omitempty"`
	Version string      `json:"version,omitempty"`
	Digest  string      `json:"digest,omitempty"`
	Errors  []lintError `json:"errors,omitempty"`
}

type lintError struct {
	File    string `json:"file"`
	Line    int    `json:"line,omitempty"`
	Key     string `json:"key,omitempty"`
	Problem string `json:"problem"`
	text    string
}

func (a *App) lintCommand() *cobra.Command {
	return command("lint PATH...", "Check job definitions before they are published",
		`Check job definitions, given as folders or as their definition.toml, with all the files they name. No server is
asked. Every error is printed with file, line and key, and the exit status is 1; a definition that is right is
printed with its version and digest.`,
		"  consort definition lint examples/periodogram\n  consort definition lint */definition.toml",
		arguments(1, -1), func(_ *cobra.Command, args []string) error {
			var all []linted
			bad := 0
			for _, p := range args {
				l := lint(p)
				if len(l.Errors) > 0 {
					bad++
				}
				all = append(all, l)
			}
			if err := a.printLinted(all); err != nil {
				return err
			}
			if bad > 0 {
				return fmt.Errorf("%d of %d definitions have errors", bad, len(all))
			}
			return nil
		})
}

func (a *App) printLinted(all []linted) error {
	if a.output == jsonFormat {
		return a.printJSON(all)
	}
	for _, l := range all {
		for _, e := range l.Errors {
			if _, err := fmt.Fprintln(a.Out, prose(e.text)); err != nil {
				return err
			}
		}
		if len(l.Errors) > 0 {
			continue
		}
		if _, err := fmt.Fprintf(a.Out, "%s: %s %s is right, digest %s\n", cell(l.Path), l.Name, l.Version, l.Digest); err != nil {
			return err
		}
	}
	return nil
}

// lint checks the definition at a path of the user's.
func lint(given string) linted {
	l := linted{Path: given}
	dir := given
	if filepath.Base(given) == definition.MainFile {
		dir = filepath.Dir(given)
	}
	bundle, err := loadDefinition(dir)
	if err == nil {
		l.Name, l.Version, l.Digest = bundle.Definition.Name, bundle.Definition.Version, bundle.Digest
		return l
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("there is no %s", filepath.Join(dir, definition.MainFile))
	}
	list := config.List(err)
	for _, e := range list {
		here := *e
		here.File = filepath.Join(dir, e.File)
		l.Errors = append(l.Errors, lintError{here.File, here.Line, here.Key, here.Problem, here.Error()})
	}
	if len(list) == 0 {
		l.Errors = append(l.Errors, lintError{File: given, Problem: err.Error(), text: given + ": " + err.Error()})
	}
	return l
}

func loadDefinition(dir string) (*definition.Bundle, error) {
	info, err := os.Stat(dir)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return nil, fmt.Errorf("is neither a folder nor a %s", definition.MainFile)
	}
	return definition.Load(os.DirFS(dir), ".")
}
