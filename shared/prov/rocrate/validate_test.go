package rocrate

import (
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"consort/shared/testenv"
)

// judged unpacks crates and gives what the third-party validators say of them; all is well if that is nothing.
func judged(t *testing.T, dirs ...string) string {
	t.Helper()
	node := testenv.Need(t, "node", "/usr/bin/python3")[0]
	tools, err := filepath.Abs("../../../scripts/validate")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(tools, "node_modules")); err != nil {
		testenv.Skip(t, "needs the validators: run npm ci in scripts/validate")
	}
	if out, err := exec.Command("/usr/bin/python3", "-c", "import rdflib").CombinedOutput(); err != nil {
		testenv.Skip(t, "needs python3-rdflib: "+string(out))
	}
	out, err := exec.Command(node, append([]string{filepath.Join(tools, "crate.mjs")}, dirs...)...).CombinedOutput()
	if (err != nil) != (len(out) > 0) {
		t.Fatalf("the validators end with %v and say %q", err, out)
	}
	return string(out)
}

// unpacked writes the entries of a zip to a directory.
func unpacked(t *testing.T, entries map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range entries {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if strings.HasSuffix(name, "/") {
			path = filepath.Join(path, ".")
			if err := os.MkdirAll(path, 0o755); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestValidators lets the package ro-crate and the shapes of CRS4 judge the crates of jobs of every fate. Only a job
// that goes on may lack what is recommended: the time of its end.
func TestValidators(t *testing.T) {
	var dirs []string
	for name, crate := range crates {
		if name != "in progress" {
			dirs = append(dirs, unpacked(t, unzipped(t, written(t, crate()))))
		}
	}
	if out := judged(t, dirs...); out != "" {
		t.Error(out)
	}
	out := judged(t, unpacked(t, unzipped(t, written(t, crates["in progress"]()))))
	if strings.Count(out, "\n") != 1 || !strings.Contains(out, "endTime") {
		t.Errorf("of a job in progress: %s", out)
	}
}

// TestValidatorsJudge breaks a good crate in many ways, each of which must be noticed.
func TestValidatorsJudge(t *testing.T) {
	const action, tool = authority + "/id/job/j01a", authority + "/id/jdl/stars.v1.2"
	var dirs []string
	wanted, names := map[string]string{}, map[string]string{}
	for name, c := range map[string]struct {
		harm func(byID map[string]map[string]any)
		want string
	}{
		"no licence":            {func(e map[string]map[string]any) { delete(e["./"], "license") }, "MUST have a `license`"},
		"bad date":              {func(e map[string]map[string]any) { e["./"]["datePublished"] = "yesterday" }, "datePublished"},
		"no profile":            {func(e map[string]map[string]any) { delete(e["./"], "conformsTo") }, "Root Data Entity MUST reference a CreativeWork"},
		"another version":       {func(e map[string]map[string]any) { delete(e["ro-crate-metadata.json"], "conformsTo") }, "`conformsTo` property with the RO-Crate specification"},
		"no descriptor":         {func(e map[string]map[string]any) { delete(e["ro-crate-metadata.json"], "about") }, "an entity with @id `ro-crate-metadata.json`"},
		"no instrument":         {func(e map[string]map[string]any) { delete(e[action], "instrument") }, "MUST have an instrument"},
		"unlinked file":         {func(e map[string]map[string]any) { delete(e["./"], "hasPart") }, "shacl"},
		"not mentioned":         {func(e map[string]map[string]any) { delete(e["./"], "mentions") }, "referenced from the Root Data Entity via mentions"},
		"no tool name":          {func(e map[string]map[string]any) { delete(e[tool], "name") }, "Application SHOULD have a name"},
		"error without failure": {func(e map[string]map[string]any) { e[action]["error"] = "x" }, "error SHOULD NOT be specified"},
		"unknown status":        {func(e map[string]map[string]any) { e[action]["actionStatus"] = "done" }, "actionStatus"},
		"no such file":          {func(e map[string]map[string]any) { e["data/table/stars.vot"]["@id"] = "data/none.vot" }, "does not exist"},
		"registry":              {func(e map[string]map[string]any) { delete(e["#container-image"], "registry") }, "ContainerImage SHOULD have a registry"},
		"no agent":              {func(e map[string]map[string]any) { e[action]["agent"] = "me" }, "SHOULD have an agent"},
	} {
		entries := unzipped(t, written(t, crates["with data"]()))
		byID := entities(t, entries)
		c.harm(byID)
		text, err := json.Marshal(map[string]any{"@context": []string{contextCrate, contextRun}, "@graph": slices.Collect(maps.Values(byID))})
		if err != nil {
			t.Fatal(err)
		}
		entries["ro-crate-metadata.json"] = string(text)
		dir := unpacked(t, entries)
		dirs, wanted[dir], names[dir] = append(dirs, dir), c.want, name
	}
	noJSON := unpacked(t, map[string]string{"ro-crate-metadata.json": "{"})
	dirs, wanted[noJSON], names[noJSON] = append(dirs, noJSON), "not JSON", "no JSON"
	said := map[string]string{}
	for line := range strings.Lines(judged(t, dirs...)) {
		dir, problem, _ := strings.Cut(line, ": ")
		said[dir] += problem
	}
	for dir, want := range wanted {
		if !strings.Contains(said[dir], want) {
			t.Errorf("%s: they say %q, which has nothing of %q", names[dir], said[dir], want)
		}
	}
}
