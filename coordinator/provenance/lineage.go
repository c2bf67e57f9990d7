package provenance

import (
	"context"
	"time"

	"consort/coordinator/auth"
)

// LineageQuery asks for ancestors or descendants. See Query for its fields.
type LineageQuery struct {
	ID        string
	Direction Direction
	Depth     int
	Limit     int // of jobs; 0 and more than MaxLineage count as MaxLineage
	Cursor    string
	Same      bool
}

// MaxLineage is the greatest number of jobs in one Lineage.
const MaxLineage = 10_000

// Lineage is jobs and files, and how they hang together; it is read from the indexes alone.
type Lineage struct {
	Focus     string // the node asked for
	Nodes     []Node
	Edges     []Edge
	Truncated bool
	Next      string
}

// The kinds of a Node.
const (
	KindJob      = "job"
	KindFile     = "file"
	KindRedacted = "redacted"
)

// Node is a job or a file. Of a redacted one only the id is told, which tells jobs and entities apart.
type Node struct {
	ID   string // qualified name
	Kind string
	Job  *JobInfo
	File *FileInfo
}

// JobInfo is what lists show of a job. Of a deleted one little is left.
type JobInfo struct {
	ID, Definition, Version, Phase, Owner, Site string
	Created, Started, Ended                     time.Time
	Deleted                                     bool
	ReusedFrom                                  string // the job whose results it took over
}

// FileInfo is what lists show of a file.
type FileInfo struct {
	SHA256          string
	Size            int64
	MediaType, Name string
	Collection      bool
	// Job and Result tell which job made it, as which result, with "/" and the path for a member of a
	// collection. Others are an upload or come from a URL.
	Job, Result, Upload, URL string
	Retracted                *Retraction
	// SameAs are up to 10 other entities of the same content, for files that no job made.
	SameAs []string
}

// Retraction is what was said of a result that should not be used.
type Retraction struct {
	Entity string // qualified name
	Time   time.Time
	By     string
	Reason string
}

// The relations of an Edge.
const (
	Used        = "used"
	GeneratedBy = "wasGeneratedBy"
	MemberOf    = "hadMember"
	SameContent = "sameContent"
	CachedFrom  = "cachedFrom"
)

// Edge goes from the effect to the cause: from a job to what it used, from a result to the job that made it.
// A hadMember edge goes from the collection to the file.
type Edge struct {
	From, To string
	Relation string
	Role     string
}

// Lineage finds ancestors or descendants of a job or a file.
func (s *Service) Lineage(ctx context.Context, p auth.Principal, q LineageQuery) (*Lineage, error) {
	return nil, ErrNotFound
}
