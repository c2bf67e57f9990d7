package uws_test

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"consort/coordinator/coordtest"
	"consort/shared/ids"
	"consort/shared/schemas"
	"consort/shared/siteapi"
	"consort/shared/uws"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, coordtest.Leaks()...) }

const form = "application/x-www-form-urlencoded"

// world is a coordinator with a site, and every document it answered with.
type world struct {
	*coordtest.Node
	t    *testing.T
	site *coordtest.Site
	mu   sync.Mutex
	docs [][]byte
}

func newWorld(t *testing.T) *world {
	n := coordtest.New(t)
	w := &world{Node: n, t: t, site: n.AddSite("paris")}
	t.Cleanup(func() {
		if len(w.docs) > 0 {
			schemas.Validate(t, schemas.UWS, w.docs...)
		}
	})
	return w
}

// job reads a job document and keeps it for validation.
func (w *world) job(url string) *uws.Job {
	w.t.Helper()
	a := w.Get(url)
	if a.Status != http.StatusOK {
		w.t.Fatalf("GET %s: %d %s", url, a.Status, a.Text())
	}
	j, err := uws.ParseJob(bytes.NewReader(a.Body))
	if err != nil {
		w.t.Fatalf("parse %s: %v", a.Text(), err)
	}
	w.keep(a.Body)
	return j
}

func (w *world) keep(doc []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.docs = append(w.docs, doc)
}

func (w *world) list(path string) []uws.JobRef {
	w.t.Helper()
	a := w.Get(path)
	if a.Status != http.StatusOK {
		w.t.Fatalf("GET %s: %d %s", path, a.Status, a.Text())
	}
	refs, err := uws.ParseJobs(bytes.NewReader(a.Body))
	if err != nil {
		w.t.Fatal(err)
	}
	w.keep(a.Body)
	return refs
}

func (w *world) phase(job string, want uws.Phase) {
	w.t.Helper()
	if got := w.Get(job + "/phase").Text(); got != string(want) { // Q2: not even a line break more
		w.t.Errorf("phase %q, want %q", got, want)
	}
}

func (w *world) status(want int, a *coordtest.Answer) *coordtest.Answer {
	w.t.Helper()
	if a.Status != want {
		w.t.Errorf("status %d, want %d: %s", a.Status, want, a.Text())
	}
	return a
}

// complete runs a job of probe to its end.
func (w *world) complete(pairs ...string) string {
	w.t.Helper()
	job := w.Create("probe", append(pairs, "PHASE", "RUN")...)
	a := w.site.Take()
	a.Report("running")
	logs := []siteapi.Log{a.Log("stdout", "out\n"), a.Log("stderr", "")}
	a.Commit(siteapi.Facts{Logs: logs}, coordtest.Output{Output: "answer", Path: "answer.txt", ContentType: "text/plain", Data: []byte("done\n0123456789")})
	return job
}

func TestCreate(t *testing.T) {
	w := newWorld(t)
	job := w.Create("probe", "text", "a<b&c ]]> \r\n é 𝄞", "SECONDS", "2", "RUNID", "night 7")
	prefix := w.URL + "/rest/probe/"
	if id := strings.TrimPrefix(job, prefix); !ids.ValidJob(id) { // C3, C5, C14
		t.Fatalf("location %s", job)
	}
	j := w.job(job)
	if j.Phase != uws.Pending || j.RunID != "night 7" || j.OwnerID != "" || time.Since(j.CreationTime).Abs() > time.Minute { // C6 C7 C12 J7
		t.Errorf("%+v", j)
	}
	if !j.StartTime.IsZero() || !j.EndTime.IsZero() || j.ExecutionDuration != 3600 || !j.Destruction.After(j.CreationTime) { // J4 J10
		t.Errorf("%+v", j)
	}
	values := map[string]string{}
	for _, p := range j.Parameters {
		values[p.ID] = p.Value
	}
	if values["text"] != "a<b&c ]]> \r\n é 𝄞" || values["seconds"] != "2" || values["fail"] != "false" || len(values) != 3 { // C18 G2
		t.Errorf("%q", values)
	}

	if got := w.job(w.Create("probe", "phase", "RUN")).Phase; got != uws.Queued { // C9 C20
		t.Errorf("phase %s", got)
	}
	a := w.status(303, w.Post("/rest/probe?PHASE=RUN")) // C10
	w.phase(a.Header.Get("Location"), uws.Queued)

	j = w.job(w.Create("probe", "EXECUTIONDURATION", "60", "DESTRUCTION", "2099-01-01")) // G1
	if j.ExecutionDuration != 60 || j.Destruction.IsZero() {
		t.Errorf("%+v", j)
	}
	w.status(303, w.Do(coordtest.Request{Method: "POST", Path: "/rest/probe"})) // no body
	w.status(303, w.Post("/rest/probe@1.0.0", "text", "x"))                     // a fixed version
	w.status(303, w.Do(coordtest.Request{Method: "POST", Path: "/rest/probe", Type: form + "; charset=UTF-8", Body: strings.NewReader("text=%C3%A9+x")}))
	// C22: chunked, since the reader's length is not known
	w.status(303, w.Do(coordtest.Request{Method: "POST", Path: "/rest/probe", Type: form, Body: onlyReader{strings.NewReader("text=chunked")}}))
}

