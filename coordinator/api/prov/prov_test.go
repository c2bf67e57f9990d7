package prov_test

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"image/png"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"consort/coordinator/api/provform"
	"consort/coordinator/coordtest"
	"consort/shared/ids"
	"consort/shared/prov"
	"consort/shared/siteapi"
	"consort/shared/userapi"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, coordtest.Leaks()...) }

// world is a coordinator with a chain of three jobs, each of which used a result of the one before.
type world struct {
	*coordtest.Node
	t    *testing.T
	site *coordtest.Site
	jobs [3]string // URLs
}

func newWorld(t *testing.T) *world {
	n := coordtest.New(t, coordtest.WithTrials)
	w := &world{Node: n, t: t, site: n.AddSite("paris")}
	w.jobs[0] = w.run("text", "first")
	w.jobs[1] = w.run("data", "consort:"+coordtest.Job(w.jobs[0])+"/answer")
	w.jobs[2] = w.run("data", "consort:"+coordtest.Job(w.jobs[1])+"/answer")
	return w
}

// run runs a trial to its end; its main output is its own URL, so that no two are alike.
func (w *world) run(pairs ...string) string {
	w.t.Helper()
	job := w.Create("trial", append(pairs, "PHASE", "RUN")...)
	a := w.site.Take()
	a.Report("running")
	code, now := 0, time.Now()
	a.Commit(siteapi.Facts{ExitCode: &code, Started: now, Ended: now, Logs: []siteapi.Log{a.Log("stdout", "out\n")}},
		coordtest.MainOutput(job), coordtest.Output{Output: "files", Path: "out/a b", Data: []byte("member of " + job)})
	return job
}

func (w *world) id(n int) string { return coordtest.Job(w.jobs[n]) }

// ask asks ProvSAP with name, value pairs.
func (w *world) ask(pairs ...string) *coordtest.Answer {
	w.t.Helper()
	values := url.Values{}
	for i := 0; i+1 < len(pairs); i += 2 {
		values.Add(pairs[i], pairs[i+1])
	}
	return w.Get("/provsap?" + values.Encode())
}

func (w *world) accept(path, accept string) *coordtest.Answer {
	w.t.Helper()
	return w.Do(coordtest.Request{Method: http.MethodGet, Path: path, Header: http.Header{"Accept": {accept}}})
}

// graph reads a PROV-JSON answer.
func (w *world) graph(a *coordtest.Answer) *prov.Graph {
	w.t.Helper()
	if a.Status != http.StatusOK {
		w.t.Fatalf("%d %s", a.Status, a.Text())
	}
	g, err := prov.ReadJSON(bytes.NewReader(a.Body), prov.DefaultLimits())
	if err != nil {
		w.t.Fatalf("%v: %s", err, a.Text())
	}
	return g
}

// jobsIn tells which of the three jobs a graph has.
func (w *world) jobsIn(g *prov.Graph) string {
	found := ""
	for i := range w.jobs {
		if _, ok := g.Get(prov.Activity, prov.JobID(w.id(i))); ok {
			found += fmt.Sprint(i)
		}
	}
	return found
}

