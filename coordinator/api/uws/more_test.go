package uws_test

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"consort/coordinator/coordtest"
	"consort/shared/uws"
)

// TestWait: W1-W18.
func TestWait(t *testing.T) {
	w := newWorld(t)
	job := w.Create("probe")
	timed := func(query string) (time.Duration, *coordtest.Answer) {
		begun := time.Now()
		a := w.Get(job + query)
		return time.Since(begun), a
	}
	for query, want := range map[string]time.Duration{
		"?WAIT=1": time.Second, "?wait=1&phase=PENDING": time.Second,
		"?WAIT=0": 0, "?WAIT=9&PHASE=QUEUED": 0, "?PHASE=PENDING": 0,
	} {
		took, a := timed(query)
		if a.Status != 200 || took < want || took > want+1500*time.Millisecond {
			t.Errorf("%s: %d after %s", query, a.Status, took)
		}
	}
	for _, query := range []string{"?WAIT=x", "?WAIT=-2", "?WAIT=1&WAIT=2", "?WAIT=1.5", "?PHASE=x&WAIT=1", "?WAIT="} {
		w.status(400, w.Get(job+query))
	}
	w.status(200, w.Get(job+"/phase?WAIT=40")) // W15: children do not block
	w.status(200, w.Get("/rest/probe?WAIT=40"))

	const waiters = 50 // W7, W12
	phases := make(chan uws.Phase, waiters)
	var wg sync.WaitGroup
	for range waiters {
		wg.Go(func() {
			a := w.Get(job + "?WAIT=-1&PHASE=PENDING")
			j, err := uws.ParseJob(bytes.NewReader(a.Body))
			if err != nil {
				t.Error(err)
				return
			}
			phases <- j.Phase
		})
	}
	w.status(200, w.Get(job))
	w.status(303, w.Post(job+"/phase", "PHASE", "RUN"))
	begun := time.Now()
	wg.Wait()
	if took := time.Since(begun); took > 5*time.Second {
		t.Errorf("waiters were kept %s", took)
	}
	close(phases)
	for p := range phases {
		if p != uws.Queued {
			t.Errorf("phase %s", p)
		}
	}
	gone := make(chan int)
	go func() { gone <- w.Get(job + "?WAIT=-1").Status }()
	w.status(303, w.Do(coordtest.Request{Method: "DELETE", Path: job})) // W13
	select {
	case status := <-gone:
		if status != 404 {
			t.Errorf("status %d", status)
		}
	case <-time.After(10 * time.Second):
		t.Error("DELETE did not free the waiter")
	}
}

// TestParameters: A1-A7.
func TestParameters(t *testing.T) {
	w := newWorld(t)
	job := w.Create("probe")
	a := w.status(303, w.Post(job+"/parameters", "TEXT", "new", "RUNID", "label"))
	if a.Header.Get("Location") != job {
		t.Errorf("location %s", a.Header.Get("Location"))
	}
	if got := w.Get(job + "/parameters/text"); got.Text() != "new" || !strings.HasPrefix(got.Header.Get("Content-Type"), "text/plain") {
		t.Errorf("%q", got.Text())
	}
	if j := w.job(job); j.RunID != "label" {
		t.Errorf("runId %q", j.RunID)
	}
	w.status(303, w.Do(coordtest.Request{Method: "PUT", Path: job + "/parameters/text", Type: "text/plain", Body: strings.NewReader("put")}))
	if got := w.Get(job + "/parameters/TEXT").Text(); got != "put" {
		t.Errorf("%q", got)
	}
	w.status(303, w.Do(coordtest.Request{Method: "PUT", Path: job + "/parameters/input", Type: "image/fits", Body: strings.NewReader("bytes")}))
	if got := w.Get(job + "/parameters/input"); got.Text() != "bytes" || got.Header.Get("Content-Type") != "image/fits" {
		t.Errorf("%q %v", got.Text(), got.Header)
	}
	w.status(400, w.Do(coordtest.Request{Method: "PUT", Path: job + "/parameters/seconds", Body: strings.NewReader("x")}))
	w.status(415, w.Do(coordtest.Request{Method: "PUT", Path: job + "/parameters/seconds", Type: "application/json", Body: strings.NewReader("1")}))
	w.status(400, w.Do(coordtest.Request{Method: "PUT", Path: job + "/parameters/nothing", Body: strings.NewReader("1")}))
	w.status(413, w.Do(coordtest.Request{Method: "PUT", Path: job + "/parameters/text", Body: strings.NewReader(strings.Repeat("x", 65<<10))}))
	w.status(400, w.Post(job+"/parameters", "nothing", "1"))
	w.status(400, w.Post(job+"/parameters", "seconds", "x"))
	w.status(404, w.Get(job+"/parameters/input.2"))
	w.status(404, w.Get(job+"/parameters/input.x"))
}

