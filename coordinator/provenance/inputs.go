package provenance

import (
	"errors"

	"consort/coordinator/command"
	"consort/coordinator/state"
	"consort/shared/prov"
)

// input is a file that a job used.
type input struct {
	local, role string
	info        FileInfo
}

// inputsOf lists the files that a job used, as its spec and, for what URLs answered with, its attempts tell.
func inputsOf(v *state.View, head *state.Job) ([]input, error) {
	spec, err := v.Spec(head.Id)
	if errors.Is(err, state.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var fetched map[string][]*command.Transfer
	number := map[string]int{}
	used := make([]input, 0, len(spec.Inputs))
	for _, in := range spec.Inputs {
		if in.Source == command.Input_PARAMETERS {
			continue
		}
		sha, size := in.Sha256, in.Size
		if in.Source == command.Input_URL && sha == "" {
			if fetched == nil {
				if fetched, err = fetchedBy(v, head); err != nil {
					return nil, err
				}
			}
			if n := number[in.Name]; n < len(fetched[in.Name]) {
				sha, size = fetched[in.Name][n].Sha256, fetched[in.Name][n].Bytes
			}
		}
		number[in.Name]++
		used = append(used, input{local: entityOf(in, sha), role: in.Name, info: inputInfo(in, sha, size)})
	}
	for _, x := range spec.Externals {
		used = append(used, input{local: x.Entity, role: x.Role, info: FileInfo{SHA256: x.Sha256}})
	}
	return used, nil
}

// fetchedBy tells what the attempts fetched as the inputs of each role: that which made the results, else the last that
// fetched anything.
func fetchedBy(v *state.View, head *state.Job) (map[string][]*command.Transfer, error) {
	attempts, err := v.Attempts(head.Id)
	if err != nil {
		return nil, err
	}
	fetched := map[string][]*command.Transfer{}
	for _, a := range attempts {
		these := map[string][]*command.Transfer{}
		for _, t := range a.GetFacts().GetTransfers() {
			if !t.Out && t.Name != "" {
				these[t.Name] = append(these[t.Name], t)
			}
		}
		if len(these) > 0 {
			fetched = these
		}
		if a.Epoch == head.CommitEpoch {
			break
		}
	}
	return fetched, nil
}

// entityOf names the entity of an input, as package prov does.
func entityOf(in *command.Input, sha string) string {
	switch in.Source {
	case command.Input_JOB:
		return prov.ResultID(in.FromJob, in.FromResult).Local
	case command.Input_URL:
		return prov.ExternalID(in.Url, sha).Local
	}
	return prov.UploadID(in.Upload).Local
}

func inputInfo(in *command.Input, sha string, size int64) FileInfo {
	info := FileInfo{SHA256: sha, Size: size, MediaType: in.ContentType, Name: in.FileName, Job: in.FromJob, Result: in.FromResult, Upload: in.Upload}
	if in.Url != "" {
		info.URL = prov.PublicURL(in.Url)
	}
	return info
}

func outputInfo(job string, o *command.Output) FileInfo {
	return FileInfo{SHA256: o.Sha256, Size: o.Size, MediaType: o.ContentType, Name: o.FileName, Collection: o.Collection, Job: job, Result: o.Id}
}
