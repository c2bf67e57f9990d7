package userapi

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"consort/shared/uws"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	jobA = "j01ke5nzv0fghjkmnpqrstvwxy0"
	jobB = "j01ke5nzv1fghjkmnpqrstvwxy0"
)

// serve starts a server with the given routes and a client of it.
func serve(t *testing.T, routes map[string]http.HandlerFunc) *Client {
	t.Helper()
	mux := http.NewServeMux()
	for pattern, h := range routes {
		mux.HandleFunc(pattern, h)
	}
	server := httptest.NewServer(mux)
	c, err := New(Config{Server: server.URL + "/", Token: "secret", RetryFor: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Close()
		server.Close()
	})
	return c
}

// cut breaks the connection.
func cut(w http.ResponseWriter) {
	conn, _, err := w.(http.Hijacker).Hijack()
	if err == nil {
		conn.Close()
	}
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(v)
}

// nth counts requests.
type nth struct{ n atomic.Int64 }

func (c *nth) next() int { return int(c.n.Add(1)) }

func TestNewRefusesWhatCannotWork(t *testing.T) {
	for _, cfg := range []Config{
		{Server: ""}, {Server: "localhost:8080"}, {Server: "127.0.0.1:8080"}, {Server: "ftp://host"}, {Server: "http://"},
		{Server: "http://user:pw@host"}, {Server: "http://host/?q=1"}, {Server: "http://host", Token: "a\nb"},
	} {
		_, err := New(cfg)
		if !errors.Is(err, ErrConfig) {
			t.Errorf("New(%+v): %v", cfg, err)
		}
		if err != nil && strings.Contains(err.Error(), "pw@") {
			t.Errorf("the error shows the password: %v", err)
		}
	}
}

func TestSubmitIsRepeatedUnderOneKey(t *testing.T) {
	var count nth
	keys := map[string]bool{}
	c := serve(t, map[string]http.HandlerFunc{"POST /rest/fold@1.2": func(w http.ResponseWriter, r *http.Request) {
		keys[r.Header.Get(KeyHeader)] = true
		switch count.next() {
		case 1:
			w.Header().Set("Retry-After", "0")
			http.Error(w, "busy", http.StatusServiceUnavailable)
			return
		case 2:
			io.Copy(io.Discard, r.Body)
			cut(w)
			return
		}
		if err := r.ParseMultipartForm(1 << 20); err != nil {
			t.Error(err)
		}
		if got := r.MultipartForm.Value["tag"]; len(got) != 2 || got[0] != "ä=&\"" || got[1] != "b" {
			t.Errorf("tag: %q", got)
		}
		for field, want := range map[string]string{"RUNID": "night", "EXECUTIONDURATION": "90", "PHASE": "RUN"} {
			if r.FormValue(field) != want {
				t.Errorf("%s = %q", field, r.FormValue(field))
			}
		}
		f, header, err := r.FormFile("series")
		if err != nil {
			t.Error(err)
			return
		}
		body, _ := io.ReadAll(f)
		if string(body) != "time,value" || header.Filename != `a"b.csv` || r.ContentLength <= 0 {
			t.Errorf("upload: %q %q, length %d", body, header.Filename, r.ContentLength)
		}
		if r.Header.Get("Authorization") != "Bearer secret" {
			t.Error("no token")
		}
		w.Header().Set("Location", "/rest/fold/"+jobA)
		w.Header().Add("Link", `<http://elsewhere/>; rel="help"`)
		w.Header().Add("Link", `<http://server/rest/fold/`+jobB+`>; rel="`+RelComputed+`"`)
		w.WriteHeader(http.StatusSeeOther)
	}})
	made, err := c.Submit(t.Context(), Submission{
		Definition: "fold@1.2", RunID: "night", Duration: 89*time.Second + 1,
		Fields:  []Field{{"tag", `ä=&"`}, {"tag", "b"}},
		Uploads: []Upload{{"series", `a"b.csv`, strings.NewReader("time,value"), 10}},
	})
	if err != nil || made.ID != jobA || made.Computed != jobB || len(made.Retracted) != 0 {
		t.Fatalf("%+v, %v", made, err)
	}
	if len(keys) != 1 || keys[""] {
		t.Errorf("keys: %v", keys)
	}
}

