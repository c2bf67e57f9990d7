package jobs_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"

	"consort/coordinator/coordtest"
	"consort/shared/siteapi"
	"consort/shared/userapi"
)

// snapshot is everything the JSON API tells of a job.
func (w *world) snapshot(job string) string {
	w.t.Helper()
	return w.get(coordtest.Operator, "/api/v1/jobs/"+coordtest.Job(job)).Text()
}

// calls are all messages about an attempt, each of which could change something.
func calls(ready siteapi.CommitRequest) map[string]any {
	return map[string]any{
		"/report":   siteapi.Report{State: "uploading", Facts: siteapi.Facts{Node: "n1", Reason: "because"}},
		"/offsets":  siteapi.OffsetRequest{Paths: []string{"answer.txt"}},
		"/seal":     siteapi.SealRequest{Files: []siteapi.File{{Path: "answer.txt", SHA256: strings.Repeat("0", 64)}}},
		"/manifest": siteapi.ManifestPart{Files: []siteapi.ManifestFile{{Output: "answer", Path: "answer.txt", SHA256: sumOfNothing}}},
		"/commit":   ready,
		"/fail":     siteapi.FailRequest{Class: "definition", Message: "no"},
		"/close":    siteapi.CloseRequest{},
	}
}

const sumOfNothing = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

// staleEverywhere sends every message for an attempt that must not be listened to.
func (w *world) staleEverywhere(what string, site *coordtest.Site, path string, ready siteapi.CommitRequest, allowed ...string) {
	w.t.Helper()
	for call, message := range calls(ready) {
		status, e := site.Call(path+call, message, nil)
		if strings.Contains(strings.Join(allowed, " "), call) {
			continue
		}
		if status != http.StatusConflict || e.Code != siteapi.CodeStale {
			w.t.Errorf("%s: %s: %d %+v", what, call, status, e)
		}
	}
	for _, r := range []coordtest.Request{
		{Method: "PUT", Path: path + "/logs/stdout?full_size=3", Body: strings.NewReader("log")},
		{Method: "POST", Path: path + "/logs/stdout/live?offset=0", Body: strings.NewReader("log")},
		{Method: "GET", Path: path + "/content/" + sumOfNothing},
	} {
		r.Token, r.Type = site.Token(), "application/octet-stream"
		if a := w.Do(r); a.Status != http.StatusConflict {
			w.t.Errorf("%s: %s %s: %d %s", what, r.Method, r.Path, a.Status, a.Text())
		}
	}
}

// TestStale: another epoch, another site, a closed attempt: 409, and nothing changes.
func TestStale(t *testing.T) {
	w := newWorld(t)
	other := w.AddSite("meudon")
	job, a := w.running()
	a.Push(coordtest.MainOutput("x"))
	ready := a.Stage(coordtest.MainOutput("x"))
	before := w.snapshot(job)
	w.staleEverywhere("another site", other, a.Path(), ready)
	w.staleEverywhere("a later epoch", w.site, siteapi.AttemptPath(a.Job, a.Epoch+1), ready)
	w.staleEverywhere("no such job", w.site, siteapi.AttemptPath("j"+strings.Repeat("0", 26), 1), ready)
	if now := w.snapshot(job); now != before {
		t.Errorf("the job changed:\n%s\n%s", before, now)
	}
	for _, path := range []string{siteapi.AttemptPath(a.Job, 0), siteapi.AttemptPath("nonsense", 1), "/sites/v1/attempts/" + a.Job + "/x"} {
		if status, e := w.site.Call(path+"/report", siteapi.Report{}, nil); status != 404 {
			t.Errorf("%s: %d %+v", path, status, e)
		}
	}

	a.Fail("definition", "broken", siteapi.Facts{})
	before = w.snapshot(job)
	w.staleEverywhere("closed", w.site, a.Path(), ready, "/fail") // to fail again is a repetition
	if now := w.snapshot(job); now != before {
		t.Errorf("the job changed:\n%s\n%s", before, now)
	}

	done, b := w.running()
	b.Commit(siteapi.Facts{}, coordtest.MainOutput("done"))
	before = w.snapshot(done)
	w.staleEverywhere("committed", w.site, b.Path(), ready, "/commit")
	if now := w.snapshot(done); now != before {
		t.Errorf("the job changed:\n%s\n%s", before, now)
	}
}

