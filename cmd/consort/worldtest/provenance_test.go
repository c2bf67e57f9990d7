package worldtest

import (
	"archive/zip"
	"bytes"
	"fmt"
	"image/png"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"consort/shared/prov"
	"consort/shared/schemas"
	"consort/shared/testenv"
	"consort/shared/userapi"
	"consort/shared/uws"
)

// TestProvenanceFormats lets third parties judge the provenance of jobs of every fate, in every form and of every
// answer: the record of a job, and what ProvSAP says of it by default.
func TestProvenanceFormats(t *testing.T) {
	needJudges(t)
	u := newDev(t, "").in(t)
	j := &judge{user: u, dir: t.TempDir()}
	for name, ref := range u.fates() {
		j.take(name, func(form string) string { return at(ref, "/"+form) })
		j.take(name+" by ProvSAP", func(form string) string {
			return "/provsap?" + url.Values{"ID": {prov.JobID(ref.ID).String()}, "RESPONSEFORMAT": {provsapNames[form]}}.Encode()
		})
		j.take(name+" and all around it", func(form string) string {
			return "/provsap?" + url.Values{"ID": {ref.ID}, "DEPTH": {"ALL"}, "DIRECTION": {"BOTH"}, "STEPS": {"1"}, "MEMBERS": {"1"},
				"DESCRIPTIONS": {"2"}, "RESPONSEFORMAT": {provsapNames[form]}}.Encode()
		})
	}
	j.validate(t)
	t.Run("secret", j.noSecret)
}

// needJudges skips a test without the programs of validate.
func needJudges(t *testing.T) {
	t.Helper()
	needPython(t, "prov, jsonschema, rdflib, lxml")
	testenv.Need(t, "xmllint", "stilts", "rapper", "rsvg-convert", "node")
}

// validate lets third parties judge all answers.
func (j *judge) validate(t *testing.T) {
	t.Run("python", j.python)
	t.Run("xmllint", func(t *testing.T) { schemas.Validate(t, schemas.ProvXML, j.documents(t, ".xml")...) })
	t.Run("votlint", j.votlint)
	t.Run("rapper", func(t *testing.T) { j.each(t, ".ttl", "rapper", "-q", "-c", "-i", "turtle") })
	t.Run("pictures", j.pictures)
	t.Run("crates", j.crates)
}

// provsapNames are the values of RESPONSEFORMAT by the name of the resource below a job.
var provsapNames = map[string]string{
	"provjson": "PROV-JSON", "provxml": "PROV-XML", "provn": "PROV-N", "provvot": "PROV-VOTABLE", "provttl": "PROV-TURTLE",
	"provjsonld": "PROV-JSONLD", "provsvg": "PROV-SVG", "provpng": "PROV-PNG", "rocrate": "RO-CRATE",
}

// fates makes jobs that differ in how they ended and in what they hold.
func (u *user) fates() map[string]userapi.Ref {
	u.Helper()
	given := submission("probe", "text", "ünï \"code\" <&> ]]> 𝔘", "resource_cores", "2")
	given.Uploads = []userapi.Upload{upload("input", "ä b.dat", []byte("x"))}
	refs := map[string]userapi.Ref{
		"completed": u.submit(given), "defaults": u.run("probe"), "failed": u.run("probe", "fail", "true"),
		"retried": u.run("flaky"), "secret": u.run("secret", "password", password, "steps", "7", "kind", "hot"),
		"collection": u.run("work", "files", "30"), "aborted": u.growing(),
	}
	if err := u.client.Abort(u.Context(), refs["aborted"]); err != nil {
		u.Fatal(err)
	}
	u.ended(refs["aborted"], "cancelled")
	for name, ref := range refs {
		switch name {
		case "failed":
			u.wait(ref, uws.Error)
		case "aborted":
			u.wait(ref, uws.Aborted)
		default:
			u.wait(ref, uws.Completed)
		}
	}
	refs["user"] = u.run("probe", "input", "consort:"+refs["completed"].ID+"/answer")
	u.wait(refs["user"], uws.Completed)
	return refs
}

// judge collects answers: stem and extension are a file of its folder.
type judge struct {
	*user
	dir     string
	stems   []string
	records []int
}

// take fetches one answer in every form.
func (j *judge) take(name string, path func(form string) string) {
	j.Helper()
	stem := filepath.Join(j.dir, strings.ReplaceAll(name, " ", "-"))
	for form := range provsapNames {
		write(j, stem+"."+strings.TrimPrefix(form, "prov"), j.fetch(path(form)))
	}
	graph, err := prov.ReadN(strings.NewReader(j.read(stem+".n")), prov.DefaultLimits())
	if err != nil {
		j.Fatalf("%s: %v", name, err)
	}
	if err := graph.Validate(); err != nil {
		j.Errorf("%s: %v", name, err)
	}
	n := graph.Len()
	for _, b := range graph.Bundles() {
		n += b.Len()
	}
	fromXML, err := prov.ReadXML(strings.NewReader(j.read(stem+".xml")), prov.DefaultLimits())
	if err != nil || !fromXML.Equal(graph) {
		j.Errorf("%s: PROV-XML and PROV-N differ (%v)", name, err)
	}
	var again bytes.Buffer
	if err := prov.WriteJSON(&again, graph); err != nil {
		j.Fatal(err)
	}
	write(j, stem+".n.json", again.String())
	j.stems, j.records = append(j.stems, stem), append(j.records, n)
}

