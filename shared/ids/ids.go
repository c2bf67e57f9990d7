// Package ids makes and checks the identifiers that Consort gives away for ever: job ids, names of
// definitions and sites, and content digests. It holds no state and reads no configuration.
//
// Identifiers are permanent from the first job (DESIGN section 6), so the rules here may be widened
// but never narrowed.
package ids

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"
)

// JobLen is the length in bytes of every job id.
const JobLen = 27

// MaxName is the greatest length in bytes of a definition's or a site's name.
const MaxName = 48

var (
	namePattern    = regexp.MustCompile(`^[a-z][a-z0-9]*(-[a-z0-9]+)*$`)
	versionPattern = regexp.MustCompile(`^(0|[1-9][0-9]{0,8})(\.(0|[1-9][0-9]{0,8})){0,2}$`)
	fieldPattern   = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_]{0,63}$`)
)

// NewJob returns a fresh job id: "j" and the 26 lower-case Crockford base32 characters of a ULID whose
// random part comes from crypto/rand. The order of jobs is their creation time, never their id.
func NewJob(now time.Time) string { return "j" + newULID(now) }

// NewKey returns a fresh random key, for requests that came without an Idempotency-Key.
func NewKey() string { return rand.Text() }

func newULID(now time.Time) string {
	id, err := ulid.New(ulid.Timestamp(now), rand.Reader)
	if err != nil { // only a clock past the year 10889 or a broken crypto/rand
		panic(fmt.Sprintf("ids: cannot make an id: %v", err))
	}
	return strings.ToLower(id.String())
}

// base32 are the digits of a ULID: Crockford's, in lower case.
const base32 = "0123456789abcdefghjkmnpqrstvwxyz"

// ValidJob tells whether s has the form of a job id. It is asked at every step through the lineage.
func ValidJob(s string) bool {
	if len(s) != JobLen || s[0] != 'j' || s[1] > '7' { // a ULID has 128 bits, 26 digits 130
		return false
	}
	for i := 1; i < len(s); i++ {
		if strings.IndexByte(base32, s[i]) < 0 {
			return false
		}
	}
	return true
}

// ValidName tells whether s may name a definition or a site: [a-z][a-z0-9]*(-[a-z0-9]+)*, at most
// MaxName bytes.
func ValidName(s string) bool { return len(s) <= MaxName && namePattern.MatchString(s) }

// ValidVersion tells whether s is a definition's version: one to three numbers, as in "1.2.0".
func ValidVersion(s string) bool { return versionPattern.MatchString(s) }

// ValidField tells whether s may name a parameter, an input or an output:
// [A-Za-z][A-Za-z0-9_]*, at most 64 bytes.
func ValidField(s string) bool { return fieldPattern.MatchString(s) }

// ValidSHA256 tells whether s is a SHA-256 in 64 lower-case hexadecimal digits.
func ValidSHA256(s string) bool {
	if len(s) != 64 || strings.ToLower(s) != s {
		return false
	}
	_, err := hex.DecodeString(s)
	return err == nil
}

// BatchName is the name of an attempt's job in a batch system that takes long names.
func BatchName(job string, epoch uint64) string { return fmt.Sprintf("consort-%s-%d", job, epoch) }

// NewUpload returns a fresh id for an upload: a ULID in lower case.
func NewUpload(now time.Time) string { return newULID(now) }
