package jobs

import (
	"context"
	"crypto/sha256"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"

	"consort/coordinator/auth"
	"consort/coordinator/command"
	"consort/coordinator/content"
	"consort/coordinator/state"
	"consort/shared/definition"
	"consort/shared/failpoint"
	"consort/shared/ids"
	"consort/shared/uws"
)

// Limits of one job (DESIGN section 12).
const (
	MaxParameters    = 1000
	MaxParameterSize = 64 << 10 // bytes, all values of one parameter together
	MaxUploads       = 100
	MaxRunID         = 64  // characters (DALI 1.1, RUNID)
	MaxKey           = 200 // bytes of an Idempotency-Key
)

// Upload is a file that came with a request and is in the content store by now.
type Upload struct {
	Name        string // the input it is for
	FileName    string // as the client called it; a label only
	ContentType string
	Blob        content.Blob
}

// Request is what a user asks for in a new job, or in changing one.
type Request struct {
	Parameters map[string][]string // by name in any case; inputs given as consort:<job>/<result>, too
	Uploads    []Upload
	RunID      *string
	Execution  *int64     // seconds; 0: unlimited
	Destroy    *time.Time // absolute
}

// CreateRequest asks for a new job.
type CreateRequest struct {
	Definition string // name, or name@version
	Request
	Run bool
	// Reuse takes over the results of an earlier job that was asked for the same, where p may read one and
	// its files are there; else the job runs. It needs Run.
	Reuse bool
	// Key makes the request safe to repeat: the same key of the same principal gives the same job. Empty:
	// one is made.
	Key string
}

// Created says which job there is now.
type Created struct {
	ID         string
	Definition string // canonical name of its list
	Phase      string
	// Earlier is a completed job that was asked for the same and that the caller may read; nil when none is at hand, and
	// for drafts.
	Earlier *state.Job
	// Retracted names the files among those given that somebody took back (ent: identifiers). The job is made
	// nevertheless: it may be what shows why.
	Retracted []string
}

// Create makes a job. It fails with definitions.ErrNotFound, ErrInvalid (naming every wrong value, and what
// is missing when Run is asked for), ErrTooLarge or ErrKeyConflict.
func (s *Service) Create(ctx context.Context, p auth.Principal, r CreateRequest) (*Created, error) {
	if err := s.cfg.Guard.Allow(p, auth.CreateJob, ""); err != nil {
		return nil, err
	}
	if len(r.Key) > MaxKey {
		return nil, fmt.Errorf("%w: the Idempotency-Key is longer than %d bytes", ErrInvalid, MaxKey)
	}
	if r.Reuse && !r.Run {
		return nil, fmt.Errorf("%w: earlier results are reused by a job that runs at once: ask for PHASE=RUN, too", ErrInvalid)
	}
	if low, _, err := s.cfg.Files.Low(); err != nil || low {
		return nil, fmt.Errorf("create a job: %w", content.ErrDiskLow)
	}
	body, hash, err := s.prepare(ctx, p, r)
	if err != nil {
		return nil, err
	}
	if r.Key == "" {
		r.Key = ids.NewKey()
	}
	if r.Reuse {
		if made, err := s.reuse(ctx, p, r.Key, hash, body); made != nil || err != nil {
			return made, err
		}
	}
	return s.create(ctx, p, r.Key, hash, body)
}

// prepare checks a request and makes the command for it, and the hash by which its repeat is known.
func (s *Service) prepare(ctx context.Context, p auth.Principal, r CreateRequest) (*command.CreateJob, []byte, error) {
	entry, err := s.cfg.Definitions.Get(r.Definition)
	if err != nil {
		return nil, nil, err
	}
	d := entry.Definition
	asked, err := s.resolve(ctx, p, d, r.Request, r.Run)
	if err != nil {
		return nil, nil, err
	}
	hash, err := requestHash(r, asked)
	if err != nil {
		return nil, nil, err
	}
	parameters, folded, err := s.fold(ctx, asked.parameters)
	if err != nil {
		return nil, nil, err
	}
	if folded != nil {
		asked.inputs = append(asked.inputs, folded)
	}
	body := &command.CreateJob{
		Owner:               p.Owner(),
		Definition:          d.Name,
		Version:             d.Version,
		Digest:              entry.Record.Digest,
		Parameters:          parameters,
		Inputs:              asked.inputs,
		Resources:           asked.resources,
		ExecutionSeconds:    seconds(d.Duration.Default),
		MaxExecutionSeconds: seconds(d.Duration.Max),
		RetentionSeconds:    seconds(d.Retention.Default),
		MaxRetentionSeconds: seconds(d.Retention.Max),
		Retry:               retryPolicy(d),
		Run:                 r.Run,
	}
	body.RunId = value(r.RunID)
	if r.Execution != nil {
		body.ExecutionSeconds = *r.Execution
	}
	if r.Destroy != nil {
		body.DestructionUs = r.Destroy.UnixMicro()
	}
	return body, hash, nil
}

func (s *Service) create(ctx context.Context, p auth.Principal, key string, hash []byte, body *command.CreateJob) (*Created, error) {
	body.Id = ids.NewJob(s.cfg.Now())
	result, err := s.propose(ctx, &command.Command{
		Principal: p.Owner(), RequestKey: key, RequestHash: hash,
		Body: &command.Command_CreateJob{CreateJob: body},
	})
	failpoint.Here("coordinator-after-create")
	if err != nil {
		return nil, err
	}
	body.Id = result.Job // an earlier one when the request was repeated
	created := &Created{ID: result.Job, Definition: body.Definition, Phase: result.Phase, Retracted: s.retracted(body.Id, body.Inputs)}
	if body.Run { // a draft may still change
		created.Earlier = s.offer(p, body)
	}
	return created, nil
}

