package provenance_test

import (
	"bytes"
	"net/http"
	"strings"
	"testing"

	"consort/coordinator/coordtest"
	"consort/shared/siteapi"
)

// TestOwnProvenance: what a code told of itself is a bundle of its job's record, whether the code succeeded or not;
// what cannot be read does no harm and is told; archiving takes it away.
func TestOwnProvenance(t *testing.T) {
	const doc = `{"prefix": {"default": "my:"}, "activity": {"current_job": {"threads": 4}, "clean": {}},
"entity": {"made": {"prov:location": "./answer.txt"}},
"wasInformedBy": {"_:1": {"prov:informed": "clean", "prov:informant": "current_job"}}}`
	n := coordtest.New(t, coordtest.WithTrials)
	site := n.AddSite("paris")

	good := n.Create("trial", "PHASE", "RUN")
	a := site.Take()
	a.Report("running")
	answer := coordtest.MainOutput("main")
	a.Commit(siteapi.Facts{Logs: []siteapi.Log{a.Log("stdout", "out"), a.Log(siteapi.LogProvenance, doc)}}, answer)
	text := records(t, n, good)
	states(t, text, good,
		`entity(ent:JOB.r.provenance, […fed:Log…prov:Bundle…`,
		`bundle ent:JOB.r.provenance`,
		`activity(job:JOB, […int:JOB.threads="4"…`,
		`wasInformedBy(int:JOB.clean, job:JOB)`,
		`alternateOf(int:JOB.made, ent:JOB.r.answer)`,
		`wasGeneratedBy(job:JOB.g.provenance; ent:JOB.r.provenance, job:JOB, …`,
	)
	if status := n.Get(good + "/results/provenance").Status; status != 404 {
		t.Errorf("the file as a result answers %d", status)
	}

	failed := n.Create("trial", "PHASE", "RUN")
	b := site.Take()
	b.Report("running")
	b.Fail("user", "no", siteapi.Facts{Logs: []siteapi.Log{b.Log(siteapi.LogProvenance, doc)}})
	states(t, records(t, n, failed), failed, `bundle ent:JOB.r.provenance`)

	bad := n.Create("trial", "PHASE", "RUN")
	c := site.Take()
	c.Report("running")
	broken, long := c.Log(siteapi.LogProvenance, `{"entity": {"a": {}, "a": {}}}`), c.Log("stderr", "")
	c.Commit(siteapi.Facts{Logs: []siteapi.Log{long, broken}}, answer)
	text = records(t, n, bad)
	states(t, text, bad, `entity(ent:JOB.r.provenance, […internalProvenanceError…twice…`, `entity(ent:JOB.r.answer, …`)
	if strings.Contains(text, "bundle") {
		t.Errorf("a bundle of nothing in %s", text)
	}

	huge := n.Create("trial", "PHASE", "RUN")
	d := site.Take()
	d.Report("running")
	cut := d.Log(siteapi.LogProvenance, "")
	cut.FullSize = siteapi.MaxProvenance + 1
	d.Commit(siteapi.Facts{Logs: []siteapi.Log{cut}}, answer)
	states(t, records(t, n, huge), huge, `entity(ent:JOB.r.provenance, […internalProvenanceError…8388609 bytes…`)

	linked := n.Create("trial", "PHASE", "RUN")
	e := site.Take()
	e.Report("running")
	e.Commit(siteapi.Facts{Logs: []siteapi.Log{e.Log(siteapi.LogProvenance, "")}}, answer)
	states(t, records(t, n, linked), linked, `entity(ent:JOB.r.provenance, […internalProvenanceError…not a regular file…`)
}

// TestProvenanceIsLimited: more than what is kept of a code's own provenance is not taken.
func TestProvenanceIsLimited(t *testing.T) {
	n := coordtest.New(t, coordtest.WithTrials)
	site := n.AddSite("paris")
	n.Create("trial", "PHASE", "RUN")
	a := site.Take()
	a.Report("running")
	for name, want := range map[string]int{siteapi.LogProvenance: 413, "stdout": 200, "diary": 404} {
		r := n.Do(coordtest.Request{
			Method: http.MethodPut, Path: a.Path() + "/logs/" + name, Token: site.Token(),
			Type: "application/octet-stream", Body: bytes.NewReader(bytes.Repeat([]byte(" "), siteapi.MaxProvenance+1)),
		})
		if r.Status != want {
			t.Errorf("%s answers %d, want %d", name, r.Status, want)
		}
	}
}
