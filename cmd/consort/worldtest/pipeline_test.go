package worldtest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"consort/shared/prov"
	"consort/shared/testenv"
	"consort/shared/userapi"
	"consort/shared/uws"
)

// pipeline is the folder of the example with codes of astronomers.
const pipeline = "../../../examples/pipeline"

// TestPipeline runs the example's script with the real codes, twice, and follows its results back to where they
// come from.
func TestPipeline(t *testing.T) {
	testenv.Need(t, "astmkprof", "astarithmetic", "astmatch", "source-extractor")
	d := newDev(t, "", pipeline)
	faint, bright := d.in(t).pipeline("-t", "2"), d.in(t).pipeline("-t", "5")

	t.Run("science", func(t *testing.T) { d.in(t).sameStars(faint, bright) })
	t.Run("lineage", func(t *testing.T) {
		for _, run := range []pipelineRun{faint, bright} {
			d.in(t).tracedToSeeds(run)
		}
	})
	t.Run("lineage of the federation", func(t *testing.T) { d.in(t).acrossJobs(faint, bright) })
	t.Run("software", func(t *testing.T) { d.in(t).software(faint) })
	t.Run("differences", func(t *testing.T) { d.in(t).differences(faint, bright) })
	t.Run("picture", func(t *testing.T) { d.in(t).picture(faint) })
	t.Run("repeated", func(t *testing.T) { d.in(t).repeated(faint) })
	t.Run("reproducible", func(t *testing.T) { d.in(t).sameImages(faint, bright) })
	t.Run("real image", func(t *testing.T) { whirlpool(d.in(t)) })
	t.Run("no image", func(t *testing.T) { noImage(d.in(t)) })
}

// pipelineRun is the jobs of one run of the script.
type pipelineRun struct {
	fields, catalogues []userapi.Ref
	match              userapi.Ref
}

func (r pipelineRun) all() []userapi.Ref {
	return slices.Concat(r.fields, r.catalogues, []userapi.Ref{r.match})
}

// consort runs a command, which must end with the status, and returns what it printed.
func (u *user) consort(status int, argv ...string) string {
	u.Helper()
	program, _ := programs(u)
	return u.command(status, append([]string{program}, argv...)...)
}

// command runs a program that finds the consort program and the server in its environment.
func (u *user) command(status int, argv ...string) string {
	u.Helper()
	program, _ := programs(u)
	ctx, cancel := context.WithTimeout(u.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), "CONSORT="+program, "CONSORT_SERVER="+u.url, "CONSORT_TOKEN="+u.token, "LC_ALL=C.UTF-8")
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	err := cmd.Run()
	if cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != status {
		u.Fatalf("%q: %v, want status %d\n%s%s", argv, err, status, out.String(), said.String())
	}
	return out.String()
}

// pipeline runs the script. It prints a line "definition id" for each job.
func (u *user) pipeline(options ...string) pipelineRun {
	u.Helper()
	out := u.command(0, append([]string{"sh", filepath.Join(pipeline, "run.sh")}, options...)...)
	jobs := map[string][]userapi.Ref{}
	for line := range strings.Lines(out) {
		name, id, _ := strings.Cut(strings.TrimSpace(line), " ")
		jobs[name] = append(jobs[name], userapi.Ref{Definition: name, ID: id})
	}
	r := pipelineRun{fields: jobs["star-field"], catalogues: jobs["source-catalogue"]}
	if len(jobs) != 3 || len(r.fields) != 2 || len(r.catalogues) != 2 || len(jobs["catalogue-match"]) != 1 {
		u.Fatalf("the script printed %q", out)
	}
	r.match = jobs["catalogue-match"][0]
	for _, ref := range r.all() {
		u.wait(ref, uws.Completed)
	}
	return r
}

// summary of a match, as the first lines of its text tell it.
type summary struct{ matched, first, second int }

var (
	counts     = regexp.MustCompile(`^matched (\d+)\nsources in the first catalogue (\d+)\nsources in the second catalogue (\d+)\n`)
	separation = regexp.MustCompile(`(?m)^separation ([0-9.]+) pixel`)
	dotted     = regexp.MustCompile(`[0-9]+(\.[0-9]+)+`)
	rows       = regexp.MustCompile(`NAXIS2  = +(\d+) `)
)