type onlyReader struct{ r *strings.Reader }

func (o onlyReader) Read(p []byte) (int, error) { return o.r.Read(p) }

// TestBadCreate: N1 and the rest of what is 4xx and leaves no job behind.
func TestBadCreate(t *testing.T) {
	w := newWorld(t)
	multi := "multipart/form-data; boundary=b"
	long := strings.Repeat("x", 70<<10)
	for name, c := range map[string]struct {
		status     int
		path, kind string
		body       string
	}{
		"unknown list H4":         {404, "/rest/nothing", form, ""},
		"unknown version":         {404, "/rest/probe@9", form, ""},
		"nonsense version":        {404, "/rest/probe@x%2Fy", form, ""},
		"name with slash":         {404, "/rest/a%2Fb", form, ""},
		"name with NUL":           {404, "/rest/a%00b", form, ""},
		"dots":                    {404, "/rest/..%2f..%2fetc", form, ""},
		"10 kB name":              {404, "/rest/" + strings.Repeat("a", 10_000), form, ""},
		"broken query escape":     {400, "/rest/probe?x=%zz", form, ""},
		"broken body escape":      {400, "/rest/probe", form, "text=%zz"},
		"no UTF-8":                {400, "/rest/probe", form, "text=%ff"},
		"latin-1":                 {415, "/rest/probe", form + "; charset=iso-8859-1", "text=x"},
		"json C17":                {415, "/rest/probe", "application/json", "{}"},
		"no type":                 {415, "/rest/probe", "", "text=x"},
		"broken type":             {400, "/rest/probe", "form/", "text=x"},
		"unknown parameter":       {400, "/rest/probe", form, "nothing=1"},
		"wrong number":            {400, "/rest/probe", form, "seconds=abc"},
		"out of range":            {400, "/rest/probe", form, "seconds=99999"},
		"20 digits":               {400, "/rest/probe", form, "seconds=99999999999999999999"},
		"duplicate P17":           {400, "/rest/probe", form, "seconds=1&SECONDS=2"},
		"duplicate PHASE":         {400, "/rest/probe", form, "PHASE=RUN&phase=RUN"},
		"other PHASE":             {400, "/rest/probe", form, "PHASE=COMPLETED"},
		"lower case value":        {400, "/rest/probe", form, "PHASE=run"},
		"duplicate RUNID":         {400, "/rest/probe", form, "RUNID=a&RUNID=b"},
		"long RUNID":              {400, "/rest/probe", form, "RUNID=" + strings.Repeat("r", 65)},
		"NUL in RUNID":            {400, "/rest/probe", form, "RUNID=a%00b"},
		"no XML in RUNID C18":     {400, "/rest/probe", form, "RUNID=a%EF%BF%BE"},
		"duration":                {400, "/rest/probe", form, "EXECUTIONDURATION=1.5e99"},
		"negative duration":       {400, "/rest/probe", form, "EXECUTIONDURATION=-1"},
		"destruction":             {400, "/rest/probe", form, "DESTRUCTION=tomorrow"},
		"destruction in the past": {400, "/rest/probe", form, "DESTRUCTION=2015-01-01T00:00:00Z"},
		"empty destruction":       {400, "/rest/probe", form, "DESTRUCTION="},
		"long value":              {413, "/rest/probe", form, "text=" + long},
		"long form":               {413, "/rest/probe", form, strings.Repeat("a=b&", 300_000)},
		"no boundary":             {400, "/rest/probe", "multipart/form-data", "x"},
		"not multipart":           {400, "/rest/probe", multi, "x"},
		"cut multipart":           {400, "/rest/probe", multi, "--b\r\nContent-Disposition: form-data; name=\"text\"\r\n\r\nxx"},
		"part without name":       {400, "/rest/probe", multi, "--b\r\nContent-Disposition: form-data\r\n\r\nx\r\n--b--\r\n"},
		"part without anything":   {400, "/rest/probe", multi, "--b\r\n\r\nx\r\n--b--\r\n"},
		"UPLOAD without part U3":  {400, "/rest/probe", multi, "--b\r\nContent-Disposition: form-data; name=\"UPLOAD\"\r\n\r\ninput,param:p\r\n--b--\r\n"},
		"UPLOAD nonsense":         {400, "/rest/probe", form, "UPLOAD=input"},
		"UPLOAD of an unknown":    {400, "/rest/probe", multi, "--b\r\nContent-Disposition: form-data; name=\"nope\"; filename=\"f\"\r\n\r\nx\r\n--b--\r\n"},
		"input of an unknown job": {400, "/rest/probe", form, "input=consort:" + ids.NewJob(time.Now()) + "/result"},
		"input by id":             {400, "/rest/probe", form, "input=ivo://x/y"},
		"NUL in an input":         {400, "/rest/probe", form, "input=a%00b"},
	} {
		a := w.Do(coordtest.Request{Method: "POST", Path: c.path, Type: c.kind, Body: strings.NewReader(c.body)})
		if a.Status != c.status {
			t.Errorf("%s: status %d, want %d: %.200s", name, a.Status, c.status, a.Text())
		}
		if strings.TrimSpace(a.Text()) == "" {
			t.Errorf("%s: no message", name)
		}
	}
	if refs := w.list("/rest/probe"); len(refs) != 0 {
		t.Errorf("%d jobs were made", len(refs))
	}
}