func TestSubmitErrors(t *testing.T) {
	answers := map[string]http.HandlerFunc{
		"missing": func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "input series is missing", 400) },
		"nowhere": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(200) },
		"other": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Location", "http://evil.example/")
			w.WriteHeader(303)
		},
	}
	c := serve(t, map[string]http.HandlerFunc{"POST /rest/{name}": func(w http.ResponseWriter, r *http.Request) { answers[r.PathValue("name")](w, r) }})
	for name, want := range map[string]string{"missing": "input series is missing", "nowhere": "without saying where", "other": "which is no job"} {
		_, err := c.Submit(t.Context(), Submission{Definition: name, Draft: true})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestWhatIsNotSafeToRepeatIsSentOnce(t *testing.T) {
	var count nth
	c := serve(t, map[string]http.HandlerFunc{"POST /api/v1/sites": func(w http.ResponseWriter, r *http.Request) {
		count.next()
		cut(w)
	}})
	_, err := c.AddSite(t.Context(), AddSite{Name: "lyon"})
	var gone *Unreachable
	if !errors.As(err, &gone) || count.n.Load() != 1 {
		t.Errorf("%v after %d requests", err, count.n.Load())
	}
}

func TestChangesWhoseAnswerWasLost(t *testing.T) {
	var runs, deletes nth
	c := serve(t, map[string]http.HandlerFunc{
		"POST /rest/probe/{id}/phase": func(w http.ResponseWriter, r *http.Request) {
			if r.FormValue("PHASE") != "RUN" {
				t.Error("not RUN")
			}
			if runs.next() == 1 {
				cut(w)
				return
			}
			http.Error(w, "is executing", http.StatusForbidden)
		},
		"GET /rest/probe/{id}": func(w http.ResponseWriter, r *http.Request) {
			w.Write(uws.AppendJob(nil, &uws.Job{ID: jobA, Phase: uws.Executing, CreationTime: time.Now()}))
		},
		"DELETE /rest/probe/{id}": func(w http.ResponseWriter, r *http.Request) {
			if deletes.next() == 1 {
				cut(w)
				return
			}
			http.Error(w, "no such job", http.StatusNotFound)
		},
	})
	job := Ref{"probe", jobA}
	if err := c.Run(t.Context(), job); err != nil {
		t.Errorf("run: %v", err)
	}
	if err := c.Run(t.Context(), job); !isStatus(err, 403) {
		t.Errorf("second run: %v", err)
	}
	if err := c.Delete(t.Context(), job); err != nil {
		t.Errorf("delete: %v", err)
	}
	if err := c.Delete(t.Context(), job); !NotFound(err) {
		t.Errorf("second delete: %v", err)
	}
}

func TestWaitOutlastsAnOutage(t *testing.T) {
	var count nth
	script := []func(http.ResponseWriter, *http.Request){
		document(uws.Queued), document(uws.Executing),
		func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "starting", http.StatusServiceUnavailable) },
		func(w http.ResponseWriter, _ *http.Request) { cut(w) },
		document(uws.Completed),
	}
	var asked []string
	c := serve(t, map[string]http.HandlerFunc{"GET /rest/probe/{id}": func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.URL.RawQuery)
		script[count.next()-1](w, r)
	}})
	c.retryFor = -1
	var phases []uws.Phase
	var troubles int
	doc, err := c.Wait(t.Context(), Ref{"probe", jobA}, WaitOptions{
		Every:   5 * time.Second,
		Update:  func(j *uws.Job) { phases = append(phases, j.Phase) },
		Trouble: func(error) { troubles++ },
	})
	if err != nil || doc.Phase != uws.Completed {
		t.Fatalf("%+v, %v", doc, err)
	}
	if len(phases) != 3 || troubles == 0 { // net/http repeats some cut requests by itself
		t.Errorf("phases %v, %d troubles", phases, troubles)
	}
	if asked[0] != "" || asked[1] != "PHASE=QUEUED&WAIT=5" || asked[4] != "PHASE=EXECUTING&WAIT=5" {
		t.Errorf("asked %q", asked)
	}
}

