package prov

import (
	"errors"
	"io"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestRoundTrips(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := genGraph(false).Draw(t, "graph")
		for _, f := range []struct {
			name  string
			write func(io.Writer, *Graph) error
			read  func(io.Reader, Limits) (*Graph, error)
		}{{"PROV-JSON", WriteJSON, ReadJSON}, {"PROV-N", WriteN, ReadN}, {"PROV-XML", WriteXML, ReadXML}} {
			var b strings.Builder
			if err := f.write(&b, g); err != nil {
				t.Fatal(err)
			}
			back, err := f.read(strings.NewReader(b.String()), DefaultLimits())
			if err != nil {
				t.Fatalf("%s: %v\n%s", f.name, err, b.String())
			}
			if !g.Equal(back) {
				t.Fatalf("%s comes back differently:\n%s", f.name, b.String())
			}
		}
	})
}

// TestPlacement checks that attributes stand only where PROV-XML permits them, in every format.
func TestPlacement(t *testing.T) {
	g := newTestGraph(t)
	e, a, u := QName{"ent", "e"}, QName{"job", "a"}, QName{"agt", "u"}
	role := []Attr{{nameRole, String("r")}, {nameVO, String("s")}, {nameLocation, String("l")}, {nameValue, Int(1)}}
	for _, r := range []Record{
		{Kind: Attribution, Refs: []QName{e, u}, Attrs: role},
		{Kind: Usage, Refs: []QName{a, e}, Attrs: role},
		{Kind: Entity, ID: e, Attrs: role},
	} {
		if err := g.Add(r); err != nil {
			t.Fatal(err)
		}
	}
	text := provnOf(t, g)
	for _, want := range []string{
		`wasAttributedTo(ent:e, agt:u, [voprov:role="r", voprov:role="s", voprov:location="l", voprov:value="1" %% xsd:int])`,
		`used(job:a, ent:e, -, [prov:role="r", voprov:role="s", prov:location="l", voprov:value="1" %% xsd:int])`,
		`entity(ent:e, [voprov:role="r", voprov:role="s", prov:location="l", prov:value="1" %% xsd:int])`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s in\n%s", want, text)
		}
	}
	back, err := ReadJSON(strings.NewReader(jsonOf(t, g)), DefaultLimits())
	if err != nil || provnOf(t, back) != text {
		t.Errorf("PROV-JSON places differently: %v", err)
	}
}

const ns = `"prefix":{"ex":"http://ex.example/"}`

func TestReadJSONRefuses(t *testing.T) {
	for _, c := range []struct {
		text string
		want error
	}{
		{``, ErrSyntax}, {`[]`, ErrSyntax}, {`{`, ErrSyntax}, {`{} {}`, ErrSyntax}, {`{"entity":[]}`, ErrSyntax},
		{`{"parameter":{}}`, ErrSyntax}, {`{"entity":{},"entity":{}}`, ErrSyntax},
		{`{"entity":{"ex:a":{}}}`, ErrName}, {`{` + ns + `,"entity":{"ex:a":{},"ex:a":{}}}`, ErrSyntax},
		{`{` + ns + `,"entity":{"ex:a/b":{}}}`, ErrName}, {`{` + ns + `,"entity":{"_:a":{}}}`, ErrRecord},
		{`{` + ns + `,"entity":{"ex:a":1}}`, ErrSyntax}, {`{` + ns + `,"entity":{"ex:a":[1]}}`, ErrSyntax},
		{`{` + ns + `,"entity":{"ex:a":{"ex:p":null}}}`, ErrSyntax}, {`{` + ns + `,"entity":{"ex:a":{"ex:p":[["x"]]}}}`, ErrSyntax},
		{`{` + ns + `,"entity":{"ex:a":{"ex:p":{"type":"xsd:int"}}}}`, ErrSyntax}, {`{` + ns + `,"entity":{"ex:a":{"ex:p":{"$":"x","extra":"y"}}}}`, ErrSyntax},
		{`{` + ns + `,"entity":{"ex:a":{"ex:p":{"$":"x","lang":"en","type":"xsd:int"}}}}`, ErrSyntax},
		{`{` + ns + `,"activity":{"ex:a":{"prov:startTime":"yesterday"}}}`, ErrSyntax}, {`{` + ns + `,"activity":{"ex:a":{"prov:entity":"ex:b"}}}`, ErrRecord},
		{`{` + ns + `,"activity":{"ex:a":[{"prov:startTime":"2026-01-01T00:00:00Z"},{"prov:startTime":"2026-01-02T00:00:00Z"}]}}`, ErrConflict},
		{`{"prefix":{"default":"http://ex.example/"}}`, ErrSyntax}, {`{"prefix":{"prov":"http://ex.example/"}}`, ErrName},
		{`{` + ns + `,"bundle":{"ex:b":{"bundle":{}}}}`, ErrSyntax}, {`{` + ns + `,"wasEndedBy":{},"wasEndedby":{}}`, ErrSyntax},
		{`{"entity":` + strings.Repeat("[", 20000) + `}`, ErrSyntax},
		{`{` + ns + `,"entity":{"ex:a":{"ex:p":[1,2,3,4,5,6]}}}`, ErrTooLarge}, {`{` + ns + `,"entity":{"ex:a":{},"ex:b":{},"ex:c":{}},"bundle":{"ex:b":{"entity":{"ex:a":{}}}}}`, ErrTooLarge},
		{`{` + ns + `,"bundle":{"ex:b":{},"ex:c":{},"ex:d":{},"ex:e":{},"ex:f":{},"ex:g":{},"ex:h":{}}}`, ErrTooLarge},
		{`{"prefix":{"a":"x:1","b":"x:1","c":"x:1","d":"x:1","e":"x:1"}}`, ErrTooLarge}, {`{` + strings.Repeat(" ", 100_000) + `}`, ErrTooLarge},
	} {
		if _, err := ReadJSON(strings.NewReader(c.text), Limits{Bytes: 50_000, Records: 3, Attributes: 5, Names: 6}); !errors.Is(err, c.want) {
			t.Errorf("%.100s: %v, want %v", c.text, err, c.want)
		}
	}
}

