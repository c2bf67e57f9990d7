package state

import (
	"strings"

	"google.golang.org/protobuf/proto"

	"consort/coordinator/command"
	"consort/shared/prov"
)

// Retracted names what stands retracted of the files that a job used directly and of those that it made. Of
// the members of collections, those of the first files are looked at, as many as a job can take over.
func (v *View) Retracted(j *Job) ([]string, error) {
	if some, _, err := v.Retractions(nil, 1); err != nil || len(some) == 0 {
		return nil, err
	}
	return retractedOf(j, v.lookup)
}

// RetractedInputs names what stands retracted of the files that inputs tell of. What URLs answer with is not
// known yet.
func (v *View) RetractedInputs(inputs []*command.Input) ([]string, error) {
	return standing(inputEntities(inputs), v.lookup)
}

func (v *View) lookup(k key, m proto.Message) (bool, error) { return read(v.txn, k, m) }

func retractedOf(j *Job, get lookup) ([]string, error) {
	spec, a := new(Spec), new(Attempt)
	if _, err := get(keySpec(j.Id), spec); err != nil {
		return nil, err
	}
	if _, err := get(keyAttempt(j.Id, j.CommitEpoch), a); err != nil {
		return nil, err
	}
	entities := inputEntities(spec.Inputs)
	for _, e := range externals(spec, a.Facts) {
		entities = append(entities, e.Entity)
	}
	for _, l := range a.GetFacts().GetLogs() {
		entities = append(entities, logEntity(j.Id, l))
	}
	made, err := resultEntities(j, get)
	if err != nil {
		return nil, err
	}
	return standing(append(entities, made...), get)
}

// inputEntities are the entities of inputs, and the collections that they are members of.
func inputEntities(inputs []*command.Input) []string {
	var entities []string
	for _, in := range inputs {
		entity := inputEntity(in)
		if entity == "" {
			continue
		}
		entities = append(entities, entity)
		if collection, _, is := strings.Cut(in.FromResult, "/"); is {
			entities = append(entities, prov.ResultID(in.FromJob, collection).Local)
		}
	}
	return entities
}

// resultEntities are the results of a job, and members of those that are collections.
func resultEntities(j *Job, get lookup) ([]string, error) {
	results := new(Results)
	if _, err := get(keyResults(j.Id), results); err != nil {
		return nil, err
	}
	var entities []string
	collections := map[string]bool{}
	for _, o := range results.Outputs {
		entities = append(entities, prov.ResultID(j.Id, o.Id).Local)
		if o.Collection {
			collections[o.Id] = true
		}
	}
	if len(collections) == 0 {
		return entities, nil
	}
	files := 0
	for n := range results.Parts {
		part := new(ManifestPart)
		if _, err := get(keyPart(j.Id, j.CommitEpoch, n), part); err != nil {
			return nil, err
		}
		for _, f := range part.Files {
			if files++; files > maxReuseFiles {
				return entities, nil
			}
			if collections[f.Output] {
				entities = append(entities, prov.MemberID(j.Id, f.Output, f.Path).Local)
			}
		}
	}
	return entities, nil
}

// standing are those of the entities that are retracted, each once.
func standing(entities []string, get lookup) ([]string, error) {
	var found []string
	seen := map[string]bool{}
	for _, entity := range entities {
		if seen[entity] {
			continue
		}
		seen[entity] = true
		r := new(Retraction)
		known, err := get(keyRetraction(entity), r)
		if err != nil {
			return nil, err
		}
		if known && r.WithdrawnUs == 0 {
			found = append(found, entity)
		}
	}
	return found, nil
}
