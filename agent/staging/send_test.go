package staging

import (
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestLocalChanges(t *testing.T) {
	for name, change := range map[string]func(path string) error{
		"shorter":  func(p string) error { return os.Truncate(p, 10) },
		"touched":  func(p string) error { return os.Chtimes(p, time.Time{}, time.Now().Add(time.Hour)) },
		"longer":   func(p string) error { return os.Truncate(p, 2000) },
		"removed":  os.Remove,
		"replaced": func(p string) error { return os.Rename(p+".new", p) },
		"a link":   func(p string) error { os.Remove(p); return os.Symlink(p+".new", p) },
	} {
		t.Run(name, func(t *testing.T) {
			p := filepath.Join(t.TempDir(), "f")
			check(t, os.WriteFile(p, make([]byte, 1000), 0o600))
			check(t, os.WriteFile(p+".new", make([]byte, 1000), 0o600))
			l, err := openLocal(File{Local: p, Remote: "f", Size: 1000})
			check(t, err)
			defer l.f.Close()
			_, err = io.ReadFull(l, make([]byte, 5))
			check(t, err)
			check(t, change(p))
			_, err = io.Copy(io.Discard, l)
			if err == nil {
				_, err = l.finish("f")
			}
			want(t, err, ErrChanged)
		})
	}
}
