package rocrate

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"consort/shared/prov"
)

const authority = "https://f.example"

func at(seconds int) time.Time {
	return time.Date(2026, 11, 20, 10, 0, 0, 250_000_000, time.UTC).Add(time.Duration(seconds) * time.Second)
}

func ptr[T any](v T) *T { return &v }

// content is what every file of the test holds: its own name.
func content(result, path string) string { return result + "|" + path }

func sum(text string) string {
	s := sha256.Sum256([]byte(text))
	return hex.EncodeToString(s[:])
}

func result(id, name, mediaType string) prov.ResultRecord {
	text := content(id, "")
	return prov.ResultRecord{ID: id, Name: name, MediaType: mediaType, SHA256: sum(text), Size: ptr(int64(len(text)))}
}

func member(id, path string) prov.MemberRecord {
	text := content(id, path)
	return prov.MemberRecord{Path: path, MediaType: "image/fits", SHA256: sum(text), Size: ptr(int64(len(text)))}
}

// completed is a job with inputs of each kind, a secret, a collection and logs.
func completed() prov.JobRecord {
	stdout := content("stdout", "")
	return prov.JobRecord{
		Job: "j01a", Phase: "COMPLETED", Owner: prov.UserRecord{ID: "alice", Name: "Alice Ö.", ORCID: "0000-0002-1825-0097"},
		Created: at(0), Started: at(5), Ended: at(20), Controller: prov.SoftwareRecord{Name: "consort", Version: "0.1.0"},
		Definition: prov.DefinitionRecord{Name: "stars", Version: "1.2", Title: "Find stars", Digest: sum("d"), Description: "Finds <stars> & \"galaxies\".",
			ResultsLicence: "CC-BY-4.0", CodeLicence: "GPL-3.0-only", Cite: []string{"doi:10.1051/aas:1996164", "bibcode:1996A&AS..117..393B", "ascl:1010.064", "a book"},
			People:     []prov.PersonRecord{{Name: "Bob", Role: "Author"}, {Name: "Carol", ORCID: "https://orcid.org/0000-0001-5109-3700", Role: "Funder"}},
			Software:   []prov.DependencyRecord{{Name: "source-extractor", Version: ">=2.25", Image: "ghcr.io/astro/stars:1.2"}},
			Parameters: []prov.ParameterDescription{{Name: "token", Type: "string", Secret: true}}},
		Parameters: []prov.ParameterRecord{
			{Name: "threshold", Type: "double", Values: []string{"2.5"}, Default: true}, {Name: "band", Type: "string", Values: []string{"g", "r"}},
			{Name: "token", Type: "string", Values: []string{"hunter2"}}, {Name: "password", Type: "string", Values: []string{"hunter2"}, Secret: true},
			{Name: "proposal", Type: "string", Values: []string{"hunter2"}, Private: true, Default: true},
		},
		Configs: []prov.ConfigRecord{{Name: "run.sh", SHA256: sum("s"), Script: true}, {Name: "stars.conf", SHA256: sum("c")}},
		Inputs: []prov.InputRecord{
			{Role: "image", Upload: "u1", Name: "m 51.fits", MediaType: "image/fits", SHA256: sum("i"), Size: ptr(int64(1))},
			{Role: "flat", URL: "https://bob:pw@archive.example/f.fits?x=a b", SHA256: sum("f")},
			{Role: "flat", URL: "https://bob:pw@archive.example/f.fits?x=a b", SHA256: sum("f2")},
			{Role: "dark", Job: "j00", Result: "dark", SHA256: sum("k")},
			{Role: "bias", Job: "j00", Result: "dark", SHA256: sum("k")},
		},
		Attempts: []prov.AttemptRecord{
			{Epoch: 1, Site: "lyon", Started: at(5), Outcome: "lost"},
			{Epoch: 2, Site: "meudon", Agent: prov.SoftwareRecord{Name: "consort-agent", Version: "0.1.0"}, Batch: "slurm", BatchID: "4711", Node: "node7", Started: at(6),
				Ended: at(18), Outcome: prov.OutcomeCommitted, Exit: ptr(int32(0)), CPUSeconds: ptr(10.5), WallSeconds: ptr(11.0), MaxRSS: 1 << 25, Cores: 2,
				Image: "sha256:" + sum("img"), Software: []prov.DependencyRecord{{Name: "source-extractor", Version: "2.25.0"}, {Name: "awk"}}},
		},
		Results: []prov.ResultRecord{
			result("table", "stars.vot", "application/x-votable+xml"),
			{ID: "images", Collection: true, Members: []prov.MemberRecord{member("images", "a/1.fits"), member("images", "a/ü 2.fits"), member("images", "A/1.fits")}},
			{ID: "none", Collection: true},
		},
		Logs: []prov.LogRecord{{ID: "stdout", SHA256: sum(stdout), Size: ptr(int64(len(stdout)))}},
	}
}

