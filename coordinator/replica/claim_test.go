package replica

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestClaimDir(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "data")
	id := Identity{"c1", "n1"}
	if _, err := ReadIdentity(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("ReadIdentity of nothing: %v", err)
	}
	c, err := ClaimDir(dir, id)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ClaimDir(dir, id); !errors.Is(err, ErrLocked) {
		t.Errorf("a second claim: %v, want ErrLocked", err)
	}
	if err := errors.Join(c.Release(), c.Release()); err != nil {
		t.Fatal(err)
	}
	c, err = ClaimDir(dir, id)
	if err != nil {
		t.Fatal(err)
	}
	c.Release()
	if got, err := ReadIdentity(dir); err != nil || got != id {
		t.Errorf("ReadIdentity() = %v, %v", got, err)
	}
}

func TestClaimDirRefuses(t *testing.T) {
	for _, tt := range []struct {
		name, file, content string
		want                error
		says                string
	}{
		{"another cluster", "FORMAT", `{"format":1,"cluster":"c2","node":"n1"}`, ErrForeign, `cluster "c2"`},
		{"another node", "FORMAT", `{"format":1,"cluster":"c1","node":"n2"}`, ErrForeign, `node "n2"`},
		{"newer", "FORMAT", `{"format":2,"cluster":"c1","node":"n1","shard":3}`, ErrNewer, "upgrade"},
		{"empty", "FORMAT", ``, ErrCorrupt, "backup"},
		{"cut", "FORMAT", `{"format":1,"clus`, ErrCorrupt, "backup"},
		{"other JSON", "FORMAT", `{"name":"x"}`, ErrCorrupt, "backup"},
		{"unknown key", "FORMAT", `{"format":1,"cluster":"c1","node":"n1","x":1}`, ErrCorrupt, "backup"},
		{"no ids", "FORMAT", `{"format":1}`, ErrCorrupt, "backup"},
		{"somebody's files", "thesis.tex", `\section{}`, ErrForeign, "empty directory"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, tt.file)
			if err := os.WriteFile(path, []byte(tt.content), 0o600); err != nil {
				t.Fatal(err)
			}
			for range 2 { // the lock that the first try leaves must not change the answer
				_, err := ClaimDir(dir, Identity{"c1", "n1"})
				if !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.says) {
					t.Errorf("error %v, want %v with %q", err, tt.want, tt.says)
				}
			}
			if data, _ := os.ReadFile(path); string(data) != tt.content {
				t.Errorf("the file was changed to %q", data)
			}
		})
	}
	if _, err := ClaimDir(t.TempDir(), Identity{}); err == nil {
		t.Error("a claim for nobody was accepted")
	}
}

func FuzzParseFormat(f *testing.F) {
	f.Add([]byte(`{"format":1,"cluster":"c1","node":"n1"}`))
	f.Add([]byte(`{"format":9}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := parseFormat(b)
		if err == nil && (got.Format != FormatVersion || got.Cluster == "" || got.Node == "") {
			t.Errorf("%q is read as %+v", b, got)
		}
		if err != nil && !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrNewer) {
			t.Errorf("%q: %v", b, err)
		}
	})
}
