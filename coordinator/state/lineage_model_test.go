package state

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/dgraph-io/badger/v4"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"consort/coordinator/command"
	"consort/shared/ids"
	"consort/shared/prov"
)

// lineage is what the indexes of lineage must hold: keys with a description of their values.
type lineage map[string]string

func (l lineage) use(j *Job, entity, role string) {
	k := string(keyUse(entity, j))
	l[k] = strings.TrimPrefix(l[k]+","+role, ",")
	roles := strings.Split(l[k], ",")
	slices.Sort(roles)
	l[k] = strings.Join(slices.Compact(roles), ",")
}

func (l lineage) occur(sha, entity, what string) { l[string(keyOccurrence(sha, entity))] = what }

func (l lineage) found(j *Job, kind byte, texts ...string) {
	l[string(keyFound(j, kind, texts...))] = ""
}

// checkLineage holds that the indexes of lineage are what follows from the records. Nothing waits for a purge.
func checkLineage(t rapid.TB, s *Store) {
	want, got := lineage{}, lineage{}
	err := s.View(func(v *View) error {
		heads, err := all[Job](v, newKey(tagJob))
		if err != nil {
			return err
		}
		for _, j := range heads {
			if err := want.job(v, j); err != nil {
				return err
			}
		}
		return v.each(nil, nil, true, func(item *badger.Item) (bool, error) {
			k := string(item.KeyCopy(nil))
			value, err := item.ValueCopy(nil)
			switch {
			case k[0] == tagUse:
				roles := strings.Split(string(value), ",")
				slices.Sort(roles)
				got[k] = strings.Join(roles, ",")
			case k[0] == tagFound && k[1] != foundDefinition && k[1] != foundOwner:
				got[k] = ""
			case k[0] == tagOccurrence:
				r := new(OccurrenceRecord)
				if err := proto.Unmarshal(value, r); err != nil {
					return false, err
				}
				got[k] = describeOccurrence(r)
				if r.Kind != OccurrenceRecord_INPUT {
					break
				}
				if _, err := v.value(keyUse(r.Entity, mustHead(v, r.Job))); err != nil {
					t.Fatalf("%v: its job does not use it: %v", r, err)
				}
			}
			return true, err
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	if !maps.Equal(want, got) {
		for _, k := range slices.Sorted(maps.Keys(want)) {
			if got[k] != want[k] {
				t.Logf("%q: %q, want %q", k, got[k], want[k])
			}
		}
		for _, k := range slices.Sorted(maps.Keys(got)) {
			if _, has := want[k]; !has {
				t.Logf("%q: %q, want nothing", k, got[k])
			}
		}
		t.Fatal("the lineage does not follow from the records")
	}
}

func describeOccurrence(r *OccurrenceRecord) string {
	if r.Kind == OccurrenceRecord_INPUT {
		return "INPUT " + r.Entity // of any job that uses it
	}
	return fmt.Sprint(r.Kind, r.Job, r.Epoch, r.Entity, r.Part, r.Output, r.Path)
}

// job adds what follows from one job's records.
func (l lineage) job(v *View, j *Job) error {
	spec, err := v.Spec(j.Id)
	if err != nil {
		spec = new(Spec) // purged
	}
	attempts, err := v.Attempts(j.Id)
	if err != nil {
		return err
	}
	l.files(v, j)
	known := j.QueuedUs > 0 || j.Deleted
	for _, in := range spec.Inputs {
		if in.Source == command.Input_JOB {
			if source := mustHead(v, in.FromJob); source.Deleted {
				entity := prov.ResultID(in.FromJob, in.FromResult).Local
				l.occur(in.Sha256, entity, fmt.Sprint("RESULT", in.FromJob, source.CommitEpoch, entity, 0, "", ""))
			}
			if known {
				l.use(j, prov.ResultID(in.FromJob, in.FromResult).Local, in.Name)
			}
		}
		if in.Upload != "" && known {
			l.external(j, prov.UploadID(in.Upload).Local, in.Sha256, in.Name)
		}
	}
	for _, e := range spec.Externals {
		l.external(j, e.Entity, e.Sha256, e.Role)
	}
	for _, a := range attempts {
		l.attempt(j, spec, a)
	}
	if final(j) && !j.Deleted {
		for _, p := range spec.Parameters {
			for _, value := range p.Values {
				l.found(j, foundParameter, j.Definition, p.Name, value)
			}
		}
		if !slices.ContainsFunc(spec.Parameters, func(p *command.Parameter) bool { return p.Name == "n" }) {
			l.found(j, foundParameter, j.Definition, "n", "7")
		}
	}
	return nil
}

func (l lineage) external(j *Job, entity, sha, role string) {
	l.use(j, entity, role)
	l.occur(sha, entity, "INPUT "+entity)
}

func (l lineage) attempt(j *Job, spec *Spec, a *Attempt) {
	if final(j) && !j.Deleted {
		l.found(j, foundSite, a.Site)
	}
	if a.open() || j.Deleted {
		return
	}
	f := a.GetFacts()
	n := 0 // of the inputs by URL, which the transfers are in the tests
	for _, in := range spec.Inputs {
		if in.Url == "" {
			continue
		}
		if n < len(f.GetTransfers()) {
			sum := f.Transfers[n].Sha256
			l.external(j, prov.ExternalID(in.Url, sum).Local, sum, in.Name)
		}
		n++
	}
	for _, log := range f.GetLogs() {
		if log.Size > 0 {
			entity := prov.ResultID(j.Id, log.Name).Local
			l.occur(log.Sha256, entity, fmt.Sprint("LOG", j.Id, a.Epoch, entity, 0, "", ""))
		}
	}
	if final(j) && f.GetImage() != "" {
		l.found(j, foundImage, f.Image)
		l.found(j, foundSoftware, f.Software[0].Name, f.Software[0].Version)
	}
}

func (l lineage) files(v *View, j *Job) {
	for epoch := range j.Epoch + 2 {
		for part := range int32(3) {
			p, err := one(v, keyPart(j.Id, epoch, part), new(ManifestPart))
			if err != nil {
				continue
			}
			for _, f := range p.Files {
				l.occur(f.Sha256, prov.MemberID(j.Id, f.Output, f.Path).Local,
					fmt.Sprint("FILE", j.Id, epoch, "", part, f.Output, f.Path))
			}
		}
	}
}

// mustHead returns a job's head, an empty one of an id like no other when there is none.
func mustHead(v *View, id string) *Job {
	j, err := v.Head(id)
	if err != nil {
		return &Job{Id: strings.Repeat("x", ids.JobLen)}
	}
	return j
}
