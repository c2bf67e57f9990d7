package scheduler_test

import (
	"bytes"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"consort/coordinator"
	"consort/coordinator/coordtest"
	"consort/shared/ids"
	"consort/shared/prov"
	"consort/shared/siteapi"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, coordtest.Leaks()...) }

// world is a coordinator with the trials and a site.
type world struct {
	*coordtest.Node
	t    *testing.T
	dir  string
	site *coordtest.Site
}

func newWorld(t *testing.T, change ...func(*coordinator.Config)) *world {
	w := &world{t: t}
	change = append([]func(*coordinator.Config){coordtest.WithTrials, func(c *coordinator.Config) { w.dir = c.Dir }}, change...)
	w.Node = coordtest.New(t, change...)
	w.site = w.AddSite("paris")
	return w
}

func (w *world) run(definition string, pairs ...string) string {
	w.t.Helper()
	return w.Create(definition, append(pairs, "PHASE", "RUN")...)
}

func (w *world) reaches(job, phase string) {
	w.t.Helper()
	coordtest.Eventually(w.t, "phase "+phase, func() bool { return w.View(job).Phase == phase })
}

func (w *world) reason(job string, words ...string) {
	w.t.Helper()
	for _, word := range words {
		if reason := w.View(job).Reason; !strings.Contains(reason, word) {
			w.t.Errorf("reason %q lacks %q", reason, word)
		}
	}
}

// poll sends a poll and returns what it was answered within wait seconds.
func poll(t *testing.T, s *coordtest.Site, r siteapi.PollRequest) *siteapi.PollResponse {
	t.Helper()
	answer := new(siteapi.PollResponse)
	if status, e := s.Call(siteapi.PollPath, r, answer); e != nil {
		t.Fatalf("%d %+v", status, e)
	}
	return answer
}

func at(a *coordtest.Attempt) siteapi.AttemptInfo {
	return siteapi.AttemptInfo{Job: a.Job, Epoch: a.Epoch}
}

// TestDifference: the answer to a poll is what the site's journal lacks, or has too much.
func TestDifference(t *testing.T) {
	w := newWorld(t)
	done, a := w.run("trial"), w.site.Take()
	a.Commit(siteapi.Facts{}, coordtest.MainOutput("x"))
	open, b := w.run("trial"), w.site.Take()
	aborted, c := w.run("trial"), w.site.Take()
	w.Post(aborted+"/phase", "PHASE", "ABORT")
	other := w.AddSite("meudon")
	stranger := siteapi.AttemptInfo{Job: ids.NewJob(time.Now()), Epoch: 3}
	cancelling := at(c)
	cancelling.Cancelling = true

	for name, tc := range map[string]struct {
		site                          *coordtest.Site
		journal                       []siteapi.AttemptInfo
		leases, cancel, forget, watch string
	}{
		"nothing known":          {w.site, nil, open, aborted, "", ""},
		"all known":              {w.site, []siteapi.AttemptInfo{at(a), at(b), at(c)}, "", aborted, done, ""},
		"in agreement":           {w.site, []siteapi.AttemptInfo{at(b), cancelling}, "", aborted, "", ""},
		"an unknown attempt":     {w.site, []siteapi.AttemptInfo{at(b), at(c), stranger}, "", aborted, stranger.Job, ""},
		"another epoch":          {w.site, []siteapi.AttemptInfo{{Job: b.Job, Epoch: 2}, at(c)}, open, aborted, b.Job, ""},
		"the same, twice":        {w.site, []siteapi.AttemptInfo{at(b), at(b), at(c)}, "", aborted, "", ""},
		"another site":           {other, nil, "", "", "", ""},
		"another site's attempt": {other, []siteapi.AttemptInfo{at(b)}, "", "", b.Job, ""},
	} {
		r := poll(t, tc.site, tc.site.PollRequest(0, 0, tc.journal...))
		var leases []string
		for _, l := range r.Leases {
			leases = append(leases, fmt.Sprint(l.Job))
		}
		same := func(what, got, want string) {
			if want = strings.TrimPrefix(coordtest.Job(want), "."); got != want {
				t.Errorf("%s: %s: %q, want %q", name, what, got, want)
			}
		}
		same("leases", strings.Join(leases, " "), tc.leases)
		same("cancel", refs(r.Cancel), tc.cancel)
		same("forget", refs(r.Forget), tc.forget)
		same("watch", refs(r.Watch), tc.watch)
		if len(r.SFTP) != 1 || r.Time.IsZero() {
			t.Errorf("%s: %+v", name, r)
		}
	}
	w.Get("/api/v1/jobs/" + b.Job + "/logs/stdout") // somebody looks
	if r := poll(t, w.site, w.site.PollRequest(0, 0, at(b))); refs(r.Watch) != b.Job {
		t.Errorf("%+v", r)
	}
}