// requestHash is the same whenever the same is asked for. What is not the client's is left out: ids made
// here, and what a newer version of the definition may say otherwise when the client tries again.
func requestHash(r CreateRequest, asked *resolved) ([]byte, error) {
	body := &command.CreateJob{Definition: r.Definition, Run: r.Run, Parameters: asked.parameters, RunId: value(r.RunID)}
	for _, in := range asked.given(r.Request) {
		in = proto.CloneOf(in)
		in.Upload = ""
		body.Inputs = append(body.Inputs, in)
	}
	if r.Execution != nil {
		body.ExecutionSeconds = *r.Execution + 1 // 0 was asked for, too
	}
	if r.Destroy != nil {
		body.DestructionUs = r.Destroy.UnixMicro()
	}
	if r.Reuse {
		body.ReuseOf = "any"
	}
	body.Resources = mergeResources(nil, asked.resources, r.Request)
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(body)
	if err != nil {
		return nil, fmt.Errorf("encode the request: %w", err)
	}
	hash := sha256.Sum256(data)
	return hash[:], nil
}

// value is what p points to, the zero value for nil.
func value[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

func retryPolicy(d *definition.Definition) *command.Retry {
	r := &command.Retry{Max: int32(d.Retry.Max), Lost: d.Retry.Lost}
	for _, c := range d.Retry.On {
		r.On = append(r.On, string(c))
	}
	return r
}

// resolved is a request after it was checked.
type resolved struct {
	parameters []*command.Parameter // as given, canonical
	inputs     []*command.Input
	resources  *command.Resources
}

// resolve checks what was asked for and finds the results of earlier jobs. All that is wrong is said at
// once.
func (s *Service) resolve(ctx context.Context, p auth.Principal, d *definition.Definition, r Request, all bool) (*resolved, error) {
	if err := checkSizes(r, s.cfg.Now()); err != nil {
		return nil, err
	}
	values, problems := d.Check(r.Parameters, all)
	references := map[string][]definition.Reference{}
	for name, texts := range r.Parameters {
		if d.Input(name) == nil {
			continue
		}
		for _, text := range texts {
			if text != "" { // a file field that a web form left blank
				references[name] = append(references[name], definition.ParseReference(text))
			}
		}
	}
	for i, u := range r.Uploads {
		references[u.Name] = append(references[u.Name], definition.Reference{
			Kind: definition.FromUpload, Ref: fmt.Sprint(i), Size: u.Blob.Size,
		})
	}
	inputs, found := d.CheckInputs(references, all)
	problems = append(problems, found...)
	needs, found := d.Resources(r.Parameters)
	problems = append(problems, found...)
	if len(problems) > 0 {
		return nil, invalid(problems)
	}
	out := &resolved{resources: resources(needs)}
	for v := range values.All() {
		if !v.Default {
			out.parameters = append(out.parameters, &command.Parameter{Name: v.Name, Values: v.Values, Secret: v.Secret})
		}
	}
	for _, in := range inputs {
		for _, ref := range in.References {
			got, err := s.input(ctx, p, in.Name, ref, r.Uploads)
			if err != nil {
				return nil, err
			}
			out.inputs = append(out.inputs, got...)
		}
	}
	if len(out.inputs) > MaxUploads {
		return nil, fmt.Errorf("%w: %d input files; at most %d are allowed", ErrTooLarge, len(out.inputs), MaxUploads)
	}
	return out, nil
}

func checkSizes(r Request, now time.Time) error {
	if len(r.Parameters) > MaxParameters {
		return fmt.Errorf("%w: %d parameters; at most %d are allowed", ErrTooLarge, len(r.Parameters), MaxParameters)
	}
	for name, values := range r.Parameters {
		size := 0
		for _, v := range values {
			size += len(v)
		}
		if size > MaxParameterSize {
			return fmt.Errorf("%w: parameter %.60q has %d bytes; at most %d are allowed", ErrTooLarge, name, size, MaxParameterSize)
		}
	}
	if len(r.Uploads) > MaxUploads {
		return fmt.Errorf("%w: %d files; at most %d are allowed", ErrTooLarge, len(r.Uploads), MaxUploads)
	}
	if id := value(r.RunID); utf8.RuneCountInString(id) > MaxRunID || !uws.LegalXML(id) || strings.ContainsFunc(id, unicode.IsControl) {
		return fmt.Errorf("%w: RUNID must be text of at most %d characters, without control characters", ErrInvalid, MaxRunID)
	}
	if r.Destroy != nil && !r.Destroy.After(now) {
		return fmt.Errorf("%w: DESTRUCTION %s lies in the past", ErrInvalid, r.Destroy.UTC().Format(time.RFC3339))
	}
	if r.Execution != nil && (*r.Execution < 0 || *r.Execution > 1<<31-1) {
		return fmt.Errorf("%w: EXECUTIONDURATION must be 0 to 2147483647 seconds", ErrInvalid)
	}
	return nil
}

func invalid(problems []definition.Problem) error {
	lines := make([]string, len(problems))
	for i, p := range problems {
		lines[i] = p.Error()
	}
	return fmt.Errorf("%w: %s", ErrInvalid, strings.Join(lines, "; "))
}

func resources(r definition.Resources) *command.Resources {
	return &command.Resources{
		Nodes: int32(r.Nodes), Tasks: int32(r.Tasks), Cores: int32(r.Cores), Gpus: int32(r.GPUs),
		MemoryBytes: r.MemoryBytes, ScratchBytes: r.ScratchBytes, Network: r.Network,
	}
}