func failed() prov.JobRecord {
	r := completed()
	r.Phase, r.Results, r.Attempts = "ERROR", nil, r.Attempts[:1]
	r.Error = &prov.ErrorRecord{Class: "user", Message: "line 3:\n\"\x1b[31mx\" is not a number"}
	return r
}

// aborted ended before anything started.
func aborted() prov.JobRecord {
	r := completed()
	r.Phase, r.Owner, r.Started = "ABORTED", prov.UserRecord{}, time.Time{}
	r.Attempts, r.Results, r.Logs = nil, nil, nil
	return r
}

func destroyed() prov.JobRecord {
	r := completed()
	r.Phase, r.Destroyed, r.Reason = "ARCHIVED", at(9000), "retention"
	return r
}

func open(result, path string) (io.ReadCloser, error) {
	return io.NopCloser(strings.NewReader(content(result, path))), nil
}

func address(result, path string) string {
	return "https://consort.example/rest/stars/j01a/results/" + strings.TrimRight(result+"/"+path, "/")
}

// full is a crate with everything that the record does not know.
func full(r prov.JobRecord) Crate {
	return Crate{
		Record: r, Authority: authority, URL: address,
		Environment: []Variable{{"OMP_NUM_THREADS", "2"}},
		Documents: []Document{{Name: "prov.json", MediaType: "application/json", Description: "The provenance of the job as PROV-JSON", Write: func(w io.Writer) error {
			g, err := prov.FromRecord(r, authority)
			if err != nil {
				return err
			}
			return prov.WriteJSON(w, g)
		}}},
	}
}

var crates = map[string]func() Crate{
	"completed": func() Crate { return full(completed()) },
	"with data": func() Crate { c := full(completed()); c.Open = open; return c },
	"failed":    func() Crate { c := full(failed()); c.Open = open; return c },
	"aborted":   func() Crate { return full(aborted()) },
	"destroyed": func() Crate { c := full(destroyed()); c.Open = open; return c },
	"bare":      func() Crate { return Crate{Record: completed(), Authority: authority} },
	"expression": func() Crate {
		return changed(func(r *prov.JobRecord) { r.Definition.ResultsLicence = "MIT OR LicenseRef-mine" })
	},
	"no licence": func() Crate { return changed(func(r *prov.JobRecord) { r.Definition.ResultsLicence = "" }) },
	"apptainer": func() Crate {
		return changed(func(r *prov.JobRecord) { r.Definition.Software[0].Image = "library://astro/stars:1" })
	},
	"image alone": func() Crate { return changed(func(r *prov.JobRecord) { r.Definition.Software = nil }) },
	"retracted": func() Crate {
		return changed(func(r *prov.JobRecord) {
			why := &prov.RetractionRecord{Time: at(8000), By: "bob", Reason: "wrong <flat>"}
			r.Results[0].Retracted, r.Results[1].Retracted, r.Inputs[0].Retracted = why, why, why
		})
	},
	"reused": func() Crate {
		return changed(func(r *prov.JobRecord) { r.ReusedFrom, r.Attempts = "j00", nil })
	},
	"in progress": func() Crate { c := full(aborted()); c.Record.Phase = "QUEUED"; c.Record.Ended = time.Time{}; return c },
}

