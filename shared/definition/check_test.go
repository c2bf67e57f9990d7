package definition

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

const checkTables = `
[[parameter]]
name = "threshold"
type = "double"
default = 1.5
min = 0.1
max = 100
[[parameter]]
name = "count"
type = "int"
[[parameter]]
name = "big"
type = "long"
required = false
max = 9223372036854775807
[[parameter]]
name = "flag"
type = "boolean"
default = false
[[parameter]]
name = "kernel"
default = "std"
options = [{ value = "std" }, { value = "wide" }]
[[parameter]]
name = "code"
pattern = "[A-Z]{2}"
max_length = 2
required = false
[[parameter]]
name = "link"
type = "uri"
required = false
[[parameter]]
name = "text"
required = false
max_length = 5
[[parameter]]
name = "many"
type = "int"
multiplicity = "0..3"
[[parameter]]
name = "circle"
type = "double"
arraysize = "3"
xtype = "circle"
required = false
[[parameter]]
name = "password"
secret = true
required = false
pattern = "[a-z]+"
[[parameter]]
name = "FORMAT"
default = "votable"
[[input]]
name = "image"
max_size = "1 kB"
[[input]]
name = "extra"
multiplicity = "0..2"
from = ["upload", "id"]
url = "https://archive.example/{ID}"
default = "M31"
`

func TestCheckFillsInAndCanonicalises(t *testing.T) {
	d := mustParse(t, with(checkTables))
	values, problems := d.Check(map[string][]string{
		"THRESHOLD": {" 2.50 "}, "Count": {"+007"}, "flag": {"T"}, "kernel": {""}, "many": {"1", "02"}, "circle": {" 10  20.0 1e-1 "},
		"text": {""}, "image": {"x"}, "PHASE": {"RUN"}, "maxrec": {"5"}, "runid": {"a"}, "resource_cores": {"1"}, "format": {"fits"},
	}, true)
	if len(problems) > 0 {
		t.Fatalf("%v", problems)
	}
	want := []Value{
		{Name: "threshold", Values: []string{"2.5"}}, {Name: "count", Values: []string{"7"}}, {Name: "flag", Values: []string{"true"}},
		{Name: "kernel", Values: []string{"std"}, Default: true}, {Name: "text", Values: []string{""}}, {Name: "many", Values: []string{"1", "2"}},
		{Name: "circle", Values: []string{"10 20 0.1"}}, {Name: "FORMAT", Values: []string{"fits"}},
	}
	if diff := cmp.Diff(want, slices.Collect(values.All())); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	got, err := d.ParamsJSON(values)
	if err != nil {
		t.Fatal(err)
	}
	const params = `{
  "threshold": 2.5,
  "count": 7,
  "big": null,
  "flag": true,
  "kernel": "std",
  "code": null,
  "link": null,
  "text": "",
  "many": [1,2],
  "circle": [10,20,0.1],
  "FORMAT": "fits"
}
`
	if diff := cmp.Diff(params, string(got)); diff != "" {
		t.Errorf("params.json (-want +got):\n%s", diff)
	}
}

func TestCheckRefuses(t *testing.T) {
	d := mustParse(t, with(checkTables))
	for _, c := range []struct{ name, value, want string }{
		{"threshold", "0", `threshold: "0": must not be below 0.1`},
		{"threshold", "1e3", `threshold: "1e3": must not be above 100`},
		{"threshold", "1,5", `threshold: "1,5": must be a number, such as 1.5 or 2e-3`},
		{"threshold", "NaN", `threshold: "NaN": must be a number, such as 1.5 or 2e-3`},
		{"threshold", "0x10", `threshold: "0x10": must be a number, such as 1.5 or 2e-3`},
		{"threshold", "1e999", `threshold: "1e999": must be a number, such as 1.5 or 2e-3`},
		{"count", "1.0", `count: "1.0": must be a whole number of at most 32 bits`},
		{"count", "2147483648", `count: "2147483648": must be a whole number of at most 32 bits`},
		{"big", "9223372036854775808", `big: "9223372036854775808": must be a whole number of at most 64 bits`},
		{"flag", "yes", `flag: "yes": must be true or false`},
		{"kernel", "thin", `kernel: "thin": must be one of std, wide`},
		{"code", "ABC", `code: "ABC": must not be longer than 2 characters`},
		{"code", "A\n", `code: "A\n": must match the pattern [A-Z]{2}`},
		{"link", "no scheme", `link: "no scheme": must be a URI with a scheme, such as "https://example.org/x"`},
		{"text", "é12345", `text: "é12345": must not be longer than 5 characters`},
		{"text", "a\x00", `text: "a\x00": must not hold the control character U+0000`},
		{"text", "a\xff", `text: "a\xff": must be UTF-8 text`},
		{"text", strings.Repeat("a", MaxValue+1), `must not be longer than 65536 bytes`},
		{"circle", "1 2", `circle: "1 2": must be values separated by blanks, as many as arraysize "3" says`},
		{"circle", "1 2 x", `circle: "1 2 x": element 3 must be a number, such as 1.5 or 2e-3`},
		{"password", "SECRET", `password: must match the pattern [a-z]+`},
		{"nonsense", "1", `nonsense: unknown parameter; there are: threshold, count,`},
	} {
		_, problems := d.Check(map[string][]string{c.name: {c.value}}, false)
		if len(problems) != 1 || !strings.Contains(problems[0].Error(), c.want) {
			t.Errorf("%s=%.20q: got %v, want %s", c.name, c.value, problems, c.want)
		}
		if strings.Contains(fmt.Sprint(problems), "SECRET") {
			t.Error("a secret is shown")
		}
	}
}

