package userapi

import "time"

// ProvNode is a job or a file in a lineage. A redacted one tells only its id, which means something to the caller
// alone, and by its prefix whether it is a job or an entity.
type ProvNode struct {
	ID   string    `json:"id"`   // qualified name
	Kind string    `json:"kind"` // job, file, redacted
	Job  *ProvJob  `json:"job,omitempty"`
	File *ProvFile `json:"file,omitempty"`
}

// The kinds of a ProvNode.
const (
	ProvKindJob      = "job"
	ProvKindFile     = "file"
	ProvKindRedacted = "redacted"
)

// ProvJob is what lists of provenance show of a job.
type ProvJob struct {
	ID         string    `json:"id"`
	URL        string    `json:"url,omitempty"` // absent for a deleted job
	Definition string    `json:"definition,omitempty"`
	Version    string    `json:"definitionVersion,omitempty"`
	Phase      string    `json:"phase,omitempty"`
	Owner      string    `json:"owner,omitempty"`
	Site       string    `json:"site,omitempty"`
	Created    time.Time `json:"created,omitzero"`
	Started    time.Time `json:"started,omitzero"`
	Ended      time.Time `json:"ended,omitzero"`
	Deleted    bool      `json:"deleted,omitempty"`
	ReusedFrom string    `json:"reusedFrom,omitempty"` // the job whose results it took over
}

// ProvFile is what lists of provenance show of a file. Job and Result tell which job made it, as which result, with
// "/" and the path for a file of a collection; other files were uploaded, or came from a URL.
type ProvFile struct {
	Name       string          `json:"name,omitempty"`
	SHA256     string          `json:"sha256,omitempty"`
	Size       int64           `json:"size"`
	MediaType  string          `json:"contentType,omitempty"`
	Collection bool            `json:"collection,omitempty"`
	Job        string          `json:"job,omitempty"`
	Result     string          `json:"result,omitempty"`
	Upload     string          `json:"upload,omitempty"`
	URL        string          `json:"url,omitempty"`
	Retracted  *ProvRetraction `json:"retracted,omitempty"`
	SameAs     []string        `json:"sameAs,omitempty"` // other entities of the same content
}

// ProvRetraction says that a file should not be used, and why.
type ProvRetraction struct {
	Entity string    `json:"entity"`
	Time   time.Time `json:"time"`
	By     string    `json:"by,omitempty"`
	Reason string    `json:"reason"`
}

// ProvEdge goes from the effect to the cause: used from a job to a file, wasGeneratedBy from a file to a job; hadMember
// from a collection to a file of it, sameContent between equal files, cachedFrom from a job to the one whose results
// it took over.
type ProvEdge struct {
	From     string `json:"from"`
	To       string `json:"to"`
	Relation string `json:"relation"`
	Role     string `json:"role,omitempty"`
}

// Lineage answers GET /api/v1/provenance/lineage?id=. Query: direction (back, forth, both), depth (relations; all),
// limit (of jobs), cursor, same (true goes on through equal content).
type Lineage struct {
	Focus     string     `json:"focus"`
	Nodes     []ProvNode `json:"nodes"`
	Edges     []ProvEdge `json:"edges"`
	Truncated bool       `json:"truncated,omitempty"`
	Next      string     `json:"next,omitempty"`
}

// ProvUse is a job that used a file, and the role it had there.
type ProvUse struct {
	ProvNode
	Role string `json:"role,omitempty"`
}

// ProvUses is a page of GET /api/v1/provenance/users?id=, newest first. Query: limit, cursor.
type ProvUses struct {
	Users []ProvUse `json:"users"`
	Next  string    `json:"next,omitempty"`
}

// ProvContent is a page of GET /api/v1/provenance/content/{sha256}: the entities of that content.
type ProvContent struct {
	Entities []ProvNode `json:"entities"`
	Next     string     `json:"next,omitempty"`
}

// ProvJobs is a page of GET /api/v1/provenance/jobs, newest first, of jobs that have ended. Query: definition,
// version, image, software, parameter and value, site, owner, since, until, limit, cursor. Computed jobs come alike.
type ProvJobs struct {
	Jobs []ProvJob `json:"jobs"`
	Next string    `json:"next,omitempty"`
}

