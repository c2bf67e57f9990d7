package cli

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"consort/shared/prov"
	"consort/shared/userapi"
	"consort/shared/uws"
)

var update = flag.Bool("update", false, "write the golden files anew")

// asProgram makes the test binary behave as the program, so that exit statuses are those of a process.
const asProgram = "CONSORT_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		app := New("1.0.0")
		os.Exit(app.Run(context.Background(), app.Root(), os.Args[1:]))
	}
	goleak.VerifyTestMain(m)
}

const (
	series  = "j01ke5nzv0fghjkmnpqrstvwxy0"
	fold    = "j01ke5nzv1fghjkmnpqrstvwxy0"
	running = "j01ke5nzv2fghjkmnpqrstvwxy0"
	failed  = "j01ke5nzv3fghjkmnpqrstvwxy0"
	fresh   = "j01ke5nzv4fghjkmnpqrstvwxy0"
	hostile = "j01ke5nzv5fghjkmnpqrstvwxy0"
	aborted = "j01ke5nzv6fghjkmnpqrstvwxy0"
	held    = "j01ke5nzv7fghjkmnpqrstvwxy0"
)

func at(seconds int) time.Time {
	return time.Date(2026, 11, 20, 10, 0, 0, 0, time.UTC).Add(time.Duration(seconds) * time.Second)
}

func sha(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

func ptr[T any](v T) *T { return &v }

// world is a server with a few jobs and the faults that are put into it.
type world struct {
	*httptest.Server
	t *testing.T

	mu        sync.Mutex
	jobs      []*userapi.Job // newest first
	submitted []string       // bodies of creations
	busy      int            // answer so many requests with 503 first
	wrong     bool           // send other bytes than announced
	token     string         // ask for it
	asked     []string       // queries to /provsap
	alike     bool           // all but the outputs of jobs compared is the same
	computed  string         // the job that was asked for the same as any created
	warned    []string       // inputs that were retracted, of any job created
	equals    int            // files with the content of any retracted
	depth     string         // of the lineage asked for last
	made      *userapi.Job   // what a creation makes; nil: a fresh job
}

func newWorld(t *testing.T) *world {
	w := &world{t: t}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/v1/jobs", w.list)
	mux.HandleFunc("GET /api/v1/jobs/{id}", w.withJob(func(rw http.ResponseWriter, _ *http.Request, j *userapi.Job) { reply(rw, j) }))
	mux.HandleFunc("GET /api/v1/jobs/{id}/logs/{stream}", w.withJob(w.log))
	mux.HandleFunc("GET /api/v1/jobs/{id}/results/{result}/members", w.withJob(w.members))
	mux.HandleFunc("GET /api/v1/jobs/{id}/provenance", w.withJob(w.provenance))
	mux.HandleFunc("GET /api/v1/sites", func(rw http.ResponseWriter, _ *http.Request) {
		reply(rw, userapi.SiteList{Sites: []userapi.Site{{Name: "meudon", Title: "Meudon\x1b[31m", State: "online", Batch: "slurm", Slots: 64, Free: 60, Running: 4, LastSeen: at(60)}, {Name: "lyon", State: "invited"}}})
	})
	mux.HandleFunc("POST /api/v1/sites", func(rw http.ResponseWriter, _ *http.Request) {
		reply(rw, userapi.Invitation{Site: "lyon", Token: "T0", Expires: at(3600), Command: "consort-agent enroll --server x --token T0"})
	})
	mux.HandleFunc("GET /api/v1/version", func(rw http.ResponseWriter, _ *http.Request) {
		reply(rw, userapi.Version{Version: "2.0.0", ClusterID: "c1", Authority: "https://c1.example"})
	})
	mux.HandleFunc("GET /api/v1/definitions", func(rw http.ResponseWriter, _ *http.Request) {
		reply(rw, userapi.DefinitionList{Definitions: []userapi.DefinitionSummary{{Name: "fold", Version: "1.2", Title: "Phase folding", Published: at(0)}}, Problems: []string{"bad/definition.toml:3: name: is missing"}})
	})
	mux.HandleFunc("GET /api/v1/definitions/{name}", w.definition)
	mux.HandleFunc("POST /rest/{name}", w.create)
	mux.HandleFunc("GET /rest/{name}/{id}", w.withJob(w.document))
	mux.HandleFunc("POST /rest/{name}/{id}/phase", w.withJob(w.phase))
	mux.HandleFunc("DELETE /rest/{name}/{id}", w.withJob(func(rw http.ResponseWriter, _ *http.Request, _ *userapi.Job) { rw.WriteHeader(303) }))
	mux.HandleFunc("GET /bytes/{text}", func(rw http.ResponseWriter, r *http.Request) {
		if w.wrong {
			io.WriteString(rw, "evil!")
			return
		}
		io.WriteString(rw, r.PathValue("text"))
	})
	w.provenanceRoutes(mux)
	w.Server = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/bytes/") { // two at once, when they are compared
			mux.ServeHTTP(rw, r)
			return
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		switch {
		case w.busy > 0:
			w.busy--
			http.Error(rw, "starting", http.StatusServiceUnavailable)
		case w.token != "" && r.Header.Get("Authorization") != "Bearer "+w.token:
			http.Error(rw, "who are you?", http.StatusUnauthorized)
		default:
			mux.ServeHTTP(rw, r)
		}
	}))
	t.Cleanup(w.Close)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.jobs = w.someJobs()
	return w
}

