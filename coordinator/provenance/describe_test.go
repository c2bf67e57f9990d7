package provenance_test

import (
	"strings"
	"testing"
	"testing/fstest"

	"consort/coordinator"
	"consort/coordinator/coordtest"
	"consort/coordinator/definitions"
	"consort/coordinator/provenance"
	"consort/shared/prov"
	"consort/shared/siteapi"
)

// TestRecordTellsOfRetractions: of a result, of a member of a collection and of an input. When they are withdrawn, the
// files are good again, but the acts stay, also when another follows.
func TestRecordTellsOfRetractions(t *testing.T) {
	w := newWorld(t)
	member := coordtest.Output{Output: "files", Path: "out/one", Data: []byte("member")}
	a := w.run("", "first", []coordtest.Output{member}, "data", "file:input")
	_, before, err := w.Record(t.Context(), operator, "", a)
	if err != nil {
		t.Fatal(err)
	}
	if len(before.Inputs) != 1 || before.Results[0].Retracted != nil || before.Inputs[0].Retracted != nil {
		t.Fatalf("the record before is %+v", before)
	}
	entities := []prov.QName{prov.ResultID(a, "answer"), prov.MemberID(a, "files", "out/one"), prov.InputID(&before.Inputs[0])}
	acts := 0
	retracted := func(withdraw bool) map[prov.QName]string {
		t.Helper()
		for _, e := range entities {
			if _, err := w.Retract(t.Context(), operator, e.String(), "a bad flat field", withdraw); err != nil {
				t.Fatal(err)
			}
		}
		g, err := w.Graph(t.Context(), operator, "", a)
		if err != nil {
			t.Fatal(err)
		}
		valid(t, g)
		acts = 0
		for r := range g.Records(prov.Activity) {
			if !strings.HasPrefix(r.ID.Local, "retract.") {
				continue
			}
			acts++
			if _, err := w.Query(t.Context(), operator, provenance.DefaultQuery(r.ID.String())); err != nil {
				t.Errorf("%s: %v", r.ID, err)
			}
		}
		found := map[prov.QName]string{}
		for r := range g.Records(prov.Invalidation) {
			reason, _ := r.Attr(prov.QName{Prefix: "fed", Local: "reason"})
			found[r.Ref(0)] = reason.Text()
			if r.Ref(1) != prov.RetractionID(r.Ref(0), r.Time) || r.Time.IsZero() {
				t.Errorf("the invalidation is %+v", r)
			}
		}
		return found
	}
	found := retracted(false)
	for _, e := range entities {
		if found[e] != "a bad flat field" {
			t.Errorf("of %s is told %q", e, found[e])
		}
	}
	if found := retracted(true); len(found) != 0 || acts != len(entities) {
		t.Errorf("after the withdrawal is told %v, and %d acts", found, acts)
	}
	answer := w.query(operator, provenance.DefaultQuery(entities[0].String())).Graph
	if text := notation(t, answer); !strings.Contains(text, "fed:withdrawnBy='agt:user.operator'") || !strings.Contains(text, "fed:withdrawn=") {
		t.Errorf("nothing of the withdrawal in %s", text)
	}
	if found := retracted(false); len(found) != len(entities) || acts != 2*len(entities) {
		t.Errorf("after another is told %v, and %d acts", found, acts)
	}
}

func notation(t *testing.T, g *prov.Graph) string {
	t.Helper()
	var text strings.Builder
	if err := prov.WriteN(&text, g); err != nil {
		t.Fatal(err)
	}
	return text.String()
}

// TestRecordTellsOfDefinition: what a definition says of itself, its files, and what the site ran it with.
func TestRecordTellsOfDefinition(t *testing.T) {
	n := coordtest.New(t)
	job := n.Create("many")
	draft := records(t, n, job)
	states(t, draft, job,
		`entity(jdl:many.v…, [prov:type='prov:Plan'…fed:resultsLicence="…"`,
		`wasAttributedTo(jdl:many.v…, agt:…, [voprov:role="…"`,
		`entity(jdl:many.v1.0.0.c.many.sh, [prov:type='voprov:ConfigFileDescription', prov:type='fed:Script'…fed:sha256="…`,
		`entity(job:JOB.c.many.sh, [prov:type='voprov:ConfigFile', prov:type='fed:Script'…fed:sha256="…`,
		`wasInfluencedBy(job:JOB.c.many.sh, jdl:many.v1.0.0.c.many.sh, [prov:type='voprov:DescriptionRelation'])`,
		`entity(ent:JOB.r.prov, [prov:type='prov:Bundle', prov:type='fed:ProvenanceRecord'`,
		`wasAttributedTo(ent:JOB.r.prov, agt:ctl…`,
	)
	if strings.Contains(draft, "@") {
		t.Errorf("an address of a person in %s", draft)
	}

	trials := coordtest.New(t, coordtest.WithTrials)
	site := trials.AddSite("lyon")
	job = trials.Create("trial", "PHASE", "RUN")
	a := site.Take()
	a.Report("running")
	a.Commit(siteapi.Facts{
		Image: "sha256:0a", Signal: "SIGTERM", Software: []siteapi.Software{{Name: "astropy", Version: "6.0.1"}},
		Usage: &siteapi.Usage{CPUSeconds: 1, WallSeconds: 2.5},
	}, coordtest.MainOutput("main"))
	states(t, records(t, trials, job), job,
		`fed:imageDigest="sha256:0a"`, `fed:wallSeconds="2.5"`, `fed:signal="SIGTERM"`, `fed:queuedAt=`,
		`wasInfluencedBy(job:JOB.a1, ent:sw.astropy.6.0.1, [prov:type='voprov:RelatedToRelation'])`,
		`entity(ent:JOB.r.answer, […voprov:generatedAtTime=…`,
		`wasInfluencedBy(ent:JOB.r.answer, jdl:trial.v…gd.answer, …`,
	)
}

