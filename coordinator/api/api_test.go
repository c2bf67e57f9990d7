package api_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"consort/coordinator/api"
	"consort/coordinator/api/request"
	"consort/coordinator/auth"
	"consort/coordinator/content"
	"consort/coordinator/coordtest"
	"consort/shared/siteapi"
	"consort/shared/userapi"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, coordtest.Leaks()...) }

// surface is a few routes that show what the front does.
type surface struct {
	store *content.Store
	wait  chan struct{}
}

func (s *surface) Mount(r fiber.Router) {
	r.Get("/who", func(c *fiber.Ctx) error {
		return c.SendString(request.Principal(c).Name + " " + request.Base(c))
	})
	r.Post("/form", s.form)
	r.Get("/echo/:name", func(c *fiber.Ctx) error {
		name, err := request.Param(c, "name")
		if err != nil {
			return err
		}
		return c.SendString(name)
	})
	r.Get("/panic", func(*fiber.Ctx) error { panic("on purpose") })
	r.Get("/wait", func(c *fiber.Ctx) error {
		select {
		case <-s.wait:
		case <-request.Context(c).Done():
		}
		return c.SendString("woken")
	})
	for _, path := range []string{"/api/v1/fail", "/sites/v1/fail", "/fail"} {
		r.Get(path, func(*fiber.Ctx) error { return fmt.Errorf("secret detail: %w", content.ErrDiskLow) })
	}
	r.Get("/api/v1/broken", func(*fiber.Ctx) error { return errors.New("secret detail") })
}

func (s *surface) form(c *fiber.Ctx) error {
	if _, err := request.Query(c); err != nil {
		return err
	}
	f, err := request.ParseForm(c, request.FormLimits(), s.store)
	if err != nil {
		return err
	}
	return c.JSON(f.Values)
}

func newServer(t testing.TB, change ...func(*api.Config)) (*api.Server, *surface) {
	t.Helper()
	guard, err := auth.New(auth.Config{Anonymous: true, Tokens: []auth.Token{{Name: "alice", SHA256: auth.HashToken("a")}}})
	if err != nil {
		t.Fatal(err)
	}
	logger := slog.New(slog.DiscardHandler)
	store, err := content.Open(content.Config{Dir: t.TempDir(), Logger: logger})
	if err != nil {
		t.Fatal(err)
	}
	s := &surface{store: store, wait: make(chan struct{})}
	cfg := api.Config{
		Surfaces: []api.Surface{s}, Guard: guard, Logger: logger, Registerer: prometheus.NewRegistry(),
		StopTimeout: 300 * time.Millisecond,
	}
	for _, c := range change {
		c(&cfg)
	}
	server, err := api.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return server, s
}

// start serves on a free port until the end of the test.
func start(t testing.TB, change ...func(*api.Config)) (addr string, s *surface) {
	t.Helper()
	server, s := newServer(t, change...)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- server.Serve(ctx, ln) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return ln.Addr().String(), s
}

// send writes raw bytes and reads one answer and whether the connection was closed after it.
func send(t testing.TB, addr, raw string) (status int, header http.Header, body string, closed bool) {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(conn, raw); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(conn)
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		return 0, nil, "", true // closed without a word
	}
	data, _ := io.ReadAll(resp.Body)
	_ = conn.SetDeadline(time.Now().Add(200 * time.Millisecond))
	_, err = r.ReadByte()
	var slow net.Error
	return resp.StatusCode, resp.Header, string(data), err != nil && !(errors.As(err, &slow) && slow.Timeout())
}

