package examples_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"consort/examples"
	"consort/shared/definition"
)

// site stages and runs one job as an agent does, in a private directory.
type site struct {
	*definition.Bundle
	dir    string
	code   int
	stderr string
	took   time.Duration
}

func run(t *testing.T, name string, given map[string][]string, inputs map[string][]byte) *site {
	t.Helper()
	b, err := definition.Load(examples.FS, name)
	if err != nil {
		t.Fatalf("load: %v", err)
	}
	s := &site{Bundle: b, dir: t.TempDir()}
	d := b.Definition
	values, problems := d.Check(given, true)
	resources, more := d.Resources(given)
	if problems = append(problems, more...); len(problems) > 0 {
		t.Fatalf("check: %v", problems)
	}
	ctx := definition.ArgvContext{Values: values, Inputs: map[string][]string{}, Resources: resources, Script: "./" + d.Run.Script}
	for _, f := range b.Files {
		s.write(t, f.Path, f.Data)
	}
	for input, data := range inputs {
		s.write(t, d.Input(input).File, data)
		ctx.Inputs[input] = []string{d.Input(input).File}
	}
	argv, err := d.Argv(ctx)
	if err != nil {
		t.Fatalf("argv: %v", err)
	}
	params, err := d.ParamsJSON(values)
	if err != nil {
		t.Fatalf("params.json: %v", err)
	}
	meta := t.TempDir()
	if err := os.WriteFile(filepath.Join(meta, "params.json"), params, 0o400); err != nil {
		t.Fatal(err)
	}
	env, err := d.Environment(ctx)
	if err != nil {
		t.Fatalf("environment: %v", err)
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir = s.dir
	cmd.Env = append(env, "PATH="+os.Getenv("PATH"), "HOME="+meta, "TMPDIR="+meta, "LC_ALL=C.UTF-8", "TZ=UTC",
		"CONSORT_PARAMS="+filepath.Join(meta, "params.json"), "CONSORT_ERROR_FILE="+filepath.Join(meta, "error"))
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	start := time.Now()
	err = cmd.Run()
	s.took, s.stderr = time.Since(start), stderr.String()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("run %q: %v", argv, err)
	}
	s.code = cmd.ProcessState.ExitCode()
	return s
}

func (s *site) write(t *testing.T, name string, data []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, name), data, 0o400); err != nil {
		t.Fatal(err)
	}
}

// outputs returns the contents of all outputs by name; those of a collection one behind the other.
func (s *site) outputs(t *testing.T) map[string]string {
	t.Helper()
	if s.code != 0 {
		t.Fatalf("exit code %d: %s", s.code, s.stderr)
	}
	values, _ := s.Definition.Check(nil, false)
	matches, err := s.Definition.MatchOutputs(os.DirFS(s.dir), values)
	if err != nil {
		t.Fatalf("outputs: %v", err)
	}
	all := map[string]string{}
	for _, m := range matches {
		for _, f := range m.Files {
			data, err := os.ReadFile(filepath.Join(s.dir, f.Path))
			if err != nil {
				t.Fatal(err)
			}
			all[m.Output] += string(data)
		}
	}
	return all
}

func wellFormed(t *testing.T, name, text string) {
	t.Helper()
	dec := xml.NewDecoder(strings.NewReader(text))
	for {
		_, err := dec.Token()
		if err == io.EOF {
			return
		}
		if err != nil {
			t.Fatalf("%s is not well-formed: %v", name, err)
		}
	}
}