func (w *world) result(id, file, text string) userapi.Result {
	return userapi.Result{ID: id, FileName: file, ContentType: "text/plain", Size: int64(len(text)), SHA256: sha(text), URL: w.URL + "/bytes/" + text}
}

func (w *world) someJobs() []*userapi.Job {
	job := func(id, name, phase string, n int) *userapi.Job {
		return &userapi.Job{ID: id, URL: "http://server/rest/" + name + "/" + id, Definition: name, DefinitionVersion: "1.2", Phase: phase, Created: at(n), Owner: "alice"}
	}
	folded, first := job(fold, "fold", "COMPLETED", 100), job(series, "periodogram", "COMPLETED", 0)
	folded.Inputs = []userapi.Input{{Name: "series", Source: "job", FromJob: series, FromResult: "table", SHA256: sha("table"), Size: 5}}
	folded.Results = []userapi.Result{w.result("folded", "folded.csv", "folds"), w.result("plot", "folded.csv", "plots"),
		{ID: "images", Collection: true, Files: 2, Size: 4, ContentType: "image/fits", SHA256: sha("m"), URL: w.URL + "/images"}}
	folded.Started, folded.Ended, folded.ExecutionSeconds = at(110), at(125), 600
	folded.Parameters = []userapi.Parameter{{Name: "period", Values: []string{"11.1"}, Unit: "yr"}, {Name: "bins", Values: []string{"10"}, Default: true}, {Name: "password", Secret: true}}
	folded.Attempts = []userapi.Attempt{{Epoch: 1, Site: "lyon", State: "lost", Error: &userapi.Error{Class: "lost", Message: "site unreachable"}},
		{Epoch: 2, Site: "meudon", State: "committed", BatchSystem: "slurm", BatchID: "4711", Node: "node7", ExitCode: ptr(0)}}
	first.Results = []userapi.Result{w.result("table", "table.vot", "table")}
	bad := job(failed, "fold", "ERROR", 90)
	bad.Error = &userapi.Error{Class: "user", Message: "no such star\x1b]0;pwned\x07"}
	stuck := job(held, "fold", "HELD", 85)
	stuck.Reason = "the site was lost"
	evil := job(hostile, "fold", "COMPLETED", 70)
	evil.Results = []userapi.Result{w.result("a", "../x", "one"), w.result("b", "..\\x", "two"), w.result("c", "/etc/passwd", "three"), w.result("d", ".bashrc", "four"), w.result("e", "\x1b[2J", "five"), {ID: "../images", Collection: true, Files: 2}}
	wait := job(running, "fold", "QUEUED", 95)
	wait.Reason = "no site has 64 cores free"
	return []*userapi.Job{folded, wait, bad, stuck, job(aborted, "fold", "ABORTED", 80), evil, first}
}