func TestCheckCounts(t *testing.T) {
	d := mustParse(t, with(checkTables))
	_, problems := d.Check(map[string][]string{"count": {"1"}, "COUNT": {"2"}, "many": {"1", "2", "3", "4"}}, false)
	if len(problems) != 2 || problems[0].Why != "is given 2 times, allowed: 1" || problems[1].Why != "is given 4 times, allowed: 0..3" {
		t.Errorf("got %v", problems)
	}
	if _, problems := d.Check(nil, false); len(problems) > 0 {
		t.Errorf("a draft may lack parameters: %v", problems)
	}
	_, problems = d.Check(nil, true)
	if diff := cmp.Diff([]Problem{{Name: "count", Why: "must be given", Missing: true}}, problems); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if _, problems = d.Check(map[string][]string{"count": {"x"}}, true); len(problems) != 1 || problems[0].Missing {
		t.Errorf("a wrong value is also called missing: %v", problems)
	}
}

func TestCheckIsStable(t *testing.T) {
	d := mustParse(t, with(checkTables))
	rapid.Check(t, func(t *rapid.T) {
		given := map[string][]string{"count": {fmt.Sprint(rapid.Int32().Draw(t, "count"))}}
		if f := rapid.Float64().Draw(t, "f"); !math.IsInf(f, 0) && !math.IsNaN(f) {
			given["circle"] = []string{fmt.Sprint(f, rapid.Float32().Filter(func(f float32) bool { return f == f }).Draw(t, "g"), 1)}
		}
		given["text"] = []string{rapid.StringN(0, 5, 20).Draw(t, "text")}
		values, problems := d.Check(given, true)
		if len(problems) > 0 {
			return
		}
		again, problems := d.Check(values.Map(), true)
		if diff := cmp.Diff(values.Map(), again.Map()); len(problems) > 0 || diff != "" {
			t.Fatalf("canonical values are not stable: %v\n%s", problems, diff)
		}
		data, err := d.ParamsJSON(values)
		if err != nil || !json.Valid(data) {
			t.Fatalf("params.json: %v\n%s", err, data)
		}
	})
}

func TestSecretsStayApart(t *testing.T) {
	d := mustParse(t, with(checkTables))
	values, _ := d.Check(map[string][]string{"password": {"hidden"}, "count": {"1"}}, true)
	params, err := d.ParamsJSON(values)
	if err != nil || strings.Contains(string(params), "hidden") || strings.Contains(string(params), "password") {
		t.Errorf("params.json shows the secret: %s %v", params, err)
	}
	secrets, err := d.SecretsJSON(values)
	if err != nil || string(secrets) != "{\n  \"password\": \"hidden\"\n}\n" {
		t.Errorf("secrets: %s %v", secrets, err)
	}
	if secrets, err := mustParse(t, with("")).SecretsJSON(Values{}); secrets != nil || err != nil {
		t.Errorf("secrets of a definition without any: %s %v", secrets, err)
	}
}

func TestCheckInputs(t *testing.T) {
	d := mustParse(t, with(checkTables))
	const job = "consort:j01jd2x7k3q8w9e5r6t7y0zabcd/plot"
	for _, c := range []struct {
		given      map[string][]Reference
		requireAll bool
		want       string // inputs, or problems
	}{
		{nil, false, "extra=[{id M31 0}]*"},
		{nil, true, "image: must be given"},
		{map[string][]Reference{"IMAGE": {{FromUpload, "u1", 1000}}, "Extra": {{FromID, "M33", 0}, {FromUpload, "u2", 9999}}}, true, "image=[{upload u1 1000}] extra=[{id M33 0} {upload u2 9999}]"},
		{map[string][]Reference{"image": {{FromUpload, "u1", 1001}}}, true, `image: "u1": has 1001 bytes, allowed are 1 kB`},
		{map[string][]Reference{"image": {ParseReference(job)}}, true, "image=[{job " + job + " 0}] extra=[{id M31 0}]*"},
		{map[string][]Reference{"image": {ParseReference("consort:j1/x")}}, true, `image: "consort:j1/x": must be consort:<job>/<result>`},
		{map[string][]Reference{"image": {ParseReference("HTTPS://x.example/a b")}}, true, `must be a URI with a scheme`},
		{map[string][]Reference{"image": {ParseReference("M31")}}, true, `image: "M31": is neither a file nor a reference; allowed: upload, url, job; to send a file, write image=@FILE with consort or curl`},
		{map[string][]Reference{"extra": {{Kind: FromID}}}, false, `extra: must be an identifier of at most 4096 bytes`},
		{map[string][]Reference{"extra": make([]Reference, 3)}, false, `extra: is given 3 times, allowed: 0..2`},
		{map[string][]Reference{"zz": nil}, false, `zz: unknown input; there are: image, extra`},
	} {
		inputs, problems := d.CheckInputs(c.given, c.requireAll)
		var got []string
		for _, in := range inputs {
			star := ""
			if in.Default {
				star = "*"
			}
			got = append(got, fmt.Sprintf("%s=%v%s", in.Name, in.References, star))
		}
		if len(problems) > 0 {
			got = []string{problems[0].Error()}
		}
		if text := strings.Join(got, " "); !strings.Contains(text, c.want) {
			t.Errorf("%v: got %s, want %s", c.given, text, c.want)
		}
	}
}

