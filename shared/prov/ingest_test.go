package prov

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"consort/shared/testenv"
)

// opusLike is what a code writes by hand, as in OPUS: two steps inside the job, a file of the job by its name, and a
// program.
const opusLike = `{
  "prefix": {"default": "internal:", "my": "https://code.example/ns#", "voprov": "http://www.ivoa.net/documents/ProvenanceDM/index.html#"},
  "entity": {
    "cleaned": {"prov:label": "cleaned series", "my:outliers": 3, "prov:type": {"$": "my:Series", "type": "prov:QUALIFIED_NAME"}},
    "table": {"prov:location": "./periodogram.vot", "prov:value": 1, "prov:generatedAtTime": "2026-11-20T10:00:15Z"},
    "in": {"prov:location": "file:///scratch/x/work/series.csv"},
    "numpy": {"prov:type": "Software", "my:version": "1.24.2"}
  },
  "activity": {
    "current_job": {"my:threads": {"$": "4", "type": "xsd:int"}},
    "clean": {"prov:startTime": "2026-11-20T10:00:07+00:00", "prov:endTime": "2026-11-20T10:00:09"}
  },
  "agent": {"bot": {"prov:type": {"$": "prov:SoftwareAgent", "type": "prov:QUALIFIED_NAME"}}},
  "used": {"_:1": {"prov:activity": "current_job", "prov:entity": "in"}, "_:2": {"prov:activity": "clean", "prov:entity": "in", "prov:role": "raw"}},
  "wasGeneratedBy": {"_:3": {"prov:entity": "cleaned", "prov:activity": "clean"}, "my:g": {"prov:entity": "table", "prov:activity": "current_job"}},
  "wasInformedBy": {"_:4": {"prov:informed": "clean", "prov:informant": "current_job"}},
  "wasDerivedFrom": {"_:5": {"prov:generatedEntity": "table", "prov:usedEntity": "cleaned"}},
  "wasAssociatedWith": {"_:6": {"prov:activity": "clean", "prov:agent": "bot"}},
  "wasInfluencedBy": {"_:7": {"prov:influencee": "current_job", "prov:influencer": "numpy"}}
}`

// logprovLike has the form of what the package logprov makes: ids of a session, "param:" for a default namespace.
const logprovLike = `{
  "prefix": {"session": "session:", "voprov": "voprov:", "id": "id:", "default": "param:"},
  "entity": {
    "session:140": {"prov:label": "LogProvSession", "prov:type": "LogProvSession", "prov:generatedAtTime": "2026-11-20T10:00:06.123456", "module": "fold", "system": "{'node': 'n7'}"},
    "session:140_9f2a_period": {"prov:label": "period = 11.1", "prov:type": "voprov:Parameter", "voprov:name": "period", "prov:value": "11.1"},
    "session:140_77": {"voprov:name": "Image", "prov:type": "File", "prov:location": "$OUT/plot.svg", "prov:label": "Image in $OUT/plot.svg", "hash_type": "sha1"},
    "id:abc": {}
  },
  "activity": {"session:140_9f2a": {"prov:label": "fold", "prov:startTime": "2026-11-20T10:00:07.000001", "prov:endTime": "2026-11-20T10:00:09"}},
  "agent": {"session:alice": {}},
  "used": {"_:id1": {"prov:activity": "session:140_9f2a", "prov:entity": "session:140_9f2a_period", "prov:type": "Setup"}},
  "wasGeneratedBy": {"_:id2": {"prov:entity": "session:140_77", "prov:activity": "session:140_9f2a", "prov:role": "image"}},
  "hadMember": {"_:id3": {"prov:collection": "id:abc", "prov:entity": ["session:140_77", "session:140"]}},
  "wasAssociatedWith": {"_:id4": {"prov:activity": "session:140_9f2a", "prov:agent": "session:alice", "prov:role": "Operator"}}
}`

// voprovLike has sections that voprov adds for the classes of ProvDM.
const voprovLike = `{
  "prefix": {"ex": "https://ex.example/", "voprov": "http://www.ivoa.net/documents/ProvenanceDM/ns/voprov/"},
  "activityDescription": {"ex:d": {"voprov:name": "fold"}}, "parameter": {"ex:p": {"prov:name": "period", "prov:value": 11.1}},
  "activity": {"ex:current_job": {}},
  "isDescribedBy": {"_:1": {"voprov:described": "ex:current_job", "voprov:descriptor": "ex:d"}},
  "wasConfiguredBy": {"_:2": {"voprov:configured": "ex:current_job", "voprov:configurator": "ex:p", "voprov:artefactType": "Parameter"}}
}`

func own(name string) QName { return QName{"int", job1 + "." + last(name)} }

