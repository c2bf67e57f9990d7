// Package userapi holds the types of the JSON API at /api/v1 and, in client.go, the client library that the
// command line is built on. Creating, running, aborting and deleting jobs go by UWS (package uws); what UWS
// cannot say goes by this API.
package userapi

import "time"

// Job is a job as GET /api/v1/jobs/{id} tells it.
type Job struct {
	ID                string      `json:"id"`
	URL               string      `json:"url"` // its UWS document
	Definition        string      `json:"definition"`
	DefinitionVersion string      `json:"definitionVersion"`
	DefinitionDigest  string      `json:"definitionDigest"`
	Owner             string      `json:"owner,omitempty"`
	RunID             string      `json:"runId,omitempty"`
	Phase             string      `json:"phase"`
	Version           uint64      `json:"version"` // grows with each change
	Reason            string      `json:"reason,omitempty"`
	Error             *Error      `json:"error,omitempty"`
	Created           time.Time   `json:"created"`
	Queued            time.Time   `json:"queued,omitzero"`
	Started           time.Time   `json:"started,omitzero"`
	Ended             time.Time   `json:"ended,omitzero"`
	Destruction       time.Time   `json:"destruction,omitzero"`
	ExecutionSeconds  int64       `json:"executionSeconds"` // 0: unlimited
	Parameters        []Parameter `json:"parameters"`
	Inputs            []Input     `json:"inputs"`
	Results           []Result    `json:"results"`
	Attempts          []Attempt   `json:"attempts"`
	ReusedFrom        string      `json:"reusedFrom,omitempty"` // the job whose results it took over
}

// Summary is a job in a list.
type Summary struct {
	ID         string    `json:"id"`
	URL        string    `json:"url"`
	Definition string    `json:"definition"`
	Owner      string    `json:"owner,omitempty"`
	RunID      string    `json:"runId,omitempty"`
	Phase      string    `json:"phase"`
	Site       string    `json:"site,omitempty"`
	Created    time.Time `json:"created"`
	Started    time.Time `json:"started,omitzero"`
	Ended      time.Time `json:"ended,omitzero"`
	Reason     string    `json:"reason,omitempty"`
}

// JobList is a page of GET /api/v1/jobs, newest first. Query: definition, phase (repeatable), after (RFC
// 3339), limit (1–500, default 50), cursor.
type JobList struct {
	Jobs []Summary `json:"jobs"`
	Next string    `json:"next,omitempty"` // cursor of the next page; absent on the last
}

// Error says why a job ended in ERROR, or a request failed.
type Error struct {
	Class   string `json:"class"` // user, definition, site-transient, site-config, transfer, preempted, lost, quota
	Message string `json:"message"`
}

// Parameter is an effective value; Default tells that nobody gave it. A secret has no Values.
type Parameter struct {
	Name    string   `json:"name"`
	Values  []string `json:"values"`
	Default bool     `json:"default,omitempty"`
	Secret  bool     `json:"secret,omitempty"`
	Unit    string   `json:"unit,omitempty"`
}

// Input is a file the job reads.
type Input struct {
	Name        string `json:"name"`
	Source      string `json:"source"` // upload, job, url
	FileName    string `json:"fileName,omitempty"`
	SHA256      string `json:"sha256,omitempty"`
	Size        int64  `json:"size"`
	ContentType string `json:"contentType,omitempty"`
	FromJob     string `json:"fromJob,omitempty"`
	FromResult  string `json:"fromResult,omitempty"`
	FromURL     string `json:"fromUrl,omitempty"` // without what grants access; SHA256 and Size are what it answered with
	URL         string `json:"url"`               // where its bytes can be read
	// SameAs are results of jobs, up to 10 and as qualified names, that have the content of this upload.
	SameAs []string `json:"sameAs,omitempty"`
	// Retracted tells that it should not be used, and why.
	Retracted *ProvRetraction `json:"retracted,omitempty"`
}

// Result is an output. Of a collection the URL gives a VOTable of its members.
type Result struct {
	ID          string `json:"id"`
	URL         string `json:"url"`
	FileName    string `json:"fileName,omitempty"`
	ContentType string `json:"contentType,omitempty"`
	Size        int64  `json:"size"` // sum, of a collection
	SHA256      string `json:"sha256"`
	Collection  bool   `json:"collection,omitempty"`
	Files       int64  `json:"files,omitempty"`
}

// Member is one file of a collection: GET /api/v1/jobs/{id}/results/{result}/members?cursor=.
type Member struct {
	Path        string `json:"path"`
	URL         string `json:"url"`
	SHA256      string `json:"sha256"`
	Size        int64  `json:"size"`
	ContentType string `json:"contentType,omitempty"`
}

// MemberList is a page of members.
type MemberList struct {
	Members []Member `json:"members"`
	Next    string   `json:"next,omitempty"`
}