func reply(rw http.ResponseWriter, v any) {
	rw.Header().Set("Content-Type", "application/json")
	json.NewEncoder(rw).Encode(v)
}

func (w *world) withJob(h func(http.ResponseWriter, *http.Request, *userapi.Job)) http.HandlerFunc {
	return func(rw http.ResponseWriter, r *http.Request) {
		for _, j := range w.jobs {
			if j.ID == r.PathValue("id") {
				h(rw, r, j)
				return
			}
		}
		rw.Header().Set("Content-Type", "application/problem+json")
		rw.WriteHeader(404)
		json.NewEncoder(rw).Encode(userapi.Problem{Title: "not found", Detail: "there is no such job", Code: "not-found"})
	}
}

func (w *world) list(rw http.ResponseWriter, r *http.Request) {
	list := userapi.JobList{Jobs: []userapi.Summary{}}
	phases := r.URL.Query()["phase"]
	for _, j := range w.jobs {
		if len(phases) > 0 && !slices.Contains(phases, j.Phase) {
			continue
		}
		s := userapi.Summary{ID: j.ID, Definition: j.Definition, Phase: j.Phase, Created: j.Created, Reason: j.Reason}
		if len(j.Attempts) > 0 {
			s.Site = j.Attempts[len(j.Attempts)-1].Site
		}
		list.Jobs = append(list.Jobs, s)
	}
	reply(rw, list)
}

func (w *world) log(rw http.ResponseWriter, r *http.Request, j *userapi.Job) {
	text := "period 11.1\nred \x1b[31mred\n"
	if r.PathValue("stream") == "stderr" {
		text = ""
	}
	from := 5 // what came before is no longer kept
	if r.FormValue("offset") != "0" || text == "" {
		from = len(text)
	}
	rw.Header().Set(userapi.LogNextHeader, "25")
	if text == "" {
		rw.Header().Set(userapi.LogNextHeader, "0")
	}
	rw.Header().Set(userapi.LogCompleteHeader, "true")
	io.WriteString(rw, text[from:])
}

func (w *world) members(rw http.ResponseWriter, r *http.Request, j *userapi.Job) {
	member := func(path, text string) userapi.Member {
		return userapi.Member{Path: path, URL: w.URL + "/bytes/" + text, SHA256: sha(text), Size: int64(len(text))}
	}
	switch {
	case j.ID == hostile:
		reply(rw, userapi.MemberList{Members: []userapi.Member{member("../../x", "six"), member("a/.ssh/../../authorized_keys", "seven")}})
	case r.FormValue("cursor") == "":
		reply(rw, userapi.MemberList{Members: []userapi.Member{member("out/1.fits", "m1")}, Next: "n"})
	default:
		reply(rw, userapi.MemberList{Members: []userapi.Member{member("out/2.fits", "m2")}})
	}
}

func (w *world) provenance(rw http.ResponseWriter, r *http.Request, j *userapi.Job) {
	rec := prov.JobRecord{
		Job: j.ID, Phase: j.Phase, Created: j.Created, Started: at(110), Ended: at(125),
		Definition: prov.DefinitionRecord{Name: j.Definition, Version: "1.2", Title: j.Definition},
		Attempts:   []prov.AttemptRecord{{Epoch: 1, Site: "meudon", Batch: "slurm", BatchID: "4711", Started: at(110), Ended: at(125), Outcome: prov.OutcomeCommitted}},
	}
	for _, i := range j.Inputs {
		rec.Inputs = append(rec.Inputs, prov.InputRecord{Role: i.Name, SHA256: i.SHA256, Size: &i.Size, Job: i.FromJob, Result: i.FromResult})
	}
	if len(j.Inputs) == 0 {
		rec.Inputs = []prov.InputRecord{{Role: "series", Upload: "01ke5nzuzz", Name: "sunspots.csv", SHA256: sha("sunspots"), Size: ptr(int64(8))}}
	}
	for _, res := range j.Results {
		rec.Results = append(rec.Results, prov.ResultRecord{ID: res.ID, Name: res.FileName, SHA256: res.SHA256, Size: &res.Size})
	}
	graph, err := prov.FromRecord(rec, "https://c1.example")
	if err != nil {
		w.t.Error(err)
		return
	}
	if r.FormValue("format") == userapi.ProvN {
		err = prov.WriteN(rw, graph)
	} else {
		err = prov.WriteJSON(rw, graph)
	}
	if err != nil {
		w.t.Error(err)
	}
}

