package provenance

import (
	"testing"

	"consort/coordinator/auth"
	"consort/shared/prov"
)

const authority = "https://f.example/consort"

func TestParseID(t *testing.T) {
	const job = "j01ar5nzv0fghjkmnpqrstvwxy0"
	hash := "0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a"
	of := func(k kind, name string) node { return node{k, name} }
	for id, want := range map[string]target{
		job:                                {prov.JobID(job), of(jobNode, job)},
		" job:" + job + "\n":               {prov.JobID(job), of(jobNode, job)},
		"job:" + job + ".a2":               {prov.AttemptID(job, 2), of(jobNode, job)},
		authority + "/id/job/" + job:       {prov.JobID(job), of(jobNode, job)},
		"http://x.example/rest/m/" + job:   {prov.JobID(job), of(jobNode, job)},
		"consort:" + job:                   {prov.JobID(job), of(jobNode, job)},
		"consort:" + job + "/t/a b":        {prov.ResultID(job, "t/a b"), of(fileNode, prov.ResultID(job, "t/a b").Local)},
		job + ".r.t":                       {prov.ResultID(job, "t"), of(fileNode, job+".r.t")},
		"ent:" + job + ".in.data.paris":    {prov.QName{Prefix: "ent", Local: job + ".in.data.paris"}, of(jobNode, job)},
		"up.01ar":                          {prov.UploadID("01ar"), of(fileNode, "up.01ar")},
		authority + "/id/entity/ext.0a.0b": {prov.QName{Prefix: "ent", Local: "ext.0a.0b"}, of(fileNode, "ext.0a.0b")},
		"sha256:" + hash:                   {prov.ContentID(hash), of(contentNode, hash)},
		"data:sha256-" + hash:              {prov.ContentID(hash), of(contentNode, hash)},
		"agt:site.paris":                   {prov.SiteID("paris"), of(agentNode, "site.paris")},
		"jdl:fold.v1.2":                    {prov.DefinitionID("fold", "1.2"), of(definitionNode, "fold.v1.2")},
		"jdl:fold.v1.2.u.data":             {prov.DefinitionPartID("fold", "1.2", prov.PartUsed, "data"), of(definitionNode, "fold.v1.2")},
	} {
		if got, err := parseID(id, authority); err != nil || got != want {
			t.Errorf("%q: %+v, %v; want %+v", id, got, err, want)
		}
	}
	for _, id := range []string{"", ":", "job:", "job:x", "ent:", "ent:up.", "data:sha256-0a", "sha256:zz", "jdl:fold", "jdl:fold.v", "jdl:fold.v1.2.3.4",
		"prov:Person", "https://elsewhere.example/id/job/" + job, authority + "/id/nothing/x", authority + "/id/job/", "http://x/rest/" + job, "\x00", "consort:x/y"} {
		if got, err := parseID(id, authority); err == nil {
			t.Errorf("%q: %+v, want nothing", id, got)
		}
	}
}

func FuzzParseID(f *testing.F) {
	for _, id := range []string{"job:j01ar5nzv0fghjkmnpqrstvwxy0.a1", "ent:up.x", "sha256:00", "jdl:a.v1", authority + "/id/agent/user.x", "https://x/rest/a/b", "consort:a/b"} {
		f.Add(id)
	}
	f.Fuzz(func(t *testing.T, id string) {
		got, err := parseID(id, authority)
		if err != nil {
			return
		}
		if !got.asked.Valid() || !got.qname().Valid() {
			t.Errorf("%q gives the name %s of %s, which no document can hold", id, got.asked, got.qname())
		}
		if again, err := parseID(got.asked.String(), authority); err != nil || again != got {
			t.Errorf("%q: %+v, but its name %s: %+v, %v", id, got, got.asked, again, err)
		}
		discovery(got.node)
		collectionOf(got.name)
	})
}

func FuzzCursor(f *testing.F) {
	f.Add("")
	f.Add(position{skip: 7, asOf: 1 << 50}.cursor("question"))
	f.Add(encodeCursor("question", []byte{}))
	f.Fuzz(func(t *testing.T, cursor string) {
		p, err := walkPosition("question", cursor)
		if err == nil && (p.skip < 0 || p.skip > maxWalk || p.asOf < 0) {
			t.Errorf("%q goes to %+v", cursor, p)
		}
		if _, err := walkPosition("another", cursor); err == nil && cursor != "" {
			t.Errorf("%q is taken for another question's", cursor)
		}
	})
}

// TestOpaque: the ids of redacted nodes tell callers and nodes apart, and nothing else.
func TestOpaque(t *testing.T) {
	s := New(Config{Secret: []byte("one")})
	other := New(Config{Secret: []byte("two")})
	n := node{fileNode, "up.x"}
	bob := s.opaque(auth.Principal{Name: "bob"}, n)
	for what, id := range map[string]prov.QName{
		"another caller": s.opaque(auth.Principal{Name: "alice"}, n), "anonymous": s.opaque(auth.Principal{Anonymous: true}, n),
		"another node": s.opaque(auth.Principal{Name: "bob"}, node{fileNode, "up.y"}), "another cluster": other.opaque(auth.Principal{Name: "bob"}, n),
	} {
		if id == bob || !id.Valid() {
			t.Errorf("%s: %s", what, id)
		}
	}
	if again := s.opaque(auth.Principal{Name: "bob"}, n); again != bob {
		t.Errorf("%s and %s", bob, again)
	}
	if _, err := parseID(bob.String(), authority); err == nil {
		t.Error("a redacted node can be asked for")
	}
}
