package definitions_test

import (
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"consort/coordinator"
	"consort/coordinator/coordtest"
	"consort/coordinator/definitions"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, coordtest.Leaks()...) }

// toml is a definition that is right.
func toml(name, version, title string) string {
	return "format = 1\nname = \"" + name + "\"\nversion = \"" + version + "\"\ntitle = \"" + title + "\"\n" +
		"[run]\ncommand = [\"/bin/true\"]\n[[output]]\nname = \"answer\"\nmain = true\nfile = \"a\"\n"
}

func files(pairs ...string) fs.FS {
	m := fstest.MapFS{}
	for i := 0; i < len(pairs); i += 2 {
		m[pairs[i]] = &fstest.MapFile{Data: []byte(pairs[i+1])}
	}
	return m
}

// TestPublishAll: every folder is looked at in both ways, and every problem is one line that begins with the path.
func TestPublishAll(t *testing.T) {
	folders := []definitions.Folder{
		{Name: "/many", FS: files("README", "", "one/definition.toml", toml("one", "1", "One"), "notes/a.txt", "x",
			"two/definition.toml", toml("two", "1", "Two"))},
		{Name: "/single", FS: files("definition.toml", toml("single", "1", "Single"), "sub/definition.toml", toml("sub", "1", "Sub"))},
		{Name: "/empty", FS: files("README", "")},
		{Name: "/wrong", FS: files("bad/definition.toml", "format = 1\nname = \"Bad Name\"\nversion = \"x\"\ntitle = \"\"\n")},
		{Name: "/again", FS: files("one/definition.toml", toml("one", "1", "Other content"))},
		{Name: "/same", FS: files("one/definition.toml", toml("one", "1", "One"))},
	}
	node := coordtest.New(t, func(c *coordinator.Config) { c.Definitions = append(c.Definitions, folders...) })
	answer := node.Get("/api/v1/definitions")
	if answer.Status != 200 {
		t.Fatalf("%d %s", answer.Status, answer.Body)
	}
	body := string(answer.Body)
	for name, published := range map[string]bool{"one": true, "two": true, "single": true, "sub": false, "probe": true} {
		if strings.Contains(body, `"name":"`+name+`"`) != published {
			t.Errorf("%s is published: %t expected, in %s", name, published, body)
		}
	}
	var starts []string
	for _, p := range node.Problems() {
		if strings.Contains(p, "\n") {
			t.Errorf("more than one line: %q", p)
		}
		where, _, _ := strings.Cut(p, ": ")
		starts = append(starts, where)
	}
	want := []string{
		"/empty", "/wrong/bad/definition.toml", "/wrong/bad/definition.toml", "/wrong/bad/definition.toml:2",
		"/wrong/bad/definition.toml:3", "/wrong/bad/definition.toml:4", "/again/one",
	}
	if diff := cmp.Diff(want, starts); diff != "" {
		t.Errorf("(-want +got):\n%s\n%s", diff, strings.Join(node.Problems(), "\n"))
	}
}