func TestProtocol(t *testing.T) {
	addr, _ := start(t)
	for name, c := range map[string]struct {
		raw    string
		status int // 0: closed without an answer
		closed bool
	}{
		"plain":             {"GET /who HTTP/1.1\r\nHost: x\r\n\r\n", 200, false},
		"HTTP/1.0":          {"GET /who HTTP/1.0\r\n\r\n", 200, true},
		"CL and TE":         {"POST /form HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n3\r\na=b\r\n0\r\n\r\n", 400, true},
		"cl and te":         {"POST /form HTTP/1.1\r\nHost: x\r\ntransfer-encoding: chunked\r\ncontent-length: 3\r\n\r\n3\r\na=b\r\n0\r\n\r\n", 400, true},
		"version":           {"GET /who HTTP/9.9\r\nHost: x\r\n\r\n", 400, true},
		"no host":           {"GET /who HTTP/1.1\r\n\r\n", 400, true},
		"two hosts":         {"GET /who HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", 400, true},
		"odd host":          {"GET /who HTTP/1.1\r\nHost: a/b\"<\r\n\r\n", 400, true},
		"two lengths":       {"POST /form HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400, true},
		"negative length":   {"POST /form HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", 400, true},
		"broken chunk":      {"POST /form HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400, true},
		"long header":       {"GET /who HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("x", 20<<10) + "\r\n\r\n", 431, true},
		"broken escape":     {"GET /echo/a%zz HTTP/1.1\r\nHost: x\r\n\r\n", 400, false},
		"encoded slash":     {"GET /echo/a%2fb HTTP/1.1\r\nHost: x\r\n\r\n", 404, false},
		"encoded NUL":       {"GET /echo/a%00b HTTP/1.1\r\nHost: x\r\n\r\n", 404, false},
		"no UTF-8":          {"GET /echo/%ff HTTP/1.1\r\nHost: x\r\n\r\n", 404, false},
		"dots":              {"GET /echo/%2e%2e HTTP/1.1\r\nHost: x\r\n\r\n", 404, false},
		"long name":         {"GET /echo/" + strings.Repeat("a", 10_000) + " HTTP/1.1\r\nHost: x\r\n\r\n", 404, false},
		"other method":      {"PUT /who HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", 405, false},
		"unknown method":    {"FOO /who HTTP/1.1\r\nHost: x\r\n\r\n", 405, false},
		"unknown, body":     {"FOO /who HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\na=b", 405, false},
		"unknown, nowhere":  {"FOO /nothing HTTP/1.1\r\nHost: x\r\n\r\n", 404, false},
		"compressed":        {"POST /form HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\na=b", 415, false},
		"identity":          {"POST /form HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Encoding: Identity\r\nContent-Length: 3\r\n\r\na=b", 200, false},
		"length over limit": {"POST /form HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 9999999\r\n\r\na=" + strings.Repeat("x", 64<<10), 413, true},
		"continue":          {"POST /form HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\na=b", 200, false},
	} {
		status, header, body, closed := send(t, addr, c.raw)
		if status == http.StatusContinue {
			status = http.StatusOK
			closed = c.closed
		}
		if status != c.status || closed != c.closed {
			t.Errorf("%s: %d closed=%v, want %d closed=%v: %s", name, status, closed, c.status, c.closed, body)
		}
		if c.status == 405 && header.Get("Allow") != "GET, HEAD" {
			t.Errorf("Allow: %q", header.Get("Allow"))
		}
		if c.status >= 400 && (strings.Count(body, "\n") != 1 || len(body) > 200 || strings.Contains(body, "Host:") || strings.Contains(body, "error when")) {
			t.Errorf("%s: the text is not ours: %q", name, body)
		}
		if c.status == 415 && header.Get("Accept-Encoding") != "identity" {
			t.Errorf("%s: Accept-Encoding %q", name, header.Get("Accept-Encoding"))
		}
		if header.Get("Server") != "" {
			t.Errorf("Server: %q", header.Get("Server"))
		}
	}
}

// TestMetricsByRoute: labels are patterns, and one word for what no route answered.
func TestMetricsByRoute(t *testing.T) {
	registry := prometheus.NewRegistry()
	addr, _ := start(t, func(c *api.Config) { c.Registerer = registry })
	for _, call := range []struct{ method, path string }{
		{"GET", "/who"}, {"GET", "/echo/a"}, {"GET", "/nothing"}, {"PUT", "/who"}, {"FOO", "/who"}, {"GET", "/"},
	} {
		do(t, addr, call.method, call.path, nil)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]uint64{}
	for _, m := range families[0].GetMetric() {
		var key []string
		for _, l := range m.GetLabel() {
			key = append(key, l.GetValue())
		}
		got[strings.Join(key, " ")] = m.GetHistogram().GetSampleCount()
	}
	want := map[string]uint64{
		"GET /who 2xx": 1, "GET /echo/:name 2xx": 1, "GET none 4xx": 2, "PUT none 4xx": 1, "TRACE none 4xx": 1,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestRefusalIsRead: a client that sends its whole body before it reads sees why the request was refused, however large
// the body is; the connection ends after it.
func TestRefusalIsRead(t *testing.T) {
	addr, _ := start(t)
	for _, size := range []int{2 << 20, 16 << 20} {
		head := fmt.Sprintf("POST /form HTTP/1.1\r\nHost: %s\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n", addr, size)
		status, _, body, closed := send(t, addr, head+strings.Repeat("a", size))
		if status != http.StatusRequestEntityTooLarge || body == "" || !closed {
			t.Errorf("%d bytes: status %d, closed %t, %.200q", size, status, closed, body)
		}
	}
}

func TestSlowHeaderIsCut(t *testing.T) {
	addr, _ := start(t, func(c *api.Config) { c.HeaderTimeout = 200 * time.Millisecond; c.IdleTimeout = 200 * time.Millisecond })
	for _, begun := range []string{"", "GET /who HTTP/1.1\r\nHo", "GET /who HTTP/1.1\r\nHost: x\r\n\r\n"} {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(conn, begun)
		_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
		if _, err := io.Copy(io.Discard, conn); err != nil {
			t.Errorf("%q: %v", begun, err)
		}
		conn.Close()
	}
}

func TestConnectionCap(t *testing.T) {
	addr, _ := start(t, func(c *api.Config) { c.MaxConnsPerIP = 2 })
	var conns []net.Conn
	refused := 0
	for range 5 {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, conn)
		_, _ = io.WriteString(conn, "GET /who HTTP/1.1\r\nHost: x\r\n\r\n")
		_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil || resp.StatusCode != http.StatusOK {
			refused++
		}
	}
	for _, c := range conns {
		c.Close()
	}
	if refused != 3 {
		t.Errorf("%d of 5 connections were refused", refused)
	}
}

func do(t testing.TB, addr, method, path string, header map[string]string) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequest(method, "http://"+addr+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range header {
		if k == "Host" {
			r.Host = v
		}
		r.Header.Set(k, v)
	}
	resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	return resp, string(body)
}

func TestRequestID(t *testing.T) {
	addr, _ := start(t)
	for given, kept := range map[string]bool{"abc-1.2_3": true, "": false, "a b": false, strings.Repeat("x", 65): false, "<x>": false} {
		resp, _ := do(t, addr, "GET", "/who", map[string]string{"X-Request-Id": given})
		if got := resp.Header.Get("X-Request-Id"); got == "" || (got == given) != kept {
			t.Errorf("%q became %q", given, got)
		}
	}
}

func TestErrorsAsEachSurfaceTellsThem(t *testing.T) {
	addr, _ := start(t)
	resp, body := do(t, addr, "GET", "/api/v1/fail", nil)
	var p userapi.Problem
	if err := json.Unmarshal([]byte(body), &p); err != nil || resp.StatusCode != 503 || p.Code != "busy" || p.RequestID == "" ||
		resp.Header.Get("Content-Type") != "application/problem+json" || resp.Header.Get("Retry-After") == "" {
		t.Errorf("%d %v %s", resp.StatusCode, resp.Header, body)
	}
	resp, body = do(t, addr, "GET", "/api/v1/broken", nil)
	if resp.StatusCode != 500 || strings.Contains(body, "secret") {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
	resp, body = do(t, addr, "GET", "/sites/v1/fail", nil)
	var e siteapi.Error
	if err := json.Unmarshal([]byte(body), &e); err != nil || e.Code != siteapi.CodeBusy {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
	resp, body = do(t, addr, "GET", "/fail", nil)
	if !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/plain") || !strings.Contains(body, "free disk space") {
		t.Errorf("%v %s", resp.Header, body)
	}
	if resp, _ := do(t, addr, "GET", "/panic", nil); resp.StatusCode != 500 {
		t.Errorf("panic: %d", resp.StatusCode)
	}
	for _, path := range []string{"/", "/nothing", "/api/v1/nothing", "/sites/v1/nothing"} {
		if resp, body := do(t, addr, "GET", path, nil); resp.StatusCode != 404 || resp.Header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: %d %s", path, resp.StatusCode, body)
		}
	}
	for _, path := range []string{"/healthz", "/readyz"} {
		if resp, body := do(t, addr, "GET", path, nil); resp.StatusCode != 200 || body != "ok\n" {
			t.Errorf("%s: %d %s", path, resp.StatusCode, body)
		}
	}
}

func TestLocalOnly(t *testing.T) {
	addr, _ := start(t, func(c *api.Config) { c.LocalOnly = true })
	port := addr[strings.LastIndexByte(addr, ':'):]
	for name, c := range map[string]struct {
		header map[string]string
		status int
	}{
		"as asked":          {nil, 200},
		"localhost":         {map[string]string{"Host": "LocalHost" + port}, 200},
		"v6":                {map[string]string{"Host": "[::1]" + port}, 200},
		"no port":           {map[string]string{"Host": "localhost"}, 200},
		"rebinding":         {map[string]string{"Host": "evil.example" + port}, 401},
		"localhost.example": {map[string]string{"Host": "localhost.evil.example"}, 401},
		"forwarded":         {map[string]string{"Forwarded": "for=1.2.3.4"}, 401},
		"x-forwarded-for":   {map[string]string{"X-Forwarded-For": "1.2.3.4"}, 401},
		"x-forwarded-host":  {map[string]string{"X-Forwarded-Host": "localhost"}, 401},
		"with a token":      {map[string]string{"Host": "evil.example", "Authorization": "Bearer a"}, 200},
		"with a bad token":  {map[string]string{"Authorization": "Bearer b"}, 401},
	} {
		resp, body := do(t, addr, "GET", "/who", c.header)
		if resp.StatusCode != c.status {
			t.Errorf("%s: %d %s", name, resp.StatusCode, body)
		}
		if c.status == 401 && len(resp.Header.Values("WWW-Authenticate")) != 2 {
			t.Errorf("%s: challenges %v", name, resp.Header.Values("WWW-Authenticate"))
		}
	}
}

func TestForeignWrites(t *testing.T) {
	addr, _ := start(t, func(c *api.Config) { c.PublicURL = "https://consort.example.org/" })
	for name, c := range map[string]struct {
		header map[string]string
		status int
	}{
		"no browser":       {nil, 200},
		"own origin":       {map[string]string{"Origin": "http://" + addr, "Sec-Fetch-Site": "same-origin"}, 200},
		"public origin":    {map[string]string{"Origin": "https://consort.example.org"}, 200},
		"public, plain":    {map[string]string{"Origin": "http://consort.example.org"}, 403},
		"typed":            {map[string]string{"Sec-Fetch-Site": "none"}, 200},
		"foreign origin":   {map[string]string{"Origin": "https://evil.example"}, 403},
		"null origin":      {map[string]string{"Origin": "null"}, 403},
		"cross-site":       {map[string]string{"Sec-Fetch-Site": "cross-site"}, 403},
		"same-site":        {map[string]string{"Sec-Fetch-Site": "same-site"}, 403},
		"other port":       {map[string]string{"Origin": "http://127.0.0.1:1"}, 403},
		"with credentials": {map[string]string{"Origin": "https://evil.example", "Authorization": "Bearer a"}, 403},
	} {
		if resp, body := do(t, addr, "POST", "/form", c.header); resp.StatusCode != c.status {
			t.Errorf("%s: %d %s", name, resp.StatusCode, body)
		}
	}
	if resp, body := do(t, addr, "GET", "/who", map[string]string{"Origin": "https://evil.example"}); resp.StatusCode != 200 || body != " https://consort.example.org" {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
}

// TestStop: waiters are answered, idle and half-open connections are cut, and it does not take long.
func TestStop(t *testing.T) {
	server, s := newServer(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- server.Serve(ctx, ln) }()
	var conns []net.Conn
	for _, raw := range []string{"", "GET /wa", "GET /wait HTTP/1.1\r\nHost: x\r\n\r\n", "GET /who HTTP/1.1\r\nHost: x\r\n\r\n"} {
		conn, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, raw)
		conns = append(conns, conn)
	}
	_ = conns[3].SetReadDeadline(time.Now().Add(5 * time.Second))
	if _, err := http.ReadResponse(bufio.NewReader(conns[3]), nil); err != nil {
		t.Fatal(err)
	}
	close(s.wait)
	begun := time.Now()
	cancel()
	if err := <-done; err != nil {
		t.Errorf("stop: %v", err)
	}
	if took := time.Since(begun); took > 3*time.Second {
		t.Errorf("the stop took %s", took)
	}
	_ = conns[2].SetReadDeadline(time.Now().Add(5 * time.Second))
	resp, err := http.ReadResponse(bufio.NewReader(conns[2]), nil)
	if err != nil || resp.StatusCode != 200 {
		t.Errorf("the waiter got %v %v", resp, err)
	}
}

// FuzzRawHTTP: whatever bytes come, no answer is a 5xx, and the server goes on.
func FuzzRawHTTP(f *testing.F) {
	for _, seed := range []string{
		"GET /who HTTP/1.1\r\nHost: x\r\n\r\n",
		"POST /form HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\nContent-Length: 70\r\n\r\n--b\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nx\r\n--b--\r\n",
		"POST /form?a=%zz HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\nTransfer-Encoding: chunked\r\n\r\n3\r\na=b\r\n0\r\n\r\n",
		"GET /echo/%00 HTTP/1.1\r\nHost: [::1]:1\r\nRange: bytes=1-\r\n\r\nGET / HTTP/1.0\r\n\r\n",
	} {
		f.Add([]byte(seed))
	}
	server, _ := newServer(f)
	handler := server.App()
	f.Fuzz(func(t *testing.T, raw []byte) {
		client, remote := net.Pipe()
		done := make(chan struct{})
		go func() {
			defer close(done)
			_ = handler.Server().ServeConn(remote)
		}()
		_ = client.SetDeadline(time.Now().Add(50 * time.Millisecond))
		go func() { _, _ = client.Write(raw) }()
		answer, _ := io.ReadAll(client)
		client.Close()
		<-done
		if bytes.HasPrefix(answer, []byte("HTTP/1.1 5")) && !bytes.Contains(raw, []byte("/fail")) && !bytes.Contains(raw, []byte("/panic")) && !bytes.Contains(raw, []byte("/broken")) {
			t.Errorf("%q was answered with %q", raw, answer)
		}
	})
}

// TestStopAtOnce: a stop that comes before the server has begun to accept ends it all the same.
func TestStopAtOnce(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range 3 {
		server, _ := newServer(t)
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() { done <- server.Serve(ctx, ln) }()
		select {
		case err := <-done:
			if err != nil {
				t.Fatal(err)
			}
		case <-time.After(10 * time.Second):
			t.Fatal("the server goes on after it was stopped")
		}
	}
}