func TestMissingRequired(t *testing.T) {
	w := newWorld(t)
	a := w.status(400, w.Post("/rest/periodogram", "PHASE", "RUN"))
	if !strings.Contains(a.Text(), "series") {
		t.Errorf("the message does not name it: %s", a.Text())
	}
	job := w.Create("periodogram")
	a = w.status(403, w.Post(job+"/phase", "PHASE", "RUN"))
	if !strings.Contains(a.Text(), "series") {
		t.Errorf("the message does not name it: %s", a.Text())
	}
	w.phase(job, uws.Pending)
}

// TestAwkwardText: C19, Z2. The definition takes no characters that XML cannot hold; long text goes by
// reference.
func TestAwkwardText(t *testing.T) {
	w := newWorld(t)
	for _, text := range []string{"a\x00b", "\x08", "\uFFFE"} {
		w.status(400, w.Post("/rest/probe", "text", text))
	}
	long := strings.Repeat("long ", 1200)
	job := w.Create("probe", "text", long)
	for _, p := range w.job(job).Parameters {
		if p.ID == "text" && (!p.ByReference || w.Get(p.Value).Text() != long) {
			t.Errorf("%+v", p)
		}
	}
}

func TestList(t *testing.T) {
	w := newWorld(t)
	if refs := w.list("/rest/probe"); len(refs) != 0 { // F19
		t.Fatalf("%d jobs", len(refs))
	}
	var jobs []string
	for i := range 5 {
		jobs = append(jobs, w.Create("probe", "RUNID", fmt.Sprint(i)))
	}
	w.status(303, w.Post(jobs[1]+"/phase", "PHASE", "ABORT"))
	w.status(303, w.Post(jobs[3]+"/phase", "PHASE", "RUN"))
	w.Create("many")

	a := w.Get("/rest/probe")
	if !strings.Contains(a.Text(), `version="1.1"`) || !strings.Contains(a.Header.Get("Content-Type"), "xml") { // L1-L5
		t.Errorf("%v %s", a.Header, a.Text())
	}
	all := w.list("/rest/probe")
	if len(all) != 5 || all[0].Href != jobs[4] || all[4].RunID != "0" || all[0].CreationTime.IsZero() { // C8 F21 F20
		t.Fatalf("%+v", all)
	}
	after := uws.FormatTime(all[2].CreationTime)
	for query, want := range map[string]string{
		"":                             "43210",
		"PHASE=PENDING":                "420",  // F1
		"PHASE=PENDING&PHASE=ABORTED":  "4210", // F2
		"phase=QUEUED":                 "3",    // F18
		"PHASE=ARCHIVED":               "",
		"PHASE=HELD":                   "",   // F4
		"LAST=2":                       "43", // F5
		"last=100":                     "43210",
		"LAST=2&PHASE=PENDING":         "42",    // F13
		"AFTER=" + after:               "43",    // F7, T9
		"AFTER=" + after + "&LAST=1":   "4",     // F10
		"AFTER=2015":                   "43210", // F9
		"AFTER=20151026":               "43210",
		"AFTER=2015-10-26+09:00":       "43210",
		"AFTER=2099-01-01T00:00:00.5Z": "",
		"AFTER=1900-01-01":             "43210",
		"NOTHING=1&LAST=1":             "4", // F22
	} {
		got := ""
		for _, r := range w.list("/rest/probe?" + query) {
			got += r.RunID
		}
		if got != want {
			t.Errorf("%s: %q, want %q", query, got, want)
		}
	}
	for _, query := range []string{"PHASE=pending", "PHASE=x", "LAST=0", "LAST=-1", "LAST=a", "LAST=1&LAST=2", "AFTER=2015-26-10", "AFTER=x", "LAST=99999999999999999999x"} { // F15-F17
		if a := w.Get("/rest/probe?" + query); a.Status != 400 {
			t.Errorf("%s: status %d", query, a.Status)
		}
	}
	w.status(200, w.Get("/rest/probe/")) // L9
	w.status(404, w.Get("/rest/nothing"))
	for _, accept := range []string{"*/*", "text/xml", "application/xml,text/plain", "text/html,application/xhtml+xml"} { // L7 L8
		w.status(200, w.Do(coordtest.Request{Method: "GET", Path: "/rest/probe", Header: http.Header{"Accept": {accept}}}))
	}
}

