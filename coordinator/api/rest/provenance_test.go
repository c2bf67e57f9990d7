package rest_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"consort/coordinator/coordtest"
	"consort/shared/ids"
	"consort/shared/siteapi"
	"consort/shared/userapi"
)

// chain is two jobs of Alice, the second of which used a result of the first.
type chain struct {
	*coordtest.Node
	t             *testing.T
	site          *coordtest.Site
	first, second string // ids
}

func newChain(t *testing.T) *chain {
	n := coordtest.New(t, coordtest.WithTrials)
	c := &chain{Node: n, t: t, site: n.AddSite("paris")}
	c.first = c.run(coordtest.Alice, "main", "text", "one", "password", "hush")
	c.second = c.run(coordtest.Alice, "derived", "data", "consort:"+c.first+"/answer")
	return c
}

func (c *chain) run(token, text string, pairs ...string) string {
	c.t.Helper()
	form := coordtest.Form("/rest/trial", append(pairs, "PHASE", "RUN")...)
	form.Token = token
	a := c.Do(form)
	if a.Status != http.StatusSeeOther {
		c.t.Fatalf("%d %s", a.Status, a.Text())
	}
	attempt := c.site.Take()
	attempt.Report("running")
	code, now := 0, time.Now()
	attempt.Commit(siteapi.Facts{ExitCode: &code, Started: now, Ended: now, Logs: []siteapi.Log{attempt.Log("stdout", "out\n")}}, coordtest.MainOutput(text))
	return coordtest.Job(a.Header.Get("Location"))
}

func (c *chain) retract(token, body string) *coordtest.Answer {
	return c.Do(coordtest.Request{Method: "POST", Path: "/api/v1/provenance/retractions", Token: token, Type: "application/json", Body: strings.NewReader(body)})
}

// read asks as Alice.
func read[T any](c *chain, path string) T {
	c.t.Helper()
	var v T
	c.JSON(coordtest.Alice, "/provenance"+path, &v)
	return v
}

func TestLineage(t *testing.T) {
	c := newChain(t)
	back := read[userapi.Lineage](c, "/lineage?id="+c.second)
	kinds := map[string]int{}
	for _, n := range back.Nodes {
		kinds[n.Kind]++
		if n.Kind == userapi.ProvKindJob && (n.Job.URL == "" || n.Job.Phase != "COMPLETED" || n.Job.Site != "paris") {
			t.Errorf("%+v", n.Job)
		}
	}
	if back.Focus != "job:"+c.second || kinds["job"] != 2 || kinds["file"] != 1 || len(back.Edges) != 2 {
		t.Errorf("%+v", back)
	}
	if forth := read[userapi.Lineage](c, "/lineage?direction=forth&id=consort:"+c.first+"/answer"); len(forth.Nodes) < 2 || forth.Focus != "ent:"+c.first+".r.answer" {
		t.Errorf("%+v", forth)
	}
	if page := read[userapi.Lineage](c, "/lineage?limit=1&id="+c.second); !page.Truncated || page.Next == "" {
		t.Errorf("%+v", page)
	}
	if near := read[userapi.Lineage](c, "/lineage?depth=1&id="+c.second); len(near.Edges) != 1 {
		t.Errorf("%+v", near)
	}
	if alone := read[userapi.Lineage](c, "/lineage?depth=0&id="+c.second); len(alone.Edges) != 0 || len(alone.Nodes) != 1 {
		t.Errorf("%+v", alone)
	}
	if all := read[userapi.Lineage](c, "/lineage?depth=ALL&id="+c.second); len(all.Edges) != 2 {
		t.Errorf("%+v", all)
	}
	users := read[userapi.ProvUses](c, "/users?id=ent:"+c.first+".r.answer")
	if len(users.Users) != 1 || users.Users[0].Job.ID != c.second || users.Users[0].Role != "data" {
		t.Errorf("%+v", users)
	}
	content := read[userapi.ProvContent](c, "/content/"+coordtest.MainOutput("main").SHA256())
	if len(content.Entities) != 1 || content.Entities[0].File.Job != c.first || content.Entities[0].File.Result != "answer" {
		t.Errorf("%+v", content)
	}
}

