package jobs_test

import (
	"bytes"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"consort/coordinator/coordtest"
	"consort/shared/siteapi"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, coordtest.Leaks()...) }

// world is a coordinator with the trials and a site.
type world struct {
	*coordtest.Node
	t    *testing.T
	site *coordtest.Site
}

func newWorld(t *testing.T) *world {
	n := coordtest.New(t, coordtest.WithTrials)
	return &world{Node: n, t: t, site: n.AddSite("paris")}
}

// post sends a form as the user of token and checks the status.
func (w *world) post(token, path string, want int, pairs ...string) *coordtest.Answer {
	w.t.Helper()
	r := coordtest.Form(path, pairs...)
	r.Token = token
	return w.want(want, w.Do(r))
}

func (w *world) want(status int, a *coordtest.Answer) *coordtest.Answer {
	w.t.Helper()
	if a.Status != status {
		w.t.Fatalf("status %d, want %d: %.500s", a.Status, status, a.Text())
	}
	return a
}

func (w *world) create(token, definition string, pairs ...string) string {
	w.t.Helper()
	return w.post(token, "/rest/"+definition, http.StatusSeeOther, pairs...).Header.Get("Location")
}

func (w *world) get(token, path string) *coordtest.Answer {
	w.t.Helper()
	return w.Do(coordtest.Request{Method: http.MethodGet, Path: path, Token: token})
}

func (w *world) phase(job, want string) {
	w.t.Helper()
	if got := w.View(job).Phase; got != want {
		w.t.Errorf("phase %s, want %s", got, want)
	}
}

// says checks that the text holds every one of the words.
func (w *world) says(text string, words ...string) {
	w.t.Helper()
	for _, word := range words {
		if !strings.Contains(text, word) {
			w.t.Errorf("%q lacks %q", text, word)
		}
	}
}

type upload struct{ name, file, data string }

// form is a create or update with files.
func form(path string, uploads []upload, pairs ...string) coordtest.Request {
	var body bytes.Buffer
	m := multipart.NewWriter(&body)
	for i := 0; i+1 < len(pairs); i += 2 {
		_ = m.WriteField(pairs[i], pairs[i+1])
	}
	for _, u := range uploads {
		part, _ := m.CreateFormFile(u.name, u.file)
		_, _ = io.WriteString(part, u.data)
	}
	_ = m.Close()
	return coordtest.Request{Method: http.MethodPost, Path: path, Type: m.FormDataContentType(), Body: &body}
}

// TestAllProblemsAtOnce: a user who made three mistakes hears of three.
func TestAllProblemsAtOnce(t *testing.T) {
	w := newWorld(t)
	text := w.post("", "/rest/trial", 400, "number", "10", "nothing", "x", "resource_cores", "1000", "text", "a", "text", "b").Text()
	w.says(text, "number", "9", "nothing", "resource_cores", "64", "text")
	text = w.post("", "/rest/fold", 400, "PHASE", "RUN", "bins", "1").Text()
	w.says(text, "period", "series", "bins")
	w.says(w.post("", "/rest/trial", 400, "data", "http://me:word@example.org/x").Text(), "data", "password")
	w.says(w.post("", "/rest/trial", 400, "data", "consort:nonsense").Text(), "data", "consort:<job>/<result>")
	if n := len(w.list()); n != 0 {
		t.Errorf("%d jobs were made", n)
	}
}

func (w *world) list() []string {
	w.t.Helper()
	var list struct{ Jobs []struct{ ID string } }
	w.JSON(coordtest.Operator, "/jobs?limit=500", &list)
	var found []string
	for _, j := range list.Jobs {
		found = append(found, j.ID)
	}
	return found
}