func TestJobResult(t *testing.T) {
	const job = "j01jd2x7k3q8w9e5r6t7y0zabcd"
	for ref, want := range map[string]string{
		"consort:" + job + "/plot":            "plot",
		"consort:" + job + "/files/out/1.dat": "files+out/1.dat",
		"consort:" + job + "/files/../x":      "",
		"consort:" + job:                      "",
		"consort:" + job + "/":                "",
		"consort:x/plot":                      "",
		"https://" + job + "/plot":            "",
	} {
		j, result, member, ok := ParseReference(ref).JobResult()
		got := result
		if member != "" {
			got += "+" + member
		}
		if got != want || ok != (want != "") || ok && j != job {
			t.Errorf("%s: %q %q %q %v", ref, j, result, member, ok)
		}
	}
}

func TestResources(t *testing.T) {
	d := mustParse(t, "resources = { cores = { default = 2, min = 1, max = 4 }, memory = { default = '1 GiB', max = '4 GiB' } }\n"+with(""))
	r, problems := d.Resources(map[string][]string{"RESOURCE_CORES": {"4"}, "resource_memory": {"2 gib"}, "other": {"x"}})
	if len(problems) > 0 || r.Cores != 4 || r.MemoryBytes != 2<<30 || r.Nodes != 1 || r.Tasks != 1 || r.ScratchBytes != 1<<30 {
		t.Errorf("got %+v, %v", r, problems)
	}
	for name, c := range map[string][2]string{
		"resource_cores":  {"5", `resource_cores: "5": must be from 1 to 4`},
		"resource_Nodes":  {"2", `resource_nodes: "2": must be from 1 to 1`},
		"resource_memory": {"5", `resource_memory: "5": must be a size, such as "2 GiB"`},
		"resource_gpus":   {"x", `resource_gpus: "x": must be a whole number`},
		"resource_disk":   {"1", `resource_disk: "1": unknown resource; there are nodes, tasks, cores, gpus, memory, scratch`},
	} {
		if _, problems := d.Resources(map[string][]string{name: {c[0]}}); len(problems) != 1 || problems[0].Error() != c[1] {
			t.Errorf("got %v, want %s", problems, c[1])
		}
	}
	if _, problems := d.Resources(map[string][]string{"resource_cores": {"1", "2"}}); len(problems) != 1 {
		t.Errorf("given twice: %v", problems)
	}
	if _, problems := d.Resources(map[string][]string{"resource_memory": {"512 MiB"}}); len(problems) != 1 {
		t.Errorf("below the default without a min: %v", problems)
	}
}

func TestMultiplicity(t *testing.T) {
	for in, want := range map[string]string{"1": "1", "*": "*", "0..*": "*", "0..1": "0..1", "3": "3", "2..*": "2..*", "1..1": "1"} {
		m, err := ParseMultiplicity(in)
		if err != nil || m.String() != want {
			t.Errorf("%s: %s, %v", in, m, err)
		}
	}
	for _, in := range []string{"", "0", "0..0", "-1", "1..", "..1", "a", "5..2", "9999999", "200000", "1...2", "*..1"} {
		if m, err := ParseMultiplicity(in); err == nil {
			t.Errorf("%q: got %s", in, m)
		}
	}
}

func TestExitClass(t *testing.T) {
	d := mustParse(t, with("")+"\n")
	d.Run.Exit = Exit{OK: []int{0, 3}, User: []int{2}, Transient: []int{75}}
	for code, want := range map[int]Class{0: ClassOK, 3: ClassOK, 2: ClassUser, 75: ClassSiteTransient, 1: ClassDefinition, 137: ClassDefinition, -1: ClassDefinition} {
		if got := d.ExitClass(code); got != want {
			t.Errorf("exit code %d is %s, want %s", code, got, want)
		}
	}
}
