// Package agenttest is a small coordinator for tests of the agent: the site API over HTTP, an SFTP server
// that takes outputs, and faults on demand. It holds everything in memory and in a temporary directory,
// and checks what an agent tells it. It is no model of the real coordinators' scheduler or state.
package agenttest

import (
	"bytes"
	"cmp"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"consort/shared/definition"
	"consort/shared/ids"
	"consort/shared/siteapi"
)

// Names that every coordinator of this package uses.
const (
	Site    = "testsite"
	Cluster = "c-test"
	Token   = "one-time-token"
)

// Job is one job with its only attempt, as the coordinator sees it.
type Job struct {
	Lease    siteapi.Lease
	Phase    string // QUEUED, EXECUTING, COMPLETED, ERROR, ABORTED
	Known    bool   // the agent has named the attempt in a poll or a call
	Over     bool   // the agent has told the end
	Class    string // of a failure
	Message  string
	Facts    siteapi.Facts
	Parts    map[int][]siteapi.ManifestFile
	Logs     map[string][]byte
	Live     map[string][]byte
	Watched  bool
	Fragment *siteapi.FragmentPayload
	Stale    bool // answer everything about the attempt with 409
	Commits  int  // that were asked for
	final    []byte
}

// Fault is what goes wrong with one request.
type Fault int

// The faults.
const (
	None       Fault = iota
	Refuse           // 503 busy, nothing is done
	LoseAnswer       // it is done, and the connection is cut before the answer
	Cut              // the connection is cut, nothing is done
)

// Coordinator is a running coordinator.
type Coordinator struct {
	URL  string
	SFTP siteapi.SFTP

	t   testing.TB
	dir string // uploads

	mu        sync.Mutex
	changed   chan struct{} // closed and replaced at every change
	fault     func(*http.Request) Fault
	key       ed25519.PublicKey
	jobs      map[siteapi.AttemptRef]*Job
	contents  map[string][]byte
	sealed    map[string]siteapi.File // by job/epoch/path
	fragments map[uint64][]byte
	polls     []siteapi.PollRequest
	requests  []string
}

// New starts a coordinator that ends with the test.
func New(t testing.TB) *Coordinator {
	t.Helper()
	c := &Coordinator{
		t: t, dir: t.TempDir(), changed: make(chan struct{}), jobs: map[siteapi.AttemptRef]*Job{},
		contents: map[string][]byte{}, sealed: map[string]siteapi.File{}, fragments: map[uint64][]byte{},
	}
	server := httptest.NewServer(c.handler())
	c.URL = server.URL
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	c.serveSFTP()
	return c
}

// SetFault has fault asked about each request from now on; nil for none.
func (c *Coordinator) SetFault(fault func(*http.Request) Fault) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fault = fault
}

// Trust enrols a site's key without a token.
func (c *Coordinator) Trust(key ed25519.PublicKey) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.key = key
}

// Content stores bytes that agents may fetch, and returns their SHA-256.
func (c *Coordinator) Content(data []byte) string {
	sum := sha256.Sum256(data)
	sha := hex.EncodeToString(sum[:])
	c.mu.Lock()
	defer c.mu.Unlock()
	c.contents[sha] = data
	return sha
}

// Lease makes a lease of a definition that is given by its files.
func (c *Coordinator) Lease(files map[string]string, parameters ...siteapi.Parameter) siteapi.Lease {
	c.t.Helper()
	contents := map[string][]byte{}
	for name, text := range files {
		contents[name] = []byte(text)
	}
	b, err := definition.FromFiles(contents)
	if err != nil {
		c.t.Fatal(err)
	}
	now := time.Now().UTC()
	d := siteapi.Definition{Name: b.Definition.Name, Version: b.Definition.Version, Digest: b.Digest}
	for _, f := range b.Files {
		c.Content(f.Data)
		d.Files = append(d.Files, siteapi.File{Path: f.Path, SHA256: f.SHA256, Size: f.Size})
	}
	return siteapi.Lease{
		Job: ids.NewJob(now), Epoch: 1, Owner: "ada", Definition: d, Parameters: parameters,
		Resources: siteapi.Resources{Nodes: 1, Tasks: 1, Cores: 1, MemoryBytes: 1 << 20}, ExecutionSeconds: 600,
		Created: now, WorkLeaseUntil: now.Add(time.Hour), MaxFiles: 1000, MaxBytes: 1 << 30,
	}
}

