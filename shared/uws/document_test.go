package uws_test

import (
	"encoding/xml"
	"math"
	"strings"
	"testing"
	"time"

	"consort/shared/schemas"
	"consort/shared/uws"
	"consort/shared/xmltext"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

var at = time.Date(2026, 7, 1, 12, 30, 5, 123456000, time.UTC)

// full has every field set, with text that needs escapes.
func full() *uws.Job {
	return &uws.Job{
		ID: "j01hzy", RunID: "run <&> \"1\"\r\n😀", OwnerID: "ada", Phase: uws.Error,
		Quote: at.Add(time.Hour), CreationTime: at, StartTime: at.Add(time.Second), EndTime: at.Add(time.Minute),
		ExecutionDuration: 3600, Destruction: at.Add(24 * time.Hour),
		Parameters: []uws.Parameter{
			{ID: "text", Value: " ]]> & <b>\r\n\té "}, {ID: "input", Value: "https://x/y?a=1&b=2", ByReference: true},
			{ID: "post", IsPost: true}, {ID: `odd "name"`, Value: "1"},
		},
		Results: []uws.Result{
			{ID: "result", Href: "https://x/rest/p/j01/results/result", MimeType: "text/plain", Size: 12},
			{ID: "empty", Href: "https://x/e"}, {ID: "unknown", Href: "https://x/u?a&b", Size: -1},
		},
		Error: &uws.ErrorSummary{Type: uws.Transient, HasDetail: true, Message: "disk <full>"},
		Info: &uws.JobInfo{Definition: "probe@1.0", Site: "paris", Epoch: 2, Attempt: "running",
			Reason: "exit 1 & more", SiteUnreachableSince: at},
	}
}

// minimal is a fresh job: all that may be absent is absent.
func minimal() *uws.Job { return &uws.Job{ID: "j01", Phase: uws.Pending, CreationTime: at} }

func TestJobIsValidInEveryPhase(t *testing.T) { // J1, J3, J5
	var docs [][]byte
	for _, p := range uws.Phases {
		a, b := full(), minimal()
		a.Phase, b.Phase = p, p
		docs = append(docs, uws.AppendJob(nil, a), uws.AppendJob(nil, b))
	}
	j := minimal()
	j.Info, j.Error = &uws.JobInfo{}, &uws.ErrorSummary{Type: "odd"}
	docs = append(docs, uws.AppendJob(nil, j))
	schemas.Validate(t, schemas.UWS, docs...)
}

func TestChildDocumentsAreValid(t *testing.T) { // A1, R1
	list := uws.AppendJobListStart(nil)
	empty := uws.AppendJobListEnd(list)
	list = uws.AppendJobRef(list, &uws.JobRef{ID: "j1", Href: "https://x/j1", Phase: uws.Queued, RunID: "a&b", OwnerID: "ada", CreationTime: at})
	list = uws.AppendJobRef(list, &uws.JobRef{ID: "j2", Href: "https://x/j2", Phase: uws.Archived})
	schemas.Validate(t, schemas.UWS, uws.AppendJobListEnd(list), empty,
		uws.AppendParameters(nil, nil), uws.AppendParameters(nil, full().Parameters),
		uws.AppendResults(nil, nil), uws.AppendResults(nil, full().Results))
}

func TestRandomJobsAreValid(t *testing.T) {
	gen := rapid.Custom(randomJob)
	var docs [][]byte
	for seed := range 40 {
		docs = append(docs, uws.AppendJob(nil, gen.Example(seed)))
	}
	schemas.Validate(t, schemas.UWS, docs...)
}

func TestJobText(t *testing.T) {
	want := `<?xml version="1.0" encoding="UTF-8"?>
<uws:job xmlns:uws="http://www.ivoa.net/xml/UWS/v1.0" xmlns:xlink="http://www.w3.org/1999/xlink" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" version="1.1">` +
		`<uws:jobId>j01</uws:jobId><uws:ownerId xsi:nil="true"/><uws:phase>PENDING</uws:phase><uws:quote xsi:nil="true"/>` +
		`<uws:creationTime>2026-07-01T12:30:05.123456Z</uws:creationTime><uws:startTime xsi:nil="true"/><uws:endTime xsi:nil="true"/>` +
		`<uws:executionDuration>0</uws:executionDuration><uws:destruction xsi:nil="true"/>` +
		`<uws:parameters></uws:parameters><uws:results></uws:results></uws:job>` + "\n"
	if diff := cmp.Diff(want, string(uws.AppendJob(nil, minimal()))); diff != "" {
		t.Error(diff)
	}
}

func TestJobRoundTrip(t *testing.T) {
	for _, j := range []*uws.Job{full(), minimal()} {
		checkRoundTrip(t, j)
	}
}

func TestRandomJobsRoundTrip(t *testing.T) { // C18
	rapid.Check(t, func(t *rapid.T) { checkRoundTrip(t, randomJob(t)) })
}

func checkRoundTrip(t interface {
	Helper()
	Fatalf(string, ...any)
}, j *uws.Job) {
	t.Helper()
	doc := uws.AppendJob(nil, j)
	got, err := uws.ParseJob(strings.NewReader(string(doc)))
	if err != nil {
		t.Fatalf("read back: %v\n%s", err, doc)
	}
	if diff := cmp.Diff(j, got); diff != "" {
		t.Fatalf("%s\n%s", diff, doc)
	}
}

// randomJob makes jobs whose strings are legal XML.
func randomJob(t *rapid.T) *uws.Job {
	text := rapid.String().Filter(uws.LegalXML)
	micros := rapid.Int64Range(0, time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC).UnixMicro())
	moment := func(name string) time.Time { return time.UnixMicro(micros.Draw(t, name)).UTC() }
	maybe := func(name string) time.Time {
		if rapid.Bool().Draw(t, name+" set") {
			return moment(name)
		}
		return time.Time{}
	}
	j := &uws.Job{
		ID: text.Draw(t, "id"), RunID: text.Draw(t, "run id"), OwnerID: text.Draw(t, "owner"),
		Phase: rapid.SampledFrom(uws.Phases).Draw(t, "phase"), Quote: maybe("quote"), CreationTime: moment("creation"),
		StartTime: maybe("start"), EndTime: maybe("end"), Destruction: maybe("destruction"),
		ExecutionDuration: rapid.Int32Range(0, math.MaxInt32).Draw(t, "duration"),
	}
	for range rapid.IntRange(0, 3).Draw(t, "parameters") {
		j.Parameters = append(j.Parameters, uws.Parameter{ID: text.Draw(t, "id"), Value: text.Draw(t, "value"),
			ByReference: rapid.Bool().Draw(t, "by reference"), IsPost: rapid.Bool().Draw(t, "post")})
	}
	for range rapid.IntRange(0, 3).Draw(t, "results") {
		j.Results = append(j.Results, uws.Result{ID: text.Draw(t, "id"), Href: "https://x/" + rapid.StringMatching(`[a-z&?=]*`).Draw(t, "href"),
			MimeType: text.Draw(t, "type"), Size: rapid.Int64Range(-1, math.MaxInt64).Draw(t, "size")})
	}
	if rapid.Bool().Draw(t, "failed") {
		j.Error = &uws.ErrorSummary{Type: rapid.SampledFrom([]uws.ErrorType{uws.Transient, uws.Fatal}).Draw(t, "type"),
			HasDetail: rapid.Bool().Draw(t, "detail"), Message: text.Draw(t, "message")}
	}
	if rapid.Bool().Draw(t, "info") {
		j.Info = &uws.JobInfo{Site: text.Draw(t, "site"), Epoch: rapid.Uint64().Draw(t, "epoch"), Reason: text.Draw(t, "reason"),
			SiteUnreachableSince: maybe("unreachable")}
	}
	return j
}

