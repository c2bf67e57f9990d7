package state

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"strconv"
	"strings"

	"consort/shared/uws"
)

// Format is the version of this schema. A store of a newer one is refused.
const Format = 1

// The keys. A key is a tag of one byte and parts:
//
//	id      27 bytes, a job id as it is
//	text    any string: 0x00 is written as 0x00 0xff, then 0x00 0x01 ends it, so that no text is a prefix
//	        of another and order is that of the strings
//	u64,u32 big endian, so that order is numeric
//	^u64    the complement: greatest first, for lists that show the newest job first
//	sha     32 bytes
//	version 12 bytes: each of up to three numbers plus one, 0 when absent: 1 < 1.0 < 1.0.1 < 1.10
//	entity  16 bytes, the start of the SHA-256 of the local name of a provenance entity's ent: identifier, so
//	        that names of any length do; where a name has to be told, the value holds it
//	holder  who keeps a file: "j" id u64 (inputs: epoch 0; outputs: the epoch), "l" id u64 (logs of the
//	        epoch), "d" text (a definition's digest)
//
// Keys without a value are indexes. TestKeys fixes the bytes.
const (
	tagMeta          = 'm' // m                              Meta: applied index and term, last time, cluster
	tagRaft          = 'M' // M                              RaftConfiguration; differs between nodes for moments, so not in Hash
	tagJob           = 'j' // j id                           Job
	tagSpec          = 's' // s id                           Spec
	tagAttempt       = 'a' // a id u64:epoch                 Attempt
	tagResults       = 'r' // r id                           Results
	tagPart          = 'p' // p id u64:epoch u32:part        ManifestPart
	tagPartHash      = 'h' // h id u64:epoch u32:part        SHA-256 of the part, 32 bytes
	tagFragment      = 'f' // f id u64:epoch                 FragmentRecord; erased with its job
	tagSiteFragment  = 'g' // g text:site u64:number id u64:epoch       every fragment of a site, by number, for ever
	tagListAll       = 'A' // A ^u64:created id              every job that is neither archived nor deleted
	tagListDef       = 'D' // D text:definition ^u64 id      the same of one definition
	tagListOwner     = 'O' // O text:owner ^u64 id           the same of one owner
	tagListOwnerDef  = 'L' // L text:owner text:definition ^u64 id      the same of one owner and definition
	tagListPhase     = 'P' // P text:owner text:phase ^u64 id           ended jobs: COMPLETED ERROR ABORTED ARCHIVED
	tagListDefPhase  = 'Q' // Q text:owner text:definition text:phase ^u64 id      the same of one definition
	tagListAllPhase  = 'S' // S text:phase ^u64:created id   ended jobs of everybody
	tagDestroy       = 'd' // d u64:microseconds id          when a job is due for destruction
	tagPurge         = 'q' // q id                           a purge waits
	tagUsedBy        = 'b' // b id:source text:result id:user           a job took another one's result; the roles, comma-separated
	tagRequest       = 'k' // k text:principal text:key      Request
	tagRequestTime   = 'e' // e u64:microseconds text:principal text:key    requests, oldest first
	tagDefinition    = 'n' // n text:name version            Definition
	tagAlias         = 'y' // y text:alias                   the definition's name
	tagSite          = 't' // t text:name                    Site
	tagSiteKey       = 'u' // u public key, 32 bytes         the site's name; former keys stay, so that nobody else takes them
	tagSiteToken     = 'v' // v SHA-256 of the token         the site's name
	tagContent       = 'c' // c sha                          Content
	tagUnreferenced  = 'z' // z u64:since sha                content without references, longest first
	tagReference     = 'R' // R sha holder                   who keeps a file
	tagReferenceOf   = 'H' // H holder sha                   what a holder keeps
	tagUse           = 'U' // U entity ^u64:created id       a job that left PENDING, or its attempt, used the entity; the roles, comma-separated
	tagOccurrence    = 'C' // C sha entity                   OccurrenceRecord; a file of a manifest stands under the name it has as a member
	tagFound         = 'F' // F kind text... ^u64:created id jobs that ended, by what tells them; the kinds are below
	tagComputed      = 'K' // K digest, 32 bytes ^u64:created id        COMPLETED jobs by RequestDigest
	tagRetraction    = 'x' // x entity                       Retraction
	holderJob        = 'j'
	holderLogs       = 'l'
	holderDefinition = 'd'
)

