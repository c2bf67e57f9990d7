package coordtest

import (
	"strings"
	"testing"

	"go.uber.org/goleak"

	"consort/shared/siteapi"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, Leaks()...) }

// TestOneJob drives a job from its creation to its result over the real interfaces.
func TestOneJob(t *testing.T) {
	n := New(t)
	site := n.AddSite("paris")
	job := n.Create("probe", "PHASE", "RUN", "text", "hello")
	a := site.Take()
	a.Report("running")
	if got := n.Get(job + "/phase").Text(); got != "EXECUTING" {
		t.Fatalf("phase %s", got)
	}
	out := a.Log("stdout", "out\n")
	a.Commit(siteapi.Facts{Logs: []siteapi.Log{out}}, Output{"answer", "answer.txt", "text/plain", []byte("done\nhello\n")})
	if got := n.Get(job + "/phase").Text(); got != "COMPLETED" {
		t.Fatalf("phase %s", got)
	}
	if got := n.Get(job + "/results/result").Text(); !strings.HasPrefix(got, "done\n") {
		t.Fatalf("result %q", got)
	}
}

func TestTrials(t *testing.T) {
	n := New(t, WithTrials)
	if p := n.Problems(); len(p) > 0 {
		t.Fatal(p)
	}
	site := n.AddSite("paris")
	job := n.Create("trial", "PHASE", "RUN", "password", "hush", "many", "a", "many", "b")
	site.Complete(job)
	if got := n.View(job).Phase; got != "COMPLETED" {
		t.Error(got)
	}
}