func TestReadJSONAccepts(t *testing.T) {
	g, err := ReadJSON(strings.NewReader(`{"entity":{"ex:a":{"ex:p":[1,3000000000,1.5,true,{"$":2,"type":"xsd:int"},{"$":"x"},{"$":"y","lang":"en"},{"$":"z","type":"prov:InternationalizedString","lang":"en"}]}},
		"activity":{"ex:b":[{"prov:startTime":"2026-11-20T11:00:00+01:00"},{"prov:endTime":"2026-11-20T10:00:01"}]},
		"wasEndedby":{"_:x":{"prov:activity":"ex:b"}},"prefix":{"ex":"http://ex.example/"}}`), DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	want := `document
  prefix voprov <` + IRIVOProv + `>
  prefix ex <http://ex.example/>
  entity(ex:a, [ex:p="1" %% xsd:int, ex:p="3000000000" %% xsd:long, ex:p="1.5" %% xsd:double, ex:p="true" %% xsd:boolean, ex:p="2" %% xsd:int, ex:p="x", ex:p="y"@en, ex:p="z"@en])
  activity(ex:b, 2026-11-20T10:00:00Z, 2026-11-20T10:00:01Z)
  wasEndedBy(ex:b)
endDocument
`
	if got := provnOf(t, g); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestReadN(t *testing.T) {
	const head = "document prefix ex <http://ex.example/> "
	for _, c := range []struct {
		text string
		want error
	}{
		{head + `entity(ex:a) // comment
			/* entity(ex:b) */ entity ( ex:a , [ ex:p = 5 , ex:q='ex:b', ex:r="""a "quoted"
			line""", ex:s="x" @en ] ) endDocument`, ErrSyntax}, // no space before a language
		{head + `entity(ex:a, [ex:p=-5, ex:q='ex:b', ex:r="""a "quoted"
			line""", ex:s="\t\'"@en, ex:t="5"%%xsd:int]) used(-; ex:b, ex:a, -) used(ex:u; ex:b) bundle ex:z entity(ex:y) endBundle endDocument`, nil},
		{head + `activity(ex:b, 2026-11-20T11:00:00+01:00, -, []) endDocument`, nil},
		{"", ErrSyntax}, {"document", ErrSyntax}, {head + "endDocument x", ErrSyntax}, {"document \xff endDocument", ErrSyntax},
		{head + "entity(ex:a) prefix ey <http://ey.example/> endDocument", ErrSyntax}, {head + "ex:mine(ex:a) endDocument", ErrSyntax},
		{head + "parameter(ex:a) endDocument", ErrSyntax}, {head + "entity(-) endDocument", ErrRecord}, {head + "entity(zz:a) endDocument", ErrName},
		{head + "entity() endDocument", ErrSyntax}, {head + "entity(ex:a endDocument", ErrSyntax}, {head + "used(ex:a, ex:b) endDocument", ErrSyntax},
		{head + "hadMember(ex:i; ex:a, ex:b) endDocument", ErrRecord}, {head + `entity(ex:a, [ex:p="x]) endDocument`, ErrSyntax},
		{head + `entity(ex:a, [ex:p="\u0041"]) endDocument`, ErrSyntax}, {head + `entity(ex:a, [ex:p=1.5]) endDocument`, ErrSyntax},
		{head + `bundle ex:b bundle ex:c endBundle endBundle endDocument`, ErrSyntax}, {head + "wasDerivedFrom(ex:a, ex:b, -, -) endDocument", ErrSyntax},
		{"document prefix ex http://ex.example/ endDocument", ErrSyntax}, {"document prefix ex <http://ex.example/", ErrSyntax},
	} {
		g, err := ReadN(strings.NewReader(c.text), DefaultLimits())
		if !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
			t.Errorf("%s: %v, want %v", c.text, err, c.want)
			continue
		}
		if err != nil {
			continue
		}
		back, err := ReadN(strings.NewReader(provnOf(t, g)), DefaultLimits())
		if err != nil || !back.Equal(g) {
			t.Errorf("%s: comes back differently: %v", c.text, err)
		}
	}
}

// TestWriteMemory holds the writers to memory that does not grow with the graph.
func TestWriteMemory(t *testing.T) {
	const nodes = 100_000
	g := newTestGraph(t)
	when := time.Date(2026, 11, 20, 10, 0, 0, 0, time.UTC)
	for i := range nodes / 2 {
		n := strconv.Itoa(i)
		id, job := QName{"ent", "e" + n}, QName{"job", "j" + n}
		for _, r := range []Record{
			{Kind: Entity, ID: id, Attrs: []Attr{{nameType, Name(typeDataset)}, {nameLabel, String("file \"" + n + "\"")}, {nameBytes, Long(int64(i))}}},
			{Kind: Activity, ID: job, Time: when, End: when.Add(time.Second)},
			{Kind: Generation, Refs: []QName{id, job}, Time: when},
		} {
			if err := g.Add(r); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, write := range map[string]func(io.Writer, *Graph) error{"PROV-JSON": WriteJSON, "PROV-N": WriteN, "PROV-XML": WriteXML} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if err := write(io.Discard, g); err != nil {
			t.Fatal(err)
		}
		runtime.ReadMemStats(&after)
		if total := after.TotalAlloc - before.TotalAlloc; total > 4<<20 {
			t.Errorf("%s allocates %d bytes in all for %d nodes", name, total, nodes)
		}
	}
}

// failing refuses to take any byte.
type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, os.ErrClosed }

func TestWriteErrors(t *testing.T) {
	g := newTestGraph(t)
	if err := g.Add(Record{Kind: Entity, ID: QName{"ent", "e"}}); err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{WriteJSON(failing{}, g), WriteN(failing{}, g), WriteXML(failing{}, g), Tree(failing{}, g, QName{"ent", "e"}, TreeOptions{})} {
		if !errors.Is(err, os.ErrClosed) {
			t.Errorf("got %v", err)
		}
	}
}

func FuzzReadJSON(f *testing.F) {
	f.Add(`{` + ns + `,"entity":{"ex:a":{"ex:p":[1,{"$":"x","lang":"en"}]}},"bundle":{"ex:b":{"used":{"_:n":{"prov:activity":"ex:a"}}}}}`)
	f.Fuzz(func(t *testing.T, text string) { fuzz(t, text, ReadJSON, WriteJSON) })
}

func FuzzReadN(f *testing.F) {
	f.Add(`document prefix ex <http://ex.example/> entity(ex:a, [ex:p=-5, ex:q='ex:b', ex:r="""a "q" """, ex:s="\t"@en]) used(-; ex:b, ex:a, -) bundle ex:z entity(ex:y) endBundle endDocument`)
	f.Fuzz(func(t *testing.T, text string) { fuzz(t, text, ReadN, WriteN) })
}

// fuzz checks that whatever is read can be written, and reads as the same graph; but for the names that
// the writers place elsewhere, which a second reading settles.
func fuzz(t *testing.T, text string, read func(io.Reader, Limits) (*Graph, error), write func(io.Writer, *Graph) error) {
	limits := Limits{Bytes: 1 << 16, Records: 100, Attributes: 100, Names: 10}
	g, err := read(strings.NewReader(text), limits)
	if err != nil {
		return
	}
	g.Validate()
	var documents [2]string
	for i := range documents {
		var b strings.Builder
		if err := write(&b, g); err != nil {
			t.Fatal(err)
		}
		documents[i] = b.String()
		if g, err = read(strings.NewReader(b.String()), DefaultLimits()); err != nil {
			t.Fatalf("%v in our own document\n%s", err, b.String())
		}
	}
	if documents[0] != documents[1] {
		t.Fatalf("written differently after reading:\n%s\n%s", documents[0], documents[1])
	}
}
