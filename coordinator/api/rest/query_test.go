package rest_test

import (
	"strings"
	"testing"

	"go.uber.org/goleak"

	"consort/coordinator/coordtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, coordtest.Leaks()...) }

// TestQueries: nothing that a client got wrong is guessed at, and every answer says what it was.
func TestQueries(t *testing.T) {
	n := coordtest.New(t)
	url := n.Create("probe")
	id := url[strings.LastIndexByte(url, '/')+1:]
	job := "/api/v1/jobs/" + id
	for _, c := range []struct {
		path   string
		status int
		text   string
	}{
		{"/api/v1/jobs?phase=PENDING&phase=ERROR&limit=1", 200, ""},
		{"/api/v1/jobs?cursor=zzz", 400, "cursor"},
		{"/api/v1/jobs?cursor=", 200, ""},
		{"/api/v1/jobs?limit=1&limit=2", 400, "limit is given more than once"},
		{"/api/v1/jobs?cursor=a&cursor=a", 400, "cursor is given more than once"},
		{"/api/v1/jobs?definition=probe&definition=many", 400, "definition is given more than once"},
		{"/api/v1/jobs?after=2020-01-01T00:00:00Z&after=2021-01-01T00:00:00Z", 400, "after is given more than once"},
		{"/api/v1/jobs?limit=0", 400, "limit"},
		{job + "/logs/stdout", 200, ""},
		{job + "/logs/stdin", 404, "there are stdout and stderr"},
		{job + "/logs/stdout?offset=0&offset=1", 400, "offset is given more than once"},
		{job + "/logs/stdout?offset=-1", 400, "offset"},
		{job + "/logs/stdout?wait=x", 400, "wait"},
		{job + "/provenance?format=n&format=json", 400, "format is given more than once"},
		{job + "/provenance?format=pdf", 400, "jsonld"},
		{"/api/v1/jobs/j" + strings.Repeat("0", 26), 404, "there is no such job"},
		{"/api/v1/jobs/nonsense", 404, "there is no such job"},
	} {
		a := n.Get(c.path)
		if a.Status != c.status || !strings.Contains(a.Text(), c.text) {
			t.Errorf("%s: %d %s, want %d %q", c.path, a.Status, a.Text(), c.status, c.text)
		}
	}
	// Deleted, never made, and no id at all: nobody can tell them apart.
	if a := n.Do(coordtest.Request{Method: "DELETE", Path: url}); a.Status != 303 {
		t.Fatalf("delete: %d %s", a.Status, a.Text())
	}
	for _, surface := range []string{"/rest/probe/", "/api/v1/jobs/"} {
		want := n.Get(surface + "j" + strings.Repeat("0", 26))
		for _, other := range []string{id, "nonsense"} {
			a := n.Get(surface + other)
			if a.Status != 404 || !strings.Contains(a.Text(), "there is no such job") || !strings.Contains(want.Text(), "there is no such job") {
				t.Errorf("%s%s: %d %s, want %s", surface, other, a.Status, a.Text(), want.Text())
			}
		}
	}
}
