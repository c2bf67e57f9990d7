package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"consort/shared/userapi"
)

// provenanceRoutes are those of the JSON API, and ProvSAP, over the jobs of the world: fold used a result of series.
func (w *world) provenanceRoutes(mux *http.ServeMux) {
	mux.HandleFunc("GET /api/v1/provenance/lineage", w.lineage)
	mux.HandleFunc("GET /api/v1/provenance/content/{sha}", func(rw http.ResponseWriter, r *http.Request) {
		if r.PathValue("sha") != sha("table") {
			http.Error(rw, "nothing has this content", 404)
			return
		}
		reply(rw, userapi.ProvContent{Entities: []userapi.ProvNode{{ID: "ent:" + series + ".r.table", Kind: "file"}}})
	})
	mux.HandleFunc("GET /api/v1/provenance/diff", func(rw http.ResponseWriter, r *http.Request) {
		d := userapi.ProvDiff{A: r.FormValue("a"), B: r.FormValue("b"), Same: r.FormValue("a") == r.FormValue("b"), Lines: []userapi.ProvDiffLine{
			{Section: "definition", Name: "version", A: []string{"1.2"}, B: []string{"1.2"}, Same: true},
		}}
		if !d.Same {
			d.Lines = append(d.Lines, userapi.ProvDiffLine{Section: "parameter", Name: "period", A: []string{"11.1"}, B: []string{}, Same: w.alike})
			d.Lines = append(d.Lines, userapi.ProvDiffLine{Section: "output", Name: "folded", A: []string{sha("folds")}, B: []string{sha("other")}})
		}
		reply(rw, d)
	})
	mux.HandleFunc("GET /api/v1/provenance/verify/{id}", func(rw http.ResponseWriter, r *http.Request) {
		ok := r.PathValue("id") != failed
		reply(rw, userapi.ProvReport{Job: r.PathValue("id"), OK: ok, Checks: []userapi.ProvCheck{
			{What: "result folded", OK: true}, {What: "fragment 7 of meudon: signature", OK: ok, Detail: "by key 1\x1b[31m"},
			{What: "input series", OK: true, Detail: "retracted", Remark: true}}})
	})
	mux.HandleFunc("GET /api/v1/provenance/impact", func(rw http.ResponseWriter, r *http.Request) {
		page := userapi.ProvImpact{Entity: r.FormValue("id"), JobCount: 1, ResultCount: 3, Next: "n",
			Jobs: []userapi.ProvAffected{{ProvJob: userapi.ProvJob{ID: fold, Definition: "fold", Version: "1.2", Phase: "COMPLETED", Created: at(100)}, Steps: 1, Results: []string{"a", "b", "c"}}}}
		for n := range w.equals {
			page.Same = append(page.Same, userapi.ProvNode{ID: fmt.Sprint("ent:up.", n), Kind: "file", File: &userapi.ProvFile{Upload: fmt.Sprint(n)}})
		}
		if w.equals > 0 {
			page.Same[0].File = &userapi.ProvFile{Job: series, Result: "table"}
		}
		page.SameMore = w.equals == 100
		if r.FormValue("cursor") == "n" {
			page = userapi.ProvImpact{Entity: r.FormValue("id"), JobCount: 2, ResultCount: 2, HiddenJobs: 2, HiddenResults: 2}
		}
		reply(rw, page)
	})
	mux.HandleFunc("POST /api/v1/provenance/retractions", func(rw http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.submitted = append(w.submitted, string(body))
		switch already := strings.Contains(string(body), "/plot"); {
		case already && strings.Contains(string(body), "withdraw"):
			http.Error(rw, "it is not retracted", 404)
		case already:
			reply(rw, userapi.Retracted{Message: "plot was retracted by ada\x1b[2J"})
		default:
			rw.WriteHeader(http.StatusNoContent)
		}
	})
	mux.HandleFunc("GET /provsap", w.provsap)
}