// TestUploads: U1-U3.
func TestUploads(t *testing.T) {
	w := newWorld(t)
	data := make([]byte, 100<<10)
	_, _ = rand.Read(data)
	check := func(job string) {
		t.Helper()
		for _, p := range w.job(job).Parameters {
			if p.ID != "input" {
				continue
			}
			if !p.ByReference || p.Value != job+"/parameters/input" {
				t.Errorf("%+v", p)
			}
			if got := w.Get(p.Value); !bytes.Equal(got.Body, data) || got.Header.Get("Content-Type") != "application/fits" {
				t.Errorf("%d bytes, %v", len(got.Body), got.Header)
			}
			return
		}
		t.Error("the input is not among the parameters")
	}
	send := func(file string, fields ...string) *coordtest.Answer {
		var b bytes.Buffer
		m := multipart.NewWriter(&b)
		part, _ := m.CreatePart(map[string][]string{
			"Content-Disposition": {`form-data; name="` + file + `"; filename="..\\evil/../na\"me é.fits"`}, "Content-Type": {"application/fits"},
		})
		_, _ = part.Write(data)
		for i := 0; i+1 < len(fields); i += 2 { // fields follow the file
			_ = m.WriteField(fields[i], fields[i+1])
		}
		_ = m.Close()
		return w.Do(coordtest.Request{Method: "POST", Path: "/rest/probe", Type: m.FormDataContentType(), Body: &b})
	}
	check(w.status(303, send("input", "text", "é")).Header.Get("Location"))
	check(w.status(303, send("INPUT")).Header.Get("Location"))
	check(w.status(303, send("part", "UPLOAD", "input,param:part")).Header.Get("Location"))
	w.status(400, send("input", "UPLOAD", "input,param:other"))
	w.status(400, send("part"))
	w.status(400, send("input", "seconds", "x"))

	first := w.complete()
	second := w.Create("probe", "input", "consort:"+first[strings.LastIndexByte(first, '/')+1:]+"/result")
	if got := w.Get(second + "/parameters/input").Text(); got != "done\n0123456789" {
		t.Errorf("%q", got)
	}
}

// TestLargeUpload: memory does not grow with a file.
func TestLargeUpload(t *testing.T) {
	if testing.Short() {
		t.Skip("uploads 300 MB")
	}
	w := newWorld(t)
	r, p := io.Pipe()
	m := multipart.NewWriter(p)
	go func() {
		part, _ := m.CreateFormFile("input", "big")
		block := make([]byte, 1<<20)
		for range 300 {
			if _, err := part.Write(block); err != nil {
				break
			}
		}
		_ = m.Close()
		_ = p.Close()
	}()
	peak := watchHeap()
	a := w.Do(coordtest.Request{Method: "POST", Path: "/rest/probe", Type: m.FormDataContentType(), Body: r})
	w.status(303, a)
	if grown := peak(); grown > 64<<20 {
		t.Errorf("the heap grew by %d MiB", grown>>20)
	}
}