func refs(all []siteapi.AttemptRef) string {
	var text []string
	for _, r := range all {
		text = append(text, r.Job)
	}
	return strings.Join(text, " ")
}

// hold opens a poll that is held, and returns when it can be given work.
func (w *world) hold(s *coordtest.Site, r siteapi.PollRequest) <-chan *siteapi.PollResponse {
	w.t.Helper()
	answer := make(chan *siteapi.PollResponse, 1)
	go func() {
		got := new(siteapi.PollResponse)
		if status, e := s.Call(siteapi.PollPath, r, got); e != nil {
			got.Message = fmt.Sprint(status, " ", e.Code)
		}
		answer <- got
	}()
	coordtest.Eventually(w.t, "the poll is held", func() bool {
		var sites struct {
			Sites []struct {
				Name  string
				Slots int
				State string
			}
		}
		w.JSON(coordtest.Operator, "/sites", &sites)
		for _, site := range sites.Sites {
			if site.Name == s.Site && site.State == "online" && site.Slots == r.Total.Slots {
				return true
			}
		}
		return false
	})
	return answer
}

// TestHeldPollWakes: RUN reaches a waiting site at once.
func TestHeldPollWakes(t *testing.T) {
	w := newWorld(t)
	held := w.hold(w.site, w.site.PollRequest(1, 50))
	job := w.Create("trial")
	began := time.Now()
	w.Post(job+"/phase", "PHASE", "RUN")
	r := <-held
	if len(r.Leases) != 1 || r.Leases[0].Job != coordtest.Job(job) || time.Since(began) > 10*time.Second {
		t.Errorf("after %s: %+v", time.Since(began), r)
	}
	held = w.hold(w.site, w.site.PollRequest(3, 50, siteapi.AttemptInfo{Job: r.Leases[0].Job, Epoch: 1}))
	w.Post(job+"/phase", "PHASE", "ABORT")
	if r := <-held; refs(r.Cancel) != coordtest.Job(job) {
		t.Errorf("%+v", r)
	}
}

// TestCapacity: a site is never given more than it offered, whatever waits.
func TestCapacity(t *testing.T) {
	w := newWorld(t)
	const slots, queued = 3, 20
	var wg sync.WaitGroup
	for range queued {
		wg.Go(func() { w.run("trial") })
	}
	wg.Wait()
	var journal []siteapi.AttemptInfo
	for leased, done := 0, 0; leased < queued; {
		r := poll(t, w.site, w.site.PollRequest(slots-len(journal), 10, journal...))
		for _, l := range r.Leases {
			journal = append(journal, siteapi.AttemptInfo{Job: l.Job, Epoch: l.Epoch})
			leased++
		}
		if len(journal) > slots || len(r.Leases) == 0 {
			t.Fatalf("%d attempts on %d slots, %d leases of %d", len(journal), slots, leased, queued)
		}
		for range min(len(journal), 1+done%slots) {
			a := coordtest.Attempt{Site: w.site, Lease: siteapi.Lease{Job: journal[0].Job, Epoch: journal[0].Epoch}}
			a.Fail("user", "done", siteapi.Facts{})
			journal, done = journal[1:], done+1
		}
	}
}

// TestRoom: cores and memory count, a small job passes a large one, the larger site is asked first.
func TestRoom(t *testing.T) {
	w := newWorld(t)
	large := w.run("trial", "resource_cores", "8", "resource_memory", "32 GiB")
	small := w.run("trial", "resource_cores", "2")
	r := w.site.PollRequest(5, 5)
	r.Free = siteapi.Capacity{Slots: 5, Cores: 3, MemoryBytes: 1 << 30}
	r.Total.Cores = 16
	answer := poll(t, w.site, r)
	if len(answer.Leases) != 1 || answer.Leases[0].Job != coordtest.Job(small) {
		t.Fatalf("%+v", answer)
	}
	w.reason(large, "waiting for a free slot")
	r.Total = r.Free
	r.Wait = 0
	poll(t, w.site, r)
	w.reason(large, "offers 8 cores and 32768 MiB")

	big := w.AddSite("meudon")
	few, many := w.site.PollRequest(2, 20, siteapi.AttemptInfo{Job: coordtest.Job(small), Epoch: 1}), big.PollRequest(30, 20)
	many.Accepts = []siteapi.Accept{{Definition: "nothing"}} // or it would take the large one
	held := w.hold(w.site, few)
	many.Accepts = []siteapi.Accept{{}}
	many.Free.Cores, many.Free.MemoryBytes = 4, 1<<30
	other := w.hold(big, many)
	job := w.run("trial")
	if got := <-other; len(got.Leases) != 1 || got.Leases[0].Job != coordtest.Job(job) {
		t.Errorf("%+v", got)
	}
	w.run("trial", "resource_memory", "2 GiB")
	if got := <-held; len(got.Leases) != 1 {
		t.Errorf("%+v", got)
	}
}

