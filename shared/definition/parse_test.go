package definition

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"consort/shared/config"
)

// minimal is the shortest definition; tests put keys in front of it and tables behind it.
const minimal = `format = 1
name = "x"
version = "1"
title = "X"
`

const minimalRun = `
[run]
command = ["x"]
`

const minimalOutput = `
[[output]]
name = "out"
main = true
file = "out.txt"
`

func mustParse(t testing.TB, text string) *Definition {
	t.Helper()
	d, err := Parse(MainFile, []byte(text))
	if err != nil {
		t.Fatalf("parse:\n%v", err)
	}
	return d
}

// with returns the minimal definition with further tables.
func with(tables string) string { return minimal + minimalRun + minimalOutput + tables }

// TestUnknownTypeSaysNothingElse: what follows from the type not being known is no news.
func TestUnknownTypeSaysNothingElse(t *testing.T) {
	for _, keys := range []string{
		"default = 1\nmin = 0\nmax = 5", "default = 'a'\npattern = 'a+'\nmax_length = 5", "options = [{ value = 1 }, { value = 'b' }]",
		"default = [1, 'a']\narraysize = '2'", "default = ['a', 'b']", "xtype = 'circle'",
	} {
		text := minimal + "[run]\ncommand = ['/bin/true', '{param.p}']\n[[output]]\nname = 'o'\nmain = true\nname_from = 'p'\n" +
			"[[parameter]]\nname = 'p'\ntype = 'dubble'\n" + keys + "\n"
		_, err := Parse("definition.toml", []byte(text))
		if n := len(config.List(err)); n != 1 || !strings.Contains(err.Error(), `parameter[0].type: "dubble" is not known`) {
			t.Errorf("%s: %v", keys, err)
		}
	}
}

func TestParseTheSpecifiedExample(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("testdata", "source-extractor.toml"))
	if err != nil {
		t.Fatal(err)
	}
	d := mustParse(t, string(text))
	if d.Limits.Cores != (Range[int]{1, 1, 16}) || d.Limits.Memory.Max != 2*config.GiB || d.Retention.Default.String() != "30d" {
		t.Errorf("limits %+v", d.Limits)
	}
	p := d.Parameter("THRESHOLD")
	if p == nil || p.Default[0] != "1.5" || p.Min != "0.1" || p.Max != "100" || p.Required || p.Multiplicity != (Multiplicity{1, 1}) {
		t.Errorf("threshold: %+v", p)
	}
	if d.Main().Name != "catalogue" || d.Output("catalogue") == nil || d.Output("x") != nil || !d.Input("image").Required {
		t.Error("outputs or inputs are wrong")
	}
	if diff := cmp.Diff([]Element{{List: []string{"source-extractor"}}, {List: []string{"{input.image}"}}, {List: []string{"-c"}}, {List: []string{"se.conf"}},
		{List: []string{"-DETECT_THRESH", "{param.threshold}"}, Sub: true}}, d.Run.Command); diff != "" {
		t.Errorf("command (-want +got):\n%s", diff)
	}
}

