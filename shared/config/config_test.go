package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

type sample struct {
	Name string `toml:"name"`
	HTTP struct {
		Listen  string   `toml:"listen"`
		Timeout Duration `toml:"timeout"`
		Body    Size     `toml:"body"`
	} `toml:"http"`
	Sites []struct {
		Name  string            `toml:"name"`
		Slots int               `toml:"slots"`
		Tags  map[string]string `toml:"tags"`
		Hosts []string          `toml:"hosts"`
		Share *float64          `toml:"share"`
	} `toml:"site"`
	Any  any `toml:"any"`
	Skip int `toml:"-"`
}

func TestDecodeFillsAndKeepsDefaults(t *testing.T) {
	s := sample{Name: "kept"}
	s.HTTP.Listen = "127.0.0.1:8080"
	err := Decode("a.toml", []byte(`
any = { whatever = [1, "x"] }
[http]
timeout = "90s"
body = "1 MiB"
[[site]]
name = "a"
[site.tags]
x = "1"
[[site]]
name = "b"
share = 1
hosts = ["h", # comment
 "i"]
`), &s)
	if err != nil {
		t.Fatal(err)
	}
	if s.Name != "kept" || s.HTTP.Listen != "127.0.0.1:8080" || s.HTTP.Body != MiB || s.HTTP.Timeout.String() != "1m30s" {
		t.Errorf("got %+v", s)
	}
	if len(s.Sites) != 2 || s.Sites[0].Tags["x"] != "1" || *s.Sites[1].Share != 1 || len(s.Sites[1].Hosts) != 2 {
		t.Errorf("sites: %+v", s.Sites)
	}
}

func TestDecodeErrors(t *testing.T) {
	for _, c := range []struct{ toml, want string }{
		{"[http]\nlistn = 'x'", `c.toml:2: http.listn: unknown key; allowed: listen, timeout, body`},
		{"[htp]\nlisten = 'x'", `c.toml:1: htp: unknown key; allowed: name, http, site, any`},
		{"Name = 'x'", `c.toml:1: Name: unknown key; allowed: name, http, site, any`},
		{"Skip = 1", `c.toml:1: Skip: unknown key; allowed: name, http, site, any`},
		{"name = 5", `c.toml:1: name: must be a string, not an integer`},
		{"name = 2020-01-01", `c.toml:1: name: must be a string, not a date or time`},
		{"name = 'a'\nname = 'b'", `c.toml:2: name: key name is already defined`},
		{"[name]\nx = 1", `c.toml:1: name: must be a string, not a table`},
		{"[[site]]\nslots = 1.5\n[[site]]\nslots = 'x'\nunit = 1", "c.toml:2: site[0].slots: must be an integer, not a number with a fraction\n" +
			"c.toml:4: site[1].slots: must be an integer, not a string\nc.toml:5: site[1].unit: unknown key; allowed: name, slots, tags, hosts, share"},
		{"[[site]]\nhosts = ['a',\n 5]", `c.toml:3: site[0].hosts[1]: must be a string, not an integer`},
		{"[[site]]\ntags = { a = 1 }", `c.toml:2: site[0].tags.a: must be a string, not an integer`},
		{"[[site]]\nshare = 'x'", `c.toml:2: site[0].share: must be a number, not a string`},
		{"site = 5", `c.toml:1: site: must be an array, not an integer`},
		{"[site]\nname = 'x'", `c.toml:1: site: must be an array, not a table`},
		{"http.timeout = 5", `c.toml:1: http.timeout: "5" is not a duration; write whole numbers with d, h, m, s or ms, as in "90s", "10m", "2h30m", "30d"`},
		{"http.body = '5 XB'", `c.toml:1: http.body: "5 XB" is not a size; write a number with B, kB, MB, GB, TB, KiB, MiB, GiB or TiB, as in "2 GiB"`},
		{"http = { body = [] }", `c.toml:1: http.body: must be a string`},
		{"\nname = ", `c.toml:2: expected value, not end of input`},
		{"name = 'x", `c.toml:1: unterminated literal string`},
		{"\n\nname = '\xff'", `c.toml:3: not UTF-8 text`},
		{"any = " + strings.Repeat("[", 40) + strings.Repeat("]", 40), `c.toml:1: nested deeper than 32 levels`},
		{strings.Repeat("a.", 40) + "b = 1", `c.toml:1: nested deeper than 32 levels`},
		{"any = " + strings.Repeat("[", 1<<19), `c.toml:1: nested deeper than 32 levels`},
		{strings.Repeat("#", MaxFile+1), `c.toml: the file is larger than 1 MiB`},
	} {
		err := Decode("c.toml", []byte(c.toml), new(sample))
		if err == nil {
			t.Errorf("%.60q: no error, want %s", c.toml, c.want)
			continue
		}
		if diff := cmp.Diff(c.want, err.Error()); diff != "" {
			t.Errorf("%.60q (-want +got):\n%s", c.toml, diff)
		}
		var one *Error
		if !errors.As(err, &one) || len(List(err)) == 0 {
			t.Errorf("%.60q: %T is no Error", c.toml, err)
		}
	}
}

