package prov

import (
	"net/url"
	"strings"
	"testing"
)

func TestPublicURL(t *testing.T) {
	for raw, want := range map[string]string{
		"https://a.example/x.fits":                                                "https://a.example/x.fits",
		"https://a.example/x?b=2&a=1#top":                                         "https://a.example/x?b=2&a=1#top",
		"https://a.example/x?author=me&keyword=k&passband=V&object=M1":            "https://a.example/x?author=me&keyword=k&passband=V&object=M1",
		"https://a.example/%7Eu/x?q=a%20b;c":                                      "https://a.example/%7Eu/x?q=a%20b;c",
		"https://bob:pw@a.example/x":                                              "https://a.example/x",
		"https://a.example/x?id=3&token=abc&z=1":                                  "https://a.example/x?id=3&token=&z=1",
		"https://a.example/x?Access_Token=abc;k=1":                                "https://a.example/x?Access_Token=;k=1",
		"https://a.example/x?%74oken=abc":                                         "https://a.example/x?%74oken=",
		"https://a.example/x?sig=a=b&KEY=c&key":                                   "https://a.example/x?sig=&KEY=&key",
		"https://s3.example/b/k?X-Amz-Signature=s&X-Amz-Credential=c&versionId=1": "https://s3.example/b/k?X-Amz-Signature=&X-Amz-Credential=&versionId=1",
		"https://a.example/x#access_token=abc":                                    "https://a.example/x#access_token=",
		"https://a.example/%zz?token=a":                                           invalidURL,
		"":                                                                        "",
	} {
		if got := PublicURL(raw); got != want {
			t.Errorf("PublicURL(%s) is %s, want %s", raw, got, want)
		}
	}
	if ExternalID("https://a.example/x?token=1", "ab") != ExternalID("https://u:p@a.example/x?token=2", "ab") {
		t.Error("a newly signed URL makes a new entity")
	}
	// Ids are permanent: this one is in records.
	if got := ExternalID("https://a.example/x?b=2", "").Local; got != "ext.7c3de85c6150a03be137922b8f77b49a" {
		t.Errorf("the entity of a URL is %s", got)
	}
}

func FuzzPublicURL(f *testing.F) {
	for _, s := range []string{"https://u:p@a.example/x?token=SECRET&b=1", "http://[::1]:80/?a;key=SECRET#password=SECRET", "%", "a?b?token=SECRET"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		public := PublicURL(raw)
		if again := PublicURL(public); again != public {
			t.Errorf("%q becomes %q, and that %q", raw, public, again)
		}
		u, err := url.Parse(public)
		if err != nil || u.User != nil {
			t.Errorf("%q becomes %q: %v", raw, public, err)
		}
		for _, pair := range strings.FieldsFunc(u.RawQuery, func(r rune) bool { return r == '&' || r == ';' }) {
			if name, value, _ := strings.Cut(pair, "="); value != "" && secretName(name) {
				t.Errorf("%q keeps the value of %q", public, name)
			}
		}
	})
}