func TestBadRequests(t *testing.T) {
	w := newWorld(t)
	id := w.id(0)
	for name, c := range map[string]struct {
		pairs  []string
		status int
		says   []string
	}{
		"no ID":            {nil, 400, []string{"ID is missing"}},
		"empty ID":         {[]string{"ID", ""}, 400, []string{"ID is missing"}},
		"unknown job":      {[]string{"ID", ids.NewJob(time.Now())}, 404, []string{"you may read"}},
		"unknown entity":   {[]string{"ID", "ent:" + id + ".r.nothing"}, 404, nil},
		"unknown content":  {[]string{"ID", "sha256:" + strings.Repeat("0", 64)}, 404, nil},
		"unknown crate":    {[]string{"ID", ids.NewJob(time.Now()), "RESPONSEFORMAT", "RO-CRATE"}, 404, nil},
		"DEPTH":            {[]string{"ID", id, "DEPTH", "deep"}, 400, []string{"DEPTH", "ALL", "0 to"}},
		"negative DEPTH":   {[]string{"ID", id, "DEPTH", "-1"}, 400, []string{"DEPTH"}},
		"huge DEPTH":       {[]string{"ID", id, "DEPTH", "99999999999999999999"}, 400, []string{"DEPTH"}},
		"DIRECTION":        {[]string{"ID", id, "DIRECTION", "UP"}, 400, []string{"BACK", "FORTH", "FORWARD", "BOTH"}},
		"MODEL":            {[]string{"ID", id, "MODEL", "OPM"}, 400, []string{"W3C", "IVOA"}},
		"RESPONSEFORMAT":   {[]string{"ID", id, "RESPONSEFORMAT", "PROV-PDF"}, 400, provform.Names()},
		"AGENT":            {[]string{"ID", id, "AGENT", "2"}, 400, []string{"AGENT", "0", "1"}},
		"AGENTS":           {[]string{"ID", id, "AGENTS", "yes"}, 400, []string{"AGENTS", "0", "1"}},
		"MEMBERS":          {[]string{"ID", id, "MEMBERS", "x"}, 400, []string{"MEMBERS"}},
		"STEPS":            {[]string{"ID", id, "STEPS", "x"}, 400, []string{"STEPS"}},
		"SAME":             {[]string{"ID", id, "SAME", "x"}, 400, []string{"SAME"}},
		"DESCRIPTIONS":     {[]string{"ID", id, "DESCRIPTIONS", "3"}, 400, []string{"0, 1, 2"}},
		"CONFIGURATION":    {[]string{"ID", id, "CONFIGURATION", "x"}, 400, []string{"CONFIGURATION"}},
		"ATTRIBUTES":       {[]string{"ID", id, "ATTRIBUTES", "x"}, 400, []string{"ATTRIBUTES"}},
		"GD":               {[]string{"ID", id, "GD", "XY"}, 400, []string{"LR, RL, TB, BT"}},
		"STATUS":           {[]string{"ID", id, "STATUS", "GOOD"}, 400, []string{"ALL, COMPLETED"}},
		"MAXREC":           {[]string{"ID", id, "MAXREC", "many"}, 400, []string{"MAXREC"}},
		"CURSOR":           {[]string{"ID", id, "CURSOR", "nonsense"}, 400, []string{"cursor"}},
		"SINCE":            {[]string{"ID", id, "SINCE", "yesterday"}, 400, []string{"SINCE", "2026-01-31"}},
		"UNTIL":            {[]string{"ID", id, "UNTIL", "tomorrow"}, 400, []string{"UNTIL"}},
		"DATA":             {[]string{"ID", id, "DATA", "x"}, 400, []string{"DATA"}},
		"DEPTH twice":      {[]string{"ID", id, "DEPTH", "1", "depth", "1"}, 400, []string{"DEPTH is given more than once"}},
		"MODEL twice":      {[]string{"ID", id, "MODEL", "W3C", "Model", "W3C"}, 400, []string{"MODEL is given more than once"}},
		"crate of two":     {[]string{"ID", id, "ID", w.id(1), "RESPONSEFORMAT", "RO-CRATE"}, 400, []string{"one ID"}},
		"crate of content": {[]string{"ID", "sha256:" + coordtest.MainOutput(w.jobs[0]).SHA256(), "RESPONSEFORMAT", "RO-CRATE"}, 400, []string{"RO-CRATE"}},
		"too many IDs":     {strings.Split(strings.Repeat("ID,"+id+",", 101), ","), 400, []string{"101"}},
	} {
		a := w.ask(c.pairs...)
		if a.Status != c.status || !strings.HasPrefix(a.Header.Get("Content-Type"), "text/plain") {
			t.Errorf("%s: %d %s %s", name, a.Status, a.Header.Get("Content-Type"), a.Text())
		}
		for _, part := range c.says {
			if !strings.Contains(a.Text(), part) {
				t.Errorf("%s: %q does not say %q", name, a.Text(), part)
			}
		}
	}
	if a := w.accept("/provsap?ID="+id, "image/webp"); a.Status != 406 || !strings.Contains(a.Text(), "application/json") {
		t.Errorf("%d %s", a.Status, a.Text())
	}
	if a := w.Post("/provsap", "DEPTH", "1"); a.Status != 400 {
		t.Errorf("%d %s", a.Status, a.Text())
	}
}

