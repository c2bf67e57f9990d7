package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"consort/shared/userapi"
)

// exportFormats are the forms of provenance documents by what --format calls them.
var exportFormats = []struct{ name, form, extension string }{
	{"json", "PROV-JSON", "json"}, {"xml", "PROV-XML", "xml"}, {"n", "PROV-N", "provn"}, {"vot", "PROV-VOTABLE", "vot"},
	{"ttl", "PROV-TURTLE", "ttl"}, {"jsonld", "PROV-JSONLD", "jsonld"}, {"svg", "PROV-SVG", "svg"}, {"png", "PROV-PNG", "png"},
	{"rocrate", "RO-CRATE", "crate.zip"},
}

func formatNames() []string {
	var names []string
	for _, f := range exportFormats {
		names = append(names, f.name)
	}
	return names
}

// scope is how much of the provenance a document tells.
type scope struct {
	depth        string
	back, forth  bool
	descriptions bool
	model, file  string
	replace      bool
}

func (s *scope) flags(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&s.depth, "depth", "1", "follow so many `relations`, two for each further job; 0 is it alone, or all")
	flags.BoolVar(&s.back, "back", false, "go back to what it was made from; the default for a result")
	flags.BoolVar(&s.forth, "forth", false, "go on to what was made of it; with --back both, the default for a job")
	flags.BoolVar(&s.descriptions, "descriptions", false, "tell what the job definition says of activities, inputs and outputs, too")
	flags.StringVar(&s.model, "model", "w3c", "`model` of the document: w3c, or ivoa")
	flags.StringVar(&s.file, "to", "", "write to this `file`; - is standard output")
	flags.BoolVar(&s.replace, "replace", false, "overwrite the file")
	must(cmd.RegisterFlagCompletionFunc("model", cobra.FixedCompletions([]string{"w3c", "ivoa"}, cobra.ShellCompDirectiveNoFileComp)))
	must(cmd.MarkFlagFilename("to"))
}

// needless refuses what an RO-Crate does not heed: it is always the whole record of one job.
func (s *scope) needless(cmd *cobra.Command) error {
	for _, name := range []string{"depth", "back", "forth", "descriptions", "model"} {
		if cmd.Flags().Changed(name) {
			return usage(cmd, "--%s means nothing for an RO-Crate, which is that of one job", name)
		}
	}
	return nil
}

// parameters are those of ProvSAP.
func (s *scope) parameters(cmd *cobra.Command, ids []string, form string) (url.Values, error) {
	values := url.Values{"ID": ids, "RESPONSEFORMAT": {form}, "DEPTH": {strings.ToUpper(s.depth)}, "DIRECTION": {"BACK"}, "MODEL": {strings.ToUpper(s.model)}}
	if _, err := parseDepth(cmd, s.depth); err != nil {
		return nil, err
	}
	if s.model != "w3c" && s.model != "ivoa" {
		return nil, usage(cmd, "--model %s is neither w3c nor ivoa", s.model)
	}
	switch {
	case s.back && s.forth, !s.back && !s.forth && strings.HasPrefix(ids[0], "job:"):
		values.Set("DIRECTION", "BOTH")
	case s.forth:
		values.Set("DIRECTION", "FORTH")
	}
	if s.descriptions {
		values.Set("DESCRIPTIONS", "2")
	}
	return values, nil
}

func (a *App) provGraphCommand() *cobra.Command {
	var s scope
	var attributes bool
	cmd := command("graph JOB|JOB/RESULT|FILE", "Draw the provenance of a job as a picture",
		`Draw what a job used and made, or where a result or a file on your disk comes from, and write the picture to a file:
SVG, whose nodes are links, or PNG when the name given with --to ends so. Its path is printed on standard output.
Without --to the file is called as the job and lies in the current folder. A file on your disk is known by its
SHA-256.`,
		`  consort prov graph j01ke5nz
  consort prov graph j01ke5nz --depth all --to lineage.svg
  consort prov graph j01ke5nz/cleaned --forth --depth 4 --to uses.png --replace
  consort prov graph j01ke5nz --to - > graph.svg`,
		arguments(1, 1), func(cmd *cobra.Command, args []string) error {
			format, err := pictureFormat(cmd, s.file)
			if err != nil {
				return err
			}
			extra := url.Values{"ATTRIBUTES": {"0"}}
			if attributes {
				extra.Set("ATTRIBUTES", "1")
			}
			return a.export(cmd, args[0], format, &s, extra)
		})
	s.flags(cmd)
	cmd.Flags().BoolVar(&attributes, "attributes", false, "show the attributes of the nodes")
	cmd.ValidArgsFunction = a.completeJobs()
	return cmd
}

