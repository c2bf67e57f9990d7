package state

import (
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"consort/coordinator/command"
	"consort/shared/ids"
	"consort/shared/prov"
)

// Bounds of the keys by which one job that ended can be found: all further ones are left out.
const (
	maxFoundText  = 256 // bytes of one text
	maxFoundKeys  = 500
	maxFoundBytes = 64 << 10
	maxFoundTries = 1_000 // attempts looked at, newest first
	maxLogs       = 3
)

// use notes that a job used an entity, in a role.
func (t *tx) use(j *Job, entity, role string) {
	k := keyUse(entity, j)
	old, _ := t.raw(k)
	if roles := strings.Split(string(old), ","); !slices.Contains(roles, role) {
		t.set(k, []byte(strings.TrimPrefix(string(old)+","+role, ",")))
	}
}

// occur notes where the content of an input occurs, unless another job did.
func (t *tx) occur(j *Job, entity, sha string) {
	if k := keyOccurrence(sha, entity); !t.has(k) {
		t.put(k, &OccurrenceRecord{Kind: OccurrenceRecord_INPUT, Job: j.Id, Entity: entity})
	}
}

// inputEntity names the entity of an input whose content the request tells; empty for others: values of
// parameters are no entities, and what a URL answers with is known later.
func inputEntity(in *command.Input) string {
	switch {
	case in.Source == command.Input_JOB:
		return prov.ResultID(in.FromJob, in.FromResult).Local
	case in.Source == command.Input_UPLOAD && in.Upload != "":
		return prov.UploadID(in.Upload).Local
	}
	return ""
}

// useInputs notes what a job uses when it leaves PENDING. From then on its inputs are fixed.
func (t *tx) useInputs(j *Job, spec *Spec) {
	for _, in := range spec.Inputs {
		entity := inputEntity(in)
		if entity == "" {
			continue
		}
		t.use(j, entity, in.Name)
		if in.Source == command.Input_UPLOAD {
			t.occur(j, entity, in.Sha256)
		}
	}
}

// externals are the inputs by URL whose content an attempt told: its transfers stand in the order of the
// inputs of each role.
func externals(spec *Spec, f *command.Facts) []*External {
	var told []*External
	count := map[string]int{}
	for _, in := range spec.Inputs {
		n := count[in.Name]
		count[in.Name]++
		if in.Source != command.Input_URL {
			continue
		}
		if sha := receivedSHA(f, in.Name, n); sha != "" {
			told = append(told, &External{Role: in.Name, Entity: prov.ExternalID(in.Url, sha).Local, Sha256: sha})
		}
	}
	return told
}

// receivedSHA is the SHA-256 of the n-th file, from 0, that an attempt fetched for a role; empty if it told none.
func receivedSHA(f *command.Facts, role string, n int) string {
	for _, transfer := range f.GetTransfers() {
		if transfer.Out || transfer.Name != role {
			continue
		}
		if n == 0 {
			if ids.ValidSHA256(transfer.Sha256) {
				return transfer.Sha256
			}
			return ""
		}
		n--
	}
	return ""
}

// conclude notes what an attempt that ends has told: what URLs answered with, and its logs. An empty log is
// like any other and says nothing.
func (t *tx) conclude(j *Job, a *Attempt) {
	if j.Deleted || a.Facts == nil {
		return
	}
	if len(a.Facts.Transfers) > 0 {
		for _, e := range externals(t.spec(j.Id), a.Facts) {
			t.use(j, e.Entity, e.Role)
			t.occur(j, e.Entity, e.Sha256)
		}
	}
	for _, l := range a.Facts.Logs {
		if entity := logEntity(j.Id, l); l.Size > 0 {
			t.put(keyOccurrence(l.Sha256, entity),
				&OccurrenceRecord{Kind: OccurrenceRecord_LOG, Job: j.Id, Epoch: a.Epoch, Entity: entity})
		}
	}
}

func logEntity(job string, l *command.Log) string { return prov.ResultID(job, l.Name).Local }

