package worldtest

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"consort/shared/testenv"
	"consort/shared/userapi"
	"consort/shared/uws"
)

// python is Debian's, which has the packages; another one in the PATH may lack them.
const python = "/usr/bin/python3"

func needPython(t *testing.T, modules string) {
	t.Helper()
	testenv.Need(t, python)
	if out, err := exec.Command(python, "-c", "import "+modules).CombinedOutput(); err != nil {
		testenv.Skip(t, fmt.Sprintf("needs the Python modules %s: %s", modules, out))
	}
}

func runPython(t *testing.T, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, python, args...)
	// Nothing of it goes to a proxy; pyvo needs a home to look for its configuration in.
	cmd.Env = append(os.Environ(), "NO_PROXY=*", "no_proxy=*", "HOME="+t.TempDir())
	var problems bytes.Buffer
	cmd.Stderr = &problems
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s%s", err, out, problems.String())
	}
	return string(out)
}

// TestPython lets third parties judge: pyvo drives jobs, and python-prov and the schema of PROV-JSON read
// the provenance of jobs that ended in each of the three ways.
func TestPython(t *testing.T) {
	d := newDev(t, "")
	t.Run("pyvo", func(t *testing.T) {
		needPython(t, "pyvo, requests")
		if out := runPython(t, "testdata/pyvo_job.py", d.url); out != "all is well\n" {
			t.Errorf("got %q", out)
		}
	})
	t.Run("provenance", func(t *testing.T) {
		needPython(t, "prov, jsonschema")
		u := d.in(t)
		completed := submission("probe", "text", "ünï \"code\" <&>", "resource_cores", "2")
		completed.Uploads = []userapi.Upload{upload("input", "ä b.dat", []byte("x"))}
		refs := []userapi.Ref{u.submit(completed), u.run("probe", "fail", "true"), u.growing(), u.run("work", "files", "400")}
		u.wait(refs[0], uws.Completed)
		u.wait(refs[1], uws.Error)
		if err := u.client.Abort(t.Context(), refs[2]); err != nil {
			t.Fatal(err)
		}
		u.ended(refs[2], "cancelled")
		u.wait(refs[3], uws.Completed)
		u.judged(refs)
	})
}

// judged has the provenance of jobs read by python-prov.
func (u *user) judged(refs []userapi.Ref) {
	u.Helper()
	args := []string{"testdata/judge.py", "../../../shared/prov/testdata/prov-json.schema.json"}
	var want strings.Builder
	dir := u.TempDir()
	for _, ref := range refs {
		g := u.provenance(ref)
		n := g.Len()
		for _, b := range g.Bundles() {
			n += b.Len()
		}
		fmt.Fprintln(&want, n)
		path := filepath.Join(dir, ref.ID+".json")
		write(u, path, u.fetch(at(ref, "/provjson")))
		args = append(args, path)
	}
	if got := runPython(u.T, args...); got != want.String() {
		u.Errorf("python-prov found %q records, we did %q", got, want.String())
	}
}