func bundleOf(t *testing.T, g *Graph) *Graph {
	t.Helper()
	for id, b := range g.Bundles() {
		if id == InternalID(job1) {
			return b
		}
	}
	t.Fatal("no bundle")
	return nil
}

func TestIngest(t *testing.T) {
	g := graphOf(t, internal())
	b := bundleOf(t, g)
	for _, r := range []Record{
		{Kind: Entity, ID: own("cleaned"), Attrs: []Attr{{nameLabel, String("cleaned series")}, {own("my:outliers"), Int(3)}, {nameType, Name(own("my:Series"))}}},
		{Kind: Activity, ID: JobID(job1), Attrs: []Attr{{own("my:threads"), Int(4)}}},
		{Kind: Activity, ID: own("clean"), Time: at(6).Add(500_000_000), End: at(8).Add(500_000_000)},
		{Kind: Generation, ID: own("my:g"), Refs: []QName{own("table"), JobID(job1)}},
		{Kind: Usage, Refs: []QName{JobID(job1), own("in")}},
		{Kind: Alternate, Refs: []QName{own("table"), ResultID(job1, "table")}},
		{Kind: Alternate, Refs: []QName{own("in"), UploadID("01ke5nzuzz")}},
	} {
		n, err := b.normal(r)
		if err != nil {
			t.Fatal(err)
		}
		if got := b.index[recordKey(n)]; got == nil || string(canonical(got)) != string(canonical(n)) {
			t.Errorf("no %v(%s) like that; there is %+v", r.Kind, r.ID, got)
		}
	}
	e, _ := g.Get(Entity, InternalID(job1))
	if !e.HasType(typeBundle) || !e.HasType(typeLog) {
		t.Errorf("the bundle's entity is %+v", e)
	}
}

func TestIngestOfPackages(t *testing.T) {
	for name, c := range map[string]struct {
		doc  string
		want []Record
	}{
		"logprov": {logprovLike, []Record{
			{Kind: Entity, ID: own("session:140_9f2a_period"), Attrs: []Attr{{nameLabel, String("period = 11.1")}, {nameType, Name(typeParameter)}, {nameName, String("period")}, {nameValue, String("11.1")}}},
			{Kind: Membership, Refs: []QName{own("id:abc"), own("session:140")}},
			{Kind: Alternate, Refs: []QName{own("session:140_77"), ResultID(job1, "plot")}},
		}},
		"voprov": {voprovLike, []Record{
			{Kind: Entity, ID: own("ex:d"), Attrs: []Attr{{nameType, Name(voprovTerm("ActivityDescription"))}, {nameName, String("fold")}}},
			{Kind: Influence, Refs: []QName{JobID(job1), own("ex:d")}, Attrs: []Attr{{nameType, Name(typeDescription)}}},
			{Kind: Influence, Refs: []QName{JobID(job1), own("ex:p")}, Attrs: []Attr{{nameType, Name(typeConfigured)}, {voprovTerm("artefactType"), String("Parameter")}}},
		}},
	} {
		r := completed()
		r.Internal = []byte(c.doc)
		b := bundleOf(t, graphOf(t, r))
		for _, want := range c.want {
			n, err := b.normal(want)
			if err != nil {
				t.Fatal(err)
			}
			if got := b.index[recordKey(n)]; got == nil || string(canonical(got)) != string(canonical(n)) {
				t.Errorf("%s: no %v(%s) like that; there is %+v", name, want.Kind, want.ID, got)
			}
		}
	}
}

// TestIngestAmbiguousFile: two results of one name are not taken for either.
func TestIngestAmbiguousFile(t *testing.T) {
	r := internal()
	r.Results[1].Name = r.Results[0].Name
	for a := range bundleOf(t, graphOf(t, r)).Records(Alternate) {
		if a.Ref(0) == own("table") {
			t.Errorf("taken for %s", a.Ref(1))
		}
	}
}