// TestPolicyOfSites: what a site does not accept, or while it drains, it is not given; the user learns why.
func TestPolicyOfSites(t *testing.T) {
	w := newWorld(t, func(c *coordinator.Config) { c.Contact = time.Hour })
	job := w.run("trial")
	w.reason(job, "no site is online")
	deny := w.site.PollRequest(1, 1)
	deny.Accepts = []siteapi.Accept{{Digests: []string{strings.Repeat("0", 64)}}}
	if r := poll(t, w.site, deny); len(r.Leases) != 0 {
		t.Errorf("%+v", r)
	}
	w.reason(job, "no site that is online accepts trial 1.0.0", "(1 online)")
	drain := w.site.PollRequest(1, 1)
	drain.Drain = true
	if r := poll(t, w.site, drain); len(r.Leases) != 0 {
		t.Errorf("%+v", r)
	}
	w.reason(job, "take no new work")
	if r := w.site.Poll(0, 1); len(r.Leases) != 0 {
		t.Errorf("%+v", r)
	}
	w.reason(job, "offers 1 cores and 64 MiB")
	ok := w.site.PollRequest(1, 5)
	ok.Accepts = []siteapi.Accept{{Digests: []string{w.View(job).DefinitionDigest}}}
	if r := poll(t, w.site, ok); len(r.Leases) != 1 {
		t.Errorf("%+v", r)
	}
}

// TestURLsOfSites: a job goes to a site that may fetch all of its inputs; while there is none, its user learns which
// one is missed.
func TestURLsOfSites(t *testing.T) {
	w := newWorld(t, func(c *coordinator.Config) { c.Contact = time.Hour })
	job := w.run("trial", "data", "https://a.example/x?token=key", "data", "https://b.example/y")
	for _, urls := range [][]string{nil, {"https://a.example/"}, {"https://b.example/", "http://a.example/"}, {"nonsense"}} {
		r := w.site.PollRequest(1, 1)
		r.URLs = urls
		if got := poll(t, w.site, r); len(got.Leases) != 0 {
			t.Errorf("%q: leased", urls)
		}
	}
	w.reason(job, "no site that accepts trial 1.0.0 may fetch https://a.example/x?token=")
	if reason := fmt.Sprint(w.View(job)); strings.Contains(reason, "key") {
		t.Errorf("a key is told: %s", reason)
	}
	r := w.site.PollRequest(1, 10)
	r.URLs = []string{"https://*/"}
	if got := poll(t, w.site, r); len(got.Leases) != 1 || len(got.Leases[0].Inputs) != 2 {
		t.Errorf("%+v", got)
	}
}

// TestSilence: a site that does not poll is soon offline, and the job says since when.
func TestSilence(t *testing.T) {
	w := newWorld(t, func(c *coordinator.Config) { c.Contact = time.Millisecond })
	job := w.run("trial")
	w.site.Take().Report("running")
	var sites struct{ Sites []struct{ State string } }
	w.JSON(coordtest.Operator, "/sites", &sites)
	if sites.Sites[0].State != "offline" {
		t.Errorf("%+v", sites)
	}
	if text := w.Get(job).Text(); !strings.Contains(text, "siteUnreachableSince") {
		t.Errorf("%s", text)
	}
}

// TestFence: of two agents of one site the newer one works, also when the older one's poll is held.
func TestFence(t *testing.T) {
	w := newWorld(t)
	old := w.site.PollRequest(1, 50)
	held := w.hold(w.site, old)
	fresh := w.site.PollRequest(2, 0)
	fresh.Boot, fresh.Started = ids.NewKey(), old.Started.Add(time.Second)
	poll(t, w.site, fresh)
	if r := <-held; r.Message != "409 stale" {
		t.Errorf("%+v", r)
	}
	if status, e := w.site.Call(siteapi.PollPath, old, nil); status != 409 || e.Code != siteapi.CodeStale || !strings.Contains(e.Message, "another agent") {
		t.Errorf("%d %+v", status, e)
	}
	job := w.run("trial")
	fresh.Wait = 10
	if r := poll(t, w.site, fresh); len(r.Leases) != 1 || r.Leases[0].Job != coordtest.Job(job) {
		t.Errorf("%+v", r)
	}
}

