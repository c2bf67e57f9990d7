package prov

import "time"

// JobRecord is what is known about one job. It holds relative names only, so that it outlives every change
// of addresses, and never the value of a secret parameter. Zero fields are facts not known, or erased: the
// graph leaves them out. Times on the job are the coordinators', those in attempts and transfers the site's.
type JobRecord struct {
	Job        string           `json:"job"`
	RunID      string           `json:"run_id,omitempty"`
	Definition DefinitionRecord `json:"definition"`
	// Owner is the user who created the job; without one the job is anonymous.
	Owner UserRecord `json:"owner,omitzero"`
	// Phase is the phase of UWS 1.1.
	Phase   string    `json:"phase"`
	Created time.Time `json:"created,omitzero"`
	Started time.Time `json:"started,omitzero"`
	Ended   time.Time `json:"ended,omitzero"`
	Quote   time.Time `json:"quote,omitzero"`
	// Duration is the execution duration in seconds; 0 means no limit.
	Duration   int64             `json:"duration,omitempty"`
	Parameters []ParameterRecord `json:"parameters,omitempty"`
	// Configs are the script and the rendered configuration files that the code was given.
	Configs    []ConfigRecord   `json:"configs,omitempty"`
	Inputs     []InputRecord    `json:"inputs,omitempty"`
	Attempts   []AttemptRecord  `json:"attempts,omitempty"`
	Transfers  []TransferRecord `json:"transfers,omitempty"`
	Results    []ResultRecord   `json:"results,omitempty"`
	Logs       []LogRecord      `json:"logs,omitempty"`
	Controller SoftwareRecord   `json:"controller,omitzero"`
	Error      *ErrorRecord     `json:"error,omitempty"`
	// Destroyed is when the files of the job went; the reason says why.
	Destroyed time.Time `json:"destroyed,omitzero"`
	Reason    string    `json:"reason,omitempty"`
}

// DefinitionRecord describes the version of the job definition that the job ran.
type DefinitionRecord struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	// Digest is the SHA-256 of the definition and its files, in hexadecimal.
	Digest      string                 `json:"digest,omitempty"`
	Title       string                 `json:"title,omitempty"`
	Description string                 `json:"description,omitempty"`
	Type        string                 `json:"type,omitempty"`
	Subtype     string                 `json:"subtype,omitempty"`
	Doc         string                 `json:"doc,omitempty"`
	Parameters  []ParameterDescription `json:"parameters,omitempty"`
	Inputs      []FileDescription      `json:"inputs,omitempty"`
	Outputs     []FileDescription      `json:"outputs,omitempty"`
}

// ParameterDescription is the ParameterDescription of ProvDM 1.0. Numbers are kept as text.
type ParameterDescription struct {
	Name        string   `json:"name"`
	Type        string   `json:"type"`
	Description string   `json:"description,omitempty"`
	Unit        string   `json:"unit,omitempty"`
	UCD         string   `json:"ucd,omitempty"`
	Utype       string   `json:"utype,omitempty"`
	Min         string   `json:"min,omitempty"`
	Max         string   `json:"max,omitempty"`
	Options     []string `json:"options,omitempty"`
	Default     *string  `json:"default,omitempty"`
	Secret      bool     `json:"secret,omitempty"`
}

// FileDescription is the UsageDescription of an input or the GenerationDescription of an output (ProvDM
// 1.0). Usage is its type, such as Main or Log.
type FileDescription struct {
	Role         string   `json:"role"`
	Usage        string   `json:"usage,omitempty"`
	Description  string   `json:"description,omitempty"`
	Multiplicity string   `json:"multiplicity,omitempty"`
	ContentTypes []string `json:"content_types,omitempty"`
}

// UserRecord is a person. Name and ORCID are given by their own consent only.
type UserRecord struct {
	ID    string `json:"id,omitempty"`
	Name  string `json:"name,omitempty"`
	ORCID string `json:"orcid,omitempty"`
}

// ParameterRecord is a parameter as the job had it: given, or by default. Type is the definition's
// (boolean, int, long, float, double, string, uri); several values mean a parameter given repeatedly. For a
// secret one Values is ignored, and should be empty.
type ParameterRecord struct {
	Name    string   `json:"name"`
	Type    string   `json:"type,omitempty"`
	Values  []string `json:"values,omitempty"`
	Default bool     `json:"default,omitempty"`
	Secret  bool     `json:"secret,omitempty"`
}

// ConfigRecord is a configuration file as the code read it, or the script.
type ConfigRecord struct {
	Name   string `json:"name"`
	SHA256 string `json:"sha256,omitempty"`
	Size   *int64 `json:"size,omitempty"` // bytes
	Script bool   `json:"script,omitempty"`
}

