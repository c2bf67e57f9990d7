package coordinator_test

import (
	"bytes"
	"context"
	"errors"
	"hash/crc32"
	"log/slog"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"consort/coordinator"
	"consort/coordinator/coordtest"
	"consort/coordinator/replica"
	"consort/coordinator/state"
)

// usedDir makes a data directory with a job in it, and returns the job's path.
func usedDir(t *testing.T) (dir, job string) {
	t.Helper()
	dir = t.TempDir()
	n := coordtest.New(t, inDir(dir))
	location, err := url.Parse(n.Create("probe", "text", "kept"))
	if err != nil {
		t.Fatal(err)
	}
	stopNode(t, n)
	return dir, location.Path
}

func inDir(dir string) func(*coordinator.Config) {
	return func(c *coordinator.Config) { c.Dir = dir }
}

func stopNode(t *testing.T, n *coordtest.Node) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := n.Stop(ctx); err != nil {
		t.Fatal(err)
	}
}

// startRefused starts a coordinator that must refuse, soon, and returns why.
func startRefused(t *testing.T, dir string) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	s, err := coordinator.Start(ctx, coordinator.Config{
		Dir: dir, HTTP: "127.0.0.1:0", SFTP: "127.0.0.1:0", Peer: "127.0.0.1:0", Logger: slog.New(slog.DiscardHandler),
	})
	if err == nil {
		_ = s.Stop(ctx)
		t.Fatal("it starts")
	}
	return err
}

func remove(t *testing.T, dir string, parts ...string) {
	t.Helper()
	for _, p := range parts {
		if err := os.RemoveAll(filepath.Join(dir, p)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestMissingParts(t *testing.T) {
	full, _ := usedDir(t)
	for _, test := range []struct {
		remove []string
		want   error
		text   string
	}{
		{[]string{"FORMAT"}, replica.ErrForeign, "FORMAT"},
		{[]string{"pki"}, coordinator.ErrIncomplete, "pki/ssh_host_ed25519_key is missing"},
		{[]string{"pki/ssh_host_ed25519_key"}, coordinator.ErrIncomplete, "pki/ssh_host_ed25519_key is missing"},
		{[]string{"pki/ca.crt"}, coordinator.ErrIncomplete, "pki/ca.crt is missing"},
		{[]string{"pki/ca.key"}, coordinator.ErrIncomplete, "pki/ca.key is missing"},
		{[]string{"raft", "state", "pki/ca.crt", "pki/ca.key"}, coordinator.ErrIncomplete, "state/CURRENT is missing"},
		{[]string{"content"}, coordinator.ErrIncomplete, "content/sha256 is missing"},
		{[]string{"raft"}, coordinator.ErrIncomplete, "raft/log is missing"},
		{[]string{"raft/log"}, coordinator.ErrIncomplete, "raft/log is missing"},
		{[]string{"raft/FORMAT"}, coordinator.ErrIncomplete, "raft/FORMAT is missing"},
		{[]string{"raft", "state"}, coordinator.ErrIncomplete, "state/CURRENT is missing"},
		{[]string{"raft", "state", "pki"}, coordinator.ErrIncomplete, "pki/ssh_host_ed25519_key is missing"},
		{[]string{"raft", "state", "pki/ca.crt", "pki/ca.key", "pki/node.crt", "pki/node.key"}, coordinator.ErrIncomplete, "state/CURRENT is missing"},
		{[]string{"state"}, coordinator.ErrIncomplete, "state/CURRENT is missing"},
		{[]string{"state/CURRENT"}, coordinator.ErrIncomplete, "state/CURRENT is missing"},
	} {
		t.Run(strings.Join(test.remove, ","), func(t *testing.T) {
			dir := t.TempDir()
			if err := os.CopyFS(dir, os.DirFS(full)); err != nil {
				t.Fatal(err)
			}
			remove(t, dir, test.remove...)
			for range 2 { // a refusal makes nothing that lets the next start pass
				err := startRefused(t, dir)
				if !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.text) || !strings.Contains(err.Error(), dir) {
					t.Fatalf("got %v, want %v, %q and the directory", err, test.want, test.text)
				}
			}
		})
	}
}

// TestMissingStateRefuses removes the state, beside which damage in the log would show: whatever else is there,
// the start refuses and touches nothing.
func TestMissingStateRefuses(t *testing.T) {
	full, _ := usedDir(t)
	for name, change := range map[string]func(dir string){
		"whole log":   func(string) {},
		"damaged log": func(dir string) { damageLog(t, dir) },
		"only log":    func(dir string) { remove(t, dir, "content"); emptyDir(t, dir, "content/sha256") },
		"only segments": func(dir string) {
			remove(t, dir, "raft/FORMAT", "raft/log/wal-meta.db", "pki/ca.crt", "pki/ca.key", "pki/node.crt", "pki/node.key")
		},
		"only content": func(dir string) { remove(t, dir, "raft", "pki/ca.crt", "pki/ca.key", "pki/node.crt", "pki/node.key") },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.CopyFS(dir, os.DirFS(full)); err != nil {
				t.Fatal(err)
			}
			remove(t, dir, "state")
			change(dir)
			before := tree(t, dir)
			err := startRefused(t, dir)
			if !errors.Is(err, coordinator.ErrIncomplete) || !strings.Contains(err.Error(), "state/CURRENT is missing in "+dir) ||
				!strings.Contains(err.Error(), "from one backup") {
				t.Errorf("got %v", err)
			}
			if after := tree(t, dir); !maps.Equal(before, after) {
				t.Errorf("the refusal changed the directory:\n%v\nbefore it was\n%v", after, before)
			}
		})
	}
}

