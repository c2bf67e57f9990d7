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
	// Queued is when the job was handed over to be run.
	Queued  time.Time `json:"queued,omitzero"`
	Started time.Time `json:"started,omitzero"`
	Ended   time.Time `json:"ended,omitzero"`
	Quote   time.Time `json:"quote,omitzero"`
	// Duration is the execution duration in seconds; 0 means no limit.
	Duration   int64             `json:"duration,omitempty"`
	Parameters []ParameterRecord `json:"parameters,omitempty"`
	// Configs are the files that the code was given beside its inputs: those of the definition, its script among
	// them, and configuration files made for this job.
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
	// ReusedFrom is the earlier job whose results are this one's, which ran nothing itself.
	ReusedFrom string `json:"reused_from,omitempty"`
	// Internal is what the code told of its own provenance, in PROV-JSON, as it wrote it; InternalError says why
	// there is none to read although the log named provenance tells of one.
	Internal      []byte `json:"internal,omitempty"`
	InternalError string `json:"internal_error,omitempty"`
}

// DefinitionRecord describes the version of the job definition that the job ran.
type DefinitionRecord struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	// Digest is the SHA-256 of the definition and its files, in hexadecimal.
	Digest      string `json:"digest,omitempty"`
	Title       string `json:"title,omitempty"`
	Description string `json:"description,omitempty"`
	Type        string `json:"type,omitempty"`
	Subtype     string `json:"subtype,omitempty"`
	Doc         string `json:"doc,omitempty"`
	// CodeLicence and ResultsLicence are SPDX expressions.
	CodeLicence    string `json:"code_licence,omitempty"`
	ResultsLicence string `json:"results_licence,omitempty"`
	// Cite says what to cite, as in "doi:10.1000/182" or "bibcode:…".
	Cite       []string               `json:"cite,omitempty"`
	People     []PersonRecord         `json:"people,omitempty"`
	Software   []DependencyRecord     `json:"software,omitempty"`
	Configs    []ConfigDescription    `json:"configs,omitempty"`
	Parameters []ParameterDescription `json:"parameters,omitempty"`
	Inputs     []FileDescription      `json:"inputs,omitempty"`
	Outputs    []FileDescription      `json:"outputs,omitempty"`
}

// PersonRecord is a person related to a definition. Role is an agent role of ProvDM 1.0, such as Author.
type PersonRecord struct {
	Name    string `json:"name"`
	Role    string `json:"role,omitempty"`
	ORCID   string `json:"orcid,omitempty"`
	Contact bool   `json:"contact,omitempty"`
}

// DependencyRecord is a program that a code needs: of a definition the version wanted, as in ">=2.25", of an
// attempt the one that it had.
type DependencyRecord struct {
	Name    string `json:"name"`
	Version string `json:"version,omitempty"`
	// Image is a container image, Digest that of the image or of the program.
	Image  string `json:"image,omitempty"`
	Digest string `json:"digest,omitempty"`
}

