// Package siteapi holds the messages between a site's agent and the coordinators: plain JSON over HTTPS,
// always asked by the agent. It is not a client and not a server; agent/client and coordinator/api/sites
// are. The state of an attempt is told level-triggered: a lost answer costs nothing, because the next poll
// compares everything again.
package siteapi

import (
	"fmt"
	"time"
)

// Protocol is the version of these messages. A coordinator accepts Protocol and the one before it.
const Protocol = 1

// Paths of the site API, below the coordinator's base URL. Attempts stand at AttemptPath.
const (
	EnrolPath = "/sites/v1/enrol" // POST EnrolRequest -> Enrolment
	PollPath  = "/sites/v1/poll"  // POST PollRequest -> PollResponse
)

// AttemptPath is the base of everything that concerns one attempt:
//
//	POST  …/report    Report        -> Answer
//	GET   …/content/<sha256>        -> the bytes of an input or of a file of the definition; Range works
//	POST  …/offsets   OffsetRequest -> OffsetResponse
//	POST  …/seal      SealRequest   -> SealResponse
//	POST  …/manifest  ManifestPart  -> Answer
//	POST  …/commit    CommitRequest -> Answer
//	POST  …/fail      FailRequest   -> Answer
//	POST  …/close     CloseRequest  -> Answer
//	PUT   …/logs/<stream>?full_size=N     -> StoredLog   the final log, raw bytes
//	POST  …/logs/<stream>/live?offset=N   -> LiveAnswer  a chunk of at most MaxLiveChunk bytes while somebody watches
func AttemptPath(job string, epoch uint64) string {
	return fmt.Sprintf("/sites/v1/attempts/%s/%d", job, epoch)
}

// Limits of the protocol.
const (
	MaxPollWait     = 50 * time.Second // how long a coordinator holds a poll
	MaxManifestPart = 300              // files in one ManifestPart
	MaxSealFiles    = 100_000          // files in one SealRequest, which names all of an attempt
	MaxOffsetPaths  = 1000             // paths in one OffsetRequest
	MaxLiveChunk    = 256 << 10        // bytes of one live log chunk
	MaxLog          = 64 << 20         // bytes of one stored log; of a longer one the first and last halves are kept
	MaxProvenance   = 8 << 20          // bytes of a LogProvenance; nothing of a longer one is kept
	MaxConfigs      = 100              // configuration files that facts tell of
	TokenLife       = 2 * time.Minute  // life of the JWT an agent signs
)

// EnrolRequest redeems a one-time token and hands the site's public key in.
type EnrolRequest struct {
	Protocol  int    `json:"protocol"`
	Token     string `json:"token"`
	PublicKey []byte `json:"publicKey"`      // Ed25519, 32 bytes
	Site      string `json:"site,omitempty"` // the name the administrator expects; a mismatch is refused
	Version   string `json:"version"`        // of the agent
}

// Enrolment answers an EnrolRequest; the agent keeps it in its configuration.
type Enrolment struct {
	Protocol  int       `json:"protocol"`
	Site      string    `json:"site"`
	ClusterID string    `json:"clusterId"`
	Authority string    `json:"authority"`
	SFTP      []SFTP    `json:"sftp"`
	Time      time.Time `json:"time"`
}

// SFTP is an address outputs are pushed to, with the host key to pin.
type SFTP struct {
	Address string `json:"address"` // host:port
	HostKey string `json:"hostKey"` // authorized_keys form: "ssh-ed25519 AAAA…"
}

// PollRequest tells the coordinator all there is to know about a site.
type PollRequest struct {
	Protocol int           `json:"protocol"`
	Boot     string        `json:"boot"` // random, new at each start of the agent; a newer boot fences an older one
	Started  time.Time     `json:"started"`
	Version  string        `json:"version"`
	Batch    string        `json:"batch"`          // batch system: local, slurm, …
	Free     Capacity      `json:"free"`           // room for new leases
	Total    Capacity      `json:"total"`          // what the site's policy offers at most
	Accepts  []Accept      `json:"accepts"`        // what the policy allows; nothing else is leased to the site
	URLs     []string      `json:"urls,omitempty"` // patterns of what the agent may fetch as inputs (CheckURLPattern); none: nothing
	Attempts []AttemptInfo `json:"attempts"`
	Drain    bool          `json:"drain,omitempty"` // no new leases, please
	Wait     int           `json:"wait"`            // seconds to hold the poll, at most MaxPollWait; 0: answer at once
}