// TestEmptyState puts an empty state in the place of the lost one: it is no beginning.
func TestEmptyState(t *testing.T) {
	for name, lost := range map[string][]string{"log": {"state"}, "no log": {"state", "raft"}} {
		t.Run(name, func(t *testing.T) {
			dir, _ := usedDir(t)
			remove(t, dir, lost...)
			emptyState(t, filepath.Join(dir, "state"))
			for range 2 {
				err := startRefused(t, dir)
				if !errors.Is(err, coordinator.ErrIncomplete) || !strings.Contains(err.Error(), "what should be in state is missing") {
					t.Errorf("got %v", err)
				}
			}
		})
	}
}

// TestDamagedLog damages the middle of the log, which cuts it off: the state shows it.
func TestDamagedLog(t *testing.T) {
	dir, _ := usedDir(t)
	damageLog(t, dir)
	for range 2 {
		if err := startRefused(t, dir); !errors.Is(err, replica.ErrInconsistent) || !strings.Contains(err.Error(), "from one backup") {
			t.Errorf("got %v, want ErrInconsistent", err)
		}
	}
}

// damageLog overwrites bytes in the middle of what the Raft log holds.
func damageLog(t *testing.T, dir string) {
	t.Helper()
	segments, err := filepath.Glob(filepath.Join(dir, "raft/log/*.wal"))
	if err != nil || len(segments) != 1 {
		t.Fatalf("%v, %v", segments, err)
	}
	data, err := os.ReadFile(segments[0])
	if err != nil {
		t.Fatal(err)
	}
	used := len(bytes.TrimRight(data, "\x00"))
	for i := used / 2; i < used*3/4; i++ { // more than one entry: only its head shows damage at the start
		data[i] = 0xff
	}
	if err := os.WriteFile(segments[0], data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// tree is what is in a directory: the checksum of each file, by path.
func tree(t *testing.T, dir string) map[string]uint32 {
	t.Helper()
	files := map[string]uint32{}
	err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			files[path] = 0
			return err
		}
		data, err := os.ReadFile(path)
		files[path] = crc32.ChecksumIEEE(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func emptyDir(t *testing.T, dir, part string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(dir, part), 0o700); err != nil {
		t.Fatal(err)
	}
}

func emptyState(t *testing.T, dir string) {
	t.Helper()
	s, err := state.Open(state.Config{Dir: dir, Logger: slog.New(slog.DiscardHandler)})
	if err != nil || s.Close() != nil {
		t.Fatal(err)
	}
}

// TestForeignParts puts parts of one cluster into the directory of another: it is refused at once.
func TestForeignParts(t *testing.T) {
	one, _ := usedDir(t)
	other, _ := usedDir(t)
	for _, test := range []struct {
		part string
		text string
	}{
		{"state", "is of cluster"},
		{"raft", "belongs to something else"},
		{"pki", "belongs to another cluster"},
	} {
		t.Run(test.part, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.CopyFS(dir, os.DirFS(one)); err != nil {
				t.Fatal(err)
			}
			remove(t, dir, test.part)
			if err := os.CopyFS(filepath.Join(dir, test.part), os.DirFS(filepath.Join(other, test.part))); err != nil {
				t.Fatal(err)
			}
			if err := startRefused(t, dir); !strings.Contains(err.Error(), test.text) {
				t.Errorf("got %v, want %q", err, test.text)
			}
		})
	}
}

// TestForeignLog puts only the log's own files, not raft/FORMAT: no leader would ever come.
func TestForeignLog(t *testing.T) {
	dir, _ := usedDir(t)
	other, _ := usedDir(t)
	remove(t, dir, "state", "content", "raft/log")
	emptyDir(t, dir, "content/sha256")
	emptyState(t, filepath.Join(dir, "state"))
	if err := os.CopyFS(filepath.Join(dir, "raft/log"), os.DirFS(filepath.Join(other, "raft/log"))); err != nil {
		t.Fatal(err)
	}
	if err := startRefused(t, dir); !errors.Is(err, coordinator.ErrForeign) {
		t.Errorf("got %v, want ErrForeign", err)
	}
}

// TestFirstStartGoesOn starts in directories that a first start left when it was cut off.
func TestFirstStartGoesOn(t *testing.T) {
	full, _ := usedDir(t)
	for name, keep := range map[string][]string{
		"claimed":  {"FORMAT"},
		"host key": {"FORMAT", "pki/ssh_host_ed25519_key"},
		"content":  {"FORMAT", "pki/ssh_host_ed25519_key", "content/sha256"},
		"state":    {"FORMAT", "pki/ssh_host_ed25519_key", "content/sha256", "state"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for _, part := range keep {
				from, to := filepath.Join(full, part), filepath.Join(dir, part)
				switch part {
				case "content/sha256":
					emptyDir(t, dir, part)
				case "state":
					emptyState(t, to)
				default:
					data, err := os.ReadFile(from)
					if err != nil || os.MkdirAll(filepath.Dir(to), 0o700) != nil || os.WriteFile(to, data, 0o600) != nil {
						t.Fatal(err)
					}
				}
			}
			coordtest.New(t, inDir(dir)).Create("probe")
		})
	}
}
