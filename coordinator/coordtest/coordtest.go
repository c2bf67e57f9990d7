// Package coordtest starts real coordinators for tests, and gives them clients: a plain HTTP client, and a
// site that does by hand, over HTTP and SFTP, what an agent does by itself. It is for tests only and no part
// of the product.
package coordtest

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"consort/coordinator"
	"consort/coordinator/auth"
	"consort/coordinator/definitions"
	"consort/examples"
)

// Tokens of the users that a Node knows besides anonymous ones.
const (
	Alice    = "alice-token"
	Bob      = "bob-token"
	Operator = "operator-token"
)

// Node is a coordinator that runs within the test, with the examples published.
type Node struct {
	*coordinator.Server
	URL    string // of its HTTP front, without a trailing slash
	Client *http.Client
	t      testing.TB
}

// New starts a coordinator on free ports with an empty data directory; it stops at the end of the test.
// Anonymous callers may create jobs.
func New(t testing.TB, change ...func(*coordinator.Config)) *Node {
	t.Helper()
	cfg := coordinator.Config{
		Dir:  t.TempDir(),
		HTTP: "127.0.0.1:0", SFTP: "127.0.0.1:0", Peer: "127.0.0.1:0",
		Definitions: []definitions.Folder{{Name: "examples", FS: examples.FS}},
		Auth: auth.Config{Anonymous: true, Tokens: []auth.Token{
			{Name: "alice", SHA256: auth.HashToken(Alice)},
			{Name: "bob", SHA256: auth.HashToken(Bob)},
			{Name: "operator", SHA256: auth.HashToken(Operator), Operator: true},
		}},
		Version: "test",
		Logger:  slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn})),
	}
	for _, c := range change {
		c(&cfg)
	}
	server, err := coordinator.Start(t.Context(), cfg)
	if err != nil {
		t.Fatalf("start a coordinator: %v", err)
	}
	transport := &http.Transport{MaxIdleConnsPerHost: 64}
	n := &Node{
		Server: server, URL: "http://" + server.Addresses().HTTP, t: t,
		Client: &http.Client{
			Transport: transport, Timeout: 2 * time.Minute,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := server.Stop(ctx); err != nil {
			t.Errorf("stop the coordinator: %v", err)
		}
	})
	return n
}

// Answer is what came back. Redirects are not followed.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
}

// Text is the body.
func (a *Answer) Text() string { return string(a.Body) }

// Request is one call; Path may be a whole URL.
type Request struct {
	Method, Path string
	Token        string // of the caller; empty: anonymous
	Type         string // Content-Type
	Body         io.Reader
	Header       http.Header
}

// Do sends a request and reads the answer.
func (n *Node) Do(r Request) *Answer {
	n.t.Helper()
	if !strings.Contains(r.Path, "://") {
		r.Path = n.URL + r.Path
	}
	q, err := http.NewRequestWithContext(n.t.Context(), r.Method, r.Path, r.Body)
	if err != nil {
		n.t.Fatal(err)
	}
	for k, v := range r.Header {
		q.Header[k] = v
	}
	if r.Token != "" {
		q.Header.Set("Authorization", "Bearer "+r.Token)
	}
	if r.Type != "" {
		q.Header.Set("Content-Type", r.Type)
	}
	resp, err := n.Client.Do(q)
	if err != nil {
		n.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		n.t.Fatalf("%s %s: %v", r.Method, r.Path, err)
	}
	return &Answer{resp.StatusCode, resp.Header, body}
}

// Get asks for a path or a URL as an anonymous caller.
func (n *Node) Get(path string) *Answer {
	n.t.Helper()
	return n.Do(Request{Method: http.MethodGet, Path: path})
}

// Post sends a form of name, value pairs as an anonymous caller.
func (n *Node) Post(path string, pairs ...string) *Answer {
	n.t.Helper()
	return n.Do(Form(path, pairs...))
}

// Form is a POST of name, value pairs.
func Form(path string, pairs ...string) Request {
	values := url.Values{}
	for i := 0; i+1 < len(pairs); i += 2 {
		values.Add(pairs[i], pairs[i+1])
	}
	return Request{Method: http.MethodPost, Path: path, Type: "application/x-www-form-urlencoded", Body: strings.NewReader(values.Encode())}
}

// Create makes a job of a definition as an anonymous caller and returns its URL.
func (n *Node) Create(definition string, pairs ...string) string {
	n.t.Helper()
	a := n.Post("/rest/"+definition, pairs...)
	if a.Status != http.StatusSeeOther {
		n.t.Fatalf("create %s: %d %s", definition, a.Status, a.Text())
	}
	return a.Header.Get("Location")
}