// The kinds of tagFound, with their texts.
const (
	foundDefinition = 'd' // name@version, and name alone
	foundSite       = 's' // name, of any attempt
	foundOwner      = 'o' // principal
	foundImage      = 'i' // digest, of attempts that ended
	foundSoftware   = 'w' // name, version, of attempts that ended
	foundParameter  = 'p' // definition, name, value; effective ones, never secret
)

// maxText is the greatest length in bytes of a text that becomes part of a key. Badger refuses keys of more
// than 65,000 bytes, and such a refusal would stop the node.
const maxText = 1024

type key []byte

func newKey(tag byte) key { return append(make(key, 0, 96), tag) }

func (k key) text(s string) key {
	for {
		i := strings.IndexByte(s, 0)
		if i < 0 {
			break
		}
		k = append(append(k, s[:i]...), 0, 0xff)
		s = s[i+1:]
	}
	return append(append(k, s...), 0, 1)
}

func (k key) raw(s string) key                    { return append(k, s...) }
func (k key) bytes(b []byte) key                  { return append(k, b...) }
func (k key) u64(n uint64) key                    { return binary.BigEndian.AppendUint64(k, n) }
func (k key) u32(n uint32) key                    { return binary.BigEndian.AppendUint32(k, n) }
func (k key) newest(us int64) key                 { return k.u64(^uint64(us)) }
func (k key) version(v string) key                { return append(k, versionBytes(v)...) }
func (k key) attempt(id string, epoch uint64) key { return k.raw(id).u64(epoch) }

// sha appends a SHA-256 given in hexadecimal digits, which the caller has checked.
func (k key) sha(digits string) key {
	b, _ := hex.DecodeString(digits)
	return append(k, b...)
}

func versionBytes(v string) []byte {
	out := make([]byte, 12)
	for i, part := range strings.SplitN(v, ".", 3) {
		n, _ := strconv.ParseUint(part, 10, 32) // checked by ids.ValidVersion: at most nine digits
		binary.BigEndian.PutUint32(out[4*i:], uint32(n)+1)
	}
	return out
}

func keyMeta() key                            { return newKey(tagMeta) }
func keyRaft() key                            { return newKey(tagRaft) }
func keyJob(id string) key                    { return newKey(tagJob).raw(id) }
func keySpec(id string) key                   { return newKey(tagSpec).raw(id) }
func keyAttempt(id string, epoch uint64) key  { return newKey(tagAttempt).attempt(id, epoch) }
func keyResults(id string) key                { return newKey(tagResults).raw(id) }
func keyFragment(id string, epoch uint64) key { return newKey(tagFragment).attempt(id, epoch) }
func keyPurge(id string) key                  { return newKey(tagPurge).raw(id) }
func keySite(name string) key                 { return newKey(tagSite).text(name) }
func keySiteKey(public []byte) key            { return newKey(tagSiteKey).bytes(public) }
func keySiteToken(sha256 []byte) key          { return newKey(tagSiteToken).bytes(sha256) }
func keyAlias(alias string) key               { return newKey(tagAlias).text(alias) }
func keyContent(sha string) key               { return newKey(tagContent).sha(sha) }
func keyDestroy(us int64, id string) key      { return newKey(tagDestroy).u64(uint64(us)).raw(id) }

func keyPart(id string, epoch uint64, part int32) key {
	return newKey(tagPart).attempt(id, epoch).u32(uint32(part))
}

func keyPartHash(id string, epoch uint64, part int32) key {
	return newKey(tagPartHash).attempt(id, epoch).u32(uint32(part))
}

func keySiteFragment(site string, number uint64, id string, epoch uint64) key {
	return newKey(tagSiteFragment).text(site).u64(number).attempt(id, epoch)
}

func keyDefinition(name, version string) key {
	return newKey(tagDefinition).text(name).version(version)
}

func keyRequest(principal, request string) key {
	return newKey(tagRequest).text(principal).text(request)
}

func keyRequestTime(us int64, principal, request string) key {
	return newKey(tagRequestTime).u64(uint64(us)).text(principal).text(request)
}

func keyUsedBy(source, result, user string) key {
	return newKey(tagUsedBy).raw(source).text(result).raw(user)
}

