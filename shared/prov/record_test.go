package prov

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var update = flag.Bool("update", false, "write the golden files anew")

const (
	shaSeries = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
	shaTable  = "60303ae22b998861bce3b28f33eec1be758a213c86c93c076dbe9f558c11c752"
	shaPlot   = "fd61a03af4f77d870fc21e05e7e80678095c92d808cfb3b5c279ee04c74aca13"
	shaLog    = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	job1      = "j01ke5nzv0fghjkmnpqrstvwxy0"
	job2      = "j01ke5nzv1fghjkmnpqrstvwxy0"
)

func at(seconds int) time.Time {
	return time.Date(2026, 11, 20, 10, 0, 0, 500_000_000, time.UTC).Add(time.Duration(seconds) * time.Second)
}

func ptr[T any](v T) *T { return &v }

// TestFromDefinition: the graph of a definition is a part of the records of its jobs, but for logs that they have not.
func TestFromDefinition(t *testing.T) {
	rec := completed()
	whole := graphOf(t, rec)
	plan, err := FromDefinition(rec.Definition, authority)
	if err != nil {
		t.Fatal(err)
	}
	told := map[QName]bool{}
	for r := range plan.All() {
		if told[r.ID] = true; r.Kind.IsElement() && !strings.HasSuffix(r.ID.Local, "."+internalLog) {
			in, ok := whole.Get(r.Kind, r.ID)
			if !ok || !slices.Equal(in.Attrs, r.Attrs) {
				t.Errorf("the record of the job tells of %s: %v, not %v", r.ID, in, r)
			}
		}
	}
	for r := range whole.Records(Entity) {
		if r.ID.Prefix == "jdl" && !told[r.ID] {
			t.Errorf("nothing tells of %s", r.ID)
		}
	}
	for _, bad := range []DefinitionRecord{{}, {Version: "1"}} {
		if _, err := FromDefinition(bad, authority); !errors.Is(err, ErrRecord) {
			t.Errorf("%+v: %v", bad, err)
		}
	}
	if _, err := FromDefinition(rec.Definition, "nowhere"); !errors.Is(err, ErrName) {
		t.Errorf("no authority: %v", err)
	}
}