// Queue offers a lease to the next poll.
func (c *Coordinator) Queue(lease siteapi.Lease) siteapi.AttemptRef {
	c.t.Helper()
	ref := siteapi.AttemptRef{Job: lease.Job, Epoch: lease.Epoch}
	if err := os.MkdirAll(filepath.Join(c.dir, lease.Job, strconv.FormatUint(lease.Epoch, 10)), 0o700); err != nil {
		c.t.Fatal(err)
	}
	c.change(func() {
		c.jobs[ref] = &Job{
			Lease: lease, Phase: "QUEUED", Parts: map[int][]siteapi.ManifestFile{}, Logs: map[string][]byte{}, Live: map[string][]byte{},
		}
	})
	return ref
}

// Change changes a job.
func (c *Coordinator) Change(ref siteapi.AttemptRef, how func(*Job)) {
	c.change(func() { how(c.jobs[ref]) })
}

func (c *Coordinator) change(how func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	how()
	close(c.changed)
	c.changed = make(chan struct{})
}

// Job returns a copy of a job.
func (c *Coordinator) Job(ref siteapi.AttemptRef) Job {
	c.mu.Lock()
	defer c.mu.Unlock()
	j := *c.jobs[ref]
	j.Parts, j.Logs, j.Live = maps.Clone(j.Parts), maps.Clone(j.Logs), maps.Clone(j.Live)
	return j
}

// Output returns the bytes of a sealed output.
func (c *Coordinator) Output(ref siteapi.AttemptRef, path string) []byte {
	c.t.Helper()
	data, err := os.ReadFile(filepath.Join(c.dir, ref.Job, strconv.FormatUint(ref.Epoch, 10), path))
	if err != nil {
		c.t.Fatal(err)
	}
	return data
}

// Polls returns the polls so far.
func (c *Coordinator) Polls() []siteapi.PollRequest {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.polls)
}

// Requests returns method and path of the requests so far.
func (c *Coordinator) Requests() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.requests)
}

// Wait waits until a job is as wanted, and returns it. The condition may look at more than the job.
func (c *Coordinator) Wait(ref siteapi.AttemptRef, what string, want func(Job) bool) Job {
	c.t.Helper()
	deadline := time.NewTimer(20 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(20 * time.Millisecond) // for what no request tells
	defer tick.Stop()
	for {
		c.mu.Lock()
		changed := c.changed
		c.mu.Unlock()
		j := c.Job(ref)
		if want(j) {
			return j
		}
		select {
		case <-changed:
		case <-tick.C:
		case <-deadline.C:
			c.t.Fatalf("waiting for %s: %s is %s (over %v) %s %s", what, ref.Job, j.Phase, j.Over, j.Class, j.Message)
		}
	}
}

// WaitPhase waits for a phase and for the agent's last word.
func (c *Coordinator) WaitPhase(ref siteapi.AttemptRef, phase string) Job {
	c.t.Helper()
	return c.Wait(ref, phase, func(j Job) bool { return j.Over && j.Phase == phase })
}

// WaitForgotten waits until a poll that was begun after the call does not name the attempt any more.
func (c *Coordinator) WaitForgotten(ref siteapi.AttemptRef) {
	c.t.Helper()
	named := func() bool {
		polls := c.Polls()
		if len(polls) == 0 {
			return true
		}
		return slices.ContainsFunc(polls[len(polls)-1].Attempts, func(i siteapi.AttemptInfo) bool {
			return i.Job == ref.Job && i.Epoch == ref.Epoch
		})
	}
	c.Wait(ref, "forgotten", func(Job) bool { return !named() })
}

func (c *Coordinator) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+siteapi.EnrolPath, c.enrol)
	mux.HandleFunc("POST "+siteapi.PollPath, c.signed(c.poll))
	base := "/sites/v1/attempts/{job}/{epoch}"
	mux.HandleFunc("GET "+base+"/content/{sha}", c.signed(c.attempt(c.content)))
	mux.HandleFunc("PUT "+base+"/logs/{stream}", c.signed(c.attempt(c.putLog)))
	mux.HandleFunc("POST "+base+"/logs/{stream}/live", c.signed(c.attempt(c.live)))
	mux.HandleFunc("POST "+base+"/report", c.signed(c.attempt(c.report)))
	mux.HandleFunc("POST "+base+"/offsets", c.signed(c.attempt(c.offsets)))
	mux.HandleFunc("POST "+base+"/seal", c.signed(c.attempt(c.seal)))
	mux.HandleFunc("POST "+base+"/manifest", c.signed(c.attempt(c.manifest)))
	mux.HandleFunc("POST "+base+"/commit", c.signed(c.attempt(c.commit)))
	mux.HandleFunc("POST "+base+"/fail", c.signed(c.attempt(c.fail)))
	mux.HandleFunc("POST "+base+"/close", c.signed(c.attempt(c.close)))
	return c.faulty(mux)
}

