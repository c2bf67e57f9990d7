package userapi

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode"
)

func content(n int) ([]byte, string) {
	data := make([]byte, n)
	rand.NewChaCha8([32]byte{1}).Read(data)
	sum := sha256.Sum256(data)
	return data, hex.EncodeToString(sum[:])
}

func openRoot(t *testing.T) (*os.Root, string) {
	t.Helper()
	dir := t.TempDir()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return root, dir
}

// files lists what a folder holds.
func files(t *testing.T, dir string) []string {
	t.Helper()
	var names []string
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			rel, _ := filepath.Rel(dir, p)
			names = append(names, rel)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func TestDownloadGoesOnAfterCuts(t *testing.T) {
	data, sha := content(300_000)
	var ranges []string
	c := serve(t, map[string]http.HandlerFunc{"GET /file": func(w http.ResponseWriter, r *http.Request) {
		ranges = append(ranges, r.Header.Get("Range"))
		if len(ranges) > 3 {
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
			return
		}
		from := 0
		if s := r.Header.Get("Range"); s != "" {
			from, _ = strconv.Atoi(strings.Trim(s, "bytes=-"))
			w.Header().Set("Content-Range", "bytes "+strconv.Itoa(from)+"-299999/300000")
			w.Header().Set("Content-Length", strconv.Itoa(300_000-from))
			w.WriteHeader(http.StatusPartialContent)
		} else {
			w.Header().Set("Content-Length", "300000")
		}
		w.Write(data[from : from+80_000])
		w.(http.Flusher).Flush()
		cut(w)
	}})
	root, dir := openRoot(t)
	var seen int64
	fetched, err := c.Download(t.Context(), root, Download{
		URL: c.Server() + "/file", SHA256: sha, Size: 300_000, Name: "sub/a.bin", Progress: func(n int64) { seen = n },
	})
	if err != nil || !fetched || seen != 300_000 {
		t.Fatalf("%v %v, %d bytes", fetched, err, seen)
	}
	got, err := os.ReadFile(filepath.Join(dir, "sub", "a.bin"))
	if err != nil || !bytes.Equal(got, data) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if len(ranges) < 2 || ranges[0] != "" || ranges[1] == "" {
		t.Errorf("ranges: %q", ranges)
	}
	if names := files(t, dir); len(names) != 1 {
		t.Errorf("left behind: %q", names)
	}
}

func TestDownloadGoesOnWhereAnotherProcessStopped(t *testing.T) {
	data, sha := content(1000)
	var asked string
	c := serve(t, map[string]http.HandlerFunc{"GET /file": func(w http.ResponseWriter, r *http.Request) {
		asked = r.Header.Get("Range")
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
	}})
	root, dir := openRoot(t)
	d := Download{URL: c.Server() + "/file", SHA256: sha, Size: 1000, Name: "a"}
	part := filepath.Join(dir, partName("a", d))
	for _, test := range []struct {
		there []byte
		asked string
	}{{data[:400], "bytes=400-"}, {data, "-"}, {append(bytes.Clone(data), 1), ""}, {nil, ""}} {
		os.Remove(filepath.Join(dir, "a"))
		if err := os.WriteFile(part, test.there, 0o600); err != nil {
			t.Fatal(err)
		}
		asked = "-"
		if _, err := c.Download(t.Context(), root, d); err != nil || asked != test.asked {
			t.Errorf("%d bytes there: asked %q, %v", len(test.there), asked, err)
		}
	}
	// Where the beginning is not what it should be, nothing of it is kept.
	os.Remove(filepath.Join(dir, "a"))
	if err := os.WriteFile(part, make([]byte, 400), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Download(t.Context(), root, d); !errors.Is(err, ErrHash) {
		t.Error(err)
	}
	if _, err := c.Download(t.Context(), root, d); err != nil {
		t.Error(err)
	}
}

func TestDownloadKeepsOnlyWhatIsRight(t *testing.T) {
	data, sha := content(1000)
	c := serve(t, map[string]http.HandlerFunc{
		"GET /short": func(w http.ResponseWriter, _ *http.Request) { w.Write(data[:999]) },
		"GET /long":  func(w http.ResponseWriter, _ *http.Request) { w.Write(append(bytes.Clone(data), 0)) },
		"GET /other": func(w http.ResponseWriter, _ *http.Request) { w.Write(make([]byte, 1000)) },
		"GET /gone":  http.NotFound,
	})
	for _, name := range []string{"short", "long", "other", "gone"} {
		root, dir := openRoot(t)
		_, err := c.Download(t.Context(), root, Download{URL: c.Server() + "/" + name, SHA256: sha, Size: 1000, Name: "a"})
		if name == "gone" && !NotFound(err) || name != "gone" && !errors.Is(err, ErrHash) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := os.Stat(filepath.Join(dir, "a")); err == nil {
			t.Errorf("%s: the file is there", name)
		}
	}
}

func TestDownloadToATakenName(t *testing.T) {
	data, sha := content(100)
	var count nth
	c := serve(t, map[string]http.HandlerFunc{"GET /file": func(w http.ResponseWriter, _ *http.Request) {
		count.next()
		w.Write(data)
	}})
	root, dir := openRoot(t)
	d := Download{URL: c.Server() + "/file", SHA256: sha, Size: 100, Name: "a"}
	if err := os.WriteFile(filepath.Join(dir, "a"), []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Download(t.Context(), root, d); !errors.Is(err, ErrExists) {
		t.Error(err)
	}
	d.Replace = true
	if fetched, err := c.Download(t.Context(), root, d); err != nil || !fetched {
		t.Error(fetched, err)
	}
	if fetched, err := c.Download(t.Context(), root, d); err != nil || fetched || count.n.Load() != 1 {
		t.Error("fetched again:", fetched, err)
	}
	d.Name = "b"
	held, err := os.Create(filepath.Join(dir, partName("b", d)))
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	if err := lock(held); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Download(t.Context(), root, d); !errors.Is(err, ErrLocked) {
		t.Error(err)
	}
}

func TestDownloadStaysInItsFolder(t *testing.T) {
	c := serve(t, nil)
	root, dir := openRoot(t)
	outside := t.TempDir()
	if err := os.Symlink(outside, filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"../a", "/etc/a", "", ".", "a/../../b", "link/a"} {
		if _, err := c.Download(t.Context(), root, Download{URL: c.Server() + "/x", Name: name, Size: -1}); err == nil || NotFound(err) {
			t.Errorf("%q: %v", name, err)
		}
	}
	if names := files(t, outside); len(names) > 0 {
		t.Errorf("written outside: %q", names)
	}
}

func TestTokenStaysWithItsServer(t *testing.T) {
	var got []string
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = append(got, r.Header.Get("Authorization"))
		io.WriteString(w, "x")
	}))
	defer other.Close()
	c := serve(t, map[string]http.HandlerFunc{
		"GET /away": func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, other.URL, http.StatusSeeOther) },
	})
	root, _ := openRoot(t)
	for name, url := range map[string]string{"a": other.URL, "b": c.Server() + "/away"} {
		if _, err := c.Download(t.Context(), root, Download{URL: url, Name: name, Size: 1}); err != nil {
			t.Error(err)
		}
	}
	if len(got) != 2 || got[0] != "" || got[1] != "" {
		t.Errorf("another server was sent %q", got)
	}
	if _, err := c.Download(t.Context(), root, Download{URL: "file:///etc/passwd", Name: "c", Size: -1}); err == nil {
		t.Error("a file URL was followed")
	}
}

