package prov

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"
	"time"
)

// The functions of this file name the nodes of records. These names are permanent: a change here would cut
// the lineage of everything recorded before. All parts are escaped, so any text may be passed.

func dotted(parts ...string) string { return strings.Join(parts, ".") }

// first escapes the part of a name that comes first: it has no dots, which divide the parts.
func first(s string) string { return strings.ReplaceAll(Escape(s), ".", "_x2E_") }

// last escapes the part of a name that comes last and is not the only one: it may begin with a digit.
func last(s string) string {
	if s == "" {
		return emptyEscape
	}
	return Escape("a" + s)[1:]
}

// inner escapes a part of a name that others follow: it has no dots.
func inner(s string) string { return strings.ReplaceAll(last(s), ".", "_x2E_") }

// JobID names the activity of a job: job:<job>.
func JobID(job string) QName { return QName{"job", first(job)} }

// AttemptID names the activity of one attempt: job:<job>.a<epoch>.
func AttemptID(job string, epoch uint64) QName {
	return QName{"job", dotted(first(job), "a"+strconv.FormatUint(epoch, 10))}
}

// TransferID names the activity of one transfer of files, counted from 1: job:<job>.x<n>.
func TransferID(job string, n int) QName {
	return QName{"job", dotted(first(job), "x"+strconv.Itoa(n))}
}

// ParameterID names a parameter as given to a job: job:<job>.p.<name>.
func ParameterID(job, name string) QName { return jobPart(job, "p", name, 0) }

// ConfigID names a configuration file, or the script, as given to a job: job:<job>.c.<file>.
func ConfigID(job, file string) QName { return jobPart(job, "c", file, 0) }

// UsedID names a job's use of an input: job:<job>.u.<role>, with .<n> where a role has several inputs.
func UsedID(job, role string, n int) QName { return jobPart(job, "u", role, n) }

// GeneratedID names a job's making of a result: job:<job>.g.<result id>.
func GeneratedID(job, result string) QName { return jobPart(job, "g", result, 0) }

func jobPart(job, part, name string, n int) QName {
	if n > 0 {
		return QName{"job", dotted(first(job), part, inner(name), strconv.Itoa(n))}
	}
	return QName{"job", dotted(first(job), part, last(name))}
}

// ResultID names a result of a job: ent:<job>.r.<result id>. A member of a collection has the result id
// <result>/<path>; logs have the result ids stdout and stderr.
func ResultID(job, result string) QName {
	return QName{"ent", dotted(first(job), "r", last(result))}
}

// MemberID names a member of a result that is a collection.
func MemberID(job, result, path string) QName { return ResultID(job, result+"/"+path) }

// UploadID names an uploaded file: ent:up.<id>.
func UploadID(id string) QName { return QName{"ent", dotted("up", last(id))} }

// ExternalID names what a URL answered with: ent:ext.<hash of the URL>.<start of the content's SHA-256>. So
// new content under an old URL is a new entity. Without a digest the last part is left out. What PublicURL
// leaves out does not count: the same file under a newly signed URL is the same entity.
func ExternalID(rawURL, sha string) QName {
	public := PublicURL(rawURL)
	if public == invalidURL {
		public = rawURL
	}
	sum := sha256.Sum256([]byte(public))
	name := dotted("ext", hex.EncodeToString(sum[:16]))
	if sha != "" {
		name = dotted(name, last(sha[:min(len(sha), 32)]))
	}
	return QName{"ent", name}
}

// RetractionID names the act of retracting an entity, which may be withdrawn and repeated:
// job:retract.<microseconds of Unix time>.<local name of the entity>.
func RetractionID(entity QName, at time.Time) QName {
	return QName{"job", dotted("retract", strconv.FormatInt(at.UnixMicro(), 10), entity.Local)}
}

// RecordID names the provenance record of a job: ent:<job>.r.prov. No result of a definition has such an id.
func RecordID(job string) QName { return ResultID(job, "prov") }

// InternalID names what a code told of its own provenance: ent:<job>.r.provenance, the stored file and the
// bundle of its records alike.
func InternalID(job string) QName { return ResultID(job, internalLog) }

// internalLog is the result id, and the name among the logs, of a code's own provenance.
const internalLog = "provenance"

// SoftwareID names a version of a program that jobs ran with: ent:sw.<name>.<version>.
func SoftwareID(name, version string) QName {
	return QName{"ent", dotted("sw", inner(name), last(version))}
}

// SoftwareOf reads a local name that SoftwareID gave; false for any other.
func SoftwareOf(local string) (name, version string, ok bool) {
	parts := strings.SplitN(local, ".", 3)
	if len(parts) < 3 {
		return "", "", false
	}
	name, version = unescape(parts[1]), unescape(parts[2])
	return name, version, SoftwareID(name, version).Local == local
}

// ReplicaID names the copy of an input staged at a site: ent:<job>.in.<role>[.<n>].<site>.
func ReplicaID(job, role string, n int, site string) QName {
	local := dotted(first(job), "in", inner(role))
	if n > 0 {
		local = dotted(local, strconv.Itoa(n))
	}
	return QName{"ent", dotted(local, last(site))}
}

// ContentID names content wherever it is: data:sha256-<64 hexadecimal digits>.
func ContentID(sha string) QName { return QName{"data", Escape("sha256-" + sha)} }

// DefinitionID names a version of a job definition: jdl:<name>.v<version>.
func DefinitionID(name, version string) QName {
	return QName{"jdl", dotted(first(name), "v"+last(version))}
}

// The parts of a definition version.
const (
	PartUsed      = "u"
	PartGenerated = "g"
	PartParameter = "p"
	PartConfig    = "c"
	PartSoftware  = "s"
	// The descriptions of the files that are used and generated.
	PartUsedFile      = "ud"
	PartGeneratedFile = "gd"
)

// DefinitionPartID names a part of a definition version: jdl:<name>.v<version>.<part>.<what>.
func DefinitionPartID(name, version, part, what string) QName {
	return QName{"jdl", dotted(DefinitionID(name, version).Local, part, last(what))}
}

// UserID names a user: agt:user.<name>. Users, sites and the rest have spaces of names of their own, so that
// no user can be taken for a site.
func UserID(name string) QName { return QName{"agt", dotted("user", last(name))} }

// PersonID names a person who is no user: agt:orcid.<ORCID>, or without one agt:person.<name>.
func PersonID(name, orcid string) QName {
	if orcid != "" {
		return QName{"agt", dotted("orcid", last(orcid))}
	}
	return QName{"agt", dotted("person", last(name))}
}

// SiteID names a site as an organisation: agt:site.<name>.
func SiteID(site string) QName { return QName{"agt", dotted("site", last(site))} }

// SiteAgentID names the agent program of a site: agt:site.<name>.agent.
func SiteAgentID(site string) QName { return QName{"agt", dotted("site", inner(site), "agent")} }

// BatchID names the batch system of a site: agt:site.<name>.batch.<system>.
func BatchID(site, system string) QName {
	return QName{"agt", dotted("site", inner(site), "batch", last(system))}
}

// ControllerID names the coordinators as one agent: agt:ctl.
func ControllerID() QName { return QName{"agt", "ctl"} }
