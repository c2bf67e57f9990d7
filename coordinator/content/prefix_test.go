package content

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// TestPrefix writes random pieces in random order, overlapping too, and compares with a plain buffer: the
// hash is always that of the first n bytes, and n reaches the first byte never written.
func TestPrefix(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const size = 200
		file, written := make([]byte, size), make([]bool, size)
		p := newPrefix()
		for range rapid.IntRange(1, 40).Draw(t, "writes") {
			off := rapid.IntRange(0, size-1).Draw(t, "off")
			b := rapid.SliceOfN(rapid.Byte(), 1, size-off).Draw(t, "bytes")
			if known := min(int(p.n)-off, len(b)); known > 0 { // as an upload does: what is hashed stays
				off, b = off+known, b[known:]
			}
			if len(b) == 0 {
				continue
			}
			copy(file[off:], b)
			for i := range b {
				written[off+i] = true
			}
			if err := p.wrote(b, int64(off)); err != nil {
				t.Fatal(err)
			}
			if rapid.Bool().Draw(t, "catch up") {
				for more := true; more; {
					var err error
					if more, err = p.catchUp(bytes.NewReader(file), make([]byte, 7)); err != nil {
						t.Fatal(err)
					}
				}
			}
			gap := int64(0)
			for gap < size && written[gap] {
				gap++
			}
			sum := sha256.Sum256(file[:p.n])
			if p.contiguous() != gap || p.n > gap || p.hex() != hex.EncodeToString(sum[:]) {
				t.Fatalf("n %d, contiguous %d, want %d, ahead %v", p.n, p.contiguous(), gap, p.ahead)
			}
			for i, s := range p.ahead {
				if s.from < p.n || s.from >= s.to || i > 0 && p.ahead[i-1].to >= s.from {
					t.Fatalf("n %d, ahead %v", p.n, p.ahead)
				}
			}
		}
	})
}

func TestPrefixRefusesScatter(t *testing.T) {
	p := newPrefix()
	for i := range int64(maxSpans) {
		if err := p.mark(2*i+1, 2*i+2); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.mark(3*maxSpans, 3*maxSpans+1); err != errScattered {
		t.Errorf("got %v", err)
	}
	if err := p.mark(2, 3); err != nil { // joins two: fewer pieces than before
		t.Error(err)
	}
}

func TestCheckPath(t *testing.T) {
	deep := strings.Repeat("d/", MaxDepth-1)
	for _, ok := range []string{"a", "a/b.c", "é ü/$(x);'\"", "...", "..a", "-rf", ".hidden", deep + "f", strings.Repeat("n", MaxName)} {
		if err := CheckPath(ok); err != nil {
			t.Errorf("%q: %v", ok, err)
		}
	}
	for _, bad := range []string{"", ".", "..", "/a", "a/", "a//b", "a/./b", "a/../b", "../a", "a\x00b", "a\nb", "\x7f", "\u0085", "\xff",
		deep + "d/f", strings.Repeat("n", MaxName+1), strings.Repeat("abcdefghi/", 103), strings.Repeat("x", 10<<10)} {
		if err := CheckPath(bad); err == nil {
			t.Errorf("%.50q is allowed", bad)
		}
	}
}

func FuzzParseTarget(f *testing.F) {
	const job = "/j01arz3ndektsv4rrffq69g5fav"
	for _, s := range []string{"/", job, job + "/1", job + "/1/a/b", job + "/01/a", job + "/1/../../x", "/x/1/a", job + "/18446744073709551616", job + "/1//a", job + "/1/\x00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, err := parseTarget(s)
		if err != nil {
			return
		}
		if got.rel != "" && (!filepath.IsLocal(got.rel) || path.Clean(got.rel) != got.rel || CheckPath(got.rel) != nil) {
			t.Errorf("%q gives %q", s, got.rel)
		}
		if path.Clean(s) != s {
			t.Errorf("%q is not clean", s)
		}
		id := attemptID{got.job, got.epoch}
		if got.rel != "" && !strings.HasPrefix(filepath.Join(id.dirIn("/in"), got.rel), id.dirIn("/in")+"/") {
			t.Errorf("%q leaves its directory", s)
		}
	})
}
