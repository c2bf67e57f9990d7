package prov_test

import (
	"bytes"
	"encoding/json"
	"io"
	"mime/multipart"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"consort/coordinator"
	"consort/coordinator/coordtest"
	"consort/coordinator/definitions"
	"consort/shared/ids"
	"consort/shared/prov"
	"consort/shared/siteapi"
	"consort/shared/userapi"
)

// rich is a definition whose records have nodes of every kind.
const rich = `format = 1
name = "rich"
version = "1.2"
title = "Rich"
files = ["run.sh", "a.in", "empty.txt"]
config = [{ file = "a.conf", template = "a.in" }]
people = [{ name = "Ada L. Byron", role = "Author", contact = true }, { name = "Josiah Carberry", orcid = "0000-0002-1825-0097" }]
software = [{ name = "python3", version = ">=3.11" }, { name = "sex.tractor" }]
retry = { max = 2, on = ["site-transient"] }
[[parameter]]
name = "n"
type = "int"
default = 1
[[input]]
name = "data"
required = false
multiplicity = "*"
file = "data/"
content_type = ["application/fits", "text/plain"]
[run]
script = "run.sh"
[[output]]
name = "answer"
main = true
file = "answer.txt"
content_type = "text/plain"
[[output]]
name = "files"
file = "out/*"
multiplicity = "*"
content_type = "application/octet-stream"
`

func withRich(c *coordinator.Config) {
	c.Definitions = append(c.Definitions, definitions.Folder{Name: "rich", FS: fstest.MapFS{
		"rich/definition.toml": {Data: []byte(rich)},
		"rich/run.sh":          {Data: []byte("#!/bin/sh\necho 1 > answer.txt\n")},
		"rich/a.in":            {Data: []byte("n = {param.n}\n")},
		"rich/empty.txt":       {},
	}})
}

// upload makes a job of rich with two uploads.
func (w *world) upload(phase string) string {
	w.t.Helper()
	var body bytes.Buffer
	m := multipart.NewWriter(&body)
	if phase != "" {
		_ = m.WriteField("PHASE", phase)
	}
	for _, name := range []string{"one.fits", "two words.fits"} {
		part, _ := m.CreateFormFile("data", name)
		_, _ = io.WriteString(part, "bytes of "+name)
	}
	_ = m.Close()
	a := w.Do(coordtest.Request{Method: http.MethodPost, Path: "/rest/rich", Type: m.FormDataContentType(), Body: &body})
	if a.Status != http.StatusSeeOther {
		w.t.Fatalf("create: %d %s", a.Status, a.Text())
	}
	return a.Header.Get("Location")
}

func (w *world) retract(entity string) {
	w.t.Helper()
	body, _ := json.Marshal(userapi.Retract{Entity: entity, Reason: "a bad flat field"})
	a := w.Do(coordtest.Request{Method: http.MethodPost, Path: "/api/v1/provenance/retractions", Token: coordtest.Operator,
		Type: "application/json", Body: bytes.NewReader(body)})
	if a.Status != http.StatusNoContent && a.Status != http.StatusOK { // the latter of what is retracted already
		w.t.Fatalf("retract %s: %d %s", entity, a.Status, a.Text())
	}
}

// everyNode looks up each element of the record of a job.
func (w *world) everyNode(t *testing.T, job string) {
	t.Helper()
	places := map[string]string{"job": "job", "ent": "entity", "data": "data", "jdl": "jdl", "agt": "agent"}
	whole := w.graph(w.Get(job + "/provjson"))
	for _, kind := range []prov.Kind{prov.Entity, prov.Activity, prov.Agent} {
		for r := range whole.Records(kind) {
			a := w.accept("/id/"+places[r.ID.Prefix]+"/"+url.PathEscape(r.ID.Local), "application/json")
			if a.Status != http.StatusSeeOther {
				t.Errorf("%s: %d %s", r.ID, a.Status, a.Text())
				continue
			}
			for _, more := range []string{"", "&DEPTH=0"} {
				a := w.Get(a.Header.Get("Location") + more)
				if a.Status != http.StatusOK {
					t.Errorf("%s%s: %d %s", r.ID, more, a.Status, a.Text())
				} else if _, ok := w.graph(a).Get(kind, r.ID); !ok {
					t.Errorf("the record of %s%s does not tell of it", r.ID, more)
				}
			}
		}
	}
}