func TestFindJobs(t *testing.T) {
	c := newChain(t)
	for query, want := range map[string]int{
		"": 2, "definition=trial": 2, "definition=trial&version=1.0.0": 2, "definition=trial&version=2": 0, "site=paris": 2,
		"site=lyon": 0, "definition=trial&parameter=text&value=one": 1, "owner=alice": 2, "since=2020-01-01": 2, "until=2020-01-01": 0,
		"limit=1": 1,
	} {
		jobs := read[userapi.ProvJobs](c, "/jobs?"+query)
		if len(jobs.Jobs) != want || (jobs.Next != "") != (query == "limit=1") {
			t.Errorf("%s: %+v, want %d", query, jobs, want)
		}
	}
	same := c.run(coordtest.Alice, "again", "data", "consort:"+c.first+"/answer")
	if computed := read[userapi.ProvJobs](c, "/computed?job="+same); len(computed.Jobs) != 1 || computed.Jobs[0].ID != c.second {
		t.Errorf("%+v", computed)
	}
}

func TestDiffAndVerify(t *testing.T) {
	c := newChain(t)
	d := read[userapi.ProvDiff](c, "/diff?a="+c.first+"&b="+c.second)
	sections := map[string]bool{}
	for _, l := range d.Lines {
		if !l.Same {
			sections[l.Section] = true
		}
	}
	if d.Same || !sections["parameter"] || !sections["input"] || !sections["output"] || sections["definition"] {
		t.Errorf("%+v", d)
	}
	if same := read[userapi.ProvDiff](c, "/diff?a="+c.first+"&b="+c.first); !same.Same {
		t.Errorf("%+v", same)
	}
	report := read[userapi.ProvReport](c, "/verify/"+c.first)
	if !report.OK || report.Job != c.first || len(report.Checks) < 2 {
		t.Errorf("%+v", report)
	}
}

func TestRetraction(t *testing.T) {
	c := newChain(t)
	body := func(more string) string { return `{"entity":"ent:` + c.first + `.r.answer"` + more + `}` }
	reason := body(`,"reason":"wrong flat field"`)
	for token, want := range map[string]int{coordtest.Bob: 404, coordtest.Alice: 204} {
		if a := c.retract(token, reason); a.Status != want {
			t.Errorf("%s: %d %s", token, a.Status, a.Text())
		}
	}
	impact := read[userapi.ProvImpact](c, "/impact?id=ent:"+c.first+".r.answer")
	if impact.Retracted == nil || impact.Retracted.Reason != "wrong flat field" || impact.JobCount != 1 || len(impact.Jobs) != 1 || impact.Jobs[0].ID != c.second || len(impact.Jobs[0].Results) != 1 {
		t.Errorf("%+v", impact)
	}
	if list := read[userapi.ProvRetractions](c, "/retractions"); len(list.Retractions) != 1 || list.Retractions[0].Entity != "ent:"+c.first+".r.answer" {
		t.Errorf("%+v", list)
	}
	if a := c.retract(coordtest.Alice, body(`,"reason":"it was right","withdraw":true`)); a.Status != 204 {
		t.Errorf("%d %s", a.Status, a.Text())
	}
	if a := c.retract(coordtest.Alice, body(`,"reason":"again","withdraw":true`)); a.Status != 404 || !strings.Contains(a.Text(), "it is not retracted") {
		t.Errorf("%d %s", a.Status, a.Text())
	}
	if list := read[userapi.ProvRetractions](c, "/retractions"); len(list.Retractions) != 0 {
		t.Errorf("%+v", list)
	}
	for _, bad := range []string{body(""), `{"reason":"x"}`, `{`, body(`,"reason":"` + strings.Repeat("x", 5000) + `"`)} {
		if a := c.retract(coordtest.Alice, bad); a.Status != 400 {
			t.Errorf("%.80s: %d %s", bad, a.Status, a.Text())
		}
	}
}