// completed is a job with given and default parameters, a secret, an upload, results and logs.
func completed() JobRecord {
	return JobRecord{
		Job: job1, RunID: "sun \"spots\"", Phase: "COMPLETED", Owner: UserRecord{ID: "alice", Name: "Alice Ö."},
		Created: at(0), Queued: at(1), Started: at(5), Ended: at(20), Duration: 600, Controller: SoftwareRecord{"consort", "0.1.0"},
		Definition: DefinitionRecord{
			Name: "periodogram", Version: "1.2.0", Digest: shaLog, Title: "Lomb-Scargle periodogram", Type: "Analysis", Doc: "https://doc.example/p",
			CodeLicence: "BSD-3-Clause", ResultsLicence: "CC-BY-4.0", Cite: []string{"doi:10.1007/BF00648343"},
			People: []PersonRecord{
				{Name: "Nicholas R. Lomb", Role: "Author"}, {Name: "Zoë", ORCID: "0000-0002-1825-0097", Contact: true},
			},
			Software: []DependencyRecord{{Name: "python3", Version: ">=3.11"}, {Name: "numpy", Image: "hub.example/numpy@sha256:" + shaPlot, Digest: "sha256:" + shaPlot}},
			Configs:  []ConfigDescription{{Name: "p.conf", ContentType: "application/toml", Template: "p.conf.tmpl", SHA256: shaLog}, {Name: "run.sh", SHA256: shaTable, Script: true}},
			Parameters: []ParameterDescription{
				{Name: "min_period", Type: "double", Unit: "yr", UCD: "time.period", Min: "0.1", Max: "1000", Default: ptr("2")},
				{Name: "max_period", Type: "double", Unit: "yr", Default: ptr("100")},
				{Name: "window", Type: "string", Options: []string{"none", "hann"}, Default: ptr("none")},
				{Name: "password", Type: "string", Secret: true, Default: ptr("hunter2")},
			},
			Inputs:  []FileDescription{{Role: "series", Usage: "Main", Multiplicity: "1", ContentTypes: []string{"text/csv"}}},
			Outputs: []FileDescription{{Role: "table", Usage: "Main", ContentTypes: []string{"application/x-votable+xml"}}, {Role: "plot", Usage: "Preview"}},
		},
		Parameters: []ParameterRecord{
			{Name: "min_period", Type: "double", Values: []string{"2"}, Default: true}, {Name: "max_period", Type: "double", Values: []string{"50"}},
			{Name: "window", Type: "string", Values: []string{"none"}, Default: true}, {Name: "password", Type: "string", Values: []string{"hunter2"}, Secret: true},
		},
		Configs: []ConfigRecord{{Name: "p.conf", SHA256: shaPlot, Size: ptr(int64(1000))}, {Name: "run.sh", SHA256: shaTable, Script: true}},
		Inputs:  []InputRecord{{Role: "series", Upload: "01ke5nzuzz", Name: "sunspots.csv", MediaType: "text/csv", SHA256: shaSeries, Size: ptr(int64(6123))}},
		Attempts: []AttemptRecord{{
			Epoch: 1, Site: "meudon", Agent: SoftwareRecord{"consort-agent", "0.1.0"}, Batch: "slurm", BatchID: "4711", Node: "node7", Leased: at(2),
			Submitted: at(4), Started: at(6), Ended: at(18), Outcome: OutcomeCommitted, Exit: ptr(int32(0)), CPUSeconds: ptr(10.5), WallSeconds: ptr(12.0), MaxRSS: 1 << 25, Cores: 1,
			Image: "sha256:" + shaPlot, Software: []DependencyRecord{{Name: "python3", Version: "3.11.2"}, {Name: "numpy", Version: "1.24.2"}},
		}},
		Transfers: []TransferRecord{
			{N: 1, Epoch: 1, Direction: TransferIn, Role: "series", Protocol: "https", Bytes: 6123, Files: 1, SHA256: shaSeries, Started: at(3), Ended: at(4)},
			{N: 2, Epoch: 1, Direction: TransferOut, Protocol: "sftp", Bytes: 9000, Files: 4, Started: at(18), Ended: at(19)},
		},
		Results: []ResultRecord{
			{ID: "table", Name: "periodogram.vot", MediaType: "application/x-votable+xml", SHA256: shaTable, Size: ptr(int64(8000)), DerivedFrom: []string{"series"}},
			{ID: "plot", Name: "plot.svg", MediaType: "image/svg+xml", SHA256: shaPlot, Size: ptr(int64(1000)), DerivedFrom: []string{"series"}},
		},
		Logs: []LogRecord{{ID: "stdout", SHA256: shaLog, Size: ptr(int64(0))}, {ID: "stderr", SHA256: shaLog, Size: ptr(int64(0))}},
	}
}

func failed() JobRecord {
	r := completed()
	r.Phase, r.Results = "ERROR", nil
	r.Error = &ErrorRecord{"user", "sunspots.csv, line 3:\n\"\x1b[31mx\" is not a number"}
	r.Attempts[0].Outcome, r.Attempts[0].Exit, r.Attempts[0].Error = "failed", ptr(int32(2)), r.Error
	return r
}

// aborted ended before any attempt started.
func aborted() JobRecord {
	r := completed()
	r.Phase, r.Owner, r.Started = "ABORTED", UserRecord{}, time.Time{}
	r.Attempts, r.Transfers, r.Results, r.Logs = nil, nil, nil, nil
	return r
}