func (w *world) definition(rw http.ResponseWriter, r *http.Request) {
	text, err := os.ReadFile("testdata/definition.json")
	if err != nil || r.PathValue("name") != "fold" {
		http.Error(rw, "no such definition", 404)
		return
	}
	rw.Header().Set("Content-Type", "application/json")
	rw.Write(text)
}

func (w *world) create(rw http.ResponseWriter, r *http.Request) {
	if r.PathValue("name") == "nosuch" {
		http.Error(rw, `no such definition: "nosuch"`, 404)
		return
	}
	body, _ := io.ReadAll(r.Body)
	if strings.Contains(string(body), "no-such-file.csv") {
		http.Error(rw, `series: "no-such-file.csv": is neither a file nor a reference`, 400)
		return
	}
	w.submitted = append(w.submitted, string(body))
	if w.made == nil {
		made := &userapi.Job{ID: fresh, Definition: r.PathValue("name"), Phase: "COMPLETED", Created: at(200)}
		if strings.Contains(string(body), "REUSE=true") {
			made.ReusedFrom = w.computed
		}
		w.jobs = slices.DeleteFunc(w.jobs, func(j *userapi.Job) bool { return j.ID == fresh })
		w.jobs = append(w.jobs, made)
	}
	if w.computed != "" {
		rw.Header().Add("Link", `<`+w.URL+"/rest/periodogram/"+w.computed+`>; rel="`+userapi.RelComputed+`"`)
	}
	for _, entity := range w.warned {
		rw.Header().Add("Link", `<`+w.URL+"/provsap?ID="+url.QueryEscape(entity)+`>; rel="`+userapi.RelRetracted+`"`)
	}
	rw.Header().Set("Location", w.URL+"/rest/"+r.PathValue("name")+"/"+fresh)
	rw.WriteHeader(303)
}

func (w *world) document(rw http.ResponseWriter, r *http.Request, j *userapi.Job) {
	doc := &uws.Job{ID: j.ID, Phase: uws.Phase(j.Phase), CreationTime: j.Created, StartTime: j.Started, EndTime: at(125), Info: &uws.JobInfo{Site: "meudon", Reason: j.Reason}}
	if j.Error != nil {
		doc.Error = &uws.ErrorSummary{Type: uws.Fatal, Message: j.Error.Message}
	}
	rw.Write(uws.AppendJob(nil, doc))
}

func (w *world) phase(rw http.ResponseWriter, r *http.Request, j *userapi.Job) {
	if r.FormValue("PHASE") == "RUN" && j.Phase == "COMPLETED" {
		http.Error(rw, "a job that is COMPLETED cannot be run", http.StatusForbidden)
		return
	}
	rw.Header().Set("Location", j.URL)
	rw.WriteHeader(303)
}

// outcomeOf is what a command line did.
type outcomeOf struct {
	out, err string
	status   int
}

// run runs a command line in this process.
func (w *world) run(args ...string) outcomeOf { return w.runWith(w.t.Context(), "", args...) }

func (w *world) runWith(ctx context.Context, stdin string, args ...string) outcomeOf {
	var out, talk bytes.Buffer
	env := map[string]string{envServer: w.URL, "LANG": "C.UTF-8"}
	app := &App{In: strings.NewReader(stdin), Out: &out, Err: &talk, Getenv: func(k string) string { return env[k] }, Version: "1.0.0 go"}
	status := app.Run(ctx, app.Root(), args)
	hide := strings.NewReplacer(w.URL, "http://server")
	return outcomeOf{hide.Replace(out.String()), hide.Replace(talk.String()), status}
}

