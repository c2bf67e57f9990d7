package uws_test

import (
	"net/url"
	"slices"
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
	if draft := w.status(303, w.Post("/rest/probe", "text", "same")); computed(draft) != "" {
		t.Errorf("%s", draft.Header)
	}
	again := w.status(303, w.Post("/rest/probe", "text", "same", "PHASE", "RUN"))
	if computed(again) != done {
		t.Errorf("offered %q, want %s", computed(again), done)
	}
	if other := w.status(303, w.Post("/rest/probe", "text", "other", "PHASE", "RUN")); computed(other) != "" {
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

// TestRetracted: what was retracted is neither offered nor taken over, and who gives it as an input is told.
func TestRetracted(t *testing.T) {
	w := newWorld(t)
	done := w.complete("text", "same")
	entity := "ent:" + coordtest.Job(done) + ".r.answer"
	input := "consort:" + coordtest.Job(done) + "/answer"
	made := w.complete("input", input)
	retract := func(body string) {
		t.Helper()
		w.status(204, w.Do(coordtest.Request{Method: "POST", Path: "/api/v1/provenance/retractions", Token: coordtest.Operator,
			Type: "application/json", Body: strings.NewReader(`{"entity":"` + entity + `",` + body + `}`)}))
	}
	warning := `<` + w.URL + `/provsap?ID=` + url.QueryEscape(entity) + `>; rel="` + userapi.RelRetracted + `"`
	warned := func(a *coordtest.Answer) bool {
		t.Helper()
		return slices.Contains(w.status(303, a).Header.Values("Link"), warning)
	}
	for _, retracted := range []bool{false, true, false} {
		if retracted {
			retract(`"reason":"wrong"`)
		}
		want := map[string]string{"text=same": done, "input=" + input: made}
		for _, given := range []string{"text=same", "input=" + input} {
			name, value, _ := strings.Cut(given, "=")
			a := w.Post("/rest/probe", name, value, "PHASE", "RUN")
			if warned(a) != (retracted && name == "input") {
				t.Errorf("retracted %v, %s: %s", retracted, given, a.Header)
			}
			if offered := computed(a); (offered == want[given]) == retracted {
				t.Errorf("retracted %v, %s: offered %q", retracted, given, offered)
			}
			reused := w.View(w.status(303, w.Post("/rest/probe", name, value, "PHASE", "RUN", "REUSE", "true")).Header.Get("Location"))
			if (reused.ReusedFrom == "") != retracted {
				t.Errorf("retracted %v, %s: %+v", retracted, given, reused)
			}
		}
		if draft := w.Create("probe"); warned(w.Post(draft+"/parameters", "input", input)) != retracted {
			t.Errorf("retracted %v: the change of a draft says otherwise", retracted)
		}
		if retracted {
			retract(`"withdraw":true`)
		}
	}
}