func TestBracketsInTextAreNoNesting(t *testing.T) {
	text := "# " + strings.Repeat("[", 100) + "\nname = '" + strings.Repeat("[", 100) + "'\n" +
		`any = ["\"[", """` + strings.Repeat("[", 100) + "\n\"\" [[\"\"\"]\n"
	if err := Decode("c.toml", []byte(text), new(sample)); err != nil {
		t.Error(err)
	}
}

func TestManyErrorsAreBounded(t *testing.T) {
	err := Decode("c.toml", []byte("[[x]]\n"+manyKeys(5000)), new(sample))
	if n := len(List(err)); n != 1 {
		t.Errorf("%d errors below an unknown table, want 1", n)
	}
	if n := len(List(Decode("c.toml", []byte(manyKeys(5000)), new(sample)))); n != maxErrors {
		t.Errorf("%d errors, want %d", n, maxErrors)
	}
}

func manyKeys(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString("k" + strings.Trim(index(i), "[]") + " = 1\n")
	}
	return b.String()
}

func TestLoad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "c.toml")
	if err := Load(path, new(sample)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
	if err := os.WriteFile(path, []byte("name = 'x'\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var s sample
	if err := Load(path, &s); err != nil || s.Name != "x" {
		t.Errorf("got %+v, %v", s, err)
	}
}

func TestPositions(t *testing.T) {
	p, err := Locate([]byte("a = 1\n[b]\nc = { d = 2 }\n[[e]]\nf = [1,\n 2]\n[e.g]\n[[e]]\n"))
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]int{"a": 1, "b": 2, "b.c": 3, "b.c.d": 3, "b.c.missing": 3, "e[0]": 4, "e[0].f[1]": 6, "e[0].g": 7, "e[1]": 8, "e[1].x.y": 8, "zz": 0, "": 0} {
		if line, _ := p.Find(path); line != want {
			t.Errorf("%s: line %d, want %d", path, line, want)
		}
	}
	if !p.Has("b.c.d") || p.Has("b.x") {
		t.Error("Has is wrong")
	}
}

func TestDuration(t *testing.T) {
	for in, want := range map[string]string{"90s": "1m30s", "10m": "10m", "2h": "2h", "30d": "30d", "0": "0s", "250ms": "250ms", "24h": "1d", "1h1h": "2h"} {
		d, err := ParseDuration(in)
		if err != nil || d.String() != want {
			t.Errorf("%s: %s, %v; want %s", in, d, err, want)
		}
	}
	for _, in := range []string{"", "5", "-5s", "1.5h", "5 m", "5M", "106752d", "9999999999999999999d", "106751d106751d", "5m\n"} {
		if d, err := ParseDuration(in); err == nil {
			t.Errorf("%q: got %s, want an error", in, d)
		}
	}
}

func TestSize(t *testing.T) {
	for in, want := range map[string]string{"2 GiB": "2 GiB", "500 MB": "500 MB", "1.5 GiB": "1536 MiB", "1024B": "1 KiB", "0": "0 B", "10 gb": "10 GB", "1000 KB": "1 MB"} {
		s, err := ParseSize(in)
		if err != nil || s.String() != want {
			t.Errorf("%s: %s, %v; want %s", in, s, err, want)
		}
	}
	for _, in := range []string{"", "5", "-5 B", "5  B", "GiB", "1e3 B", "9223372036854775808 B", "9999999999 TiB", "1 PB"} {
		if s, err := ParseSize(in); err == nil {
			t.Errorf("%q: got %s, want an error", in, s)
		}
	}
}

func TestUnitsRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.Int64Min(0).Draw(t, "n")
		if d, err := ParseDuration(Duration(n).String()); err != nil || d != Duration(n) {
			t.Fatalf("duration %d: %v, %v", n, d, err)
		}
		if s, err := ParseSize(Size(n).String()); err != nil || s != Size(n) {
			t.Fatalf("size %d: %v, %v", n, s, err)
		}
	})
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte("name = 'x'\n[http]\ntimeout = '5s'\n[[site]]\nhosts = ['a']\n"))
	f.Add([]byte("[[site]]\n[site.tags]\na.b = 1\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := Decode("f.toml", data, new(sample)); err != nil && len(List(err)) == 0 {
			t.Fatalf("%T: %v", err, err)
		}
	})
}

func FuzzUnits(f *testing.F) {
	f.Add("2h30m")
	f.Add("1.5 GiB")
	f.Fuzz(func(t *testing.T, s string) {
		if d, err := ParseDuration(s); err == nil {
			if again, err := ParseDuration(d.String()); err != nil || again != d {
				t.Fatalf("%q: %v, then %v, %v", s, d, again, err)
			}
		}
		if z, err := ParseSize(s); err == nil {
			if again, err := ParseSize(z.String()); err != nil || again != z {
				t.Fatalf("%q: %v, then %v, %v", s, z, again, err)
			}
		}
	})
}
