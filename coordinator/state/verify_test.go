package state

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"consort/coordinator/command"
)

// corruptionChild is set in the process that opens damaged databases: Badger panics in goroutines of its own.
const corruptionChild = "CONSORT_TEST_CORRUPTION_CHILD"

// TestDamagedFiles damages each file of a database in several ways: it is refused, or opens as it was, or at
// an earlier entry, from which the log makes it the same again. It never panics.
func TestDamagedFiles(t *testing.T) {
	if os.Getenv(corruptionChild) != "" {
		damageAll(t)
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestDamagedFiles$", "-test.v")
	cmd.Env = append(os.Environ(), corruptionChild+"=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out[max(0, len(out)-8000):])
	}
}

func damageAll(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	for name, base := range map[string]*database{"closed": closedDatabase(t), "crashed": crashedDatabase(t)} {
		for file, data := range base.files {
			for how, damage := range damages {
				for range 2 {
					changed, what := damage(rnd, data)
					fmt.Printf("%s, %s: %s, %s\n", name, file, how, what) // for who reads of a panic
					base.check(t, fmt.Sprintf("%s, %s: %s, %s", name, file, how, what), file, changed)
					if how == "remove" {
						break
					}
				}
			}
		}
	}
}

// damages return damaged data, nil for none at all, and what they did.
var damages = map[string]func(*rand.Rand, []byte) ([]byte, string){
	"flip": func(r *rand.Rand, data []byte) ([]byte, string) {
		at, bit := r.IntN(len(data)), byte(1)<<r.IntN(8)
		data = bytes.Clone(data)
		data[at] ^= bit
		return data, fmt.Sprintf("bit %#x of byte %d", bit, at)
	},
	"overwrite": func(r *rand.Rand, data []byte) ([]byte, string) {
		at, n := r.IntN(len(data)), 1+r.IntN(500)
		data = bytes.Clone(data)
		for i := at; i < min(at+n, len(data)); i++ {
			data[i] = byte(r.Uint32())
		}
		return data, fmt.Sprintf("%d bytes from %d", n, at)
	},
	"zero": func(r *rand.Rand, data []byte) ([]byte, string) {
		at, n := r.IntN(len(data)), 1+r.IntN(500)
		data = bytes.Clone(data)
		clear(data[at:min(at+n, len(data))])
		return data, fmt.Sprintf("%d bytes from %d", n, at)
	},
	"cut": func(r *rand.Rand, data []byte) ([]byte, string) {
		n := r.IntN(len(data))
		return data[:n:n], fmt.Sprintf("to %d bytes", n)
	},
	"remove": func(*rand.Rand, []byte) ([]byte, string) { return nil, "" },
}

// database is the files of a state directory, by path, and what they hold.
type database struct {
	files   map[string][]byte
	entries []Entry
	hash    string
}

// check opens the database with one file replaced.
func (d *database) check(t *testing.T, what, file string, data []byte) {
	t.Helper()
	dir, err := os.MkdirTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	for name, content := range d.files {
		if name != file {
			writeFile(t, filepath.Join(dir, name), content)
		}
	}
	if data != nil {
		writeFile(t, filepath.Join(dir, file), data)
	}
	s, err := Open(testConfig(t, dir))
	if err != nil {
		if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrForeign) {
			t.Errorf("%s: refused with %v, want ErrCorrupt", what, err)
		}
		if strings.Contains(err.Error(), "Badger cannot open") { // it leaves goroutines behind
			t.Errorf("%s: Badger had to notice: %v", what, err)
		}
		return
	}
	defer s.Close()
	applied, _ := s.Applied()
	var missed []Entry
	for _, e := range d.entries {
		if e.Index > applied {
			missed = append(missed, e)
		}
	}
	if _, err := s.ApplyBatch(missed); err != nil {
		t.Errorf("%s: opened at %d, but %v", what, applied, err)
		return
	}
	if s.mustHash(t) != d.hash {
		t.Errorf("%s: opened at %d, but it is not what it was", what, applied)
	}
}