// faulty does what SetFault asks for.
func (c *Coordinator) faulty(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.mu.Lock()
		fault := c.fault
		c.requests = append(c.requests, r.Method+" "+r.URL.Path)
		c.mu.Unlock()
		what := None
		if fault != nil {
			what = fault(r)
		}
		switch what {
		case Refuse:
			refuse(w, http.StatusServiceUnavailable, siteapi.CodeBusy, "as the test wants")
		case Cut:
			panic(http.ErrAbortHandler)
		case LoseAnswer:
			next.ServeHTTP(httptest.NewRecorder(), r)
			panic(http.ErrAbortHandler)
		default:
			next.ServeHTTP(w, r)
		}
	})
}

func refuse(w http.ResponseWriter, status int, code, message string) {
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(siteapi.Error{Code: code, Message: message})
}

func answer(w http.ResponseWriter, v any) { _ = json.NewEncoder(w).Encode(v) }

func (c *Coordinator) enrol(w http.ResponseWriter, r *http.Request) {
	var req siteapi.EnrolRequest
	if json.NewDecoder(r.Body).Decode(&req) != nil || req.Token != Token {
		refuse(w, http.StatusForbidden, siteapi.CodeRefused, "the token is wrong, used or expired")
		return
	}
	c.Trust(req.PublicKey)
	answer(w, siteapi.Enrolment{Protocol: siteapi.Protocol, Site: Site, ClusterID: Cluster, SFTP: []siteapi.SFTP{c.SFTP}, Time: time.Now().UTC()})
}

// signed lets only the enrolled site in.
func (c *Coordinator) signed(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		token, _ := bytes.CutPrefix([]byte(r.Header.Get("Authorization")), []byte("Bearer "))
		site, err := siteapi.VerifyToken(string(token), Cluster, time.Now(), func(string) (ed25519.PublicKey, error) {
			c.mu.Lock()
			defer c.mu.Unlock()
			return c.key, nil
		})
		if err != nil || site != Site {
			refuse(w, http.StatusForbidden, siteapi.CodeRevoked, fmt.Sprint(err))
			return
		}
		next(w, r)
	}
}

type attemptHandler func(w http.ResponseWriter, r *http.Request, ref siteapi.AttemptRef)

func (c *Coordinator) attempt(next attemptHandler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		epoch, err := strconv.ParseUint(r.PathValue("epoch"), 10, 64)
		ref := siteapi.AttemptRef{Job: r.PathValue("job"), Epoch: epoch}
		c.mu.Lock()
		j := c.jobs[ref]
		stale := j == nil || j.Stale
		if j != nil {
			j.Known = true
		}
		c.mu.Unlock()
		if err != nil || stale {
			refuse(w, http.StatusConflict, siteapi.CodeStale, "another attempt is current")
			return
		}
		next(w, r, ref)
	}
}