// Capacity is room for work. Slots bounds the number of attempts.
type Capacity struct {
	Slots       int   `json:"slots"`
	Cores       int   `json:"cores"`
	MemoryBytes int64 `json:"memoryBytes"`
}

// Accept is one rule of the site's policy, told so that no job goes to a site that would refuse it. The site
// itself decides again when the lease arrives. An empty field allows anything.
type Accept struct {
	Definition     string   `json:"definition,omitempty"` // its name
	Digests        []string `json:"digests,omitempty"`
	Versions       []string `json:"versions,omitempty"` // AnyVersion among them: any
	Owners         []string `json:"owners,omitempty"`
	MaxCores       int      `json:"maxCores,omitempty"`
	MaxMemoryBytes int64    `json:"maxMemoryBytes,omitempty"`
	MaxSeconds     int64    `json:"maxSeconds,omitempty"` // run limit; a job without one is longer than any
}

// AnyVersion in Accept.Versions stands for every version.
const AnyVersion = "*"

// AttemptInfo is one entry of the agent's journal.
type AttemptInfo struct {
	Job   string `json:"job"`
	Epoch uint64 `json:"epoch"`
	Stage string `json:"stage"` // the agent's own word, for people
	// What the agent does already and needs no telling again: a poll whose only news they are is held.
	Cancelling bool `json:"cancelling,omitempty"` // the attempt is being stopped, or has been
	Watching   bool `json:"watching,omitempty"`   // live chunks of its logs are being sent
}

// PollResponse is the difference between the agent's journal and the state. All lists may be empty.
type PollResponse struct {
	Leases  []Lease      `json:"leases,omitempty"` // attempts that the agent does not have in its journal
	Cancel  []AttemptRef `json:"cancel,omitempty"` // stop these, then close them
	Forget  []AttemptRef `json:"forget,omitempty"` // ended for the coordinators: clean up and drop the entry
	Watch   []AttemptRef `json:"watch,omitempty"`  // somebody follows their logs: send live chunks
	NextMS  int          `json:"nextMs"`           // wait that long before the next poll
	SFTP    []SFTP       `json:"sftp,omitempty"`   // the addresses now
	Time    time.Time    `json:"time"`
	Message string       `json:"message,omitempty"` // for the site's administrator, e.g. why nothing is leased
}

// AttemptRef names an attempt.
type AttemptRef struct {
	Job   string `json:"job"`
	Epoch uint64 `json:"epoch"`
}

// Lease is everything a site needs to run an attempt.
type Lease struct {
	Job              string      `json:"job"`
	Epoch            uint64      `json:"epoch"`
	Owner            string      `json:"owner"` // empty: anonymous
	RunID            string      `json:"runId,omitempty"`
	Definition       Definition  `json:"definition"`
	Parameters       []Parameter `json:"parameters,omitempty"` // as given; defaults come from the definition
	Inputs           []Input     `json:"inputs,omitempty"`
	Resources        Resources   `json:"resources"`
	ExecutionSeconds int64       `json:"executionSeconds"` // run limit; 0: none
	Created          time.Time   `json:"created"`          // of the job: SOURCE_DATE_EPOCH
	WorkLeaseUntil   time.Time   `json:"workLeaseUntil"`   // no other attempt is started before
	MaxFiles         int         `json:"maxFiles"`
	MaxBytes         int64       `json:"maxBytes"`
}

// Definition names the exact code to run. The files are fetched by hash; the digest is recomputed by the
// agent, so that a coordinator can't slip in another one.
type Definition struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	Digest  string `json:"digest"`
	Files   []File `json:"files"`
}

// File is a file by its content.
type File struct {
	Path   string `json:"path"`
	SHA256 string `json:"sha256"`
	Size   int64  `json:"size"`
}

// Parameter holds the values given for one parameter.
type Parameter struct {
	Name   string   `json:"name"`
	Values []string `json:"values"`
	Secret bool     `json:"secret,omitempty"`
}

// Input is one file to place in the working directory.
type Input struct {
	Name        string `json:"name"` // the role
	FileName    string `json:"fileName,omitempty"`
	URL         string `json:"url,omitempty"`    // to fetch it from; SHA256 and Size are not known then
	SHA256      string `json:"sha256,omitempty"` // of what the coordinators have, at …/content
	Size        int64  `json:"size"`
	ContentType string `json:"contentType,omitempty"`
}

