// Package provenance answers what is asked about where results come from: the record of a job, made from the facts
// that the commands left in the state, a pure function of them, so that a record read today and in ten years is the
// same; and, over all jobs of the federation, ancestors and descendants, who used a file, what became of one that
// turned out wrong, how two jobs differ, and whether the evidence still holds.
//
// It is free of HTTP, and of formats: those are package prov's. Everybody sees what they may read; what lies between
// stands as redacted nodes, so that no chain is cut. Questions are answered by a walk (walk.go) that reads jobs' heads,
// specs and results by the indexes of package state, and is bounded, in pages; Query then makes the graph of it out
// of the records of the jobs on the page (assemble.go).
package provenance

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"strings"
	"time"

	"consort/coordinator/auth"
	"consort/coordinator/command"
	"consort/coordinator/definitions"
	"consort/coordinator/jobs"
	"consort/coordinator/state"
	"consort/shared/definition"
	"consort/shared/prov"
	"consort/shared/uws"
)

// Log is the replicated log, and linearizable reads on it.
type Log interface {
	Propose(ctx context.Context, c *command.Command) (*command.Result, error)
	WaitRead(ctx context.Context) error
}

// State is the store to read from.
type State interface {
	View(func(*state.View) error) error
}

// Files is the content store.
type Files interface {
	Open(sha256 string) (*os.File, error)
	Verify(ctx context.Context, sha256 string) error
}

// Definitions finds published definitions by name@version. It fails with definitions.ErrNotFound.
type Definitions interface {
	Get(ref string) (*definitions.Entry, error)
}

// Config wires a Service.
type Config struct {
	Jobs        *jobs.Service
	Definitions Definitions
	Log         Log
	State       State
	Files       Files
	Guard       *auth.Guard
	Version     string // of this program
	// Secret is the same on all nodes of a cluster and known to nobody else: ids of redacted nodes are made with it.
	Secret []byte
}

// Service gives provenance records.
type Service struct{ cfg Config }

// New returns a Service.
func New(cfg Config) *Service { return &Service{cfg} }