func TestDefinitionSurvivesJSON(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("testdata", "source-extractor.toml"))
	if err != nil {
		t.Fatal(err)
	}
	d := mustParse(t, string(text)+"\n[[output]]\nname = 'log'\nfile = '*.log'\nmultiplicity = '*'\nderived_from = []\n")
	data, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	var again Definition
	if err := json.Unmarshal(data, &again); err != nil {
		t.Fatal(err)
	}
	again.Inputs[0].MaxSize = d.Inputs[0].MaxSize
	if diff := cmp.Diff(*d, again); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestDefaults(t *testing.T) {
	d := mustParse(t, with(`
[[parameter]]
name = "p"
[[parameter]]
name = "q"
type = "double"
arraysize = "2"
default = [1, 2.5]
[[parameter]]
name = "r"
type = "int"
multiplicity = "*"
default = [3, 4]
[[parameter]]
name = "s"
required = false
[[input]]
name = "calib"
usage = "Calibration"
multiplicity = "0..5"
[[input]]
name = "raw"
`))
	if d.Duration.Default.String() != "1h" || d.Duration.Max.String() != "1d" || d.Retention.Max.String() != "365d" {
		t.Errorf("durations %+v %+v", d.Duration, d.Retention)
	}
	if d.Retry.Max != 2 || d.Retry.Lost != "hold" || len(d.Retry.On) != 3 || d.Run.Exit.OK[0] != 0 {
		t.Errorf("retry %+v, exit %+v", d.Retry, d.Run.Exit)
	}
	if d.Limits.Cores != (Range[int]{1, 1, 1}) || d.Limits.GPUs.Max != 0 || d.Limits.Memory.Default != config.GiB {
		t.Errorf("limits %+v", d.Limits)
	}
	for name, want := range map[string][]string{"p": nil, "q": {"1 2.5"}, "r": {"3", "4"}, "s": nil} {
		if diff := cmp.Diff(want, d.Parameter(name).Default); diff != "" {
			t.Errorf("default of %s: %s", name, diff)
		}
	}
	if !d.Parameter("p").Required || d.Parameter("r").Required || d.Parameter("s").Required {
		t.Error("required is wrong")
	}
	if d.Input("calib").File != "calib/" || d.Input("calib").Required || d.Input("raw").File != "raw" {
		t.Errorf("inputs %+v", d.Inputs)
	}
	if diff := cmp.Diff([]string{"raw"}, d.DerivedFrom(d.Main())); diff != "" {
		t.Errorf("derived from: %s", diff)
	}
	if mustParse(t, "duration = { default = '5m' }\nretention = { max = '2d' }\n"+with("")).Retention.Default.String() != "2d" {
		t.Error("a lone max below the default does not lower it")
	}
}