func sunspots(t *testing.T) []byte {
	t.Helper()
	data, err := examples.FS.ReadFile(examples.Sunspots)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestSeriesIsTheDocumentedOne(t *testing.T) {
	note, err := examples.FS.ReadFile("periodogram/DATA.md")
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(sunspots(t))
	if digest := hex.EncodeToString(sum[:]); !bytes.Contains(note, []byte(digest)) {
		t.Errorf("DATA.md does not name the SHA-256 of the series, %s", digest)
	}
}

func TestEveryExampleLoads(t *testing.T) {
	dirs, err := fs.ReadDir(examples.FS, ".")
	if err != nil || len(dirs) != 4 {
		t.Fatalf("%d folders, %v", len(dirs), err)
	}
	for _, dir := range dirs {
		b, err := definition.Load(examples.FS, dir.Name())
		if err != nil {
			t.Errorf("%v", err)
			continue
		}
		if b.Definition.Name != dir.Name() {
			t.Errorf("folder %s holds the definition %s", dir.Name(), b.Definition.Name)
		}
	}
}

var bestPeriod = regexp.MustCompile(`(?m)^best period ([0-9.]+) yr$`)

func TestPeriodogramFindsTheSunspotCycle(t *testing.T) {
	s := run(t, "periodogram", nil, map[string][]byte{"series": sunspots(t)})
	out := s.outputs(t)
	m := bestPeriod.FindStringSubmatch(out["summary"])
	if m == nil {
		t.Fatalf("no best period in %q", out["summary"])
	}
	if p, err := strconv.ParseFloat(m[1], 64); err != nil || p < 10.9 || p > 11.2 {
		t.Errorf("best period %s yr, want about 11", m[1])
	}
	if s.took > 10*time.Second {
		t.Errorf("took %s", s.took)
	}
	wellFormed(t, "plot", out["plot"])
	wellFormed(t, "periodogram", out["periodogram"])
	for _, want := range []string{"period [yr]", "power (share of variance)", "best period " + m[1] + " yr"} {
		if !strings.Contains(out["plot"], want) {
			t.Errorf("the plot does not say %q", want)
		}
	}
	for _, want := range []string{`unit="yr**-1"`, `ucd="time.period"`, `version="1.4"`} {
		if !strings.Contains(out["periodogram"], want) {
			t.Errorf("the VOTable lacks %s", want)
		}
	}
	if n := strings.Count(out["cleaned"], "\n"); n != 310 {
		t.Errorf("the cleaned series has %d lines, want 310", n)
	}
}

func TestFoldTakesThePeriodogramsSeries(t *testing.T) {
	cleaned := run(t, "periodogram", nil, map[string][]byte{"series": sunspots(t)}).outputs(t)["cleaned"]
	out := run(t, "fold", map[string][]string{"PERIOD": {"11"}, "epoch": {"1700.5"}}, map[string][]byte{"series": []byte(cleaned)}).outputs(t)
	wellFormed(t, "plot", out["plot"])
	wellFormed(t, "folded", out["folded"])
	if n := strings.Count(out["folded"], "<TR>"); n != 309 {
		t.Errorf("%d rows, want 309", n)
	}
	// 1700 lies half a year before the epoch: the last half year of cycle -1.
	if want := "<TR><TD>1700</TD><TD>-1</TD><TD>0.954545455</TD>"; !strings.Contains(out["folded"], want) {
		t.Errorf("the table lacks %s", want)
	}
	if !strings.Contains(out["plot"], "SUNACTIVITY minus mean folded at 11 yr") {
		t.Error("the plot does not say what it shows")
	}
	again := run(t, "periodogram", nil, map[string][]byte{"series": []byte(cleaned)}).outputs(t)["cleaned"]
	if head, _, _ := strings.Cut(again, "\n"); head != "YEAR,SUNACTIVITY minus mean" {
		t.Errorf("cleaned twice, the header is %q", head)
	}
}

var (
	pointY = regexp.MustCompile(`<circle cx="[0-9.]+" cy="([0-9.]+)" r="2.5"/>`)
	tickY  = regexp.MustCompile(`stroke="#ddd"/><text x="82" y="[0-9.]+" text-anchor="end">(-?[0-9.e+-]+)</text>`)
)

// TestFoldedPointsAreWhole: no point lies on the edge of the plot, whatever the values are.
func TestFoldedPointsAreWhole(t *testing.T) {
	for name, c := range map[string]struct {
		series string
		ticks  []string
	}{
		"counts":    {"1,0\n2,150\n3,50\n4,100\n", []string{"0", "50", "100", "150"}},
		"no mean":   {"1,-49.75\n2,140.4\n3,0\n", []string{"-50", "0", "50", "100"}},
		"constant":  {"1,7\n2,7\n3,7\n", []string{"7"}},
		"negative":  {"1,-3\n2,-1\n3,-2\n", []string{"-3", "-2.5", "-2", "-1.5", "-1"}},
		"magnitude": {"1,1234567.25\n2,1234567.5\n3,1234567.3\n", nil},
	} {
		plot := run(t, "fold", map[string][]string{"period": {"2.5"}}, map[string][]byte{"series": []byte(c.series)}).outputs(t)["plot"]
		points := pointY.FindAllStringSubmatch(plot, -1)
		if len(points) != 2*strings.Count(c.series, "\n") {
			t.Errorf("%s: %d points", name, len(points))
		}
		for _, p := range points {
			if y, err := strconv.ParseFloat(p[1], 64); err != nil || y < 60+2.5 || y > 400-2.5 {
				t.Errorf("%s: a point at %s, the plot is from 60 to 400", name, p[1])
			}
		}
		var ticks []string
		for _, m := range tickY.FindAllStringSubmatch(plot, -1) {
			ticks = append(ticks, m[1])
		}
		if len(ticks) == 0 || c.ticks != nil && !slices.Equal(ticks, c.ticks) {
			t.Errorf("%s: ticks %v, want %v", name, ticks, c.ticks)
		}
	}
}

func TestBadSeriesAreTheUsersFault(t *testing.T) {
	for name, series := range map[string]string{
		"empty": "", "header only": "t,v\n", "one column": "t\n1\n2\n", "semicolons": "t;v\n1;2\n", "words": "t,v\n1,2\n3,x\n",
		"constant": "t,v\n1,2\n2,2\n3,2\n4,2\n5,2\n", "same time": "1,2\n1,3\n1,4\n1,5\n1,6\n", "binary": "\x00\xff\x00,\x01\n\x02,\x03\n",
	} {
		s := run(t, "periodogram", nil, map[string][]byte{"series": []byte(series)})
		if s.Definition.ExitClass(s.code) != definition.ClassUser || strings.TrimSpace(s.stderr) == "" {
			t.Errorf("%s: exit code %d, %q", name, s.code, s.stderr)
		}
	}
}

func TestOddHeadersStayWellFormed(t *testing.T) {
	series := "\xef\xbb\xbf\"t <&>\",\"fl\xe9ux & <b>\"\r\n# comment\r\n1,2\r\n2,3\r\n\r\n3,\r\n4,NaN\r\n5,1\r\n7,2\r\n8,4\r\n"
	in := map[string][]byte{"series": []byte(series)}
	for name, given := range map[string]map[string][]string{"periodogram": {"min_period": {"1"}}, "fold": {"period": {"3"}}} {
		for output, text := range run(t, name, given, in).outputs(t) {
			if output == "plot" || output == "folded" || output == "periodogram" {
				wellFormed(t, name+" "+output, text)
			}
		}
	}
}

func TestProbe(t *testing.T) {
	out := run(t, "probe", map[string][]string{"seconds": {"0.05"}, "text": {"-e é $HOME `x`\n2"}}, map[string][]byte{"input": []byte("data\n")}).outputs(t)
	if want := "done\n-e é $HOME `x`\n2\ndata\n"; out["answer"] != want {
		t.Errorf("got %q, want %q", out["answer"], want)
	}
	if out := run(t, "probe", map[string][]string{"seconds": {"1e-7"}}, nil).outputs(t); out["answer"] != "done\n" {
		t.Errorf("got %q", out["answer"])
	}
	s := run(t, "probe", map[string][]string{"fail": {"true"}}, nil)
	if s.code != 1 || s.Definition.ExitClass(s.code) != definition.ClassUser || !strings.Contains(s.stderr, "failed, as asked") {
		t.Errorf("exit code %d, %q", s.code, s.stderr)
	}
}

func TestMany(t *testing.T) {
	for _, c := range []struct{ n, size int }{{1, 0}, {3, 5}, {200, 70000}} {
		s := run(t, "many", map[string][]string{"n": {fmt.Sprint(c.n)}, "size": {fmt.Sprint(c.size)}}, nil)
		matches, err := s.Definition.MatchOutputs(os.DirFS(s.dir), definition.Values{})
		if err != nil || s.code != 0 {
			t.Fatalf("exit code %d, %v", s.code, err)
		}
		if len(matches[0].Files) != c.n {
			t.Errorf("%d files, want %d", len(matches[0].Files), c.n)
		}
		seen := map[string]bool{}
		for _, f := range matches[0].Files {
			data, err := os.ReadFile(filepath.Join(s.dir, f.Path))
			if err != nil || len(data) != c.size || f.Size != int64(c.size) || seen[string(data)] && c.size > 6 {
				t.Fatalf("%s has %d bytes, want %d different ones (%v)", f.Path, len(data), c.size, err)
			}
			seen[string(data)] = true
		}
	}
}
