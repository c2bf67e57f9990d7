package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"consort/shared/userapi"
)

// Exit statuses.
const (
	exitOK          = 0
	exitFailure     = 1
	exitUsage       = 2
	exitJobError    = 3
	exitJobAborted  = 4
	exitTimeout     = 5
	exitAuth        = 6
	exitUnreachable = 7
	exitInterrupted = 130
)

// statusError is an error with an exit status of its own. An empty message was told already.
type statusError struct {
	status  int
	message string
	err     error
}

func (e *statusError) Error() string { return e.message }
func (e *statusError) Unwrap() error { return e.err }

// usage is the error for a command line that makes no sense.
func usage(cmd *cobra.Command, format string, args ...any) error {
	text := fmt.Sprintf(format, args...)
	if cmd != nil {
		text += fmt.Sprintf("\nSee %s --help.", cmd.CommandPath())
	}
	return &statusError{status: exitUsage, message: text}
}

// advice goes with an error for which the user can do something that the error itself does not say.
type advice struct {
	err  error
	text string
}

func (a *advice) Error() string { return a.err.Error() }
func (a *advice) Unwrap() error { return a.err }

// report tells an error and returns the exit status.
func (a *App) report(err error) int {
	if err == nil {
		return exitOK
	}
	if text := err.Error(); text != "" {
		fmt.Fprintf(a.Err, "consort: %s\n", prose(text))
	}
	for _, line := range hints(err) {
		fmt.Fprintf(a.Err, "%s\n", prose(line))
	}
	return status(err)
}

func status(err error) int {
	var (
		own  *statusError
		gone *userapi.Unreachable
	)
	switch {
	case errors.As(err, &own):
		return own.status
	case errors.Is(err, context.Canceled):
		return exitInterrupted
	case errors.Is(err, context.DeadlineExceeded):
		return exitTimeout
	case userapi.Auth(err):
		return exitAuth
	case errors.As(err, &gone):
		return exitUnreachable
	}
	return exitFailure
}

// codeForbidden is the code of problems of those who are known and may not do it.
const codeForbidden = "forbidden"

// operatorsOnly adds to a refusal that it takes an operator.
func operatorsOnly(err error) error {
	var p *userapi.Problem
	if errors.As(err, &p) && p.Code == codeForbidden {
		return &advice{err, "Only an operator may manage sites: give the token of one with --token-file, or in CONSORT_TOKEN."}
	}
	return err
}

// hints say what can be done.
func hints(err error) []string {
	var (
		lines   []string
		own     *advice
		gone    *userapi.Unreachable
		problem *userapi.Problem
	)
	if errors.As(err, &own) {
		lines = append(lines, own.text)
	}
	if errors.As(err, &gone) {
		lines = append(lines, reach(gone))
	}
	if errors.As(err, &problem) {
		switch {
		case problem.Status == 401:
			lines = append(lines, "Give an access token with --token-file, or in CONSORT_TOKEN.")
		case problem.Code == codeForbidden && own == nil:
			lines = append(lines, "Who you are does not permit this; the owner of the job, or the operator, can do it.")
		case problem.Status >= 500 && problem.RequestID != "":
			lines = append(lines, "The operator can look for request "+problem.RequestID+" in the server's log.")
		}
	}
	if errors.Is(err, userapi.ErrExists) {
		lines = append(lines, "Name another folder with -d, or overwrite it with --replace.")
	}
	if errors.Is(err, userapi.ErrHash) {
		lines = append(lines, "It was not kept. Try again; if that gives the same, tell the operator: the stored file may be damaged.")
	}
	if errors.Is(err, syscall.ENOSPC) {
		lines = append(lines, "Make room and run the same command again: it goes on where it stopped.")
	} else if errors.Is(err, fs.ErrPermission) {
		lines = append(lines, "Check who may write or read there.")
	}
	return lines
}

func reach(u *userapi.Unreachable) string {
	switch {
	case strings.HasPrefix(u.Error(), "cannot trust"):
		return "Check the server's name; SSL_CERT_FILE can name the certificates of a private authority."
	case errors.Is(u, syscall.ECONNREFUSED) && u.Server == DefaultServer:
		return `Start a server on this machine with "consort dev", or name another with --server or CONSORT_SERVER.`
	}
	return "Check that the server runs and that --server or CONSORT_SERVER is right, then try again."
}
