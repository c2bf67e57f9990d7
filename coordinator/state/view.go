package state

import (
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/dgraph-io/badger/v4"
	"google.golang.org/protobuf/proto"

	"consort/shared/ids"
)

// View is one consistent look at the state. It is valid inside the function given to Store.View only. What
// its methods return belongs to the caller.
type View struct {
	store *Store
	txn   *badger.Txn
	meta  *Meta
	taken *badger.Iterator // over tagUsedBy, made when it is first needed
}

// View calls fn with the state as it is now, and returns its error. It should not take long: what it reads
// cannot be cleaned up meanwhile.
func (s *Store) View(fn func(*View) error) error {
	s.mu.RLock()
	h, err := s.acquire()
	if err != nil {
		s.mu.RUnlock()
		return err
	}
	v := &View{store: s, txn: h.db.NewTransaction(false), meta: s.meta}
	s.mu.RUnlock()
	defer h.readers.Done()
	defer v.txn.Discard()
	defer func() {
		if v.taken != nil {
			v.taken.Close()
		}
	}()
	return fn(v)
}

// Applied is the index of the last entry that this view contains.
func (v *View) Applied() uint64 { return v.meta.AppliedIndex }

// LastTimeUs is the time of the last command that this view contains, in microseconds.
func (v *View) LastTimeUs() int64 { return v.meta.LastTimeUs }

// Cluster returns the cluster's id and authority; both are empty before CreateCluster.
func (v *View) Cluster() (id, authority string) { return v.meta.ClusterId, v.meta.Authority }

// one reads the record at k into m, or returns ErrNotFound.
func one[M proto.Message](v *View, k key, m M) (M, error) {
	var none M
	found, err := read(v.txn, k, m)
	if err != nil {
		return none, err
	}
	if !found {
		return none, ErrNotFound
	}
	return m, nil
}

// each calls fn with every key of a prefix from start on (nil: all), until it returns false. The key is only
// valid in the call.
func (v *View) each(prefix, start key, values bool, fn func(item *badger.Item) (more bool, err error)) error {
	options := badger.IteratorOptions{Prefix: prefix, PrefetchValues: values, PrefetchSize: 16}
	it := v.txn.NewIterator(options)
	defer it.Close()
	if start == nil {
		start = prefix
	}
	for it.Seek(start); it.Valid(); it.Next() {
		if more, err := fn(it.Item()); err != nil || !more {
			return err
		}
	}
	return nil
}

// all decodes every record of a prefix.
func all[T any, M interface {
	*T
	proto.Message
}](v *View, prefix key) ([]M, error) {
	var found []M
	err := v.each(prefix, nil, true, func(item *badger.Item) (bool, error) {
		m := M(new(T))
		if err := item.Value(func(data []byte) error { return proto.Unmarshal(data, m) }); err != nil {
			return false, corruptRecord(item.Key(), err)
		}
		found = append(found, m)
		return true, nil
	})
	return found, err
}

func corruptRecord(k []byte, err error) error {
	return fmt.Errorf("%w: record %q: %w", ErrCorrupt, k, err)
}

// Job returns the head of a job; ErrNotFound also for a deleted one.
func (v *View) Job(id string) (*Job, error) {
	j, err := v.Head(id)
	if err == nil && j.Deleted {
		return nil, ErrNotFound
	}
	return j, err
}

// Head is Job for those who may know of deleted jobs too: what is left of them is what the provenance of
// others needs.
func (v *View) Head(id string) (*Job, error) {
	if !ids.ValidJob(id) {
		return nil, ErrNotFound
	}
	return one(v, keyJob(id), new(Job))
}

// Spec returns what a job was asked to do.
func (v *View) Spec(id string) (*Spec, error) { return one(v, keySpec(id), new(Spec)) }

// Attempt returns one attempt of a job.
func (v *View) Attempt(id string, epoch uint64) (*Attempt, error) {
	return one(v, keyAttempt(id, epoch), new(Attempt))
}

// Attempts returns all attempts of a job, by epoch.
func (v *View) Attempts(id string) ([]*Attempt, error) {
	return all[Attempt](v, newKey(tagAttempt).raw(id))
}

// Results returns the results of a COMPLETED job, also after it was archived.
func (v *View) Results(id string) (*Results, error) { return one(v, keyResults(id), new(Results)) }

// ManifestParts yields the parts of an attempt's manifest from part from on: those that were committed, or
// those staged so far.
func (v *View) ManifestParts(id string, epoch uint64, from int32) iter.Seq2[*ManifestPart, error] {
	return func(yield func(*ManifestPart, error) bool) {
		results, err := v.Results(id)
		committed := err == nil && results.Epoch == epoch
		for part := max(from, 0); !committed || part < results.Parts; part++ {
			p, err := one(v, keyPart(id, epoch, part), new(ManifestPart))
			if errors.Is(err, ErrNotFound) {
				return
			}
			if !yield(p, err) || err != nil {
				return
			}
		}
	}
}