// TestIdempotency: one key, one job, whatever the request carries.
func TestIdempotency(t *testing.T) {
	w := newWorld(t)
	send := func(token, key string, r coordtest.Request) *coordtest.Answer {
		r.Token, r.Header = token, http.Header{"Idempotency-Key": {key}}
		return w.Do(r)
	}
	for name, r := range map[string]func(text string) coordtest.Request{
		"plain":  func(s string) coordtest.Request { return coordtest.Form("/rest/trial", "text", s, "PHASE", "RUN") },
		"upload": func(s string) coordtest.Request { return form("/rest/trial", []upload{{"data", "a.csv", s}}) },
		"large": func(s string) coordtest.Request {
			return coordtest.Form("/rest/trial", "text", strings.Repeat(s, 30_000), "many", "x")
		},
	} {
		t.Run(name, func(t *testing.T) {
			first := w.want(303, send("", name, r("a"))).Header.Get("Location")
			if again := w.want(303, send("", name, r("a"))).Header.Get("Location"); again != first {
				t.Errorf("%s and %s", first, again)
			}
			w.says(w.want(409, send("", name, r("b"))).Text(), "idempotency key")
			if other := w.want(303, send(coordtest.Alice, name, r("b"))).Header.Get("Location"); other == first {
				t.Error("the key of another user gave the same job")
			}
		})
	}
	before := len(w.list())
	var wg sync.WaitGroup
	var mu sync.Mutex
	seen := map[string]bool{}
	for range 50 {
		wg.Go(func() {
			a := send(coordtest.Bob, "race", coordtest.Form("/rest/trial", "text", "same"))
			mu.Lock()
			defer mu.Unlock()
			seen[a.Header.Get("Location")] = true
		})
	}
	wg.Wait()
	if len(seen) != 1 || len(w.list()) != before+1 {
		t.Errorf("50 requests with one key made %d jobs: %v", len(w.list())-before, seen)
	}
}

// lease takes the lease of a job that was just made to run.
func (w *world) lease(job string) *coordtest.Attempt {
	w.t.Helper()
	a := w.site.Take()
	if a.Job != coordtest.Job(job) {
		w.t.Fatalf("lease of %s, want %s", a.Job, job)
	}
	return a
}

func given(l siteapi.Lease) map[string]string {
	values := map[string]string{}
	for _, p := range l.Parameters {
		values[p.Name] = strings.Join(p.Values, ",")
	}
	return values
}

// TestLargeParameters: what is too large for a command reaches the site all the same, secrets by another way.
func TestLargeParameters(t *testing.T) {
	w := newWorld(t)
	large := strings.Repeat("x\"<é", 64<<10/5)
	job := w.create("", "trial", "text", large, "many", "a", "many", "b", "password", "hush", "number", "7")
	for _, p := range w.View(job).Parameters {
		if p.Name == "text" && p.Values[0] != large || p.Name == "password" && len(p.Values) > 0 {
			t.Errorf("%.100v", p)
		}
	}
	w.post("", job+"/parameters", 303, "number", "8") // an update over what is folded
	w.post("", job+"/parameters", 303, "many", "c", "password", "hush2")
	w.post("", job+"/phase", 303, "PHASE", "RUN")
	a := w.lease(job)
	got := given(a.Lease)
	if got["text"] != large || got["number"] != "8" || got["many"] != "c" || got["password"] != "hush2" || len(a.Inputs) != 0 {
		t.Errorf("%d inputs, %.200v", len(a.Inputs), got)
	}
	w.post("", "/rest/trial", 413, "text", large+strings.Repeat("x", 64<<10))
	w.says(w.post("", "/rest/trial", 413, "password", strings.Repeat("s", 30<<10)).Text(), "secret")

	small := w.create("", "trial", "text", large)
	w.post("", small+"/parameters", 303, "text", "short") // unfolds
	w.post("", small+"/phase", 303, "PHASE", "RUN")
	if got := given(w.lease(small).Lease); got["text"] != "short" || len(got) != 1 {
		t.Errorf("%.200v", got)
	}
}

// TestThousandParameters: the limit itself passes, whole.
func TestThousandParameters(t *testing.T) {
	w := newWorld(t)
	var pairs []string
	for i := range 1000 {
		pairs = append(pairs, fmt.Sprintf("p%d", i), fmt.Sprintf("%d-%s", i, strings.Repeat("v", 100)))
	}
	job := w.create("", "wide", pairs...)
	w.post("", job+"/phase", 303, "PHASE", "RUN")
	got := given(w.lease(job).Lease)
	for i := 0; i < len(pairs); i += 2 {
		if got[pairs[i]] != pairs[i+1] {
			t.Fatalf("%s is %q", pairs[i], got[pairs[i]])
		}
	}
	w.says(w.post("", "/rest/wide", 413, append(pairs, "q", "1")...).Text(), "1000")
}

// TestUpdateKeepsOthers: changes of different parameters at the same time do not undo each other.
func TestUpdateKeepsOthers(t *testing.T) {
	w := newWorld(t)
	for _, old := range []string{"old", "older", strings.Repeat("o", 40_000)} {
		job := w.create("", "trial", "text", old, "number", "1", "many", old)
		var wg sync.WaitGroup
		for _, pair := range [][]string{{"text", "new"}, {"number", "2"}, {"many", "new"}, {"password", "new"}} {
			wg.Go(func() { w.Post(job+"/parameters", pair...) })
		}
		wg.Wait()
		for _, p := range w.View(job).Parameters {
			if p.Name != "password" && p.Values[0] != "new" && p.Values[0] != "2" || p.Default {
				t.Fatalf("%+v", p)
			}
		}
	}
}