// TestInputsOfAJob: its view tells which inputs were retracted, and what a URL answered with once that is known.
func TestInputsOfAJob(t *testing.T) {
	c := newChain(t)
	if view := c.View(c.second); len(view.Inputs) != 1 || view.Inputs[0].Retracted != nil || view.Inputs[0].SHA256 == "" {
		t.Errorf("%+v", view.Inputs)
	}
	if a := c.retract(coordtest.Alice, `{"entity":"ent:`+c.first+`.r.answer","reason":"wrong flat field"}`); a.Status != 204 {
		t.Fatalf("%d %s", a.Status, a.Text())
	}
	if r := c.View(c.second).Inputs[0].Retracted; r == nil || r.Reason != "wrong flat field" || r.Entity != "ent:"+c.first+".r.answer" {
		t.Errorf("%+v", r)
	}

	const address = "https://archive.example/"
	sum := coordtest.MainOutput("bytes").SHA256()
	form := coordtest.Form("/rest/trial", "data", address+"a", "data", address+"b", "PHASE", "RUN")
	form.Token = coordtest.Alice
	id := coordtest.Job(c.Do(form).Header.Get("Location"))
	attempt := c.site.Take()
	attempt.Report("running")
	for _, in := range c.View(id).Inputs {
		if in.SHA256 != "" || in.Size != 0 || in.Source != "url" {
			t.Errorf("%+v", in)
		}
	}
	code, now := 0, time.Now()
	attempt.Commit(siteapi.Facts{ExitCode: &code, Started: now, Ended: now, Transfers: []siteapi.Transfer{
		{Name: "data", SHA256: strings.Repeat("ab", 32), Bytes: 7, Protocol: "https", Start: now, End: now},
		{Name: "data", SHA256: sum, Bytes: 8, Protocol: "https", Start: now, End: now},
	}}, coordtest.MainOutput("fetched"))
	if in := c.View(id).Inputs; in[0].Size != 7 || in[0].FromURL != address+"a" || in[1].SHA256 != sum || in[1].Size != 8 || !strings.HasSuffix(in[1].URL, "/parameters/data.2") {
		t.Errorf("%+v", in)
	}
}

// TestUploadsAreRecognised: what was fetched and sent again is the result that it was.
func TestUploadsAreRecognised(t *testing.T) {
	c := newChain(t)
	boundary := "b"
	form := "--b\r\nContent-Disposition: form-data; name=\"data\"; filename=\"renamed.txt\"\r\n\r\n" + string(coordtest.MainOutput("main").Data) + "\r\n--b--\r\n"
	a := c.Do(coordtest.Request{Method: "POST", Path: "/rest/trial", Token: coordtest.Alice, Type: "multipart/form-data; boundary=" + boundary, Body: strings.NewReader(form)})
	var job userapi.Job
	c.JSON(coordtest.Alice, "/jobs/"+coordtest.Job(a.Header.Get("Location")), &job)
	if len(job.Inputs) != 1 || len(job.Inputs[0].SameAs) != 1 || job.Inputs[0].SameAs[0] != "ent:"+c.first+".r.answer" {
		t.Errorf("%+v", job.Inputs)
	}
}

