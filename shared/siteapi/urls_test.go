package siteapi

import (
	"errors"
	"strings"
	"testing"
)

func TestParseURL(t *testing.T) {
	for text, want := range map[string]string{
		"https://archive.example.org":                      "https://archive.example.org/",
		"HTTPS://Archive.Example.ORG.:443/a%20b?q=1&q=2#x": "https://archive.example.org/a%20b?q=1&q=2",
		"http://127.0.0.1:8080/x":                          "http://127.0.0.1:8080/x",
		"http://[::FFFF:127.0.0.1]:80/x":                   "http://127.0.0.1/x",
		"http://[2001:DB8:0::1]/x":                         "http://[2001:db8::1]/x",
		"https://sternwarte-münchen.example/x":             "https://xn--sternwarte-mnchen-e3b.example/x",
		"http://１２７.0.0.1/":                                "http://127.0.0.1/",
		"http://a_b.example:/x...y/...":                    "http://a_b.example/x...y/...",
	} {
		if u, err := ParseURL(text); err != nil || u.String() != want {
			t.Errorf("%s: got %v, %v, want %s", text, u, err, want)
		}
	}
	for text, why := range map[string]string{
		"":                              "must begin with",
		"file.fits":                     "must begin with",
		"ftp://archive.example.org/x":   "must begin with",
		"file:///etc/passwd":            "must begin with",
		"https:archive":                 "no host",
		"https:///x":                    "host",
		"https://me:word@archive.org/x": "user name",
		"https://me@archive.org/x":      "user name",
		"https://*/x":                   "host",
		"https://a,b/x":                 "host",
		"http://2130706433/":            "host",
		"http://0x7f.1/":                "host",
		"http://127.1/":                 "host",
		"http://0x7f000001/":            "host",
		"http://[fe80::1%25eth0]/":      "host",
		"https://a.org/data/../x":       "path",
		"https://a.org/data/%2e%2E/x":   "path",
		"https://a.org/data/..;a=b/x":   "path",
		"https://a.org/data%2F..%2Fx":   "path",
		`https://a.org/data\..\x`:       "path",
		"https://a.org/\x00":            "malformed",
		"https://a.org:port/":           "malformed",
		"https://a.org/" + strings.Repeat("ü", MaxURL/2-10): "bytes",
		"https://a.org/" + strings.Repeat("x", MaxURL):      "bytes",
	} {
		if u, err := ParseURL(text); !errors.Is(err, ErrURL) || !strings.Contains(err.Error(), why) {
			t.Errorf("%.60q: got %v, %v", text, u, err)
		}
	}
}

func TestURLAllowed(t *testing.T) {
	for _, c := range []struct {
		pattern string
		yes, no []string
	}{
		{"https://a.org/", []string{"https://a.org", "https://A.org:443/x?y"}, []string{"http://a.org/", "https://a.org:8443/", "https://a.org.evil/", "https://b.org/"}},
		{"https://a.org/data/", []string{"https://a.org/data/", "https://a.org/data/x/y?z", "https://a.org/data//x"}, []string{"https://a.org/data", "https://a.org/database/x", "https://a.org/"}},
		{"https://a.org/get", []string{"https://a.org/get", "https://a.org/get?id=1"}, []string{"https://a.org/get/x", "https://a.org/getx"}},
		{"https://*/", []string{"https://a.org/x", "https://127.0.0.1/", "https://b.org:8443/"}, []string{"http://a.org/x"}},
		{"https://*/pub/", []string{"https://a.org/pub/x"}, []string{"https://a.org/x"}},
		{"http://localhost:99/", []string{"http://localhost:99/x"}, []string{"http://localhost/x", "http://127.0.0.1:99/x"}},
		{"https://a.org", []string{"https://a.org/"}, nil},
	} {
		if err := CheckURLPattern(c.pattern); err != nil {
			t.Errorf("%s: %v", c.pattern, err)
		}
		for want, texts := range map[bool][]string{true: c.yes, false: c.no} {
			for _, text := range texts {
				u, err := ParseURL(text)
				if err != nil {
					t.Fatal(err)
				}
				if got := URLAllowed([]string{"http://other.example/", c.pattern}, u); got != want {
					t.Errorf("%s for %s: %v", c.pattern, text, got)
				}
			}
		}
	}
	for _, bad := range []string{"", "*", "https://", "a.org/", "https://*.org/", "https://*x/", "https://*@a.org/", "https://a.org/?q", "https://a.org/?", "https://a.org/#x", "ftp://a.org/"} {
		if err := CheckURLPattern(bad); !errors.Is(err, ErrURL) {
			t.Errorf("%q: got %v", bad, err)
		}
	}
}

func TestHostNamed(t *testing.T) {
	patterns := []string{"https://*/", "http://[::1]:80/", "http://localhost:8080/x/"}
	for text, want := range map[string]bool{
		"http://[::1]/": true, "http://localhost:8080/x/y": true, "http://localhost:8080/y": false, "https://localhost:8080/x/y": false, "https://a.org/": false,
	} {
		u, err := ParseURL(text)
		if err != nil {
			t.Fatal(err)
		}
		if got := HostNamed(patterns, u); got != want {
			t.Errorf("%s: %v", text, got)
		}
	}
}

func FuzzParseURL(f *testing.F) {
	for _, seed := range []string{"https://a.org/x?y#z", "http://[::1]:80/", "https://*/", "http://１２７.0.0.1/%2e", "https://u:p@h/"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		u, err := ParseURL(text)
		if err != nil {
			return
		}
		again, err := ParseURL(u.String())
		if err != nil || again.String() != u.String() {
			t.Errorf("%q became %q, and that %v %v", text, u, again, err)
		}
		if u.User != nil || u.Fragment != "" || u.Host == "" {
			t.Errorf("%q is read as %q", text, u)
		}
		if !URLAllowed([]string{u.Scheme + "://*/"}, u) {
			t.Errorf("%q is no URL of any host", u)
		}
	})
}