// TestBadCommit: what is not there, not sealed or not declared is not committed, and the attempt goes on.
func TestBadCommit(t *testing.T) {
	w := newWorld(t)
	job, a := w.running()
	sealed := coordtest.MainOutput("good")
	ready := a.Stage(sealed)
	call := func(path string, message any) (int, string) {
		status, e := w.site.Call(a.Path()+path, message, nil)
		if e == nil {
			return status, ""
		}
		return status, e.Code + ": " + e.Message
	}
	good := siteapi.ManifestFile{Output: "answer", Path: "answer.txt", SHA256: sumOfNothing, Size: 0, ContentType: "text/plain"}
	change := func(f func(*siteapi.ManifestFile)) siteapi.ManifestPart {
		file := good
		f(&file)
		return siteapi.ManifestPart{Files: []siteapi.ManifestFile{file}}
	}
	for name, c := range map[string]struct {
		path    string
		message any
		status  int
		words   string
	}{
		"wrong hash":       {"/commit", siteapi.CommitRequest{Parts: ready.Parts, Hash: strings.Repeat("0", 64)}, 409, "hash differs"},
		"too many parts":   {"/commit", siteapi.CommitRequest{Parts: 2, Hash: ready.Hash}, 409, "1 of 2 parts"},
		"no parts":         {"/commit", siteapi.CommitRequest{Parts: 0, Hash: siteapi.ManifestHash(nil)}, 409, "parts"},
		"negative parts":   {"/commit", siteapi.CommitRequest{Parts: -1, Hash: ready.Hash}, 409, "parts"},
		"unsealed":         {"/manifest", change(func(f *siteapi.ManifestFile) { f.SHA256 = strings.Repeat("1", 64) }), 409, "not sealed"},
		"wrong size":       {"/manifest", change(func(f *siteapi.ManifestFile) { f.SHA256, f.Size = sealed.SHA256(), 5 }), 409, "not sealed"},
		"malformed hash":   {"/manifest", change(func(f *siteapi.ManifestFile) { f.SHA256 = "../../etc/passwd" }), 400, "invalid"},
		"negative size":    {"/manifest", change(func(f *siteapi.ManifestFile) { f.Size = -1 }), 400, "invalid"},
		"no files":         {"/manifest", siteapi.ManifestPart{}, 400, "1 to 300"},
		"too many files":   {"/manifest", siteapi.ManifestPart{Files: make([]siteapi.ManifestFile, 301)}, 400, "1 to 300"},
		"negative part":    {"/manifest", siteapi.ManifestPart{Part: -1, Files: []siteapi.ManifestFile{good}}, 400, "part -1"},
		"seal missing":     {"/seal", siteapi.SealRequest{Files: []siteapi.File{{Path: "../x", SHA256: sumOfNothing}}}, 400, ""},
		"unknown state":    {"/report", siteapi.Report{State: "dancing"}, 400, "dancing"},
		"close of running": {"/close", siteapi.CloseRequest{}, 403, "not being cancelled"},
		"bad log":          {"/report", siteapi.Report{State: "running", Facts: siteapi.Facts{Logs: []siteapi.Log{{Name: "stdout", SHA256: "x"}}}}, 400, "log"},
		"huge facts":       {"/report", siteapi.Report{State: "running", Facts: siteapi.Facts{Node: strings.Repeat("n", 100<<10)}}, 413, ""},
		"unknown key":      {"/report", map[string]any{"state": 7}, 400, ""},
	} {
		if status, text := call(c.path, c.message); status != c.status || !strings.Contains(text, c.words) {
			t.Errorf("%s: %d %q, want %d with %q", name, status, text, c.status, c.words)
		}
	}
	w.phase(job, "EXECUTING")
	var answer siteapi.Answer
	if status, e := w.site.Call(a.Path()+"/commit", ready, &answer); e != nil || answer.Phase != "COMPLETED" {
		t.Fatalf("%d %+v %+v", status, e, answer)
	}
}

