package picture

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"image/png"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"pgregory.net/rapid"

	"consort/shared/prov"
	"consort/shared/testenv"
)

func svgOf(t testing.TB, g *prov.Graph, o Options) string {
	t.Helper()
	var b strings.Builder
	if err := WriteSVG(&b, g, o); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// permitted are the elements of our SVG with their attributes. None of them needs anything that a content
// security policy may forbid: no style, no script, no event, nothing loaded.
var permitted = map[string][]string{
	"svg":   {"xmlns", "width", "height", "viewBox", "role", "aria-label", "font-family"},
	"title": nil,
	"desc":  nil,
	"rect":  {"width", "height", "fill"},
	"g":     {"role", "aria-label", "aria-hidden", "stroke-linejoin"},
	"a":     {"href"},
	"path":  {"d", "fill", "stroke", "stroke-width", "stroke-dasharray"},
	"text":  {"x", "y", "font-size", "font-weight", "fill", "text-anchor"},
}

// checkSVG reads an SVG strictly and finds what it must not hold.
func checkSVG(svg string) error {
	if !utf8.ValidString(svg) {
		return errors.New("not UTF-8")
	}
	for _, r := range svg {
		if unicode.Is(unicode.Bidi_Control, r) || r < ' ' && r != '\n' {
			return fmt.Errorf("character %U", r)
		}
	}
	for d := xml.NewDecoder(strings.NewReader(svg)); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		start, ok := token.(xml.StartElement)
		if !ok {
			continue
		}
		attributes, known := permitted[start.Name.Local]
		if !known {
			return fmt.Errorf("element %s", start.Name.Local)
		}
		for _, a := range start.Attr {
			if !slices.Contains(attributes, a.Name.Local) || strings.Contains(a.Value, "NaN") || strings.Contains(a.Value, "Inf") && a.Name.Local == "d" {
				return fmt.Errorf("attribute %s=%q of %s", a.Name.Local, a.Value, start.Name.Local)
			}
		}
	}
}

func TestSVGOfRandomGraphs(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		g := genGraph().Draw(r, "graph")
		o := Options{
			Attributes: rapid.Bool().Draw(r, "notes"), Max: rapid.SampledFrom([]int{3, 150}).Draw(r, "max"),
			Title: rapid.OneOf(rapid.SampledFrom(nasty), rapid.String()).Draw(r, "title"),
			Link:  func(q prov.QName) string { return `/id?x="<&` + q.Local },
		}
		var a, b bytes.Buffer
		if err := errors.Join(WriteSVG(&a, g, o), WriteSVG(&b, g, o)); err != nil {
			r.Fatal(err)
		}
		if !bytes.Equal(a.Bytes(), b.Bytes()) {
			r.Fatal("two pictures of one graph differ")
		}
		if err := checkSVG(a.String()); err != nil {
			r.Fatalf("%v in\n%s", err, a.String())
		}
	})
}

func TestLinks(t *testing.T) {
	g := readCase(t, "completed")
	links := func(href string) int {
		return strings.Count(svgOf(t, g, Options{Link: func(prov.QName) string { return href }}), "<a href=")
	}
	for _, href := range []string{"/id/x", "https://f.example/id/x", "http://f.example/", "../x?a=b&c=d"} {
		if n, want := links(href), len(readGraph(g, Options{}).nodes); n != want {
			t.Errorf("%q: %d links, want %d", href, n, want)
		}
	}
	for _, href := range []string{"", "javascript:alert(1)", " javascript:alert(1)", "data:text/html,x", "JavaScript:x", "java\nscript:x", "file:///etc"} {
		if n := links(href); n != 0 {
			t.Errorf("%q: %d links, want none", href, n)
		}
	}
}