// TestProvenanceErrors: every error is a problem with a stable code, and what one may not see is not there.
func TestProvenanceErrors(t *testing.T) {
	c := newChain(t)
	absent := ids.NewJob(time.Now())
	for _, x := range []struct {
		token, path string
		status      int
	}{
		{coordtest.Alice, "/lineage", 400},
		{coordtest.Alice, "/lineage?id=" + c.first + "&direction=up", 400},
		{coordtest.Alice, "/lineage?id=" + c.first + "&depth=x", 400},
		{coordtest.Alice, "/lineage?id=" + c.first + "&depth=-1", 400},
		{coordtest.Alice, "/lineage?id=" + c.first + "&limit=0", 400},
		{coordtest.Alice, "/lineage?id=" + c.first + "&limit=10001", 400},
		{coordtest.Alice, "/lineage?id=" + c.first + "&cursor=x", 400},
		{coordtest.Alice, "/lineage?id=" + c.first + "&same=x", 400},
		{coordtest.Alice, "/lineage?id=" + c.first + "&id=" + c.first, 400},
		{coordtest.Alice, "/lineage?id=" + absent, 404},
		{coordtest.Bob, "/lineage?id=" + c.first, 404},
		{coordtest.Alice, "/users", 400},
		{coordtest.Alice, "/users?id=ent:" + c.first + ".r.nothing", 404},
		{coordtest.Bob, "/users?id=ent:" + c.first + ".r.answer", 404},
		{coordtest.Alice, "/content/" + strings.Repeat("0", 64), 404},
		{coordtest.Alice, "/content/nonsense", 404},
		{coordtest.Bob, "/content/" + coordtest.MainOutput("main").SHA256(), 404},
		{coordtest.Alice, "/jobs?version=1", 400},
		{coordtest.Alice, "/jobs?parameter=text&value=one", 400},
		{coordtest.Alice, "/jobs?since=yesterday", 400},
		{coordtest.Alice, "/jobs?limit=501", 400},
		{coordtest.Alice, "/jobs?definition=trial&cursor=x", 400},
		{coordtest.Alice, "/computed", 400},
		{coordtest.Alice, "/computed?job=" + absent, 404},
		{coordtest.Bob, "/computed?job=" + c.first, 404},
		{coordtest.Alice, "/diff?a=" + c.first, 400},
		{coordtest.Alice, "/diff?a=" + c.first + "&b=" + absent, 404},
		{coordtest.Bob, "/diff?a=" + c.first + "&b=" + c.second, 404},
		{coordtest.Alice, "/verify/" + absent, 404},
		{coordtest.Bob, "/verify/" + c.first, 404},
		{coordtest.Alice, "/impact", 400},
		{coordtest.Bob, "/impact?id=ent:" + c.first + ".r.answer", 404},
		{coordtest.Alice, "/retractions?cursor=x", 400},
	} {
		a := get(c.Node, x.token, "/provenance"+x.path)
		var p userapi.Problem
		err := json.Unmarshal(a.Body, &p)
		if err != nil || a.Status != x.status || p.Status != x.status || p.Code == "" || p.Detail == "" ||
			!strings.HasPrefix(a.Header.Get("Content-Type"), "application/problem+json") {
			t.Errorf("%s: %d %s, want %d", x.path, a.Status, a.Text(), x.status)
		}
	}
}

// TestFormats: the record of a job in every form, by its short name and by that of RESPONSEFORMAT.
func TestFormats(t *testing.T) {
	c := newChain(t)
	for format, contentType := range map[string]string{
		"": "application/json", "json": "application/json", "n": "text/provenance-notation", "xml": "application/provenance+xml",
		"vot": "application/x-votable+xml", "ttl": "text/turtle", "jsonld": "application/ld+json", "svg": "image/svg+xml",
		"png": "image/png", "rocrate": "application/zip", "PROV-XML": "application/provenance+xml",
	} {
		a := get(c.Node, coordtest.Alice, "/jobs/"+c.first+"/provenance?format="+format)
		if a.Status != 200 || !strings.HasPrefix(a.Header.Get("Content-Type"), contentType) || strings.Contains(a.Text(), "hush") {
			t.Errorf("%s: %d %s %.300s", format, a.Status, a.Header, a.Text())
		}
	}
}