func (c *Coordinator) poll(w http.ResponseWriter, r *http.Request) {
	var req siteapi.PollRequest
	if err := json.NewDecoder(r.Body).Decode(&req); err != nil {
		refuse(w, http.StatusBadRequest, siteapi.CodeInvalid, err.Error())
		return
	}
	c.change(func() { c.polls = append(c.polls, req) })
	ctx, cancel := context.WithTimeout(r.Context(), time.Duration(req.Wait)*time.Second)
	defer cancel()
	for {
		c.mu.Lock()
		changed := c.changed
		c.mu.Unlock()
		resp, some := c.difference(&req)
		if some || ctx.Err() != nil {
			answer(w, resp)
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
		}
	}
}

// difference compares an agent's journal with the jobs.
func (c *Coordinator) difference(req *siteapi.PollRequest) (resp *siteapi.PollResponse, some bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	resp = &siteapi.PollResponse{SFTP: []siteapi.SFTP{c.SFTP}, Time: time.Now().UTC()}
	has := map[siteapi.AttemptRef]siteapi.AttemptInfo{}
	for _, i := range req.Attempts {
		ref := siteapi.AttemptRef{Job: i.Job, Epoch: i.Epoch}
		has[ref] = i
		j := c.jobs[ref]
		switch {
		case j == nil || j.Stale || j.Over:
			resp.Forget = append(resp.Forget, ref)
		case j.Phase == "ABORTED" && !i.Cancelling:
			resp.Cancel = append(resp.Cancel, ref)
		case j.Watched && !i.Watching:
			resp.Watch = append(resp.Watch, ref)
		}
		if j != nil {
			j.Known = true
		}
	}
	free := req.Free.Slots
	for _, ref := range slices.SortedFunc(maps.Keys(c.jobs), func(a, b siteapi.AttemptRef) int { return cmp.Compare(a.Job, b.Job) }) {
		j := c.jobs[ref]
		_, known := has[ref]
		if !known && !j.Over && !j.Stale && j.Phase == "ABORTED" {
			resp.Cancel = append(resp.Cancel, ref)
		}
		if known || j.Over || j.Stale || j.Phase == "ABORTED" || !j.Known && free == 0 {
			continue
		}
		if !j.Known {
			free--
		}
		resp.Leases = append(resp.Leases, j.Lease)
	}
	return resp, len(resp.Leases)+len(resp.Cancel)+len(resp.Forget)+len(resp.Watch) > 0
}

func (c *Coordinator) content(w http.ResponseWriter, r *http.Request, _ siteapi.AttemptRef) {
	c.mu.Lock()
	data, ok := c.contents[r.PathValue("sha")]
	c.mu.Unlock()
	if !ok {
		refuse(w, http.StatusNotFound, siteapi.CodeInvalid, "no such content")
		return
	}
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
}

func (c *Coordinator) putLog(w http.ResponseWriter, r *http.Request, ref siteapi.AttemptRef) {
	data, err := io.ReadAll(r.Body)
	if err != nil {
		refuse(w, http.StatusBadRequest, siteapi.CodeInvalid, err.Error())
		return
	}
	c.change(func() { c.jobs[ref].Logs[r.PathValue("stream")] = data })
	answer(w, siteapi.StoredLog{SHA256: hash(data), Size: int64(len(data))})
}

func (c *Coordinator) live(w http.ResponseWriter, r *http.Request, ref siteapi.AttemptRef) {
	data, _ := io.ReadAll(r.Body)
	offset, err := strconv.ParseInt(r.URL.Query().Get("offset"), 10, 64)
	var resp siteapi.LiveAnswer
	c.change(func() {
		j, stream := c.jobs[ref], r.PathValue("stream")
		if err == nil && offset == int64(len(j.Live[stream])) {
			j.Live[stream] = append(slices.Clip(j.Live[stream]), data...)
		}
		resp = siteapi.LiveAnswer{Next: int64(len(j.Live[stream])), Watching: j.Watched}
	})
	answer(w, resp)
}

