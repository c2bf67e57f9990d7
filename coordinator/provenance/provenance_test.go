package provenance_test

import (
	"bytes"
	"regexp"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"consort/coordinator/coordtest"
	"consort/shared/prov"
	"consort/shared/siteapi"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, coordtest.Leaks()...) }

const secret = "correct-horse-battery"

// records reads the provenance of a job in both formats, which must agree, and holds no secret, and returns it as
// PROV-N, blanks squeezed.
func records(t *testing.T, n *coordtest.Node, job string) string {
	t.Helper()
	asJSON, asN := n.Get(job+"/provjson"), n.Get(job+"/provn")
	one, err := prov.ReadJSON(bytes.NewReader(asJSON.Body), prov.DefaultLimits())
	if err != nil {
		t.Fatalf("%v: %s", err, asJSON.Text())
	}
	other, err := prov.ReadN(bytes.NewReader(asN.Body), prov.DefaultLimits())
	if err != nil {
		t.Fatalf("%v: %s", err, asN.Text())
	}
	if !one.Equal(other) {
		t.Errorf("PROV-JSON and PROV-N differ:\n%s\n%s", asJSON.Text(), asN.Text())
	}
	if strings.Contains(asJSON.Text()+asN.Text(), secret) {
		t.Errorf("a secret is told: %s", asN.Text())
	}
	return regexp.MustCompile(`\s+`).ReplaceAllString(asN.Text(), " ")
}

// states checks that each pattern matches a statement; JOB stands for the job's id.
func states(t *testing.T, text, job string, patterns ...string) {
	t.Helper()
	for _, p := range patterns {
		p = strings.ReplaceAll(regexp.MustCompile(`[.()\[\]]`).ReplaceAllStringFunc(p, regexp.QuoteMeta), "…", `[^)]*`)
		p = strings.ReplaceAll(p, "JOB", coordtest.Job(job))
		if !regexp.MustCompile(p).MatchString(text) {
			t.Errorf("nothing like %s in\n%s", p, strings.ReplaceAll(text, ") ", ")\n"))
		}
	}
}

// TestRecords: key facts of jobs that went each its own way.
func TestRecords(t *testing.T) {
	n := coordtest.New(t, coordtest.WithTrials)
	site := n.AddSite("paris")
	side := coordtest.Output{Output: "side", Path: "side.txt", ContentType: "text/plain", Data: []byte("side")}
	member := coordtest.Output{Output: "files", Path: "out/one", Data: []byte("member")}

	source := n.Create("trial", "PHASE", "RUN", "text", "words", "password", secret)
	before := records(t, n, source)
	states(t, before, source, `entity(job:JOB.p.password, […isSecret…`, `entity(job:JOB.p.text, […"words"…`)
	a := site.Take()
	code := 0
	a.Report("running")
	log := a.Log("stdout", "out\n")
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	a.Commit(siteapi.Facts{
		BatchSystem: "slurm", BatchID: "4711", Node: "n7", ExitCode: &code, Usage: &siteapi.Usage{CPUSeconds: 12.5}, Started: start, Ended: start.Add(time.Minute),
		Logs: []siteapi.Log{log}, Transfers: []siteapi.Transfer{{Out: true, Bytes: 10, Files: 3, Protocol: "sftp", Start: start, End: start}},
	}, coordtest.MainOutput("main"), side, member)
	text := records(t, n, source)
	states(t, text, source,
		`entity(job:JOB.p.password, […isSecret…`, // that it was given stays
		`entity(job:JOB.p.number, […isDefault="true"…`,
		`entity(ent:JOB.r.answer, […`+coordtest.MainOutput("main").SHA256(),
		`entity(ent:JOB.r.side, […`+side.SHA256(),
		`entity(ent:JOB.r.files, […Collection…`,
		`hadMember(ent:JOB.r.files, …`,
		member.SHA256(),
		`entity(ent:JOB.r.stdout, […`+log.SHA256,
		`activity(job:JOB, …`, `slurm`, `4711`, `n7`, `2026-01-02T03:04:05`, `sftp`, `committed`,
	)

	user := n.Create("trial", "PHASE", "RUN", "data", "consort:"+coordtest.Job(source)+"/side")
	b := site.Take()
	b.Report("running")
	now := time.Now()
	b.Commit(siteapi.Facts{Started: now, Ended: now}, coordtest.MainOutput("derivative"))
	states(t, records(t, n, user), user,
		`used(…ent:`+coordtest.Job(source)+`.r.side`,
		`wasDerivedFrom(ent:JOB.r.answer, ent:`+coordtest.Job(source)+`.r.side…`,
	)

	failed := n.Create("strict", "PHASE", "RUN", "password", secret)
	site.Take().Fail("user", "the input is empty", siteapi.Facts{Node: "n8"})
	states(t, records(t, n, failed), failed, `ERROR`, `the input is empty`, `n8`, `failed`, `job:JOB.p.password`)

	aborted := n.Create("trial", "PHASE", "RUN")
	site.Take().Report("running")
	n.Post(aborted+"/phase", "PHASE", "ABORT")
	states(t, records(t, n, aborted), aborted, `ABORTED`, `job:JOB.a1`)

	n.Post(source+"/destruction", "DESTRUCTION", time.Now().Add(200*time.Millisecond).UTC().Format(time.RFC3339Nano))
	coordtest.Eventually(t, "the job is archived", func() bool { return n.View(source).Phase == "ARCHIVED" })
	states(t, records(t, n, source), source, `ARCHIVED`, coordtest.MainOutput("main").SHA256(), `4711`)
	states(t, records(t, n, user), user, `ent:`+coordtest.Job(source)+`.r.side`)
}

// TestRetriedJob: both attempts are told, and the results are those of the second.
func TestRetriedJob(t *testing.T) {
	n := coordtest.New(t, coordtest.WithTrials)
	site := n.AddSite("paris")
	job := n.Create("trial", "PHASE", "RUN")
	first := site.Take()
	first.Stage(coordtest.MainOutput("never committed"))
	first.Fail("site-transient", "node went down", siteapi.Facts{Node: "n1"})
	site.Complete(job, coordtest.MainOutput("second"))
	text := records(t, n, job)
	states(t, text, job, `node went down`, `n1`, `failed`, `committed`, `entity(ent:JOB.r.answer, […`+coordtest.MainOutput("second").SHA256())
	if strings.Contains(text, coordtest.MainOutput("never committed").SHA256()) {
		t.Error("what was never committed is in the record")
	}
}
