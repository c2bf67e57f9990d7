package worldtest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"consort/shared/ids"
	"consort/shared/prov"
	"consort/shared/userapi"
	"consort/shared/uws"
)

// world is a Consort with one site, and a user of it. How it runs is in the files deploy_*_test.go.
type world struct {
	dir         string // all that the world keeps on disk is below
	definitions string // folder of the definitions of testdata
	marks       string // file in which the codes of testdata leave a line for each start
	url         string // of the HTTP front
	token       string // of the user; empty: anonymous
	http        *http.Client

	start func(t testing.TB) // starts everything again, on the same data and addresses
	stop  func(t testing.TB) // stops everything as Ctrl-C does
	logs  func() string      // what the programs have logged
}

// newWorld makes the world's folders; nothing runs yet.
func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{dir: t.TempDir()}
	w.marks = filepath.Join(w.dir, "marks")
	w.definitions = filepath.Join(w.dir, "definitions")
	source := os.DirFS("testdata/definitions")
	if err := os.CopyFS(w.definitions, source); err != nil {
		t.Fatal(err)
	}
	scripts, err := filepath.Glob(filepath.Join(w.definitions, "*", "*.sh"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range scripts {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		write(t, path, strings.ReplaceAll(string(text), "@MARKS@", w.marks))
	}
	transport := &http.Transport{MaxIdleConnsPerHost: 8}
	w.http = &http.Client{Transport: transport}
	t.Cleanup(transport.CloseIdleConnections)
	return w
}

func write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// user is the user of a world within one test.
type user struct {
	*testing.T
	*world
	client *userapi.Client
}

// in makes a test the user of a world. It is patient: servers may be away for a while.
func (w *world) in(t *testing.T) *user {
	t.Helper()
	client, err := userapi.New(userapi.Config{Server: w.url, Token: w.token, HTTPClient: &http.Client{Transport: w.http.Transport}, RetryFor: patience})
	if err != nil {
		t.Fatal(err)
	}
	return &user{t, w, client}
}

// submission is a job of name, value pairs.
func submission(definition string, pairs ...string) userapi.Submission {
	s := userapi.Submission{Definition: definition}
	for pair := range slices.Chunk(pairs, 2) {
		s.Fields = append(s.Fields, userapi.Field{Name: pair[0], Value: pair[1]})
	}
	return s
}

func upload(input, name string, content []byte) userapi.Upload {
	return userapi.Upload{Input: input, FileName: name, Content: bytes.NewReader(content), Size: int64(len(content))}
}

func (u *user) submit(s userapi.Submission) userapi.Ref {
	u.Helper()
	made, err := u.client.Submit(u.Context(), s)
	if err != nil {
		u.Fatalf("submit %s: %v", s.Definition, err)
	}
	return userapi.Ref{Definition: s.Definition, ID: made.ID}
}

// run submits a job of name, value pairs.
func (u *user) run(definition string, pairs ...string) userapi.Ref {
	u.Helper()
	return u.submit(submission(definition, pairs...))
}

// wait waits for the end of a job, which must be the given one.
func (u *user) wait(ref userapi.Ref, want uws.Phase) *uws.Job {
	u.Helper()
	ctx, cancel := context.WithTimeout(u.Context(), patience)
	defer cancel()
	doc, err := u.client.Wait(ctx, ref, userapi.WaitOptions{})
	if err != nil {
		u.Fatalf("wait for %s: %v", ref.ID, err)
	}
	if doc.Phase != want {
		u.Fatalf("job %s is %s, want %s: %+v %+v", ref.ID, doc.Phase, want, doc.Error, doc.Info)
	}
	// Of quick jobs, too, it is known when they started, whatever the site's clock said.
	if want == uws.Completed && (doc.StartTime.Before(doc.CreationTime) || doc.EndTime.Before(doc.StartTime)) {
		u.Errorf("job %s was created %v, started %v and ended %v", ref.ID, doc.CreationTime, doc.StartTime, doc.EndTime)
	}
	return doc
}

// reach waits until a job is in a phase that is not the last.
func (u *user) reach(ref userapi.Ref, want uws.Phase) {
	u.Helper()
	eventually(u, "the job is "+string(want), func() error {
		doc, err := u.client.UWSJob(u.Context(), ref, uws.Wait{})
		if err == nil && doc.Phase != want {
			err = fmt.Errorf("job %s is %s", ref.ID, doc.Phase)
		}
		return err
	})
}

func (u *user) job(ref userapi.Ref) *userapi.Job {
	u.Helper()
	j, err := u.client.Job(u.Context(), ref.ID)
	if err != nil {
		u.Fatalf("job %s: %v", ref.ID, err)
	}
	return j
}

// get reads a path of the server, or a URL.
func (u *user) get(path string) (status int, body []byte) {
	u.Helper()
	if !strings.Contains(path, "://") {
		path = u.url + path
	}
	req, err := http.NewRequestWithContext(u.Context(), http.MethodGet, path, nil)
	if err != nil {
		u.Fatal(err)
	}
	if u.token != "" {
		req.Header.Set("Authorization", "Bearer "+u.token)
	}
	resp, err := u.http.Do(req)
	if err != nil {
		u.Fatal(err)
	}
	defer resp.Body.Close()
	if body, err = io.ReadAll(resp.Body); err != nil {
		u.Fatal(err)
	}
	return resp.StatusCode, body
}

// fetch reads what must be there.
func (u *user) fetch(path string) string {
	u.Helper()
	status, body := u.get(path)
	if status != http.StatusOK {
		u.Fatalf("%s: %d %s", path, status, body)
	}
	return string(body)
}

func at(ref userapi.Ref, below string) string {
	return "/rest/" + ref.Definition + "/" + ref.ID + below
}

// results reads every file of a completed job, and compares it with the size and SHA-256 that were announced. The
// keys are the names of results, and result/path for the members of collections.
func (u *user) results(ref userapi.Ref) map[string]string {
	u.Helper()
	all := map[string]string{}
	for _, r := range u.job(ref).Results {
		if !r.Collection {
			all[r.ID] = u.verified(r.URL, r.SHA256, r.Size)
			continue
		}
		var bytes, count int64
		for _, m := range u.members(ref, r.ID) {
			all[r.ID+"/"+m.Path] = u.verified(m.URL, m.SHA256, m.Size)
			bytes, count = bytes+m.Size, count+1
		}
		if bytes != r.Size || count != r.Files {
			u.Errorf("collection %s has %d files of %d bytes, announced are %d of %d", r.ID, count, bytes, r.Files, r.Size)
		}
	}
	return all
}

func (u *user) members(ref userapi.Ref, result string) []userapi.Member {
	u.Helper()
	var all []userapi.Member
	for cursor := ""; ; {
		page, err := u.client.Members(u.Context(), ref.ID, result, cursor)
		if err != nil {
			u.Fatalf("members of %s: %v", result, err)
		}
		all = append(all, page.Members...)
		if cursor = page.Next; cursor == "" {
			return all
		}
	}
}

func (u *user) verified(url, sum string, size int64) string {
	u.Helper()
	body := u.fetch(url)
	if hash := sha256.Sum256([]byte(body)); hex.EncodeToString(hash[:]) != sum || int64(len(body)) != size {
		u.Errorf("%s: %d bytes with SHA-256 %x, announced are %d with %s", url, len(body), hash, size, sum)
	}
	return body
}

// provenance reads the provenance of a job, which must be valid in both forms, and returns it.
func (u *user) provenance(ref userapi.Ref) *prov.Graph {
	u.Helper()
	fromJSON, err := prov.ReadJSON(strings.NewReader(u.fetch(at(ref, "/provjson"))), prov.DefaultLimits())
	if err != nil {
		u.Fatalf("provenance of %s: %v", ref.ID, err)
	}
	if err := fromJSON.Validate(); err != nil {
		u.Errorf("provenance of %s: %v", ref.ID, err)
	}
	fromN, err := prov.ReadN(strings.NewReader(u.fetch(at(ref, "/provn"))), prov.DefaultLimits())
	if err != nil {
		u.Fatalf("PROV-N of %s: %v", ref.ID, err)
	}
	if !fromJSON.Equal(fromN) {
		u.Errorf("the provenance of %s differs between PROV-JSON and PROV-N", ref.ID)
	}
	if fromJSON.Len() == 0 {
		u.Errorf("the provenance of %s is empty", ref.ID)
	}
	return fromJSON
}

// log reads a whole stream of a job that has ended.
func (u *user) log(ref userapi.Ref, stream string) string {
	u.Helper()
	return u.follow(ref, stream, "")
}

// follow reads a stream of a job until it holds the text, or, when that is empty, until the end.
func (u *user) follow(ref userapi.Ref, stream, until string) string {
	u.Helper()
	var text strings.Builder
	var offset int64
	deadline := time.Now().Add(patience)
	for time.Now().Before(deadline) {
		chunk, err := u.client.Log(u.Context(), ref.ID, stream, offset, 10*time.Second)
		if err != nil {
			u.Fatalf("log of %s: %v", ref.ID, err)
		}
		text.Write(chunk.Data)
		offset = chunk.Next
		if until != "" && strings.Contains(text.String(), until) {
			return text.String()
		}
		if chunk.Complete {
			if until != "" {
				u.Fatalf("the %s of %s ended without %q: %q", stream, ref.ID, until, text.String())
			}
			return text.String()
		}
	}
	u.Fatalf("the %s of %s is not complete: %q", stream, ref.ID, text.String())
	return ""
}

// starts returns the lines "job epoch pid" that the code of a job has left, one for each start.
func (w *world) starts(t testing.TB, job string) []string {
	t.Helper()
	data, err := os.ReadFile(w.marks)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	var lines []string
	for line := range strings.Lines(string(data)) {
		if strings.HasPrefix(line, job+" ") {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	return lines
}

// alive lists the processes of a job, as the batch system marks them.
func alive(t testing.TB, job string) []string {
	t.Helper()
	environments, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, path := range environments {
		text, err := os.ReadFile(path)
		if err == nil && bytes.Contains(text, []byte("CONSORT_JOB="+job+"\x00")) {
			command, _ := os.ReadFile(filepath.Join(filepath.Dir(path), "cmdline"))
			found = append(found, fmt.Sprintf("%s %q", filepath.Dir(path), command))
		}
	}
	return found
}

// noneAlive waits until no process of a job is left.
func (u *user) noneAlive(ref userapi.Ref) {
	u.Helper()
	eventually(u, "no process of the job is left", func() error {
		if left := alive(u, ref.ID); len(left) > 0 {
			return errors.New(strings.Join(left, "\n"))
		}
		return nil
	})
}

// once checks that a job has completed in its first attempt, with a code that was started just once.
func (u *user) once(ref userapi.Ref) {
	u.Helper()
	if lines := u.starts(u, ref.ID); len(lines) != 1 || !strings.HasPrefix(lines[0], ref.ID+" 1 ") {
		u.Errorf("the code was started %d times: %q", len(lines), lines)
	}
	j := u.job(ref)
	if len(j.Attempts) != 1 || j.Attempts[0].Epoch != 1 || j.Attempts[0].State != "committed" {
		u.Errorf("the job has the attempts %+v", j.Attempts)
	}
}

// newKey makes an idempotency key.
func newKey() string { return ids.NewKey() }

// post sends a form of name, value pairs, which must be accepted.
func (u *user) post(path string, pairs ...string) {
	u.Helper()
	values := url.Values{}
	for pair := range slices.Chunk(pairs, 2) {
		values.Add(pair[0], pair[1])
	}
	req, err := http.NewRequestWithContext(u.Context(), http.MethodPost, u.url+path, strings.NewReader(values.Encode()))
	if err != nil {
		u.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if u.token != "" {
		req.Header.Set("Authorization", "Bearer "+u.token)
	}
	resp, err := u.http.Do(req)
	if err != nil {
		u.Fatal(err)
	}
	defer resp.Body.Close()
	if body, _ := io.ReadAll(resp.Body); resp.StatusCode >= 400 {
		u.Fatalf("POST %s: %d %s", path, resp.StatusCode, body)
	}
}

// ledgers are the append-only stores below a world's folder. They hold what was once written, secrets too,
// until they are compacted; so nobody but their owner may look into them.
var ledgers = []string{"coordinator/raft", "coordinator/state", "agent/state/journal"}

// searchSecret looks for the password of the secret job in everything the world has written.
func (w *world) searchSecret(t *testing.T) {
	t.Helper()
	if strings.Contains(w.logs(), password) {
		t.Error("the secret is in the programs' logs")
	}
	var private []string
	for _, dir := range ledgers {
		private = append(private, filepath.Join(w.dir, dir))
		if info, err := os.Stat(private[len(private)-1]); err != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s is open to others: %v %v", dir, info, err)
		}
	}
	searched := 0
	err := filepath.WalkDir(w.dir, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case slices.Contains(private, path):
			return filepath.SkipDir
		case !d.Type().IsRegular():
			return nil
		}
		searched++
		data, err := os.ReadFile(path)
		if err == nil && bytes.Contains(data, []byte(password)) {
			t.Errorf("the secret is in %s", strings.TrimPrefix(path, w.dir))
		}
		return err
	})
	if err != nil || searched == 0 {
		t.Errorf("searched %d files: %v", searched, err)
	}
}

// clean tells whether the site keeps nothing of a job any more.
func (w *world) clean(ref userapi.Ref) error {
	for _, pattern := range []string{"agent", "data/agent"} {
		left, err := filepath.Glob(filepath.Join(w.dir, pattern, "state", "attempts", ref.ID+"-*"))
		if err != nil || len(left) > 0 {
			return fmt.Errorf("left at the site: %q %v", left, err)
		}
	}
	return nil
}