func TestMarks(t *testing.T) {
	g := empty(t)
	add := func(r prov.Record) {
		if err := g.Add(r); err != nil {
			t.Fatal(err)
		}
	}
	phase := prov.QName{Prefix: "uws", Local: "phase"}
	job, lost := prov.JobID("j1"), prov.AttemptID("j1", 1)
	secret := prov.QName{Prefix: "ent", Local: "redacted-1"}
	result := prov.ResultID("j1", "table")
	add(prov.Record{Kind: prov.Activity, ID: job, Attrs: []prov.Attr{{Name: nameType, Value: prov.Name(fed("Job"))}, {Name: phase, Value: prov.String("ABORTED")}}})
	add(prov.Record{Kind: prov.Activity, ID: lost, Attrs: []prov.Attr{{Name: nameType, Value: prov.Name(fed("Attempt"))}, {Name: fed("outcome"), Value: prov.String("lost")}}})
	add(prov.Record{Kind: prov.Entity, ID: secret, Attrs: []prov.Attr{{Name: nameType, Value: prov.Name(fed("Redacted"))}}})
	add(prov.Record{Kind: prov.Entity, ID: result})
	add(prov.Record{Kind: prov.Invalidation, Refs: []prov.QName{result}, Attrs: []prov.Attr{{Name: fed("reason"), Value: prov.String("bad flat field")}}})
	add(prov.Record{Kind: prov.Usage, Refs: []prov.QName{job, secret}})
	add(prov.Record{Kind: prov.Usage, Refs: []prov.QName{job, {Prefix: "ent", Local: "unheard-of"}}})
	svg := svgOf(t, g, Options{Focus: []prov.QName{job}})
	for _, want := range []string{">ABORTED<", ">lost<", ">redacted<", ">invalidated: bad flat field<", "not described here", ">did not succeed<", ">invalidated<", ">asked for<"} {
		if !strings.Contains(svg, want) {
			t.Errorf("%s is not in the picture", want)
		}
	}
	if healthy := svgOf(t, readCase(t, "completed"), Options{}); strings.Contains(healthy, ">did not succeed<") {
		t.Error("a completed job is said not to have succeeded")
	}
}

func TestModels(t *testing.T) {
	g := readCase(t, "completed")
	w3c, ivoa := svgOf(t, g, Options{}), svgOf(t, g, Options{Model: ModelIVOA})
	for _, name := range []string{">wasConfiguredBy<", ">isDescribedBy<", ">isRelatedTo<", ">Parameter<", ">ActivityDescription<"} {
		if !strings.Contains(ivoa, name) || strings.Contains(w3c, name) {
			t.Errorf("%s must be in the picture of the IVOA model and in no other", name)
		}
	}
	if !strings.Contains(w3c, ">wasInfluencedBy<") || strings.Contains(ivoa, ">wasInfluencedBy<") {
		t.Error("wasInfluencedBy must be in the picture of W3C only")
	}
}

func TestBundle(t *testing.T) {
	g := empty(t)
	if _, err := g.Bundle(prov.QName{Prefix: "ent", Local: "own-record"}); err != nil {
		t.Fatal(err)
	}
	if svg := svgOf(t, g, Options{}); !strings.Contains(svg, ">own-record<") || !strings.Contains(svg, ">bundle<") {
		t.Error("the bundle is not drawn")
	}
}

func TestEmptyGraph(t *testing.T) {
	svg := svgOf(t, empty(t), Options{})
	if !strings.Contains(svg, "The graph is empty.") {
		t.Error("the picture does not say that the graph is empty")
	}
	if err := checkSVG(svg); err != nil {
		t.Error(err)
	}
	if err := WritePNG(io.Discard, empty(t), Options{}); err != nil {
		t.Error(err)
	}
}

func TestBadOptions(t *testing.T) {
	for _, o := range []Options{{Direction: "XX"}, {Direction: "lr"}, {Model: "OPUS"}, {Max: -1}, {Max: LargestMax + 1}} {
		for _, write := range []func(io.Writer, *prov.Graph, Options) error{WriteSVG, WritePNG} {
			if err := write(io.Discard, empty(t), o); !errors.Is(err, ErrOption) {
				t.Errorf("%+v: %v", o, err)
			}
		}
	}
}

type brokenWriter struct{}

var errBroken = errors.New("broken pipe")

func (brokenWriter) Write([]byte) (int, error) { return 0, errBroken }

func TestWriteError(t *testing.T) {
	for _, write := range []func(io.Writer, *prov.Graph, Options) error{WriteSVG, WritePNG} {
		if err := write(brokenWriter{}, readCase(t, "failed"), Options{}); !errors.Is(err, errBroken) {
			t.Errorf("%v, want %v", err, errBroken)
		}
	}
}