// retried takes its input from an earlier job and failed once, at another site, with two inputs of one role
// and a collection as result; its files are gone.
func retried() JobRecord {
	r := completed()
	r.Job, r.Definition = job2, DefinitionRecord{Name: "fold", Version: "1"}
	r.Parameters = []ParameterRecord{{Name: "period", Type: "double", Values: []string{"11.1"}}, {Name: "tag", Type: "string", Values: []string{"a", "b"}}}
	r.Inputs = []InputRecord{
		{Role: "series", Job: job1, Result: "table", Gone: true, Deleted: at(900), SHA256: shaTable, Size: ptr(int64(8000)), MediaType: "application/x-votable+xml"},
		{Role: "series", URL: "https://bob:pw@archive.example/s.csv?x=1", SHA256: shaSeries, Size: ptr(int64(6123))},
	}
	second := r.Attempts[0]
	second.Epoch = 2
	r.Attempts = []AttemptRecord{{Epoch: 1, Site: "lyon", Agent: SoftwareRecord{"consort-agent", "0.0.9"}, Batch: "gridengine", Started: at(5), Outcome: "lost",
		Error: &ErrorRecord{Class: "lost", Message: "site unreachable"}}, second}
	r.Transfers = []TransferRecord{
		{N: 1, Epoch: 1, Direction: TransferIn, Role: "series", Index: 2, Protocol: "https", Failed: true},
		{N: 2, Epoch: 2, Direction: TransferIn, Role: "series", Index: 1, Protocol: "https", Bytes: 8000},
		{N: 3, Epoch: 2, Direction: TransferIn, Role: "series", Index: 2, Protocol: "https", Bytes: 6123},
		{N: 4, Epoch: 2, Direction: TransferIn, Role: "series", Index: 2, Protocol: "https", Bytes: 6123},
		{N: 5, Epoch: 2, Direction: TransferOut, Role: "images", Protocol: "sftp", Bytes: 10},
	}
	r.Results = []ResultRecord{{ID: "images", Collection: true, DerivedFrom: []string{"series"}, Members: []MemberRecord{
		{Path: "a/1.fits", SHA256: shaPlot, Size: ptr(int64(5)), MediaType: "image/fits"}, {Path: "a/ü 2.fits", SHA256: shaPlot, Size: ptr(int64(5)), MediaType: "image/fits"}}}}
	r.Destroyed, r.Reason = at(1000), "retention"
	return r
}

// retracted is a job whose input and one result were taken back, the result by an operator; another result was, too,
// and is good again.
func retracted() JobRecord {
	r := completed()
	r.Inputs[0].Retracted = &RetractionRecord{Time: at(500), By: "alice", Reason: "the counts before 1750 are wrong"}
	r.Results[0].Retracted = &RetractionRecord{Time: at(600), By: "root"}
	r.Results[0].Withdrawn = []RetractionRecord{{Time: at(510), By: "root", Reason: "the wrong table", Withdrawn: at(520), WithdrawnBy: "alice"}}
	r.Results[1].Withdrawn = []RetractionRecord{{Time: at(530), By: "alice", Reason: "axes", Withdrawn: at(540), WithdrawnBy: "alice"}}
	r.Results = append(r.Results, ResultRecord{ID: "parts", Collection: true, Members: []MemberRecord{
		{Path: "1.csv", SHA256: shaPlot, Size: ptr(int64(1000)), Retracted: &RetractionRecord{Time: at(700), By: "alice", Reason: "cut off"}}}})
	return r
}

// reused is a job that has the results of an earlier one.
func reused() JobRecord {
	r := completed()
	r.Job, r.ReusedFrom = job2, job1
	r.Created, r.Queued, r.Started, r.Ended = at(100), at(100), at(100), at(100)
	r.Attempts, r.Transfers, r.Logs = nil, nil, nil
	r.Inputs[0].Upload = "01ke5nzuzy"
	return r
}

// private is a job as others than its owner see it: a parameter is not for them.
func private() JobRecord {
	r := completed()
	r.Parameters[1].Private = true
	return r
}

// internal is a job whose code told of its own provenance; its graph holds a bundle.
func internal() JobRecord {
	r := completed()
	r.Inputs[0].Path = "series.csv"
	r.Internal = []byte(opusLike)
	r.Logs = append(r.Logs, LogRecord{ID: "provenance", SHA256: shaSeries, Size: ptr(int64(len(opusLike)))})
	return r
}

// malformed is a job whose code wrote something else in the place of its provenance.
func malformed() JobRecord {
	r := internal()
	r.Internal = []byte("{\"entity\": [")
	return r
}

func graphOf(t testing.TB, r JobRecord) *Graph {
	t.Helper()
	g, err := FromRecord(r, authority)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

var cases = []struct {
	name   string
	record func() JobRecord
	root   QName
}{
	{"completed", completed, ResultID(job1, "plot")},
	{"failed", failed, JobID(job1)},
	{"aborted", aborted, JobID(job1)},
	{"retried", retried, MemberID(job2, "images", "a/1.fits")},
	{"retracted", retracted, ResultID(job1, "table")},
	{"reused", reused, ResultID(job2, "table")},
	{"private", private, JobID(job1)},
	{"internal", internal, ResultID(job1, "table")},
	{"malformed", malformed, JobID(job1)},
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs; got\n%s", name, got)
	}
}