// TestManifestOfWrongOutputs: an output that is not declared, several files of one, no main one.
func TestManifestOfWrongOutputs(t *testing.T) {
	w := newWorld(t)
	for words, outputs := range map[string][]coordtest.Output{
		"no output \"nothing\"": {coordtest.MainOutput("x"), {Output: "nothing", Path: "n", Data: []byte("n")}},
		"several files":         {coordtest.MainOutput("x"), {Output: "answer", Path: "b.txt", Data: []byte("b")}},
		"main output":           {{Output: "side", Path: "side.txt", Data: []byte("s")}},
	} {
		job, a := w.running()
		ready := a.Stage(outputs...)
		status, e := w.site.Call(a.Path()+"/commit", ready, nil)
		if status != 400 && status != 409 || !strings.Contains(e.Message, words) {
			t.Errorf("%s: %d %+v", words, status, e)
		}
		w.phase(job, "EXECUTING")
		a.Fail("definition", "wrong outputs", siteapi.Facts{})
		w.phase(job, "ERROR")
	}
}

// TestCommitOnce: a commit whose answer was lost is repeated and changes nothing.
func TestCommitOnce(t *testing.T) {
	w := newWorld(t)
	job, a := w.running()
	ready := a.Stage(coordtest.MainOutput("once"))
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			var answer siteapi.Answer
			if status, e := w.site.Call(a.Path()+"/commit", ready, &answer); e != nil || answer.Phase != "COMPLETED" || answer.Cancel {
				t.Errorf("%d %+v %+v", status, e, answer)
			}
		})
	}
	wg.Wait()
	before := w.snapshot(job)
	w.site.Call(a.Path()+"/commit", ready, nil)
	if now := w.snapshot(job); now != before {
		t.Errorf("the job changed:\n%s\n%s", before, now)
	}
	if v := w.View(job); len(v.Attempts) != 1 || v.Attempts[0].State != "committed" || len(v.Results) != 1 {
		t.Errorf("%+v", v)
	}
}

// TestCommitOrAbort: exactly one wins, and everybody is told the same.
func TestCommitOrAbort(t *testing.T) {
	w := newWorld(t)
	won := map[string]int{}
	for range 15 {
		job, a := w.running()
		ready := a.Stage(coordtest.MainOutput("x"))
		var wg sync.WaitGroup
		var status int
		var e *siteapi.Error
		var answer siteapi.Answer
		wg.Go(func() { status, e = w.site.Call(a.Path()+"/commit", ready, &answer) })
		wg.Go(func() { w.Post(job+"/phase", "PHASE", "ABORT") })
		wg.Wait()
		v := w.View(job)
		won[v.Phase]++
		switch v.Phase {
		case "COMPLETED":
			if e != nil || answer.Phase != "COMPLETED" || len(v.Results) != 1 {
				t.Fatalf("%d %+v %+v", status, e, v)
			}
		case "ABORTED":
			if status != 409 || len(v.Results) != 0 || v.Attempts[0].State == "committed" {
				t.Fatalf("%d %+v %+v", status, e, v)
			}
			if status, e := w.site.Call(a.Path()+"/close", siteapi.CloseRequest{}, nil); e != nil {
				t.Fatalf("close: %d %+v", status, e)
			}
		default:
			t.Fatalf("phase %s", v.Phase)
		}
	}
	t.Log(won)
}

// TestAbort: it holds at once, the site is told, and its last facts are still taken.
func TestAbort(t *testing.T) {
	w := newWorld(t)
	job, a := w.running()
	w.post("", job+"/phase", 303, "PHASE", "ABORT")
	w.phase(job, "ABORTED")
	w.post("", job+"/phase", 303, "PHASE", "ABORT") // again
	w.post("", job+"/phase", 403, "PHASE", "RUN")
	var answer siteapi.Answer
	if status, e := w.site.Call(a.Path()+"/report", siteapi.Report{State: "uploading"}, &answer); e != nil || !answer.Cancel {
		t.Errorf("%d %+v %+v", status, e, answer)
	}
	log := a.Log("stdout", "last words\n")
	code := 143
	facts := siteapi.Facts{Logs: []siteapi.Log{log}, ExitCode: &code, Signal: "TERM", Usage: &siteapi.Usage{CPUSeconds: 2}}
	for range 2 { // repeating is harmless
		if status, e := w.site.Call(a.Path()+"/close", siteapi.CloseRequest{Facts: facts}, nil); e != nil {
			t.Fatalf("%d %+v", status, e)
		}
	}
	v := w.View(job)
	if at := v.Attempts[0]; v.Phase != "ABORTED" || at.State != "cancelled" || *at.ExitCode != 143 || at.CPUSeconds != 2 || at.Signal != "TERM" {
		t.Errorf("%+v", v)
	}
	if got := w.Get(job + "/stdout").Text(); got != "last words\n" {
		t.Errorf("%q", got)
	}
}

