package batch

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// ErrProgram means that a program cannot be run as described. The text says what is wrong.
var ErrProgram = errors.New("not a program that can be run")

// Names of the files in an attempt's directory.
const (
	WrapperFile = "wrapper" // the script
	StartedFile = "started" // made exclusively, before the program is started
	ExitFile    = "exit"    // moved into place when the program has ended
)

// Environment variables that the wrapper sets, whatever Program.Env says. They mark every process of an attempt.
const (
	JobVariable   = "CONSORT_JOB"
	EpochVariable = "CONSORT_EPOCH"
)

// MaxArgument is the greatest length in bytes of one argument or environment variable.
const MaxArgument = 96 << 10

// maxWrapper is the greatest size in bytes of a wrapper: Slurm takes scripts up to 4 MiB.
const maxWrapper = 3 << 20

// Program is the command of one attempt. No part of it is ever read by a shell: all text is inert.
type Program struct {
	Job     string   // the Consort job
	Epoch   uint64   // its attempt
	Args    []string // the command, found in the PATH of Env unless it has a slash, and its arguments
	Env     []string // the whole environment, as NAME=value
	WorkDir string   // absolute
	Stdin   string   // absolute path of a file, or empty for none
	Stdout  string   // absolute path of a file to append to
	Stderr  string   // absolute path of a file to append to

	// Reports are commands that tell versions, run beside each other before Args and like it. What becomes of them
	// does not matter to the program. See ReadReport.
	Reports [][]string
}

var variablePattern = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*=`)

func (p Program) check() error {
	refuse := func(format string, args ...any) error {
		return fmt.Errorf("%w: %s", ErrProgram, fmt.Sprintf(format, args...))
	}
	switch {
	case !validJob(p.Job):
		return refuse("the job id %q is not made of letters, digits and '-'", p.Job)
	case p.Epoch == 0:
		return refuse("the epoch is 0")
	}
	for _, command := range append([][]string{p.Args}, p.Reports...) {
		if err := CheckCommand(command); err != nil {
			return err
		}
	}
	for _, path := range []string{p.WorkDir, p.Stdout, p.Stderr, p.Stdin} {
		if !filepath.IsAbs(path) && path != "" || hasNUL(path) {
			return refuse("%q is not an absolute path", path)
		}
	}
	if p.WorkDir == "" || p.Stdout == "" || p.Stderr == "" {
		return refuse("the working directory, standard output and standard error must be given")
	}
	for _, v := range p.Env {
		if !variablePattern.MatchString(v) || hasNUL(v) || len(v) > MaxArgument {
			return refuse("the environment variable %.60q is not of the form NAME=value, has a NUL byte or more than %d bytes", v, MaxArgument)
		}
	}
	return nil
}

// CheckCommand returns an ErrProgram when a command with its arguments cannot be run in a wrapper.
func CheckCommand(argv []string) error {
	if len(argv) == 0 || argv[0] == "" {
		return fmt.Errorf("%w: there is no command", ErrProgram)
	}
	if strings.Contains(argv[0], "=") {
		return fmt.Errorf("%w: the command %q has an equals sign in it", ErrProgram, argv[0])
	}
	for i, a := range argv {
		if hasNUL(a) || len(a) > MaxArgument {
			return fmt.Errorf("%w: argument %d has a NUL byte or more than %d bytes", ErrProgram, i, MaxArgument)
		}
	}
	return nil
}

//go:embed wrapper.sh
var wrapperText string

// wrapperEnd is the last line of a complete wrapper.
const wrapperEnd = "# end of the wrapper\n"

// WriteWrapper writes the script that runs a program to the attempt's directory, in place of an earlier
// one, and returns its path. The script is for any POSIX shell. It makes the file started exclusively and
// does nothing when that is there already, so that a program is started at most once. It forwards
// signals, measures, and records the end in the file exit.
func WriteWrapper(dir string, p Program) (path string, err error) {
	if !filepath.IsAbs(dir) || hasNUL(dir) {
		return "", fmt.Errorf("%w: the directory %q is not an absolute path", ErrProgram, dir)
	}
	if err := p.check(); err != nil {
		return "", err
	}
	text := p.script(dir)
	if len(text) > maxWrapper {
		return "", fmt.Errorf("%w: arguments and environment take %d bytes, at most %d fit", ErrProgram, len(text), maxWrapper)
	}
	path = filepath.Join(dir, WrapperFile)
	temp := path + ".new"
	if err := os.WriteFile(temp, []byte(text), 0o700); err != nil {
		return "", fmt.Errorf("write the wrapper: %w", err)
	}
	if err := os.Rename(temp, path); err != nil {
		return "", fmt.Errorf("write the wrapper: %w", err)
	}
	return path, nil
}

// CheckWrapper tells whether a wrapper is complete: it is not synced when written, so a power cut may
// have left an empty file.
func CheckWrapper(path string) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read the wrapper: %w", err)
	}
	if !bytes.HasSuffix(data, []byte(wrapperEnd)) {
		return fmt.Errorf("%w: the wrapper %s is not complete", ErrProgram, path)
	}
	return nil
}

func (p Program) script(dir string) string {
	stdin := p.Stdin
	if stdin == "" {
		stdin = os.DevNull
	}
	epoch := strconv.FormatUint(p.Epoch, 10)
	environment := words(append(p.variables(), JobVariable+"="+p.Job, EpochVariable+"="+epoch))
	return strings.NewReplacer(
		"@DIR@", quote(dir), "@JOB@", quote(p.Job), "@EPOCH@", quote(epoch),
		"@WORKDIR@", quote(p.WorkDir), "@STDIN@", quote(stdin), "@STDOUT@", quote(p.Stdout), "@STDERR@", quote(p.Stderr),
		"@REPORTS@", p.reports(environment), "@COMMAND@", environment+words(p.Args),
	).Replace(wrapperText)
}

// variables is Env without the two that the wrapper sets.
func (p Program) variables() []string {
	var kept []string
	for _, v := range p.Env {
		if !strings.HasPrefix(v, JobVariable+"=") && !strings.HasPrefix(v, EpochVariable+"=") {
			kept = append(kept, v)
		}
	}
	return kept
}

// words quotes each of the list, with a blank before it.
func words(list []string) string {
	var b strings.Builder
	for _, s := range list {
		b.WriteString(" " + quote(s))
	}
	return b.String()
}

// quote makes one word of s that no POSIX shell looks into.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

func hasNUL(s string) bool { return strings.IndexByte(s, 0) >= 0 }