// pictureFormat is the format that the name of a file asks for.
func pictureFormat(cmd *cobra.Command, file string) (string, error) {
	switch strings.ToLower(filepath.Ext(file)) {
	case ".png":
		return "png", nil
	case ".svg", "":
		return "svg", nil
	}
	return "", usage(cmd, "--to %s: pictures are SVG and PNG; name a file that ends in .svg or .png", file)
}

func (a *App) provExportCommand() *cobra.Command {
	var (
		s      scope
		format string
		data   bool
	)
	cmd := command("export JOB|JOB/RESULT|FILE", "Write the provenance of a job as a document",
		`Write the provenance of a job, a result or a file on your disk as a document that other tools read: PROV-JSON,
PROV-XML, PROV-N, VOTable, Turtle or JSON-LD on standard output, or in the file given with --to. A picture, SVG or
PNG, has notes with attributes here; "consort prov graph" draws it without. An RO-Crate, a zip file that describes
the run for repositories such as Zenodo, is written to a file called as the job; with --data it holds the results.

How far the document goes is told with --depth, --back and --forth; an RO-Crate is always that of one job.`,
		`  consort prov export j01ke5nz --format ttl
  consort prov export j01ke5nz --format xml --depth all --to lineage.xml
  consort prov export j01ke5nz --format json --model ivoa --descriptions
  consort prov export j01ke5nz --format rocrate --data`,
		arguments(1, 1), func(cmd *cobra.Command, args []string) error {
			if data && format != "rocrate" {
				return usage(cmd, "--data puts the results into an RO-Crate and needs --format rocrate")
			}
			if format == "rocrate" {
				if err := s.needless(cmd); err != nil {
					return err
				}
			}
			if s.file == "" && format != "rocrate" && format != "png" {
				s.file = "-"
			}
			extra := url.Values{}
			if data {
				extra.Set("DATA", "1")
			}
			return a.export(cmd, args[0], format, &s, extra)
		})
	s.flags(cmd)
	flags := cmd.Flags()
	flags.StringVar(&format, "format", "json", strings.Join(formatNames(), ", "))
	flags.BoolVar(&data, "data", false, "put the results into the RO-Crate")
	must(cmd.RegisterFlagCompletionFunc("format", cobra.FixedCompletions(formatNames(), cobra.ShellCompDirectiveNoFileComp)))
	cmd.ValidArgsFunction = a.completeJobs()
	return cmd
}

// export writes one document.
func (a *App) export(cmd *cobra.Command, text, format string, s *scope, extra url.Values) error {
	form, extension := "", ""
	for _, f := range exportFormats {
		if f.name == format {
			form, extension = f.form, f.extension
		}
	}
	if form == "" {
		return usage(cmd, "--format %s is none of %s", format, strings.Join(formatNames(), ", "))
	}
	c, err := a.client()
	if err != nil {
		return err
	}
	defer c.Close()
	ctx := cmd.Context()
	roots, err := a.roots(ctx, c, text)
	if err != nil {
		return err
	}
	parameters, err := s.parameters(cmd, roots, form)
	if err != nil {
		return err
	}
	for name, values := range extra {
		parameters[name] = values
	}
	if s.file == "-" {
		out, closeOut := a.raw()
		err := a.document(ctx, c, parameters, out)
		return errors.Join(provError(err, text), closeOut())
	}
	name := s.file
	if name == "" {
		name = fileNameFor(text, roots[0]) + "." + extension
	}
	if err := a.documentTo(ctx, c, parameters, name, s.replace); err != nil {
		return provError(err, text)
	}
	if a.output == jsonFormat {
		return a.printJSON(map[string]string{"path": name, "format": form})
	}
	_, err = fmt.Fprintln(a.Out, name)
	return err
}

// fileNameFor names what is written about a node: as the job, the job and its result, or the file on disk.
func fileNameFor(text, node string) string {
	if strings.HasPrefix(node, "ent:") && text != node {
		return filepath.Base(text)
	}
	return userapi.SafeName(strings.NewReplacer("job:", "", "consort:", "", "/", "-").Replace(node))
}

// document copies a document from the server.
func (a *App) document(ctx context.Context, c *userapi.Client, parameters url.Values, w io.Writer) error {
	complete, err := c.ProvSAP(ctx, parameters, w)
	if err == nil && !complete {
		a.say("This is a part: the whole is more than the server gives at once. Ask with a smaller --depth, or from another node.")
	}
	return err
}

// documentTo writes a document to a file, which has its name only once it is complete.
func (a *App) documentTo(ctx context.Context, c *userapi.Client, parameters url.Values, name string, replace bool) error {
	if _, err := os.Lstat(name); err == nil && !replace {
		return &advice{fmt.Errorf("%s is there already", name), "Name another file with --to, or overwrite it with --replace."}
	}
	f, err := os.CreateTemp(filepath.Dir(name), ".consort-")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	err = a.document(ctx, c, parameters, f)
	if err = errors.Join(err, f.Chmod(0o644), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), name)
}