func TestGolden(t *testing.T) {
	for name, args := range map[string][]string{
		"job-ls":          {"job", "ls"},
		"job-ls-phase":    {"job", "ls", "--phase", "queued", "-o", "json"},
		"job-get":         {"job", "get", "j01ke5nzv1"},
		"job-get-error":   {"job", "get", failed},
		"job-get-json":    {"job", "get", failed, "-o", "json"},
		"job-logs":        {"job", "logs", fold},
		"job-logs-stderr": {"job", "logs", "-f", "--stderr", fold},
		"job-run-refused": {"job", "run", fold},
		"job-missing":     {"job", "get", "j01ke5nzvz"},
		"job-ambiguous":   {"job", "get", "j01ke5nz"},
		"results-ls":      {"job", "results", "ls", fold},
		"results-none":    {"job", "results", "get", failed},
		"results-unknown": {"job", "results", "get", fold, "nothing"},
		"wait":            {"job", "wait", fold, series},
		"wait-error":      {"job", "wait", aborted, failed, fold},
		"wait-held":       {"job", "wait", held},
		"submit-nosuch":   {"job", "submit", "nosuch"},
		"submit-wait":     {"job", "submit", "fold", "-w", "-p", "period=1"},
		"definition-ls":   {"definition", "ls"},
		"definition-show": {"definition", "show", "fold"},
		"site-ls":         {"site", "ls"},
		"site-add":        {"site", "add", "lyon"},
		"prov":            {"prov", "show", fold},
		"prov-ascii":      {"prov", "show", fold, "--result", "plot", "--ascii"},
		"prov-n":          {"prov", "show", series, "--format", "n"},
		"prov-unknown":    {"prov", "show", fold, "--result", "nothing"},
		"prov-lineage":    {"prov", "lineage", fold},
		"prov-lineage-of": {"prov", "lineage", series + "/table", "--back", "--forth", "--ascii"},
		"prov-lineage-no": {"prov", "lineage", fold + "/nothing"},
		"prov-diff":       {"prov", "diff", fold, series, "--all"},
		"prov-verify":     {"prov", "verify", failed},
		"prov-retract":    {"prov", "retract", fold + "/folded", "--reason", "bad", "-y"},
		"version":         {"version"},
		"help":            {},
		"unknown":         {"job", "sumbit"},
		"bad-flag":        {"job", "ls", "--limit", "many"},
		"bad-output":      {"job", "ls", "-o", "xml"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			o := w.run(args...)
			got := "$ consort " + strings.Join(args, " ") + "\n" + o.out + "--- standard error\n" + o.err + "--- exit status " + string(rune('0'+o.status)) + "\n"
			if i := strings.IndexFunc(got, func(r rune) bool { return r < ' ' && r != '\n' }); i >= 0 && name != "job-logs" {
				t.Errorf("control character %q in the output", got[i])
			}
			file := filepath.Join("testdata", name+".golden")
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o666); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil || string(want) != got {
				t.Errorf("%v; got:\n%s", err, got)
			}
		})
	}
}

func TestSubmit(t *testing.T) {
	w := newWorld(t)
	file := filepath.Join(t.TempDir(), "s.csv")
	if err := os.WriteFile(file, []byte("from a file"), 0o600); err != nil {
		t.Fatal(err)
	}
	o := w.runWith(t.Context(), "from standard input", "job", "submit", "fold", "--run-id", "n", "--duration", "2h", "-p", "a=b=c", "-f", "one=@"+file, "-f", "two=@-", "-f", "three=consort:j01ke5nzv1/folded")
	if o.status != 0 || o.out != fresh+"\n" {
		t.Fatalf("%+v", o)
	}
	for _, part := range []string{"from a file", `filename="s.csv"`, "from standard input", `filename="two"`, "consort:" + fold + "/folded", "b=c", "7200", "RUN"} {
		if !strings.Contains(w.submitted[0], part) {
			t.Errorf("%q was not sent in %s", part, w.submitted[0])
		}
	}
	for _, args := range [][]string{
		{"-p", "a"}, {"-p", "=b"}, {"-f", "x"}, {"-f", "x=" + file}, {"-f", "x=consort:" + fold}, {"--duration", "soon"}, {"--duration", "0"},
		{"--draft", "--wait"}, {"--timeout", "1m"}, {"extra"}, {"--token", "a", "--token-file", "b"}, {"--server", "localhost:8080"},
	} {
		if o := w.run(append([]string{"job", "submit", "fold"}, args...)...); o.status != exitUsage || o.out != "" {
			t.Errorf("%q: %+v", args, o)
		}
	}
	if o := w.run("job", "submit", "fold", "-f", "x=@"+t.TempDir()); o.status != exitFailure || !strings.Contains(o.err, "is a folder") {
		t.Errorf("%+v", o)
	}
	// A forgotten @, for a file that is there and for one that is not.
	for _, given := range []string{file, "no-such-file.csv"} {
		o := w.run("job", "submit", "fold", "-f", "series="+given, "-f", "mask=consort:j01ke5nzv1/folded")
		if o.status == 0 || !strings.Contains(o.err, "write -f series=@"+given) || strings.Contains(o.err, "mask=@") {
			t.Errorf("%+v", o)
		}
	}
	if len(w.submitted) != 1 {
		t.Errorf("%d jobs were made", len(w.submitted))
	}
}