func changed(change func(*prov.JobRecord)) Crate {
	r := completed()
	change(&r)
	return full(r)
}

func written(t testing.TB, c Crate) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := Write(&b, c); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// unzipped gives the entries by name.
func unzipped(t testing.TB, data []byte) map[string]string {
	t.Helper()
	z, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	entries := map[string]string{}
	for _, f := range z.File {
		in, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(in)
		if err != nil {
			t.Fatal(err)
		}
		if _, twice := entries[f.Name]; twice {
			t.Errorf("%q is there twice", f.Name)
		}
		entries[f.Name] = string(text)
	}
	return entries
}

// entities gives the graph of the metadata by id.
func entities(t testing.TB, entries map[string]string) map[string]map[string]any {
	t.Helper()
	var metadata struct {
		Graph []map[string]any `json:"@graph"`
	}
	if err := json.Unmarshal([]byte(entries["ro-crate-metadata.json"]), &metadata); err != nil {
		t.Fatal(err)
	}
	byID := map[string]map[string]any{}
	for _, e := range metadata.Graph {
		id := e["@id"].(string)
		if byID[id] != nil {
			t.Errorf("%q is there twice", id)
		}
		byID[id] = e
	}
	return byID
}

func TestCrate(t *testing.T) {
	for name, crate := range crates {
		t.Run(name, func(t *testing.T) {
			data := written(t, crate())
			if !bytes.Equal(data, written(t, crate())) {
				t.Error("the same crate gives other bytes")
			}
			entries := unzipped(t, data)
			checkReferences(t, entities(t, entries))
			for path, text := range entries {
				if strings.Contains(text, "hunter2") || strings.Contains(text, "bob:pw") {
					t.Errorf("%s shows a secret", path)
				}
			}
		})
	}
}

// checkReferences checks that each reference within the crate leads to an entity.
func checkReferences(t testing.TB, byID map[string]map[string]any) {
	t.Helper()
	var follow func(v any)
	follow = func(v any) {
		switch v := v.(type) {
		case []any:
			for _, x := range v {
				follow(x)
			}
		case map[string]any:
			id := v["@id"].(string)
			if byID[id] == nil && id != specCrate && !strings.HasPrefix(id, termsRun) {
				t.Errorf("nothing is known of %q", id)
			}
		}
	}
	for _, e := range byID {
		for _, v := range e {
			follow(v)
		}
	}
}

func TestActions(t *testing.T) {
	for name, want := range map[string][3]string{
		"completed":   {"CreateAction", statusCompleted, ""},
		"failed":      {"CreateAction", statusFailed, "user: line 3:\n\"\x1b[31mx\" is not a number"},
		"aborted":     {"ActivateAction", statusFailed, "The job was aborted."},
		"destroyed":   {"CreateAction", statusCompleted, ""},
		"in progress": {"ActivateAction", "", ""},
	} {
		action := entities(t, unzipped(t, written(t, crates[name]())))[authority+"/id/job/j01a"]
		for i, key := range []string{"@type", "actionStatus", "error"} {
			if got, _ := action[key].(string); got != want[i] {
				t.Errorf("%s: %s is %q, want %q", name, key, got, want[i])
			}
		}
	}
}

func TestData(t *testing.T) {
	entries := unzipped(t, written(t, crates["with data"]()))
	for path, want := range map[string]string{
		"data/table/stars.vot": content("table", ""), "data/images/a/1.fits": content("images", "a/1.fits"), "data/images/a/ü 2.fits": content("images", "a/ü 2.fits"),
		"data/images~2/A/1.fits": content("images", "A/1.fits"), "data/images/": "", "data/none/": "", "data/stdout/stdout.log": content("stdout", ""),
	} {
		if got, ok := entries[path]; !ok || got != want {
			t.Errorf("%s is %q, want %q", path, got, want)
		}
	}
	byID := entities(t, entries)
	if f := byID["data/images/a/%C3%BC%202.fits"]; f["sha256"] != sum(content("images", "a/ü 2.fits")) || f["contentUrl"] == nil {
		t.Errorf("the entity of a member is %v", f)
	}
	if f := byID["provenance/prov.json"]; f["sha256"] != sum(entries["provenance/prov.json"]) || f["contentSize"] != fmt.Sprint(len(entries["provenance/prov.json"])) {
		t.Errorf("the entity of the provenance is %v", f)
	}
	for name := range unzipped(t, written(t, crates["destroyed"]())) {
		if strings.HasPrefix(name, "data/") {
			t.Errorf("%s was destroyed", name)
		}
	}
}

