package uws_test

import (
	"strings"
	"testing"

	"consort/coordinator/coordtest"
	"consort/shared/userapi"
)

// computed is the job that a creation says was asked for the same.
func computed(a *coordtest.Answer) string {
	for _, link := range a.Header.Values("Link") {
		if target, rest, _ := strings.Cut(link, ">"); strings.Contains(rest, userapi.RelComputed) {
			return strings.TrimPrefix(target, "<")
		}
	}
	return ""
}

// TestReuse: what was computed already is offered, and taken over only when that is asked for.
func TestReuse(t *testing.T) {
	w := newWorld(t)
	w.status(400, w.Post("/rest/probe", "text", "same", "REUSE", "true")) // a draft cannot have results
	if first := w.status(303, w.Post("/rest/probe", "text", "same")); computed(first) != "" {
		t.Errorf("%s", first.Header)
	}
	done := w.complete("text", "same")
	again := w.status(303, w.Post("/rest/probe", "text", "same"))
	if computed(again) != done {
		t.Errorf("offered %q, want %s", computed(again), done)
	}
	if other := w.status(303, w.Post("/rest/probe", "text", "other")); computed(other) != "" {
		t.Errorf("%s", other.Header)
	}
	reused := w.status(303, w.Post("/rest/probe", "text", "same", "reuse", "1", "PHASE", "RUN")).Header.Get("Location")
	w.phase(reused, "COMPLETED")
	if got := w.Get(reused + "/results/answer").Text(); got != "done\n0123456789" {
		t.Errorf("%q", got)
	}
	if view := w.View(reused); view.ReusedFrom != coordtest.Job(done) {
		t.Errorf("reused from %q", view.ReusedFrom)
	}
	for _, value := range []string{"maybe", "2"} {
		w.status(400, w.Post("/rest/probe", "REUSE", value))
	}
	w.status(400, w.Post("/rest/probe", "REUSE", "true", "reuse", "true"))
}