func TestGolden(t *testing.T) {
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			g := graphOf(t, c.record())
			golden(t, c.name+".json", jsonOf(t, g))
			golden(t, c.name+".provn", provnOf(t, g))
			var b bytes.Buffer
			if err := Tree(&b, g, c.root, TreeOptions{}); err != nil {
				t.Fatal(err)
			}
			golden(t, c.name+".tree", b.String())
			for _, p := range g.Validate() {
				t.Errorf("%s %s %s", p.Code, p.Record, p.Text)
			}
			for name, read := range map[string]func() (*Graph, error){
				"json":  func() (*Graph, error) { return ReadJSON(strings.NewReader(jsonOf(t, g)), DefaultLimits()) },
				"provn": func() (*Graph, error) { return ReadN(strings.NewReader(provnOf(t, g)), DefaultLimits()) },
			} {
				if back, err := read(); err != nil || !back.Equal(g) {
					t.Errorf("%s comes back differently: %v", name, err)
				}
			}
			if !graphOf(t, c.record()).Equal(g) || jsonOf(t, graphOf(t, c.record())) != jsonOf(t, g) {
				t.Error("the same record gives another graph")
			}
		})
	}
}

// TestLineageAcrossJobs checks that records of different jobs meet in one graph.
func TestLineageAcrossJobs(t *testing.T) {
	g := graphOf(t, retried())
	if err := g.Merge(graphOf(t, completed())); err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if err := Tree(&b, g, MemberID(job2, "images", "a/1.fits"), TreeOptions{ASCII: true}); err != nil {
		t.Fatal(err)
	}
	golden(t, "lineage.tree", b.String())
	if s := b.String(); strings.IndexFunc(s, func(r rune) bool { return r > 126 }) >= 0 {
		t.Error("not ASCII")
	}
	if err := Tree(&b, g, QName{"ent", "none"}, TreeOptions{}); !errors.Is(err, ErrNotFound) {
		t.Errorf("unknown root: %v", err)
	}
}

// TestTreeOfReusedJob goes on through the job whose results another one took over.
func TestTreeOfReusedJob(t *testing.T) {
	g := graphOf(t, reused())
	if err := g.Merge(graphOf(t, completed())); err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if err := Tree(&b, g, ResultID(job2, "table"), TreeOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"took over the results of  periodogram 1.2.0", "attempt 1 at meudon"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in %s", want, b.String())
		}
	}
}

func TestSecretsStayOut(t *testing.T) {
	for _, c := range cases {
		g := graphOf(t, c.record())
		for _, text := range []string{jsonOf(t, g), provnOf(t, g)} {
			if strings.Contains(text, "hunter2") || strings.Contains(text, "bob:pw") {
				t.Errorf("%s shows a secret", c.name)
			}
		}
	}
}

func TestAbortedBeforeStart(t *testing.T) {
	g := graphOf(t, aborted())
	for k, n := range map[Kind]int{Usage: 0, Generation: 0, Activity: 1, Attribution: 4} {
		got := 0
		for range g.Records(k) {
			got++
		}
		if got != n {
			t.Errorf("%d records of %v, want %d", got, k, n)
		}
	}
	j, _ := g.Get(Activity, JobID(job1))
	if v, ok := j.Attr(fedTerm("requestedInput")); !ok || v != Name(UploadID("01ke5nzuzz")) {
		t.Errorf("the requested input is %v", v)
	}
}

// TestOneClock: the coordinators hear of a start when it has happened, and lease a job long before. Neither means
// that the clocks differ.
func TestOneClock(t *testing.T) {
	r := completed()
	r.Attempts[0].Started = r.Started.Add(-100 * time.Millisecond)
	r.Transfers[1].Ended = r.Ended.Add(time.Second)
	g := graphOf(t, r)
	a, _ := g.Get(Activity, AttemptID(job1, 1))
	if v, ok := a.Attr(fedTerm("clockSkew")); ok {
		t.Errorf("clockSkew is %v", v)
	}
	if u, _ := g.Get(Usage, UsedID(job1, "series", 0)); !u.Time.Equal(r.Started) {
		t.Errorf("the usage is at %v, the start of the job at %v", u.Time, r.Started)
	}
}

