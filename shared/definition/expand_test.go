package definition

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

const expandTables = `
[[parameter]]
name = "d"
type = "double"
required = false
[[parameter]]
name = "s"
required = false
[[parameter]]
name = "o"
default = "it's"
options = [{ value = "it's" }, { value = "b" }]
[[parameter]]
name = "b"
type = "boolean"
default = true
[[parameter]]
name = "m"
type = "int"
multiplicity = "*"
[[parameter]]
name = "c"
type = "double"
arraysize = "2"
default = [1, 2.5]
[[parameter]]
name = "pat"
pattern = "(?s).*"
default = "x"
[[parameter]]
name = "ms"
multiplicity = "*"
options = [{ value = "a" }, { value = "b" }]
[[input]]
name = "image"
file = "image.fits"
[[input]]
name = "darks"
multiplicity = "*"
file = "darks/"
`

const expandRun = `
[run]
command = ["prog", "-i", "{input.image}", ["-d", "{param.d}"], "{param.s}", "--s={param.s}", ["-m", "{param.m}"], ["--darks", "{input.darks}"],
 "{resource.cores}x{resource.memory}", "{{lit}", "{", "a{1}", "", "{param.b}"]
environment = { OMP_NUM_THREADS = "{resource.cores}", IMAGE = "{input.image}", A = "{{b}" }
stdin = "{input.image}"
`

func expandDefinition(t testing.TB) *Definition {
	t.Helper()
	return mustParse(t, "files = ['t.in']\nconfig = [{ file = 't', template = 't.in' }]\nresources = { cores = 3, memory = '2 GiB' }\n"+
		minimal+expandRun+minimalOutput+expandTables)
}

func context(t testing.TB, d *Definition, given map[string][]string, inputs map[string][]string) ArgvContext {
	t.Helper()
	values, problems := d.Check(given, false)
	if len(problems) > 0 {
		t.Fatalf("check: %v", problems)
	}
	resources, problems := d.Resources(nil)
	if len(problems) > 0 {
		t.Fatalf("resources: %v", problems)
	}
	return ArgvContext{Values: values, Inputs: inputs, Resources: resources, Script: "/s/run.sh"}
}

func TestArgv(t *testing.T) {
	d := expandDefinition(t)
	tail := []string{"3x2048", "{lit}", "{", "a{1}", "", "true"}
	for _, c := range []struct {
		given, inputs map[string][]string
		want          []string
	}{
		{nil, nil, []string{"prog", "-i"}},
		{map[string][]string{"d": {"-1.5"}, "m": {"1", "2"}}, map[string][]string{"image": {"image.fits"}, "darks": {"darks/a", "darks/b"}},
			[]string{"prog", "-i", "image.fits", "-d", "-1.5", "-m", "1", "2", "--darks", "darks/a", "darks/b"}},
		{map[string][]string{"s": {"$(rm -rf /); \"x\" `y` {param.o}"}}, nil,
			[]string{"prog", "-i", "$(rm -rf /); \"x\" `y` {param.o}", "--s=$(rm -rf /); \"x\" `y` {param.o}"}},
	} {
		got, err := d.Argv(context(t, d, c.given, c.inputs))
		if err != nil {
			t.Errorf("%v: %v", c.given, err)
		}
		if diff := cmp.Diff(append(c.want, tail...), got); diff != "" {
			t.Errorf("%v (-want +got):\n%s", c.given, diff)
		}
	}
}

func TestArgvRefuses(t *testing.T) {
	d := expandDefinition(t)
	for _, v := range []Value{
		{Name: "s", Values: []string{"-rf"}},
		{Name: "s", Values: []string{"a\x00b"}},
		{Name: "s", Values: []string{strings.Repeat("x", MaxArgument+1)}},
	} {
		ctx := ArgvContext{Values: Values{[]Value{v}}}
		if argv, err := d.Argv(ctx); !errors.Is(err, ErrArgument) {
			t.Errorf("%.20q: %v", argv, err)
		}
	}
	ctx := ArgvContext{Inputs: map[string][]string{"image": {"-x"}}}
	if _, err := d.Argv(ctx); !errors.Is(err, ErrArgument) {
		t.Errorf("input: %v", err)
	}
	var many []string
	for i := range 40 {
		many = append(many, strings.Repeat(fmt.Sprint(i), MaxArgument/2))
	}
	ctx = ArgvContext{Inputs: map[string][]string{"darks": many}}
	if _, err := d.Argv(ctx); !errors.Is(err, ErrArgument) {
		t.Errorf("all together: %v", err)
	}
	if _, problems := d.Check(map[string][]string{"s": {"-rf"}}, false); len(problems) != 1 || !strings.Contains(problems[0].Why, `must not begin with "-"`) {
		t.Errorf("not refused at submission: %v", problems)
	}
}

func TestScriptRunsByItsInterpreter(t *testing.T) {
	d := mustParse(t, "files = ['run.sh']\n"+minimal+"[run]\nscript = 'run.sh'\n"+minimalOutput)
	d.Run.Interpreter = []string{"/usr/bin/env", "python3"}
	got, err := d.Argv(ArgvContext{Script: "/w/run.sh"})
	if diff := cmp.Diff([]string{"/usr/bin/env", "python3", "/w/run.sh"}, got); diff != "" || err != nil {
		t.Errorf("%v %s", err, diff)
	}
}

