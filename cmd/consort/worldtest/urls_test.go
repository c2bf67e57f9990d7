package worldtest

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"consort/agent/policy"
	"consort/shared/prov"
	"consort/shared/userapi"
	"consort/shared/uws"
)

// archive serves a file that changes, at a URL with a key.
type archive struct {
	url     string
	content atomic.Pointer[string]
}

func newArchive(t *testing.T) *archive {
	t.Helper()
	a := new(archive)
	mux := http.NewServeMux()
	mux.HandleFunc("/pub/image.txt", func(w http.ResponseWriter, r *http.Request) {
		if r.FormValue("token") != "urlkey" {
			http.Error(w, "no key", http.StatusForbidden)
			return
		}
		_, _ = io.WriteString(w, *a.content.Load())
	})
	mux.HandleFunc("/pub/internal", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/internal", http.StatusFound) })
	mux.HandleFunc("/internal", func(http.ResponseWriter, *http.Request) { t.Error("the site asked for what its policy does not name") })
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	a.url = s.URL
	return a
}

func (a *archive) put(content string) (sha string) {
	a.content.Store(&content)
	sum := sha256.Sum256([]byte(content))
	return hex.EncodeToString(sum[:])
}

// TestInputsByURL: a site fetches what its policy names. Two contents of one URL are two entities, each with the jobs
// that used it and what was made of it.
func TestInputsByURL(t *testing.T) {
	s := newStandalone(t, "", "")
	u := s.in(t)
	a := newArchive(t)
	address := a.url + "/pub/image.txt?token=urlkey"
	first := a.put("the first content")

	waiting := u.run("probe", "input", address)
	eventually(u, "the job says which URL no site may fetch", func() error {
		if text := u.fetch(at(waiting, "")); !strings.Contains(text, "no site that accepts probe 1.0.0 may fetch "+a.url+"/pub/image.txt?token=") {
			return errors.New(text)
		}
		return nil
	})
	allowed := allowAll()
	allowed.Fetch.URLs = []string{a.url + "/pub/"}
	if err := policy.Write(filepath.Join(s.agentDir(), "policy.toml"), allowed); err != nil {
		t.Fatal(err)
	}
	u.wait(waiting, uws.Completed)
	second := a.put("the second content")
	later, again := u.run("probe", "input", address), u.run("probe", "input", address)
	u.wait(later, uws.Completed)
	u.wait(again, uws.Completed)

	for _, c := range []struct {
		sha, content string
		users        []userapi.Ref
	}{{first, "the first content", []userapi.Ref{waiting}}, {second, "the second content", []userapi.Ref{later, again}}} {
		entity := prov.ExternalID(address, c.sha)
		u.usedBy(entity.String(), c.users)
		for _, ref := range c.users {
			u.descends(ref, entity, c.sha, c.content)
		}
	}
	if prov.ExternalID(address, first) == prov.ExternalID(address, second) {
		t.Error("two contents are one entity")
	}

	refused := u.run("probe", "input", a.url+"/pub/internal")
	if doc := u.wait(refused, uws.Error); doc.Error == nil || !strings.Contains(doc.Error.Message, "does not let this be fetched: "+a.url+"/internal") {
		t.Errorf("a redirect to what is not allowed: %+v", doc.Error)
	}
	for _, ref := range []userapi.Ref{waiting, later, refused} {
		for _, path := range []string{"", "/parameters", "/provn"} {
			if strings.Contains(u.fetch(at(ref, path)), "urlkey") {
				t.Errorf("the key of the URL is shown at %s", at(ref, path))
			}
		}
	}
	if strings.Contains(s.logs(), "urlkey") {
		t.Error("the key of the URL is in the logs")
	}
	t.Run("formats", func(t *testing.T) {
		needJudges(t)
		j := &judge{user: s.in(t), dir: t.TempDir()}
		for name, ref := range map[string]userapi.Ref{"first": waiting, "later": later, "refused": refused} {
			j.take(name, func(form string) string { return at(ref, "/"+form) })
		}
		j.validate(t)
	})
}

// usedBy checks which jobs used an entity.
func (u *user) usedBy(entity string, want []userapi.Ref) {
	u.Helper()
	page, err := u.client.Users(u.Context(), entity, "", 10)
	if err != nil {
		u.Fatalf("users of %s: %v", entity, err)
	}
	var got, jobs []string
	for _, use := range page.Users {
		got = append(got, use.ID)
	}
	for _, ref := range want {
		jobs = append(jobs, prov.JobID(ref.ID).String())
	}
	slices.Sort(got)
	slices.Sort(jobs)
	if !slices.Equal(got, jobs) {
		u.Errorf("%s was used by %q, want %q", entity, got, jobs)
	}
}

// descends checks that a job read a content, and that its record says so.
func (u *user) descends(ref userapi.Ref, entity prov.QName, sha, content string) {
	u.Helper()
	if answer := u.results(ref)["answer"]; !strings.Contains(answer, content) {
		u.Errorf("job %s answers %q, not with %q", ref.ID, answer, content)
	}
	g := u.provenance(ref)
	record, ok := g.Get(prov.Entity, entity)
	if !ok {
		u.Fatalf("the record of %s does not tell of %s", ref.ID, entity)
	}
	if told, _ := record.Attr(prov.QName{Prefix: "fed", Local: "sha256"}); told.Text() != sha {
		u.Errorf("the record of %s tells of %s with SHA-256 %q", ref.ID, entity, told.Text())
	}
	used, derived := false, false
	for r := range g.Records(prov.Usage) {
		used = used || r.Ref(0) == prov.JobID(ref.ID) && r.Ref(1) == entity
	}
	for r := range g.Records(prov.Derivation) {
		derived = derived || r.Ref(0) == prov.ResultID(ref.ID, "answer") && r.Ref(1) == entity
	}
	if !used || !derived {
		u.Errorf("the record of %s says used: %v, derived: %v", ref.ID, used, derived)
	}
}
