package client

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"consort/shared/siteapi"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var ref = Ref{Job: "j01arz3ndektsv4rrffq69g5fav", Epoch: 2}

// serve starts servers that all answer by handler and returns a client of them.
func serve(t *testing.T, handlers ...http.HandlerFunc) (*Client, ed25519.PublicKey) {
	t.Helper()
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	cfg := Config{Site: "meudon", ClusterID: "c1", Key: private, Version: "test"}
	for _, h := range handlers {
		s := httptest.NewServer(h)
		t.Cleanup(s.Close)
		cfg.Servers = append(cfg.Servers, s.URL+"/")
	}
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c, public
}

func refuse(w http.ResponseWriter, status int, code string) {
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(siteapi.Error{Code: code, Message: "because"})
}

func TestConfig(t *testing.T) {
	_, key, _ := ed25519.GenerateKey(nil)
	for _, c := range []Config{
		{Key: key},
		{Servers: []string{"consort.example"}, Key: key},
		{Servers: []string{"ftp://consort.example"}, Key: key},
		{Servers: []string{"http://a b"}, Key: key},
		{Servers: []string{"http://consort.example?x=1"}, Key: key},
		{Servers: []string{"http://consort.example"}},
	} {
		if _, err := New(c); err == nil {
			t.Errorf("accepted %+v", c.Servers)
		}
	}
}

func TestSigned(t *testing.T) {
	var token, path, body string
	c, public := serve(t, func(w http.ResponseWriter, r *http.Request) {
		token = strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
		path = r.URL.Path
		data, _ := io.ReadAll(r.Body)
		body = string(data)
		_, _ = w.Write([]byte(`{"phase":"COMPLETED"}`))
	})
	answer, err := c.Commit(t.Context(), ref, siteapi.CommitRequest{Parts: 3})
	if err != nil || answer.Phase != "COMPLETED" {
		t.Fatalf("got %+v, %v", answer, err)
	}
	if want := "/sites/v1/attempts/" + ref.Job + "/2/commit"; path != want || !strings.Contains(body, `"parts":3`) {
		t.Errorf("asked %s with %s, want %s", path, body, want)
	}
	site, err := siteapi.VerifyToken(token, "c1", time.Now(), func(string) (ed25519.PublicKey, error) { return public, nil })
	if err != nil || site != "meudon" {
		t.Errorf("token of %q: %v", site, err)
	}
}

func TestRetriesWhatMayWorkLater(t *testing.T) {
	answers := []func(http.ResponseWriter){
		func(w http.ResponseWriter) { panic(http.ErrAbortHandler) }, // the connection is cut
		func(w http.ResponseWriter) { refuse(w, 503, siteapi.CodeBusy) },
		func(w http.ResponseWriter) { refuse(w, 503, siteapi.CodeUnknown) },
		func(w http.ResponseWriter) { http.Error(w, "<html>gateway</html>", 404) },
		func(w http.ResponseWriter) { _, _ = w.Write([]byte(`{"phase":`)) },
		func(w http.ResponseWriter) { _, _ = w.Write([]byte(`{"phase":"ERROR"}`)) },
	}
	var n atomic.Int64
	c, _ := serve(t, func(w http.ResponseWriter, _ *http.Request) { answers[n.Add(1)-1](w) })
	answer, err := c.Fail(t.Context(), ref, siteapi.FailRequest{Class: "user"})
	if err != nil || answer.Phase != "ERROR" || int(n.Load()) != len(answers) {
		t.Errorf("got %+v, %v after %d calls", answer, err, n.Load())
	}
}

func TestFinalAnswers(t *testing.T) {
	for _, c := range []struct {
		status       int
		code         string
		final, stale bool
		untrusted    bool
	}{
		{status: 409, code: siteapi.CodeStale, final: true, stale: true},
		{status: 400, code: siteapi.CodeInvalid, final: true},
		{status: 413, code: "too-large", final: true},
		{status: 403, code: siteapi.CodeRevoked, untrusted: true},
		{status: 400, code: siteapi.CodeProtocol},
		{status: 401, code: siteapi.CodeRefused, untrusted: true},
		{status: 401, code: ""}, // of a proxy
		{status: 502, code: ""},
	} {
		client, _ := serve(t, func(w http.ResponseWriter, _ *http.Request) { refuse(w, c.status, c.code) })
		_, err := client.Report(t.Context(), ref, siteapi.Report{})
		if err == nil || IsFinal(err) != c.final || IsStale(err) != c.stale || IsNotTrusted(err) != c.untrusted {
			t.Errorf("%d %s: got %v (final %v)", c.status, c.code, err, IsFinal(err))
		}
	}
}

func TestFailover(t *testing.T) {
	var second atomic.Int64
	c, _ := serve(t,
		func(w http.ResponseWriter, _ *http.Request) { refuse(w, 503, siteapi.CodeBusy) },
		func(w http.ResponseWriter, _ *http.Request) { second.Add(1); _, _ = w.Write([]byte(`{}`)) })
	for range 3 {
		if _, err := c.CloseAttempt(t.Context(), ref, siteapi.CloseRequest{}); err != nil {
			t.Fatal(err)
		}
	}
	if second.Load() != 3 {
		t.Errorf("the server that works was asked %d times, want 3", second.Load())
	}
}