func keyUnreferenced(since int64, sha string) key {
	return newKey(tagUnreferenced).u64(uint64(since)).sha(sha)
}

func keyReference(sha string, h holder) key   { return newKey(tagReference).sha(sha).raw(string(h)) }
func keyReferenceOf(h holder, sha string) key { return newKey(tagReferenceOf).raw(string(h)).sha(sha) }

const entityLen = 16

// entity appends what stands for an entity.
func (k key) entity(local string) key {
	sum := sha256.Sum256([]byte(local))
	return append(k, sum[:entityLen]...)
}

func prefixUse(entity string) key { return newKey(tagUse).entity(entity) }

func keyUse(entity string, j *Job) key { return prefixUse(entity).newest(j.CreatedUs).raw(j.Id) }

func prefixOccurrence(sha string) key { return newKey(tagOccurrence).sha(sha) }

func keyOccurrence(sha, entity string) key { return prefixOccurrence(sha).entity(entity) }

func prefixFound(kind byte, texts ...string) key {
	k := append(newKey(tagFound), kind)
	for _, text := range texts {
		k = k.text(text)
	}
	return k
}

func keyFound(j *Job, kind byte, texts ...string) key {
	return prefixFound(kind, texts...).newest(j.CreatedUs).raw(j.Id)
}

func prefixComputed(digest []byte) key { return newKey(tagComputed).bytes(digest) }

func keyRetraction(entity string) key { return newKey(tagRetraction).entity(entity) }

// holder is who keeps a file, as it stands in keys.
type holder string

func jobHolder(id string, epoch uint64) holder {
	return holder(newKey(holderJob).attempt(id, epoch))
}

func logHolder(id string, epoch uint64) holder {
	return holder(newKey(holderLogs).attempt(id, epoch))
}

func definitionHolder(digest string) holder {
	return holder(newKey(holderDefinition).text(digest))
}

func prefixList(q ListQuery) key {
	switch {
	case q.AllOwners && q.Definition == "":
		return newKey(tagListAll)
	case q.AllOwners:
		return newKey(tagListDef).text(q.Definition)
	case q.Definition == "":
		return newKey(tagListOwner).text(q.Owner)
	default:
		return newKey(tagListOwnerDef).text(q.Owner).text(q.Definition)
	}
}

// prefixPhase is the list of ended jobs in one phase. That of all owners holds every definition's.
func prefixPhase(q ListQuery, phase string) key {
	switch {
	case q.AllOwners:
		return newKey(tagListAllPhase).text(phase)
	case q.Definition == "":
		return newKey(tagListPhase).text(q.Owner).text(phase)
	default:
		return newKey(tagListDefPhase).text(q.Owner).text(q.Definition).text(phase)
	}
}

// indexKeys are all keys that follow from a job's head: the lists it stands in and its destruction. Saving a
// head writes the difference between those of the old and of the new head, so that no index can be forgotten.
func indexKeys(j *Job) []key {
	if j == nil || j.Deleted {
		return nil
	}
	queries := []ListQuery{
		{AllOwners: true},
		{AllOwners: true, Definition: j.Definition},
		{Owner: j.Owner},
		{Owner: j.Owner, Definition: j.Definition},
	}
	var keys []key
	list := func(prefix key) { keys = append(keys, prefix.newest(j.CreatedUs).raw(j.Id)) }
	if final(j) {
		for _, q := range []ListQuery{queries[0], queries[2], queries[3]} {
			list(prefixPhase(q, j.Phase))
		}
		list(prefixFound(foundDefinition, j.Definition+"@"+j.DefinitionVersion))
		list(prefixFound(foundDefinition, j.Definition))
		list(prefixFound(foundOwner, j.Owner))
	}
	if phase(j) == uws.Completed && len(j.Request) > 0 {
		list(prefixComputed(j.Request))
	}
	if archived(j) {
		return keys
	}
	for _, q := range queries {
		list(prefixList(q))
	}
	if j.DestructionUs > 0 {
		keys = append(keys, keyDestroy(j.DestructionUs, j.Id))
	}
	return keys
}

func keyU64(b []byte) uint64 { return binary.BigEndian.Uint64(b) }

func hexSHA(b []byte) string { return hex.EncodeToString(b) }