// ProvDiff answers GET /api/v1/provenance/diff?a=&b=.
type ProvDiff struct {
	A     string         `json:"a"`
	B     string         `json:"b"`
	Same  bool           `json:"same"`
	Lines []ProvDiffLine `json:"lines"`
}

// ProvDiffLine is one fact of two jobs; a side that lacks it is empty.
type ProvDiffLine struct {
	Section string   `json:"section"` // definition, parameter, input, output, run
	Name    string   `json:"name"`
	A       []string `json:"a"`
	B       []string `json:"b"`
	Same    bool     `json:"same"`
	// Data tells how alike two outputs are whose bytes were fetched and compared; clients set it.
	Data string `json:"data,omitempty"`
}

// ProvReport answers GET /api/v1/provenance/verify/{job}.
type ProvReport struct {
	Job    string      `json:"job"`
	OK     bool        `json:"ok"`
	Checks []ProvCheck `json:"checks"`
}

// ProvCheck is one line of a ProvReport. A remark tells what a reader should know though all is in order, such as
// that an input was retracted.
type ProvCheck struct {
	What   string `json:"what"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail,omitempty"`
	Remark bool   `json:"remark,omitempty"`
}

// ProvImpact answers GET /api/v1/provenance/impact?id=: what came of a file. Query: limit, cursor. Owners are told to
// operators only; jobs that the caller may not read are counted.
type ProvImpact struct {
	Entity        string          `json:"entity"`
	Retracted     *ProvRetraction `json:"retracted,omitempty"`
	Same          []ProvNode      `json:"same,omitempty"` // other files of the same content, up to 100; what came of them is not told here
	SameMore      bool            `json:"sameMore,omitempty"`
	Jobs          []ProvAffected  `json:"jobs"`
	JobCount      int             `json:"jobCount"`
	ResultCount   int             `json:"resultCount"`
	HiddenJobs    int             `json:"hiddenJobs"`
	HiddenResults int             `json:"hiddenResults"`
	Truncated     bool            `json:"truncated,omitempty"`
	Next          string          `json:"next,omitempty"`
}

// ProvAffected is a job that descends from a file.
type ProvAffected struct {
	ProvJob
	Steps   int      `json:"steps"` // jobs from the file to this one
	Results []string `json:"results"`
}

// ProvRetractions is a page of GET /api/v1/provenance/retractions.
type ProvRetractions struct {
	Retractions []ProvRetraction `json:"retractions"`
	Next        string           `json:"next,omitempty"`
}

// Retract is the body of POST /api/v1/provenance/retractions. Withdraw takes a retraction back.
type Retract struct {
	Entity   string `json:"entity"`
	Reason   string `json:"reason"`
	Withdraw bool   `json:"withdraw,omitempty"`
}

// Retracted answers POST /api/v1/provenance/retractions when the file was retracted already: since when, by whom and
// why. Else there is no content.
type Retracted struct {
	Message string `json:"message"`
}

// Relation types (RFC 8288, section 3.3) of Link headers of our own.
const (
	// RelComputed leads from the answer to a creation to an earlier job of which the same was asked.
	RelComputed = "https://w3id.org/consort/prov#alreadyComputed"
	// RelRetracted leads from the answer to a creation, or to a change of inputs, to what is known of a file given that
	// is retracted: /provsap?ID= and its identifier.
	RelRetracted = "https://w3id.org/consort/prov#retracted"
	// RelProvenance and RelQueryService are those of W3C PROV-AQ, section 3.1: from a file to its provenance, and to
	// where one can ask for more.
	RelProvenance   = "http://www.w3.org/ns/prov#has_provenance"
	RelQueryService = "http://www.w3.org/ns/prov#has_query_service"
)

// OverflowHeader tells, with the value OVERFLOW, that an answer of /provsap or /prov/tables is a part; a Link of
// relation next leads to more.
const OverflowHeader = "Consort-Query-Status"