// TestIngestRefuses: each document is refused, and the error says where.
func TestIngestRefuses(t *testing.T) {
	limits := Limits{Bytes: 4000, Records: 10, Attributes: 5, Names: 3}
	for doc, want := range map[string]struct {
		err  error
		text string
	}{
		``:                                    {ErrSyntax, "byte 0"},
		`[]`:                                  {ErrSyntax, "object"},
		`{}{}`:                                {ErrSyntax, "more after"},
		`{"entity": {"a": {}}, "entity": {}}`: {ErrSyntax, "twice"},
		`{"entity": {"a": {}, "a": {}}}`:      {ErrSyntax, "twice"},
		`{"entity": {"a": {"x": {"$": "1", "$": "2"}}}}`:                                                           {ErrSyntax, `entity "a": "x"`},
		`{"entity": {"a": {"x": 1e999}}}`:                                                                          {ErrSyntax, "number"},
		`{"entity": {"a": {"x": [[1]]}}}`:                                                                          {ErrSyntax, `"x"`},
		`{"entity": {"a": {"x": null}}}`:                                                                           {ErrSyntax, `"x"`},
		`{"entity": {"a": {"x": {"$": {"$": 1}}}}}`:                                                                {ErrSyntax, "simple"},
		`{"entity": {"a": {"x": [` + strings.Repeat("[", 3000):                                                     {ErrSyntax, ""},
		`{"entity": {"a": {"x": [1,2,3,4,5,6]}}}`:                                                                  {ErrTooLarge, "attributes"},
		`{"entity": {"a": [{"x": [1,2,3]}, {"x": [4,5,6]}]}}`:                                                      {ErrTooLarge, "attributes"},
		`{"entity": {"a": [` + strings.Repeat("{},", 11) + `{}]}}`:                                                 {ErrTooLarge, "records"},
		`{"hadMember": {"_:1": {"prov:collection": "a", "prov:entity": [` + strings.Repeat(`"b",`, 12) + `"c"]}}}`: {ErrTooLarge, "records"},
		`{"prefix": {"a": "a:", "b": "b:", "c": "c:", "d": "d:"}}`:                                                 {ErrTooLarge, "namespaces"},
		strings.Repeat(" ", 4001):                                                                                  {ErrTooLarge, "bytes"},
		`{"entity": {"` + strings.Repeat("a", maxName+1) + `": {}}}`:                                               {ErrTooLarge, "name"},
		`{"prefix": {"prov": "https://evil.example/"}}`:                                                            {ErrName, "prov"},
		`{"prefix": {"xsd": "https://evil.example/"}}`:                                                             {ErrName, "xsd"},
		`{"entity": {"nowhere:a": {}}}`:                                                                            {ErrName, "nowhere"},
		`{"bundle": {"b": {}}}`:                                                                                    {ErrSyntax, "bundle"},
		`{"nonsense": {}}`:                                                                                         {ErrSyntax, "nonsense"},
		`{"entity": {"current_job": {}}}`:                                                                          {ErrConflict, "activity"},
		`{"agent": {"current_job": {}}}`:                                                                           {ErrConflict, "activity"},
		`{"used": {"_:1": {"prov:entity": "a"}}}`:                                                                  {ErrRecord, "prov:activity"},
		`{"activity": {"a": {"prov:startTime": "yesterday"}}}`:                                                     {ErrSyntax, "dateTime"},
		`{"activity": {"a": [{"prov:startTime": "2026-01-01T00:00:00Z"}, {"prov:startTime": "2026-01-02T00:00:00Z"}]}}`:                                                                                                  {ErrConflict, "startTime"},
		`{"wasDerivedFrom": {"_:1": {"prov:generatedEntity": "a", "prov:usedEntity": "a"}}}`:                                                                                                                             {ErrConflict, "itself"},
		`{"wasDerivedFrom": {"_:1": {"prov:generatedEntity": "a", "prov:usedEntity": "b"}, "_:2": {"prov:generatedEntity": "b", "prov:usedEntity": "c"}, "_:3": {"prov:generatedEntity": "c", "prov:usedEntity": "a"}}}`: {ErrConflict, "itself"},
		`{"hadMember": {"_:1": {"prov:collection": "a", "prov:entity": "b"}, "_:2": {"prov:collection": "b", "prov:entity": "a"}}}`:                                                                                      {ErrConflict, "itself"},
	} {
		_, err := Ingest([]byte(doc), job1, authority, limits)
		if !errors.Is(err, want.err) || !strings.Contains(fmt.Sprint(err), want.text) {
			t.Errorf("%.80s: %v, want %v with %q", doc, err, want.err, want.text)
		}
	}
	diamond := `{"wasDerivedFrom": {"_:1": {"prov:generatedEntity": "a", "prov:usedEntity": "b"}, "_:2": {"prov:generatedEntity": "a", "prov:usedEntity": "c"},
		"_:3": {"prov:generatedEntity": "b", "prov:usedEntity": "d"}, "_:4": {"prov:generatedEntity": "c", "prov:usedEntity": "d"}, "_:5": {"prov:generatedEntity": "b", "prov:usedEntity": "c"}}}`
	if _, err := Ingest([]byte(diamond), job1, authority, limits); err != nil {
		t.Errorf("a diamond: %v", err)
	}
}

// TestIngestDoesNoHarm: a document that cannot be read leaves the record as it is without it, but for the error.
func TestIngestDoesNoHarm(t *testing.T) {
	g := graphOf(t, malformed())
	e, _ := g.Get(Entity, InternalID(job1))
	if v, ok := e.Attr(fedTerm("internalProvenanceError")); !ok || !strings.Contains(v.Text(), "byte") || e.HasType(typeBundle) {
		t.Errorf("the entity is %+v", e)
	}
	for id := range g.Bundles() {
		t.Errorf("a bundle %s", id)
	}
	r := malformed()
	r.Internal, r.InternalError = nil, "it is gone"
	e, _ = graphOf(t, r).Get(Entity, InternalID(job1))
	if v, _ := e.Attr(fedTerm("internalProvenanceError")); v != String("it is gone") {
		t.Errorf("the entity is %+v", e)
	}
}