// TestUpdateRules: what may change when.
func TestUpdateRules(t *testing.T) {
	w := newWorld(t)
	job := w.create("", "trial")
	w.says(w.post("", job+"/parameters", 400, "number", "x", "nothing", "1").Text(), "number", "nothing")
	w.want(303, w.Do(form(job+"/parameters", []upload{{"data", "a", "1"}, {"data", "b", "2"}})))
	w.want(303, w.Do(form(job+"/parameters", []upload{{"extra", "c", "3"}})))
	if in := w.View(job).Inputs; len(in) != 3 || in[0].Name != "data" || in[2].FileName != "c" {
		t.Errorf("%+v", in)
	}
	w.want(303, w.Do(form(job+"/parameters", []upload{{"data", "d", "4"}}))) // replaces the two
	w.post("", job+"/parameters", 303, "resource_memory", "1 GiB")
	w.post("", job+"/parameters", 303, "resource_cores", "3")                // leaves the memory
	w.post("", job+"/executionduration", 303, "EXECUTIONDURATION", "999999") // clamped to the definition's
	w.post("", job+"/phase", 303, "PHASE", "RUN")
	r := w.site.PollRequest(4, 10)
	var answer siteapi.PollResponse
	w.site.Call(siteapi.PollPath, r, &answer)
	if len(answer.Leases) != 1 {
		t.Fatalf("%+v", answer)
	}
	l := answer.Leases[0]
	if l.Resources.Cores != 3 || l.Resources.MemoryBytes != 1<<30 || l.ExecutionSeconds != 7200 || len(l.Inputs) != 2 {
		t.Errorf("%+v", l)
	}
	for _, pairs := range [][]string{{"text", "late"}, {"resource_cores", "1"}} {
		w.post("", job+"/parameters", 403, pairs...)
	}
	w.post("", job+"/executionduration", 303, "EXECUTIONDURATION", "60")
	(&coordtest.Attempt{Site: w.site, Lease: l}).Commit(siteapi.Facts{}, coordtest.MainOutput("x"))
	w.post("", job+"/executionduration", 403, "EXECUTIONDURATION", "61")
	w.post("", job+"/destruction", 303, "DESTRUCTION", "2099-01-01T00:00:00")
}

// TestInputsFromJobs: results of earlier jobs are inputs, with the rights of the user who asks.
func TestInputsFromJobs(t *testing.T) {
	w := newWorld(t)
	source := w.create(coordtest.Alice, "trial", "PHASE", "RUN")
	from := func(result string) string { return "consort:" + coordtest.Job(source) + "/" + result }
	w.says(w.post(coordtest.Alice, "/rest/trial", 400, "data", from("answer")).Text(), "no results", "QUEUED")
	outputs := []coordtest.Output{coordtest.MainOutput("main")}
	for i := range 120 {
		outputs = append(outputs, coordtest.Output{Output: "files", Path: fmt.Sprintf("out/%03d", i), Data: fmt.Appendf(nil, "%d", i)})
	}
	w.site.Complete(source, outputs...)

	for _, c := range []struct {
		token, result string
		status        int
		words         []string
	}{
		{coordtest.Bob, "answer", 400, []string{"that you may read"}},
		{"", "answer", 400, []string{"that you may read"}},
		{coordtest.Alice, "nothing", 400, []string{"no result", "nothing"}},
		{coordtest.Alice, "side", 400, []string{"no result"}},
		{coordtest.Alice, "files", 413, []string{"more than 100", "/<path>"}},
		{coordtest.Alice, "files/out/999", 400, []string{"out/999"}},
		{coordtest.Alice, "answer", 303, nil},
		{coordtest.Alice, "result", 303, nil},
		{coordtest.Alice, "files/out/007", 303, nil},
		{coordtest.Operator, "answer", 303, nil},
	} {
		w.says(w.post(c.token, "/rest/trial", c.status, "data", from(c.result)).Text(), c.words...)
	}
	job := w.create(coordtest.Alice, "trial", "data", from("files/out/007"), "data", from("answer"), "PHASE", "RUN")
	a := w.lease(job)
	if len(a.Inputs) != 2 || a.Inputs[0].FileName != "007" || a.Inputs[1].FileName != "answer.txt" {
		t.Fatalf("%+v", a.Inputs)
	}
	if got := w.content(a, a.Inputs[1].SHA256); got.Text() != "main" {
		t.Errorf("%d %s", got.Status, got.Text())
	}
	other := w.create(coordtest.Bob, "trial", "PHASE", "RUN")
	if got := w.content(w.lease(other), a.Inputs[1].SHA256); got.Status != 404 { // a lease opens only what it names
		t.Errorf("%d %s", got.Status, got.Text())
	}
	w.want(303, w.Do(coordtest.Request{Method: "DELETE", Path: source, Token: coordtest.Alice}))
	w.says(w.post(coordtest.Alice, "/rest/trial", 400, "data", from("answer")).Text(), "that you may read")
	if got := w.content(a, a.Inputs[1].SHA256); got.Text() != "main" { // in use, so still there
		t.Errorf("%d %s", got.Status, got.Text())
	}
}