// Resources are the attempt's reservation.
type Resources struct {
	Nodes        int   `json:"nodes"`
	Tasks        int   `json:"tasks"`
	Cores        int   `json:"cores"` // per task
	GPUs         int   `json:"gpus"`
	MemoryBytes  int64 `json:"memoryBytes"` // per node
	ScratchBytes int64 `json:"scratchBytes"`
	Network      bool  `json:"network"`
}

// Report moves an attempt forward: staging, submitted, running, suspended, uploading.
type Report struct {
	State string `json:"state"`
	Facts Facts  `json:"facts"`
}

// Facts are what a site can tell of an attempt; zero fields say nothing. Times are the site's.
type Facts struct {
	BatchSystem  string     `json:"batchSystem,omitempty"`
	BatchID      string     `json:"batchId,omitempty"`
	Node         string     `json:"node,omitempty"`
	AgentVersion string     `json:"agentVersion,omitempty"`
	Staged       time.Time  `json:"staged,omitzero"`
	Submitted    time.Time  `json:"submitted,omitzero"`
	Started      time.Time  `json:"started,omitzero"`
	Ended        time.Time  `json:"ended,omitzero"`
	ExitCode     *int       `json:"exitCode,omitempty"`
	Signal       string     `json:"signal,omitempty"`
	Usage        *Usage     `json:"usage,omitempty"`
	Logs         []Log      `json:"logs,omitempty"`
	Transfers    []Transfer `json:"transfers,omitempty"`
	Reason       string     `json:"reason,omitempty"` // e.g. why the batch system lets the job wait
	Image        string     `json:"image,omitempty"`  // digest of the container image that the code runs in
	Software     []Software `json:"software,omitempty"`
	Configs      []Config   `json:"configs,omitempty"` // at most MaxConfigs
}

// Config is a configuration file that was made for an attempt. No secret can be guessed from its hash: a
// definition whose templates name secret parameters is not valid.
type Config struct {
	Name   string `json:"name"` // path in the working directory
	SHA256 string `json:"sha256"`
	Size   int64  `json:"size"`
}

// Software is a program that a code needs, in the version that the site has.
type Software struct {
	Name    string `json:"name"`
	Version string `json:"version"`
}

// Usage is what an attempt consumed.
type Usage struct {
	CPUSeconds  float64 `json:"cpuSeconds,omitempty"`
	WallSeconds float64 `json:"wallSeconds,omitempty"`
	MaxRSSBytes int64   `json:"maxRssBytes,omitempty"`
}

// LogProvenance is the name under which the provenance that a code wrote of itself is stored, beside its
// logs. It is the content of ProvenanceFile, never sent live.
const LogProvenance = "provenance"

// ProvenanceFile is what a code leaves in its working directory to tell its own provenance, in PROV-JSON.
const ProvenanceFile = "internal_provenance.json"

// Log is one stored stream. One whose Size is less than its FullSize was too long to be kept whole.
type Log struct {
	Name     string `json:"name"` // stdout, stderr or LogProvenance
	SHA256   string `json:"sha256"`
	Size     int64  `json:"size"`
	FullSize int64  `json:"fullSize"`
}

// Transfer is one step of staging, for provenance.
type Transfer struct {
	Out      bool      `json:"out"`
	Name     string    `json:"name,omitempty"`
	Bytes    int64     `json:"bytes"`
	Files    int64     `json:"files"`
	Protocol string    `json:"protocol"`
	Start    time.Time `json:"start"`
	End      time.Time `json:"end"`
	SHA256   string    `json:"sha256,omitempty"`
}

// OffsetRequest asks how much of each file the server has received and hashed without a hole.
type OffsetRequest struct {
	Paths []string `json:"paths"`
}

// OffsetResponse holds the verified offsets and the SHA-256 (hex) of the bytes before them, which the agent
// compares with its own; a path that is not there is left out of both. Without the hash of a file the agent
// sends it from its start.
type OffsetResponse struct {
	Offsets map[string]int64  `json:"offsets"`
	SHA256  map[string]string `json:"sha256,omitempty"`
}

