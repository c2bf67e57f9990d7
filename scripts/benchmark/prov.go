package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"time"

	"consort/coordinator/auth"
	"consort/coordinator/command"
	"consort/coordinator/provenance"
	"consort/coordinator/state"
	"consort/shared/ids"
)

const (
	chainLength = 31 // jobs, each of which uses a result of the one before
	ownResults  = 4  // of each job; with its upload a job brings five entities
)

// prov measures lineage in a state of two million entities: chains of jobs, half of which also used one dataset.
func prov(ctx context.Context, b *bench) error {
	dir, err := b.scratch("prov")
	if err != nil {
		return err
	}
	jobs := either(b.quick, 20_000, 400_000) / chainLength * chainLength
	l, err := openLedger(filepath.Join(dir, "state"))
	if err != nil {
		return err
	}
	begun := time.Now()
	if err := l.chains(ctx, jobs); err != nil {
		return errors.Join(err, l.store.Close())
	}
	took := time.Since(begun)
	entities := jobs * (ownResults + 1)
	b.table.note(fmt.Sprintf("loading %s entities of %s jobs", count(entities), count(jobs)),
		fmt.Sprintf("%s entities, %s jobs", rate(float64(entities)/took.Seconds()), rate(float64(jobs)/took.Seconds())))
	if err := l.store.Close(); err != nil {
		return err
	}
	size, err := sizeOf(dir)
	if err != nil {
		return err
	}
	b.table.note("the state on disk, whole, per job", fmt.Sprintf("%s, %d bytes", mib(size), size/int64(jobs)))
	if l.store, err = state.Open(state.Config{Dir: filepath.Join(dir, "state"), Logger: l.log}); err != nil {
		return err
	}
	if err := errors.Join(settle(ctx, ownCPU), l.ask(ctx, b), l.store.Close()); err != nil {
		return err
	}
	return recording(ctx, b, took/time.Duration(jobs))
}

// recording says what share of a job's time keeping its provenance takes at most: all that the state does for a job,
// from its creation to its results, beside what the whole of a site and a coordinator take to complete one.
func recording(ctx context.Context, b *bench, kept time.Duration) error {
	s, err := b.wide("recording")
	if err != nil {
		return err
	}
	jobs := either(b.quick, 200, 1000)
	took, err := complete(ctx, s, jobs)
	if err == nil {
		share := float64(kept) / float64(took/time.Duration(jobs))
		b.table.add(row{
			figure: "recording provenance, of the time to complete a job, at most",
			value:  fmt.Sprintf("%.1f %% (%s of %s)", 100*share, ms(kept), ms(took/time.Duration(jobs))),
			target: "≤ 15 %", verdict: verdict(share <= 0.15),
		})
	}
	return errors.Join(err, s.stop())
}

func sizeOf(dir string) (total int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			total += info.Size()
		}
		return err
	})
	return total, err
}

// ledger feeds commands to a state, in batches as Raft does, without Raft. It is the log of use cases that only read.
type ledger struct {
	store  *state.Store
	log    *slog.Logger
	index  uint64
	batch  []state.Entry
	digest string
	hot    string   // the job whose result half of the jobs used
	first  []string // jobs of the chains
	last   []string
}

// WaitRead has nothing to wait for.
func (l *ledger) WaitRead(context.Context) error { return nil }

// Propose refuses: nothing is changed while it is read.
func (l *ledger) Propose(context.Context, *command.Command) (*command.Result, error) {
	return nil, errors.New("nothing is changed here")
}

func openLedger(dir string) (*ledger, error) {
	l := &ledger{log: slog.New(slog.DiscardHandler), digest: hashOf("definition")}
	var err error
	if l.store, err = state.Open(state.Config{Dir: dir, Logger: l.log}); err != nil {
		return nil, err
	}
	token, key := sha256.Sum256([]byte("token")), sha256.Sum256([]byte("key"))
	for _, c := range []*command.Command{
		{Body: &command.Command_CreateCluster{CreateCluster: &command.CreateCluster{ClusterId: "bench", Authority: "https://bench.consort.invalid"}}},
		{Body: &command.Command_PublishDefinition{PublishDefinition: &command.PublishDefinition{Name: "probe", Version: "1", Digest: l.digest,
			Files: []*command.BundleFile{{Path: "definition.toml", Sha256: l.digest, Size: 1}}}}},
		{Body: &command.Command_AddSite{AddSite: &command.AddSite{Name: "bench", TokenSha256: token[:], ExpiresUs: 1 << 60}}},
		{Body: &command.Command_EnrolSite{EnrolSite: &command.EnrolSite{TokenSha256: token[:], PublicKey: key[:]}}},
	} {
		if err := l.add(c); err != nil {
			return nil, errors.Join(err, l.store.Close())
		}
	}
	return l, nil
}