// occurFiles notes where the content of a part's files occurs. Nobody sees it before the part is committed.
func (t *tx) occurFiles(job string, epoch uint64, part int32, files []*command.File) {
	for _, f := range files {
		t.put(keyFile(job, f), &OccurrenceRecord{Kind: OccurrenceRecord_FILE, Job: job, Epoch: epoch, Part: part,
			Output: f.Output, Path: f.Path})
	}
}

// keyFile is the occurrence of a file of a manifest. Whether its result is a collection is not known when it
// is staged, so each stands under the name it would have as a member.
func keyFile(job string, f *command.File) key {
	return keyOccurrence(f.Sha256, prov.MemberID(job, f.Output, f.Path).Local)
}

// requestOf is the digest of what a job computed, nil when it is not to be recognised again. The facts are
// those of the attempt that computed it.
func (t *tx) requestOf(j *Job, f *command.Facts) []byte {
	spec := t.spec(j.Id)
	inputs := slices.Clone(spec.Inputs)
	count := map[string]int{}
	for i, in := range inputs {
		n := count[in.Name]
		count[in.Name]++
		if in.Source == command.Input_URL {
			inputs[i] = &command.Input{Name: in.Name, Sha256: receivedSHA(f, in.Name, n)}
		}
	}
	request, _ := RequestDigest(j.Digest, inputs, spec.Parameters, t.definition(j).Defaults)
	return request
}

// finder collects the keys by which a job can be found, within bounds.
type finder struct {
	job  *Job
	keys []key
	seen map[string]bool
	size int
}

func (f *finder) add(kind byte, texts ...string) {
	if slices.ContainsFunc(texts, func(text string) bool { return len(text) > maxFoundText }) {
		return
	}
	k := keyFound(f.job, kind, texts...)
	if f.seen[string(k)] || len(f.keys) == maxFoundKeys || f.size+len(k) > maxFoundBytes {
		return
	}
	f.seen[string(k)] = true
	f.keys = append(f.keys, k)
	f.size += len(k)
}

// foundKeys are the keys by which a job that ended can be found, but for those that follow from its head. An
// attempt's image and software count when it has ended: then they stay.
func (t *tx) foundKeys(j *Job) []key {
	f := &finder{job: j, seen: map[string]bool{}}
	for n := range min(j.Epoch, maxFoundTries) {
		a := new(Attempt)
		if !t.get(keyAttempt(j.Id, j.Epoch-n), a) {
			continue
		}
		f.add(foundSite, a.Site)
		if a.open() {
			continue
		}
		if image := a.GetFacts().GetImage(); image != "" {
			f.add(foundImage, image)
		}
		for _, s := range a.GetFacts().GetSoftware() {
			f.add(foundSoftware, s.Name, s.Version)
		}
	}
	f.parameters(t.spec(j.Id), t.definition(j).Defaults)
	return f.keys
}

// parameters adds the effective values. Where some stand in a file, it is not known which were given, so that
// no default is taken for a value.
func (f *finder) parameters(spec *Spec, defaults []*command.Parameter) {
	if slices.ContainsFunc(spec.Inputs, func(in *command.Input) bool { return in.Source == command.Input_PARAMETERS }) {
		defaults = nil
	}
	for _, p := range effective(spec.Parameters, defaults) {
		if p.Secret {
			continue
		}
		for _, value := range p.Values {
			f.add(foundParameter, f.job.Definition, p.Name, value)
		}
	}
}

// endedNow tells whether a change ends a job, or the attempt that it left behind when it ended.
func endedNow(before, after *Job) bool {
	if !final(after) || after.Deleted {
		return false
	}
	return before == nil || !final(before) || before.AttemptOpen && !after.AttemptOpen
}

// spec returns what a job was asked to do; an empty one when it is gone.
func (t *tx) spec(id string) *Spec {
	spec := new(Spec)
	t.get(keySpec(id), spec)
	return spec
}

// definition returns the version of the definition that a job runs.
func (t *tx) definition(j *Job) *Definition {
	d := new(Definition)
	t.get(keyDefinition(j.Definition, j.DefinitionVersion), d)
	return d
}

// lookup is get for functions that views use too.
func (t *tx) lookup(k key, m proto.Message) (bool, error) {
	found := t.get(k, m)
	return found, t.err
}
