package content

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"consort/shared/ids"
)

// Limits of an uploaded file's path.
const (
	MaxPath  = 1024 // bytes of the whole path below the attempt's directory
	MaxName  = 255  // bytes of one component, as file systems have it
	MaxDepth = 32   // components
)

// ErrBadPath says that a path may not be used for an upload; the text around it says why.
var ErrBadPath = errors.New("path not allowed")

// CheckPath tells why p may not name a file below an attempt's directory: it must be relative, clean and
// UTF-8 without control characters, and within MaxPath, MaxName and MaxDepth. Any allowed path stays
// inside the directory it is joined to.
func CheckPath(p string) error {
	if p == "" || len(p) > MaxPath {
		return fmt.Errorf("want 1 to %d bytes, got %d: %w", MaxPath, len(p), ErrBadPath)
	}
	if !utf8.ValidString(p) {
		return fmt.Errorf("not UTF-8: %w", ErrBadPath)
	}
	if i := strings.IndexFunc(p, func(r rune) bool { return r < 0x20 || 0x7f <= r && r < 0xa0 }); i >= 0 {
		return fmt.Errorf("control character at byte %d: %w", i, ErrBadPath)
	}
	depth := 0
	for name := range strings.SplitSeq(p, "/") {
		if depth++; depth > MaxDepth {
			return fmt.Errorf("more than %d directories deep: %w", MaxDepth, ErrBadPath)
		}
		if name == "" || name == "." || name == ".." {
			return fmt.Errorf("component %q: %w", name, ErrBadPath)
		}
		if len(name) > MaxName {
			return fmt.Errorf("component of %d bytes, at most %d: %w", len(name), MaxName, ErrBadPath)
		}
	}
	return nil
}

// target is a parsed SFTP path /<job>/<epoch>[/<rel>].
type target struct {
	job   string // "" for the root directory
	epoch uint64 // 0 for the job's directory
	rel   string // "" for the attempt's own directory
}

// parseTarget parses an absolute path as a client sends it. The root and a job's directory parse too:
// clients look at them on their way down.
func parseTarget(p string) (target, error) {
	rest, ok := strings.CutPrefix(p, "/")
	if !ok {
		return target{}, fmt.Errorf("want /<job>/<epoch>/<path>: %w", ErrBadPath)
	}
	if rest == "" {
		return target{}, nil
	}
	job, rest, below := strings.Cut(rest, "/")
	if !ids.ValidJob(job) {
		return target{}, fmt.Errorf("want /<job>/<epoch>/<path>: not a job id: %w", ErrBadPath)
	}
	if !below {
		return target{job: job}, nil
	}
	number, rel, below := strings.Cut(rest, "/")
	epoch, err := strconv.ParseUint(number, 10, 64)
	if err != nil || epoch == 0 || strconv.FormatUint(epoch, 10) != number {
		return target{}, fmt.Errorf("want /<job>/<epoch>/<path>: not an epoch: %w", ErrBadPath)
	}
	if !below {
		return target{job: job, epoch: epoch}, nil
	}
	if err := CheckPath(rel); err != nil {
		return target{}, err
	}
	return target{job: job, epoch: epoch, rel: rel}, nil
}