func number(t testing.TB, text string) int {
	t.Helper()
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// tableRows is how many rows the first table of a FITS file has.
func tableRows(t testing.TB, fits string) int {
	t.Helper()
	_, table, found := strings.Cut(fits, "XTENSION= 'BINTABLE'")
	match := rows.FindStringSubmatch(table)
	if !found || match == nil {
		t.Fatalf("no FITS table in %d bytes, %.80q…", len(fits), fits)
	}
	return number(t, match[1])
}

// pairs reads the results of a match, which must agree with each other and with the two catalogues.
func (u *user) pairs(r pipelineRun) summary {
	u.Helper()
	found := u.results(r.match)
	match := counts.FindStringSubmatch(found["summary"])
	if match == nil {
		u.Fatalf("the summary is %q", found["summary"])
	}
	s := summary{number(u, match[1]), number(u, match[2]), number(u, match[3])}
	seen := summary{tableRows(u, found["matched"]), tableRows(u, u.results(r.catalogues[0])["catalogue"]), tableRows(u, u.results(r.catalogues[1])["catalogue"])}
	if s != seen {
		u.Errorf("the summary tells of %+v, the tables have %+v", s, seen)
	}
	far := separation.FindStringSubmatch(found["summary"])
	if far == nil {
		u.Fatalf("the summary is %q", found["summary"])
	}
	if rms, err := strconv.ParseFloat(far[1], 64); err != nil || rms <= 0 || rms > 0.5 {
		u.Errorf("the pairs are %q pixels apart; noise alone should part them by a tenth", far[1])
	}
	return s
}

// sameStars: two images of 200 stars show mostly the same ones, and a higher threshold finds fewer.
func (u *user) sameStars(faint, bright pipelineRun) {
	u.Helper()
	low, high := u.pairs(faint), u.pairs(bright)
	for _, s := range []summary{low, high} {
		if fewer := min(s.first, s.second); fewer > 210 || s.matched < 50 || s.matched > fewer || s.matched < fewer*8/10 {
			u.Errorf("of 200 stars, the match tells %+v", s)
		}
	}
	if low.matched <= high.matched || low.first <= high.first {
		u.Errorf("a threshold of 2 gives %+v, one of 5 gives %+v", low, high)
	}
}

// tracedToSeeds follows a run from its match back to the simulations, by the records of the jobs and by their
// provenance.
func (u *user) tracedToSeeds(r pipelineRun) {
	u.Helper()
	for i, input := range []string{"first", "second"} {
		u.madeFrom(r.match, input, r.catalogues[i], "catalogue")
		u.madeFrom(r.catalogues[i], "image", r.fields[i], "image")
	}
	tree := u.consort(0, "prov", "show", r.match.ID, "--result", "matched")
	for _, ref := range r.all() {
		u.provenance(ref)
		if !strings.Contains(tree, "job:"+ref.ID) {
			u.Errorf("the trace of the match does not lead to %s %s:\n%s", ref.Definition, ref.ID, tree)
		}
	}
	for _, seed := range []string{"noise_seed = 1", "noise_seed = 2"} {
		if !strings.Contains(tree, seed) {
			u.Errorf("the trace of the match does not tell %s:\n%s", seed, tree)
		}
	}
}

// madeFrom checks that an input of one job is a result of another, with the same bytes.
func (u *user) madeFrom(job userapi.Ref, input string, from userapi.Ref, result string) {
	u.Helper()
	inputs, results := u.job(job).Inputs, u.job(from).Results
	i := slices.IndexFunc(inputs, func(in userapi.Input) bool { return in.Name == input })
	k := slices.IndexFunc(results, func(r userapi.Result) bool { return r.ID == result })
	if i < 0 || k < 0 {
		u.Fatalf("job %s has the inputs %+v, job %s the results %+v", job.ID, inputs, from.ID, results)
	}
	in, made := inputs[i], results[k]
	if in.FromJob != from.ID || in.FromResult != result || in.SHA256 != made.SHA256 || in.Size != made.Size {
		u.Errorf("input %s is %+v, the result %+v of %s", input, in, made, from.ID)
	}
}

// lineage asks with the command where something comes from, or what was made of it.
func (u *user) lineage(argv ...string) userapi.Lineage {
	u.Helper()
	text := u.consort(0, append([]string{"prov", "lineage", "-o", "json"}, argv...)...)
	var l userapi.Lineage
	if err := json.Unmarshal([]byte(text), &l); err != nil || l.Truncated {
		u.Fatalf("lineage %q: %v in %s", argv, err, text)
	}
	return l
}

// tells checks which jobs a lineage tells of.
func (u *user) tells(l userapi.Lineage, with, without []userapi.Ref) {
	u.Helper()
	var jobs []string
	for _, n := range l.Nodes {
		if n.Job != nil {
			jobs = append(jobs, n.Job.ID)
		}
	}
	for _, ref := range with {
		if !slices.Contains(jobs, ref.ID) {
			u.Errorf("the lineage of %s does not tell of %s %s, only of %q", l.Focus, ref.Definition, ref.ID, jobs)
		}
	}
	for _, ref := range without {
		if slices.Contains(jobs, ref.ID) {
			u.Errorf("the lineage of %s tells of %s %s", l.Focus, ref.Definition, ref.ID)
		}
	}
}

// acrossJobs asks in both directions: for the jobs behind a match, for what became of an image, and of a file on disk
// that has the bytes of an image of both runs.
func (u *user) acrossJobs(one, other pipelineRun) {
	u.Helper()
	back := u.lineage(one.match.ID)
	u.tells(back, one.all(), other.all())
	var hashes []string
	for _, n := range back.Nodes {
		if n.File != nil {
			hashes = append(hashes, n.File.SHA256)
		}
	}
	for _, ref := range slices.Concat(one.fields, one.catalogues) {
		if sum := u.job(ref).Results[0].SHA256; !slices.Contains(hashes, sum) {
			u.Errorf("the lineage of the match does not tell of the file of %s with the SHA-256 %s", ref.Definition, sum)
		}
	}
	first := []userapi.Ref{one.catalogues[0], one.match}
	forth := u.lineage(one.fields[0].ID+"/image", "--forth")
	u.tells(forth, first, append([]userapi.Ref{one.catalogues[1], one.fields[1]}, other.all()...))

	file := filepath.Join(u.TempDir(), "from-somewhere.fits")
	write(u, file, u.results(one.fields[0])["image"])
	ofBoth := u.lineage(file, "--forth")
	u.tells(ofBoth, append(first, other.catalogues[0], other.match), []userapi.Ref{one.catalogues[1], other.catalogues[1]})
}

// software: the records tell the versions that the codes really ran with, and jobs are found by them.
func (u *user) software(r pipelineRun) {
	u.Helper()
	for _, c := range []struct {
		ref     userapi.Ref
		name    string
		command string
	}{
		{r.fields[0], "gnuastro", "astmkprof"}, {r.catalogues[0], "source-extractor", "source-extractor"}, {r.match, "gnuastro", "astmatch"},
	} {
		said, err := exec.Command(c.command, "--version").Output()
		version := dotted.FindString(string(said))
		if err != nil || version == "" {
			u.Fatalf("%s says %q, %v", c.command, said, err)
		}
		if id := prov.SoftwareID(c.name, version).String(); !strings.Contains(u.fetch(at(c.ref, "/provjson")), strconv.Quote(id)) {
			u.Errorf("the record of %s does not tell of %s", c.ref.Definition, id)
		}
		if tree := u.consort(0, "prov", "show", c.ref.ID); !strings.Contains(tree, "ran with  "+c.name+" "+version) {
			u.Errorf("the tree of %s does not tell of %s %s:\n%s", c.ref.Definition, c.name, version, tree)
		}
		found := u.fetch("/api/v1/provenance/jobs?software=" + c.name + "@" + version)
		if !strings.Contains(found, strconv.Quote(c.ref.ID)) {
			u.Errorf("%s is not found by %s %s: %s", c.ref.Definition, c.name, version, found)
		}
	}
}

// differences: the simulations of the two runs are the same; their catalogues differ by the threshold and by what it made.
func (u *user) differences(one, other pipelineRun) {
	u.Helper()
	u.consort(0, "prov", "diff", one.fields[0].ID, other.fields[0].ID)
	text := u.consort(1, "prov", "diff", "-o", "json", one.catalogues[0].ID, other.catalogues[0].ID)
	var d userapi.ProvDiff
	if err := json.Unmarshal([]byte(text), &d); err != nil {
		u.Fatalf("%v: %s", err, text)
	}
	var differ []string
	for _, line := range d.Lines {
		switch {
		case !line.Same:
			differ = append(differ, line.Section+" "+line.Name)
		case line.Section == "input" && len(line.A) == 0:
			u.Errorf("the input %s has no hash", line.Name)
		}
	}
	slices.Sort(differ)
	if want := []string{"output catalogue", "output segments", "parameter threshold"}; d.Same || !slices.Equal(differ, want) {
		u.Errorf("%q differ, want %q: %s", differ, want, text)
	}
}

// picture draws the lineage of a match.
func (u *user) picture(r pipelineRun) {
	u.Helper()
	file := filepath.Join(u.TempDir(), "lineage.svg")
	u.consort(0, "prov", "graph", r.match.ID, "--depth", "all", "--to", file)
	svg, err := os.ReadFile(file)
	if err != nil {
		u.Fatal(err)
	}
	for _, ref := range r.all() {
		if !strings.Contains(string(svg), "<title>"+ref.Definition+", "+ref.ID+"\n") { // the label may be shortened
			u.Errorf("the picture does not show %s %s", ref.Definition, ref.ID)
		}
	}
}

// repeated makes a job again from the record of each kind of job. The codes leave no date in what they write, but for
// the table of the match.
func (u *user) repeated(r pipelineRun) {
	u.Helper()
	for _, c := range []struct {
		job     userapi.Ref
		verdict string
	}{
		{r.fields[1], "identical bytes"}, {r.catalogues[1], "identical bytes"}, {r.match, "identical data"},
	} {
		text := u.consort(0, "prov", "rerun", c.job.ID, "--wait")
		if !strings.Contains(text, c.verdict) || strings.Contains(text, "different") {
			u.Errorf("%s made again: %s", c.job.Definition, text)
		}
	}
}

// sameImages: the same seeds give the same bytes, and another noise others; what Source-Extractor finds differs by
// its threshold alone.
func (u *user) sameImages(one, other pipelineRun) {
	u.Helper()
	for i := range one.fields {
		a, b := u.results(one.fields[i]), u.results(other.fields[i])
		if a["image"] != b["image"] || a["stars"] != b["stars"] {
			u.Errorf("jobs %s and %s have the same seeds and different images", one.fields[i].ID, other.fields[i].ID)
		}
		if u.results(one.catalogues[i])["catalogue"] == u.results(other.catalogues[i])["catalogue"] {
			u.Errorf("catalogue %d is the same with both thresholds", i)
		}
	}
	first, second := u.results(one.fields[0]), u.results(one.fields[1])
	if first["image"] == second["image"] || first["stars"] != second["stars"] {
		u.Error("another seed of the noise left the image as it was, or moved the stars")
	}
	again := u.run("source-catalogue", "image", "consort:"+other.fields[0].ID+"/image", "threshold", "2.0")
	u.wait(again, uws.Completed)
	if u.results(again)["catalogue"] != u.results(one.catalogues[0])["catalogue"] {
		u.Error("the same image and threshold gave another catalogue")
	}
}

// whirlpool makes a catalogue of a real image that a user sends.
func whirlpool(u *user) {
	image, err := os.ReadFile(filepath.Join(pipeline, "m51", "m51.fits"))
	if err != nil {
		u.Fatal(err)
	}
	s := submission("source-catalogue", "threshold", "3")
	s.Uploads = []userapi.Upload{upload("image", "m51.fits", image)}
	ref := u.submit(s)
	u.wait(ref, uws.Completed)
	found := u.results(ref)
	if n := tableRows(u, found["catalogue"]); n < 50 || n > 500 {
		u.Errorf("%d sources in M51", n)
	}
	if !strings.Contains(found["segments"], "NAXIS1  =                  512") {
		u.Error("the segments are not of the size of the image")
	}
	hash := sha256.Sum256(image)
	if u.provenance(ref); !strings.Contains(u.fetch(at(ref, "/provjson")), hex.EncodeToString(hash[:])) {
		u.Error("the provenance does not hold the hash of the image")
	}
}

// noImage: a file that is no image is the user's fault, and the message says so.
func noImage(u *user) {
	for _, c := range []struct {
		definition, message string
		inputs              []string
	}{
		{"source-catalogue", "cannot open image.fits", []string{"image"}},
		{"catalogue-match", "first.fits is no catalogue", []string{"first", "second"}},
	} {
		s := submission(c.definition)
		for _, name := range c.inputs {
			s.Uploads = append(s.Uploads, upload(name, "notes.txt", []byte("no image\n")))
		}
		ref := u.submit(s)
		u.wait(ref, uws.Error)
		if j := u.job(ref); j.Error == nil || j.Error.Class != "user" || !strings.Contains(j.Error.Message, c.message) {
			u.Errorf("the error of %s is %+v", c.definition, j.Error)
		}
	}
}
