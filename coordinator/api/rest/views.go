package rest

import (
	"strconv"
	"time"

	"github.com/gofiber/fiber/v2"

	"consort/coordinator/api/request"
	"consort/coordinator/command"
	"consort/coordinator/jobs"
	"consort/coordinator/state"
	"consort/shared/prov"
	"consort/shared/userapi"
)

func jobURL(c *fiber.Ctx, j *state.Job) string {
	return request.Base(c) + request.Path("rest", j.Definition, j.Id)
}

func summary(c *fiber.Ctx, j *state.Job) userapi.Summary {
	return userapi.Summary{
		ID: j.Id, URL: jobURL(c, j), Definition: j.Definition, Owner: j.Owner, RunID: j.RunId, Phase: j.Phase,
		Site: j.Site, Created: timeOf(j.CreatedUs), Started: timeOf(j.StartedUs), Ended: timeOf(j.EndedUs), Reason: j.Reason,
	}
}

func job(c *fiber.Ctx, j *jobs.Job, attempts []*state.Attempt) userapi.Job {
	view := userapi.Job{
		ID: j.Id, URL: jobURL(c, j.Job), Definition: j.Job.Definition, DefinitionVersion: j.DefinitionVersion,
		DefinitionDigest: j.Digest, Owner: j.Owner, RunID: j.RunId, Phase: j.Phase, Version: j.Version, Reason: j.Reason,
		Created: timeOf(j.CreatedUs), Queued: timeOf(j.QueuedUs), Started: timeOf(j.StartedUs), Ended: timeOf(j.EndedUs),
		Destruction: timeOf(j.DestructionUs), ExecutionSeconds: j.ExecutionSeconds,
		ReusedFrom: j.ReusedFrom,
		Parameters: []userapi.Parameter{}, Inputs: []userapi.Input{}, Results: []userapi.Result{}, Attempts: []userapi.Attempt{},
	}
	if j.Failure != nil {
		view.Error = &userapi.Error{Class: j.Failure.Class, Message: j.Failure.Message}
	}
	for v := range j.Values.All() {
		p := userapi.Parameter{Name: v.Name, Default: v.Default, Secret: v.Secret, Unit: j.Definition.Parameter(v.Name).Unit}
		if !v.Secret {
			p.Values = v.Values
		}
		view.Parameters = append(view.Parameters, p)
	}
	for _, name := range j.WipedSecrets() {
		view.Parameters = append(view.Parameters, userapi.Parameter{Name: name, Secret: true})
	}
	view.Inputs = append(view.Inputs, inputs(c, j)...)
	if j.Results != nil {
		for _, o := range j.Results.Outputs {
			view.Results = append(view.Results, result(c, j, o))
		}
	}
	for _, a := range attempts {
		view.Attempts = append(view.Attempts, attempt(a))
	}
	return view
}

func inputs(c *fiber.Ctx, j *jobs.Job) []userapi.Input {
	var views []userapi.Input
	seen := map[string]int{}
	for _, in := range j.Spec.Inputs {
		source := "upload"
		switch {
		case in.Source == command.Input_JOB:
			source = "job"
		case in.Source == command.Input_URL:
			source = "url"
		}
		parameter := in.Name
		if seen[in.Name]++; seen[in.Name] > 1 {
			parameter += "." + strconv.Itoa(seen[in.Name]) // as in UWS
		}
		views = append(views, userapi.Input{
			Name: in.Name, Source: source, FileName: in.FileName, SHA256: in.Sha256, Size: in.Size,
			ContentType: in.ContentType, FromJob: in.FromJob, FromResult: in.FromResult,
			FromURL: publicURL(in.Url), URL: jobURL(c, j.Job) + request.Path("parameters", parameter),
		})
	}
	return views
}

func publicURL(address string) string {
	if address == "" {
		return ""
	}
	return prov.PublicURL(address)
}

func result(c *fiber.Ctx, j *jobs.Job, o *command.Output) userapi.Result {
	return userapi.Result{
		ID: o.Id, URL: jobURL(c, j.Job) + request.Path("results", o.Id), FileName: o.FileName, ContentType: o.ContentType,
		Size: o.Size, SHA256: o.Sha256, Collection: o.Collection, Files: o.Files,
	}
}

func member(c *fiber.Ctx, j *jobs.Job, o *command.Output, f *command.File) userapi.Member {
	return userapi.Member{
		Path: f.Path, URL: jobURL(c, j.Job) + request.Path("results", o.Id, f.Path), SHA256: f.Sha256,
		Size: f.Size, ContentType: f.ContentType,
	}
}

func attempt(a *state.Attempt) userapi.Attempt {
	f := a.GetFacts()
	view := userapi.Attempt{
		Epoch: a.Epoch, Site: a.Site, State: a.State, BatchSystem: f.GetBatchSystem(), BatchID: f.GetBatchId(),
		Node: f.GetNode(), Leased: timeOf(a.LeasedUs), Running: timeOf(a.RunningUs), Closed: timeOf(a.ClosedUs),
		Signal: f.GetSignal(), CPUSeconds: f.GetUsage().GetCpuSeconds(), MaxRSSBytes: f.GetUsage().GetMaxRssBytes(),
	}
	if f != nil && f.ExitCode != nil {
		code := int(*f.ExitCode)
		view.ExitCode = &code
	}
	if a.Class != "" {
		view.Error = &userapi.Error{Class: a.Class, Message: a.Message}
	}
	return view
}

func definitionSummary(c *fiber.Ctx, r *state.Definition) userapi.DefinitionSummary {
	return userapi.DefinitionSummary{
		Name: r.Name, Version: r.Version, Digest: r.Digest, Title: r.Title, Aliases: r.Aliases,
		Published: timeOf(r.PublishedUs), URL: request.Base(c) + request.Path("rest", r.Name),
	}
}

func timeOf(us int64) time.Time {
	if us == 0 {
		return time.Time{}
	}
	return time.UnixMicro(us).UTC()
}
