package definition

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"consort/shared/config"
)

func bundleFS() fstest.MapFS {
	return fstest.MapFS{
		"d/definition.toml": {Data: []byte("files = ['run.sh', 'conf/t.in']\nconfig = [{ file = 't', template = 'conf/t.in' }]\n" + minimal +
			"[run]\nscript = 'run.sh'\n" + minimalOutput + "[[parameter]]\nname='free'\n[[parameter]]\nname='s'\nsecret=true\n[[parameter]]\nname='n'\ntype='int'\n")},
		"d/run.sh":    {Data: []byte("#!/bin/sh -eu\necho\n")},
		"d/conf/t.in": {Data: []byte("n = {param.n}\n")},
		"d/other":     {Data: []byte("not named")},
	}
}

func TestLoad(t *testing.T) {
	b, err := Load(bundleFS(), "d")
	if err != nil {
		t.Fatal(err)
	}
	var paths []string
	contents := map[string][]byte{}
	for _, f := range b.Files {
		paths = append(paths, f.Path)
		contents[f.Path] = f.Data
	}
	if diff := cmp.Diff([]string{"conf/t.in", "definition.toml", "run.sh"}, paths); diff != "" {
		t.Errorf("files: %s", diff)
	}
	if diff := cmp.Diff([]string{"/bin/sh", "-eu"}, b.Definition.Run.Interpreter); diff != "" {
		t.Errorf("interpreter: %s", diff)
	}
	again, err := FromFiles(contents)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(b, again); diff != "" {
		t.Errorf("from memory: %s", diff)
	}
	if b.File("run.sh") == nil || b.File("other") != nil {
		t.Error("File is wrong")
	}
}

// The digest was made with: printf a > a; printf bb > b; sha256sum a b | LC_ALL=C sort | sha256sum
func TestDigestIsThatOfSha256sum(t *testing.T) {
	files := []File{
		{Path: "a", SHA256: "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"},
		{Path: "b", SHA256: "3b64db95cb55c763391c707108489ae18b4112d783300de38e033b4c98c3deaf"},
	}
	const want = "a053f9cbb35971b66a6b744ee19f91b93bd61fdd6387416ae6573c544dab0045"
	if got := Digest(files); got != want {
		t.Errorf("got %s", got)
	}
	slices.Reverse(files)
	if got := Digest(files); got != want {
		t.Errorf("depends on the order: %s", got)
	}
}

func TestLoadErrors(t *testing.T) {
	change := func(name, text string) fstest.MapFS {
		fsys := bundleFS()
		fsys["d/"+name] = &fstest.MapFile{Data: []byte(text)}
		return fsys
	}
	missing := bundleFS()
	delete(missing, "d/run.sh")
	for _, c := range []struct {
		fsys fstest.MapFS
		want string
	}{
		{missing, "d/definition.toml:1: files[0]: \"run.sh\" does not exist beside the definition"},
		{change("run.sh", "echo\n"), `d/definition.toml:8: run.script: run.sh must begin with "#!" and an absolute path, such as "#!/bin/sh"`},
		{change("run.sh", "#!sh\n"), `run.script: run.sh must begin with "#!"`},
		{change("conf/t.in", "{param.x}"), `d/definition.toml:2: config[0].template: conf/t.in: {param.x}: there is no such parameter; there are: free, s, n`},
		{change("conf/t.in", "{param.s}"), `conf/t.in: {param.s} is secret: it is only in the file of secrets`},
		{change("conf/t.in", "a {param.free} b {param.free}"), `conf/t.in: {param.free} is free text; a configuration file takes only text with options or a pattern`},
		{change("conf/t.in", "{oops}"), `conf/t.in: "{oops}" is no placeholder`},
		{change("definition.toml", "x"), `d/definition.toml:1: `},
		{change("definition.toml", strings.Repeat("#", config.MaxFile+1)), `definition.toml is larger than 1 MiB`},
		{fstest.MapFS{}, "read definition: "},
	} {
		b, err := Load(c.fsys, "d")
		if err == nil || b != nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v, want %s", err, c.want)
		}
	}
}