// Attempt is one try of a job at a site. Times are the leader's, those in Site* the site's.
type Attempt struct {
	Epoch       uint64    `json:"epoch"`
	Site        string    `json:"site"`
	State       string    `json:"state"`
	BatchSystem string    `json:"batchSystem,omitempty"`
	BatchID     string    `json:"batchId,omitempty"`
	Node        string    `json:"node,omitempty"`
	Leased      time.Time `json:"leased"`
	Running     time.Time `json:"running,omitzero"`
	Closed      time.Time `json:"closed,omitzero"`
	ExitCode    *int      `json:"exitCode,omitempty"`
	Signal      string    `json:"signal,omitempty"`
	Error       *Error    `json:"error,omitempty"`
	CPUSeconds  float64   `json:"cpuSeconds,omitempty"`
	MaxRSSBytes int64     `json:"maxRssBytes,omitempty"`
}

// Site is a member of the federation, as GET /api/v1/sites tells it.
type Site struct {
	Name     string    `json:"name"`
	Title    string    `json:"title,omitempty"`
	State    string    `json:"state"` // invited, enrolled, online, offline, revoked
	Batch    string    `json:"batch,omitempty"`
	Version  string    `json:"version,omitempty"` // of its agent
	Slots    int       `json:"slots,omitempty"`
	Free     int       `json:"free,omitempty"`
	Running  int       `json:"running"` // open attempts
	LastSeen time.Time `json:"lastSeen,omitzero"`
	Added    time.Time `json:"added"`
}

// SiteList answers GET /api/v1/sites.
type SiteList struct {
	Sites []Site `json:"sites"`
}

// AddSite is the body of POST /api/v1/sites.
type AddSite struct {
	Name  string `json:"name"`
	Title string `json:"title,omitempty"`
}

// Invitation answers AddSite: the one-time token, shown just once.
type Invitation struct {
	Site    string    `json:"site"`
	Token   string    `json:"token"`
	Expires time.Time `json:"expires"`
	Command string    `json:"command"` // what to paste at the site
}

// DefinitionSummary is one line of GET /api/v1/definitions; GET /api/v1/definitions/{name}[@version] gives
// a Definition.
type DefinitionSummary struct {
	Name      string    `json:"name"`
	Version   string    `json:"version"`
	Digest    string    `json:"digest"`
	Title     string    `json:"title,omitempty"`
	Aliases   []string  `json:"aliases,omitempty"`
	Published time.Time `json:"published"`
	URL       string    `json:"url"` // its UWS job list
}

// DefinitionList answers GET /api/v1/definitions. Problems are definitions that could not be read at the
// start, with file, line and key.
type DefinitionList struct {
	Definitions []DefinitionSummary `json:"definitions"`
	Problems    []string            `json:"problems,omitempty"`
}

// Definition is a whole job definition; Definition.Content has the type of package definition.
type Definition struct {
	DefinitionSummary
	Files   []DefinitionFile `json:"files"`
	Content any              `json:"content"` // the parsed definition
	Source  string           `json:"source"`  // definition.toml as published
}

// DefinitionFile is one file of a definition.
type DefinitionFile struct {
	Path   string `json:"path"`
	SHA256 string `json:"sha256"`
	Size   int64  `json:"size"`
}

// Problem is the body of every error of the JSON API: application/problem+json (RFC 9457), with a stable
// code.
type Problem struct {
	Type      string `json:"type"`
	Title     string `json:"title"`
	Status    int    `json:"status"`
	Detail    string `json:"detail"`
	Code      string `json:"code"` // not-found, forbidden, illegal-phase, invalid, conflict, too-large, busy, unknown …
	RequestID string `json:"requestId,omitempty"`

	// RetryAfter is what the header of that name asked for; clients only.
	RetryAfter time.Duration `json:"-"`
}

// Error makes a Problem an error.
func (p *Problem) Error() string {
	if p.Detail != "" {
		return p.Detail
	}
	return p.Title
}

// Version answers GET /api/v1/version.
type Version struct {
	Version   string `json:"version"`
	ClusterID string `json:"clusterId"`
	Authority string `json:"authority"`
}

// LogWindow describes GET /api/v1/jobs/{id}/logs/{stream}?offset=N: the body is the bytes from offset on,
// at most 1 MiB; the headers say where to go on. With wait=S (at most 50) an empty answer is held until
// there is more or the log is complete.
const (
	LogNextHeader     = "Consort-Log-Next"     // the offset to ask for next
	LogCompleteHeader = "Consort-Log-Complete" // "true" when nothing more will come
	LogEpochHeader    = "Consort-Log-Epoch"    // the attempt whose log it is; a retry has a log of its own
	LogFirstHeader    = "Consort-Log-First"    // the first offset still kept, while the job runs
)
