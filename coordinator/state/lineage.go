package state

import (
	"fmt"
	"slices"

	"github.com/dgraph-io/badger/v4"
	"google.golang.org/protobuf/proto"

	"consort/shared/ids"
	"consort/shared/prov"
)

// The views of this file are pages: at most limit items after a cursor, which is nil at the start, and the
// cursor of the next page, which is nil at the end. Entities are named by the local names of their ent:
// identifiers (package prov). Deleted jobs stand in them until they are purged, and for ever where others
// used their results; rights are the caller's to look after.

// Use is a job's use of an entity.
type Use struct {
	Job       string
	CreatedUs int64  // of the job
	Role      string // several are separated by commas
}

// UsesOf returns the jobs that used an entity, newest first. Inputs that are uploads or results count once
// the job was queued; what URLs answered with, when an attempt that fetched it ended.
func (v *View) UsesOf(entity string, cursor []byte, limit int) (uses []Use, next []byte, err error) {
	next, err = v.page(prefixUse(entity), cursor, jobTail, limit, func(tail []byte, item *badger.Item) (bool, error) {
		job, created := splitJobTail(tail)
		return true, item.Value(func(roles []byte) error {
			uses = append(uses, Use{Job: job, CreatedUs: created, Role: string(roles)})
			return nil
		})
	})
	return uses, next, err
}

// Found is a job that a search found.
type Found struct {
	Job       string
	CreatedUs int64
}

// Discovery is what jobs that ended can be found by.
type Discovery uint8

// The discoveries, with the values that each needs.
const (
	ByDefinition Discovery = iota // name@version, or name for all versions
	BySite                        // name
	ByOwner                       // principal
	ByImage                       // digest
	BySoftware                    // name, version
	ByParameter                   // definition, name, value
)

var discoveries = []struct {
	kind   byte
	values int
}{
	ByDefinition: {foundDefinition, 1},
	BySite:       {foundSite, 1},
	ByOwner:      {foundOwner, 1},
	ByImage:      {foundImage, 1},
	BySoftware:   {foundSoftware, 2},
	ByParameter:  {foundParameter, 3},
}

// Discover returns the jobs that ended and have the values, newest first. Values of more than 256 bytes are
// not indexed, nor are more than 500 of one job.
func (v *View) Discover(kind Discovery, values []string, cursor []byte, limit int) ([]Found, []byte, error) {
	if int(kind) >= len(discoveries) || len(values) != discoveries[kind].values {
		return nil, nil, fmt.Errorf("discovery %d does not take %d values", kind, len(values))
	}
	return v.found(prefixFound(discoveries[kind].kind, values...), cursor, limit)
}

// Computed returns the COMPLETED jobs that computed a request (RequestDigest), newest first.
func (v *View) Computed(digest []byte, cursor []byte, limit int) ([]Found, []byte, error) {
	return v.found(prefixComputed(digest), cursor, limit)
}

func (v *View) found(prefix key, cursor []byte, limit int) (found []Found, next []byte, err error) {
	next, err = v.page(prefix, cursor, jobTail, limit, func(tail []byte, _ *badger.Item) (bool, error) {
		job, created := splitJobTail(tail)
		found = append(found, Found{Job: job, CreatedUs: created})
		return true, nil
	})
	return found, next, err
}

// Occurrence is an entity whose content is known.
type Occurrence struct {
	Entity string
	Job    string // that made it; of an input, a job that used it: the first while that is there
	Epoch  uint64 // 0 for an input
}

// Occurrences returns the entities with the content of a SHA-256, in an order that stays. Those that attempts
// without results left are left out, so that a page may hold less than limit though more follow.
func (v *View) Occurrences(sha string, cursor []byte, limit int) (found []Occurrence, next []byte, err error) {
	if !ids.ValidSHA256(sha) {
		return nil, nil, nil
	}
	next, err = v.page(prefixOccurrence(sha), cursor, entityLen, limit, func(_ []byte, item *badger.Item) (bool, error) {
		r := new(OccurrenceRecord)
		if err := item.Value(func(data []byte) error { return proto.Unmarshal(data, r) }); err != nil {
			return false, corruptRecord(item.Key(), err)
		}
		entity, err := visibleEntity(r, v.lookup)
		if err != nil || entity == "" {
			return false, err
		}
		found = append(found, Occurrence{Entity: entity, Job: r.Job, Epoch: r.Epoch})
		return true, nil
	})
	return found, next, err
}

