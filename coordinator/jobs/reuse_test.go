package jobs_test

import (
	"net/http"
	"testing"

	"consort/coordinator/coordtest"
)

// TestReuseRepeated: a create that reuses gives one job for one key, and another key another job; the key is not
// that of a create that does not.
func TestReuseRepeated(t *testing.T) {
	w := newWorld(t)
	first := w.Create("trial", "PHASE", "RUN", "text", "same")
	w.site.Complete(first)
	create := func(key string, pairs ...string) *coordtest.Answer {
		t.Helper()
		r := coordtest.Form("/rest/trial", append(pairs, "PHASE", "RUN", "text", "same")...)
		r.Header = http.Header{"Idempotency-Key": {key}}
		return w.Do(r)
	}
	one, two := create("key", "REUSE", "true"), create("key", "REUSE", "true")
	if one.Status != http.StatusSeeOther || one.Header.Get("Location") != two.Header.Get("Location") {
		t.Errorf("the same key: %d %s, %d %s", one.Status, one.Header.Get("Location"), two.Status, two.Header.Get("Location"))
	}
	other := create("other", "REUSE", "true").Header.Get("Location")
	if other == one.Header.Get("Location") || w.View(other).ReusedFrom != coordtest.Job(first) {
		t.Errorf("another key: %+v", w.View(other))
	}
	if a := create("key"); a.Status != http.StatusConflict {
		t.Errorf("the key of another request: %d %s", a.Status, a.Text())
	}
	w.Do(coordtest.Request{Method: http.MethodDelete, Path: first})
	if made := w.View(create("third", "REUSE", "true").Header.Get("Location")); made.Phase != "QUEUED" {
		t.Errorf("of a job that was deleted: %+v", made)
	}
	if text := w.Get(other + "/results/answer").Text(); text != "done "+coordtest.Job(first) {
		t.Errorf("what was reused went with the job it came from: %q", text)
	}
}