// TestPartsLieInsideAttempts: a transfer is a part of its attempt, also in time.
func TestPartsLieInsideAttempts(t *testing.T) {
	r := completed()
	g := graphOf(t, r)
	a, _ := g.Get(Activity, AttemptID(job1, 1))
	for n := range r.Transfers {
		x, ok := g.Get(Activity, TransferID(job1, n+1))
		if !ok || outside(x.Time, a.Time, a.End) || outside(x.End, a.Time, a.End) {
			t.Errorf("transfer %d from %v to %v, attempt from %v to %v", n+1, x.Time, x.End, a.Time, a.End)
		}
	}
	if v, _ := a.Attr(fedTerm("startedAt")); v != DateTime(at(6)) {
		t.Errorf("the code started at %v", v)
	}
	if v, _ := a.Attr(fedTerm("endedAt")); v != DateTime(at(18)) {
		t.Errorf("the code ended at %v", v)
	}
}

// TestClockAhead: results that came before they were made.
func TestClockAhead(t *testing.T) {
	r := completed()
	r.Attempts[0].Ended = r.Ended.Add(time.Minute)
	a, _ := graphOf(t, r).Get(Activity, AttemptID(job1, 1))
	if v, _ := a.Attr(fedTerm("clockSkew")); v != Boolean(true) {
		t.Errorf("attempt %+v", a)
	}
	r.Attempts[0].Outcome = "cancelled" // ends after its job by nature
	a, _ = graphOf(t, r).Get(Activity, AttemptID(job1, 1))
	if v, ok := a.Attr(fedTerm("clockSkew")); ok {
		t.Errorf("clockSkew is %v", v)
	}
}

func TestClockSkew(t *testing.T) {
	r := completed()
	r.Attempts[0].Started = at(-60)
	g := graphOf(t, r)
	a, _ := g.Get(Activity, AttemptID(job1, 1))
	if v, _ := a.Attr(fedTerm("clockSkew")); v != Boolean(true) || !a.Time.Equal(at(-60)) {
		t.Errorf("attempt %+v", a)
	}
	if u, _ := g.Get(Usage, UsedID(job1, "series", 0)); !u.Time.IsZero() {
		t.Error("a usage outside its activity")
	}
}

func TestSameContentMeets(t *testing.T) {
	r := completed()
	r.Configs = nil
	r.Results[1].SHA256 = r.Results[0].SHA256
	r.Results[1].Size = r.Results[0].Size
	g := graphOf(t, r)
	n := 0
	for s := range g.Records(Specialization) {
		if s.Ref(1) == ContentID(shaTable) {
			n++
		}
	}
	if n != 2 {
		t.Errorf("%d results of the same content, want 2", n)
	}
}

func TestLargeCollection(t *testing.T) {
	r := retried()
	r.Results[0].Members = nil
	for i := range 20_000 {
		r.Results[0].Members = append(r.Results[0].Members, MemberRecord{Path: fmt.Sprintf("d/%05d.fits", i), SHA256: fmt.Sprintf("%064x", i), Size: ptr(int64(i))})
	}
	start := time.Now()
	g := graphOf(t, r)
	if _, ok := g.Get(Entity, MemberID(job2, "images", "d/19999.fits")); !ok {
		t.Error("a member is missing")
	}
	var b strings.Builder
	if err := Tree(&b, g, ResultID(job2, "images"), TreeOptions{}); err != nil || !strings.Contains(b.String(), "20000 files") {
		t.Errorf("%v\n%s", err, b.String())
	}
	t.Logf("%d records in %v", g.Len(), time.Since(start))
}