// configured is a definition whose code reads two configuration files made for it, and one of the definition's own.
const configured = `format = 1
name = "configured"
version = "1"
title = "Configured"
files = ["a.in", "kernel.conv"]
config = [{ file = "a.conf", template = "a.in" }, { file = "b.conf", template = "a.in" }]
retry = { max = 1, on = ["site-transient"] }
[[parameter]]
name = "n"
type = "int"
default = 1
[run]
command = ["/bin/true"]
[[output]]
name = "answer"
main = true
file = "answer.txt"
content_type = "text/plain"
`

// TestRecordTellsOfRenderedFiles: the files that the code of the attempt with the results read, by their hashes;
// nothing of what the site does not tell, and of what the definition does not know.
func TestRecordTellsOfRenderedFiles(t *testing.T) {
	files := fstest.MapFS{
		"configured/definition.toml": {Data: []byte(configured)},
		"configured/a.in":            {Data: []byte("n = {param.n}\n")},
		"configured/kernel.conv":     {Data: []byte("CONV NORM\n")},
	}
	n := coordtest.New(t, func(c *coordinator.Config) {
		c.Definitions = append(c.Definitions, definitions.Folder{Name: "configured", FS: files})
	})
	site := n.AddSite("lyon")
	kernel := coordtest.MainOutput("CONV NORM\n").SHA256()
	told := func(text string) siteapi.Facts {
		return siteapi.Facts{Configs: []siteapi.Config{
			{Name: "a.conf", SHA256: coordtest.MainOutput(text).SHA256(), Size: int64(len(text))},
			{Name: "c.conf", SHA256: coordtest.MainOutput("foreign").SHA256()},
		}}
	}
	job := n.Create("configured", "PHASE", "RUN")
	site.Take().Fail("site-transient", "no room", told("n = 0\n"))
	a := site.Take()
	a.Report("running")
	states(t, records(t, n, job), job, coordtest.MainOutput("n = 0\n").SHA256())
	a.Commit(told("n = 1\n"), coordtest.MainOutput("main"))
	text := records(t, n, job)
	states(t, text, job,
		`entity(job:JOB.c.a.conf, […fed:sha256="`+coordtest.MainOutput("n = 1\n").SHA256()+`"…`,
		`entity(job:JOB.c.b.conf, [prov:type='voprov:ConfigFile'…`,
		`entity(job:JOB.c.kernel.conv, [prov:type='voprov:ConfigFile'…fed:sha256="`+kernel+`", fed:bytes="10"…`,
		`wasInfluencedBy(job:JOB, job:JOB.c.kernel.conv, [prov:type='voprov:ConfigurationRelation'…`,
		`specializationOf(job:JOB.c.kernel.conv, data:sha256-`+kernel+`)`,
		`entity(jdl:configured.v1.c.kernel.conv, [prov:type='voprov:ConfigFileDescription'…fed:sha256="`+kernel+`"…`,
		`entity(jdl:configured.v1.c.a.in, [prov:type='voprov:ConfigFileDescription'…fed:sha256="`+coordtest.MainOutput("n = {param.n}\n").SHA256()+`"…`,
	)
	for _, not := range []string{"c.conf", "job:" + job + ".c.a.in", coordtest.MainOutput("n = 0\n").SHA256()} {
		if strings.Contains(text, not) {
			t.Errorf("the record tells of %s", not)
		}
	}

	failed := n.Create("configured", "PHASE", "RUN")
	site.Take().Fail("user", "bad", siteapi.Facts{Configs: []siteapi.Config{{Name: "a.conf", SHA256: "no hash", Size: 3}}})
	if text := records(t, n, failed); strings.Contains(text, "no hash") {
		t.Error("what is no hash stands in the record")
	}
}

// TestVerifyReads: what a site signed of the inputs it fetched and the files it made cannot be told otherwise later.
func TestVerifyReads(t *testing.T) {
	w := newWorld(t)
	facts := func(fetched, made string) siteapi.Facts {
		return siteapi.Facts{
			Transfers: []siteapi.Transfer{
				{Name: "data", SHA256: coordtest.MainOutput(fetched).SHA256(), Files: 1, Protocol: "https"},
				{Out: true, Files: 1, Protocol: "sftp"},
			},
			Configs: []siteapi.Config{{Name: "a.conf", SHA256: coordtest.MainOutput(made).SHA256()}},
		}
	}
	for _, c := range []struct{ fetched, made, bad string }{
		{"fetched", "made", ""}, {"other", "made", "attempt 1: what was read"}, {"fetched", "other", "attempt 1: what was read"},
	} {
		job := w.create("")
		a := w.site.Take()
		request := a.Stage(coordtest.MainOutput("x"))
		request.Facts = facts(c.fetched, c.made)
		request.Fragment = a.Sign("committed", request.Hash, facts("fetched", "made"))
		if status, problem := w.site.Call(a.Path()+"/commit", request, nil); problem != nil {
			t.Fatalf("%d %s", status, problem.Message)
		}
		report, err := w.Verify(t.Context(), operator, job)
		if err != nil {
			t.Fatal(err)
		}
		if bad := strings.Join(failing(report), ", "); bad != c.bad {
			t.Errorf("told %q and %q: %q", c.fetched, c.made, bad)
		}
	}
}
