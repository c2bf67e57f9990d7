package uws

import (
	"math"
	"time"

	"consort/shared/xmltext"
)

// Namespaces and media types of the documents.
const (
	Namespace     = "http://www.ivoa.net/xml/UWS/v1.0" // stays v1.0 in UWS 1.1
	InfoNamespace = "https://w3id.org/consort/prov#"   // of the elements inside jobInfo
	ContentType   = "text/xml; charset=utf-8"          // of the XML documents
	AtomType      = "text/plain; charset=utf-8"        // of phase, quote, destruction …
)

const (
	xlinkNamespace = "http://www.w3.org/1999/xlink"
	xsiNamespace   = "http://www.w3.org/2001/XMLSchema-instance"
)

// Job is what the job document shows (UWS 1.1, section 2.2.2). Times are written in UTC with
// microseconds; a zero time is written as xsi:nil.
type Job struct {
	ID                string
	RunID             string // the client's label; left out when empty
	OwnerID           string // empty: anonymous, xsi:nil
	Phase             Phase
	Quote             time.Time // when the job is likely to complete; zero: not known
	CreationTime      time.Time // required
	StartTime         time.Time // zero: not started
	EndTime           time.Time // zero: not ended
	ExecutionDuration int32     // seconds; 0 = unlimited
	Destruction       time.Time // zero: never
	Parameters        []Parameter
	Results           []Result
	Error             *ErrorSummary // nil: no error
	Info              *JobInfo      // nil: no jobInfo
}

// JobRef is one entry of a job list.
type JobRef struct {
	ID           string
	Href         string // absolute URL of the job
	Phase        Phase
	RunID        string    // left out when empty
	OwnerID      string    // empty: anonymous, xsi:nil
	CreationTime time.Time // zero: left out
}

// Parameter is one parameter of a job.
type Parameter struct {
	ID          string
	Value       string // the value, or the URL of the value where ByReference
	ByReference bool   // must be set where LegalXML refuses the value
	IsPost      bool   // the value is the whole body of the creating POST
}

// Result refers to one result of a job.
type Result struct {
	ID       string
	Href     string // absolute URL
	MimeType string // left out when empty
	Size     int64  // bytes; negative: not known, left out
}

// ErrorType says whether trying the same job again may help.
type ErrorType string

// The error types of UWS 1.1.
const (
	Transient ErrorType = "transient"
	Fatal     ErrorType = "fatal"
)

// ErrorSummary says why a job failed.
type ErrorSummary struct {
	Type      ErrorType // anything but Transient is written as fatal
	HasDetail bool      // {job}/error has more
	Message   string
}

// JobInfo is what Consort tells beyond the standard, as elements of InfoNamespace inside jobInfo. Zero
// fields are left out.
type JobInfo struct {
	Definition           string    // name@version that runs
	Site                 string    // the site of the current or last attempt
	Epoch                uint64    // number of that attempt, from 1
	Attempt              string    // its state: leased, staging, submitted …
	Reason               string    // why the job is in its phase, in words for people
	SiteUnreachableSince time.Time // set while the site is out of contact
}

// LegalXML tells whether a parameter's value can stand in a document. Where not, it must be given by
// reference (UWS 1.1, section 2.1.11); the writers would replace what is illegal by U+FFFD.
func LegalXML(value string) bool { return xmltext.Legal(value) }

// FormatTime writes t in UTC as YYYY-MM-DDThh:mm:ss.ffffffZ, always with six digits, so that the texts
// sort as the times do and what is compared (AFTER) is what was shown. t must lie in the years 1 to 9999.
func FormatTime(t time.Time) string { return string(AppendTime(nil, t)) }

// AppendTime appends FormatTime(t) to dst.
func AppendTime(dst []byte, t time.Time) []byte { return t.UTC().AppendFormat(dst, timeLayout) }

const timeLayout = "2006-01-02T15:04:05.000000Z"

// Seconds gives d as an executionDuration: whole seconds, rounded up so that no time is taken away, at
// most what xs:int holds, 0 (unlimited) for d <= 0.
func Seconds(d time.Duration) int32 {
	if d <= 0 {
		return 0
	}
	s := (d-1)/time.Second + 1
	return int32(min(s, math.MaxInt32))
}
