package provenance

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"strings"

	"consort/coordinator/command"
	"consort/coordinator/content"
	"consort/coordinator/state"
	"consort/shared/definition"
	"consort/shared/ids"
	"consort/shared/prov"
	"consort/shared/siteapi"
)

// describeMakers tells who made the definition and what its code needs.
func describeMakers(r *prov.DefinitionRecord, d *definition.Definition) {
	for _, p := range d.People {
		r.People = append(r.People, prov.PersonRecord{Name: p.Name, Role: p.Role, ORCID: p.ORCID, Contact: p.Contact})
	}
	for _, s := range d.Software {
		_, digest, _ := strings.Cut(s.Image, "@")
		r.Software = append(r.Software, prov.DependencyRecord{Name: s.Name, Version: s.Version, Image: s.Image, Digest: digest})
	}
	for _, c := range d.Config {
		r.Configs = append(r.Configs, prov.ConfigDescription{Name: c.File, Template: c.Template, ContentType: configType(c.Style)})
	}
	for _, name := range d.Files {
		r.Configs = append(r.Configs, prov.ConfigDescription{Name: name, Script: name == d.Run.Script})
	}
}

func configType(style definition.Style) string {
	switch style {
	case definition.JSON:
		return "application/json"
	case definition.YAML:
		return "application/yaml"
	}
	return "text/plain"
}

// describeFetched tells of inputs by URL what was fetched for the attempt that made the results, or for the last one
// that tells.
func describeFetched(r *prov.JobRecord) {
	place := map[string]int{} // among the inputs of a role
	for i := range r.Inputs {
		in := &r.Inputs[i]
		place[in.Role]++
		if in.URL == "" || in.SHA256 != "" {
			continue
		}
		for _, t := range r.Transfers {
			if t.Direction != prov.TransferIn || t.Role != in.Role || t.Index != place[in.Role] || t.SHA256 == "" {
				continue
			}
			size := t.Bytes
			in.SHA256, in.Size = t.SHA256, &size
			if committed(r, t.Epoch) {
				break
			}
		}
	}
}

func committed(r *prov.JobRecord, epoch uint64) bool {
	for _, a := range r.Attempts {
		if a.Epoch == epoch {
			return a.Outcome == prov.OutcomeCommitted
		}
	}
	return false
}

// describeState adds what stands in records of others: the files of the definition, and what was retracted.
func describeState(r *prov.JobRecord, v *state.View) error {
	d, err := v.Definition(r.Definition.Name, r.Definition.Version)
	if err != nil {
		return err
	}
	describeConfigs(r, d)
	if err := describeGone(r, v); err != nil {
		return err
	}
	some, _, err := v.Retractions(nil, 1)
	if err != nil || len(some) == 0 {
		return err // nothing was ever taken back: there is no need to ask for each file
	}
	return describeRetractions(r, v)
}

// describeGone tells of inputs whose makers were deleted since.
func describeGone(r *prov.JobRecord, v *state.View) error {
	for i := range r.Inputs {
		in := &r.Inputs[i]
		if in.Job == "" {
			continue
		}
		maker, err := v.Head(in.Job)
		if errors.Is(err, state.ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		in.Gone, in.Deleted = maker.Deleted, timeOf(maker.DeletedUs)
	}
	return nil
}

func describeRetractions(r *prov.JobRecord, v *state.View) (err error) {
	for i := range r.Results {
		result := &r.Results[i]
		if result.Retracted, result.Withdrawn, err = taken(v, prov.ResultID(r.Job, result.ID)); err != nil {
			return err
		}
		for n := range result.Members {
			m := &result.Members[n]
			if m.Retracted, m.Withdrawn, err = taken(v, prov.MemberID(r.Job, result.ID, m.Path)); err != nil {
				return err
			}
		}
	}
	for i := range r.Inputs {
		in := &r.Inputs[i]
		if in.Retracted, in.Withdrawn, err = taken(v, prov.InputID(in)); err != nil {
			return err
		}
	}
	return nil
}

// describeConfigs tells of the files of the definition and of those made from its templates which ones they are, and
// of the job that it had its own of each. Of a template it had what was made of it.
func describeConfigs(r *prov.JobRecord, d *state.Definition) {
	files, templates := map[string]*command.BundleFile{}, map[string]bool{}
	for _, f := range d.Files {
		files[f.Path] = f
	}
	for _, c := range r.Definition.Configs {
		templates[c.Template] = true
	}
	for i := range r.Definition.Configs {
		c := &r.Definition.Configs[i]
		own := prov.ConfigRecord{Name: c.Name, Script: c.Script, Fixed: c.Template == ""}
		if f := files[cmp.Or(c.Template, c.Name)]; f != nil {
			c.SHA256 = f.Sha256
			if own.Fixed {
				own.SHA256, own.Size = f.Sha256, &f.Size
			}
		}
		if !templates[c.Name] {
			r.Configs = append(r.Configs, own)
		}
	}
}

// describeRendered tells of the configuration files as the attempt that made the results had them, or the last one
// that tells.
func describeRendered(r *prov.JobRecord, attempts []*state.Attempt) {
	var told []*command.Config
	for _, a := range attempts {
		configs := a.GetFacts().GetConfigs()
		if a.State == prov.OutcomeCommitted {
			told = configs
			break
		}
		if len(configs) > 0 {
			told = configs
		}
	}
	for _, c := range told {
		for i := range r.Configs {
			own := &r.Configs[i]
			if own.Name == c.Name && !own.Fixed && ids.ValidSHA256(c.Sha256) && c.Size >= 0 {
				own.SHA256, own.Size = c.Sha256, &c.Size
			}
		}
	}
}

// taken is how an entity was taken back: what stands, which is nil where nothing does, and what was withdrawn.
func taken(v *state.View, entity prov.QName) (stands *prov.RetractionRecord, withdrawn []prov.RetractionRecord, err error) {
	newest, err := v.Retraction(entity.Local)
	if errors.Is(err, state.ErrNotFound) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	for _, r := range append(newest.Former, newest) {
		record := prov.RetractionRecord{Time: timeOf(r.TimeUs), By: r.By, Reason: r.Reason}
		if r.WithdrawnUs == 0 {
			return &record, withdrawn, nil
		}
		record.Withdrawn, record.WithdrawnBy = timeOf(r.WithdrawnUs), r.WithdrawnBy
		withdrawn = append(withdrawn, record)
	}
	return nil, withdrawn, nil
}

// describeInternal reads what the code told of its own provenance, while it is kept.
func (s *Service) describeInternal(r *prov.JobRecord) {
	if !r.Destroyed.IsZero() {
		return
	}
	for _, l := range r.Logs {
		if l.ID != siteapi.LogProvenance {
			continue
		}
		if l.FullSize > *l.Size {
			r.InternalError = fmt.Sprintf("the file %s has %d bytes, at most %d are kept", siteapi.ProvenanceFile, l.FullSize, siteapi.MaxProvenance)
			return
		}
		if *l.Size == 0 {
			r.InternalError = "the file " + siteapi.ProvenanceFile + " is empty, or not a regular file"
			return
		}
		var err error
		if r.Internal, err = s.readInternal(l.SHA256); errors.Is(err, content.ErrNotFound) {
			r.InternalError = "the file " + siteapi.ProvenanceFile + " is not here"
		} else if err != nil {
			r.InternalError = "the file " + siteapi.ProvenanceFile + " cannot be read"
		}
	}
}

func (s *Service) readInternal(sha string) ([]byte, error) {
	f, err := s.cfg.Files.Open(sha)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, siteapi.MaxProvenance+1))
}