func TestBusyServerIsAskedAgain(t *testing.T) {
	w := newWorld(t)
	w.busy = 2
	if o := w.run("job", "submit", "fold", "-q"); o.status != 0 || o.err != "" || len(w.submitted) != 1 {
		t.Errorf("%+v", o)
	}
}

// TestForbiddenTellsWhoMay: of a job its owner, of a site the operator alone.
func TestForbiddenTellsWhoMay(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Type", "application/problem+json")
		rw.WriteHeader(http.StatusForbidden)
		io.WriteString(rw, `{"status":403,"code":"forbidden","detail":"you may not do this"}`)
	}))
	defer server.Close()
	w := &world{Server: server, t: t}
	for _, c := range []struct {
		args  string
		owner bool
	}{{"site add meudon", false}, {"site revoke meudon", false}, {"job abort " + fold, true}} {
		o := w.run(strings.Fields(c.args)...)
		if o.status != exitAuth || !strings.Contains(o.err, "operator") || strings.Contains(o.err, "owner of the job") != c.owner {
			t.Errorf("%s: %+v", c.args, o)
		}
	}
}

func TestFollowingALogOutlastsAnOutage(t *testing.T) {
	var asked int
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		switch asked++; {
		case asked == 1:
			http.Error(rw, "starting", http.StatusServiceUnavailable)
		case r.FormValue("offset") == "0":
			rw.Header().Set(userapi.LogNextHeader, "5")
			io.WriteString(rw, "hello")
		default:
			rw.Header().Set(userapi.LogNextHeader, "5")
			rw.Header().Set(userapi.LogCompleteHeader, "true")
		}
	}))
	defer server.Close()
	c, err := userapi.New(userapi.Config{Server: server.URL, RetryFor: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var out, talk bytes.Buffer
	app := &App{Err: &talk}
	if err := app.copyLog(t.Context(), c, fold, "stdout", true, &out); err != nil || out.String() != "hello" || talk.String() != "(starting; trying on)\n" {
		t.Errorf("%q %q %v", out.String(), talk.String(), err)
	}
}

func TestFollowingALogGoesOnWithTheNextAttempt(t *testing.T) {
	answers := []struct{ epoch, offset, next, complete, data string }{
		{"1", "0", "6", "false", "first\n"},
		{"2", "6", "7", "false", "\n"}, // where the old log ended, the new one is in its middle
		{"2", "0", "7", "false", "second\n"},
		{"2", "7", "7", "true", ""},
	}
	var asked int
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		a := answers[min(asked, len(answers)-1)]
		asked++
		if r.FormValue("offset") != a.offset {
			t.Errorf("request %d asks for offset %s, want %s", asked, r.FormValue("offset"), a.offset)
		}
		rw.Header().Set(userapi.LogEpochHeader, a.epoch)
		rw.Header().Set(userapi.LogNextHeader, a.next)
		rw.Header().Set(userapi.LogCompleteHeader, a.complete)
		io.WriteString(rw, a.data)
	}))
	defer server.Close()
	c, err := userapi.New(userapi.Config{Server: server.URL, RetryFor: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var out, talk bytes.Buffer
	app := &App{Err: &talk}
	if err := app.copyLog(t.Context(), c, fold, "stdout", true, &out); err != nil || out.String() != "first\nsecond\n" || talk.String() != "(attempt 2 follows)\n" {
		t.Errorf("%q %q %v", out.String(), talk.String(), err)
	}
}

func TestResultsGet(t *testing.T) {
	w := newWorld(t)
	dir := filepath.Join(t.TempDir(), "out")
	want := ""
	for _, name := range []string{"folded.csv", "folded-2.csv", "images/out/1.fits", "images/out/2.fits"} {
		want += filepath.Join(dir, name) + "\n"
	}
	for range 2 {
		if o := w.run("job", "results", "get", fold, "-d", dir); o.status != 0 || o.out != want {
			t.Errorf("%+v; want %s", o, want)
		}
	}
	if text, err := os.ReadFile(filepath.Join(dir, "folded-2.csv")); string(text) != "plots" {
		t.Errorf("%q, %v", text, err)
	}
	mine := filepath.Join(dir, "folded.csv")
	if err := os.WriteFile(mine, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if o := w.run("job", "results", "get", fold, "result", "-d", dir); o.status != 1 || !strings.Contains(o.err, "--replace") {
		t.Errorf("%+v", o)
	}
	w.wrong = true
	if o := w.run("job", "results", "get", fold, "result", "-d", dir, "--replace"); o.status != 1 || !strings.Contains(o.err, "not what was announced") {
		t.Errorf("%+v", o)
	}
	if text, _ := os.ReadFile(mine); string(text) != "mine" {
		t.Errorf("a wrong download replaced a file: %q", text)
	}
	w.wrong = false
	if o := w.run("job", "results", "get", fold, "folded", "-d", dir, "--replace", "-o", "json"); o.status != 0 || !strings.Contains(o.out, sha("folds")) {
		t.Errorf("%+v", o)
	}
}

func TestHostileNamesStayInside(t *testing.T) {
	w := newWorld(t)
	base := t.TempDir()
	o := w.run("job", "results", "get", hostile, "-d", filepath.Join(base, "deep", "out"))
	if o.status != 0 {
		t.Fatalf("%+v", o)
	}
	var got []string
	err := filepath.WalkDir(base, func(p string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			rel, _ := filepath.Rel(base, p)
			got = append(got, rel)
		}
		return err
	})
	want := []string{"deep/out/_[2J", "deep/out/_bashrc", "deep/out/images/_/_/x", "deep/out/images/a/_ssh/_/_/authorized_keys", "deep/out/passwd", "deep/out/x", "deep/out/x-2"}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%q, %v", got, err)
	}
}