// TestTreeDepth follows a chain of jobs only as far as asked, and a cycle only once.
func TestTreeDepth(t *testing.T) {
	g := newTestGraph(t)
	for i := range 10 {
		made, by, from := ResultID("j", fmt.Sprint("r", i)), JobID(fmt.Sprint("k", i)), ResultID("j", fmt.Sprint("r", (i+1)%10))
		for _, r := range []Record{{Kind: Entity, ID: made}, {Kind: Activity, ID: by}, {Kind: Generation, Refs: []QName{made, by}}, {Kind: Usage, Refs: []QName{by, from}}} {
			if err := g.Add(r); err != nil {
				t.Fatal(err)
			}
		}
	}
	for depth, lines := range map[int]int{0: 21, 3: 8} {
		var b strings.Builder
		if err := Tree(&b, g, ResultID("j", "r0"), TreeOptions{Depth: depth}); err != nil {
			t.Fatal(err)
		}
		if got := strings.Count(b.String(), "\n"); got != lines {
			t.Errorf("depth %d: %d lines, want %d\n%s", depth, got, lines, b.String())
		}
	}
}

func TestFromRecordRefuses(t *testing.T) {
	twice := completed()
	twice.Logs = nil
	twice.Results = append(twice.Results, ResultRecord{ID: "plot"})
	if _, err := FromRecord(twice, authority); err != nil {
		t.Errorf("a result told twice: %v", err)
	}
	twice.Transfers = nil // from which an attempt has its start too
	twice.Attempts = append(twice.Attempts, AttemptRecord{Epoch: 1, Started: at(900)})
	if _, err := FromRecord(twice, authority); !errors.Is(err, ErrConflict) {
		t.Errorf("one epoch with two starts: %v", err)
	}
	if _, err := FromRecord(completed(), "urn:x"); !errors.Is(err, ErrName) {
		t.Errorf("authority: %v", err)
	}
	if _, err := FromRecord(JobRecord{}, authority); !errors.Is(err, ErrRecord) {
		t.Errorf("empty record: %v", err)
	}
}

// TestHostileRecords puts arbitrary text in every field: the documents stay readable.
func TestHostileRecords(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := genText()
		s := func() string { return text.Draw(t, "text") }
		r := retried()
		r.Job, r.RunID, r.Owner = "j"+s(), s(), UserRecord{s(), s(), s()}
		r.Definition = DefinitionRecord{Name: "d" + s(), Version: s(), Title: s(), Inputs: []FileDescription{{Role: s()}}, Parameters: []ParameterDescription{{Name: s(), Default: ptr(s())}}}
		r.Parameters = []ParameterRecord{{Name: s(), Type: rapid.SampledFrom([]string{"int", "double", "boolean", "uri", ""}).Draw(t, "type"), Values: []string{s()}}}
		r.Inputs = append(r.Inputs, InputRecord{Role: s(), Upload: s(), Name: s(), SHA256: s()}, InputRecord{Role: s(), URL: s()})
		r.Attempts = append(r.Attempts, AttemptRecord{Epoch: 3, Site: s(), Agent: SoftwareRecord{s(), s()}, Batch: s(), BatchID: s(), Error: &ErrorRecord{s(), s()}})
		r.Results = append(r.Results, ResultRecord{ID: s(), Name: s(), Members: []MemberRecord{{Path: s()}}})
		g, err := FromRecord(r, authority)
		if errors.Is(err, ErrConflict) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		var j, n, tree strings.Builder
		if WriteJSON(&j, g) != nil || WriteN(&n, g) != nil || Tree(&tree, g, ResultID(r.Job, "images"), TreeOptions{}) != nil {
			t.Fatal("cannot write")
		}
		a, err := ReadJSON(strings.NewReader(j.String()), DefaultLimits())
		if err != nil || !a.Equal(g) {
			t.Fatalf("PROV-JSON: %v", err)
		}
		b, err := ReadN(strings.NewReader(n.String()), DefaultLimits())
		if err != nil || !b.Equal(g) {
			t.Fatalf("PROV-N: %v", err)
		}
		if strings.ContainsAny(tree.String(), "\x1b\x00\r") {
			t.Fatalf("control characters in %q", tree.String())
		}
	})
}

func TestRecordAsJSON(t *testing.T) {
	for _, c := range cases {
		text, err := json.Marshal(c.record())
		if err != nil {
			t.Fatal(err)
		}
		var back JobRecord
		if err := json.Unmarshal(text, &back); err != nil {
			t.Fatal(err)
		}
		if !graphOf(t, back).Equal(graphOf(t, c.record())) {
			t.Errorf("%s comes back differently", c.name)
		}
	}
}