// watchHeap samples the heap until the function it returns is called, which gives the greatest growth.
func watchHeap() func() uint64 {
	var before runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	stop, result := make(chan struct{}), make(chan uint64)
	go func() {
		var peak uint64
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				result <- peak - min(peak, before.HeapAlloc)
				return
			case <-tick.C:
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				peak = max(peak, m.HeapAlloc)
			}
		}
	}()
	return func() uint64 { close(stop); return <-result }
}

// TestRights: S1-S10.
func TestRights(t *testing.T) {
	w := newWorld(t)
	do := func(method, path, token string, pairs ...string) *coordtest.Answer {
		r := coordtest.Form(path, pairs...)
		r.Method, r.Token = method, token
		if method == "GET" {
			r.Body, r.Type = nil, ""
		}
		return w.Do(r)
	}
	a := w.status(303, do("POST", "/rest/probe", coordtest.Alice, "text", "private"))
	if a.Header.Get("X-Vo-Authenticated") != "alice" { // S4
		t.Errorf("%v", a.Header)
	}
	job := a.Header.Get("Location")
	if got := do("GET", job+"/owner", coordtest.Alice).Text(); got != "alice" { // S5
		t.Errorf("owner %q", got)
	}
	w.keep(do("GET", job, coordtest.Alice).Body)
	for _, child := range []string{"", "/phase", "/parameters", "/parameters/text", "/results", "/stdout", "/provjson", "/owner", "?WAIT=5"} {
		w.status(403, do("GET", job+child, coordtest.Bob)) // S7
		a := w.status(401, do("GET", job+child, ""))       // S1, S6
		challenges := strings.Join(a.Header.Values("WWW-Authenticate"), "\n")
		if !strings.Contains(challenges, "Basic realm=") || !strings.Contains(challenges, "Bearer") {
			t.Errorf("challenges %q", challenges)
		}
		w.status(401, do("GET", job+child, "wrong")) // S2
		w.status(200, do("GET", job+strings.Replace(child, "5", "0", 1), coordtest.Operator))
	}
	for _, c := range [][]string{{"/phase", "PHASE", "RUN"}, {"", "ACTION", "DELETE"}, {"/parameters", "text", "x"}, {"/executionduration", "EXECUTIONDURATION", "1"}} { // S8
		w.status(403, do("POST", job+c[0], coordtest.Bob, c[1:]...))
		w.status(401, do("POST", job+c[0], "", c[1:]...))
	}
	w.status(403, do("DELETE", job, coordtest.Bob))
	w.status(400, do("POST", "/rest/probe", coordtest.Bob, "input", "consort:"+job[strings.LastIndexByte(job, '/')+1:]+"/result"))
	w.Create("probe")
	for token, want := range map[string]int{coordtest.Alice: 1, coordtest.Bob: 0, "": 1, coordtest.Operator: 2} { // S9
		if got := strings.Count(do("GET", "/rest/probe", token).Text(), "<uws:jobref"); got != want {
			t.Errorf("%s sees %d jobs, want %d", token, got, want)
		}
	}
	basic := func(user, password string) int {
		h := http.Header{"Authorization": {"Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))}}
		return w.Do(coordtest.Request{Method: "GET", Path: job, Header: h}).Status
	}
	for _, c := range []struct {
		user, password string
		status         int
	}{{"alice", coordtest.Alice, 200}, {"alice", coordtest.Bob, 401}, {"alice", "x", 401}, {"", "", 401}} { // S10
		if got := basic(c.user, c.password); got != c.status {
			t.Errorf("%v: %d", c, got)
		}
	}
}

// TestIdempotency: the same key gives the same job.
func TestIdempotency(t *testing.T) {
	w := newWorld(t)
	create := func(key, text string) *coordtest.Answer {
		r := coordtest.Form("/rest/probe", "text", text)
		r.Header = http.Header{"Idempotency-Key": {key}}
		return w.Do(r)
	}
	first := w.status(303, create("k1", "a")).Header.Get("Location")
	if again := w.status(303, create("k1", "a")).Header.Get("Location"); again != first {
		t.Errorf("%s and %s", first, again)
	}
	w.status(409, create("k1", "b"))
	w.status(400, create(strings.Repeat("k", 201), "a"))
	if other := w.status(303, create("k2", "a")).Header.Get("Location"); other == first {
		t.Error("another key gave the same job")
	}
}

// TestVOSI: V1-V5.
func TestVOSI(t *testing.T) {
	n := coordtest.New(t)
	for _, path := range []string{"/capabilities", "/availability"} {
		a := n.Get(path)
		if a.Status != 200 || !strings.Contains(a.Header.Get("Content-Type"), "xml") {
			t.Errorf("%s: %d %v", path, a.Status, a.Header)
		}
		if h := n.Do(coordtest.Request{Method: "HEAD", Path: path}); h.Status != 200 {
			t.Errorf("HEAD %s: %d", path, h.Status)
		}
	}
	text := n.Get("/capabilities").Text()
	for _, want := range []string{uws.StandardUWS, uws.StandardCapabilities, n.URL + "/rest/probe<", n.URL + "/capabilities<"} {
		if !strings.Contains(text, want) {
			t.Errorf("capabilities lack %s: %s", want, text)
		}
	}
	if text := n.Get("/availability").Text(); !strings.Contains(text, "true") {
		t.Error(text)
	}
}

// TestProvenance: both formats, of a job in any phase.
func TestProvenance(t *testing.T) {
	w := newWorld(t)
	for _, job := range []string{w.Create("probe"), w.complete()} {
		for path, kind := range map[string]string{"/provjson": "application/json", "/provn": "text/provenance-notation"} {
			a := w.status(200, w.Get(job+path))
			if !strings.HasPrefix(a.Header.Get("Content-Type"), kind) || !strings.Contains(a.Text(), job[strings.LastIndexByte(job, '/')+1:]) {
				t.Errorf("%s: %v", path, a.Header)
			}
		}
	}
}

// TestVersions: a list answers at its versions, and links use the one name.
func TestVersions(t *testing.T) {
	w := newWorld(t)
	a := w.status(303, w.Post("/rest/probe@1.0.0"))
	job := a.Header.Get("Location")
	if !strings.HasPrefix(job, w.URL+"/rest/probe/") {
		t.Errorf("location %s", job)
	}
	other := strings.Replace(job, "/probe/", "/probe@1.0.0/", 1)
	if got := w.status(200, w.Get(other)).Text(); got != w.Get(job).Text() {
		t.Errorf("%s", got)
	}
	if got := w.Get("/rest/probe@1.0.0").Text(); !strings.Contains(got, fmt.Sprintf("%q", job)) {
		t.Errorf("%s", got)
	}
}

// TestDestruction: D5, D6, F3: afterwards there are metadata only, and only who asks for them sees them.
func TestDestruction(t *testing.T) {
	w := newWorld(t)
	job := w.complete()
	w.status(303, w.Post(job+"/destruction", "DESTRUCTION", time.Now().Add(200*time.Millisecond).UTC().Format(time.RFC3339Nano)))
	for deadline := time.Now().Add(20 * time.Second); w.Get(job+"/phase").Text() != "ARCHIVED"; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the job is %s", w.Get(job+"/phase").Text())
		}
	}
	j := w.job(job)
	for _, r := range j.Results {
		if r.ID == "answer" || r.ID == "stdout" {
			t.Errorf("%s is listed", r.ID)
		}
	}
	for _, child := range []string{"/results/answer", "/results/result", "/results/answer/answer.txt", "/results/stdout", "/stdout"} {
		w.status(404, w.Get(job+child))
	}
	if n := len(w.list("/rest/probe")); n != 0 {
		t.Errorf("%d jobs listed", n)
	}
	if n := len(w.list("/rest/probe?PHASE=ARCHIVED")); n != 1 {
		t.Errorf("%d archived jobs listed", n)
	}
	w.status(200, w.Get(job+"/provjson"))
	w.status(403, w.Post(job+"/phase", "PHASE", "RUN"))
}