func (w *world) lineage(rw http.ResponseWriter, r *http.Request) {
	w.depth = r.FormValue("depth")
	job := func(id, name string, n int) userapi.ProvNode {
		return userapi.ProvNode{ID: "job:" + id, Kind: "job", Job: &userapi.ProvJob{ID: id, Definition: name, Version: "1.2", Phase: "COMPLETED", Site: "meudon", Created: at(n)}}
	}
	table, sun, hidden := "ent:"+series+".r.table", "ent:up.01ke5nzuzz", "ent:redacted.x"
	l := userapi.Lineage{
		Nodes: []userapi.ProvNode{job(fold, "fold", 100), job(series, "periodogram", 0),
			{ID: table, Kind: "file", File: &userapi.ProvFile{Name: "table.vot", SHA256: sha("table"), Size: 5, Job: series, Result: "table", Retracted: &userapi.ProvRetraction{Reason: "wrong\x1b[2J flat"}}},
			{ID: sun, Kind: "file", File: &userapi.ProvFile{Name: "sunspots.csv", SHA256: sha("sunspots"), Size: 8, Upload: "01ke5nzuzz", SameAs: []string{"ent:x.r.y"}}},
			{ID: hidden, Kind: "redacted"}, {ID: "job:redacted.y", Kind: "redacted"}},
		Edges: []userapi.ProvEdge{
			{From: "job:" + fold, To: table, Relation: "used", Role: "series"}, {From: table, To: "job:" + series, Relation: "wasGeneratedBy", Role: "table"},
			{From: "job:" + series, To: sun, Relation: "used", Role: "series"}, {From: "job:" + series, To: hidden, Relation: "used"},
			{From: hidden, To: "job:redacted.y", Relation: "wasGeneratedBy"}, {From: "job:" + fold, To: sun, Relation: "used", Role: "mask"},
		},
	}
	switch l.Focus = r.FormValue("id"); {
	case strings.Contains(l.Focus, "nothing"):
		http.Error(rw, "nothing has this identifier", 404)
		return
	case strings.HasPrefix(l.Focus, "consort:"):
		l.Focus = table
	}
	l.Truncated = r.FormValue("limit") == "1"
	reply(rw, l)
}

func (w *world) provsap(rw http.ResponseWriter, r *http.Request) {
	w.asked = append(w.asked, r.URL.Query().Encode())
	if strings.Contains(r.FormValue("ID"), "nothing") {
		http.Error(rw, "nothing has this ID", 404)
		return
	}
	if r.FormValue("DEPTH") == "ALL" {
		rw.Header().Set(userapi.OverflowHeader, "OVERFLOW")
	}
	fmt.Fprintf(rw, "%s of %s\n", r.FormValue("RESPONSEFORMAT"), r.FormValue("ID"))
}

func TestLineageOfAFile(t *testing.T) {
	w := newWorld(t)
	file := filepath.Join(t.TempDir(), "renamed.fits")
	if err := os.WriteFile(file, []byte("table"), 0o600); err != nil {
		t.Fatal(err)
	}
	o := w.run("prov", "lineage", file, "--forth")
	if o.status != 0 || !strings.HasPrefix(o.out, "table.vot (") || !strings.Contains(o.out, "as series: job "+fold) {
		t.Errorf("%+v", o)
	}
	if err := os.WriteFile(file, []byte("unknown"), 0o600); err != nil {
		t.Fatal(err)
	}
	if o := w.run("prov", "lineage", file); o.status != exitFailure || !strings.Contains(o.err, sha("unknown")) {
		t.Errorf("%+v", o)
	}
	if o := w.run("prov", "lineage", t.TempDir()); o.status != exitFailure || !strings.Contains(o.err, "is a folder") {
		t.Errorf("%+v", o)
	}
	for _, args := range [][]string{{"--depth", "-1"}, {"--depth", "deep"}, {"--limit", "0"}, {"--limit", "10001"}} {
		if o := w.run(append([]string{"prov", "lineage", fold}, args...)...); o.status != exitUsage {
			t.Errorf("%v: %+v", args, o)
		}
	}
	for depth, want := range map[string]string{"0": "0", "3": "3", "all": "", "ALL": ""} {
		if o := w.run("prov", "lineage", fold, "--depth", depth); o.status != 0 || w.depth != want {
			t.Errorf("--depth %s: %+v asked %q", depth, o, w.depth)
		}
	}
	if o := w.run("prov", "lineage", fold, "--limit", "1"); !strings.Contains(o.err, "raise --limit") {
		t.Errorf("%+v", o)
	}
	var l userapi.Lineage
	if o := w.run("prov", "lineage", fold, "-o", "json"); json.Unmarshal([]byte(o.out), &l) != nil || l.Focus != "job:"+fold || len(l.Nodes) != 6 {
		t.Errorf("%+v", o)
	}
}

