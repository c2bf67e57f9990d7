package provform

import (
	"testing"

	"consort/shared/prov"
)

const base = "https://consort.example"

func TestID(t *testing.T) {
	for text, want := range map[string]string{
		base + "/id/entity/up.x":      "ent:up.x",
		" " + base + "/id/job/j01\n":  "job:j01",
		base + "/id/data/sha256%2Dab": "data:sha256-ab",
		base + "/id/jdl/fold.v1":      "jdl:fold.v1",
		base + "/id/agent/site.paris": "agt:site.paris",
		base + "/id/planet/mars":      "",
		base + "/id/entity/":          "",
		base + "/id/entity/a/b":       "",
		base + "/id/entity/%zz":       "",
		base + "x/id/entity/up.x":     "",
		"ent:up.x":                    "",
		"":                            "",
	} {
		if want == "" {
			want = text
		}
		if got := ID(base, text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func FuzzID(f *testing.F) {
	f.Add(base + "/id/entity/up.x")
	f.Add(base + "/id/job/%00")
	f.Fuzz(func(t *testing.T, text string) {
		got := ID(base, text)
		if got == text {
			return
		}
		if q, err := prov.ParseQName(got); err != nil || !q.Valid() {
			t.Errorf("%q became %q: %v", text, got, err)
		}
	})
}