// TestEveryForm: every combination answers, and the document is one.
func TestEveryForm(t *testing.T) {
	w := newWorld(t)
	for _, form := range provform.All() {
		for _, model := range []string{"W3C", "IVOA"} {
			for _, direction := range []string{"BACK", "FORTH", "BOTH"} {
				for _, depth := range []string{"0", "1", "2", "ALL"} {
					if form.Name == provform.PNG && (depth != "1" || direction != "BACK") {
						continue // drawing takes its time, and SVG comes of the same scene
					}
					a := w.ask("ID", w.id(1), "RESPONSEFORMAT", form.Name, "MODEL", model, "DIRECTION", direction, "DEPTH", depth)
					what := fmt.Sprintf("%s %s %s %s", form.Name, model, direction, depth)
					if a.Status != http.StatusOK || a.Header.Get("Content-Type") != form.ContentType() {
						t.Errorf("%s: %d %s %s", what, a.Status, a.Header.Get("Content-Type"), a.Text())
						continue
					}
					if err := wellFormed(form.Name, model, a.Body); err != nil {
						t.Errorf("%s: %v\n%s", what, err, a.Text())
					}
				}
			}
		}
	}
}

// wellFormed reads a document as far as this program can.
func wellFormed(form, model string, document []byte) error {
	var err error
	switch form {
	case "PROV-JSON":
		if model == "W3C" {
			_, err = prov.ReadJSON(bytes.NewReader(document), prov.DefaultLimits())
			return err
		}
		return json.Unmarshal(document, new(map[string]map[string]any))
	case "PROV-JSONLD":
		return json.Unmarshal(document, new(map[string]any))
	case "PROV-N":
		_, err = prov.ReadN(bytes.NewReader(document), prov.DefaultLimits())
	case "PROV-XML":
		_, err = prov.ReadXML(bytes.NewReader(document), prov.DefaultLimits())
	case "PROV-VOTABLE", "PROV-SVG":
		for d := xml.NewDecoder(bytes.NewReader(document)); err == nil; {
			_, err = d.Token()
		}
		if err == io.EOF {
			err = nil
		}
	case "PROV-TURTLE":
		if !bytes.Contains(document, []byte("@prefix prov:")) {
			return fmt.Errorf("no prefixes")
		}
	case "PROV-PNG":
		_, err = png.Decode(bytes.NewReader(document))
	case "RO-CRATE":
		var z *zip.Reader
		if z, err = zip.NewReader(bytes.NewReader(document), int64(len(document))); err == nil {
			_, err = z.Open("ro-crate-metadata.json")
		}
	}
	return err
}

