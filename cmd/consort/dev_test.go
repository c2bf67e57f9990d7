package main

import (
	"log/slog"
	"strings"
	"testing"

	"consort/coordinator"
)

// TestDevListensForAll: a server without credentials is for this machine alone, and what is printed can be used.
func TestDevListensForAll(t *testing.T) {
	logger := slog.New(slog.DiscardHandler)
	for _, c := range []struct {
		http, token string
		refused     bool
	}{
		{"127.0.0.1:8080", "", false}, {"[::1]:0", "", false}, {"localhost:0", "", false},
		{"0.0.0.0:0", "", true}, {"[::]:0", "", true}, {":8080", "", true}, {"192.0.2.1:80", "", true},
		{"0.0.0.0:0", "secret", false}, {"192.0.2.1:80", "secret", false},
	} {
		_, _, err := devConfig(&serverFlags{data: t.TempDir(), http: c.http, token: c.token}, logger)
		if (err != nil) != c.refused {
			t.Errorf("%s %q: %v", c.http, c.token, err)
		}
		if err != nil && (!strings.Contains(err.Error(), "--token") || strings.Contains(err.Error(), "--token-file")) {
			t.Errorf("%s: %v", c.http, err)
		}
	}
}

func TestReadyLineCanBeUsed(t *testing.T) {
	got := readyLine(coordinator.Addresses{HTTP: "[::]:1", SFTP: "0.0.0.0:2", Peer: "192.0.2.1:3", Metrics: "[::1]:4"})
	if want := "ready http=http://127.0.0.1:1 sftp=127.0.0.1:2 peer=192.0.2.1:3 metrics=[::1]:4"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	open, guarded := welcome("http://127.0.0.1:1", false), welcome("http://127.0.0.1:1", true)
	if strings.Contains(open, "CONSORT_TOKEN") || !strings.Contains(guarded, "export CONSORT_TOKEN=") ||
		!strings.Contains(guarded, `curl -sS -D- -o/dev/null -H "Authorization: Bearer $CONSORT_TOKEN" -F series`) {
		t.Errorf("%s%s", open, guarded)
	}
}
