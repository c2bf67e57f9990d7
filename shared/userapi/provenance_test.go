package userapi

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"consort/shared/ids"
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
		`POST retractions{"entity":"x","reason":"\u003cbad\u003e"}`: func() error { _, err := c.Retract(ctx, Retract{Entity: "x", Reason: "<bad>"}); return err },
	} {
		if err := call(); err != nil || asked != want {
			t.Errorf("asked %s, want %s: %v", asked, want, err)
		}
	}
}

// TestRetract: what was retracted already is told, and a withdrawal is repeated without harm.
func TestRetract(t *testing.T) {
	status, calls := http.StatusOK, 0
	c := serve(t, map[string]http.HandlerFunc{"POST /api/v1/provenance/retractions": func(w http.ResponseWriter, _ *http.Request) {
		if calls++; status == http.StatusServiceUnavailable && calls > 1 {
			status = http.StatusNotFound
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		if status == http.StatusOK {
			fmt.Fprint(w, `{"message":"was retracted by ada"}`)
		}
	}})
	if told, err := c.Retract(t.Context(), Retract{Entity: "x", Reason: "y"}); err != nil || told != "was retracted by ada" {
		t.Errorf("%q %v", told, err)
	}
	status = http.StatusNoContent
	if told, err := c.Retract(t.Context(), Retract{Entity: "x", Reason: "y"}); err != nil || told != "" {
		t.Errorf("%q %v", told, err)
	}
	status = http.StatusNotFound
	if _, err := c.Retract(t.Context(), Retract{Entity: "x", Withdraw: true}); !NotFound(err) {
		t.Errorf("%v", err)
	}
	status, calls = http.StatusServiceUnavailable, 0
	if _, err := c.Retract(t.Context(), Retract{Entity: "x", Withdraw: true}); err != nil || calls != 2 {
		t.Errorf("%v after %d calls", err, calls)
	}
}

// TestSubmissionWarns: the answer to a creation names inputs that were retracted.
func TestSubmissionWarns(t *testing.T) {
	id := ids.NewJob(time.Now())
	c := serve(t, map[string]http.HandlerFunc{"POST /rest/fold": func(w http.ResponseWriter, _ *http.Request) {
		for _, link := range []string{
			`</rest/fold/` + id + `>; rel="` + RelComputed + `"`, `</provsap?ID=ent%3Ax.r.y>; rel="` + RelRetracted + `"`,
			`</provsap?ID=ent%3Az>; rel="` + RelRetracted + `"`, `</provsap>; rel="` + RelRetracted + `"`, `broken; rel="` + RelRetracted + `"`,
		} {
			w.Header().Add("Link", link)
		}
		w.Header().Set("Location", "/rest/fold/"+id)
		w.WriteHeader(http.StatusSeeOther)
	}})
	made, err := c.Submit(t.Context(), Submission{Definition: "fold"})
	if err != nil || made.ID != id || made.Computed != id || !slices.Equal(made.Retracted, []string{"ent:x.r.y", "ent:z"}) {
		t.Errorf("%+v %v", made, err)
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