// TestEveryNodeResolves: each element of a job's record has a record of its own, which tells of it.
func TestEveryNodeResolves(t *testing.T) {
	n := coordtest.New(t, coordtest.WithTrials, withRich)
	w := &world{Node: n, t: t, site: n.AddSite("paris")}
	job := w.upload("RUN")
	t.Run("draft", func(t *testing.T) { w.everyNode(t, w.upload("")) })
	t.Run("to be fetched", func(t *testing.T) {
		w.everyNode(t, w.Create("trial", "data", "https://archive.example/a.fits", "data", "https://archive.example/b.fits"))
	})

	first := w.site.Take()
	first.Report("running")
	t.Run("running", func(t *testing.T) { w.everyNode(t, job) })
	first.Fail("site-transient", "no room", w.facts(first))
	second := w.site.Take()
	second.Report("running")
	second.Commit(w.facts(second), coordtest.MainOutput("answer"), coordtest.Output{Output: "files", Path: "out/a b", Data: []byte("member")},
		coordtest.Output{Output: "files", Path: "out/empty"})
	id := coordtest.Job(job)
	inputs := w.graph(w.Get(job + "/provjson"))
	for r := range inputs.Records(prov.Usage) {
		if strings.HasPrefix(r.Ref(1).Local, "up.") {
			w.retract(r.Ref(1).String())
		}
	}
	w.retract(prov.ResultID(id, "answer").String())
	w.retract(prov.MemberID(id, "files", "out/a b").String())
	w.retract(prov.ResultID(id, "files").String())
	t.Run("completed", func(t *testing.T) { w.everyNode(t, job) })

	next := w.Create("rich", "PHASE", "RUN", "data", "consort:"+id+"/answer", "data", "consort:"+id+"/files/out/a b")
	w.site.Take().Fail("user", "no", siteapi.Facts{})
	t.Run("failed", func(t *testing.T) { w.everyNode(t, next) })
	if a := w.Do(coordtest.Request{Method: http.MethodDelete, Path: job}); a.Status != http.StatusSeeOther {
		t.Fatalf("delete: %d %s", a.Status, a.Text())
	}
	t.Run("of a deleted one", func(t *testing.T) { w.everyNode(t, next) })
}

// facts are what a site tells of an attempt, and some of everything.
func (w *world) facts(a *coordtest.Attempt) siteapi.Facts {
	now, code := time.Now(), 1
	f := siteapi.Facts{
		BatchSystem: "slurm", BatchID: "17", Node: "n1", AgentVersion: "1", Started: now, Ended: now, ExitCode: &code,
		Logs: []siteapi.Log{a.Log("stdout", "text"), a.Log("stderr", ""), a.Log(siteapi.LogProvenance,
			`{"prefix": {"default": "my:"}, "activity": {"current_job": {"threads": 4}}}`)},
		Software: []siteapi.Software{{Name: "python3", Version: "3.11.2"}, {Name: "sex.tractor", Version: "2.28 β"}},
		Configs:  []siteapi.Config{{Name: "a.conf", SHA256: coordtest.MainOutput("n = 1\n").SHA256(), Size: 6}},
	}
	for _, in := range a.Inputs {
		f.Transfers = append(f.Transfers, siteapi.Transfer{Name: in.Name, Bytes: in.Size, Files: 1, Protocol: "sftp", Start: now, End: now, SHA256: in.SHA256})
	}
	f.Transfers = append(f.Transfers, siteapi.Transfer{Out: true, Files: 3, Protocol: "sftp", Start: now, End: now})
	return f
}

// TestNoSuchNode: what is like a node of a record and is none.
func TestNoSuchNode(t *testing.T) {
	n := coordtest.New(t, withRich)
	w := &world{Node: n, t: t, site: n.AddSite("paris")}
	job := w.Create("rich", "PHASE", "RUN")
	a := w.site.Take()
	a.Report("running")
	a.Commit(w.facts(a), coordtest.MainOutput("answer"))
	id := coordtest.Job(job)
	for _, node := range []string{
		"jdl:rich.v1.2.x.n", "jdl:rich.v1.2.p.m", "jdl:rich.v1.2.gd.nothing", "jdl:rich.v9", "jdl:poor.v1", "job:retract.ent", "job:retract." + id + ".r.answer",
		"job:retract.up.01", "job:retract." + id, "job:retract." + id + ".r.prov", "job:" + id + ".p.m", "job:" + id + ".a7", "ent:" + id + ".r.proven",
		"ent:" + id + ".in.data.paris", "ent:" + ids.NewJob(time.Now()) + ".r.prov", "ent:sw", "ent:sw.python3", "ent:sw.python3.9", "ent:sw.perl.3.11.2",
		"agt:person.Nobody", "agt:orcid._x30_", "agt:orcid.0000-0000-0000-0000", "agt:person", "agt:user.nobody", "agt:site.rome", "agt:nothing",
		"data:sha256-" + strings.Repeat("0", 64), "data:sha256-" + coordtest.MainOutput("n = 1\n").SHA256(),
	} {
		for _, depth := range []string{"0", "1"} {
			if a := w.ask("ID", node, "DEPTH", depth); a.Status != http.StatusNotFound {
				t.Errorf("%s, %s: %d %s", node, depth, a.Status, a.Text())
			}
		}
	}
}
