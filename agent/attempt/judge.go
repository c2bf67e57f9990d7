package attempt

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"consort/agent/batch"
	"consort/agent/journal"
	"consort/shared/definition"
	"consort/shared/siteapi"
)

// TimeLimit is the Class of a Failure when the job ran longer than it may.
const TimeLimit = "timelimit"

// maxMessage is the greatest length in bytes of what a code says about its own failure.
const maxMessage = 2000

func now() time.Time { return time.Now().UTC() }

// addEnd writes into facts how the job ended.
func addEnd(f *siteapi.Facts, acc batch.Account) {
	f.Started = firstTime(acc.Start.UTC(), f.Started)
	f.Ended = firstTime(acc.End.UTC(), now())
	f.Reason = acc.Reason
	if acc.Node != "" {
		f.Node = acc.Node
	}
	if acc.Signal != 0 {
		f.Signal = unix.SignalName(syscall.Signal(acc.Signal))
	} else if acc.Cause == batch.Exited {
		code := acc.ExitCode
		f.ExitCode = &code
	}
	f.Usage = &siteapi.Usage{CPUSeconds: acc.CPUSeconds, MaxRSSBytes: acc.MaxRSSBytes}
	if !f.Started.IsZero() {
		f.Usage.WallSeconds = max(0, f.Ended.Sub(f.Started).Seconds())
	}
}

func firstTime(times ...time.Time) time.Time {
	for _, t := range times {
		if !t.IsZero() {
			return t
		}
	}
	return time.Time{}
}

// judge looks at how the job ended and at what it left: it returns a Failure, or moves on to the outputs.
func (a *Attempt) judge(ctx context.Context) error {
	end := a.account()
	if end == nil {
		return failf(string(definition.ClassSiteTransient), "the site does not know any more how the job ended")
	}
	bundle, err := a.bundle(ctx)
	if err != nil {
		return err
	}
	if err := a.verdict(*end, bundle.Definition); err != nil {
		return err
	}
	if _, err := a.outputs(bundle.Definition); err != nil {
		return err
	}
	return a.save(journal.Uploading, a.rt.Journal.Note, nil)
}

// verdict decides whether the job did what it should: the batch system's word first, then the exit code.
func (a *Attempt) verdict(end batch.Account, d *definition.Definition) error {
	switch end.Cause {
	case batch.TimeLimit:
		return failf(TimeLimit, "the job ran longer than its limit of %s", a.limit())
	case batch.Cancelled:
		return failf(string(definition.ClassSiteTransient), "the job was ended at the site%s", because(end.Reason))
	case batch.OutOfMemory:
		return failf(string(definition.ClassDefinition), "the job needed more memory than the %d MiB it had%s", a.lease.Resources.MemoryBytes>>20, because(end.Reason))
	case batch.NodeFailed:
		return failf(string(definition.ClassSiteTransient), "the machine that ran the job went away%s", because(end.Reason))
	case batch.Preempted:
		return failf(string(definition.ClassPreempted), "the job made room for another one%s", because(end.Reason))
	case batch.Exited:
		return a.verdictOfExit(end, d)
	}
	return failf(string(definition.ClassSiteTransient), "the job ended without a trace of how%s", because(end.Reason))
}

func because(reason string) string {
	if reason == "" {
		return ""
	}
	return ": " + reason
}

func (a *Attempt) verdictOfExit(end batch.Account, d *definition.Definition) error {
	code, what := end.ExitCode, fmt.Sprintf("the code ended with exit code %d", end.ExitCode)
	if end.Signal != 0 {
		code, what = 128+end.Signal, fmt.Sprintf("the code was ended by signal %s", unix.SignalName(syscall.Signal(end.Signal)))
	}
	if exit, err := batch.ReadExit(a.dir.meta()); err == nil && exit.Error != "" {
		return failf(string(definition.ClassSiteTransient), "the code could not be started at the site: %s", exit.Error)
	}
	class := d.ExitClass(code)
	if class == definition.ClassOK {
		return nil
	}
	if said := a.lastWords(); said != "" {
		what = said
	}
	return failf(string(class), "%s", what)
}

// lastWords is what the code said about its failure: $CONSORT_ERROR_FILE, else the last line on its
// standard error that is not blank.
func (a *Attempt) lastWords() string {
	if said := printable(readEnd(a.dir.file(errorFile), maxMessage, false)); said != "" {
		return said
	}
	lines := strings.Split(strings.TrimRight(string(readEnd(a.dir.file(stderrFile), maxMessage, true)), " \t\r\n"), "\n")
	return printable([]byte(lines[len(lines)-1]))
}

// readEnd reads the first or last bytes of a file that the code may have made into anything; nothing when it
// is no regular file.
func readEnd(path string, most int64, last bool) []byte {
	f, size, err := openRegular(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	if last && size > most {
		if _, err := f.Seek(size-most, io.SeekStart); err != nil {
			return nil
		}
	}
	data, err := io.ReadAll(io.LimitReader(f, most))
	if err != nil {
		return nil
	}
	return data
}

// errIrregular: a code put something else in the place of one of the attempt's files.
var errIrregular = errors.New("not a regular file")

// openRegular opens a regular file; it follows no link and waits for no pipe.
func openRegular(path string) (*os.File, int64, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s: %w", path, errIrregular)
	}
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, info.Size(), nil
}

// printable makes untrusted bytes fit for a message: valid UTF-8, no control characters, blanks trimmed.
func printable(data []byte) string {
	s := strings.ToValidUTF8(string(data), string(utf8.RuneError))
	s = strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return ' '
		case unicode.IsControl(r) || r == 0xFFFE || r == 0xFFFF:
			return -1
		}
		return r
	}, s)
	return strings.TrimSpace(s)
}

// ExitFile is how the job ended as far as its wrapper tells; false when the wrapper did not come to its end.
func (a *Attempt) ExitFile() (batch.Account, bool) {
	exit, err := batch.ReadExit(a.dir.meta())
	if err != nil {
		return batch.Account{}, false
	}
	return batch.Account{
		Ended: true, Cause: batch.Exited, ExitCode: exit.Code(), Signal: exit.Signal(), Reason: exit.Error,
		Start: exit.Start, End: exit.End, CPUSeconds: exit.CPU.Seconds(), Node: exit.Host,
	}, true
}
