package provenance

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/url"
	"regexp"
	"strings"

	"consort/coordinator/auth"
	"consort/shared/ids"
	"consort/shared/prov"
)

// kind is what a node is for the walk.
type kind uint8

const (
	jobNode kind = iota + 1
	fileNode
	contentNode
	agentNode
	definitionNode
	softwareNode
)

// node is a node of the walk: a job by its id, a file by the local name of its entity, content by its SHA-256,
// an agent, a definition version or software by its local name.
type node struct {
	kind kind
	name string
}

func (n node) qname() prov.QName {
	switch n.kind {
	case jobNode:
		return prov.JobID(n.name)
	case fileNode, softwareNode:
		return prov.QName{Prefix: "ent", Local: n.name}
	case contentNode:
		return prov.ContentID(n.name)
	case agentNode:
		return prov.QName{Prefix: "agt", Local: n.name}
	}
	return prov.QName{Prefix: "jdl", Local: n.name}
}

// target is a node that somebody asked for: the part of a job's record that is meant, and the node of the walk
// that it belongs to.
type target struct {
	asked prov.QName
	node
}

// entity is the local name of what was asked for, of a retraction that of what was retracted.
func (t target) entity() string {
	if entity, ok := retractedEntity(t.asked.Local); ok && t.asked.Prefix == "job" {
		return entity
	}
	return t.asked.Local
}

// maxID is the greatest length of an id that is looked at.
const maxID = 4096

// prefixes are the kinds of ids, as they stand in the IRIs below an authority.
var prefixes = map[string]string{"job": "job", "entity": "ent", "data": "data", "jdl": "jdl", "agent": "agt"}

// parseID reads an id in any of the forms that Query.IDs allows. One that is of no form is ErrNotFound, as is one
// of something unknown.
func parseID(id, authority string) (target, error) {
	id = strings.TrimSpace(id)
	unknown := fmt.Errorf("%w: nothing has the id %.100q", ErrNotFound, id)
	if id == "" || len(id) > maxID {
		return target{}, unknown
	}
	q, ok := qualified(id, authority)
	if !ok {
		return target{}, unknown
	}
	n, ok := nodeOf(q)
	if !ok {
		return target{}, unknown
	}
	return target{asked: q, node: n}, nil
}

// qualified turns what people write into a qualified name.
func qualified(id, authority string) (prov.QName, bool) {
	if base := strings.TrimRight(authority, "/") + "/id/"; strings.HasPrefix(id, base) {
		name, local, _ := strings.Cut(id[len(base):], "/")
		q := prov.QName{Prefix: prefixes[name], Local: local}
		return q, q.Prefix != "" && prov.ValidLocal(local)
	}
	if hash, ok := strings.CutPrefix(strings.ToLower(id), "sha256:"); ok {
		return prov.ContentID(hash), ids.ValidSHA256(hash)
	}
	if ref, ok := strings.CutPrefix(id, "consort:"); ok {
		job, result, _ := strings.Cut(ref, "/")
		if result == "" {
			return prov.JobID(job), ids.ValidJob(job)
		}
		return prov.ResultID(job, result), ids.ValidJob(job)
	}
	if strings.Contains(id, "://") {
		return jobURL(id)
	}
	if !strings.Contains(id, ":") {
		if ids.ValidJob(id) {
			return prov.JobID(id), true
		}
		return prov.QName{Prefix: "ent", Local: id}, prov.ValidLocal(id)
	}
	q, err := prov.ParseQName(id)
	return q, err == nil
}

// jobURL reads the URL of a job in a job list, …/rest/<name>/<job>.
func jobURL(text string) (prov.QName, bool) {
	u, err := url.Parse(text)
	if err != nil {
		return prov.QName{}, false
	}
	parts := strings.Split(strings.Trim(u.Path, "/"), "/")
	n := len(parts)
	if n < 3 || parts[n-3] != "rest" || !ids.ValidJob(parts[n-1]) {
		return prov.QName{}, false
	}
	return prov.JobID(parts[n-1]), true
}

