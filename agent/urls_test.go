package agent

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"consort/agent/agenttest"
	"consort/shared/siteapi"
)

// archive is a server of files outside, and a site that may fetch from a part of it.
func archive(t *testing.T, w *world, policy string, handle http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(handle)
	t.Cleanup(s.Close)
	text := agenttest.AllowCode + strings.ReplaceAll(policy, "URL", s.URL)
	if err := os.WriteFile(w.cfg.Policy, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return s.URL
}

// fetching is a lease of a code that copies its input, which comes from a URL.
func fetching(w *world, url string) siteapi.Lease {
	code := agenttest.Code("cat data.txt >answer.txt")
	code["definition.toml"] = strings.Replace(code["definition.toml"], `from = ["upload"]`, `max_size = "20 B"`+"\n"+`from = ["url"]`, 1)
	lease := w.c.Lease(code)
	lease.Inputs = []siteapi.Input{{Name: "data", FileName: "data", URL: url}}
	return lease
}

// TestInputByURL: the code reads what the URL answers with now, and the facts tell its hash.
func TestInputByURL(t *testing.T) {
	w := newWorld(t)
	var version atomic.Int64
	url := archive(t, w, "[fetch]\nurls = [\"URL/pub/\"]\n", func(rw http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(rw, "version %d", version.Add(1))
	})
	w.start()
	w.waitPoll("the URLs", func(p siteapi.PollRequest) bool { return slices.Equal(p.URLs, []string{url + "/pub/"}) })
	seen := map[string]bool{}
	for _, want := range []string{"version 1", "version 2"} {
		ref := w.c.Queue(fetching(w, url+"/pub/x"))
		j := w.c.WaitPhase(ref, "COMPLETED")
		if got := string(w.c.Output(ref, "answer.txt")); got != want {
			t.Errorf("the code read %q", got)
		}
		in := j.Facts.Transfers[0]
		output := j.Parts[0][0].SHA256 // a copy
		if in.Out || in.Name != "data" || in.SHA256 != output || in.Bytes != int64(len(want)) || in.Protocol != "http" || in.Files != 1 || in.End.Before(in.Start) {
			t.Errorf("the transfer is %+v, the content %s", in, output)
		}
		if p := j.Fragment; len(p.Inputs) != 0 || p.Facts.Transfers[0] != in {
			t.Errorf("signed is %+v", p)
		}
		seen[in.SHA256] = true
		w.c.WaitForgotten(ref)
	}
	if len(seen) != 2 {
		t.Errorf("contents %v", seen)
	}
}

// TestInputByURLFails: an attempt whose input cannot be fetched fails, and the class says whose failure it is.
func TestInputByURLFails(t *testing.T) {
	w := newWorld(t)
	url := archive(t, w, "[fetch]\nurls = [\"URL/pub/\"]\nmax_size = \"10 B\"\n", func(rw http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/pub/site":
			fmt.Fprint(rw, "eleven bytes")
		case "/pub/user":
			fmt.Fprint(rw, strings.Repeat("x", 100))
		case "/pub/none":
			rw.WriteHeader(http.StatusNotFound)
		case "/pub/down":
			rw.WriteHeader(http.StatusServiceUnavailable)
		case "/pub/away":
			http.Redirect(rw, r, "/private/x", http.StatusFound)
		default:
			t.Errorf("asked for %s", r.URL)
		}
	})
	w.start()
	for path, c := range map[string]struct{ class, words string }{
		"/pub/site":  {"site-config", "10 are allowed"},
		"/pub/none":  {"user", "/pub/none?sig=: there is no file to be had: the server answers 404"},
		"/pub/down":  {"transfer", "503"},
		"/pub/away":  {"site-config", "/private/x"},
		"/private/x": {"site-config", "not among what may be fetched"},
	} {
		ref := w.c.Queue(fetching(w, url+path+"?sig=key"))
		j := w.c.WaitPhase(ref, "ERROR")
		if j.Class != c.class || !strings.Contains(j.Message, c.words) || strings.Contains(j.Message, "key") {
			t.Errorf("%s: %s: %s", path, j.Class, j.Message)
		}
		w.c.WaitForgotten(ref)
	}
	text := agenttest.AllowCode + "[fetch]\nurls = [\"" + url + "/pub/\"]\n"
	if err := os.WriteFile(w.cfg.Policy, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	ref := w.c.Queue(fetching(w, url+"/pub/user"))
	if j := w.c.WaitPhase(ref, "ERROR"); j.Class != "user" || !strings.Contains(j.Message, "20 are allowed") {
		t.Errorf("larger than declared: %s: %s", j.Class, j.Message)
	}
	w.c.WaitForgotten(ref)
}
