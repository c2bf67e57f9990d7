package provenance_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"consort/coordinator/auth"
	"consort/coordinator/command"
	"consort/coordinator/provenance"
	"consort/coordinator/state"
	"consort/shared/ids"
)

// chains is a store with chains of jobs and nothing above it.
type chains struct {
	*state.Store
	b     testing.TB
	index uint64
	batch []state.Entry
	ends  []string // the last job of each chain
	heads []string // the first
}

// WaitRead and Propose make it a log to which nobody writes.
func (c *chains) WaitRead(context.Context) error { return nil }

func (c *chains) Propose(context.Context, *command.Command) (*command.Result, error) { panic("unused") }

func (c *chains) add(body *command.Command) {
	c.index++
	body.TimeUs = int64(c.index)
	data, err := command.Encode(body)
	if err != nil {
		c.b.Fatal(err)
	}
	c.batch = append(c.batch, state.Entry{Index: c.index, Term: 1, Data: data})
	if len(c.batch) == 500 {
		c.flush()
	}
}

func (c *chains) flush() {
	results, err := c.ApplyBatch(c.batch)
	if err != nil {
		c.b.Fatal(err)
	}
	for _, r := range results {
		if r := r.(*command.Result); r.Code != command.Result_OK {
			c.b.Fatalf("%s: %s", r.Code, r.Message)
		}
	}
	c.batch = c.batch[:0]
}

func sum(text string) string {
	s := sha256.Sum256([]byte(text))
	return hex.EncodeToString(s[:])
}

// newChains makes count chains of length jobs, each of which uses the result of the one before and an upload.
func newChains(b testing.TB, count, length int) *chains {
	b.Helper()
	store, err := state.Open(state.Config{Dir: b.TempDir(), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = store.Close() })
	c := &chains{Store: store, b: b}
	digest := sum("definition")
	c.add(&command.Command{Body: &command.Command_CreateCluster{CreateCluster: &command.CreateCluster{ClusterId: "bench", Authority: "https://example.org"}}})
	c.add(&command.Command{Body: &command.Command_PublishDefinition{PublishDefinition: &command.PublishDefinition{
		Name: "probe", Version: "1", Digest: digest, Files: []*command.BundleFile{{Path: "definition.toml", Sha256: digest, Size: 1}}}}})
	token, key := sha256.Sum256([]byte("token")), sha256.Sum256([]byte("key"))
	c.add(&command.Command{Body: &command.Command_AddSite{AddSite: &command.AddSite{Name: "paris", TokenSha256: token[:], ExpiresUs: 1 << 60}}})
	c.add(&command.Command{Body: &command.Command_EnrolSite{EnrolSite: &command.EnrolSite{TokenSha256: token[:], PublicKey: key[:]}}})
	for range count {
		previous := ""
		for i := range length {
			previous = c.job(digest, previous, fmt.Sprint(c.index))
			if i == 0 {
				c.heads = append(c.heads, previous)
			}
		}
		c.ends = append(c.ends, previous)
	}
	c.flush()
	return c
}

func (c *chains) job(digest, previous, name string) string {
	id := ids.NewJob(time.Now())
	create := &command.CreateJob{
		Id: id, Owner: "alice", Definition: "probe", Version: "1", Digest: digest, Run: true, Retry: &command.Retry{},
		Parameters: []*command.Parameter{{Name: "text", Values: []string{name}}},
		Inputs:     []*command.Input{{Name: "mask", Source: command.Input_UPLOAD, Upload: name, Sha256: sum("upload" + name), Size: 1}},
	}
	if previous != "" {
		create.Inputs = append(create.Inputs, &command.Input{Name: "data", Source: command.Input_JOB, FromJob: previous, FromResult: "answer", Sha256: sum(previous), Size: 1})
	}
	files := []*command.File{{Output: "answer", Path: "answer.txt", Sha256: sum(id), Size: 1}}
	c.complete(create, files, &command.Facts{})
	return id
}

// complete takes a job to its results.
func (c *chains) complete(create *command.CreateJob, files []*command.File, facts *command.Facts) {
	id := create.Id
	c.add(&command.Command{Principal: "alice", Body: &command.Command_CreateJob{CreateJob: create}})
	c.add(&command.Command{Body: &command.Command_GrantLease{GrantLease: &command.GrantLease{Job: id, Epoch: 1, Site: "paris", WorkLeaseSeconds: 100}}})
	c.add(&command.Command{Body: &command.Command_StageManifest{StageManifest: &command.StageManifest{Job: id, Epoch: 1, Site: "paris", Files: files}}})
	c.add(&command.Command{Body: &command.Command_Commit{Commit: &command.Commit{
		Job: id, Epoch: 1, Site: "paris", Parts: 1, Hash: command.ManifestHash([][]byte{command.PartHash(files)}),
		Outputs: []*command.Output{{Id: "answer", FileName: "answer.txt", Sha256: files[0].Sha256, Size: 1}}, Facts: facts,
	}}})
}

