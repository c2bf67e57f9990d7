// Package pipeline_test checks what of the pipeline needs no codes of astronomers. The jobs themselves are run by
// cmd/consort/worldtest.
package pipeline_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"consort/shared/definition"
	"consort/shared/testenv"
)

func TestDefinitionsLoad(t *testing.T) {
	for _, name := range []string{"star-field", "source-catalogue", "catalogue-match"} {
		b, err := definition.Load(os.DirFS("."), name)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if b.Definition.Name != name {
			t.Errorf("folder %s holds the definition %s", name, b.Definition.Name)
		}
		if s := b.Definition.Software; len(s) == 0 || len(s[0].Report) == 0 {
			t.Errorf("%s does not say which software it needs, or how that tells its version", name)
		}
	}
}

func TestImageIsTheDocumentedOne(t *testing.T) {
	image, err := os.ReadFile("m51/m51.fits")
	if err != nil {
		t.Fatal(err)
	}
	note, err := os.ReadFile("m51/DATA.md")
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(image)
	if digest := hex.EncodeToString(sum[:]); !bytes.Contains(note, []byte(digest)) {
		t.Errorf("DATA.md does not name the SHA-256 of the image, %s", digest)
	}
}

// irafImage is a small image in the form that convert.sh reads: the file of the header and that of the pixels.
func irafImage(columns, rows uint32, title, cards string, pixels []byte) (header, data []byte) {
	const start = 1024 // bytes in front of the pixels
	header = make([]byte, 2046, 2046+len(cards)+2)
	copy(header, "imhv2")
	for offset, n := range map[int]uint32{10: 3, 18: 2, 22: columns, 26: rows, 86: start/2 + 1} {
		binary.BigEndian.PutUint32(header[offset:], n)
	}
	copy(header[638:], title)
	return append(append(header, cards...), 0, 0), append(bytes.Repeat([]byte{'x'}, start), pixels...)
}

