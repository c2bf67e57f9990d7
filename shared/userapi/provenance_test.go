package userapi

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// TestProvenanceCalls: each goes where it should, with what was asked.
func TestProvenanceCalls(t *testing.T) {
	var asked string
	c := serve(t, map[string]http.HandlerFunc{"/api/v1/provenance/": func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		asked = r.Method + " " + strings.TrimPrefix(r.URL.RequestURI(), "/api/v1/provenance/") + string(body)
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{}`)
	}})
	ctx := t.Context()
	for want, call := range map[string]func() error{
		"GET lineage?cursor=c&depth=2&direction=forth&id=a%2Fb&limit=3&same=true": func() error {
			_, err := c.Lineage(ctx, LineageQuery{ID: "a/b", Direction: "forth", Depth: 2, Limit: 3, Cursor: "c", Same: true})
			return err
		},
		"GET lineage?id=a":           func() error { _, err := c.Lineage(ctx, LineageQuery{ID: "a", Depth: AllDepth}); return err },
		"GET lineage?depth=0&id=a":   func() error { _, err := c.Lineage(ctx, LineageQuery{ID: "a"}); return err },
		"GET users?id=a&limit=5":     func() error { _, err := c.Users(ctx, "a", "", 5); return err },
		"GET content/ab%2F?cursor=n": func() error { _, err := c.Content(ctx, "ab/", "n", 0); return err },
		"GET jobs?limit=1&site=x":    func() error { _, err := c.FindByProvenance(ctx, map[string]string{"site": "x"}, "", 1); return err },
		"GET computed?job=j":         func() error { _, err := c.Computed(ctx, "j"); return err },
		"GET diff?a=x&b=y":           func() error { _, err := c.Diff(ctx, "x", "y"); return err },
		"GET verify/x":               func() error { _, err := c.Verify(ctx, "x"); return err },
		"GET impact?id=x":            func() error { _, err := c.Impact(ctx, "x", "", 0); return err },
		"GET retractions":            func() error { _, err := c.Retractions(ctx, "", 0); return err },
		`POST retractions{"entity":"x","reason":"\u003cbad\u003e"}`: func() error { return c.Retract(ctx, Retract{Entity: "x", Reason: "<bad>"}) },
	} {
		if err := call(); err != nil || asked != want {
			t.Errorf("asked %s, want %s: %v", asked, want, err)
		}
	}
}

func TestProvSAP(t *testing.T) {
	c := serve(t, map[string]http.HandlerFunc{"GET /provsap": func(w http.ResponseWriter, r *http.Request) {
		switch r.FormValue("ID") {
		case "part":
			w.Header().Set(OverflowHeader, "OVERFLOW")
		case "none":
			http.Error(w, "nothing has this ID", 404)
			return
		}
		fmt.Fprint(w, "document")
	}})
	for id, whole := range map[string]bool{"whole": true, "part": false} {
		var b bytes.Buffer
		if complete, err := c.ProvSAP(t.Context(), url.Values{"ID": {id}}, &b); err != nil || complete != whole || b.String() != "document" {
			t.Errorf("%s: %t %v %q", id, complete, err, b.String())
		}
	}
	if _, err := c.ProvSAP(t.Context(), url.Values{"ID": {"none"}}, io.Discard); !NotFound(err) {
		t.Errorf("%v", err)
	}
}

func TestProvJobIsEmbedded(t *testing.T) {
	var use ProvUse
	if err := json.Unmarshal([]byte(`{"id":"job:x","kind":"job","job":{"id":"x"},"role":"r"}`), &use); err != nil || use.Job.ID != "x" || use.Role != "r" {
		t.Errorf("%v %+v", err, use)
	}
}