// TestWays: the parameters mean what they say.
func TestWays(t *testing.T) {
	w := newWorld(t)
	for _, c := range []struct{ id, direction, depth, jobs string }{
		{w.id(1), "BACK", "0", "1"},
		{w.id(2), "", "ALL", "012"},
		{w.id(2), "BACK", "2", "12"},
		{"job:" + w.id(0), "FORTH", "ALL", "012"},
		{"job:" + w.id(0), "FORWARD", "2", "01"},
		{w.id(1), "BOTH", "ALL", "012"},
		{"ent:" + w.id(1) + ".r.answer", "BACK", "1", "1"},
		{w.jobs[0], "FORTH", "0", "0"},
	} {
		g := w.graph(w.ask("ID", c.id, "DIRECTION", c.direction, "DEPTH", c.depth))
		if got := w.jobsIn(g); got != c.jobs {
			t.Errorf("%+v: jobs %s", c, got)
		}
	}
	// Parameters in any case, by POST, in query and body; several IDs; unknown parameters ignored.
	both := w.graph(w.Post("/provsap?id="+w.id(0), "Id", w.id(2), "depth", "0", "nonsense", "x", "responseformat", "prov-json"))
	if got := w.jobsIn(both); got != "02" {
		t.Errorf("jobs %s", got)
	}
	count := func(kind prov.Kind, pairs ...string) int {
		n := 0
		for range w.graph(w.ask(append([]string{"ID", w.id(0), "DIRECTION", "BOTH"}, pairs...)...)).Records(kind) {
			n++
		}
		return n
	}
	for _, c := range []struct {
		kind prov.Kind
		name string
		less string
		more string
	}{
		{prov.Agent, "AGENTS", "0", "1"}, {prov.Entity, "CONFIGURATION", "0", "1"}, {prov.Entity, "DESCRIPTIONS", "0", "2"},
		{prov.Entity, "MEMBERS", "false", "true"}, {prov.Activity, "STEPS", "0", "1"},
	} {
		if less, more := count(c.kind, c.name, c.less), count(c.kind, c.name, c.more); less >= more {
			t.Errorf("%s: %d and %d", c.name, less, more)
		}
	}
	if n := count(prov.Agent, "AGENTS", "0"); n != 0 {
		t.Errorf("%d agents", n)
	}
}

func TestNegotiation(t *testing.T) {
	w := newWorld(t)
	for accept, want := range map[string]string{
		"":                               "application/json",
		"text/turtle":                    "text/turtle",
		"image/png;q=0.2, image/svg+xml": "image/svg+xml",
		"text/html,application/xhtml+xml,*/*;q=0.8": "image/svg+xml",
	} {
		a := w.accept("/provsap?ID="+w.id(0), accept)
		if a.Status != 200 || !strings.HasPrefix(a.Header.Get("Content-Type"), want) || a.Header.Get("Vary") != "Accept" {
			t.Errorf("%s: %d %s", accept, a.Status, a.Header)
		}
	}
	if a := w.accept("/provsap?RESPONSEFORMAT=PROV-N&ID="+w.id(0), "image/png"); !strings.HasPrefix(a.Header.Get("Content-Type"), "text/provenance-notation") {
		t.Errorf("%s", a.Header) // the parameter wins
	}
	if a := w.ask("ID", w.id(0), "RESPONSEFORMAT", "PROV-SVG"); !strings.Contains(a.Header.Get("Content-Security-Policy"), "default-src 'none'") ||
		!strings.Contains(a.Text(), w.URL+"/provsap?ID=") {
		t.Errorf("%s", a.Header)
	}
}

var nextLink = regexp.MustCompile(`<([^>]+)>; rel="next"`)

