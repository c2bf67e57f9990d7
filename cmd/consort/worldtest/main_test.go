package worldtest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"consort/coordinator/coordtest"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, append(coordtest.Leaks(), goleak.Cleanup(func(code int) {
		_ = os.RemoveAll(built.dir)
		os.Exit(code)
	}))...)
}

// built are the real programs, made once for a run of the tests, with failpoints.
var built struct {
	once sync.Once
	dir  string
	err  error
}

// programs returns the paths of consort and consort-agent.
func programs(t testing.TB) (consort, agent string) {
	t.Helper()
	built.once.Do(func() { built.dir, built.err = build() })
	if built.err != nil {
		t.Fatal(built.err)
	}
	return filepath.Join(built.dir, "consort"), filepath.Join(built.dir, "consort-agent")
}

func build() (dir string, err error) {
	if dir, err = os.MkdirTemp("", "consort-worldtest-"); err != nil {
		return "", err
	}
	args, cgo := []string{"build", "-tags", "failpoint", "-o", dir + "/"}, "0"
	if race {
		args, cgo = append(args, "-race"), "1"
	}
	cmd := exec.Command("go", append(args, "consort/cmd/consort", "consort/cmd/consort-agent")...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED="+cgo)
	if out, err := cmd.CombinedOutput(); err != nil {
		return dir, fmt.Errorf("build the programs: %w\n%s", err, out)
	}
	return dir, nil
}