func TestListRoundTrip(t *testing.T) { // C8, F20
	refs := []uws.JobRef{
		{ID: "j1", Href: "https://x/j1?a&b", Phase: uws.Queued, RunID: "a<b", OwnerID: "ada", CreationTime: at},
		{ID: "j2", Href: "https://x/j2", Phase: uws.Archived},
	}
	doc := uws.AppendJobListStart(nil)
	for i := range refs {
		doc = uws.AppendJobRef(doc, &refs[i])
	}
	got, err := uws.ParseJobs(strings.NewReader(string(uws.AppendJobListEnd(doc))))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(refs, got); diff != "" {
		t.Error(diff)
	}
}

func TestWritersNeverMakeIllegalXML(t *testing.T) { // C19, Z2
	j := full()
	bad := "a\x00\b\uFFFE\xff"
	j.ID, j.RunID, j.OwnerID, j.Parameters[0].ID, j.Parameters[0].Value = bad, bad, bad, bad, bad
	j.Results[0].Href, j.Error.Message, j.Info.Reason = bad, bad, bad
	doc := uws.AppendJob(nil, j)
	if !xmltext.Legal(string(doc)) {
		t.Errorf("illegal: %q", doc)
	}
	got, err := uws.ParseJob(strings.NewReader(string(doc)))
	if err != nil || got.Parameters[0].Value != "a\uFFFD\uFFFD\uFFFD\uFFFD" {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestParseJobOfOtherServers(t *testing.T) {
	doc := `<?xml version='1.0'?><?xml-stylesheet href="x"?><!-- c -->
<job xmlns="http://www.ivoa.net/xml/UWS/v1.0" xmlns:l="http://www.w3.org/1999/xlink" xmlns:i="http://www.w3.org/2001/XMLSchema-instance">
 <jobId>7</jobId><ownerId i:nil="true"/><phase> COMPLETED </phase><creationTime>2020-01-02T03:04:05</creationTime>
 <startTime></startTime><executionDuration> 600 </executionDuration><destruction>2020-01-02T03:04:05+01:00</destruction>
 <results><result id="a" l:href="http://x" l:type="simple"/></results>
 <jobInfo><other xmlns="urn:x"><deep/></other></jobInfo></job>`
	got, err := uws.ParseJob(strings.NewReader(doc))
	if err != nil {
		t.Fatal(err)
	}
	created := time.Date(2020, 1, 2, 3, 4, 5, 0, time.UTC)
	want := &uws.Job{ID: "7", Phase: uws.Completed, CreationTime: created, ExecutionDuration: 600, Destruction: created.Add(-time.Hour),
		Results: []uws.Result{{ID: "a", Href: "http://x", Size: -1}}, Info: &uws.JobInfo{}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestParseJobRefuses(t *testing.T) {
	good := string(uws.AppendJob(nil, full()))
	for name, doc := range map[string]string{
		"nothing":     "",
		"html":        "<html><body>no</body></html>",
		"a list":      string(uws.AppendJobListEnd(uws.AppendJobListStart(nil))),
		"namespace":   strings.ReplaceAll(good, uws.Namespace, "urn:other"),
		"doctype":     strings.Replace(good, "<uws:job", "<!DOCTYPE x><uws:job", 1),
		"trailing":    good + "<x/>",
		"cut":         good[:len(good)/2],
		"phase":       strings.Replace(good, ">ERROR<", ">DONE<", 1),
		"time":        strings.Replace(good, ">2026-07-01T12:30:05.123456Z<", ">yesterday<", 1),
		"duration":    strings.Replace(good, ">3600<", ">-1<", 1),
		"byReference": strings.Replace(good, `byReference="true"`, `byReference="perhaps"`, 1),
		"size":        strings.Replace(good, `size="12"`, `size="big"`, 1),
		"epoch":       strings.Replace(good, `>2</fed:epoch>`, `>x</fed:epoch>`, 1),
		"too large":   strings.Replace(good, "<uws:jobId>", "<uws:jobId>"+strings.Repeat("x", uws.MaxDocument), 1),
	} {
		if _, err := uws.ParseJob(strings.NewReader(doc)); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func FuzzParseJob(f *testing.F) {
	f.Add(string(uws.AppendJob(nil, full())))
	f.Add(string(uws.AppendJob(nil, minimal())))
	f.Add(`<job xmlns="http://www.ivoa.net/xml/UWS/v1.0"><phase>PENDING</phase></job>`)
	f.Fuzz(func(t *testing.T, doc string) {
		j, err := uws.ParseJob(strings.NewReader(doc))
		if err != nil {
			return
		}
		if j.Error != nil && j.Error.Type != uws.Transient {
			j.Error.Type = uws.Fatal
		}
		for i := range j.Results {
			j.Results[i].Size = max(j.Results[i].Size, -1)
		}
		if j.CreationTime.IsZero() {
			j.CreationTime = at // required; the writer has no other way to say that it is missing
		}
		checkRoundTrip(t, j)
	})
}

func FuzzAppendJob(f *testing.F) {
	f.Add("j1", "run", "value", "https://x", "text/plain", "why")
	f.Add("\x00", "\r", "]]>", "\"'", "\uFFFE", "\xff")
	f.Fuzz(func(t *testing.T, id, run, value, href, mime, why string) {
		j := &uws.Job{ID: id, RunID: run, OwnerID: run, Phase: uws.Held, CreationTime: at,
			Parameters: []uws.Parameter{{ID: id, Value: value}}, Results: []uws.Result{{ID: id, Href: href, MimeType: mime}},
			Error: &uws.ErrorSummary{Type: uws.Fatal, Message: why}, Info: &uws.JobInfo{Reason: why}}
		if xmltext.Legal(id + "\n" + run + "\n" + value + "\n" + href + "\n" + mime + "\n" + why) {
			checkRoundTrip(t, j)
		} else if _, err := uws.ParseJob(strings.NewReader(string(uws.AppendJob(nil, j)))); err != nil {
			t.Fatal(err)
		}
	})
}

func TestCapabilities(t *testing.T) { // V1, V2, V3
	doc := uws.AppendCapabilities(nil, &uws.Capabilities{CapabilitiesURL: "https://x/capabilities", AvailabilityURL: "https://x/availability",
		JobLists: []uws.JobList{{URL: "https://x/rest/a?b&c", Description: "<A>"}, {URL: "https://x/rest/b"}}})
	var got struct {
		XMLName    xml.Name `xml:"http://www.ivoa.net/xml/VOSICapabilities/v1.0 capabilities"`
		Capability []struct {
			XMLName     xml.Name
			StandardID  string `xml:"standardID,attr"`
			Description string `xml:"description"`
			Interface   struct {
				Type string `xml:"http://www.w3.org/2001/XMLSchema-instance type,attr"`
				URL  string `xml:"accessURL"`
				// Declared methods mislead clients; there must be none.
				Security []string `xml:"securityMethod"`
			} `xml:"interface"`
		} `xml:"capability"`
	}
	if err := xmltext.Unmarshal(strings.NewReader(string(doc)), 1<<20, &got); err != nil {
		t.Fatal(err)
	}
	want := [][3]string{
		{"ivo://ivoa.net/std/VOSI#capabilities", "https://x/capabilities", ""},
		{"ivo://ivoa.net/std/VOSI#availability", "https://x/availability", ""},
		{"ivo://ivoa.net/std/UWS#rest-1.1", "https://x/rest/a?b&c", "<A>"},
		{"ivo://ivoa.net/std/UWS#rest-1.1", "https://x/rest/b", ""},
	}
	var have [][3]string
	for _, c := range got.Capability {
		if c.XMLName.Space != "" || c.Interface.Type != "vs:ParamHTTP" || c.Interface.Security != nil {
			t.Errorf("capability %+v", c)
		}
		have = append(have, [3]string{c.StandardID, c.Interface.URL, c.Description})
	}
	if diff := cmp.Diff(want, have); diff != "" {
		t.Error(diff)
	}
}

func TestAvailability(t *testing.T) { // V5
	for _, c := range []struct {
		in   uws.Availability
		want string
	}{
		{uws.Availability{}, `<vosi:available>false</vosi:available>`},
		{uws.Availability{Available: true, UpSince: at, DownAt: at, BackAt: at, Notes: []string{"a<b", "c"}},
			`<vosi:available>true</vosi:available><vosi:upSince>2026-07-01T12:30:05.123456Z</vosi:upSince>` +
				`<vosi:downAt>2026-07-01T12:30:05.123456Z</vosi:downAt><vosi:backAt>2026-07-01T12:30:05.123456Z</vosi:backAt>` +
				`<vosi:note>a&lt;b</vosi:note><vosi:note>c</vosi:note>`},
	} {
		want := xmltext.Header + `<vosi:availability xmlns:vosi="http://www.ivoa.net/xml/VOSIAvailability/v1.0">` + c.want + "</vosi:availability>\n"
		if diff := cmp.Diff(want, string(uws.AppendAvailability(nil, &c.in))); diff != "" {
			t.Error(diff)
		}
	}
}

func BenchmarkAppendJob(b *testing.B) {
	j := full()
	var dst []byte
	b.ReportAllocs()
	for b.Loop() {
		dst = uws.AppendJob(dst[:0], j)
	}
}