func (c *Coordinator) report(w http.ResponseWriter, r *http.Request, ref siteapi.AttemptRef) {
	var req siteapi.Report
	if !decode(w, r, &req) {
		return
	}
	var resp siteapi.Answer
	c.change(func() {
		j := c.jobs[ref]
		if j.Phase == "QUEUED" && req.State == "running" {
			j.Phase = "EXECUTING"
		}
		j.Facts = req.Facts
		resp = siteapi.Answer{Phase: j.Phase, Cancel: j.Phase == "ABORTED"}
	})
	answer(w, resp)
}

func decode(w http.ResponseWriter, r *http.Request, into any) bool {
	if err := json.NewDecoder(r.Body).Decode(into); err != nil {
		refuse(w, http.StatusBadRequest, siteapi.CodeInvalid, err.Error())
		return false
	}
	return true
}

func (c *Coordinator) local(ref siteapi.AttemptRef, path string) string {
	return filepath.Join(c.dir, ref.Job, strconv.FormatUint(ref.Epoch, 10), filepath.FromSlash(path))
}

func (c *Coordinator) offsets(w http.ResponseWriter, r *http.Request, ref siteapi.AttemptRef) {
	var req siteapi.OffsetRequest
	if !decode(w, r, &req) {
		return
	}
	resp := siteapi.OffsetResponse{Offsets: map[string]int64{}, SHA256: map[string]string{}}
	for _, p := range req.Paths {
		if data, err := os.ReadFile(c.local(ref, p)); err == nil {
			resp.Offsets[p], resp.SHA256[p] = int64(len(data)), hash(data)
		}
	}
	answer(w, resp)
}

func (c *Coordinator) seal(w http.ResponseWriter, r *http.Request, ref siteapi.AttemptRef) {
	var req siteapi.SealRequest
	if !decode(w, r, &req) {
		return
	}
	if c.Job(ref).Phase == "ABORTED" { // as the real one: an upload has no lease any more
		refuse(w, http.StatusConflict, siteapi.CodeStale, "the attempt takes no uploads")
		return
	}
	var resp siteapi.SealResponse
	for _, f := range req.Files {
		data, err := os.ReadFile(c.local(ref, f.Path))
		switch {
		case errors.Is(err, fs.ErrNotExist):
			resp.Bad = append(resp.Bad, siteapi.BadFile{Path: f.Path, Problem: "missing"})
		case int64(len(data)) != f.Size:
			resp.Bad = append(resp.Bad, siteapi.BadFile{Path: f.Path, Problem: "size"})
		case hash(data) != f.SHA256:
			resp.Bad = append(resp.Bad, siteapi.BadFile{Path: f.Path, Problem: "hash"})
		default:
			c.change(func() { c.sealed[c.local(ref, f.Path)] = f })
		}
	}
	answer(w, resp)
}

func (c *Coordinator) manifest(w http.ResponseWriter, r *http.Request, ref siteapi.AttemptRef) {
	var req siteapi.ManifestPart
	if !decode(w, r, &req) {
		return
	}
	c.change(func() { c.jobs[ref].Parts[req.Part] = req.Files })
	answer(w, siteapi.Answer{})
}

func (c *Coordinator) commit(w http.ResponseWriter, r *http.Request, ref siteapi.AttemptRef) {
	var req siteapi.CommitRequest
	if !decode(w, r, &req) {
		return
	}
	c.end(w, ref, req, req.Fragment, func(j *Job) error {
		j.Commits++
		var parts [][]siteapi.ManifestFile
		for i := range req.Parts {
			for _, f := range j.Parts[i] {
				if c.sealed[c.local(ref, f.Path)].SHA256 != f.SHA256 {
					return fmt.Errorf("%s is not sealed", f.Path)
				}
			}
			parts = append(parts, j.Parts[i])
		}
		if siteapi.ManifestHash(parts) != req.Hash {
			return errors.New("the manifest's hash is wrong")
		}
		if j.Phase != "ABORTED" {
			j.Phase, j.Facts = "COMPLETED", req.Facts
		}
		return nil
	})
}