// TestLongList: pages are put together without loss, and the end is there.
func TestLongList(t *testing.T) {
	if testing.Short() {
		t.Skip("makes 1,100 jobs")
	}
	w := newWorld(t)
	var wg sync.WaitGroup
	for range 22 {
		wg.Go(func() {
			for range 50 {
				w.Create("probe")
			}
		})
	}
	wg.Wait()
	refs := w.list("/rest/probe")
	seen := map[string]bool{} // Z3
	for i, r := range refs {
		seen[r.ID] = true
		if i > 0 && !r.CreationTime.Before(refs[i-1].CreationTime) {
			t.Fatal("not newest first")
		}
	}
	if len(seen) != 1100 {
		t.Errorf("%d jobs", len(seen))
	}
	if n := len(w.list("/rest/probe?LAST=700")); n != 700 {
		t.Errorf("%d jobs with LAST=700", n)
	}
}

// TestMethods: L6, L10, Q7, R10, and 404 for all children of what is not there (H1-H5).
func TestMethods(t *testing.T) {
	w := newWorld(t)
	job := w.Create("probe")
	children := []string{"", "/phase", "/executionduration", "/destruction", "/quote", "/owner", "/parameters", "/parameters/text", "/results", "/stdout", "/stderr", "/provjson", "/provn"}
	for _, child := range children {
		if a := w.Do(coordtest.Request{Method: "HEAD", Path: job + child}); a.Status != 200 || len(a.Body) > 0 {
			t.Errorf("HEAD %s: %d", child, a.Status)
		}
		for _, method := range []string{"PATCH", "PUT", "DELETE"} {
			if child == "" && method == "DELETE" || child == "/parameters/text" && method == "PUT" {
				continue
			}
			a := w.status(405, w.Do(coordtest.Request{Method: method, Path: job + child}))
			if !strings.Contains(a.Header.Get("Allow"), "GET") {
				t.Errorf("%s %s: Allow is %q", method, child, a.Header.Get("Allow"))
			}
		}
	}
	unknown := w.URL + "/rest/probe/" + ids.NewJob(time.Now())
	other := strings.Replace(job, "/rest/probe/", "/rest/many/", 1)
	for _, base := range []string{unknown, other, w.URL + "/rest/probe/xyz", w.URL + "/rest/nothing/" + ids.NewJob(time.Now())} {
		for _, child := range append(children, "/error", "/results/answer", "/results/answer/answer.txt") {
			w.status(404, w.Get(base+child))
		}
		w.status(404, w.Post(base, "ACTION", "DELETE"))
		w.status(404, w.Post(base+"/phase", "PHASE", "RUN"))
		w.status(404, w.Post(base+"/parameters", "text", "x"))
		w.status(404, w.Do(coordtest.Request{Method: "DELETE", Path: base}))
	}
	w.status(404, w.Get(job+"/nothing"))
	w.status(404, w.Get(job+"/error")) // E5
	w.status(404, w.Get(job+"/parameters/nothing"))
	w.status(404, w.Get(job+"/results/nothing"))
	w.status(404, w.Get("/nothing"))
}

