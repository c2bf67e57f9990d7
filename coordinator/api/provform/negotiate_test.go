package provform

import (
	"strings"
	"testing"
	"testing/synctest"

	"consort/coordinator/api/fault"
)

func TestNegotiate(t *testing.T) {
	for accept, want := range map[string]string{
		"":                                       "PROV-JSON",
		"*/*":                                    "PROV-JSON",
		"application/json":                       "PROV-JSON",
		"APPLICATION/JSON":                       "PROV-JSON",
		"text/turtle":                            "PROV-TURTLE",
		"text/turtle;q=0.5, application/ld+json": "PROV-JSONLD",
		"text/turtle;q=0.5, application/ld+json;q=0.4": "PROV-TURTLE",
		"text/provenance-notation":                     "PROV-N",
		"application/provenance+xml":                   "PROV-XML",
		"application/x-votable+xml":                    "PROV-VOTABLE",
		"image/svg+xml":                                "PROV-SVG",
		"image/*":                                      "PROV-SVG",
		"image/png, image/*;q=0.1":                     "PROV-PNG",
		"application/zip":                              "RO-CRATE",
		"application/json;q=0, */*;q=0.1":              "PROV-N",
		"image/webp, */*;q=0.1":                        "PROV-JSON",
		"nonsense, text/turtle":                        "PROV-TURTLE",
		"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8": "PROV-SVG",
		"image/webp":         "",
		"*/*;q=0":            "",
		"text/turtle;q=high": "",
		"nonsense":           "",
		strings.Repeat("image/webp,", 1000) + "text/turtle": "",
	} {
		got, err := Negotiate(accept)
		if got.Name != want || (err != nil) != (want == "") {
			t.Errorf("%.80s: %q %v, want %q", accept, got.Name, err, want)
		}
		if err != nil && fault.Of(err).Status != 406 {
			t.Errorf("%.80s: %v", accept, fault.Of(err))
		}
	}
}

func TestByName(t *testing.T) {
	for text, want := range map[string]string{
		"PROV-JSON": "PROV-JSON", "prov-svg": "PROV-SVG", "RO-Crate": "RO-CRATE", "text/turtle": "PROV-TURTLE",
		"application/json": "PROV-JSON", "text/provenance-notation": "PROV-N", "image/png": "PROV-PNG",
		"PROV": "", "": "", "text/plain": "",
	} {
		got, ok := ByName(text)
		if got.Name != want || ok != (want != "") {
			t.Errorf("%s: %q, want %q", text, got.Name, want)
		}
	}
	seen := map[string]bool{}
	for _, f := range All() {
		for _, key := range append([]string{f.Name, f.Result, f.Extension}, f.MediaTypes...) {
			if seen[key] {
				t.Errorf("%q means two things", key)
			}
			seen[key] = true
		}
	}
	if len(All()) != 9 || Default().Name != "PROV-JSON" {
		t.Errorf("%v", Names())
	}
}

func FuzzNegotiate(f *testing.F) {
	f.Add("text/turtle;q=0.5, */*")
	f.Add("a/b;c=\"d\",,;q=NaN")
	f.Fuzz(func(t *testing.T, accept string) {
		if form, err := Negotiate(accept); (err == nil) == (form.Name == "") {
			t.Errorf("%q: %v %v", accept, form, err)
		}
	})
}

// TestTurns: pictures wait for their turn, and not for ever.
func TestTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one := make(turns, 1)
		done, err := one.take(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := one.take(t.Context()); fault.Of(err).Status != 503 {
			t.Errorf("%v", err)
		}
		done()
		if done, err = one.take(t.Context()); err != nil {
			t.Fatal(err)
		}
		done()
	})
}