// Users returns the jobs that took results of a job as input.
func (v *View) Users(id string) ([]string, error) {
	var users []string
	seen := map[string]bool{}
	err := v.each(newKey(tagUsedBy).raw(id), nil, false, func(item *badger.Item) (bool, error) {
		k := item.Key()
		if user := string(k[len(k)-ids.JobLen:]); !seen[user] {
			seen[user] = true
			users = append(users, user)
		}
		return true, nil
	})
	return users, err
}

// MemberUse is a job that took a file of another one's collection.
type MemberUse struct{ Path, Job string }

// MemberUses returns up to limit jobs that took single files of a result that is a collection, by path.
func (v *View) MemberUses(id, collection string, limit int) ([]MemberUse, error) {
	prefix := newKey(tagUsedBy).raw(id).raw(collection + "/")
	var found []MemberUse
	err := v.each(prefix, nil, false, func(item *badger.Item) (bool, error) {
		k := item.Key()
		if len(found) == limit || len(k) < len(prefix)+2+ids.JobLen {
			return false, nil
		}
		end := len(k) - ids.JobLen
		found = append(found, MemberUse{Path: string(k[len(prefix) : end-2]), Job: string(k[end:])}) // 2 bytes end a text
		return true, nil
	})
	return found, err
}

// Taken says who took a result of a job.
type Taken struct {
	By   []TakenBy // by id, at most maxTaken
	More bool      // there are more, or jobs that took single files of it
}

// TakenBy is a job that took a result, and its roles, separated by commas.
type TakenBy struct{ Job, Role string }

// maxTaken is how many jobs Taken names.
const maxTaken = 8

// UsedResults tells which results of a job others took, drafts among them. It looks at up to limit results.
func (v *View) UsedResults(id string, limit int) (map[string]Taken, error) {
	prefix := newKey(tagUsedBy).raw(id)
	if v.taken == nil { // one for all jobs that a view asks for: to make it costs more than to use it
		v.taken = v.txn.NewIterator(badger.IteratorOptions{Prefix: newKey(tagUsedBy)})
	}
	used := map[string]Taken{}
	for v.taken.Seek(prefix); v.taken.ValidForPrefix(prefix); {
		k := v.taken.Item().Key()
		end := len(k) - ids.JobLen
		if end < len(prefix)+2 {
			return nil, corruptRecord(k, errKeyLength)
		}
		result, _, member := strings.Cut(string(k[len(prefix):end-2]), "/") // 2 bytes end a text
		t, known := used[result]
		if !known && len(used) == limit {
			break
		}
		switch {
		case member:
			t.More = true
			v.taken.Seek(slices.Concat(prefix, key(result), key{'/' + 1}))
		case len(t.By) == maxTaken:
			t.More = true
			v.taken.Seek(slices.Concat(prefix, key(result), key{0, 2}))
		default:
			by := TakenBy{Job: string(k[end:])}
			if err := v.taken.Item().Value(func(roles []byte) error { by.Role = string(roles); return nil }); err != nil {
				return nil, fmt.Errorf("read who took results of job %s: %w", id, err)
			}
			t.By = append(t.By, by)
			v.taken.Next()
		}
		used[result] = t
	}
	return used, nil
}

// Fragments returns what sites contributed to a job's provenance, by epoch.
func (v *View) Fragments(id string) ([]*FragmentRecord, error) {
	return all[FragmentRecord](v, newKey(tagFragment).raw(id))
}

// SiteFragment names a fragment in a site's chain. Its record is gone when the job was deleted.
type SiteFragment struct {
	Number uint64
	Job    string
	Epoch  uint64
}

// SiteFragments returns up to limit fragments of a site from a number on. A number that is missing or comes
// twice is for the verifier to report.
func (v *View) SiteFragments(site string, from uint64, limit int) ([]SiteFragment, error) {
	prefix := newKey(tagSiteFragment).text(site)
	var found []SiteFragment
	err := v.each(prefix, newKey(tagSiteFragment).text(site).u64(from), false, func(item *badger.Item) (bool, error) {
		tail := item.Key()[len(prefix):]
		found = append(found, SiteFragment{Number: keyU64(tail), Job: string(tail[8 : 8+ids.JobLen]),
			Epoch: keyU64(tail[8+ids.JobLen:])})
		return len(found) < limit, nil
	})
	return found, err
}

// Sites returns all sites by name, revoked ones too.
func (v *View) Sites() ([]*Site, error) { return all[Site](v, newKey(tagSite)) }