var definitionName = regexp.MustCompile(`^([a-z0-9-]+)\.v([0-9]+(?:\.[0-9]+){0,2})(?:\.(?:[ugpcs]|ud|gd)\..+)?$`)

// nodeOf finds the node of the walk that a name belongs to.
func nodeOf(q prov.QName) (node, bool) {
	switch q.Prefix {
	case "job":
		if entity, ok := retractedEntity(q.Local); ok {
			return entityNode(entity) // of the job that tells of it, which Service.target finds
		}
		job, _, _ := strings.Cut(q.Local, ".")
		return node{jobNode, job}, ids.ValidJob(job)
	case "ent":
		return entityNode(q.Local)
	case "data":
		hash, _ := strings.CutPrefix(q.Local, "sha256-")
		return node{contentNode, hash}, ids.ValidSHA256(hash)
	case "agt":
		return node{agentNode, q.Local}, true
	case "jdl":
		m := definitionName.FindStringSubmatch(q.Local)
		if m == nil {
			return node{}, false
		}
		return node{definitionNode, prov.DefinitionID(m[1], m[2]).Local}, ids.ValidName(m[1]) && ids.ValidVersion(m[2])
	}
	return node{}, false
}

// retractedEntity reads the local name of the entity out of that of its retraction.
func retractedEntity(local string) (string, bool) {
	m := retractionName.FindStringSubmatch(local)
	if m == nil {
		return "", false
	}
	return m[1], true
}

var retractionName = regexp.MustCompile(`^retract\.[0-9]+\.(.+)$`)

// entityNode is nodeOf for the local name of an entity. Replicas and the record itself are told of in the record of
// the job.
func entityNode(local string) (node, bool) {
	first, rest, _ := strings.Cut(local, ".")
	switch {
	case !ids.ValidJob(first):
		if _, _, ok := prov.SoftwareOf(local); ok {
			return node{softwareNode, local}, true
		}
		return node{fileNode, local}, (first == "up" || first == "ext") && rest != ""
	case strings.HasPrefix(rest, "in.") || prov.RecordID(first).Local == local:
		return node{jobNode, first}, true
	}
	return node{fileNode, local}, strings.HasPrefix(rest, "r.")
}

// definitionOf reads name and version out of the local name of a definition.
func definitionOf(local string) (name, version string) {
	m := definitionName.FindStringSubmatch(local)
	return m[1], m[2]
}

// madeBy tells which job made the entity of a local name, as which result; false for uploads and the like.
func madeBy(local string) (job, result string, ok bool) {
	if len(local) <= ids.JobLen || !ids.ValidJob(local[:ids.JobLen]) {
		return "", "", false
	}
	rest, ok := strings.CutPrefix(local[ids.JobLen:], ".r.")
	if !ok {
		return "", "", false
	}
	result, err := unescapeLast(rest)
	return local[:ids.JobLen], result, err == nil
}

// unescapeLast reads a part of a name that came last, which may begin with a digit.
func unescapeLast(part string) (string, error) {
	if text, err := prov.Unescape(part); err == nil {
		return text, nil
	}
	text, err := prov.Unescape("a" + part)
	if err != nil {
		return "", err
	}
	return text[1:], nil
}

// memberSeparator is how the slash between a collection and the path of its member stands in a local name.
const memberSeparator = "_x2F_"

// collectionOf gives the entity of the collection that a file is a member of.
func collectionOf(local string) (collection string, ok bool) {
	collection, _, ok = strings.Cut(local, memberSeparator)
	if _, _, made := madeBy(local); !ok || !made {
		return "", false
	}
	return collection, true
}

// opaque is an id that stands for a node that p may not read: always the same for p, another one for everybody
// else, and not to be turned back.
func (s *Service) opaque(p auth.Principal, n node) prov.QName {
	h := hmac.New(sha256.New, s.cfg.Secret)
	fmt.Fprintf(h, "%t %q %s", p.Anonymous, p.Name, n.qname())
	prefix := "ent"
	if n.kind == jobNode {
		prefix = "job"
	}
	return prov.QName{Prefix: prefix, Local: "redacted." + hex.EncodeToString(h.Sum(nil)[:16])}
}