func TestSafePath(t *testing.T) {
	for name, want := range map[string]string{
		"a.fits": "a.fits", "a/b.fits": "a/b.fits", "../x": "_/x", "../../x": "_/_/x", "/etc/passwd": "etc/passwd",
		`..\x`: "_/x", "": "_", "..": "_", ".": "_", "./": "_", ".bashrc": "_bashrc", "-rf": "_rf", "a\x1b[2Jb": "a_[2Jb",
		"a\x00b": "a_b", "ünï": "ünï", " a ": "a", "C:evil": "C_evil", "\u202egnp.exe": "_gnp.exe",
	} {
		if got := SafePath(name); got != want {
			t.Errorf("SafePath(%q) = %q, want %q", name, got, want)
		}
	}
	if n := len(SafeName(strings.Repeat("é", 5000))); n > maxName || n < maxName-1 {
		t.Error(n)
	}
}

func FuzzSafePath(f *testing.F) {
	for _, s := range []string{"a/b", "../x", "\xff", "//", strings.Repeat("a/", 50), ". ./x", " .. "} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		p := SafePath(name)
		if !fs.ValidPath(p) || p == "." || strings.Contains(p, "\\") {
			t.Fatalf("%q became %q", name, p)
		}
		for e := range strings.SplitSeq(p, "/") {
			if e[0] == '.' || e[0] == '-' || len(e) > maxName {
				t.Fatalf("%q became %q", name, p)
			}
		}
		if strings.ContainsFunc(p, func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Fatalf("%q became %q", name, p)
		}
	})
}