func (w *world) content(a *coordtest.Attempt, sum string) *coordtest.Answer {
	w.t.Helper()
	return w.get(a.Site.Token(), a.Path()+"/content/"+sum)
}

// TestCollection: members are found one by one, in the cache and beside it.
func TestCollection(t *testing.T) {
	w := newWorld(t)
	job := w.create("", "trial", "PHASE", "RUN")
	outputs := []coordtest.Output{coordtest.MainOutput("main")}
	for i := range 650 { // three parts of a manifest
		outputs = append(outputs, coordtest.Output{Output: "files", Path: fmt.Sprintf("out/%d é", i), Data: fmt.Appendf(nil, "file %d", i)})
	}
	w.site.Complete(job, outputs...)
	for _, i := range []int{0, 299, 649, 299} {
		if got := w.want(200, w.Get(fmt.Sprintf("%s/results/files/out/%d%%20%%C3%%A9", job, i))).Text(); got != fmt.Sprintf("file %d", i) {
			t.Errorf("%q", got)
		}
	}
	w.want(404, w.Get(job+"/results/files/out/650"))
	v := w.View(job)
	if len(v.Results) != 2 || v.Results[0].ID != "answer" || v.Results[1].Files != 650 || !v.Results[1].Collection {
		t.Errorf("%+v", v.Results)
	}
}

// TestDelete: in every phase it hides the job at once.
func TestDelete(t *testing.T) {
	w := newWorld(t)
	held := func() string { // by a quota of its site
		job := w.create("", "trial", "PHASE", "RUN")
		w.lease(job).Fail("quota", "disk quota", siteapi.Facts{})
		w.phase(job, "HELD")
		return job
	}
	var open []*coordtest.Attempt
	for name, make := range map[string]func() string{
		"PENDING":   func() string { return w.create("", "trial") },
		"QUEUED":    func() string { return w.create("", "trial", "PHASE", "RUN", "resource_cores", "64") },
		"HELD":      held,
		"EXECUTING": func() string { job, a := w.running(); open = append(open, a); return job },
		"COMPLETED": func() string { job := w.create("", "trial", "PHASE", "RUN"); w.site.Complete(job); return job },
		"ABORTED": func() string {
			job := w.create("", "trial")
			w.post("", job+"/phase", 303, "PHASE", "ABORT")
			return job
		},
	} {
		job := make()
		w.phase(job, name)
		w.want(303, w.Do(coordtest.Request{Method: "DELETE", Path: job}))
		for _, path := range []string{"", "/phase", "/results", "/stdout", "/results/answer", "/provjson"} {
			if a := w.Get(job + path); a.Status != 404 {
				t.Errorf("%s %s: %d", name, path, a.Status)
			}
		}
		w.want(404, w.Do(coordtest.Request{Method: "DELETE", Path: job}))
		w.post("", job+"/phase", 404, "PHASE", "RUN")
	}
	for _, a := range open { // its site is told, and may close it
		r := w.site.Poll(1, 0, siteapi.AttemptInfo{Job: a.Job, Epoch: a.Epoch})
		if len(r.Cancel) != 1 || r.Cancel[0].Job != a.Job {
			t.Errorf("%+v", r)
		}
		if status, e := w.site.Call(a.Path()+"/close", siteapi.CloseRequest{}, nil); e != nil {
			t.Errorf("%d %+v", status, e)
		}
	}
	if n := len(w.list()); n != 0 {
		t.Errorf("%d jobs are listed", n)
	}
}

func (w *world) running() (string, *coordtest.Attempt) {
	w.t.Helper()
	job := w.create("", "trial", "PHASE", "RUN")
	a := w.lease(job)
	a.Report("running")
	return job, a
}