// TestAtoms: Q1-Q8 and X1-X4, D1-D7.
func TestAtoms(t *testing.T) {
	w := newWorld(t)
	job := w.Create("probe")
	j := w.job(job)
	for child, want := range map[string]string{
		"/phase": "PENDING", "/executionduration": "3600", "/destruction": uws.FormatTime(j.Destruction), "/quote": "", "/owner": "",
	} {
		a := w.status(200, w.Get(job+child))
		if a.Text() != want || !strings.HasPrefix(a.Header.Get("Content-Type"), "text/plain") {
			t.Errorf("%s: %q %s", child, a.Text(), a.Header.Get("Content-Type"))
		}
	}
	a := w.status(303, w.Post(job+"/executionduration", "executionDuration", "120"))
	if a.Header.Get("Location") != job || w.Get(job+"/executionduration").Text() != "120" || w.job(job).ExecutionDuration != 120 {
		t.Errorf("executionduration: %v", a.Header)
	}
	w.status(303, w.Post(job+"/executionduration", "EXECUTIONDURATION", "0")) // X4: the definition's maximum rules
	for _, v := range []string{"abc", "-1", "1.5e99", "2147483648", ""} {
		w.status(400, w.Post(job+"/executionduration", "EXECUTIONDURATION", v))
	}
	w.status(400, w.Post(job+"/executionduration", "DESTRUCTION", "2099-01-01"))
	w.status(400, w.Post(job+"/executionduration"))
	soon := time.Now().Add(time.Hour).UTC()
	for _, v := range []string{soon.Format("2006-01-02T15:04:05Z"), soon.Format("2006-01-02T15:04:05"), soon.Format("2006-01-02T15:04:05.123456"), soon.Format("2006-01-02T15:04:05+00:00")} {
		w.status(303, w.Post(job+"/destruction", "DESTRUCTION", v))
		if got := w.job(job).Destruction; got.Sub(soon).Abs() > time.Second || w.Get(job+"/destruction").Text() != uws.FormatTime(got) {
			t.Errorf("destruction %s became %s", v, got)
		}
	}
	for _, v := range []string{"", "garbage", "2099-13-01", "99999999999999999999"} {
		w.status(400, w.Post(job+"/destruction", "DESTRUCTION", v))
	}
	w.status(400, w.Post(job+"/destruction", "DESTRUCTION", "2099", "destruction", "2098"))
	for _, v := range []string{"0001-01-01", "1969-12-31", "9999-12-31T23:59:59Z"} { // no 5xx whatever the year
		if a := w.Post(job+"/destruction", "DESTRUCTION", v); a.Status >= 500 {
			t.Errorf("%s: %d %s", v, a.Status, a.Text())
		}
	}
}

