package metrics

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestServe(t *testing.T) {
	var leader error
	h := Handler(NewRegistry(), Probes{Ready: []Check{
		{"state", func(context.Context) error { return nil }},
		{"leader", func(context.Context) error { return leader }},
	}})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- Serve(ctx, l, h, slog.New(slog.DiscardHandler)) }()
	get := func(path string, status int) string {
		t.Helper()
		r, err := http.Get("http://" + l.Addr().String() + path)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		body, err := io.ReadAll(r.Body)
		if err != nil || r.StatusCode != status {
			t.Errorf("%s: status %d, %v, want %d", path, r.StatusCode, err, status)
		}
		return string(body)
	}
	if body := get("/metrics", 200); !strings.Contains(body, "consort_build_info{") || !strings.Contains(body, "go_goroutines") {
		t.Errorf("metrics: %s", body)
	}
	get("/healthz", 200)
	get("/readyz", 200)
	get("/other", 404)
	leader = errors.New("no leader can be reached")
	var a answer
	if err := json.Unmarshal([]byte(get("/readyz", 503)), &a); err != nil || a.OK || a.Checks["leader"] != leader.Error() || a.Checks["state"] != "ok" {
		t.Errorf("readyz: %+v, %v", a, err)
	}
	http.DefaultClient.CloseIdleConnections()
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Serve() = %v", err)
	}
	if err := Serve(t.Context(), l, h, slog.New(slog.DiscardHandler)); err == nil {
		t.Error("a closed listener was served")
	}
}