// ConfigDescription is the ConfigFileDescription of ProvDM 1.0: a file that is made for each job from a
// template, or one of the definition's own files, which are the same for all jobs: scripts, tables, templates.
// SHA256 is that of the template or of the file.
type ConfigDescription struct {
	Name        string `json:"name"`
	ContentType string `json:"content_type,omitempty"`
	Template    string `json:"template,omitempty"`
	SHA256      string `json:"sha256,omitempty"`
	Script      bool   `json:"script,omitempty"`
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
// secret one, and a private one, Values is ignored, and should be empty: a private one is not for the eyes of who
// asks.
type ParameterRecord struct {
	Name    string   `json:"name"`
	Type    string   `json:"type,omitempty"`
	Values  []string `json:"values,omitempty"`
	Default bool     `json:"default,omitempty"`
	Secret  bool     `json:"secret,omitempty"`
	Private bool     `json:"private,omitempty"`
}

// ConfigRecord is a file that configured the code, as the code read it. Fixed tells that it is one of the
// definition's own, the same for all jobs; the script always is.
type ConfigRecord struct {
	Name   string `json:"name"`
	SHA256 string `json:"sha256,omitempty"`
	Size   *int64 `json:"size,omitempty"` // bytes
	Script bool   `json:"script,omitempty"`
	Fixed  bool   `json:"fixed,omitempty"`
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
	// Job and Result name a result of an earlier job; a member of a collection is <result>/<path>. Gone tells that the
	// job was deleted since, with all its files, and Deleted when, where that is known.
	Job     string    `json:"job,omitempty"`
	Result  string    `json:"result,omitempty"`
	Gone    bool      `json:"gone,omitempty"`
	Deleted time.Time `json:"deleted,omitzero"`
	// Path is where the code found it, below its working directory; empty: in a directory of several.
	Path string `json:"path,omitempty"`
	// Retracted is the retraction that stands, Withdrawn are those that do not any more.
	Retracted *RetractionRecord  `json:"retracted,omitempty"`
	Withdrawn []RetractionRecord `json:"withdrawn,omitempty"`
}

// RetractionRecord says that a file is not to be relied on any more, and by whom and why; where Withdrawn is set, that
// this holds no more.
type RetractionRecord struct {
	Time        time.Time `json:"time"`
	By          string    `json:"by,omitempty"` // the user
	Reason      string    `json:"reason,omitempty"`
	Withdrawn   time.Time `json:"withdrawn,omitzero"`
	WithdrawnBy string    `json:"withdrawn_by,omitempty"` // a user
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
	// Signal is the name of the signal that ended the code.
	Signal string `json:"signal,omitempty"`
	// Image is the digest of the container image, CPUSeconds, WallSeconds and MaxRSS (bytes) what was used.
	Image       string   `json:"image,omitempty"`
	CPUSeconds  *float64 `json:"cpu_seconds,omitempty"`
	WallSeconds *float64 `json:"wall_seconds,omitempty"`
	MaxRSS      int64    `json:"max_rss,omitempty"`
	Cores       int32    `json:"cores,omitempty"`
	// Software is what the code ran with, as the site tells.
	Software []DependencyRecord `json:"software,omitempty"`
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
	N         int    `json:"n"`
	Epoch     uint64 `json:"epoch"`
	Direction string `json:"direction"`
	Role      string `json:"role,omitempty"`
	Index     int    `json:"index,omitempty"`
	Protocol  string `json:"protocol,omitempty"`
	Bytes     int64  `json:"bytes"`
	Files     int64  `json:"files,omitempty"`
	// SHA256 is what the receiver computed of a single file.
	SHA256  string    `json:"sha256,omitempty"`
	Started time.Time `json:"started,omitzero"`
	Ended   time.Time `json:"ended,omitzero"`
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
	// Unlisted tells that members are left out of Members, not that there are none.
	Unlisted bool `json:"unlisted,omitempty"`
	// DerivedFrom lists the roles of the inputs that the definition declares this result to derive from.
	DerivedFrom []string           `json:"derived_from,omitempty"`
	Retracted   *RetractionRecord  `json:"retracted,omitempty"`
	Withdrawn   []RetractionRecord `json:"withdrawn,omitempty"`
}

// MemberRecord is a file of a collection, with its path inside it.
type MemberRecord struct {
	Path      string             `json:"path"`
	MediaType string             `json:"media_type,omitempty"`
	SHA256    string             `json:"sha256,omitempty"`
	Size      *int64             `json:"size,omitempty"` // bytes
	Retracted *RetractionRecord  `json:"retracted,omitempty"`
	Withdrawn []RetractionRecord `json:"withdrawn,omitempty"`
}

// LogRecord is a log of the job, under the result id stdout or stderr, or what its code told of its own
// provenance, under the result id provenance. FullSize is what the code wrote, where not all of it was kept.
type LogRecord struct {
	ID     string `json:"id"`
	SHA256 string `json:"sha256,omitempty"`
	Size   *int64 `json:"size,omitempty"` // bytes

	FullSize int64 `json:"full_size,omitempty"` // bytes
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