// TestPhases: P1-P16.
func TestPhases(t *testing.T) {
	w := newWorld(t)
	job := w.Create("probe")
	for _, v := range []string{"SUSPEND", "ARCHIVE", "HELD", "COMPLETED", "EXECUTING", "run", "", "x"} { // P9-P11
		w.status(400, w.Post(job+"/phase", "PHASE", v))
	}
	w.status(400, w.Post(job+"/phase"))
	w.status(400, w.Post(job+"/phase", "PHASE", "RUN", "phase", "ABORT"))
	w.status(400, w.Post(job, "PHASE", "RUN")) // A8
	w.phase(job, uws.Pending)
	a := w.status(303, w.Post(job+"/phase", "PHASE", "RUN"))
	if a.Header.Get("Location") != job {
		t.Errorf("location %s", a.Header.Get("Location"))
	}
	w.phase(job, uws.Queued)
	attempt := w.site.Take()
	attempt.Report("running")
	j := w.job(job)
	if j.Phase != uws.Executing || j.StartTime.IsZero() || !j.EndTime.IsZero() || j.Info == nil || j.Info.Site != "paris" || j.Info.Epoch != 1 { // J11
		t.Errorf("%+v %+v", j, j.Info)
	}
	w.status(403, w.Post(job+"/phase", "PHASE", "RUN"))   // P13
	w.status(403, w.Post(job+"/parameters", "text", "x")) // A4
	w.status(303, w.Post(job+"/phase", "PHASE", "ABORT"))
	j = w.job(job)
	if j.Phase != uws.Aborted || j.EndTime.IsZero() {
		t.Errorf("%+v", j)
	}
	w.status(403, w.Post(job+"/phase", "PHASE", "RUN"))   // P6
	w.status(303, w.Post(job+"/phase", "PHASE", "ABORT")) // P8
	if again := w.job(job); !again.EndTime.Equal(j.EndTime) {
		t.Error("a second ABORT moved the end")
	}
	status, e := w.site.Call(attempt.Path()+"/commit", siteapi.CommitRequest{}, nil) // P15
	if e == nil {
		t.Errorf("commit after ABORT: %d", status)
	}
	w.phase(job, uws.Aborted)
	for _, x := range []string{w.Create("probe"), w.Create("probe", "PHASE", "RUN")} { // P5
		w.status(303, w.Post(x+"/phase", "PHASE", "ABORT"))
		if j := w.job(x); j.Phase != uws.Aborted || j.EndTime.IsZero() {
			t.Errorf("%+v", j)
		}
	}
}

// TestResults: R1-R12, J9, J14.
func TestResults(t *testing.T) {
	w := newWorld(t)
	draft := w.Create("probe")
	a := w.status(200, w.Get(draft+"/results"))
	w.keep(a.Body)
	w.keep(w.status(200, w.Get(draft+"/parameters")).Body)
	job := w.complete()
	w.keep(w.status(200, w.Get(job+"/results")).Body)
	j := w.job(job)
	if j.Phase != uws.Completed || j.EndTime.Before(j.StartTime) || j.StartTime.Before(j.CreationTime) || len(j.Results) < 5 || j.Results[0].ID != "answer" {
		t.Fatalf("%+v", j)
	}
	seen := map[string]bool{}
	for _, r := range j.Results {
		if seen[r.ID] || !strings.HasPrefix(r.Href, job+"/results/") {
			t.Errorf("result %+v", r)
		}
		seen[r.ID] = true
		g := w.status(200, w.Get(r.Href)) // R4
		if r.Size >= 0 && int64(len(g.Body)) != r.Size || g.Header.Get("Content-Type") != r.MimeType {
			t.Errorf("%s: %d bytes %s, want %d %s", r.ID, len(g.Body), g.Header.Get("Content-Type"), r.Size, r.MimeType)
		}
		if h := w.Do(coordtest.Request{Method: "HEAD", Path: r.Href}); h.Status != 200 || h.Header.Get("Content-Length") != fmt.Sprint(len(g.Body)) { // R9
			t.Errorf("HEAD %s: %d %v", r.Href, h.Status, h.Header)
		}
		if g.Header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: %v", r.ID, g.Header)
		}
	}
	if !strings.HasSuffix(j.Results[0].Href, "/answer.txt") {
		t.Errorf("href %s", j.Results[0].Href)
	}
	for _, path := range []string{"/results/answer", "/results/result", "/results/answer/answer.txt", "/results/result/answer.txt"} { // R6
		if a := w.status(200, w.Get(job+path)); a.Text() != "done\n0123456789" || !strings.Contains(a.Header.Get("Content-Disposition"), `filename="answer.txt"`) {
			t.Errorf("%s: %q %v", path, a.Text(), a.Header)
		}
	}
	for _, path := range []string{"/results/answer/other.txt", "/results/answer/a%2fb", "/results/answer/..", "/results/answer/%2e%2e/x", "/results/provpdf"} { // R7
		w.status(404, w.Get(job+path))
	}
	if a := w.Get(job + "/stdout"); a.Text() != "out\n" {
		t.Errorf("stdout %q", a.Text())
	}
	w.ranges(job + "/results/answer")
	w.status(403, w.Post(job+"/phase", "PHASE", "RUN")) // P4
	w.status(303, w.Post(job+"/phase", "PHASE", "ABORT"))
	w.phase(job, uws.Completed)
}