// Site returns one site.
func (v *View) Site(name string) (*Site, error) { return one(v, keySite(name), new(Site)) }

// SiteByKey returns the site whose present public key this is; the caller checks RevokedUs.
func (v *View) SiteByKey(public []byte) (*Site, error) {
	name, err := v.value(keySiteKey(public))
	if err != nil {
		return nil, err
	}
	s, err := v.Site(name)
	if err != nil {
		return nil, err
	}
	if string(s.PublicKey) != string(public) {
		return nil, ErrNotFound
	}
	return s, nil
}

func (v *View) value(k key) (string, error) {
	item, err := v.txn.Get(k)
	if errors.Is(err, badger.ErrKeyNotFound) {
		return "", ErrNotFound
	}
	if err != nil {
		return "", fmt.Errorf("read %q: %w", []byte(k), err)
	}
	value, err := item.ValueCopy(nil)
	return string(value), err
}

// Definitions returns the newest version of each definition, by name.
func (v *View) Definitions() ([]*Definition, error) {
	versions, err := all[Definition](v, newKey(tagDefinition))
	if err != nil {
		return nil, err
	}
	var newest []*Definition
	for _, d := range versions {
		if n := len(newest); n > 0 && newest[n-1].Name == d.Name {
			newest[n-1] = d
			continue
		}
		newest = append(newest, d)
	}
	return newest, nil
}

// DefinitionVersions returns all versions of a definition, oldest first.
func (v *View) DefinitionVersions(name string) ([]*Definition, error) {
	return all[Definition](v, newKey(tagDefinition).text(name))
}

// Definition returns a version of a definition, the newest when version is empty. An alias stands for the
// name.
func (v *View) Definition(name, version string) (*Definition, error) {
	if version != "" && !ids.ValidVersion(version) {
		return nil, ErrNotFound
	}
	real, err := v.value(keyAlias(name))
	switch {
	case err == nil:
		name = real
	case !errors.Is(err, ErrNotFound):
		return nil, err
	}
	if version != "" {
		return one(v, keyDefinition(name, version), new(Definition))
	}
	versions, err := v.DefinitionVersions(name)
	if err != nil {
		return nil, err
	}
	if len(versions) == 0 {
		return nil, ErrNotFound
	}
	return versions[len(versions)-1], nil
}

// Content returns the record of a file.
func (v *View) Content(sha string) (*Content, error) {
	if !ids.ValidSHA256(sha) {
		return nil, ErrNotFound
	}
	return one(v, keyContent(sha), new(Content))
}

// InDefinition tells whether a file is one of a published definition.
func (v *View) InDefinition(sha string) (found bool, err error) {
	if !ids.ValidSHA256(sha) {
		return false, nil
	}
	err = v.each(newKey(tagReference).sha(sha).raw(string(holderDefinition)), nil, false, func(*badger.Item) (bool, error) {
		found = true
		return false, nil
	})
	return found, err
}

// Unreferenced returns up to limit files that nobody has held since before the time given, in microseconds.
func (v *View) Unreferenced(beforeUs int64, limit int) ([]string, error) {
	var found []string
	err := v.each(newKey(tagUnreferenced), nil, false, func(item *badger.Item) (bool, error) {
		k := item.Key()
		if len(found) == limit || int64(keyU64(k[1:])) >= beforeUs {
			return false, nil
		}
		found = append(found, hexSHA(k[9:]))
		return true, nil
	})
	return found, err
}

// Due is a job whose destruction time came.
type Due struct {
	Job   string
	DueUs int64
}

// DestructionsDue returns up to limit jobs to be destroyed at or before the time given, in microseconds.
func (v *View) DestructionsDue(us int64, limit int) ([]Due, error) {
	var found []Due
	err := v.each(newKey(tagDestroy), nil, false, func(item *badger.Item) (bool, error) {
		k := item.Key()
		due := int64(keyU64(k[1:]))
		if len(found) == limit || due > us {
			return false, nil
		}
		found = append(found, Due{Job: string(k[9:]), DueUs: due})
		return true, nil
	})
	return found, err
}

// NextDestruction returns the earliest destruction time, 0 when there is none.
func (v *View) NextDestruction() (int64, error) {
	due, err := v.DestructionsDue(maxTimeUs, 1)
	if err != nil || len(due) == 0 {
		return 0, err
	}
	return due[0].DueUs, nil
}

// PurgeQueue returns up to limit jobs that have something to be purged.
func (v *View) PurgeQueue(limit int) ([]string, error) {
	var found []string
	err := v.each(newKey(tagPurge), nil, false, func(item *badger.Item) (bool, error) {
		if len(found) == limit {
			return false, nil
		}
		found = append(found, string(item.Key()[1:]))
		return true, nil
	})
	return found, err
}