func TestEnvironmentAndStdin(t *testing.T) {
	d := expandDefinition(t)
	env, err := d.Environment(context(t, d, nil, nil))
	if diff := cmp.Diff([]string{"A={b}", "OMP_NUM_THREADS=3"}, env); diff != "" || err != nil {
		t.Errorf("%v %s", err, diff)
	}
	ctx := context(t, d, nil, map[string][]string{"image": {"image.fits"}})
	if env, err = d.Environment(ctx); len(env) != 3 || err != nil {
		t.Errorf("%v %v", env, err)
	}
	if got := d.Stdin(ctx); got != "image.fits" {
		t.Errorf("stdin %q", got)
	}
	if got := d.Stdin(ArgvContext{}); got != "" {
		t.Errorf("stdin %q without the input", got)
	}
}

func TestRenderConfig(t *testing.T) {
	d := expandDefinition(t)
	const template = "{ o={param.o} b={param.b} d={param.d} c={param.c} m={param.m} ms={param.ms} i={input.image} k={input.darks} r={resource.cores} {{x}"
	given := map[string][]string{"m": {"1", "2"}, "ms": {"a", "b"}}
	inputs := map[string][]string{"image": {"image.fits"}}
	for style, want := range map[Style]string{
		Plain:    "{ o=it's b=true d= c=1 2.5 m=1 2 ms=a b i=image.fits k= r=3 {x}",
		INI:      "{ o=it's b=true d= c=1, 2.5 m=1, 2 ms=a, b i=image.fits k= r=3 {x}",
		Namelist: "{ o='it''s' b=.true. d= c=1, 2.5 m=1, 2 ms='a', 'b' i='image.fits' k= r=3 {x}",
		JSON:     `{ o="it's" b=true d=null c=[1, 2.5] m=[1, 2] ms=["a", "b"] i="image.fits" k=null r=3 {x}`,
		YAML:     `{ o="it's" b=true d=null c=[1, 2.5] m=[1, 2] ms=["a", "b"] i="image.fits" k=null r=3 {x}`,
	} {
		got, err := d.RenderConfig(ConfigFile{File: "t", Template: "t.in", Style: style}, []byte(template), context(t, d, given, inputs))
		if err != nil {
			t.Errorf("%s: %v", style, err)
		}
		if diff := cmp.Diff(want, string(got)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", style, diff)
		}
	}
}

func TestRenderRefusesLineBreaks(t *testing.T) {
	d := expandDefinition(t)
	ctx := context(t, d, map[string][]string{"pat": {"a\nhook = evil"}}, nil)
	for _, style := range Styles {
		got, err := d.RenderConfig(ConfigFile{Style: style}, []byte("x = {param.pat}\n"), ctx)
		switch {
		case style == JSON || style == YAML:
			if string(got) != "x = \"a\\nhook = evil\"\n" || err != nil {
				t.Errorf("%s: %q, %v", style, got, err)
			}
		case !errors.Is(err, ErrNotRenderable):
			t.Errorf("%s: %q, %v", style, got, err)
		}
	}
}

func TestJSONTemplatesStayJSON(t *testing.T) {
	d := expandDefinition(t)
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.String().Draw(t, "text")
		values, problems := d.Check(map[string][]string{"pat": {text}}, false)
		if len(problems) > 0 {
			return
		}
		got, err := d.RenderConfig(ConfigFile{Style: JSON}, []byte(`{"a": {param.pat}, "b": {"c": {param.b}, "d": {param.c}}}`), ArgvContext{Values: values})
		if err != nil {
			t.Fatal(err)
		}
		var back struct{ A string }
		if err := json.Unmarshal(got, &back); err != nil || back.A != text {
			t.Fatalf("%q became %q: %v", text, got, err)
		}
	})
}

func TestPartsRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringOf(rapid.RuneFrom([]rune("{}ab. é"))).Draw(t, "text")
		parts, err := parseParts(strings.ReplaceAll(text, "{", "{{"))
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		for _, p := range parts {
			if p.kind != literal {
				t.Fatalf("%q holds a placeholder", text)
			}
			got += p.text
		}
		if got != text {
			t.Fatalf("got %q, want %q", got, text)
		}
	})
}

func FuzzParts(f *testing.F) {
	f.Add("a{param.x}b{input.y}{resource.cores}{script}{{}")
	f.Fuzz(func(t *testing.T, s string) {
		parts, err := parseParts(s)
		if err != nil {
			return
		}
		for i, p := range parts {
			if p.kind == literal && (p.text == "" || i > 0 && parts[i-1].kind == literal) {
				t.Fatalf("%q: literal text is not whole: %v", s, parts)
			}
		}
	})
}

func FuzzRenderConfig(f *testing.F) {
	f.Add("x = {param.pat} {param.c}", "a'b\"c", uint8(2))
	d := expandDefinition(f)
	f.Fuzz(func(t *testing.T, template, value string, style uint8) {
		values, problems := d.Check(map[string][]string{"pat": {value}}, false)
		if len(problems) > 0 {
			return
		}
		s := Styles[int(style)%len(Styles)]
		got, err := d.RenderConfig(ConfigFile{Style: s}, []byte(template), ArgvContext{Values: values})
		if err == nil && strings.Count(string(got), "\n") > strings.Count(template, "\n") {
			t.Fatalf("%s: a value broke a line: %q", s, got)
		}
	})
}
