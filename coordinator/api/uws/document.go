package uws

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"consort/coordinator/api/provform"
	"consort/coordinator/api/request"
	"consort/coordinator/command"
	"consort/coordinator/jobs"
	"consort/coordinator/state"
	"consort/shared/definition"
	"consort/shared/prov"
	"consort/shared/uws"
	"consort/shared/votable"
)

// maxInline is the greatest length in bytes of a value shown in the document itself.
const maxInline = 4 << 10

// document describes a job at its canonical URL.
func (s *Surface) document(j *jobs.Job, url string) *uws.Job {
	d := &uws.Job{
		ID:                j.Id,
		RunID:             j.RunId,
		OwnerID:           j.Owner,
		Phase:             uws.Phase(j.Phase),
		CreationTime:      timeOf(j.CreatedUs),
		StartTime:         timeOf(j.StartedUs),
		EndTime:           timeOf(j.EndedUs),
		ExecutionDuration: int32(min(j.ExecutionSeconds, 1<<31-1)),
		Destruction:       timeOf(j.DestructionUs),
		Parameters:        parameters(j, url),
		Results:           results(j, url),
		Info:              s.info(j),
	}
	if d.Phase == uws.Error {
		d.Error = errorSummary(j.Failure)
	}
	return d
}

func errorSummary(f *state.Failure) *uws.ErrorSummary {
	e := &uws.ErrorSummary{Type: uws.Fatal, HasDetail: true, Message: errorText(f)}
	if slices.Contains(definition.RetryClasses, definition.Class(f.GetClass())) {
		e.Type = uws.Transient
	}
	return e
}

// errorText is never empty, since /error must not be.
func errorText(f *state.Failure) string {
	if f.GetMessage() == "" {
		return "the job failed without a message"
	}
	return f.GetMessage()
}

func (s *Surface) info(j *jobs.Job) *uws.JobInfo {
	info := &uws.JobInfo{
		Definition: j.Job.Definition + "@" + j.DefinitionVersion,
		Site:       j.Site,
		Epoch:      j.Epoch,
		Attempt:    j.Attempt.GetState(),
		Reason:     j.Reason,
	}
	if info.Reason == "" && !uws.Phase(j.Phase).Final() {
		info.Reason = cmp.Or(s.Explain(j.Job), j.Attempt.GetFacts().GetReason())
	}
	if j.AttemptOpen {
		info.SiteUnreachableSince = s.SilentSince(j.Site)
	}
	return info
}

// parameters lists the effective values, defaults included, and the inputs. Secrets are shown to nobody.
func parameters(j *jobs.Job, url string) []uws.Parameter {
	var list []uws.Parameter
	for v := range j.Values.All() {
		if v.Secret || len(v.Values) == 0 {
			continue
		}
		if text, ok := inline(v.Values); ok {
			list = append(list, uws.Parameter{ID: v.Name, Value: text})
			continue
		}
		list = append(list, byReference(url, v.Name))
	}
	seen := map[string]int{}
	for _, in := range j.Spec.Inputs {
		parameter := byReference(url, inputID(in.Name, seen[in.Name]))
		if in.Source == command.Input_URL {
			parameter.Value = prov.PublicURL(in.Url)
		}
		list = append(list, parameter)
		seen[in.Name]++
	}
	return list
}

func byReference(url, id string) uws.Parameter {
	return uws.Parameter{ID: id, Value: url + request.Path("parameters", id), ByReference: true}
}

// inline writes values as the text of one element: ids are unique in a document, so several values share
// one, separated by blanks as DALI writes arrays. It is not ok when they cannot be told apart that way, when
// XML cannot hold them, or they are long.
func inline(values []string) (text string, ok bool) {
	text = strings.Join(values, " ")
	for _, v := range values {
		if len(values) > 1 && (v == "" || strings.ContainsAny(v, " \t\r\n")) {
			return "", false
		}
	}
	return text, len(text) <= maxInline && uws.LegalXML(text)
}

// inputID names the n-th file, from 0, of an input: name, name.2, name.3 … Names have no dots.
func inputID(name string, n int) string {
	if n == 0 {
		return name
	}
	return name + "." + strconv.Itoa(n+1)
}

// parseInputID undoes inputID.
func parseInputID(id string) (name string, n int, ok bool) {
	name, number, several := strings.Cut(id, ".")
	if !several {
		return id, 0, true
	}
	n, err := strconv.Atoi(number)
	return name, n - 1, err == nil && n >= 2 && strconv.Itoa(n) == number
}

// results lists what can be fetched of a job: its outputs, the main one first, then the logs that are
// complete, and the provenance once the job has ended. The files of an archived job are gone.
func results(j *jobs.Job, url string) []uws.Result {
	var list []uws.Result
	archived := uws.Phase(j.Phase) == uws.Archived
	if j.Results != nil && !archived {
		for _, o := range j.Results.Outputs {
			if o.Collection {
				list = append(list, uws.Result{ID: o.Id, Href: url + request.Path("results", o.Id), MimeType: votable.ContentType, Size: -1})
				continue
			}
			list = append(list, uws.Result{
				ID: o.Id, Href: url + request.Path("results", o.Id, o.FileName), MimeType: o.ContentType, Size: o.Size,
			})
		}
	}
	for _, l := range j.Attempt.GetFacts().GetLogs() {
		if !archived && isLog(l.Name) {
			list = append(list, uws.Result{ID: l.Name, Href: url + request.Path("results", l.Name), MimeType: uws.AtomType, Size: l.Size})
		}
	}
	if uws.Phase(j.Phase).Final() {
		for _, f := range provform.All() {
			list = append(list, uws.Result{ID: f.Result, Href: url + request.Path("results", f.Result), MimeType: f.ContentType(), Size: -1})
		}
	}
	return list
}