func TestLicences(t *testing.T) {
	for name, want := range map[string][2]string{
		"completed": {"https://spdx.org/licenses/CC-BY-4.0", "CC-BY-4.0"}, "expression": {"#MIT%20OR%20LicenseRef-mine", "MIT OR LicenseRef-mine"}, "no licence": {"#no-licence", noLicence},
	} {
		byID := entities(t, unzipped(t, written(t, crates[name]())))
		id, _ := byID["./"]["license"].(map[string]any)["@id"].(string)
		if text, _ := byID[id]["description"].(string); id != want[0] || !strings.Contains(text, want[1]) {
			t.Errorf("%s: %s, %v", name, id, byID[id])
		}
	}
}

func TestRefuses(t *testing.T) {
	lies := full(completed())
	lies.Open = func(string, string) (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("other")), nil }
	sameSize := full(completed())
	sameSize.Open = func(result, path string) (io.ReadCloser, error) {
		return io.NopCloser(strings.NewReader(strings.ToUpper(content(result, path)))), nil
	}
	closed := full(completed())
	closed.Open = func(string, string) (io.ReadCloser, error) { return nil, io.ErrClosedPipe }
	document := full(completed())
	document.Documents = []Document{{Name: "x", Write: func(io.Writer) error { return io.ErrNoProgress }}}
	timeless := full(completed())
	timeless.Record.Created, timeless.Record.Started, timeless.Record.Ended = time.Time{}, time.Time{}, time.Time{}
	for name, c := range map[string]struct {
		crate Crate
		want  error
	}{
		"another size": {lies, ErrContent}, "another content": {sameSize, ErrContent}, "no file": {closed, io.ErrClosedPipe}, "no document": {document, io.ErrNoProgress},
		"no time": {timeless, ErrIncomplete}, "nothing": {Crate{Authority: authority}, ErrIncomplete}, "authority": {Crate{Record: completed(), Authority: "urn:x"}, prov.ErrName},
	} {
		if err := Write(io.Discard, c.crate); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	if err := Write(failing{}, full(completed())); !errors.Is(err, io.ErrShortWrite) {
		t.Errorf("a writer that fails: %v", err)
	}
}

// failing refuses to take any byte.
type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, io.ErrShortWrite }