func TestLoadFollowsNoLinks(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("secret/passwd", "x")
	write("d/definition.toml", "files = ['link', 'dir/passwd']\n"+with(""))
	for link, target := range map[string]string{"d/link": "../secret/passwd", "d/dir": "../secret"} {
		if err := os.Symlink(target, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	_, err := Load(os.DirFS(dir), "d")
	for _, want := range []string{"files[0]: link is no regular file", "files[1]: dir/passwd is no regular file"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestFromFilesErrors(t *testing.T) {
	for want, contents := range map[string]map[string][]byte{
		"definition.toml: is missing":            nil,
		`files[0]: "a" is missing`:               {MainFile: []byte("files=['a']\n" + with(""))},
		`files: does not name "b", which came`:   {MainFile: []byte(with("")), "b": nil},
		`definition.toml:1: format: must be an `: {MainFile: []byte("format = 'x'")},
	} {
		if _, err := FromFiles(contents); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

const outputTables = `
[[output]]
name = "images"
file = "*/*.fits"
multiplicity = "*"
[[output]]
name = "notes"
file = "*.txt"
multiplicity = "*"
[[output]]
name = "named"
name_from = "target"
multiplicity = "0..1"
[[output]]
name = "two"
file = "two-*"
multiplicity = "0..2"
[[parameter]]
name = "target"
pattern = "[a-z./]+"
required = false
[[input]]
name = "raw"
file = "raw.txt"
[[input]]
name = "darks"
multiplicity = "*"
`

func TestMatchOutputs(t *testing.T) {
	d := mustParse(t, "files = ['given.txt']\n"+with(outputTables))
	fsys := fstest.MapFS{
		"out.txt": {Data: []byte("12")}, "a.txt": {}, "given.txt": {}, "raw.txt": {}, "b/2.fits": {}, "b/1.fits": {Data: []byte("1")},
		"b/c/3.fits": {}, "darks/4.fits": {}, "img.dat": {Data: []byte("123")}, "dir.txt/x": {}, ".consort/5.fits": {},
	}
	values, problems := d.Check(map[string][]string{"target": {"img.dat"}}, false)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	got, err := d.MatchOutputs(fsys, values)
	if err != nil {
		t.Fatal(err)
	}
	want := []Match{
		{"out", []MatchedFile{{"out.txt", 2}}}, {"images", []MatchedFile{{"b/1.fits", 1}, {"b/2.fits", 0}}},
		{"notes", []MatchedFile{{"a.txt", 0}}}, {"named", []MatchedFile{{"img.dat", 3}}}, {"two", nil},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if _, problems := d.Check(map[string][]string{"target": {"../x"}}, false); len(problems) != 1 {
		t.Errorf("a name outside of the directory passes: %v", problems)
	}
}

func TestMatchOutputsErrors(t *testing.T) {
	d := mustParse(t, with(outputTables))
	got, err := d.MatchOutputs(fstest.MapFS{"a.txt": {}, "two-1": {}, "two-2": {}, "two-3": {}}, Values{})
	if !errors.Is(err, ErrMissingOutput) || !strings.Contains(err.Error(), `output out: nothing matches "out.txt"`) {
		t.Errorf("missing: %v", err)
	}
	if !errors.Is(err, ErrTooManyOutputs) || !strings.Contains(err.Error(), `output two: 3 files match "two-*", wanted: 0..2`) {
		t.Errorf("too many: %v", err)
	}
	if len(got[2].Files) != 1 {
		t.Errorf("what was found is lost: %v", got)
	}
}

func TestMatchOutputsFollowsNoLinks(t *testing.T) {
	d := mustParse(t, with(outputTables))
	dir, outside := t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(outside, "x.fits"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for link, target := range map[string]string{"out.txt": "/etc/passwd", "b.txt": "a.txt", "dir": outside} {
		if err := os.Symlink(target, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	got, err := d.MatchOutputs(os.DirFS(dir), Values{})
	if !errors.Is(err, ErrMissingOutput) || !strings.Contains(err.Error(), `"out.txt" is a link or no regular file`) {
		t.Errorf("got %v", err)
	}
	for _, m := range got {
		if len(m.Files) > 0 {
			t.Errorf("%s followed a link: %v", m.Output, m.Files)
		}
	}
}

func TestMatchOutputsIsBounded(t *testing.T) {
	fsys := fstest.MapFS{"out.txt": {}}
	for i := range MaxOutputFiles + 1 {
		fsys[fmt.Sprintf("b/%06d.fits", i)] = &fstest.MapFile{}
	}
	_, err := mustParse(t, with(outputTables)).MatchOutputs(fsys, Values{})
	if !errors.Is(err, ErrTooManyOutputs) {
		t.Errorf("got %v", err)
	}
}
