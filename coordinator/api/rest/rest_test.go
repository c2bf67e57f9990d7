package rest_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"consort/coordinator"
	"consort/coordinator/coordtest"
	"consort/shared/ids"
	"consort/shared/siteapi"
	"consort/shared/userapi"
)

var update = flag.Bool("update", false, "write the golden files anew")

// masks hide what differs from run to run.
var masks = []struct {
	what *regexp.Regexp
	mask string
}{
	{regexp.MustCompile(`http://127\.0\.0\.1:\d+`), "http://HOST"},
	{regexp.MustCompile(`\bj[0-9a-hjkmnp-tv-z]{26}\b`), "JOB"},
	{regexp.MustCompile(`\d{4}-\d\d-\d\dT[0-9:.]+Z`), "TIME"},
	{regexp.MustCompile(`("clusterId": "|"authority": "https://)[^".]+`), "${1}CLUSTER"},
	{regexp.MustCompile(`"requestId": "[^"]+"`), `"requestId": "ID"`},
	{regexp.MustCompile(`("token": "|--token )[A-Z0-9]+`), "${1}TOKEN"},
}

// golden compares an answer's JSON with testdata/<name>.json.
func golden(t *testing.T, name string, a *coordtest.Answer) {
	t.Helper()
	var value any
	if err := json.Unmarshal(a.Body, &value); err != nil {
		t.Fatalf("%s: %s", name, a.Text())
	}
	data, _ := json.MarshalIndent(map[string]any{"status": a.Status, "type": a.Header.Get("Content-Type"), "body": value}, "", "  ")
	got := string(data) + "\n"
	for _, m := range masks {
		got = m.what.ReplaceAllString(got, m.mask)
	}
	path := filepath.Join("testdata", name+".json")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs (go test -update writes it anew):\n%s", name, got)
	}
}

func get(n *coordtest.Node, token, path string) *coordtest.Answer {
	return n.Do(coordtest.Request{Method: http.MethodGet, Path: "/api/v1" + path, Token: token})
}

// TestShapes: what programs rely on does not change by accident.
func TestShapes(t *testing.T) {
	n := coordtest.New(t, func(c *coordinator.Config) { c.Definitions = nil }, coordtest.WithTrials)
	golden(t, "version", get(n, "", "/version"))
	golden(t, "add-site", n.Do(coordtest.Request{Method: "POST", Path: "/api/v1/sites", Token: coordtest.Operator, Type: "application/json", Body: strings.NewReader(`{"name":"invited","title":"To come"}`)}))
	site := n.AddSite("paris")
	form := coordtest.Form("/rest/trial", "PHASE", "RUN", "RUNID", "night", "password", "hush", "many", "a", "many", "b")
	form.Token = coordtest.Alice
	job := n.Do(form).Header.Get("Location")
	path := "/jobs/" + coordtest.Job(job)
	golden(t, "job-queued", get(n, coordtest.Alice, path))
	a := site.Take()
	a.Report("running")
	code := 0
	log := a.Log("stdout", "words\n")
	a.Commit(siteapi.Facts{BatchSystem: "local", BatchID: "7", Node: "n1", ExitCode: &code, Usage: &siteapi.Usage{CPUSeconds: 1.5, MaxRSSBytes: 4096}, Logs: []siteapi.Log{log}},
		coordtest.MainOutput("main"), coordtest.Output{Output: "files", Path: "out/a b", Data: []byte("a")}, coordtest.Output{Output: "files", Path: "out/c", Data: []byte("c")})
	golden(t, "job-completed", get(n, coordtest.Alice, path))
	golden(t, "members", get(n, coordtest.Alice, path+"/results/files/members"))
	golden(t, "jobs", get(n, coordtest.Alice, "/jobs"))
	golden(t, "sites", get(n, coordtest.Alice, "/sites"))
	golden(t, "definitions", get(n, "", "/definitions"))
	golden(t, "definition", get(n, "", "/definitions/trial@1.0.0"))
}