func hashOf(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

// batchSize is how many commands become one transaction, as under load.
const batchSize = 256

func (l *ledger) add(c *command.Command) error {
	l.index++
	c.TimeUs = int64(l.index)
	data, err := command.Encode(c)
	if err != nil {
		return err
	}
	l.batch = append(l.batch, state.Entry{Index: l.index, Term: 1, Data: data})
	if len(l.batch) < batchSize {
		return nil
	}
	return l.flush()
}

func (l *ledger) flush() error {
	results, err := l.store.ApplyBatch(l.batch)
	if err != nil {
		return err
	}
	for _, r := range results {
		if r := r.(*command.Result); r.Code != command.Result_OK {
			return fmt.Errorf("%s: %s", r.Code, r.Message)
		}
	}
	l.batch = l.batch[:0]
	return nil
}

// chains makes the jobs of all chains.
func (l *ledger) chains(ctx context.Context, jobs int) error {
	var err error
	if l.hot, err = l.job("", false); err != nil {
		return err
	}
	previous := ""
	for i := range jobs {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if i%chainLength == 0 {
			previous = ""
		}
		if previous, err = l.job(previous, i%2 == 0); err != nil {
			return err
		}
		switch i % chainLength {
		case 0:
			l.first = append(l.first, previous)
		case chainLength - 1:
			l.last = append(l.last, previous)
		}
	}
	return l.flush()
}

// job makes one job from its creation to its results.
func (l *ledger) job(previous string, hot bool) (string, error) {
	id := ids.NewJob(time.Now())
	create := &command.CreateJob{
		Id: id, Owner: fmt.Sprint("user", l.index%50), Definition: "probe", Version: "1", Digest: l.digest, Run: true, Retry: &command.Retry{},
		Parameters: []*command.Parameter{{Name: "text", Values: []string{"hello"}}, {Name: "number", Values: []string{fmt.Sprint(l.index % 1000)}}},
		Inputs:     []*command.Input{{Name: "mask", Source: command.Input_UPLOAD, Upload: ids.NewUpload(time.Now()), Sha256: hashOf("upload" + id), Size: 1 << 20, FileName: "mask.fits"}},
	}
	use := func(role, job string) {
		create.Inputs = append(create.Inputs, &command.Input{Name: role, Source: command.Input_JOB, FromJob: job, FromResult: "result0",
			Sha256: hashOf(job + "0"), Size: 1 << 20, FileName: "result.fits"})
	}
	if previous != "" {
		use("data", previous)
	}
	if hot {
		use("reference", l.hot)
	}
	commit := &command.Commit{Job: id, Epoch: 1, Site: "bench", Parts: 1, Facts: facts(id)}
	var files []*command.File
	for n := range ownResults {
		name := fmt.Sprint("result", n)
		sha := hashOf(id + fmt.Sprint(n))
		files = append(files, &command.File{Output: name, Path: name + ".fits", Sha256: sha, Size: 1 << 20, ContentType: "application/fits"})
		commit.Outputs = append(commit.Outputs, &command.Output{Id: name, FileName: name + ".fits", Sha256: sha, Size: 1 << 20, ContentType: "application/fits"})
	}
	commit.Hash = command.ManifestHash([][]byte{command.PartHash(files)})
	for _, c := range []*command.Command{
		{Principal: create.Owner, Body: &command.Command_CreateJob{CreateJob: create}},
		{Body: &command.Command_GrantLease{GrantLease: &command.GrantLease{Job: id, Epoch: 1, Site: "bench", WorkLeaseSeconds: 3600}}},
		{Body: &command.Command_StageManifest{StageManifest: &command.StageManifest{Job: id, Epoch: 1, Site: "bench", Files: files}}},
		{Body: &command.Command_Commit{Commit: commit}},
	} {
		if err := l.add(c); err != nil {
			return "", err
		}
	}
	return id, nil
}

func facts(id string) *command.Facts {
	code := int32(0)
	return &command.Facts{
		BatchSystem: "slurm", BatchId: id[20:], Node: "node17", AgentVersion: "1.0.0", ExitCode: &code,
		Logs: []*command.Log{{Name: "stdout", Sha256: hashOf("stdout" + id), Size: 100, FullSize: 100}},
	}
}

// asks is how often each question is asked.
const asks = 2000

// ask measures the questions. The first is asked of a state that was just opened.
func (l *ledger) ask(ctx context.Context, b *bench) error {
	guard, err := auth.New(auth.Config{})
	if err != nil {
		return err
	}
	s := provenance.New(provenance.Config{Log: l, State: l.store, Guard: guard, Secret: []byte("bench")})
	p := auth.Principal{Name: "bench", Operator: true}
	chain := func(direction provenance.Direction, from []string) func() error {
		return func() error {
			found, err := s.Lineage(ctx, p, provenance.LineageQuery{ID: from[rand.N(len(from))], Direction: direction, Depth: provenance.All})
			if err == nil && len(found.Nodes) < 2*chainLength {
				err = fmt.Errorf("a chain of %d nodes", len(found.Nodes))
			}
			return err
		}
	}
	hot, cursor := "ent:"+l.hot+".r.result0", ""
	for _, q := range []struct {
		figure string
		ask    func() error
		p50    time.Duration
		p99    time.Duration // 0: none was promised
	}{
		{"ancestors of a chain of 31 jobs", chain(provenance.Back, l.last), time.Millisecond, 20 * time.Millisecond},
		{"descendants of a chain of 31 jobs", chain(provenance.Forth, l.first), time.Millisecond, 20 * time.Millisecond},
		{"100 of the users of the dataset", func() error {
			page, err := s.Users(ctx, p, hot, cursor, 100)
			if err == nil {
				cursor = page.Next // so that pages of the whole row are read
			}
			return err
		}, time.Millisecond, 0},
		{"a file by its hash", func() error {
			_, err := s.Content(ctx, p, hashOf(l.last[rand.N(len(l.last))]+"0"), "", 10)
			return err
		}, time.Millisecond, 0},
	} {
		var took times
		for range asks {
			begun := time.Now()
			if err := q.ask(); err != nil {
				return fmt.Errorf("%s: %w", q.figure, err)
			}
			took = append(took, time.Since(begun))
		}
		within(&b.table, q.figure+", median", took.quantile(0.5), q.p50, ms)
		if q.p99 > 0 {
			within(&b.table, q.figure+", 99 %", took.quantile(0.99), q.p99, ms)
		}
	}
	return nil
}