// Retraction returns what is known of an entity's retraction, also when it was withdrawn; ErrNotFound if it
// was never retracted.
func (v *View) Retraction(entity string) (*Retraction, error) {
	return one(v, keyRetraction(entity), new(Retraction))
}

// Retractions returns all retractions, withdrawn ones too, in an order that stays.
func (v *View) Retractions(cursor []byte, limit int) (found []*Retraction, next []byte, err error) {
	next, err = v.page(newKey(tagRetraction), cursor, entityLen, limit, func(_ []byte, item *badger.Item) (bool, error) {
		r := new(Retraction)
		if err := item.Value(func(data []byte) error { return proto.Unmarshal(data, r) }); err != nil {
			return false, corruptRecord(item.Key(), err)
		}
		found = append(found, r)
		return true, nil
	})
	return found, next, err
}

// jobTail is the length of the end of a key that names a job by its time.
const jobTail = 8 + ids.JobLen

func splitJobTail(tail []byte) (job string, createdUs int64) {
	return string(tail[8:]), int64(^keyU64(tail))
}

// page calls take with the keys of a prefix after the cursor, which is the end of the key that came last, of
// a length given. It ends when take took limit of them, or looked at a few times as many.
func (v *View) page(prefix key, cursor []byte, tail, limit int,
	take func(tail []byte, item *badger.Item) (taken bool, err error)) (next []byte, err error) {
	if cursor != nil && len(cursor) != tail {
		return nil, fmt.Errorf("%w: %d bytes", ErrCursor, len(cursor))
	}
	limit = max(limit, 1)
	looked, taken, last := 0, 0, []byte(nil)
	start := slices.Concat(prefix, cursor)
	if cursor != nil {
		start = append(start, 0) // the least key after it
	}
	err = v.each(prefix, start, false, func(item *badger.Item) (bool, error) {
		if taken == limit || looked == 4*limit+64 {
			next = last
			return false, nil
		}
		end := item.Key()[len(prefix):]
		if len(end) != tail {
			return false, corruptRecord(item.Key(), errKeyLength)
		}
		ok, err := take(end, item)
		if ok {
			taken++
		}
		looked++
		last = append(last[:0], end...)
		return err == nil, err
	})
	return next, err
}

// lookup reads a record, of a view or of a command, and tells whether there is one.
type lookup func(k key, m proto.Message) (bool, error)

// visibleEntity names the entity of an occurrence, or returns nothing when it cannot be seen: it is of an
// attempt that has no results, or of logs that a later attempt's took the place of.
func visibleEntity(r *OccurrenceRecord, get lookup) (string, error) {
	if r.Kind == OccurrenceRecord_INPUT || r.Kind == OccurrenceRecord_RESULT {
		return r.Entity, nil
	}
	j := new(Job)
	if _, err := get(keyJob(r.Job), j); err != nil {
		return "", err
	}
	if r.Kind == OccurrenceRecord_LOG {
		if j.Epoch == r.Epoch {
			return r.Entity, nil
		}
		return "", nil
	}
	results := new(Results)
	if j.CommitEpoch != r.Epoch {
		return "", nil
	}
	if _, err := get(keyResults(r.Job), results); err != nil {
		return "", err
	}
	if r.Part >= results.Parts {
		return "", nil // staged, but not committed
	}
	for _, o := range results.Outputs {
		switch {
		case o.Id != r.Output:
		case o.Collection:
			return prov.MemberID(r.Job, r.Output, r.Path).Local, nil
		default:
			return prov.ResultID(r.Job, r.Output).Local, nil
		}
	}
	return "", nil
}