// TestRetry: a transient failure is tried again after a while, as epoch 2; the first attempt is heard no more.
func TestRetry(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	job, first := w.running()
	ready := first.Stage(coordtest.MainOutput("one"))
	first.Fail("site-transient", "node went down", siteapi.Facts{Node: "n1"})
	var v userapi.Job
	w.JSON("", "/jobs/"+coordtest.Job(job), &v)
	if v.Phase != "QUEUED" || !strings.Contains(v.Reason, "node went down") || v.Started.IsZero() {
		t.Errorf("%+v", v)
	}
	second := w.lease(job) // after 5 s
	if second.Epoch != 2 {
		t.Fatalf("%+v", second.Lease)
	}
	w.staleEverywhere("the first attempt", w.site, first.Path(), ready, "/fail")
	second.Report("running")
	second.Commit(siteapi.Facts{}, coordtest.MainOutput("two"))
	after := w.View(job)
	if after.Phase != "COMPLETED" || len(after.Attempts) != 2 || after.Attempts[0].State != "failed" || after.Attempts[1].State != "committed" || !after.Started.Equal(v.Started) {
		t.Errorf("%+v", after)
	}
	if wait := after.Attempts[1].Leased.Sub(after.Attempts[0].Closed).Seconds(); wait < 5 {
		t.Errorf("the second attempt began %v s after the first ended", wait)
	}
	if got := w.Get(job + "/results/result").Text(); got != "two" {
		t.Errorf("%q", got)
	}
}

// TestFailureClasses: what a failure makes of a job that is not retried.
func TestFailureClasses(t *testing.T) {
	w := newWorld(t)
	for class, want := range map[string]string{
		"user": "ERROR", "definition": "ERROR", "site-transient": "ERROR", "site-config": "ERROR", "transfer": "ERROR",
		"timelimit": "ABORTED", "quota": "HELD", "": "ERROR", "made-up": "ERROR",
	} {
		job := w.create("", "strict", "PHASE", "RUN")
		a := w.lease(job)
		a.Report("running")
		long := strings.Repeat("é", 3000)
		a.Fail(class, "reason: "+long, siteapi.Facts{})
		v := w.View(job)
		if v.Phase != want {
			t.Errorf("%s: %s", class, v.Phase)
		}
		if want == "ERROR" && (v.Error == nil || v.Error.Class != class || !strings.HasPrefix(v.Error.Message, "reason: é") || len(v.Error.Message) > 4096) {
			t.Errorf("%s: %.200v", class, v.Error)
		}
		if want == "HELD" { // the user runs it again
			w.post("", job+"/phase", 303, "PHASE", "RUN")
			w.site.Complete(job)
			w.phase(job, "COMPLETED")
		}
	}
}

// TestSecretsAreWiped: when the job has ended no one can be given them any more.
func TestSecretsAreWiped(t *testing.T) {
	w := newWorld(t)
	const secret = "correct-horse-battery"
	job := w.create("", "trial", "PHASE", "RUN", "password", secret)
	a := w.lease(job)
	if given(a.Lease)["password"] != secret || !a.Parameters[0].Secret {
		t.Fatalf("%+v", a.Parameters)
	}
	for _, path := range []string{job, job + "/parameters", job + "/parameters/password", job + "/provjson", job + "/provn", "/api/v1/jobs/" + path.Base(job)} {
		if text := w.Get(path).Text(); strings.Contains(text, secret) {
			t.Errorf("%s: %s", path, text)
		}
	}
	w.post("", job+"/phase", 303, "PHASE", "ABORT")
	if r := w.site.Poll(1, 0); len(r.Leases) != 0 {
		t.Errorf("%+v", r)
	}
}