func (c *Coordinator) fail(w http.ResponseWriter, r *http.Request, ref siteapi.AttemptRef) {
	var req siteapi.FailRequest
	if !decode(w, r, &req) {
		return
	}
	c.end(w, ref, req, req.Fragment, func(j *Job) error {
		if j.Phase != "ABORTED" {
			j.Phase, j.Class, j.Message, j.Facts = "ERROR", req.Class, req.Message, req.Facts
		}
		return nil
	})
}

func (c *Coordinator) close(w http.ResponseWriter, r *http.Request, ref siteapi.AttemptRef) {
	var req siteapi.CloseRequest
	if !decode(w, r, &req) {
		return
	}
	c.end(w, ref, req, req.Fragment, func(j *Job) error {
		j.Facts, j.Phase = req.Facts, "ABORTED"
		return nil
	})
}

// end handles the last message about an attempt: the same message again gets the same answer, another one
// is refused.
func (c *Coordinator) end(w http.ResponseWriter, ref siteapi.AttemptRef, message any, fragment *siteapi.Fragment, how func(*Job) error) {
	data, err := json.Marshal(message)
	if err != nil {
		refuse(w, http.StatusBadRequest, siteapi.CodeInvalid, err.Error())
		return
	}
	var phase string
	var aborted bool
	c.change(func() {
		j := c.jobs[ref]
		if j.Over {
			if !bytes.Equal(data, j.final) {
				err = errors.New("the attempt ended with another message")
			}
			phase = j.Phase
			return
		}
		if err = c.keep(fragment, ref); err != nil {
			return
		}
		before := j.Phase
		if err = how(j); err != nil {
			return
		}
		_, closing := message.(siteapi.CloseRequest)
		aborted = before == "ABORTED" && !closing
		phase = j.Phase
		if !aborted {
			j.Over, j.final = true, data
			p, _ := siteapi.OpenFragment(c.key, fragment)
			j.Fragment = p
		}
	})
	if err != nil {
		c.t.Errorf("the agent's last message about %s: %v", ref.Job, err)
		refuse(w, http.StatusBadRequest, siteapi.CodeInvalid, err.Error())
		return
	}
	answer(w, siteapi.Answer{Phase: phase, Cancel: aborted})
}

// keep checks a fragment: signed, about this attempt, never the same number for other bytes, and chained to
// the one before where that was received. It is called with mu held.
func (c *Coordinator) keep(f *siteapi.Fragment, ref siteapi.AttemptRef) error {
	if f == nil {
		return errors.New("there is no fragment")
	}
	p, err := siteapi.OpenFragment(c.key, f)
	if err != nil {
		return err
	}
	if p.Job != ref.Job || p.Epoch != ref.Epoch || p.Site != Site || p.ClusterID != Cluster {
		return fmt.Errorf("the fragment is about %s %d", p.Job, p.Epoch)
	}
	if known, ok := c.fragments[f.Number]; ok && !bytes.Equal(known, f.Payload) {
		return fmt.Errorf("the fragment's number %d was used for another one", f.Number)
	}
	if before, ok := c.fragments[f.Number-1]; ok && hash(before) != p.Previous {
		return fmt.Errorf("fragment %d does not name the one before", f.Number)
	}
	c.fragments[f.Number] = f.Payload
	return nil
}

func hash(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// Answering starts a server that answers every request alike, and returns its URL.
func Answering(t testing.TB, status int, message any) string {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		answer(w, message)
	}))
	t.Cleanup(s.Close)
	return s.URL
}