// SealRequest asks that all files of an attempt be made durable, checked and moved into the store. Nothing
// is sealed unless every one of them passes. Safe to repeat.
type SealRequest struct {
	Files []File `json:"files"`
}

// SealResponse names the files that did not pass; the agent pushes just these again.
type SealResponse struct {
	Bad []BadFile `json:"bad,omitempty"`
}

// BadFile says what is wrong with a file: missing, size, hash.
type BadFile struct {
	Path    string `json:"path"`
	Problem string `json:"problem"`
}

// ManifestFile is one output file.
type ManifestFile struct {
	Output      string `json:"output"` // result id of the definition
	Path        string `json:"path"`
	SHA256      string `json:"sha256"`
	Size        int64  `json:"size"`
	ContentType string `json:"contentType,omitempty"`
}

// ManifestPart is one part of the list of outputs; parts count from 0. Nothing of it shows before the
// commit.
type ManifestPart struct {
	Part  int            `json:"part"`
	Files []ManifestFile `json:"files"`
}

// CommitRequest makes the results visible, all at once.
type CommitRequest struct {
	Parts    int       `json:"parts"`
	Hash     string    `json:"hash"` // ManifestHash of all parts
	Facts    Facts     `json:"facts"`
	Fragment *Fragment `json:"fragment,omitempty"`
}

// FailRequest ends an attempt without results. Class is one of the classes of package definition, or
// "timelimit".
type FailRequest struct {
	Class    string    `json:"class"`
	Message  string    `json:"message"`
	Facts    Facts     `json:"facts"`
	Fragment *Fragment `json:"fragment,omitempty"`
}

// CloseRequest ends a cancelled attempt.
type CloseRequest struct {
	Facts    Facts     `json:"facts"`
	Fragment *Fragment `json:"fragment,omitempty"`
}

// Fragment is the site's contribution to provenance: a JSON payload, signed as it is.
type Fragment struct {
	Number    uint64 `json:"number"`
	Payload   []byte `json:"payload"` // JSON of FragmentPayload
	Signature []byte `json:"signature"`
}

// FragmentPayload is what a site states, for good, about an attempt. Previous chains it to the fragment
// before.
type FragmentPayload struct {
	Site         string    `json:"site"`
	ClusterID    string    `json:"clusterId"`
	Number       uint64    `json:"number"`
	Previous     string    `json:"previous"` // SHA-256 (hex) of the payload of fragment Number-1; empty for the first
	Job          string    `json:"job"`
	Epoch        uint64    `json:"epoch"`
	Digest       string    `json:"digest"`         // of the definition that ran
	Outcome      string    `json:"outcome"`        // committed, failed, cancelled
	Argv         []string  `json:"argv,omitempty"` // without secrets
	Inputs       []File    `json:"inputs,omitempty"`
	ManifestHash string    `json:"manifestHash,omitempty"`
	Facts        Facts     `json:"facts"`
	Time         time.Time `json:"time"`
}

// Answer is what the coordinators said to a change.
type Answer struct {
	Phase string `json:"phase,omitempty"` // of the job now
	// Cancel tells the agent that the user ended the job: stop the attempt, then close it.
	Cancel bool `json:"cancel,omitempty"`
}

// StoredLog answers the storing of a final log.
type StoredLog struct {
	SHA256 string `json:"sha256"`
	Size   int64  `json:"size"`
}

// LiveAnswer tells how long to go on sending live chunks.
type LiveAnswer struct {
	Next     int64 `json:"next"`     // offset wanted next
	Watching bool  `json:"watching"` // false: nobody looks any more
}

// Error is the body of every answer of 400 and above.
type Error struct {
	Code    string `json:"code"`    // stale, revoked, unknown-site, bad-request, too-large, busy, protocol …
	Message string `json:"message"` // what happened, why, what to do
}

// Codes of Error that an agent acts on.
const (
	CodeStale    = "stale"    // 409: another attempt is current; stop and clean up
	CodeRevoked  = "revoked"  // 403: the site's key is not accepted any more
	CodeProtocol = "protocol" // 400: agent and coordinator are too far apart; says which to upgrade
	CodeBusy     = "busy"     // 503: ask again after Retry-After
	CodeInvalid  = "invalid"  // 400: the message makes no sense; do not repeat it
	CodeUnknown  = "unknown"  // 503: the outcome is not known; ask again
	CodeRefused  = "refused"  // 403: token wrong, used or expired
)