// TestOverflow: an answer that is a part says so, in the document too, and leads to the rest.
func TestOverflow(t *testing.T) {
	w := newWorld(t)
	a := w.ask("ID", w.id(2), "DEPTH", "ALL", "MAXREC", "1")
	seen := ""
	for pages := 0; pages < 5; pages++ {
		g := w.graph(a)
		seen += w.jobsIn(g)
		link := nextLink.FindStringSubmatch(a.Header.Get("Link"))
		if (link != nil) != (a.Header.Get(userapi.OverflowHeader) == "OVERFLOW") || strings.Contains(a.Text(), "fed:truncated") != (link != nil && pages == 0) && pages == 0 {
			t.Errorf("page %d: %s\n%s", pages, a.Header, a.Text())
		}
		if link == nil {
			break
		}
		a = w.Get(link[1])
	}
	for _, n := range "012" {
		if !strings.ContainsRune(seen, n) {
			t.Errorf("jobs %s", seen)
		}
	}
	table := w.ask("ID", w.id(2), "DEPTH", "ALL", "MAXREC", "1", "RESPONSEFORMAT", "PROV-VOTABLE")
	if !strings.Contains(table.Text(), `"OVERFLOW"`) {
		t.Errorf("%s", table.Text())
	}
	none := w.ask("ID", w.id(2), "MAXREC", "0")
	if g := w.graph(none); g.Len() != 0 || none.Header.Get(userapi.OverflowHeader) != "OVERFLOW" {
		t.Errorf("%s %s", none.Header, none.Text())
	}
	if a := w.ask("ID", ids.NewJob(time.Now()), "MAXREC", "0"); a.Status != 404 {
		t.Errorf("%d", a.Status)
	}
	whole := w.ask("ID", w.id(2), "DEPTH", "ALL")
	if whole.Header.Get(userapi.OverflowHeader) != "" || strings.Contains(whole.Text(), "truncated") {
		t.Errorf("%s", whole.Header)
	}
}

// TestCrate: with the files and without.
func TestCrate(t *testing.T) {
	w := newWorld(t)
	files := func(a *coordtest.Answer) map[string]string {
		z, err := zip.NewReader(bytes.NewReader(a.Body), int64(len(a.Body)))
		if err != nil {
			t.Fatalf("%v: %d %s", err, a.Status, a.Text())
		}
		all := map[string]string{}
		for _, f := range z.File {
			r, err := f.Open()
			if err != nil {
				t.Fatal(err)
			}
			text, err := io.ReadAll(r)
			if err != nil {
				t.Fatal(err)
			}
			all[f.Name] = string(text)
		}
		return all
	}
	light := files(w.ask("ID", w.id(0), "RESPONSEFORMAT", "RO-CRATE"))
	if !strings.Contains(light["ro-crate-metadata.json"], w.jobs[0]+"/results/answer") || light["provenance/prov.json"] == "" {
		t.Errorf("%v", light)
	}
	full := w.ask("ID", "ent:"+w.id(0)+".r.answer", "RESPONSEFORMAT", "RO-CRATE", "DATA", "1")
	if got := files(full)["data/answer/answer.txt"]; got != string(coordtest.MainOutput(w.jobs[0]).Data) {
		t.Errorf("%q of %v", got, files(full))
	}
	if d := full.Header.Get("Content-Disposition"); d != `attachment; filename="`+w.id(0)+`.crate.zip"` {
		t.Errorf("%s", d)
	}
	for _, path := range []string{"/results/rocrate", "/rocrate"} {
		if again := files(w.Get(w.jobs[0] + path)); again["ro-crate-metadata.json"] != light["ro-crate-metadata.json"] {
			t.Errorf("%s: %v", path, again)
		}
		if again := files(w.Get(w.jobs[0] + path + "?data=true")); again["data/answer/answer.txt"] != string(coordtest.MainOutput(w.jobs[0]).Data) {
			t.Errorf("%s: %v", path, again)
		}
	}
}