// TestRunLimit: a job over its execution duration is aborted, also when its site is silent.
func TestRunLimit(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *coordinator.Config) { c.Overrun = time.Millisecond })
	job := w.run("trial", "EXECUTIONDURATION", "1")
	a := w.site.Take()
	if a.ExecutionSeconds != 1 {
		t.Errorf("%+v", a.Lease)
	}
	a.Report("running")
	w.reaches(job, "ABORTED")
	w.reason(job, "longer than its execution duration of 1 s")
	if r := w.site.Poll(0, 0, at(a)); refs(r.Cancel) != a.Job {
		t.Errorf("%+v", r)
	}
	if v := w.View(job); v.Ended.Sub(v.Started) < time.Second {
		t.Errorf("%+v", v)
	}
}

// TestLost: when the work lease is over the definition says what becomes of the job; never before.
func TestLost(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *coordinator.Config) { c.LeaseGrace, c.Overrun = time.Millisecond, time.Hour })
	jobs := map[string]string{}
	attempts := map[string]*coordtest.Attempt{}
	for _, name := range []string{"lost-hold", "lost-stop", "lost-requeue"} {
		job := w.run(name, "EXECUTIONDURATION", "1")
		jobs[name], attempts[name] = job, w.site.Take()
		attempts[name].Report("running")
	}
	for name, phase := range map[string]string{"lost-hold": "HELD", "lost-stop": "ERROR", "lost-requeue": "QUEUED"} {
		w.reaches(jobs[name], phase)
		v := w.View(jobs[name])
		if got := v.Attempts[0]; got.State != "lost" || got.Error.Class != "lost" || got.Closed.Sub(got.Leased) < time.Second {
			t.Errorf("%s: %+v", name, got)
		}
		if phase != "QUEUED" && v.Error == nil {
			t.Errorf("%s: %+v", name, v)
		}
		w.reason(jobs[name], "site paris did not answer")
	}
	// the late result of a lost attempt changes nothing
	status, e := w.site.Call(attempts["lost-stop"].Path()+"/report", siteapi.Report{State: "uploading"}, nil)
	if status != 409 || e.Code != siteapi.CodeStale {
		t.Errorf("%d %+v", status, e)
	}
	w.Post(jobs["lost-hold"]+"/phase", "PHASE", "ABORT")
	second := w.site.Take()
	if second.Epoch != 2 || second.Job != coordtest.Job(jobs["lost-requeue"]) {
		t.Errorf("%+v", second.Lease)
	}
}

// onDisk tells whether any file of the content store holds the text.
func (w *world) onDisk(text string) bool {
	w.t.Helper()
	found := false
	err := filepath.WalkDir(filepath.Join(w.dir, "content"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return nil // removed meanwhile
		}
		data, err := os.ReadFile(path)
		found = found || err == nil && bytes.Contains(data, []byte(text))
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return found
}

func short(c *coordinator.Config) { c.ContentGrace = 2 * time.Second }

// TestDestruction: at its time a job's files go, what it was stays.
func TestDestruction(t *testing.T) {
	t.Parallel()
	w := newWorld(t, short)
	job := w.run("trial")
	w.site.Complete(job, coordtest.MainOutput("to be destroyed"))
	if !w.onDisk("to be destroyed") {
		t.Fatal("the result is not in the store")
	}
	w.Post(job+"/destruction", "DESTRUCTION", time.Now().Add(50*time.Millisecond).UTC().Format(time.RFC3339Nano))
	w.reaches(job, "ARCHIVED")
	if a := w.Get(job + "/results/answer"); a.Status != http.StatusNotFound {
		t.Errorf("%d", a.Status)
	}
	coordtest.Eventually(t, "the file is gone", func() bool { return !w.onDisk("to be destroyed") })
	v := w.View(job)
	if v.Attempts[0].Site != "paris" || v.Ended.IsZero() || len(v.Results) != 1 || v.Results[0].SHA256 != coordtest.MainOutput("to be destroyed").SHA256() {
		t.Errorf("%+v", v)
	}
}

// TestDeleteLeavesNothing: of a deleted job no byte stays, but for what another job uses.
func TestDeleteLeavesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, short)
	large := strings.Repeat("parameter of the source ", 2000)
	source := w.run("trial", "text", large)
	a := w.site.Take()
	log := a.Log("stdout", "log of the source")
	side := coordtest.Output{Output: "side", Path: "side.txt", Data: []byte("side of the source")}
	a.Commit(siteapi.Facts{Logs: []siteapi.Log{log}}, coordtest.MainOutput("shared result"), side)
	user := w.run("trial", "data", "consort:"+coordtest.Job(source)+"/answer")
	failed := w.run("strict")
	for range 2 { // in whatever order they come
		b := w.site.Take()
		if b.Job == coordtest.Job(failed) {
			b.Stage(coordtest.MainOutput("staged, never committed"))
			b.Fail("user", "no", siteapi.Facts{})
		} else {
			b.Commit(siteapi.Facts{}, coordtest.MainOutput("the result made of it"))
		}
	}
	gone := func(texts ...string) {
		t.Helper()
		for _, text := range texts {
			coordtest.Eventually(t, text+" is gone", func() bool { return !w.onDisk(text) })
		}
	}
	w.Do(coordtest.Request{Method: "DELETE", Path: source})
	gone("parameter of the source", "log of the source", "side of the source", "staged, never committed")
	if !w.onDisk("shared result") || !w.onDisk("the result made of it") {
		t.Fatal("what a job uses is gone")
	}
	if got := w.Get(user + "/parameters/data").Text(); got != "shared result" {
		t.Errorf("%q", got)
	}
	if text := w.Get(user + "/provn").Text(); !strings.Contains(text, coordtest.Job(source)) || !strings.Contains(text, coordtest.MainOutput("shared result").SHA256()) {
		t.Errorf("the provenance of %s lost its source: %s", user, text)
	}
	w.Do(coordtest.Request{Method: "DELETE", Path: user})
	gone("shared result", "the result made of it")
}