// TestSealNamesBadFiles: the agent hears which files to send again.
func TestSealNamesBadFiles(t *testing.T) {
	w := newWorld(t)
	_, a := w.running()
	a.Push(coordtest.MainOutput("good"), coordtest.Output{Path: "dir/b", Data: []byte("bad")})
	var answer siteapi.SealResponse
	status, e := w.site.Call(a.Path()+"/seal", siteapi.SealRequest{Files: []siteapi.File{
		{Path: "answer.txt", SHA256: coordtest.MainOutput("good").SHA256(), Size: 4},
		{Path: "dir/b", SHA256: strings.Repeat("0", 64), Size: 3},
		{Path: "dir/c", SHA256: sumOfNothing, Size: 0},
	}}, &answer)
	slices.SortFunc(answer.Bad, func(a, b siteapi.BadFile) int { return strings.Compare(a.Path, b.Path) })
	if e != nil || fmt.Sprint(answer.Bad) != "[{dir/b hash} {dir/c missing}]" {
		t.Errorf("%d %+v %+v", status, e, answer)
	}
	var offsets siteapi.OffsetResponse
	w.site.Call(a.Path()+"/offsets", siteapi.OffsetRequest{Paths: []string{"answer.txt", "nothing", "dir/b"}}, &offsets)
	if offsets.Offsets["answer.txt"] != 4 || offsets.Offsets["dir/b"] != 3 || offsets.Offsets["nothing"] != 0 {
		t.Errorf("%+v", offsets)
	}
	if status, e := w.site.Call(a.Path()+"/offsets", siteapi.OffsetRequest{Paths: make([]string, 1001)}, nil); status != 413 {
		t.Errorf("%d %+v", status, e)
	}
}

// live sends a chunk of a running log.
func (w *world) live(a *coordtest.Attempt, offset int, data string) siteapi.LiveAnswer {
	w.t.Helper()
	r := w.Do(coordtest.Request{
		Method: "POST", Path: fmt.Sprintf("%s/logs/stdout/live?offset=%d", a.Path(), offset), Token: a.Site.Token(),
		Type: "application/octet-stream", Body: strings.NewReader(data),
	})
	w.want(200, r)
	var answer siteapi.LiveAnswer
	if err := json.Unmarshal(r.Body, &answer); err != nil {
		w.t.Fatal(err)
	}
	return answer
}

type window struct {
	text        string
	next, first string
	complete    bool
	epoch       string
}

func (w *world) window(job string, offset, wait int) window {
	w.t.Helper()
	a := w.want(200, w.Get(fmt.Sprintf("/api/v1/jobs/%s/logs/stdout?offset=%d&wait=%d", coordtest.Job(job), offset, wait)))
	return window{a.Text(), a.Header.Get(userapi.LogNextHeader), a.Header.Get(userapi.LogFirstHeader),
		a.Header.Get(userapi.LogCompleteHeader) == "true", a.Header.Get(userapi.LogEpochHeader)}
}