// TestLook: below a job a client chooses how its record is written, by the parameters of ProvSAP.
func TestLook(t *testing.T) {
	w := newWorld(t)
	whole := "/api/v1/jobs/" + w.id(0) + "/provenance"
	for _, c := range []struct{ path, form string }{{w.jobs[0] + "/prov", ""}, {w.jobs[0] + "/results/prov", ""}, {whole + "?format=", "&"}} {
		get := func(form, query string) *coordtest.Answer {
			if c.form == "" {
				form += "?"
			}
			return w.Get(c.path + form + c.form + query)
		}
		plain := get("json", "").Text()
		if ivoa := get("json", "model=ivoa&nothing=1").Text(); ivoa == plain || !strings.Contains(ivoa, "voprov:") {
			t.Errorf("%s: %.200s", c.path, ivoa)
		}
		if w3c := get("json", "MODEL=W3C").Text(); w3c != plain {
			t.Errorf("%s: %.200s", c.path, w3c)
		}
		picture := get("svg", "").Text()
		for _, query := range []string{"ATTRIBUTES=1", "gd=bt"} {
			if a := get("svg", query); a.Status != 200 || a.Text() == picture {
				t.Errorf("%s %s: %d", c.path, query, a.Status)
			}
		}
		for query, says := range map[string]string{
			"MODEL=OPM": "W3C, IVOA", "GD=UP": "LR, RL, TB, BT", "ATTRIBUTES=2": "0, 1, false, true", "DATA=all": "0, 1, false, true",
			"MODEL=W3C&model=W3C": "more than once",
		} {
			if a := get("json", query); a.Status != 400 || !strings.Contains(a.Text(), says) {
				t.Errorf("%s %s: %d %s", c.path, query, a.Status, a.Text())
			}
		}
	}
}

// TestAddressesAsIDs: the address at which an identifier resolves here is as good as the identifier.
func TestAddressesAsIDs(t *testing.T) {
	w := newWorld(t)
	base, _, _ := strings.Cut(w.jobs[0], "/rest/")
	entity := w.id(0) + ".r.answer"
	for address, status := range map[string]int{
		base + "/id/entity/" + entity: 200, base + "/id/job/" + w.id(0): 200, base + "/id/job/j%3001": 404, base + "/id/planet/mars": 404,
		base + "/id/entity/" + strings.ReplaceAll(entity, ".", "%2E"): 200, base + "/id/": 404, base + "/id/job/%zz": 404,
		"https://elsewhere.example/id/entity/" + entity: 404,
	} {
		for _, path := range []string{"/provsap?ID=", "/api/v1/provenance/lineage?id=", "/api/v1/provenance/users?id=", "/api/v1/provenance/impact?id="} {
			want := status
			if status == 200 && strings.Contains(address, "/job/") && strings.Contains(path, "users") {
				want = 400 // it is no file
			}
			if a := w.Get(path + url.QueryEscape(address)); a.Status != want {
				t.Errorf("%s%s: %d %s", path, address, a.Status, a.Text())
			}
		}
	}
	if got := w.graph(w.ask("ID", base+"/id/entity/"+entity)); w.jobsIn(got) != "0" {
		t.Errorf("%s", w.jobsIn(got))
	}
}

// TestIdentifiers: what records name leads to a record.
func TestIdentifiers(t *testing.T) {
	w := newWorld(t)
	var v userapi.Version
	w.JSON("", "/version", &v)
	sha := coordtest.MainOutput(w.jobs[0]).SHA256()
	for path, id := range map[string]string{
		"/id/job/" + w.id(0):                   "job:" + w.id(0),
		"/id/entity/" + w.id(0) + ".r.answer":  "ent:" + w.id(0) + ".r.answer",
		"/id/data/sha256-" + sha:               "data:sha256-" + sha,
		"/id/jdl/trial.v1.0.0":                 "jdl:trial.v1.0.0",
		"/id/agent/site.paris":                 "",
		"/id/job/" + ids.NewJob(time.Now()):    "",
		"/id/entity/" + w.id(0) + ".r.nothing": "",
		"/id/planet/mars":                      "",
		"/id/job/%2e%2e":                       "",
	} {
		a := w.accept(path, "text/turtle")
		switch {
		case id == "" && path != "/id/agent/site.paris":
			if a.Status != 404 {
				t.Errorf("%s: %d %s", path, a.Status, a.Header)
			}
		case id != "":
			location, _ := url.Parse(a.Header.Get("Location"))
			if a.Status != 303 || location.Path != "/provsap" || location.Query().Get("ID") != id || location.Query().Get("RESPONSEFORMAT") != "PROV-TURTLE" {
				t.Errorf("%s: %d %s", path, a.Status, a.Header)
			} else if a := w.Get(location.String()); a.Status != 200 {
				t.Errorf("%s: %d %s", location, a.Status, a.Text())
			}
		}
	}
	if a := w.accept("/id/job/"+w.id(0), "video/mp4"); a.Status != 406 {
		t.Errorf("%d", a.Status)
	}
	terms := w.Get("/ns/fed")
	if !strings.HasPrefix(terms.Header.Get("Content-Type"), "text/turtle") || !strings.Contains(terms.Text(), "truncated") {
		t.Errorf("%s %s", terms.Header, terms.Text())
	}
}