func TestAllErrorsTogether(t *testing.T) {
	_, err := Parse("se/definition.toml", []byte(`format = 2
name = "Bad Name"
version = "v1"
titel = "x"
type = "Observing"
files = ["../x", "run.sh", "run.sh"]
[[parameter]]
name = "phase"
type = "dubble"
[[parameter]]
name = "n"
type = "int"
default = 1.5
[[input]]
name = "N"
from = ["ftp"]
[run]
script = "go.sh"
[[output]]
name = "provx"
file = "a.txt"
`))
	want := `se/definition.toml:1: format: format 2 is not known; allowed: 1
se/definition.toml:2: name: must be lower-case words joined by hyphens, such as "source-extractor", at most 48 characters
se/definition.toml:3: version: must be one to three numbers joined by dots, such as "1.2.0"
se/definition.toml:4: titel: unknown key; allowed: format, name, version, aliases, title, description, type, subtype, doc, cite, licence, people, files, config, software, duration, retention, retry, output, resources, parameter, input, run
se/definition.toml:5: type: "Observing" is not known; allowed: Observation, Simulation, Reduction, Calibration, Reconstruction, Selection, Analysis
se/definition.toml:6: files[0]: must be a relative path without "..", such as "data/list.txt"
se/definition.toml:6: files[2]: "run.sh" is there twice; definition.toml is always part of a definition
se/definition.toml:8: parameter[0].name: "phase" is reserved; not allowed in any case: PHASE, ACTION, RUNID, EXECUTIONDURATION, DESTRUCTION, QUOTE, WAIT, AFTER, LAST, UPLOAD, RESPONSEFORMAT, REQUEST, REUSE, resource_*
se/definition.toml:9: parameter[0].type: "dubble" is not known; allowed: boolean, int, long, float, double, string, uri
se/definition.toml:13: parameter[1].default: must be a value of type int
se/definition.toml:15: input[0].name: "N" is there twice among parameters and inputs, ignoring case
se/definition.toml:16: input[0].from[0]: "ftp" is not known; allowed: upload, url, job, id
se/definition.toml:18: run.script: "go.sh" is not one of files
se/definition.toml:19: output: exactly one output must have main = true, not 0
se/definition.toml:20: output[0].name: "provx" is reserved; not allowed: result, stdout, stderr, rocrate, prov*
`
	if err == nil {
		t.Fatal("no error")
	}
	var got []string
	for _, e := range config.List(err) {
		if e.Key != "title" { // missing altogether, so it has no line
			got = append(got, e.Error())
		}
	}
	if diff := cmp.Diff(want, strings.Join(got, "\n")+"\n"); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestErrors(t *testing.T) {
	param := func(keys string) string { return with("[[parameter]]\nname = \"p\"\n" + keys) }
	input := func(keys string) string { return with("[[input]]\nname = \"i\"\n" + keys) }
	output := func(keys string) string { return with("[[output]]\nname = \"o\"\n" + keys) }
	run := func(keys string) string {
		return minimal + "files = ['run.sh']\n[run]\n" + keys + minimalOutput + "[[parameter]]\nname='p'\n[[parameter]]\nname='m'\nmultiplicity='*'\n" +
			"[[parameter]]\nname='s'\nsecret=true\n[[input]]\nname='i'\n"
	}
	for _, c := range []struct{ text, want string }{
		{"", "definition.toml: format: must be set: format = 1"},
		{"aliases = ['X']\n" + with(""), `aliases[0]: "X" is there twice, ignoring case`},
		{"cite = ['foo']\n" + with(""), `cite[0]: must begin with bibcode:, doi: or ascl:`},
		{"doc = 'javascript:x'\n" + with(""), `doc: must be an http or https address`},
		{"licence = { code = '<b>' }\n" + with(""), `licence.code: must be an SPDX expression, such as "CC-BY-4.0"`},
		{"people = [{ name = 'A', role = 'Boss' }]\n" + with(""), `people[0].role: "Boss" is not known; allowed: Author, Contributor,`},
		{"people = [{ name = '', email = 'x' }]\n" + with(""), `people[0].name: must be set`},
		{"config = [{ file = 'a', template = 'b', style = 'xml' }]\n" + with(""), `config[0].template: "b" is not one of files`},
		{"config = [{ file = 'a', template = 'b', style = 'xml' }]\n" + with(""), `config[0].style: "xml" is not known; allowed: plain, ini, namelist, json, yaml`},
		{"software = [{ name = 'x y' }]\n" + with(""), `software[0].name: must be letters, digits, . _ + or -`},
		{"resources = { cores = { min = 1 } }\n" + with(""), `resources.cores: needs a default`},
		{"resources = { cores = { default = 1, maximum = 1 } }\n" + with(""), `resources.cores.maximum: unknown key; allowed: default, min, max`},
		{"resources = { cores = { default = 5, max = 4 } }\n" + with(""), `resources.cores: must have min ≤ default ≤ max`},
		{"resources = { cores = 0 }\n" + with(""), `resources.cores: must be from 1 to 4096`},
		{"resources = { memory = 5 }\n" + with(""), `resources.memory: must be a size such as "2 GiB", or a table of default, min and max`},
		{"resources = { memory = '1 kB' }\n" + with(""), `resources.memory: must be from 1 MiB to 1024 TiB`},
		{"resources = { cpus = 5 }\n" + with(""), `resources.cpus: unknown key; allowed: nodes, tasks, cores, gpus, memory, scratch, network`},
		{"duration = { default = '3h', max = '2h' }\n" + with(""), `duration: default 3h is above max 2h`},
		{"duration = { default = '5ms' }\n" + with(""), `duration.default: must be whole seconds, from 1s to 366d`},
		{"retry = { on = ['user'] }\n" + with(""), `retry.on[0]: "user" is not known; allowed: site-transient, site-config, transfer, preempted, lost, quota`},
		{"retry = { lost = 'ignore' }\n" + with(""), `retry.lost: "ignore" is not known; allowed: hold, requeue, stop`},
		{"files = ['out.txt']\n" + with(""), `output[0].file: "out.txt" is already the path of the file out.txt`},
		{"files = ['a', 'a/b']\n" + with(""), `files[1]: "a/b" would be inside of the file a`},
		{"files = ['.consort/x', '-x', 'a\\b', '/etc/passwd', 'a//b']\n" + with(""), `files[0]: .consort is reserved`},
		{param("type='int'\nmin=5\nmax=1"), `parameter[0].min: min 5 is above max 1`},
		{param("min=5"), `parameter[0].min: only numbers have a range; type is string`},
		{param("type='int'\nmin=1.5"), `parameter[0].min: must be a value of type int`},
		{param("type='int'\nmin=1\ndefault=0"), `parameter[0].default: "0" must not be below 1`},
		{param("type='int'\ndefault=3000000000"), `parameter[0].default: "3000000000" must be a whole number of at most 32 bits`},
		{param("type='double'\ndefault=inf"), `parameter[0].default: must be a finite number`},
		{param("default='c'\noptions=[{value='a'},{value='b'}]"), `parameter[0].default: "c" must be one of a, b`},
		{param("options=[{value='a'},{value='a'}]"), `parameter[0].options[1].value: "a" is there twice`},
		{param("options=[{title='a'}]"), `parameter[0].options[0]: needs a value`},
		{param("type='int'\noptions=[{value='a'}]"), `parameter[0].options[0].value: must be a value of type int`},
		{param("pattern='('"), "parameter[0].pattern: is no RE2 expression: error parsing regexp: missing closing ): `(`"},
		{param("pattern='a)(b'"), "parameter[0].pattern: is no RE2 expression: error parsing regexp: unexpected ): `a)(b`"},
		{param("type='int'\npattern='5'"), `parameter[0]: pattern and max_length are for strings and URIs; type is int`},
		{param("pattern='[a-z]+'\ndefault='A'"), `parameter[0].default: "A" must match the pattern [a-z]+`},
		{param("max_length=2\ndefault='abc'"), `parameter[0].default: "abc" must not be longer than 2 characters`},
		{param("secret=true\ndefault='abc'"), `parameter[0].default: a secret has no default, as the definition is public`},
		{param("multiplicity='5..1'"), `parameter[0].multiplicity: "5..1" is not a multiplicity`},
		{param("multiplicity='2..3'\ndefault=['a']"), `parameter[0].default: has 1 values, multiplicity is 2..3`},
		{param("default=['a','b']"), `parameter[0].default: must be one value, as multiplicity is 1`},
		{param("type='double'\narraysize='x'"), `parameter[0].arraysize: must be a VOTable arraysize`},
		{param("type='double'\narraysize='2'\ndefault=[1,2,3]"), `parameter[0].default: "1 2 3" must be values separated by blanks, as many as arraysize "2" says`},
		{param("type='double'\nxtype='circle'\narraysize='2'"), `parameter[0].xtype: circle needs arraysize = "3"`},
		{param("xtype='circle'"), `parameter[0].xtype: circle needs type float or double`},
		{param("ucd='a b'"), `parameter[0].ucd: must be an UCD`},
		{param("group='rare'"), `parameter[0].group: "rare" is not known; allowed: required, common, advanced`},
		{param("[[parameter]]\nname='P'"), `parameter[1].name: "P" is there twice among parameters and inputs, ignoring case`},
		{param("[[parameter]]\nname='resource_cores'"), `parameter[1].name: "resource_cores" is reserved`},
		{param("[[parameter]]\nname='a-b'"), `parameter[1].name: must be a letter followed by letters, digits or _`},
		{input("multiplicity='*'\nfile='x'"), `input[0].file: must be a directory such as "images/", as multiplicity is *`},
		{input("file='x/'"), `input[0].file: must be a file, as multiplicity is 1`},
		{input("file='../x'"), `input[0].file: must be a relative path without "..", such as "data/list.txt"`},
		{input("file='out.txt'"), `output[0].file: "out.txt" is already the path of input i`},
		{input("from=[]"), `input[0].from: must name at least one of upload, url, job, id`},
		{input("from=['id']"), `input[0].url: must be set when from holds id: a template with {ID}`},
		{input("from=['id']\nurl='https://x/'"), `input[0].url: must hold {ID} once`},
		{input("url='https://x/{ID}'"), `input[0].url: is only for inputs whose from holds id`},
		{input("content_type=['fits']"), `input[0].content_type[0]: must be a media type, such as "image/fits"`},
		{input("default='consort:x/y'"), `input[0].default: must be consort:<job>/<result>`},
		{output(""), `output[1]: needs file, a path or pattern in the working directory, or name_from`},
		{output("file='a/**/b'\nmultiplicity='*'"), `output[1].file: "**" is not supported; write one "*" per directory, as in "*/*.fits"`},
		{output("file='[a'"), `output[1].file: is no pattern; allowed: "*", "?" and "[a-z]"`},
		{output("file='a'\nmultiplicity='*'"), `output[1].file: must be a pattern such as "*.fits", as multiplicity is *`},
		{output("file='a'\nmain=true"), `output: exactly one output must have main = true, not 2`},
		{output("name_from='zz'"), `output[1].name_from: "zz" is no parameter; there are: none`},
		{output("name_from='p'\n[[parameter]]\nname='p'"), `output[1].name_from: parameter p must be a single string with a pattern, and no secret`},
		{output("name_from='p'\n[[parameter]]\nname='p'\npattern='a+'\nrequired=false"), `output[1].name_from: parameter p may stay unset, so the output must be optional`},
		{output("file='a'\nderived_from=['zz']"), `output[1].derived_from[0]: "zz" is no input; there are: none`},
		{minimal + minimalRun + "[[output]]\nname='STDOUT'\nmain=true\nfile='x'", `output[0].name: "STDOUT" is reserved; not allowed: result, stdout, stderr, rocrate, prov*`},
		{run(""), `run: needs command or script`},
		{run("command=['{param.p}']"), `run.command[0]: must be the program, written in the definition itself`},
		{run("command=['x', 5]"), `run.command[1]: must be a string or a list of strings`},
		{run("command=['x', ['a', 5]]"), `run.command[1][1]: must be a string`},
		{run("command=['x', []]"), `run.command[1]: must not be an empty list`},
		{run("command=['x', '{param.zz}']"), `run.command[1]: {param.zz}: there is no such parameter; there are: p, m, s`},
		{run("command=['x', '{param.P}']"), `run.command[1]: {param.P}: there is no such parameter; there are: p, m, s`},
		{run("command=['x', '{input.zz}']"), `run.command[1]: {input.zz}: there is no such input; there are: i`},
		{run("command=['x', '{resource.cpus}']"), `run.command[1]: {resource.cpus}: there is no such resource; there are: nodes, tasks, cores, gpus, memory, scratch`},
		{run("command=['x', '{print}']"), `run.command[1]: "{print}" is no placeholder; there are {param.NAME}, {input.NAME}, {resource.KEY} and {script}; write {{ for a brace`},
		{run("command=['x', 'a={param.m}']"), `run.command[1]: {param.m} may have many values, so it must be an argument of its own`},
		{run("command=['x', ['-s', '{param.s}']]"), `run.command[1][1]: {param.s} is secret: it is only in the file of secrets`},
		{run("command=['x', '{script}']"), `run.command[1]: {script}: there is no script`},
		{run("command=['x']\nscript='run.sh'"), `run.command: must hold {script} when there is also a script`},
		{run("command=['x']\nlauncher='slurm'"), `run.launcher: "slurm" is not known; allowed: mpi`},
		{run("command=['x']\nstdin='{param.p}'"), `run.stdin: must be "{input.NAME}" with an input of one file`},
		{run("command=['x']\nenvironment={PATH='x'}"), `run.environment.PATH: is set by the agent; not allowed: PATH, HOME, TMPDIR, LC_ALL, TZ, SOURCE_DATE_EPOCH, CONSORT_*`},
		{run("command=['x']\nenvironment={A='{param.p}'}"), `run.environment.A: {param.p}: values of users never reach the environment; use an argument, a configuration file or $CONSORT_PARAMS`},
		{run("command=['x']\nenvironment={'A B'='x'}"), `run.environment.A B: is no name of an environment variable`},
		{run("command=['x']\nexit={ok=[0,300]}"), `run.exit.ok[1]: must be from 0 to 255`},
		{run("command=['x']\nexit={user=[0]}"), `run.exit.user[0]: exit code 0 is there twice`},
		{run("command=['x']\nexit={ok=[]}"), `run.exit.ok: must hold at least one exit code`},
	} {
		d, err := Parse(MainFile, []byte(c.text))
		if err == nil || d != nil {
			t.Errorf("no error, want %s\n%s", c.want, c.text)
			continue
		}
		if !strings.Contains(err.Error(), c.want) {
			t.Errorf("got\n%v\nwant %s", err, c.want)
		}
		for _, e := range config.List(err) {
			if e.File != MainFile || e.Problem == "" {
				t.Errorf("incomplete error %+v", e)
			}
		}
	}
}

func FuzzParse(f *testing.F) {
	text, err := os.ReadFile(filepath.Join("testdata", "source-extractor.toml"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte(with("[[parameter]]\nname='p'\ntype='double'\narraysize='2'\ndefault=[1,2]\n")))
	f.Fuzz(func(t *testing.T, text []byte) {
		d, err := Parse(MainFile, text)
		if err != nil {
			if len(config.List(err)) == 0 {
				t.Fatalf("%T: %v", err, err)
			}
			return
		}
		values, problems := d.Check(nil, false)
		if len(problems) > 0 {
			t.Fatalf("the definition's own defaults are refused: %v", problems)
		}
		if _, err := d.ParamsJSON(values); err != nil {
			t.Fatal(err)
		}
		if _, err := json.Marshal(d); err != nil {
			t.Fatal(err)
		}
	})
}