func (w *world) ranges(url string) {
	for _, c := range []struct {
		header, body, contentRange string
		status                     int
	}{
		{"bytes=5-7", "012", "bytes 5-7/15", 206},
		{"bytes=5-", "0123456789", "bytes 5-14/15", 206},
		{"bytes=-2", "89", "bytes 13-14/15", 206},
		{"bytes=-99", "done\n0123456789", "bytes 0-14/15", 206},
		{"bytes=0-999", "done\n0123456789", "bytes 0-14/15", 206},
		{"bytes=15-", "the range lies outside the file, which has 15 bytes\n", "bytes */15", 416},
		{"bytes=-0", "the range lies outside the file, which has 15 bytes\n", "bytes */15", 416},
		{"bytes=1-2,4-5", "done\n0123456789", "", 200},
		{"bytes=7-5", "done\n0123456789", "", 200},
		{"bytes=x", "done\n0123456789", "", 200},
		{"lines=1-2", "done\n0123456789", "", 200},
	} {
		a := w.status(c.status, w.Do(coordtest.Request{Method: "GET", Path: url, Header: http.Header{"Range": {c.header}}}))
		if a.Text() != c.body || a.Header.Get("Content-Range") != c.contentRange {
			w.t.Errorf("%s: %q %q", c.header, a.Text(), a.Header.Get("Content-Range"))
		}
	}
	etag := w.Get(url).Header.Get("ETag")
	w.status(304, w.Do(coordtest.Request{Method: "GET", Path: url, Header: http.Header{"If-None-Match": {`"x", W/` + etag}}}))
	w.status(200, w.Do(coordtest.Request{Method: "GET", Path: url, Header: http.Header{"Range": {"bytes=1-2"}, "If-Range": {`"other"`}}}))
}

// TestCollection: one result of many files.
func TestCollection(t *testing.T) {
	w := newWorld(t)
	job := w.Create("many", "PHASE", "RUN", "n", "700")
	a := w.site.Take()
	var outputs []coordtest.Output
	for i := range 700 {
		outputs = append(outputs, coordtest.Output{Output: "files", Path: fmt.Sprintf("out/%d é.dat", i), ContentType: "application/octet-stream", Data: fmt.Appendf(nil, "file %d", i)})
	}
	a.Commit(siteapi.Facts{}, outputs...)
	j := w.job(job)
	if j.Results[0].ID != "files" || j.Results[0].MimeType != "application/x-votable+xml" {
		t.Fatalf("%+v", j.Results)
	}
	m := w.status(200, w.Get(j.Results[0].Href))
	schemas.Validate(t, schemas.VOTable, m.Body)
	if n := strings.Count(m.Text(), "<TR>"); n != 700 {
		t.Errorf("%d rows", n)
	}
	if f := w.status(200, w.Get(job+"/results/files/out/7%20%C3%A9.dat")); f.Text() != "file 7" {
		t.Errorf("%q", f.Text())
	}
	w.status(404, w.Get(job+"/results/files/out/9999.dat"))
	w.status(200, w.Do(coordtest.Request{Method: "HEAD", Path: job + "/results/files"}))
}