// TestDownloadsTellWhereTheyComeFrom: PROV-AQ, on GET and HEAD, of results, members, manifests and logs.
func TestDownloadsTellWhereTheyComeFrom(t *testing.T) {
	w := newWorld(t)
	var v userapi.Version
	w.JSON("", "/version", &v)
	member := prov.MemberID(w.id(0), "files", "out/a b").Local
	next := strings.Replace(w.jobs[0], w.id(0), w.id(1), 1)
	for path, entity := range map[string]string{
		"/results/answer":            w.id(0) + ".r.answer",
		"/results/result":            w.id(0) + ".r.answer",
		"/results/answer/answer.txt": w.id(0) + ".r.answer",
		"/results/files":             w.id(0) + ".r.files",
		"/results/files/out/a%20b":   member,
		"/results/stdout":            w.id(0) + ".r.stdout",
		"/stdout":                    w.id(0) + ".r.stdout",
		next + "/parameters/data":    w.id(0) + ".r.answer",
	} {
		if !strings.HasPrefix(path, next) {
			path = w.jobs[0] + path
		}
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			a := w.Do(coordtest.Request{Method: method, Path: path})
			links := strings.Join(a.Header.Values("Link"), "\n")
			anchor := `anchor="` + v.Authority + "/id/entity/" + entity + `"`
			if a.Status != 200 || strings.Count(links, anchor) != 2 || !strings.Contains(links, `rel="`+userapi.RelProvenance+`"`) || !strings.Contains(links, `rel="`+userapi.RelQueryService+`"`) {
				t.Errorf("%s %s: %d %s", method, path, a.Status, links)
				continue
			}
			target := regexp.MustCompile(`<([^>]+)>; rel="` + regexp.QuoteMeta(userapi.RelProvenance)).FindStringSubmatch(links)
			if a := w.Get(target[1]); a.Status != 200 || !strings.Contains(a.Text(), entity) {
				t.Errorf("%s: %d %s", target[1], a.Status, a.Text())
			}
		}
	}
}

// TestResults: the provenance is among the results of a job, in every form.
func TestResults(t *testing.T) {
	w := newWorld(t)
	list := w.Get(w.jobs[0] + "/results").Text()
	for _, form := range provform.All() {
		if !strings.Contains(list, `id="`+form.Result+`"`) {
			t.Errorf("%s is not listed in %s", form.Result, list)
		}
		for _, path := range []string{"/", "/results/"} {
			if form.Name == provform.PNG && path == "/" {
				continue // as above
			}
			a := w.Get(w.jobs[0] + path + form.Result)
			if a.Status != 200 || a.Header.Get("Content-Type") != form.ContentType() || wellFormed(form.Name, "W3C", a.Body) != nil {
				t.Errorf("%s%s: %d %s %.200s", path, form.Result, a.Status, a.Header, a.Text())
			}
		}
	}
	if a := w.Get(w.jobs[0] + "/provpdf"); a.Status != 404 {
		t.Errorf("%d", a.Status)
	}
}