func TestWaitTimesOutAndDetaches(t *testing.T) {
	w := newWorld(t)
	if o := w.run("job", "wait", running, "--timeout", "1s"); o.status != exitTimeout || !strings.Contains(o.err, "not ended within 1s") || !strings.Contains(o.err, "no site has 64 cores free") {
		t.Errorf("%+v", o)
	}
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(200*time.Millisecond, cancel)
	if o := w.runWith(ctx, "", "job", "wait", running); o.status != exitInterrupted || !strings.Contains(o.err, "consort job wait "+running) {
		t.Errorf("%+v", o)
	}
}

func TestToken(t *testing.T) {
	w := newWorld(t)
	w.token = "s3cret"
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("s3cret\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if o := w.run("job", "ls"); o.status != exitAuth || !strings.Contains(o.err, "--token-file") {
		t.Errorf("%+v", o)
	}
	if o := w.run("job", "ls", "--token-file", file); o.status != exitFailure || !strings.Contains(o.err, "chmod 600") {
		t.Errorf("%+v", o)
	}
	if err := os.Chmod(file, 0o600); err != nil {
		t.Fatal(err)
	}
	if o := w.run("job", "ls", "--token-file", file); o.status != 0 {
		t.Errorf("%+v", o)
	}
	if o := w.run("job", "ls", "--token", "s3cret"); o.status != 0 {
		t.Errorf("%+v", o)
	}
}