// TestErrors: every error is a problem document with a stable code.
func TestErrors(t *testing.T) {
	n := coordtest.New(t)
	form := coordtest.Form("/rest/probe")
	form.Token = coordtest.Alice
	own := "/jobs/" + coordtest.Job(n.Do(form).Header.Get("Location"))
	absent := "/jobs/" + ids.NewJob(time.Now())
	for _, c := range []struct {
		token, path string
		status      int
		code        string
	}{
		{coordtest.Alice, absent, 404, "not-found"},
		{coordtest.Bob, own, 404, "not-found"},
		{coordtest.Bob, own + "/logs/stdout", 404, "not-found"},
		{coordtest.Bob, own + "/provenance", 404, "not-found"},
		{coordtest.Bob, own + "/results/answer/members", 404, "not-found"},
		{coordtest.Alice, own + "/results/answer/members", 404, "not-found"},
		{coordtest.Alice, own + "/logs/core", 404, "not-found"},
		{coordtest.Alice, own + "/logs/stdout?offset=x", 400, "invalid"},
		{coordtest.Alice, own + "/logs/stdout?offset=-1", 400, "invalid"},
		{coordtest.Alice, own + "/logs/stdout?wait=x", 400, "invalid"},
		{coordtest.Alice, own + "/provenance?format=pdf", 400, "invalid"},
		{coordtest.Alice, "/jobs?phase=DANCING", 400, "invalid"},
		{coordtest.Alice, "/jobs?limit=0", 400, "invalid"},
		{coordtest.Alice, "/jobs?limit=501", 400, "invalid"},
		{coordtest.Alice, "/jobs?cursor=nonsense", 400, "invalid"},
		{coordtest.Alice, "/jobs?after=yesterday", 400, "invalid"},
		{coordtest.Alice, "/definitions/nothing", 404, "not-found"},
		{coordtest.Alice, "/definitions/probe@9", 404, "not-found"},
		{coordtest.Alice, "/nothing", 404, "not-found"},
		{"wrong", "/jobs", 401, "bad-credentials"},
		{"", own, 401, "unauthenticated"},
	} {
		a := get(n, c.token, c.path)
		var p userapi.Problem
		err := json.Unmarshal(a.Body, &p)
		if err != nil || a.Status != c.status || p.Code != c.code || p.Status != c.status || p.Detail == "" || p.Title == "" ||
			!strings.HasPrefix(a.Header.Get("Content-Type"), "application/problem+json") {
			t.Errorf("%s: %d %s, want %d %s", c.path, a.Status, a.Text(), c.status, c.code)
		}
	}
	mask := regexp.MustCompile(`"requestId":"[^"]+"`)
	hidden := mask.ReplaceAllString(get(n, coordtest.Bob, own).Text(), "")
	if none := mask.ReplaceAllString(get(n, coordtest.Bob, absent).Text(), ""); none != hidden {
		t.Errorf("not his and not there differ:\n%s\n%s", hidden, none)
	}
	for body, status := range map[string]int{`{"name":`: 400, `{"nme":"x"}`: 400, `[]`: 400, ``: 400, `{"name":"x"} {}`: 400} {
		a := n.Do(coordtest.Request{Method: "POST", Path: "/api/v1/sites", Token: coordtest.Operator, Type: "application/json", Body: strings.NewReader(body)})
		if a.Status != status {
			t.Errorf("%s: %d %s", body, a.Status, a.Text())
		}
	}
}

// TestPages: cursors give every job once, newest first, also when jobs are made in between.
func TestPages(t *testing.T) {
	n := coordtest.New(t)
	const count = 120
	for i := range count {
		n.Create("probe", "RUNID", fmt.Sprint(i))
	}
	for _, limit := range []int{1, 7, 50, 119, 120, 121, 500} {
		if limit == 1 && testing.Short() {
			continue
		}
		next, seen, pages := "", 0, 0
		for {
			var page userapi.JobList
			n.JSON("", fmt.Sprintf("/jobs?limit=%d&cursor=%s", limit, next), &page)
			for _, j := range page.Jobs {
				if want := fmt.Sprint(count - 1 - seen); j.RunID != want {
					t.Fatalf("limit %d: job %s, want %s", limit, j.RunID, want)
				}
				seen++
			}
			if pages++; page.Next == "" {
				break
			}
			next = page.Next
			if pages == 1 && limit == 7 {
				n.Do(coordtest.Request{Method: "DELETE", Path: n.Create("probe", "RUNID", "new")})
			}
		}
		if seen != count || pages != (count+limit-1)/limit {
			t.Errorf("limit %d: %d jobs on %d pages", limit, seen, pages)
		}
	}
}