func TestTables(t *testing.T) {
	w := newWorld(t)
	list := w.Get("/prov/tables")
	if list.Status != 200 || !strings.Contains(list.Text(), "<name>activity</name>") || wellFormed("PROV-SVG", "", list.Body) != nil {
		t.Errorf("%d %s", list.Status, list.Text())
	}
	for _, model := range []prov.Model{prov.W3C, prov.IVOA} {
		for _, info := range prov.Tables(model) {
			a := w.Get("/prov/tables/" + info.Name + "?MODEL=" + string(model))
			if a.Status != 200 || !strings.HasPrefix(a.Header.Get("Content-Type"), "application/x-votable+xml") || wellFormed("PROV-VOTABLE", "", a.Body) != nil {
				t.Errorf("%s %s: %d %s", model, info.Name, a.Status, a.Text())
			}
		}
	}
	all := w.Get("/prov/tables/activity").Text()
	for i := range w.jobs {
		if !strings.Contains(all, "job:"+w.id(i)) {
			t.Errorf("job %d is missing in %s", i, all)
		}
	}
	one := w.Get("/prov/tables/activity?job=" + w.id(1)).Text()
	if !strings.Contains(one, "job:"+w.id(1)) || strings.Contains(one, "job:"+w.id(0)+"<") {
		t.Errorf("%s", one)
	}
	page, seen := w.Get("/prov/tables/activity?MAXREC=1"), 0
	for range 5 {
		seen += strings.Count(page.Text(), "<TD>job:"+w.id(0)+"</TD>") + strings.Count(page.Text(), "<TD>job:"+w.id(1)+"</TD>") + strings.Count(page.Text(), "<TD>job:"+w.id(2)+"</TD>")
		link := nextLink.FindStringSubmatch(page.Header.Get("Link"))
		if (link != nil) != strings.Contains(page.Text(), `value="OVERFLOW"`) {
			t.Errorf("%s %s", page.Header, page.Text())
		}
		if link == nil {
			break
		}
		page = w.Get(link[1])
	}
	if seen < 3 {
		t.Errorf("%d jobs on all pages", seen)
	}
	for query, status := range map[string]int{
		"/nothing": 404, "/activity?MAXREC=x": 400, "/activity?colour=red": 400, "/activity?MODEL=x": 400, "/activity?CURSOR=x": 400,
		"/activity?site=paris": 200, "/activity?definition=trial&version=1.0.0": 200, "/activity?MAXREC=0": 200,
	} {
		if a := w.Get("/prov/tables" + query); a.Status != status {
			t.Errorf("%s: %d %s", query, a.Status, a.Text())
		}
	}
}

func TestCapabilities(t *testing.T) {
	w := newWorld(t)
	for _, path := range []string{"/provsap/capabilities", "/capabilities"} {
		a := w.Get(path)
		if a.Status != 200 || !strings.Contains(a.Text(), provform.StandardProvSAP) || !strings.Contains(a.Text(), w.URL+"/provsap<") {
			t.Errorf("%s: %d %s", path, a.Status, a.Text())
		}
	}
}

// TestRights: what is not there and what is not for the caller to see are alike.
func TestRights(t *testing.T) {
	w := newWorld(t)
	form := coordtest.Form("/rest/trial", "PHASE", "RUN")
	form.Token = coordtest.Alice
	job := coordtest.Job(w.Do(form).Header.Get("Location"))
	ask := func(token, id string) *coordtest.Answer {
		return w.Do(coordtest.Request{Method: http.MethodGet, Path: "/provsap?ID=" + id, Token: token})
	}
	if a := ask(coordtest.Alice, job); a.Status != 200 {
		t.Errorf("%d %s", a.Status, a.Text())
	}
	unknown := ids.NewJob(time.Now())
	hidden, absent := ask(coordtest.Bob, job), ask(coordtest.Bob, unknown)
	if hidden.Status != 404 || hidden.Text() != strings.ReplaceAll(absent.Text(), unknown, job) {
		t.Errorf("%d %s, %d %s", hidden.Status, hidden.Text(), absent.Status, absent.Text())
	}
	if a := w.Do(coordtest.Request{Method: http.MethodGet, Path: "/id/job/" + job, Token: coordtest.Bob}); a.Status != 404 {
		t.Errorf("%d", a.Status)
	}
}