// TestLiveLog: chunks are shown as they come, holes are told, the ring is bounded, the stored log counts.
func TestLiveLog(t *testing.T) {
	w := newWorld(t)
	job := w.create("", "trial")
	if got := w.window(job, 0, 0); got != (window{"", "0", "0", false, "0"}) {
		t.Errorf("draft: %+v", got)
	}
	w.post("", job+"/phase", 303, "PHASE", "RUN")
	a := w.lease(job)
	a.Report("running")
	if got := w.live(a, 0, "one "); got.Next != 4 || got.Watching {
		t.Errorf("nobody watches: %+v", got)
	}
	if got := w.window(job, 0, 0); got != (window{"one ", "4", "0", false, "1"}) {
		t.Errorf("%+v", got)
	}
	r := w.site.Poll(0, 0, siteapi.AttemptInfo{Job: a.Job, Epoch: 1})
	if len(r.Watch) != 1 || r.Watch[0].Job != a.Job { // the reader made its site send more
		t.Errorf("%+v", r)
	}
	held := make(chan window)
	go func() { held <- w.window(job, 4, 20) }()
	if got := w.live(a, 2, "e two "); got.Next != 8 || !got.Watching { // overlaps by two bytes
		t.Errorf("%+v", got)
	}
	if got := <-held; got.text != "two " || got.next != "8" {
		t.Errorf("%+v", got)
	}
	if got := w.live(a, 8, ""); got.Next != 8 {
		t.Errorf("%+v", got)
	}
	if got := w.live(a, 3, "e"); got.Next != 8 { // old news
		t.Errorf("%+v", got)
	}
	w.live(a, 100, "after a hole")
	if got := w.window(job, 0, 0); got != (window{"after a hole", "112", "100", false, "1"}) {
		t.Errorf("%+v", got)
	}
	chunk := strings.Repeat("x", siteapi.MaxLiveChunk)
	for i := range 5 {
		w.live(a, 112+i*len(chunk), chunk)
	}
	if got := w.window(job, 0, 0); len(got.text) != 1<<20 || got.first != fmt.Sprint(112+len(chunk)) {
		t.Errorf("%d bytes from %s", len(got.text), got.first)
	}
	for _, query := range []string{"offset=-1", "offset=x"} {
		bad := w.Do(coordtest.Request{Method: "POST", Path: a.Path() + "/logs/stdout/live?" + query, Token: w.site.Token(), Type: "text/plain", Body: strings.NewReader("x")})
		if bad.Status != 400 {
			t.Errorf("%s: %d", query, bad.Status)
		}
	}
	big := w.Do(coordtest.Request{Method: "POST", Path: a.Path() + "/logs/stdout/live", Token: w.site.Token(), Type: "text/plain", Body: strings.NewReader(chunk + "x")})
	other := w.Do(coordtest.Request{Method: "POST", Path: a.Path() + "/logs/core/live", Token: w.site.Token(), Type: "text/plain", Body: strings.NewReader("x")})
	if big.Status != 413 || other.Status != 404 {
		t.Errorf("%d %d", big.Status, other.Status)
	}

	log := a.Log("stdout", "stored\n")
	if got := w.window(job, 112, 0); got.complete { // stored, but not yet told
		t.Errorf("%+v", got)
	}
	a.Commit(siteapi.Facts{Logs: []siteapi.Log{log}}, coordtest.MainOutput("x"))
	for offset, want := range map[int]window{
		0: {"stored\n", "7", "0", true, "1"}, 3: {"red\n", "7", "0", true, "1"}, 7: {"", "7", "0", true, "1"}, 99: {"", "99", "0", true, "1"},
	} {
		if got := w.window(job, offset, 20); got != want {
			t.Errorf("from %d: %+v", offset, got)
		}
	}
}

// TestLogOfRetry: a reader who follows sees the epoch change, and is not told that it is over between.
func TestLogOfRetry(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	job, a := w.running()
	log := a.Log("stdout", "first try\n")
	a.Fail("site-transient", "x", siteapi.Facts{Logs: []siteapi.Log{log}})
	if got := w.window(job, 0, 0); got != (window{"first try\n", "10", "0", false, "1"}) {
		t.Errorf("%+v", got)
	}
	held := make(chan window)
	go func() { held <- w.window(job, 10, 30) }()
	b := w.lease(job)
	w.live(b, 0, "second try, longer\n")
	if got := <-held; got.epoch != "2" || got.complete {
		t.Errorf("%+v", got)
	}
	if got := w.Get(job + "/stdout").Text(); got != "second try, longer\n" {
		t.Errorf("%q", got)
	}
}

// TestNoTheftByHash: a site cannot make a file a result that it did not push itself.
func TestNoTheftByHash(t *testing.T) {
	w := newWorld(t)
	secret := coordtest.MainOutput("somebody else's data")
	job := w.create(coordtest.Alice, "trial", "PHASE", "RUN")
	w.site.Complete(job, secret)
	_, a := w.running()
	a.Stage(coordtest.MainOutput("mine"))
	status, e := w.site.Call(a.Path()+"/manifest", siteapi.ManifestPart{Files: []siteapi.ManifestFile{
		{Output: "answer", Path: "answer.txt", SHA256: secret.SHA256(), Size: int64(len(secret.Data))},
	}}, nil)
	if status != 409 || e.Code != "incomplete" {
		t.Errorf("%d %+v", status, e)
	}
}