// TestIngestLongChain: a chain as long as a document can hold is no trouble.
func TestIngestLongChain(t *testing.T) {
	var b strings.Builder
	b.WriteString(`{"wasDerivedFrom": {`)
	for i := range 60_000 {
		fmt.Fprintf(&b, `"_:%d": {"prov:generatedEntity": "e%d", "prov:usedEntity": "e%d"},`, i, i, i+1)
	}
	doc := strings.TrimSuffix(b.String(), ",") + "}}"
	if _, err := Ingest([]byte(doc), job1, authority, InternalLimits()); err != nil {
		t.Error(err)
	}
}

// pythonWriter makes a document with the package prov as its users do.
const pythonWriter = `
import datetime, sys
from prov.model import ProvDocument
d = ProvDocument()
d.set_default_namespace('param:')
d.add_namespace('session', 'session:')
d.add_namespace('ex', 'https://ex.example/ns/')
a = d.activity('session:1', datetime.datetime(2026, 11, 20, 10, 0, 7), datetime.datetime(2026, 11, 20, 10, 0, 9), {'prov:type': 'Step', 'n': 3, 'x': 1.5, 'ok': True, 'big': 2**70})
j = d.activity('ex:current_job')
e = d.entity('session:file.1', {'prov:location': 'periodogram.vot', 'prov:label': 'caf\u00e9 "q" \u2028', 'ex:when': datetime.datetime(2026, 1, 1)})
e2 = d.entity('session:a/b c', {'prov:type': d.valid_qualified_name('ex:Thing')})
d.used(a, e2, datetime.datetime(2026, 11, 20, 10, 0, 8), 'ex:use', {'prov:role': 'raw'})
d.wasGeneratedBy(e, a)
d.wasInformedBy(a, j)
d.wasDerivedFrom(e, e2, a)
d.hadMember(e2, e)
d.specializationOf(e, e2)
d.wasAssociatedWith(a, d.agent('ex:bob'))
d.wasStartedBy(a, e2)
d.wasEndedBy(a, e2)
d.wasInvalidatedBy(e2, a)
d.serialize(sys.argv[1], format='json')
`

func TestIngestOfPythonProv(t *testing.T) {
	testenv.Need(t, "/usr/bin/python3")
	if out, err := exec.Command("/usr/bin/python3", "-c", "import prov").CombinedOutput(); err != nil {
		testenv.Skip(t, "needs python3-prov: "+string(out))
	}
	path := filepath.Join(t.TempDir(), "internal_provenance.json")
	if out, err := exec.Command("/usr/bin/python3", "-c", pythonWriter, path).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	doc, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	r := completed()
	r.Internal = doc
	b := bundleOf(t, graphOf(t, r))
	if want := 2 + 2 + 1 + 10 + 1; b.Len() != want { // entities, activities, an agent, relations, and the same file
		t.Errorf("%d records, want %d, of %s", b.Len(), want, doc)
	}
	if e, ok := b.Get(Entity, own("session:a/b c")); !ok || !e.HasType(own("ex:Thing")) {
		t.Errorf("the entity is %+v", e)
	}
	if a, ok := b.Get(Activity, own("session:1")); !ok || a.Time.IsZero() || a.End.IsZero() || !slices.Contains(a.Attrs, Attr{own("big"), String("1180591620717411303424")}) {
		t.Errorf("the activity is %+v", a)
	}
}

func FuzzIngest(f *testing.F) {
	for _, s := range []string{opusLike, logprovLike, voprovLike, "{", `{"entity":{"a":{"prov:type":[1,true,"x",{"$":"9","type":"xsd:byte"}]}}}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		g, err := Ingest(doc, job1, authority, InternalLimits())
		if err != nil {
			return
		}
		for x := range bundleOf(t, g).All() {
			if x.Kind.IsElement() && x.ID.Prefix != "int" && x.ID != JobID(job1) {
				t.Errorf("a node %s outside the document's own names", x.ID)
			}
		}
		if job := graphOf(t, completed()); job.Merge(g) != nil {
			t.Error("the job is harmed")
		}
		back, err := ReadJSON(strings.NewReader(jsonOf(t, g)), Limits{Bytes: 1 << 30, Records: 1 << 20, Attributes: 1 << 20, Names: 200})
		if err != nil || !back.Equal(g) {
			t.Errorf("PROV-JSON comes back differently: %v", err)
		}
	})
}