func TestEndsWithContext(t *testing.T) {
	c, _ := serve(t, func(w http.ResponseWriter, _ *http.Request) { refuse(w, 503, siteapi.CodeBusy) })
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := c.Offsets(ctx, ref, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func TestLearnsTime(t *testing.T) {
	ahead := time.Hour
	c, _ := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Date", time.Now().Add(ahead).UTC().Format(http.TimeFormat))
		_, _ = w.Write([]byte(`{}`))
	})
	if _, err := c.Poll(t.Context(), &siteapi.PollRequest{}); err != nil {
		t.Fatal(err)
	}
	if off := c.Now().Sub(time.Now().Add(ahead)).Abs(); off > 2*time.Second {
		t.Errorf("the client's clock is off by %v", off)
	}
}

// cutting serves content and drops the connection after each step bytes.
func cutting(content []byte, step int, ranges bool) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if !ranges {
			_, _ = w.Write(content)
			return
		}
		out := &limited{ResponseWriter: w, left: step}
		http.ServeContent(out, r, "", time.Time{}, bytes.NewReader(content))
		if out.left == 0 {
			panic(http.ErrAbortHandler)
		}
	}
}

type limited struct {
	http.ResponseWriter
	left int
}

func (l *limited) Write(b []byte) (int, error) {
	n, err := l.ResponseWriter.Write(b[:min(len(b), l.left)])
	l.left -= n
	if err == nil && n < len(b) {
		err = io.ErrShortWrite
	}
	l.ResponseWriter.(http.Flusher).Flush()
	return n, err
}

func TestContentResumes(t *testing.T) {
	content := bytes.Repeat([]byte("0123456789abcdef"), 1<<12)
	for _, c := range []struct {
		name   string
		step   int
		offset int
		ranges bool
	}{
		{"whole", 1 << 20, 0, true}, {"cut often", 20_000, 0, true}, {"from the middle", 30_000, 1000, true},
		{"all is there", 1000, len(content), true}, {"no ranges", 0, 777, false},
	} {
		client, _ := serve(t, cutting(content, c.step, c.ranges))
		got := bytes.NewBuffer(append([]byte(nil), content[:c.offset]...))
		if err := client.Content(t.Context(), ref, "ab", got, int64(c.offset)); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if !bytes.Equal(got.Bytes(), content) {
			t.Errorf("%s: %d bytes differ from the content", c.name, got.Len())
		}
	}
}

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, errors.New("no space left on device") }

func TestContentToFullDisk(t *testing.T) {
	c, _ := serve(t, cutting([]byte("data"), 100, true))
	err := c.Content(t.Context(), ref, "ab", fullDisk{}, 0)
	if err == nil || !strings.Contains(err.Error(), "no space") {
		t.Errorf("got %v", err)
	}
}

func TestPutLog(t *testing.T) {
	tries := 0
	c, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		tries++
		data, _ := io.ReadAll(r.Body)
		if tries == 1 {
			panic(http.ErrAbortHandler)
		}
		if r.Method != http.MethodPut || r.URL.Query().Get("full_size") != "10" || string(data) != "hello" {
			t.Errorf("%s %s with %q", r.Method, r.URL, data)
		}
		_, _ = w.Write([]byte(`{"size":5}`))
	})
	stored, err := c.PutLog(t.Context(), ref, "stdout", 5, 10, func() (io.ReadCloser, error) {
		return io.NopCloser(strings.NewReader("hello")), nil
	})
	if err != nil || stored.Size != 5 {
		t.Errorf("got %+v, %v", stored, err)
	}
	gone := errors.New("gone")
	if _, err := c.PutLog(t.Context(), ref, "stdout", 5, 5, func() (io.ReadCloser, error) { return nil, gone }); !errors.Is(err, gone) {
		t.Errorf("a log that cannot be read: %v", err)
	}
}

func TestEnrol(t *testing.T) {
	for _, c := range []struct {
		name, body string
		status     int
		want       string
	}{
		{"good", `{"site":"meudon","clusterId":"c1","sftp":[{"address":"a:22","hostKey":"k"}]}`, 200, ""},
		{"used token", `{"code":"refused","message":"used"}`, 403, "refused: used"},
		{"not a coordinator", `{}`, 200, "is it a coordinator"},
		{"web page", `<html>`, 200, "decode"},
	} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(c.status)
			_, _ = w.Write([]byte(c.body))
		}))
		_, err := Enrol(t.Context(), s.URL, nil, siteapi.EnrolRequest{Token: "t"})
		s.Close()
		if (c.want == "") != (err == nil) || (err != nil && !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: got %v, want %q", c.name, err, c.want)
		}
	}
}

func TestProxies(t *testing.T) {
	for _, name := range []string{"HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy"} {
		t.Setenv(name, "")
	}
	t.Setenv("ALL_PROXY", "socks5://proxy.example:1080")
	t.Setenv("HTTPS_PROXY", "http://secure.example:3128")
	t.Setenv("NO_PROXY", "near.example")
	for target, want := range map[string]string{
		"https://consort.example/x": "http://secure.example:3128",
		"http://consort.example/x":  "socks5://proxy.example:1080",
		"https://near.example/x":    "",
		"http://127.0.0.1:1/x":      "",
	} {
		got, err := proxies()(httptest.NewRequest(http.MethodGet, target, nil))
		if err != nil || (got == nil) != (want == "") || got != nil && got.String() != want {
			t.Errorf("%s goes by %v, %v; want %q", target, got, err, want)
		}
	}
}

func FuzzReadError(f *testing.F) {
	f.Add([]byte(`{"code":"stale","message":"x"}`), "3")
	f.Fuzz(func(t *testing.T, body []byte, after string) {
		resp := &http.Response{StatusCode: 503, Header: http.Header{"Retry-After": {after}}, Body: io.NopCloser(bytes.NewReader(body))}
		if e := readError("s", resp); e.Error() == "" || e.RetryAfter < 0 || e.RetryAfter > 5*time.Minute {
			t.Errorf("got %v", e)
		}
	})
}
