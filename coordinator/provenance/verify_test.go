package provenance_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"consort/coordinator/coordtest"
	"consort/coordinator/provenance"
	"consort/shared/siteapi"
)

// failing lists the checks that failed.
func failing(r *provenance.Report) []string {
	var bad []string
	for _, c := range r.Checks {
		if !c.OK {
			bad = append(bad, c.What)
		}
	}
	return bad
}

func TestVerify(t *testing.T) {
	w := newWorld(t)
	members := []coordtest.Output{{Output: "files", Path: "out/one", Data: []byte("one")}, {Output: "files", Path: "out/two", Data: []byte("two")}}
	first := w.run(coordtest.Alice, "first", nil)
	job := w.run(coordtest.Alice, "a", members, "data", "file:raw")
	last := w.run(coordtest.Alice, "last", nil, "data", "consort:"+job+"/files/out/one")
	verify := func(id string) *provenance.Report {
		t.Helper()
		r, err := w.Verify(t.Context(), alice, id)
		if err != nil {
			t.Fatal(err)
		}
		if r.OK != (len(failing(r)) == 0) {
			t.Error("the report contradicts itself")
		}
		return r
	}
	for _, id := range []string{first, job, last} {
		if r := verify(id); !r.OK || len(r.Checks) < 8 {
			t.Errorf("%s: %+v", id, r.Checks)
		}
	}
	_, err := w.Verify(t.Context(), bob, job)
	notFound(t, "bob verifies", err)

	flip := func(sha string) func() {
		t.Helper()
		path := filepath.Join(w.dir, "content", "sha256", sha[:2], sha)
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		changed := slices.Clone(data)
		changed[0] ^= 1
		if err := errors.Join(os.Chmod(path, 0o644), os.WriteFile(path, changed, 0o644)); err != nil {
			t.Fatal(err)
		}
		return func() { _ = os.WriteFile(path, data, 0o644) }
	}
	for sha, want := range map[string]string{
		coordtest.MainOutput("a").SHA256():                  "result answer: content",
		members[1].SHA256():                                 "result files: content",
		coordtest.Output{Data: []byte("raw")}.SHA256():      "input data: content",
		coordtest.Output{Data: []byte("log of a")}.SHA256(): "attempt 1: stdout: content",
	} {
		mend := flip(sha)
		if bad := failing(verify(job)); !slices.Equal(bad, []string{want}) {
			t.Errorf("a flipped byte: %q, want %q", bad, want)
		}
		mend()
	}
	if r := verify(job); !r.OK {
		t.Errorf("after it was mended: %q", failing(r))
	}

	if _, err := w.Retract(t.Context(), alice, answerOf(job), "bad flat field", false); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Retract(t.Context(), alice, "ent:"+job+".r.files_x2F_out_x2F_one", "noise", false); err != nil {
		t.Fatal(err)
	}
	for id, want := range map[string][]string{job: {"result answer", "result files/out/one"}, last: {"input data"}, first: nil} {
		r := verify(id)
		var remarks []string
		for _, c := range r.Checks {
			if c.Remark && c.OK && strings.Contains(c.Detail, " by alice: ") {
				remarks = append(remarks, c.What)
			}
		}
		if !r.OK || !slices.Equal(remarks, want) {
			t.Errorf("remarks of %s: %q, want %q", id, remarks, want)
		}
	}

	// A site that lies about its outputs, and one whose facts were changed under way.
	forged := w.create(coordtest.Alice)
	a := w.site.Take()
	a.Report("running")
	request := a.Stage(coordtest.MainOutput("forged"))
	code := 1
	request.Fragment = a.Sign("committed", strings.Repeat("0", 64), siteapi.Facts{ExitCode: &code})
	if status, e := w.site.Call(a.Path()+"/commit", request, nil); e != nil {
		t.Fatalf("%d %s", status, e.Message)
	}
	if bad := failing(verify(forged)); !slices.Equal(bad, []string{"attempt 1: manifest", "attempt 1: exit code"}) {
		t.Errorf("forged: %q", bad)
	}
	failed := w.create(coordtest.Alice)
	w.site.Take().Fail("user", "bad input", siteapi.Facts{})
	if r := verify(failed); !r.OK || len(r.Checks) == 0 {
		t.Errorf("failed: %+v", r)
	}

	// What was signed stays true when the site gets another key, when it is revoked, and when a job before is deleted.
	detail := func(id, what string) string {
		t.Helper()
		r := verify(id)
		for _, c := range r.Checks {
			if c.What == what && r.OK {
				return c.Detail
			}
		}
		t.Errorf("%+v", r)
		return ""
	}
	w.AddSite("paris")
	if d := detail(job, "attempt 1: signature"); !strings.Contains(d, "before") {
		t.Errorf("with a key that was replaced: %s", d)
	}
	if a := w.Do(coordtest.Request{Method: "DELETE", Path: "/api/v1/sites/paris", Token: coordtest.Operator}); a.Status >= 300 {
		t.Errorf("revoke: %d %s", a.Status, a.Text())
	}
	if d := detail(last, "attempt 1: signature"); d == "" {
		t.Error("a revoked site's signature is not found")
	}
	w.Do(coordtest.Request{Method: "DELETE", Path: "/rest/trial/" + first, Token: coordtest.Alice})
	coordtest.Eventually(t, "the job is erased", func() bool {
		r, err := w.Verify(t.Context(), alice, job)
		return err == nil && r.OK && strings.Contains(fmt.Sprint(r.Checks), "erased with its job")
	})
}