// TestDeepLineage: a long chain is drawn within bounds.
func TestDeepLineage(t *testing.T) {
	l := &userapi.Lineage{}
	const jobs = 5000
	for i := range jobs {
		l.Nodes = append(l.Nodes, userapi.ProvNode{ID: fmt.Sprint("job:", i), Kind: "job", Job: &userapi.ProvJob{ID: fmt.Sprint(i)}})
		l.Edges = append(l.Edges, userapi.ProvEdge{From: fmt.Sprint("job:", i), To: fmt.Sprint("job:", (i+1)%jobs), Relation: "cachedFrom"})
	}
	text := (&lineageTree{lineage: l, style: asciiStyle}).draw([]string{"job:0"}, "both")
	if lines := strings.Count(text, "\n"); lines < 2*jobs || len(text) > 4*jobs*(3*maxIndent+40) || !strings.Contains(text, "(told above)") {
		t.Errorf("%d lines, %d bytes", lines, len(text))
	}
}

func TestExport(t *testing.T) {
	w := newWorld(t)
	t.Chdir(t.TempDir())
	for _, c := range []struct {
		args       string
		out, file  string
		parameters string
		said       string
	}{
		{"export " + fold, "PROV-JSON of job:" + fold + "\n", "", "DEPTH=1&DIRECTION=BOTH", ""},
		{"export " + fold + "/folded --format ttl --forth --back --depth 3 --model ivoa --descriptions", "PROV-TURTLE of consort:" + fold + "/folded\n", "", "DEPTH=3&DESCRIPTIONS=2&DIRECTION=BOTH", ""},
		{"export " + fold + "/result --format n", "PROV-N of consort:" + fold + "/folded\n", "", "DIRECTION=BACK", ""},
		{"export " + fold + " --back", "PROV-JSON of job:" + fold + "\n", "", "DIRECTION=BACK", ""},
		{"export " + fold + " --depth all --format xml --to x.xml", "x.xml\n", "x.xml", "DEPTH=ALL", "a part"},
		{"export " + fold + " --format rocrate --data", fold + ".crate.zip\n", fold + ".crate.zip", "DATA=1", ""},
		{"graph " + fold, fold + ".svg\n", fold + ".svg", "ATTRIBUTES=0", ""},
		{"graph " + fold + "/plot --to a.PNG --attributes", "a.PNG\n", "a.PNG", "ATTRIBUTES=1", ""},
		{"graph " + fold + " --to -", "PROV-SVG of job:" + fold + "\n", "", "", ""},
		{"export https://consort.example/id/entity/up.x", "PROV-JSON of https://consort.example/id/entity/up.x\n", "", "DIRECTION=BACK", ""},
		{"graph ent:" + fold + ".r.plot --forth", "ent_" + fold + ".r.plot.svg\n", "", "DIRECTION=FORTH", ""},
	} {
		o := w.run(strings.Fields("prov " + c.args)...)
		if o.status != 0 || o.out != c.out && c.file == "" && !strings.HasPrefix(c.args, "graph ent") || !strings.Contains(w.asked[len(w.asked)-1], c.parameters) || !strings.Contains(o.err, c.said) {
			t.Errorf("%s: %+v asked %s", c.args, o, w.asked[len(w.asked)-1])
		}
		if c.file == "" {
			continue
		}
		if text, err := os.ReadFile(c.file); err != nil || !strings.Contains(string(text), " of ") || o.out != c.file+"\n" {
			t.Errorf("%s: %v %q", c.args, err, text)
		}
		if o := w.run(strings.Fields("prov " + c.args)...); o.status != exitFailure || !strings.Contains(o.err, "--replace") {
			t.Errorf("%s: %+v", c.args, o)
		}
		if o := w.run(strings.Fields("prov " + c.args + " --replace")...); o.status != 0 {
			t.Errorf("%s: %+v", c.args, o)
		}
	}
	for args, says := range map[string]string{
		"export --format pdf": "json", "export --data": "rocrate", "export --depth deep": "all", "export --depth -1": "from 0 on", "export --model opm": "ivoa",
		"export --format rocrate --depth 2": "--depth", "export --format rocrate --forth": "--forth", "export --format rocrate --model ivoa": "--model",
		"graph --to x.pdf": ".svg or .png", "graph --to a.b/x.ttl": ".svg or .png",
	} {
		if o := w.run(strings.Fields("prov " + args + " " + fold)...); o.status != exitUsage || o.out != "" || !strings.Contains(o.err, says) {
			t.Errorf("%s: %+v", args, o)
		}
	}
	if err := os.WriteFile("renamed.fits", []byte("table"), 0o600); err != nil {
		t.Fatal(err)
	}
	if o := w.run("prov", "graph", "renamed.fits"); o.status != 0 || o.out != "renamed.fits.svg\n" || !strings.Contains(w.asked[len(w.asked)-1], "ID=ent%3A"+series+".r.table") {
		t.Errorf("%+v asked %s", o, w.asked[len(w.asked)-1])
	}
	if o := w.run("prov", "export", "renamed.fits"); o.status != 0 || o.out != "PROV-JSON of ent:"+series+".r.table\n" {
		t.Errorf("%+v", o)
	}
	if o := w.run("prov", "retract", "renamed.fits", "--reason", "x"); o.status != exitUsage || !strings.Contains(o.err, "prov lineage renamed.fits") {
		t.Errorf("%+v", o)
	}
	if o := w.run("prov", "graph", fold+"/nothing", "--to", "nothing.svg"); o.status != exitFailure || o.out != "" {
		t.Errorf("%+v", o)
	}
	left, err := filepath.Glob(".consort-*")
	if _, statErr := os.Stat("nothing.svg"); statErr == nil || err != nil || len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestDiff(t *testing.T) {
	w := newWorld(t)
	if o := w.run("prov", "diff", fold, fold); o.status != 0 || o.out != "" || !strings.Contains(o.err, "Nothing differs") {
		t.Errorf("%+v", o)
	}
	if o := w.run("prov", "diff", fold, series); o.status != exitFailure || !strings.Contains(o.out, "period") || strings.Contains(o.out, "version") {
		t.Errorf("%+v", o)
	}
	if o := w.run("prov", "diff", fold, series, "--all", "-q"); o.status != exitFailure || !strings.Contains(o.out, "version") || o.err != "" {
		t.Errorf("%+v", o)
	}
	w.alike = true
	again := w.copyOf(fold, fresh)
	again.Results[0] = w.result("folded", "folded.csv", "other")
	if o := w.run("prov", "diff", fold, fresh, "--data"); o.status != exitFailure || !strings.Contains(o.out, "different: the bytes differ") {
		t.Errorf("%+v", o)
	}
	again.Results[0] = w.result("folded", "folded.csv", "folds")
	if o := w.run("prov", "diff", fold, fresh, "--data"); o.status != 0 || !strings.Contains(o.out, "identical bytes") {
		t.Errorf("%+v", o)
	}
	if o := w.run("prov", "diff", fold); o.status != exitUsage {
		t.Errorf("%+v", o)
	}
}

// copyOf adds a job like another.
func (w *world) copyOf(id, as string) *userapi.Job {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, j := range w.jobs {
		if j.ID == id {
			c := *j
			c.ID, c.Results = as, slices.Clone(j.Results)
			w.jobs = append(w.jobs, &c)
			return &c
		}
	}
	w.t.Fatalf("no job %s", id)
	return nil
}

// TestSources: the jobs that a tree goes back to.
func TestSources(t *testing.T) {
	got := sources(&userapi.Job{ReusedFrom: series, Inputs: []userapi.Input{{Name: "raw"}, {Name: "data", FromJob: fold}}})
	if want := []source{{series, "results were taken over"}, {fold, "result was used as data"}}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestVerify(t *testing.T) {
	w := newWorld(t)
	if o := w.run("prov", "verify", fold); o.status != 0 || !strings.Contains(o.err, "all 2 checks passed") {
		t.Errorf("%+v", o)
	}
	for _, format := range []string{"table", "json"} {
		o := w.run("prov", "verify", failed, "-o", format)
		if o.status != exitFailure || !strings.Contains(o.err, "1 of 2 checks failed") || strings.Contains(o.out, "\x1b") {
			t.Errorf("%+v", o)
		}
	}
}

func TestRerun(t *testing.T) {
	w := newWorld(t)
	if o := w.run("prov", "rerun", fold); o.status != exitFailure || !strings.Contains(o.err, "-p password=VALUE") || len(w.submitted) != 0 {
		t.Errorf("%+v", o)
	}
	if o := w.run("prov", "rerun", fold, "-p", "period=1"); o.status != exitUsage {
		t.Errorf("%+v", o)
	}
	o := w.run("prov", "rerun", fold, "-p", "password=hush")
	if o.status != 0 || o.out != fresh+"\n" || !strings.Contains(o.err, "prov diff "+fold+" "+fresh+" --data") {
		t.Errorf("%+v", o)
	}
	for _, part := range []string{"period=11.1", "password=hush", "series=consort%3A" + series + "%2Ftable", "PHASE=RUN", "EXECUTIONDURATION=600"} {
		if !strings.Contains(w.submitted[0], part) {
			t.Errorf("%s is missing in %s", part, w.submitted[0])
		}
	}
	if strings.Contains(w.submitted[0], "bins") { // a default
		t.Errorf("%s", w.submitted[0])
	}
}

// TestRerunCompares: with --wait, the outputs are compared.
func TestRerunCompares(t *testing.T) {
	for name, c := range map[string]struct {
		change func(w *world, j *userapi.Job)
		status int
		out    string
	}{
		"same":       {func(*world, *userapi.Job) {}, 0, "identical bytes"},
		"differs":    {func(w *world, j *userapi.Job) { j.Results[0] = w.result("folded", "folded.csv", "other") }, exitFailure, "the bytes differ"},
		"missing":    {func(w *world, j *userapi.Job) { j.Results = j.Results[1:] }, exitFailure, "no such result"},
		"more":       {func(w *world, j *userapi.Job) { j.Results = append(j.Results, w.result("new", "n", "n")) }, exitFailure, "only the new job"},
		"collection": {func(w *world, j *userapi.Job) { j.Results[2].SHA256 = "other" }, 0, "identical bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.made = w.copyOf(fold, fresh)
			c.change(w, w.made)
			o := w.run("prov", "rerun", fold, "-p", "password=x", "--wait", "-q")
			if o.status != c.status || !strings.Contains(o.out, c.out) || !strings.HasPrefix(o.out, fresh+"\n") {
				t.Errorf("%+v", o)
			}
			var all comparison
			o = w.run("prov", "rerun", fold, "-p", "password=x", "--wait", "-q", "-o", "json")
			if err := json.Unmarshal([]byte(o.out), &all); err != nil || all.Same != (c.status == 0) || all.Repeats != fold || all.Job != fresh {
				t.Errorf("%v %+v", err, o)
			}
		})
	}
}

// TestRerunSendsUploadsAgain: fetched, checked, and under their name.
func TestRerunSendsUploadsAgain(t *testing.T) {
	w := newWorld(t)
	job := w.copyOf(series, running)
	job.Inputs = []userapi.Input{{Name: "series", Source: "upload", FileName: "sunspots.csv", SHA256: sha("spots"), Size: 5, URL: w.URL + "/bytes/spots"},
		{Name: "mask", Source: "url", FromURL: "https://example.org/mask"}}
	w.jobs = slices.DeleteFunc(w.jobs, func(j *userapi.Job) bool { return j.ID == running && j != job })
	if o := w.run("prov", "rerun", running); o.status != 0 || !strings.Contains(w.submitted[0], `filename="sunspots.csv"`) || !strings.Contains(w.submitted[0], "spots") || !strings.Contains(w.submitted[0], "https://example.org/mask") {
		t.Errorf("%+v %s", o, w.submitted)
	}
	job.Inputs[0].SHA256 = sha("other")
	if o := w.run("prov", "rerun", running); o.status != exitFailure || len(w.submitted) != 1 {
		t.Errorf("%+v", o)
	}
}

func TestRetract(t *testing.T) {
	w := newWorld(t)
	target := fold + "/folded"
	for _, args := range [][]string{{target}, {target, "--reason", " "}, {fold, "--reason", "x", "--yes"}} {
		if o := w.run(append([]string{"prov", "retract"}, args...)...); o.status != exitUsage {
			t.Errorf("%v: %+v", args, o)
		}
	}
	for _, answer := range []string{"", "n\n", "what?\n"} {
		o := w.runWith(t.Context(), answer, "prov", "retract", target, "--reason", "bad")
		if o.status != exitFailure || !strings.Contains(o.err, "3 jobs with 5 results") || len(w.submitted) != 0 {
			t.Errorf("%q: %+v", answer, o)
		}
	}
	if o := w.runWith(t.Context(), "y\n", "prov", "retract", target, "--reason", "bad"); o.status != 0 || !strings.Contains(o.out, fold) || !strings.Contains(o.err, "2 more jobs, with 2 results") {
		t.Errorf("%+v", o)
	}
	if o := w.run("prov", "retract", target, "--reason", "good", "--withdraw", "--yes", "-q"); o.status != 0 || o.err != "" {
		t.Errorf("%+v", o)
	}
	want := []string{`{"entity":"consort:` + target + `","reason":"bad"}`, `{"entity":"consort:` + target + `","reason":"good","withdraw":true}`}
	if !slices.Equal(w.submitted, want) {
		t.Errorf("%q", w.submitted)
	}
}

// TestRetractTellsOfCopies: what has the same bytes may have to be retracted, too.
func TestRetractTellsOfCopies(t *testing.T) {
	for equals, says := range map[int]string{
		0: "", 1: "also " + series + "/table. ", 5: "/table, ent:up.1, ent:up.2, ent:up.3, ent:up.4. ", 7: "ent:up.4 and 2 others", 100: "and more than 95 others",
	} {
		w := newWorld(t)
		w.equals = equals
		o := w.run("prov", "retract", fold+"/folded", "--reason", "bad", "--yes")
		if o.status != 0 || !strings.Contains(o.err, says) || strings.Contains(o.err, "same bytes") != (equals > 0) {
			t.Errorf("%d: %+v", equals, o)
		}
	}
}

// TestRetractTwice: what was done already, or cannot be undone, is told.
func TestRetractTwice(t *testing.T) {
	w := newWorld(t)
	o := w.run("prov", "retract", fold+"/plot", "--reason", "bad", "--yes")
	if o.status != 0 || !strings.Contains(o.err, "Nothing was changed: plot was retracted by ada") || strings.Contains(o.err, "\x1b") || strings.Contains(o.err, "is retracted.") {
		t.Errorf("%+v", o)
	}
	o = w.run("prov", "retract", fold+"/plot", "--reason", "good", "--withdraw", "--yes")
	if o.status != exitFailure || o.out != "" || !strings.Contains(o.err, "it is not retracted") || strings.Contains(o.err, "taken back") {
		t.Errorf("%+v", o)
	}
}

// TestRetractedInputs: they are told of when a job is made of them, and when one looks at it.
func TestRetractedInputs(t *testing.T) {
	w := newWorld(t)
	w.warned = []string{"ent:" + series + ".r.table"}
	for _, args := range [][]string{{"job", "submit", "fold"}, {"prov", "rerun", fold, "-p", "password=x"}} {
		if o := w.run(args...); o.status != 0 || o.out != fresh+"\n" || !strings.Contains(o.err, "An input was retracted, ent:"+series+".r.table") {
			t.Errorf("%v: %+v", args, o)
		}
	}
	w.jobs = slices.DeleteFunc(w.jobs, func(j *userapi.Job) bool { return j.ID == fresh })
	job := w.copyOf(fold, fresh)
	job.Inputs = []userapi.Input{{Name: "series", Source: "job", SHA256: sha("table"), Size: 5, FromJob: series, FromResult: "table", Retracted: &userapi.ProvRetraction{Reason: "wrong\x1b[2J flat"}},
		{Name: "mask", Source: "url", FromURL: "https://example.org/mask"}, {Name: "dark", Source: "url", FromURL: "https://example.org/dark", SHA256: sha("dark"), Size: 12345}}
	o := w.run("job", "get", fresh)
	for _, line := range []string{`series +job +5 B +` + sha("table") + ` +consort:` + series + `/table RETRACTED: wrong.*flat`, `mask +url +- +- +https://example.org/mask`,
		`dark +url +12.3 kB +` + sha("dark") + ` +https://example.org/dark`} {
		if o.status != 0 || !regexp.MustCompile(line).MatchString(o.out) || strings.Contains(o.out, "\x1b") {
			t.Errorf("%s is missing in %+v", line, o)
		}
	}
}

// TestRerunTellsOfInputs: a URL may answer with something else by now.
func TestRerunTellsOfInputs(t *testing.T) {
	w := newWorld(t)
	before := w.copyOf(fold, running)
	w.jobs = slices.DeleteFunc(w.jobs, func(j *userapi.Job) bool { return j.ID == running && j != before })
	before.Phase = "COMPLETED"
	input := func(sum string) userapi.Input {
		return userapi.Input{Name: "mask", Source: "url", FromURL: "https://example.org/mask", SHA256: sum}
	}
	before.Inputs = []userapi.Input{input(sha("one")), input(sha("two")), input("")}
	w.made = w.copyOf(running, fresh)
	w.made.Inputs = []userapi.Input{input(sha("one")), input(sha("three")), input(sha("four"))}
	o := w.run("prov", "rerun", running, "-p", "password=x", "--wait")
	if o.status != 0 || strings.Count(o.err, "Input mask differs") != 1 || !strings.Contains(o.err, sha("three")+", and "+sha("two")) {
		t.Errorf("%+v", o)
	}
	var all comparison
	o = w.run("prov", "rerun", running, "-p", "password=x", "--wait", "-q", "-o", "json")
	if err := json.Unmarshal([]byte(o.out), &all); err != nil || !slices.Equal(all.Inputs, []changedInput{{"mask", sha("two"), sha("three")}}) {
		t.Errorf("%v %+v", err, o)
	}
}

func TestOffer(t *testing.T) {
	w := newWorld(t)
	w.computed = series
	if o := w.run("job", "submit", "fold"); o.status != 0 || o.out != fresh+"\n" || !strings.Contains(o.err, "Job "+series+" was asked for the same") || !strings.Contains(o.err, "--reuse") {
		t.Errorf("%+v", o)
	}
	if o := w.run("job", "submit", "fold", "--reuse", "-q"); o.status != 0 || o.err != "" {
		t.Errorf("%+v", o)
	}
	if o := w.run("job", "submit", "fold", "--reuse", "--draft"); o.status != exitUsage || !strings.Contains(o.err, "leave out one of them") {
		t.Errorf("%+v", o)
	}
	w.submitted = w.submitted[:1]
	if o := w.run("job", "submit", "fold", "--reuse"); o.status != 0 || !strings.Contains(o.err, "are those of job "+series) || !strings.Contains(w.submitted[1], "REUSE=true") {
		t.Errorf("%+v %s", o, w.submitted)
	}
	w.computed = ""
	if o := w.run("job", "submit", "fold", "--reuse"); o.status != 0 || !strings.Contains(o.err, "so this one is run") {
		t.Errorf("%+v", o)
	}
}