func TestLint(t *testing.T) {
	w := newWorld(t)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "definition.toml"), []byte("format = 1\nname = \"Bad Name\"\n\ncolour = 3\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	o := w.run("definition", "lint", dir, "../../../examples/fold", "/nonexistent")
	for _, part := range []string{dir + "/definition.toml:2: name: ", dir + "/definition.toml:4: colour: ", "../../../examples/fold: fold 1", "/nonexistent: there is no "} {
		if !strings.Contains(o.out, part) {
			t.Errorf("%q is not in:\n%s", part, o.out)
		}
	}
	if o.status != exitFailure || !strings.Contains(o.err, "2 of 3 definitions have errors") {
		t.Errorf("%+v", o)
	}
	if o := w.run("definition", "lint", "../../../examples/fold/definition.toml", "-o", "json"); o.status != 0 || !strings.Contains(o.out, `"digest"`) {
		t.Errorf("%+v", o)
	}
}

func TestCompletion(t *testing.T) {
	w := newWorld(t)
	if o := w.run("__complete", "job", "get", ""); !strings.Contains(o.out, fold+"\tfold COMPLETED") {
		t.Errorf("%+v", o)
	}
	if o := w.run("__complete", "job", "submit", ""); !strings.Contains(o.out, "fold\tPhase folding") {
		t.Errorf("%+v", o)
	}
	if o := w.run("completion", "bash"); o.status != 0 || !strings.Contains(o.out, "consort") {
		t.Errorf("%+v", o)
	}
}

// TestProcess checks statuses and streams of a real process.
func TestProcess(t *testing.T) {
	w := newWorld(t)
	dead := httptest.NewServer(nil)
	dead.Close()
	for _, test := range []struct {
		args   []string
		server string
		status int
	}{
		{[]string{"job", "wait", fold}, w.URL, exitOK},
		{[]string{"job", "get", "j01ke5nzvz"}, w.URL, exitFailure},
		{[]string{"job", "frobnicate"}, w.URL, exitUsage},
		{[]string{"job", "wait", failed}, w.URL, exitJobError},
		{[]string{"job", "wait", aborted}, w.URL, exitJobAborted},
		{[]string{"site", "ls"}, dead.URL, exitUnreachable},
		{[]string{"--version"}, "", exitOK},
	} {
		cmd := exec.Command(os.Args[0], test.args...)
		cmd.Env = append(os.Environ(), asProgram+"=1", envServer+"="+test.server)
		var out, talk bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &talk
		err := cmd.Run()
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		if got := cmd.ProcessState.ExitCode(); got != test.status || (got > 4 || got == 1) && out.Len() > 0 {
			t.Errorf("%q: status %d, out %q, err %q", test.args, got, out.String(), talk.String())
		}
	}
}

func TestFilter(t *testing.T) {
	for text, want := range map[string]string{
		"plain\tä\n": "plain\tä\n", "\x1b[31mred\x07": "^[[31mred^G", "a\r\nb\rc\n": "a\nb\nc\n", "\x7f\u009b\u202e\xff": "^?\uFFFD\uFFFD\uFFFD",
		"\xe4": "\uFFFD", "10%\r": "10%\n",
	} {
		var out bytes.Buffer
		f := &filter{w: &out}
		for i := range len(text) { // byte by byte, as a network may cut it
			if n, err := f.Write([]byte{text[i]}); n != 1 || err != nil {
				t.Fatal(n, err)
			}
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		if out.String() != want {
			t.Errorf("%q became %q, want %q", text, out.String(), want)
		}
	}
}

func TestTexts(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 999: "999 B", 1000: "1 kB", 999_499: "999 kB", 999_500: "1 MB", 2 << 30: "2.15 GB", 1 << 60: "1.15e+06 TB"} {
		if got := bytesText(n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
	if got := clip("häuser", 4); got != "häu…" {
		t.Error(got)
	}
	var out bytes.Buffer
	app := &App{Out: &out}
	if err := app.printJSON(map[string]string{"a": "\u009b\u202e<\U000e0001\x1b"}); err != nil || out.String() != "{\n  \"a\": \"\\u009b\\u202e<\\udb40\\udc01\\u001b\"\n}\n" {
		t.Errorf("%q, %v", out.String(), err)
	}
}
