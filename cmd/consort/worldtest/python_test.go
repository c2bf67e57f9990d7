package worldtest

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"testing"

	"consort/shared/testenv"
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

// TestPython has pyvo drive jobs.
func TestPython(t *testing.T) {
	d := newDev(t, "")
	t.Run("pyvo", func(t *testing.T) {
		needPython(t, "pyvo, requests")
		if out := runPython(t, "testdata/pyvo_job.py", d.url); out != "all is well\n" {
			t.Errorf("got %q", out)
		}
	})
}