// TestErrors: E1-E6, J13.
func TestErrors(t *testing.T) {
	w := newWorld(t)
	job := w.Create("probe", "PHASE", "RUN", "fail", "true")
	a := w.site.Take()
	a.Report("running")
	code := 1
	a.Fail("user", "failed, as <asked>\x00", siteapi.Facts{ExitCode: &code, Logs: []siteapi.Log{a.Log("stderr", "boo")}})
	j := w.job(job)
	if j.Phase != uws.Error || j.Error == nil || j.Error.Type != uws.Fatal || !j.Error.HasDetail || j.StartTime.IsZero() || j.EndTime.IsZero() {
		t.Fatalf("%+v %+v", j, j.Error)
	}
	e := w.status(200, w.Get(job+"/error"))
	if !strings.Contains(e.Text(), "failed, as <asked>") || !strings.HasPrefix(e.Header.Get("Content-Type"), "text/plain") {
		t.Errorf("%q", e.Text())
	}
	w.status(403, w.Post(job+"/phase", "PHASE", "RUN")) // E7
	if got := w.Get(job + "/results/stderr").Text(); got != "boo" {
		t.Errorf("stderr %q", got)
	}
}

// TestQuickJobs: code that ended before anybody saw it run started nevertheless.
func TestQuickJobs(t *testing.T) {
	w := newWorld(t)
	code := 0
	good := w.Create("probe", "PHASE", "RUN")
	started := time.Now()
	w.site.Take().Commit(siteapi.Facts{ExitCode: &code, Started: started}, coordtest.MainOutput("done"))
	bad := w.Create("probe", "PHASE", "RUN")
	code = 1
	w.site.Take().Fail("user", "failed", siteapi.Facts{ExitCode: &code})
	for job, phase := range map[string]uws.Phase{good: uws.Completed, bad: uws.Error} {
		j := w.job(job)
		if j.Phase != phase || j.StartTime.Before(j.CreationTime) || j.EndTime.Before(j.StartTime) {
			t.Errorf("%+v", j)
		}
	}
	if j := w.job(good); j.StartTime.Sub(started).Abs() > time.Minute {
		t.Errorf("started %v, not %v", j.StartTime, started)
	}
	never := w.Create("probe", "PHASE", "RUN")
	w.site.Take().Fail("user", "no such file", siteapi.Facts{})
	if j := w.job(never); j.Phase != uws.Error || !j.StartTime.IsZero() {
		t.Errorf("%+v", j)
	}
}

// TestDelete: K1-K9, D5.
func TestDelete(t *testing.T) {
	w := newWorld(t)
	ways := []coordtest.Request{
		{Method: "DELETE"}, coordtest.Form("", "ACTION", "DELETE"), coordtest.Form("", "action", "DELETE"),
	}
	for _, r := range ways {
		job := w.complete()
		r.Path = job
		a := w.status(303, w.Do(r))
		if a.Header.Get("Location") != w.URL+"/rest/probe" {
			t.Errorf("location %s", a.Header.Get("Location"))
		}
		for _, child := range []string{"", "/phase", "/results", "/results/answer", "/parameters", "/stdout"} {
			w.status(404, w.Get(job+child))
		}
		w.status(404, w.Do(coordtest.Request{Method: "DELETE", Path: job}))
	}
	if n := len(w.list("/rest/probe")); n != 0 {
		t.Errorf("%d jobs left", n)
	}
	job := w.Create("probe")
	w.status(400, w.Post(job, "ACTION", "delete"))
	w.status(400, w.Post(job, "ACTION", "DELETE", "ACTION", "DELETE"))
	w.status(400, w.Post(job, "text", "x")) // K4
	w.status(400, w.Post(job))
	w.phase(job, uws.Pending)
	w.status(303, w.Post(job+"/phase", "PHASE", "RUN")) // K6
	at := w.site.Take()
	at.Report("running")
	w.status(303, w.Do(coordtest.Request{Method: "DELETE", Path: job}))
	w.status(404, w.Get(job))
}