func writeFile(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// fillWorld applies commands, and opens the store anew after each of some batches, which leaves a table each time.
func fillWorld(t *testing.T, w *world) []Entry {
	t.Helper()
	var entries []Entry
	apply := func(c *command.Command) {
		entries = append(entries, w.entry(c))
		if _, err := w.s.ApplyBatch(entries[len(entries)-1:]); err != nil {
			t.Fatal(err)
		}
	}
	apply(wrap(&command.CreateCluster{ClusterId: "c1", Authority: "https://c1.example"}))
	apply(wrap(&command.PublishDefinition{Name: "probe", Version: "1.0", Digest: digest, Title: "Probe"}))
	for n := range 120 {
		apply(wrap(createJob(n)))
		apply(wrap(&command.AbortJob{Id: jobID(n)}))
		if n%40 == 39 && n < 119 {
			w.reopen()
		}
	}
	return entries
}

func closedDatabase(t *testing.T) *database {
	w := newWorld(t)
	d := &database{entries: fillWorld(t, w), hash: w.s.mustHash(t)}
	if err := w.s.Close(); err != nil {
		t.Fatal(err)
	}
	d.read(t, w.s.cfg.Dir)
	return d
}

// crashedDatabase is what kill -9 leaves: tables and two write-ahead logs.
func crashedDatabase(t *testing.T) *database {
	w := newWorld(t)
	d := &database{entries: fillWorld(t, w), hash: w.s.mustHash(t)}
	d.read(t, w.s.cfg.Dir)
	for name, data := range d.files {
		if span, err := readWAL(data); filepath.Ext(name) == ".mem" && err == nil && span.first != 0 {
			d.splitWAL(name, data)
			return d
		}
	}
	t.Fatal("there is no write-ahead log")
	return nil
}

// splitWAL makes two logs of one, the second with the later transactions.
func (d *database) splitWAL(name string, data []byte) {
	at, ends := walStart, 0
	for ends < 60 {
		e, n := readWALEntry(data[at:])
		at += n
		if e.meta&metaEnd != 0 {
			ends++
		}
	}
	d.files[name] = append(bytes.Clone(data[:at]), make([]byte, 4096)...)
	d.files[filepath.Join(filepath.Dir(name), "99999.mem")] = append(bytes.Clone(data[:walStart]), data[at:]...)
}

// read takes the files of a directory, those that Badger made large by their beginning.
func (d *database) read(t *testing.T, dir string) {
	t.Helper()
	d.files = map[string][]byte{}
	err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() || e.Name() == "LOCK" {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		data, err := io.ReadAll(io.LimitReader(f, 1<<20))
		if ext := filepath.Ext(path); ext == ".mem" || ext == ".vlog" || e.Name() == "DISCARD" {
			used := len(bytes.TrimRight(data, "\x00"))
			data = data[:min(len(data), used+4096)]
		}
		name, _ := filepath.Rel(dir, path)
		d.files[name] = data
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestPowerCut writes rubbish over the end of the newest write-ahead log: what came before opens, and the end is
// cut off, so that a later start does not find it in an older log.
func TestPowerCut(t *testing.T) {
	d := crashedDatabase(t)
	name := filepath.Join("db-1", "99999.mem")
	data := d.files[name]
	span, err := readWAL(data)
	if err != nil || !span.clean {
		t.Fatalf("%+v, %v", span, err)
	}
	torn := append(bytes.Clone(data[:span.end]), bytes.Repeat([]byte{0xff}, 3000)...)
	d.check(t, "torn", name, torn)
	dir := t.TempDir()
	for file, data := range d.files {
		writeFile(t, filepath.Join(dir, file), data)
	}
	path := filepath.Join(dir, name)
	writeFile(t, path, torn)
	if err := verifyDatabase(filepath.Dir(path), testConfig(t, dir).Logger); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Size() != int64(span.end) {
		t.Errorf("%v, %v; want it cut off after %d bytes", info.Size(), err, span.end)
	}
}

// TestCrashInBadger opens what a crash leaves at moments over which Badger itself would stumble.
func TestCrashInBadger(t *testing.T) {
	d := crashedDatabase(t)
	manifest := filepath.Join("db-1", "MANIFEST")
	d.check(t, "a long change of the manifest is cut off", manifest,
		append(bytes.Clone(d.files[manifest]), 0, 1, 0, 0, 1, 2, 3, 4, 'c', 'u', 't'))
	d.check(t, "a file of the value log is empty", filepath.Join("db-1", "000099.vlog"), []byte{})
	d.check(t, "a write-ahead log is empty", filepath.Join("db-1", "100000.mem"), []byte{})
	d.check(t, "a table is half written", filepath.Join("db-1", "000077.sst"), []byte("half"))
}

// TestLostTable removes the last change of the manifest, which names the newest table.
func TestLostTable(t *testing.T) {
	d := closedDatabase(t)
	name := filepath.Join("db-1", "MANIFEST")
	dir := t.TempDir()
	for file, data := range d.files {
		writeFile(t, filepath.Join(dir, file), data)
	}
	data := d.files[name]
	end := len(manifestStart)
	for next := end; next < len(data); next += 8 + int(binary.BigEndian.Uint32(data[next:])) {
		end = next
	}
	writeFile(t, filepath.Join(dir, name), data[:end])
	s, err := Open(testConfig(t, dir))
	if err == nil {
		s.Close()
	}
	if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), "what the manifest names ends") {
		t.Errorf("got %v, want ErrCorrupt", err)
	}
}

// TestMissingLog removes the older of two write-ahead logs: the newer one must not be applied on top.
func TestMissingLog(t *testing.T) {
	d := crashedDatabase(t)
	dir := t.TempDir()
	for file, data := range d.files {
		if filepath.Ext(file) != ".mem" || strings.HasSuffix(file, "99999.mem") {
			writeFile(t, filepath.Join(dir, file), data)
		}
	}
	s, err := Open(testConfig(t, dir))
	if err == nil {
		s.Close()
	}
	if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), "begins with transaction") {
		t.Errorf("got %v, want ErrCorrupt", err)
	}
}

// FuzzVerify reads any bytes as each kind of file: no panic.
func FuzzVerify(f *testing.F) {
	f.Add([]byte("Bdgr"))
	f.Fuzz(func(t *testing.T, data []byte) {
		path := filepath.Join(t.TempDir(), "MANIFEST")
		writeFile(t, path, data)
		_, _ = readManifest(filepath.Dir(path))
		_, _ = tableVersion(data)
		_, _ = readWAL(data)
		_, _ = verifyBlock(data, nil)
	})
}