// TestSweep: an upload whose job was refused does not stay.
func TestSweep(t *testing.T) {
	t.Parallel()
	w := newWorld(t, short)
	body := "--b\r\nContent-Disposition: form-data; name=\"data\"; filename=\"f\"\r\n\r\nnobody's file\r\n" +
		"--b\r\nContent-Disposition: form-data; name=\"number\"\r\n\r\n99\r\n--b--\r\n"
	a := w.Do(coordtest.Request{Method: "POST", Path: "/rest/trial", Type: "multipart/form-data; boundary=b", Body: strings.NewReader(body)})
	if a.Status != 400 {
		t.Fatalf("%d %s", a.Status, a.Text())
	}
	coordtest.Eventually(t, "the file is gone", func() bool { return !w.onDisk("nobody's file") })
}

// TestProvenanceOutlivesFiles: a graph can be read of what was archived.
func TestProvenanceOutlivesFiles(t *testing.T) {
	w := newWorld(t)
	job := w.run("trial")
	w.site.Complete(job)
	if a := w.Post(job+"/destruction", "DESTRUCTION", time.Now().Add(300*time.Millisecond).UTC().Format(time.RFC3339Nano)); a.Status != 303 {
		t.Fatal(a.Text())
	}
	w.reaches(job, "ARCHIVED")
	a := w.Get(job + "/provjson")
	if _, err := prov.ReadJSON(bytes.NewReader(a.Body), prov.DefaultLimits()); err != nil {
		t.Errorf("%v: %s", err, a.Text())
	}
}

// TestRulesOfSites: a site is given only what its rules allow, each clause of them, so that a job which one site
// would refuse goes to another.
func TestRulesOfSites(t *testing.T) {
	w := newWorld(t)
	job := w.run("trial")
	digest := w.View(job).DefinitionDigest
	for name, rule := range map[string]siteapi.Accept{
		"another definition": {Definition: "probe", Versions: []string{siteapi.AnyVersion}},
		"another version":    {Definition: "trial", Versions: []string{"9.9"}},
		"another digest":     {Definition: "trial", Digests: []string{strings.Repeat("0", 64)}},
		"another owner":      {Definition: "trial", Digests: []string{digest}, Owners: []string{"nobody else"}},
		"too little memory":  {Definition: "trial", Digests: []string{digest}, MaxMemoryBytes: 1},
		"too short":          {Definition: "trial", Digests: []string{digest}, MaxSeconds: 1},
	} {
		r := w.site.PollRequest(1, 1)
		r.Accepts = []siteapi.Accept{rule}
		if got := poll(t, w.site, r); len(got.Leases) != 0 {
			t.Errorf("%s: leased", name)
		}
	}
	r := w.site.PollRequest(1, 10)
	r.Accepts = []siteapi.Accept{{Definition: "probe"}, {Definition: "trial", Digests: []string{digest}, MaxCores: 64, MaxSeconds: 1 << 30}}
	if got := poll(t, w.site, r); len(got.Leases) != 1 {
		t.Errorf("not leased though a rule allows it: %+v", got)
	}
}