// InputRecord is a file asked for as an input. Exactly one of Upload, URL, Job says where it came from.
type InputRecord struct {
	Role      string `json:"role"`
	SHA256    string `json:"sha256,omitempty"`
	Size      *int64 `json:"size,omitempty"` // bytes
	MediaType string `json:"media_type,omitempty"`
	// Upload is the id of an uploaded file, Name the file name it came with.
	Upload string `json:"upload,omitempty"`
	Name   string `json:"name,omitempty"`
	URL    string `json:"url,omitempty"`
	// Job and Result name a result of an earlier job; a member of a collection is <result>/<path>.
	Job    string `json:"job,omitempty"`
	Result string `json:"result,omitempty"`
}

// AttemptRecord is one try of the job at one site.
type AttemptRecord struct {
	Epoch uint64         `json:"epoch"`
	Site  string         `json:"site,omitempty"`
	Agent SoftwareRecord `json:"agent,omitzero"`
	// Batch is the batch system, such as slurm; BatchID is the job's id in it.
	Batch   string `json:"batch,omitempty"`
	BatchID string `json:"batch_id,omitempty"`
	Node    string `json:"node,omitempty"`
	// Leased is the coordinators' time, the others are the site's.
	Leased    time.Time `json:"leased,omitzero"`
	Submitted time.Time `json:"submitted,omitzero"`
	Started   time.Time `json:"started,omitzero"`
	Ended     time.Time `json:"ended,omitzero"`
	// Outcome is committed, failed, lost or cancelled; empty while the attempt goes on.
	Outcome string       `json:"outcome,omitempty"`
	Exit    *int32       `json:"exit,omitempty"`
	Error   *ErrorRecord `json:"error,omitempty"`
	// Image is the digest of the container image, CPUSeconds and MaxRSS (bytes) what was used.
	Image      string   `json:"image,omitempty"`
	CPUSeconds *float64 `json:"cpu_seconds,omitempty"`
	MaxRSS     int64    `json:"max_rss,omitempty"`
	Cores      int32    `json:"cores,omitempty"`
}

// OutcomeCommitted is the outcome of the attempt whose results are the job's.
const OutcomeCommitted = "committed"

// The directions of a transfer.
const (
	TransferIn  = "in"
	TransferOut = "out"
)

// TransferRecord is one movement of files for an attempt: of an input to the site (Role is the input's
// role, and Index its place, from 1, among several inputs of that role), or of results from it (Role is a
// result id; empty: of all).
type TransferRecord struct {
	// N counts the transfers of a job from 1.
	N         int       `json:"n"`
	Epoch     uint64    `json:"epoch"`
	Direction string    `json:"direction"`
	Role      string    `json:"role,omitempty"`
	Index     int       `json:"index,omitempty"`
	Protocol  string    `json:"protocol,omitempty"`
	Bytes     int64     `json:"bytes"`
	Files     int64     `json:"files,omitempty"`
	Started   time.Time `json:"started,omitzero"`
	Ended     time.Time `json:"ended,omitzero"`
	// Failed tells that nothing useful arrived.
	Failed bool `json:"failed,omitempty"`
}

// ResultRecord is a result of the job. A collection has Members, and itself neither digest nor size of its
// own unless the manifest gives them.
type ResultRecord struct {
	ID         string         `json:"id"`
	Name       string         `json:"name,omitempty"`
	MediaType  string         `json:"media_type,omitempty"`
	SHA256     string         `json:"sha256,omitempty"`
	Size       *int64         `json:"size,omitempty"` // bytes
	Collection bool           `json:"collection,omitempty"`
	Members    []MemberRecord `json:"members,omitempty"`
	// DerivedFrom lists the roles of the inputs that the definition declares this result to derive from.
	DerivedFrom []string `json:"derived_from,omitempty"`
}

// MemberRecord is a file of a collection, with its path inside it.
type MemberRecord struct {
	Path      string `json:"path"`
	MediaType string `json:"media_type,omitempty"`
	SHA256    string `json:"sha256,omitempty"`
	Size      *int64 `json:"size,omitempty"` // bytes
}

// LogRecord is a log of the job, under the result id stdout or stderr.
type LogRecord struct {
	ID     string `json:"id"`
	SHA256 string `json:"sha256,omitempty"`
	Size   *int64 `json:"size,omitempty"` // bytes
}

// SoftwareRecord is a program and its version.
type SoftwareRecord struct {
	Name    string `json:"name,omitempty"`
	Version string `json:"version,omitempty"`
}

// ErrorRecord says why a job or an attempt did not succeed. Class is an error class such as user or
// site-transient.
type ErrorRecord struct {
	Class   string `json:"class,omitempty"`
	Message string `json:"message,omitempty"`
}