func TestCollapse(t *testing.T) {
	count := func(d *diagram) int {
		n := 0
		for _, m := range d.nodes {
			n += max(1, len(m.merged))
		}
		return n
	}
	g := sweep(t, 60, 10)
	for _, most := range []int{1200, 700, 400, 150, 60, 20, 5} {
		d := readGraph(g, Options{Focus: []prov.QName{prov.JobID("jlast")}})
		all := len(d.nodes)
		d.collapse(most)
		if got := count(d); got != all {
			t.Errorf("at most %d: %d elements of %d are left", most, got, all)
		}
		left := d.cut(most)
		if len(d.nodes) > most || count(d)+left != all {
			t.Errorf("at most %d: %d nodes show %d elements, %d are left out, of %d", most, len(d.nodes), count(d), left, all)
		}
		if !slices.ContainsFunc(d.nodes, func(n *node) bool { return n.id == prov.JobID("jlast") }) {
			t.Errorf("at most %d: the node in focus is lost", most)
		}
		for _, e := range d.edges {
			if !slices.Contains(d.nodes, e.from) || !slices.Contains(d.nodes, e.to) {
				t.Fatalf("at most %d: an edge of a node that is not shown: %s", most, d.edgeText(e))
			}
		}
	}
	retried := empty(t)
	two := func(outcome string, n uint64) []prov.AttemptRecord {
		return []prov.AttemptRecord{{Epoch: n, Site: "s", Outcome: outcome}, {Epoch: n + 1, Site: "s", Outcome: outcome}}
	}
	mergeJob(t, retried, prov.JobRecord{Job: "j1", Definition: prov.DefinitionRecord{Name: "x"}, Attempts: append(two("lost", 1), two(prov.OutcomeCommitted, 3)...),
		Inputs:  []prov.InputRecord{{Role: "i", URL: "https://a.example/1"}, {Role: "i", URL: "https://a.example/2"}},
		Results: []prov.ResultRecord{{ID: "a"}, {ID: "b"}, {ID: "c"}}})
	d := readGraph(retried, Options{})
	d.collapse(len(d.nodes) - 3)
	var names []string
	for _, n := range d.nodes {
		name, _ := d.labels(n)
		names = append(names, name+strings.Join(n.marks, ""))
	}
	for _, want := range []string{"2 attempts", "2 attemptslost", "3 results"} {
		if !slices.Contains(names, want) {
			t.Errorf("no node %q among %q", want, names)
		}
	}
	if svg := svgOf(t, g, Options{Max: 700}); !strings.Contains(svg, ">10 parameters<") || !strings.Contains(svg, "Groups have collapsed") {
		t.Error("the picture of at most 700 nodes has no groups of parameters")
	}
	if svg := svgOf(t, g, Options{Max: 20}); !strings.Contains(svg, "\u00d7 extract and") {
		t.Error("the picture of at most 20 nodes does not join jobs of one kind")
	}
	if svg := svgOf(t, chain(t, 300), Options{}); !strings.Contains(svg, "Left out: ") {
		t.Error("the picture of a long chain does not say what is left out")
	}
}

func TestPNG(t *testing.T) {
	for name, g := range map[string]*prov.Graph{"retried": readCase(t, "retried"), "chain": chain(t, 6)} {
		var a, b bytes.Buffer
		if err := errors.Join(WritePNG(&a, g, Options{}), WritePNG(&b, g, Options{})); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(a.Bytes(), b.Bytes()) {
			t.Errorf("%s: two pictures of one graph differ", name)
		}
		img, err := png.Decode(&a)
		if err != nil {
			t.Fatal(err)
		}
		size := img.Bounds().Size()
		if size.X > pngSide || size.Y > pngSide || size.X < 500 {
			t.Errorf("%s: %v", name, size)
		}
		colours := map[ink]int{}
		for y := 0; y < size.Y; y += 3 {
			for x := 0; x < size.X; x += 3 {
				r, g, b, _ := img.At(x, y).RGBA()
				colours[ink(r>>8)<<16|ink(g>>8)<<8|ink(b>>8)]++
			}
		}
		for _, want := range []ink{lookEntity.fill, lookActivity.fill, lookAgent.fill, black} {
			if colours[want] < 20 {
				t.Errorf("%s: %d pixels of %v", name, colours[want], want)
			}
		}
	}
}