func (j *judge) read(path string) string {
	j.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		j.Fatal(err)
	}
	return string(text)
}

// documents are all answers in one form.
func (j *judge) documents(t *testing.T, extension string) [][]byte {
	t.Helper()
	var list [][]byte
	for _, stem := range j.stems {
		list = append(list, []byte(j.read(stem+extension)))
	}
	return list
}

// each runs a program on every answer in one form. It must end well, and say nothing.
func (j *judge) each(t *testing.T, extension string, argv ...string) {
	for _, stem := range j.stems {
		out, err := exec.Command(argv[0], append(argv[1:], stem+extension)...).CombinedOutput()
		if err != nil || len(bytes.TrimSpace(out)) > 0 {
			t.Errorf("%s: %v\n%.2000s", stem+extension, err, out)
		}
	}
}

func (j *judge) python(t *testing.T) {
	folder := t.TempDir()
	if err := os.CopyFS(folder, schemas.FS); err != nil {
		t.Fatal(err)
	}
	var want strings.Builder
	for _, n := range j.records {
		fmt.Fprintln(&want, n)
	}
	out := runPython(t, append([]string{"testdata/judge_provenance.py", folder}, j.stems...)...)
	if out != want.String() {
		t.Errorf("python-prov found %q records, we did %q", out, want.String())
	}
}

func (j *judge) votlint(t *testing.T) {
	schemas.Validate(t, schemas.VOTable, j.documents(t, ".vot")...)
	for _, stem := range j.stems {
		// votlint exits with 0 whatever it finds.
		out, err := exec.Command("stilts", "votlint", "ucd=true", "unit=true", stem+".vot").CombinedOutput()
		if err != nil || strings.Contains(string(out), "ERROR") {
			t.Errorf("%s: %v\n%.2000s", stem, err, out)
		}
	}
}

func (j *judge) pictures(t *testing.T) {
	for _, stem := range j.stems {
		drawn, err := exec.Command("rsvg-convert", stem+".svg").Output()
		if err == nil {
			_, err = png.DecodeConfig(bytes.NewReader(drawn))
		}
		if err != nil {
			t.Errorf("%s.svg: %v", stem, err)
		}
		if size, err := png.DecodeConfig(strings.NewReader(j.read(stem + ".png"))); err != nil || size.Width < 100 {
			t.Errorf("%s.png: %v %v", stem, size, err)
		}
	}
}

// crates unpacks the crates and has them judged.
func (j *judge) crates(t *testing.T) {
	const tools = "../../../scripts/validate"
	if _, err := os.Stat(filepath.Join(tools, "node_modules")); err != nil {
		testenv.Skip(t, "needs the validators: run npm ci in scripts/validate")
	}
	args := []string{filepath.Join(tools, "crate.mjs")}
	for i, stem := range j.stems {
		dir := filepath.Join(t.TempDir(), strconv.Itoa(i))
		unpack(t, stem+".rocrate", dir)
		args = append(args, dir)
	}
	if out, err := exec.Command("node", args...).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("%v\n%s", err, out)
	}
}

// unpack writes the files of a zip into a new folder.
func unpack(t *testing.T, path, dir string) {
	t.Helper()
	z, err := zip.OpenReader(path)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	if err := os.CopyFS(dir, z); err != nil {
		t.Fatal(err)
	}
}

// noSecret looks for the secret parameter's value in every file that was fetched, also within the crates.
func (j *judge) noSecret(t *testing.T) {
	for _, stem := range j.stems {
		for form := range provsapNames {
			path := stem + "." + strings.TrimPrefix(form, "prov")
			if strings.Contains(j.read(path), password) {
				t.Errorf("%s holds the secret", path)
			}
		}
		z, err := zip.OpenReader(stem + ".rocrate")
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range z.File {
			if strings.Contains(contentOf(t, f), password) {
				t.Errorf("%s in %s holds the secret", f.Name, stem)
			}
		}
		z.Close()
	}
	if !slices.ContainsFunc(j.stems, func(s string) bool {
		return strings.HasSuffix(s, "/secret") && strings.Contains(j.read(s+".json"), "isSecret")
	}) {
		t.Error("no record tells of a secret parameter")
	}
}

func contentOf(t *testing.T, f *zip.File) string {
	t.Helper()
	r, err := f.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	text, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