func convert(t *testing.T, header, data []byte) (out []byte, said string, err error) {
	t.Helper()
	dir := t.TempDir()
	files := []string{filepath.Join(dir, "a.imh"), filepath.Join(dir, "a.pix")}
	for i, content := range [][]byte{header, data} {
		if err := os.WriteFile(files[i], content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("sh", "m51/convert.sh", files[0], files[1])
	var problem bytes.Buffer
	cmd.Stderr = &problem
	out, err = cmd.Output()
	return out, problem.String(), err
}

func TestConvert(t *testing.T) {
	pixels := []byte{0, 1, 255, 254, '\n', 0, 1, 2, 3, 4, 5, 6}
	header, data := irafImage(3, 2, "m 1  'B'", "ITIME   =                  600  /  SECONDS\nHISTORY 'KPNO-IRAF'           /\n", pixels)
	got, said, err := convert(t, header, data)
	if err != nil {
		t.Fatalf("%v: %s", err, said)
	}
	var want strings.Builder
	for _, card := range []string{
		"SIMPLE  =                    T / conforms to the FITS standard", "BITPIX  =                   16 / 16 bit integers",
		"NAXIS   =                    2 / number of axes", "NAXIS1  =                    3 / columns", "NAXIS2  =                    2 / rows",
		"OBJECT  = 'm 1  ''B'''", "ORIGIN  = 'KPNO-IRAF'", "ITIME   =                  600  /  SECONDS", "HISTORY KPNO-IRAF", "END",
	} {
		fmt.Fprintf(&want, "%-80s", card)
	}
	const block = 2880 // FITS 4.0, section 3.1
	whole := want.String() + strings.Repeat(" ", block-want.Len()) + string(pixels) + strings.Repeat("\x00", block-len(pixels))
	if string(got) != whole {
		t.Errorf("got %d bytes, want %d; the header is\n%q\nwant\n%q", len(got), len(whole), strings.Fields(string(got[:min(len(got), block)])), strings.Fields(want.String()))
	}
}

func TestConvertRefuses(t *testing.T) {
	good, data := irafImage(3, 2, "", "", make([]byte, 12))
	for name, change := range map[string]func(header []byte) []byte{
		"an older version":   func(h []byte) []byte { return append([]byte("imhv1"), h[5:]...) },
		"pixels of floats":   func(h []byte) []byte { h[13] = 6; return h },
		"swapped pixels":     func(h []byte) []byte { h[17] = 1; return h },
		"a cube":             func(h []byte) []byte { h[21] = 3; return h },
		"an empty header":    func([]byte) []byte { return nil },
		"a header cut short": func(h []byte) []byte { return h[:20] },
		"too few pixels":     func(h []byte) []byte { h[25] = 200; return h },
	} {
		out, said, err := convert(t, change(bytes.Clone(good)), data)
		if err == nil || said == "" || len(out) > 0 {
			t.Errorf("%s: %v, %q, %d bytes", name, err, said, len(out))
		}
	}
}

// stars runs the awk program that makes up stars.
func stars(t *testing.T, awk string, seed int) string {
	t.Helper()
	variables := []string{"-v", fmt.Sprintf("seed=%d", seed), "-v", "count=300", "-v", "size=512", "-v", "fwhm=3", "-v", "bright=14", "-v", "faint=19"}
	cmd := exec.Command(awk, append(variables, "-f", "star-field/stars.awk")...)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v", awk, err)
	}
	return string(out)
}

func TestStars(t *testing.T) {
	awk := testenv.Need(t, "awk")[0]
	for _, seed := range []int{1, 2, 2147483562} {
		faint, left := 0, 0
		for line := range strings.Lines(stars(t, awk, seed)) {
			if strings.HasPrefix(line, "#") {
				continue
			}
			var id, profile, angle, ratio, cut int
			var x, y, fwhm, beta, magnitude float64
			n, err := fmt.Sscan(line, &id, &x, &y, &profile, &fwhm, &beta, &angle, &ratio, &magnitude, &cut)
			if err != nil || n != 10 || x < 0.5 || x > 512.5 || y < 0.5 || y > 512.5 || magnitude < 14 || magnitude > 19 {
				t.Fatalf("seed %d: %q, %v", seed, line, err)
			}
			if magnitude > 18 {
				faint++
			}
			if x < 256.5 {
				left++
			}
		}
		// Half of the stars are of the last magnitude, and half on the left; 150 with a deviation of 9.
		if faint < 110 || faint > 190 || left < 110 || left > 190 {
			t.Errorf("seed %d: of 300 stars %d are faint and %d on the left", seed, faint, left)
		}
	}
	if stars(t, awk, 1) == stars(t, awk, 2) {
		t.Error("two seeds give the same stars")
	}
}

// TestStarsAreTheSameEverywhere: any awk at any site makes these stars of this seed.
func TestStarsAreTheSameEverywhere(t *testing.T) {
	for _, awk := range testenv.Need(t, "awk", "mawk") {
		lines := strings.Split(stars(t, awk, 1), "\n")
		got := strings.Join(lines[10:13], "\n")
		if want := "1 104.069 326.413 2 3 4.765 0 1 18.520 6\n2 2.454 221.394 2 3 4.765 0 1 18.949 6\n3 385.063 291.155 2 3 4.765 0 1 17.626 6"; got != want {
			t.Errorf("%s makes the stars %q, want %q", awk, got, want)
		}
	}
}

func TestScriptRefusesWrongUsage(t *testing.T) {
	for _, args := range [][]string{{"-x"}, {"-t"}, {"surplus"}} {
		cmd := exec.Command("sh", append([]string{"run.sh"}, args...)...)
		cmd.Env = append(os.Environ(), "CONSORT=false")
		var said bytes.Buffer
		cmd.Stderr = &said
		err := cmd.Run()
		if cmd.ProcessState.ExitCode() != 2 || said.Len() == 0 {
			t.Errorf("%q: %v, %q", args, err, said.String())
		}
	}
}