// TestHostileNames puts any text where names of files come from: paths stay apart, inside the crate, and found.
func TestHostileNames(t *testing.T) {
	text := rapid.OneOf(rapid.SampledFrom([]string{"", ".", "..", "../../etc/passwd", "/etc/passwd", `..\..\x`, "a", "A", "a/b", "a/b/c", "a//b", "a.", "con:", "\x00", "\xff", "a~2", strings.Repeat("é", 300)}), rapid.String())
	rapid.Check(t, func(t *rapid.T) {
		r := completed()
		r.Results = nil
		files := 1 + 1 // log and provenance
		for range rapid.IntRange(0, 4).Draw(t, "results") {
			r.Results = append(r.Results, prov.ResultRecord{ID: text.Draw(t, "id"), Name: text.Draw(t, "name")})
			files++
		}
		r.Results = append(r.Results, prov.ResultRecord{ID: text.Draw(t, "id"), Collection: true})
		for range rapid.IntRange(0, 4).Draw(t, "members") {
			last := &r.Results[len(r.Results)-1]
			last.Members = append(last.Members, prov.MemberRecord{Path: text.Draw(t, "path")})
			files++
		}
		r.Inputs = append(r.Inputs, prov.InputRecord{Role: text.Draw(t, "role"), URL: "https://x.example/" + text.Draw(t, "url")})
		c := full(r)
		c.Record.Logs[0].SHA256, c.Record.Logs[0].Size = "", nil
		c.Open = open
		c.Documents[0] = Document{Name: text.Draw(t, "document"), Write: func(io.Writer) error { return nil }}
		var b bytes.Buffer
		if err := Write(&b, c); err != nil {
			t.Fatal(err)
		}
		z, err := zip.NewReader(bytes.NewReader(b.Bytes()), int64(b.Len()))
		if err != nil {
			t.Fatal(err)
		}
		seen := map[string]bool{}
		for _, f := range z.File {
			key := strings.ToLower(strings.TrimSuffix(f.Name, "/"))
			if seen[key] || path.Clean(f.Name) != strings.TrimSuffix(f.Name, "/") || path.IsAbs(f.Name) || strings.HasPrefix(f.Name, "..") || strings.ContainsAny(f.Name, "\\:\x00") {
				t.Errorf("unsafe or repeated path %q", f.Name)
			}
			if seen[key] = true; !strings.HasSuffix(f.Name, "/") && f.Name != "ro-crate-metadata.json" {
				files--
			}
		}
		for key := range seen {
			if dir := path.Dir(key); seen[dir] && !slices.ContainsFunc(z.File, func(f *zip.File) bool { return strings.ToLower(f.Name) == dir+"/" }) {
				t.Errorf("%q lies below a file", key)
			}
		}
		if files != 0 {
			t.Errorf("%d files are missing", files)
		}
	})
}

// endless gives zeros.
type endless struct{}

func (endless) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// TestStreams packs a large file in little memory.
func TestStreams(t *testing.T) {
	const size = 256 << 20
	r := completed()
	r.Logs, r.Results = nil, []prov.ResultRecord{{ID: "big", Size: ptr(int64(size))}}
	c := full(r)
	c.Open = func(string, string) (io.ReadCloser, error) { return io.NopCloser(io.LimitReader(endless{}, size)), nil }
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if err := Write(io.Discard, c); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if total := after.TotalAlloc - before.TotalAlloc; total > 8<<20 {
		t.Errorf("%d bytes allocated for a file of %d", total, size)
	}
}

func TestImages(t *testing.T) {
	for text, want := range map[string]reference{
		"debian":                       {kindDocker, "docker.io", "debian", ""},
		"library/debian:12":            {kindDocker, "docker.io", "library/debian", "12"},
		"localhost:5000/a/b@sha256:ff": {kindDocker, "localhost:5000", "a/b", ""},
		"docker://quay.io/a/b:1":       {kindDocker, "quay.io", "a/b", "1"},
		"library://a/b:1":              {kindSIF, "cloud.sylabs.io", "a/b", "1"},
		"oras://ghcr.io/a/b":           {kindSIF, "ghcr.io", "a/b", ""},
		"/opt/images/stars.sif":        {kindSIF, "file", "/opt/images/stars.sif", ""},
	} {
		if got := parseImage(text); got != want {
			t.Errorf("%s: %+v, want %+v", text, got, want)
		}
	}
}

// TestNotes checks what readers are told of files.
func TestNotes(t *testing.T) {
	for name, notes := range map[string]map[string]string{
		"retracted": {address("table", ""): "Retracted on 2026-11-20T12:13:20.250+00:00 by bob: wrong <flat>.", authority + "/id/entity/up.u1": "Input image. Retracted"},
		"destroyed": {authority + "/id/entity/j01a.r.table": "Destroyed on 2026-11-20T12:30:00.250+00:00: retention."},
		"reused":    {"./": "its results are those of job j00"},
		"completed": {authority + "/id/job/j01a.p.proposal": "Private", authority + "/id/job/j01a.p.threshold": "The default."},
	} {
		byID := entities(t, unzipped(t, written(t, crates[name]())))
		for id, want := range notes {
			if text, _ := byID[id]["description"].(string); !strings.Contains(text, want) {
				t.Errorf("%s: of %s is said %q, want %q", name, id, text, want)
			}
		}
	}
}