// Graph returns the provenance of a job that p may read, in any phase.
func (s *Service) Graph(ctx context.Context, p auth.Principal, list, id string) (*prov.Graph, error) {
	job, err := s.cfg.Jobs.Get(ctx, p, list, id)
	if err != nil {
		return nil, err
	}
	attempts, err := s.cfg.Jobs.Attempts(ctx, p, id)
	if err != nil {
		return nil, err
	}
	record, err := s.record(ctx, job, attempts, everything)
	if err != nil {
		return nil, err
	}
	var authority string
	err = s.cfg.State.View(func(v *state.View) error {
		_, authority = v.Cluster()
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the authority: %w", err)
	}
	return prov.FromRecord(*record, authority)
}

// detail says how much a record tells of what may be large.
type detail struct {
	members  int64 // collections of more files are told without their files
	internal bool  // with what the code told of its own provenance
}

var everything = detail{members: math.MaxInt64, internal: true}

// record is what is known about a job.
func (s *Service) record(ctx context.Context, job *jobs.Job, attempts []*state.Attempt, d detail) (*prov.JobRecord, error) {
	record := &prov.JobRecord{Controller: prov.SoftwareRecord{Name: "consort", Version: s.cfg.Version}}
	describeJob(record, job)
	describeDefinition(&record.Definition, job.Definition, job.Digest)
	describeValues(record, job)
	describeAttempts(record, job, attempts)
	describeFetched(record)
	if err := s.describeResults(ctx, record, job, d.members); err != nil {
		return nil, err
	}
	if err := s.cfg.State.View(func(v *state.View) error { return describeState(record, v) }); err != nil {
		return nil, fmt.Errorf("read what belongs to the record of job %s: %w", job.Id, err)
	}
	describeRendered(record, attempts)
	if d.internal {
		s.describeInternal(record)
	}
	return record, nil
}

func describeJob(r *prov.JobRecord, j *jobs.Job) {
	r.Job, r.RunID, r.Phase = j.Id, j.RunId, j.Phase
	r.Owner.ID = j.Owner
	r.Created, r.Queued, r.Started, r.Ended = timeOf(j.CreatedUs), timeOf(j.QueuedUs), timeOf(j.StartedUs), timeOf(j.EndedUs)
	r.Duration = j.ExecutionSeconds
	r.Reason = j.Reason
	r.ReusedFrom = j.ReusedFrom
	if j.Failure != nil {
		r.Error = &prov.ErrorRecord{Class: j.Failure.Class, Message: j.Failure.Message}
	}
	if uws.Phase(j.Phase) == uws.Archived {
		r.Destroyed = timeOf(j.DestructionUs)
	}
}

func describeDefinition(r *prov.DefinitionRecord, d *definition.Definition, digest string) {
	*r = prov.DefinitionRecord{
		Name: d.Name, Version: d.Version, Digest: digest, Title: d.Title, Description: d.Description,
		Type: d.Type, Subtype: d.Subtype, Doc: d.Doc,
		CodeLicence: d.Licence.Code, ResultsLicence: d.Licence.Results, Cite: d.Cite,
	}
	describeMakers(r, d)
	for _, p := range d.Parameters {
		description := prov.ParameterDescription{
			Name: p.Name, Type: string(p.Type), Description: p.Description, Unit: p.Unit, UCD: p.UCD,
			Utype: p.UType, Min: p.Min.String(), Max: p.Max.String(), Secret: p.Secret,
		}
		for _, o := range p.Options {
			description.Options = append(description.Options, o.Value)
		}
		if len(p.Default) == 1 && !p.Secret {
			description.Default = &p.Default[0]
		}
		r.Parameters = append(r.Parameters, description)
	}
	for _, in := range d.Inputs {
		r.Inputs = append(r.Inputs, prov.FileDescription{
			Role: in.Name, Usage: in.Usage, Description: in.Description,
			Multiplicity: multiplicity(&in).String(), ContentTypes: in.ContentType,
		})
	}
	for _, o := range d.Outputs {
		r.Outputs = append(r.Outputs, prov.FileDescription{
			Role: o.Name, Usage: o.Usage, Description: o.Description,
			Multiplicity: o.Multiplicity.String(), ContentTypes: []string{o.ContentType},
		})
	}
}

// multiplicity counts an input that may be left out from 0.
func multiplicity(in *definition.Input) definition.Multiplicity {
	m := in.Multiplicity
	if !in.Required {
		m.Min = 0
	}
	return m
}

func describeValues(r *prov.JobRecord, j *jobs.Job) {
	for v := range j.Values.All() {
		p := prov.ParameterRecord{Name: v.Name, Type: string(j.Definition.Parameter(v.Name).Type), Default: v.Default, Secret: v.Secret}
		if !v.Secret {
			p.Values = v.Values
		}
		r.Parameters = append(r.Parameters, p)
	}
	for _, name := range j.WipedSecrets() {
		r.Parameters = append(r.Parameters, prov.ParameterRecord{Name: name, Secret: true})
	}
	for _, in := range j.Spec.Inputs {
		input := prov.InputRecord{
			Role: in.Name, SHA256: in.Sha256, MediaType: in.ContentType, Name: in.FileName,
			Upload: in.Upload, URL: in.Url, Job: in.FromJob, Result: in.FromResult,
		}
		if in.Sha256 != "" { // else it is not fetched yet
			input.Size = &in.Size
		}
		if declared := j.Definition.Input(in.Name); declared != nil && !strings.HasSuffix(declared.File, "/") {
			input.Path = declared.File
		}
		r.Inputs = append(r.Inputs, input)
	}
}

func describeAttempts(r *prov.JobRecord, j *jobs.Job, attempts []*state.Attempt) {
	for _, a := range attempts {
		f := a.GetFacts()
		record := prov.AttemptRecord{
			Epoch: a.Epoch, Site: a.Site, Agent: prov.SoftwareRecord{Name: "consort-agent", Version: f.GetAgentVersion()},
			Batch: f.GetBatchSystem(), BatchID: f.GetBatchId(), Node: f.GetNode(),
			Leased: timeOf(a.LeasedUs), Submitted: timeOf(f.GetSubmittedUs()),
			Started: timeOf(f.GetStartedUs()), Ended: timeOf(f.GetEndedUs()),
			Outcome: outcome(a.State), Signal: f.GetSignal(), Image: f.GetImage(),
			MaxRSS: f.GetUsage().GetMaxRssBytes(), Cores: j.Spec.GetResources().GetCores(),
		}
		for _, program := range f.GetSoftware() {
			record.Software = append(record.Software, prov.DependencyRecord{Name: program.Name, Version: program.Version})
		}
		if f != nil && f.ExitCode != nil {
			record.Exit = f.ExitCode
		}
		if f.GetUsage() != nil {
			record.CPUSeconds, record.WallSeconds = &f.Usage.CpuSeconds, &f.Usage.WallSeconds
		}
		if a.Class != "" {
			record.Error = &prov.ErrorRecord{Class: a.Class, Message: a.Message}
		}
		r.Attempts = append(r.Attempts, record)
		describeTransfers(r, a)
		if a.Epoch == j.Epoch {
			for _, l := range f.GetLogs() {
				r.Logs = append(r.Logs, prov.LogRecord{ID: l.Name, SHA256: l.Sha256, Size: &l.Size, FullSize: l.FullSize})
			}
		}
	}
}

// outcome is the attempt's state once it has ended.
func outcome(state string) string {
	switch state {
	case "committed", "failed", "lost", "cancelled":
		return state
	}
	return ""
}

func describeTransfers(r *prov.JobRecord, a *state.Attempt) {
	index := map[string]int{}
	for _, t := range a.GetFacts().GetTransfers() {
		record := prov.TransferRecord{
			N: len(r.Transfers) + 1, Epoch: a.Epoch, Direction: prov.TransferIn, Role: t.Name,
			Protocol: t.Protocol, Bytes: t.Bytes, Files: t.Files, SHA256: t.Sha256, Started: timeOf(t.StartUs), Ended: timeOf(t.EndUs),
		}
		if t.Out {
			record.Direction = prov.TransferOut
		} else {
			index[t.Name]++
			record.Index = index[t.Name]
		}
		r.Transfers = append(r.Transfers, record)
	}
}

func (s *Service) describeResults(ctx context.Context, r *prov.JobRecord, j *jobs.Job, members int64) error {
	if j.Results == nil {
		return nil
	}
	for _, o := range j.Results.Outputs {
		record := prov.ResultRecord{
			ID: o.Id, Name: o.FileName, MediaType: o.ContentType, SHA256: o.Sha256, Size: &o.Size, Collection: o.Collection,
		}
		if declared := j.Definition.Output(o.Id); declared != nil {
			record.DerivedFrom = presentInputs(j, j.Definition.DerivedFrom(declared))
		}
		record.Unlisted = o.Collection && o.Files > members
		if o.Collection && !record.Unlisted {
			err := s.cfg.Jobs.Members(ctx, j, o, func(f *command.File) error {
				record.Members = append(record.Members, prov.MemberRecord{Path: f.Path, MediaType: f.ContentType, SHA256: f.Sha256, Size: &f.Size})
				return nil
			})
			if err != nil && !errors.Is(err, jobs.ErrNotFound) {
				return err
			}
		}
		r.Results = append(r.Results, record)
	}
	return nil
}

// presentInputs leaves out the roles for which the job had no file.
func presentInputs(j *jobs.Job, roles []string) []string {
	var present []string
	for _, role := range roles {
		for _, in := range j.Spec.Inputs {
			if in.Name == role {
				present = append(present, role)
				break
			}
		}
	}
	return present
}

func timeOf(us int64) time.Time {
	if us == 0 {
		return time.Time{}
	}
	return time.UnixMicro(us).UTC()
}