func TestPNGTooLarge(t *testing.T) {
	err := WritePNG(io.Discard, tangle(t, 500, 800, 1), Options{Max: 500})
	if !errors.Is(err, ErrTooLarge) || !strings.Contains(err.Error(), "SVG") {
		t.Errorf("%v, want an ErrTooLarge that names SVG", err)
	}
}

// Other people's programs read what we write.
func TestOtherReaders(t *testing.T) {
	programs := testenv.Need(t, "xmllint", "rsvg-convert")
	for _, name := range cases {
		svg := svgOf(t, readCase(t, name), Options{Title: name, Attributes: true, Model: ModelIVOA, Link: func(q prov.QName) string { return "/id/" + q.Local }})
		for _, args := range [][]string{{programs[0], "--noout", "--nonet", "-"}, {programs[1], "--format", "png"}} {
			cmd := exec.Command(args[0], args[1:]...)
			cmd.Stdin = strings.NewReader(svg)
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			out, err := cmd.Output()
			if err != nil || stderr.Len() > 0 {
				t.Fatalf("%s: %v: %v\n%s", name, args, err, stderr.String())
			}
			if args[0] == programs[1] {
				if _, err := png.DecodeConfig(bytes.NewReader(out)); err != nil {
					t.Errorf("%s: rsvg-convert made no picture: %v", name, err)
				}
			}
		}
	}
}

// luminance is the relative luminance of WCAG 2.1.
func (i ink) luminance() float64 {
	part := func(shift int) float64 {
		c := float64(i>>shift&0xFF) / 255
		if c <= 0.04045 {
			return c / 12.92
		}
		return math.Pow((c+0.055)/1.055, 2.4)
	}
	return 0.2126*part(16) + 0.7152*part(8) + 0.0722*part(0)
}

func contrast(a, b ink) float64 {
	x, y := a.luminance(), b.luminance()
	return (max(x, y) + 0.05) / (min(x, y) + 0.05)
}

// WCAG 2.1 level AA wants 4.5 for text and 3 for the outlines that tell things apart.
func TestContrast(t *testing.T) {
	need := func(what string, a, b ink, least float64) {
		if c := contrast(a, b); c < least {
			t.Errorf("%s: %v on %v has a contrast of %.2f, %.1f is needed", what, a, b, c, least)
		}
	}
	looks := []look{lookEntity, lookActivity, lookAgent, lookBundle}
	for _, l := range ivoaLooks {
		looks = append(looks, l)
	}
	for _, l := range looks {
		need("text in "+l.name, black, l.fill, 4.5)
		need("border of "+l.name, l.stroke, white, 3)
	}
	for _, l := range looks[:3] {
		need("mark in "+l.name, alarm, l.fill, 4.5)
	}
	for _, s := range strokes {
		need(s.name, s.ink, white, 4.5)
	}
	need("notes", grey, white, 4.5)
	need("focus", halo, white, 3)
}

// FuzzDraw draws whatever can be read as PROV-JSON.
func FuzzDraw(f *testing.F) {
	for _, name := range cases {
		doc, err := os.ReadFile(filepath.Join("..", "testdata", name+".json"))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(doc, true)
	}
	f.Add([]byte(`{"prefix":{"x":"http://x.example/"},"wasInfluencedBy":{"_:a":{"prov:influencee":"x:a","prov:influencer":"x:a"}},"activity":{"x:a":{"prov:label":"\u202e<&\u0000"}}}`), false)
	f.Fuzz(func(t *testing.T, doc []byte, notes bool) {
		g, err := prov.ReadJSON(bytes.NewReader(doc), prov.DefaultLimits())
		if err != nil {
			return
		}
		o := Options{Attributes: notes, Model: ModelIVOA, Max: 40}
		if err := checkSVG(svgOf(t, g, o)); err != nil {
			t.Fatal(err)
		}
		if err := checkDrawing(arranged(t, g, o), &o); err != nil {
			t.Fatal(err)
		}
	})
}