// service asks the store alone: what needs files, or definitions, is not there.
func (c *chains) service() *provenance.Service {
	c.b.Helper()
	guard, err := auth.New(auth.Config{})
	if err != nil {
		c.b.Fatal(err)
	}
	return provenance.New(provenance.Config{Log: c, State: c, Guard: guard, Secret: []byte("secret")})
}

// TestFetched: what a URL answers with is a new entity when its content changed, and the same one when it did not.
func TestFetched(t *testing.T) {
	c := newChains(t, 0, 0)
	fetch := func(content string) string {
		id := ids.NewJob(time.Now())
		url := "https://user:word@archive.example/a.fits?token=hush&band=V"
		c.complete(&command.CreateJob{
			Id: id, Owner: "alice", Definition: "probe", Version: "1", Digest: sum("definition"), Run: true, Retry: &command.Retry{},
			Inputs: []*command.Input{{Name: "data", Source: command.Input_URL, Url: url}},
		}, []*command.File{{Output: "answer", Path: "answer.txt", Sha256: sum(id), Size: 1}},
			&command.Facts{Transfers: []*command.Transfer{{Name: "data", Sha256: sum(content), Bytes: 7, Files: 1, Protocol: "https"}}})
		return id
	}
	a, b, changed := fetch("old"), fetch("old"), fetch("new")
	c.flush()
	s := c.service()
	entity := map[string]string{}
	for _, job := range []string{a, b, changed} {
		l, err := s.Lineage(t.Context(), alice, provenance.LineageQuery{ID: job, Depth: 1})
		if err != nil || len(l.Nodes) != 2 || l.Nodes[1].File == nil {
			t.Fatalf("%+v %v", l, err)
		}
		f := l.Nodes[1].File
		if f.Size != 7 {
			t.Errorf("the size is told as %d", f.Size)
		}
		if !strings.HasPrefix(f.URL, "https://archive.example/a.fits") || strings.Contains(f.URL, "hush") || strings.Contains(f.URL, "word") {
			t.Errorf("the URL is told as %s", f.URL)
		}
		entity[job] = l.Nodes[1].ID
	}
	if entity[a] != entity[b] || entity[a] == entity[changed] {
		t.Errorf("entities: %v", entity)
	}
	users, err := s.Users(t.Context(), alice, entity[a], "", 0)
	if err != nil || len(users.Items) != 2 {
		t.Errorf("users of the old content: %+v %v", users, err)
	}
	found, err := s.Content(t.Context(), alice, sum("new"), "", 0)
	if err != nil || len(found.Items) != 1 || found.Items[0].ID != entity[changed] {
		t.Errorf("by its hash: %+v %v", found, err)
	}
	notFound(t, "another's", second(s.Users(t.Context(), bob, entity[a], "", 0)))
	if _, err := s.Retract(t.Context(), alice, entity[a], "not for users to say", false); !errors.Is(err, auth.ErrForbidden) {
		t.Errorf("a user retracts what a URL answered with: %v", err)
	}
}

func second[T any](_ T, err error) error { return err }

// BenchmarkLineage follows chains of 31 jobs to their ends. scripts/bench prov does so in a store of two million files.
func BenchmarkLineage(b *testing.B) {
	const length = 31
	c := newChains(b, 100, length)
	s := c.service()
	for _, test := range []struct {
		name      string
		direction provenance.Direction
		from      []string
		p         auth.Principal
		want      int // nodes
	}{
		{"ancestors", provenance.Back, c.ends, alice, 3*length - 1},
		{"descendants", provenance.Forth, c.heads, alice, 2 * length},
	} {
		b.Run(test.name, func(b *testing.B) {
			for n := 0; b.Loop(); n++ {
				l, err := s.Lineage(b.Context(), test.p, provenance.LineageQuery{ID: test.from[n%len(test.from)], Direction: test.direction, Depth: provenance.All})
				if err != nil || len(l.Nodes) != test.want {
					b.Fatalf("%d nodes, %v", len(l.Nodes), err)
				}
			}
		})
	}
}
