package cli

import (
	"io"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// commandLine finds the calls of consort in a line of shell.
var commandLine = regexp.MustCompile(`(?:^|\(|\| |&& )consort ([^|#>&)<]*)`)

// checkLine tells what is wrong with one call, without running it.
func checkLine(line string) error {
	args := strings.Fields(strings.NewReplacer(`"$id"`, fold, `"`, "").Replace(line))
	app := &App{In: strings.NewReader(""), Out: io.Discard, Err: io.Discard, Getenv: func(string) string { return "" }}
	root := app.Root()
	cmd, rest, err := root.Find(args)
	if err != nil {
		return err
	}
	if err := cmd.ParseFlags(rest); err != nil {
		return err
	}
	return cmd.ValidateArgs(cmd.Flags().Args())
}

func TestDocumentedCommandsExist(t *testing.T) {
	text, err := os.ReadFile("../../../docs/command-line.md")
	if err != nil {
		t.Fatal(err)
	}
	calls := 0
	for i, block := range strings.Split(string(text), "```") {
		if i%2 == 0 {
			continue
		}
		for line := range strings.Lines(block) {
			for _, m := range commandLine.FindAllStringSubmatch(line, -1) {
				calls++
				if err := checkLine(m[1]); err != nil {
					t.Errorf("%s: %v", strings.TrimSpace(line), err)
				}
			}
		}
	}
	if calls < 10 {
		t.Errorf("only %d calls were found", calls)
	}
	app := New("1.0.0")
	each(app.Root(), func(cmd *cobra.Command) {
		if !strings.Contains(string(text), "`"+cmd.CommandPath()) {
			t.Errorf("docs/command-line.md does not tell of %s", cmd.CommandPath())
		}
	})
}

func TestHelpIsComplete(t *testing.T) {
	app := New("1.0.0")
	each(app.Root(), func(cmd *cobra.Command) {
		if cmd.Short == "" || cmd.Long == "" || cmd.Example == "" {
			t.Errorf("%s lacks a short or long description, or an example", cmd.CommandPath())
		}
		for line := range strings.Lines(cmd.Example) {
			for _, m := range commandLine.FindAllStringSubmatch(strings.TrimSpace(line), -1) {
				if strings.Contains(m[1], `"`) && !strings.Contains(m[1], `"$id"`) {
					continue // quoted words with blanks
				}
				if err := checkLine(m[1]); err != nil {
					t.Errorf("%s: %s: %v", cmd.CommandPath(), strings.TrimSpace(line), err)
				}
			}
		}
	})
}

// each visits the commands that do something.
func each(cmd *cobra.Command, visit func(*cobra.Command)) {
	if !cmd.HasSubCommands() {
		visit(cmd)
	}
	for _, c := range cmd.Commands() {
		each(c, visit)
	}
}