func document(phase uws.Phase) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", uws.ContentType)
		w.Write(uws.AppendJob(nil, &uws.Job{ID: jobA, Phase: phase, CreationTime: time.Now()}))
	}
}

func TestWaitEnds(t *testing.T) {
	c := serve(t, map[string]http.HandlerFunc{
		"GET /rest/held/{id}":    document(uws.Held),
		"GET /rest/running/{id}": document(uws.Executing),
		"GET /rest/gone/{id}":    http.NotFound,
	})
	if doc, err := c.Wait(t.Context(), Ref{"held", jobA}, WaitOptions{}); err != nil || doc.Phase != uws.Held {
		t.Errorf("held: %v, %v", doc, err)
	}
	if _, err := c.Wait(t.Context(), Ref{"gone", jobA}, WaitOptions{}); !NotFound(err) {
		t.Errorf("gone: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := c.Wait(ctx, Ref{"running", jobA}, WaitOptions{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("time-out: %v", err)
	}
}

func TestFindID(t *testing.T) {
	c := serve(t, map[string]http.HandlerFunc{"GET /api/v1/jobs": func(w http.ResponseWriter, r *http.Request) {
		list := JobList{Jobs: []Summary{{ID: jobA}}, Next: "2"}
		if r.FormValue("cursor") == "2" {
			list = JobList{Jobs: []Summary{{ID: jobB}, {ID: "../../evil"}}}
		}
		writeJSON(w, list)
	}})
	for text, want := range map[string]string{
		jobA: jobA, strings.ToUpper(jobB): jobB, "j01ke5nzv1": jobB,
		"https://host/rest/fold/" + jobA + "/": jobA,
		"j01ke5nz":                             "several jobs begin so", "j01z": "no job of yours", "j01": "is no job id", "../../evil": "is no job id", "": "is no job id",
	} {
		id, err := c.FindID(t.Context(), text)
		if err != nil {
			id = err.Error()
		}
		if !strings.Contains(id, want) {
			t.Errorf("FindID(%q) = %s; want %s", text, id, want)
		}
	}
}

func TestLog(t *testing.T) {
	c := serve(t, map[string]http.HandlerFunc{"GET /api/v1/jobs/{id}/logs/stdout": func(w http.ResponseWriter, r *http.Request) {
		if r.FormValue("offset") == "9" {
			w.WriteHeader(200)
			return
		}
		if r.FormValue("wait") != "50" {
			t.Errorf("wait %s", r.FormValue("wait"))
		}
		w.Header().Set(LogNextHeader, "105")
		w.Header().Set(LogCompleteHeader, "true")
		w.Header().Set("Content-Type", "text/plain")
		io.WriteString(w, "hello")
	}})
	chunk, err := c.Log(t.Context(), jobA, "stdout", 0, time.Hour)
	if err != nil || string(chunk.Data) != "hello" || chunk.Offset != 100 || chunk.Next != 105 || !chunk.Complete {
		t.Errorf("%+v, %v", chunk, err)
	}
	if _, err := c.Log(t.Context(), jobA, "stdout", 9, 0); err == nil {
		t.Error("an answer without offset is accepted")
	}
}

func TestProblems(t *testing.T) {
	problem := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/problem+json; charset=utf-8")
		w.WriteHeader(403)
		io.WriteString(w, `{"title":"forbidden","detail":"not yours","code":"forbidden","status":200,"requestId":"r1"}`)
	}
	plain := func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, " token expired\n", http.StatusUnauthorized)
	}
	html := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(404)
		io.WriteString(w, "<html>nothing here")
	}
	page := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		io.WriteString(w, "<html>welcome")
	}
	broken := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, `{"jobs": 7`)
	}
	var handler http.HandlerFunc
	c := serve(t, map[string]http.HandlerFunc{"GET /api/v1/version": func(w http.ResponseWriter, r *http.Request) { handler(w, r) }})
	for _, test := range []struct {
		name, want string
		handler    http.HandlerFunc
		auth, gone bool
	}{
		{"problem", "not yours", problem, true, false},
		{"plain", "token expired", plain, true, false},
		{"html error", "the server answered 404 Not Found", html, false, true},
		{"html page", "instead of JSON", page, false, false},
		{"broken", "read the answer", broken, false, false},
	} {
		handler = test.handler
		_, err := c.Version(t.Context())
		if err == nil || !strings.Contains(err.Error(), test.want) || Auth(err) != test.auth || NotFound(err) != test.gone {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}

func TestUnreachableSaysWhich(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	server.Close()
	c, err := New(Config{Server: server.URL, RetryFor: -1})
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Version(t.Context())
	if err == nil || err.Error() != "cannot reach "+server.URL+": nothing accepts connections there" {
		t.Error(err)
	}
}

func TestUntrustedIsNotRepeated(t *testing.T) {
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // it would tell of the handshake
	server.StartTLS()
	defer server.Close()
	c, err := New(Config{Server: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	_, err = c.Version(t.Context())
	if err == nil || !strings.HasPrefix(err.Error(), "cannot trust "+server.URL) || time.Since(began) > time.Second {
		t.Error(err, time.Since(began))
	}
}

func TestCutAnswersAreReadAgain(t *testing.T) {
	var count nth
	c := serve(t, map[string]http.HandlerFunc{"GET /api/v1/jobs/{id}": func(w http.ResponseWriter, r *http.Request) {
		if count.next() == 1 {
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Content-Length", "5000")
			io.WriteString(w, `{"id": "`)
			return
		}
		writeJSON(w, Job{ID: r.PathValue("id"), Version: 1 << 60})
	}})
	job, err := c.Job(t.Context(), jobA)
	if err != nil || job.ID != jobA || job.Version != 1<<60 || count.n.Load() != 2 {
		t.Errorf("%+v, %v", job, err)
	}
}

func TestRetryAfter(t *testing.T) {
	for text, want := range map[string]time.Duration{"": 0, "7": 7 * time.Second, "-1": 0, "soon": 0, "99999999999999": 0, "Thu, 01 Jan 1970 00:00:00 GMT": 0} {
		if got := retryAfter(text); got != want {
			t.Errorf("%q: %s", text, got)
		}
	}
	if got := retryAfter(time.Now().Add(time.Hour).UTC().Format(http.TimeFormat)); got < 59*time.Minute {
		t.Error(got)
	}
}

func TestJobsQuery(t *testing.T) {
	c := serve(t, map[string]http.HandlerFunc{"GET /api/v1/jobs": func(w http.ResponseWriter, r *http.Request) {
		writeJSON(w, JobList{Next: r.URL.RawQuery})
	}})
	list, err := c.Jobs(t.Context(), JobQuery{Definition: "fold", Phases: []string{"QUEUED", "ERROR"}, After: time.Unix(1, 5000), Limit: 3, Cursor: "a b"})
	want := "after=1970-01-01T00%3A00%3A01.000005Z&cursor=a+b&definition=fold&limit=" + strconv.Itoa(3) + "&phase=QUEUED&phase=ERROR"
	if err != nil || list.Next != want {
		t.Errorf("%s, %v", list.Next, err)
	}
}
