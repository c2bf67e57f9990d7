package prov

import (
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestFormatByName(t *testing.T) {
	for name, want := range map[string]string{
		"PROV-JSON": "PROV-JSON", "prov-n": "PROV-N", " Prov-XML ": "PROV-XML", "application/json": "PROV-JSON", "Text/Turtle": "PROV-TURTLE",
		"text/turtle;charset=utf-8": "PROV-TURTLE", "application/x-votable+xml;serialization=tabledata": "PROV-VOTABLE", "text/xml": "PROV-XML",
		"": "", "/": "", "json": "", "PROV-": "", "text/html": "", "application/json, text/html": "", "\x00": "", "not a media type": "",
	} {
		if f, ok := FormatByName(name); f.Name != want || ok != (want != "") {
			t.Errorf("%q finds %q, want %q", name, f.Name, want)
		}
	}
	for name, want := range map[string]Model{"W3C": W3C, "ivoa": IVOA, "": "", "OPM": ""} {
		if m, ok := ParseModel(name); m != want || ok != (want != "") {
			t.Errorf("model %q is %q, want %q", name, m, want)
		}
	}
}

func TestFormats(t *testing.T) {
	g := graphOf(t, completed())
	seen := map[string]bool{}
	for _, f := range Formats() {
		for _, name := range append([]string{f.Name, f.Suffix, f.Extension}, f.MediaTypes...) {
			if seen[name] && name != "" || name == "" {
				t.Errorf("%s: %q is empty or has another meaning already", f.Name, name)
			}
			seen[name] = true
		}
		var w3c, ivoa strings.Builder
		if err := f.Write(&w3c, g, W3C); err != nil {
			t.Fatal(err)
		}
		if err := f.Write(&ivoa, g, IVOA); err != nil {
			t.Fatal(err)
		}
		if both := f.Name == "PROV-JSON" || f.Name == "PROV-VOTABLE"; both == (w3c.String() == ivoa.String()) {
			t.Errorf("%s has one document for both models: %v", f.Name, !both)
		}
		if strings.Contains(w3c.String()+ivoa.String(), "hunter2") {
			t.Errorf("%s tells a secret parameter", f.Name)
		}
		if err := f.Write(failing{}, g, W3C); err == nil {
			t.Errorf("%s does not tell that writing failed", f.Name)
		}
	}
	Formats()[0].Name = "changed"
	if Formats()[0].Name == "changed" {
		t.Error("a caller can change the list")
	}
}

// heapWatcher notes, each time some bytes have come, how much memory is alive.
type heapWatcher struct {
	bytes, checked int
	peak           uint64
}

func (h *heapWatcher) Write(p []byte) (int, error) {
	if h.bytes += len(p); h.bytes-h.checked >= 12<<20 {
		h.checked = h.bytes
		h.peak = max(h.peak, liveHeap())
	}
	return len(p), nil
}

func liveHeap() uint64 {
	var stats runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}

// TestFormatsMemory holds every writer to 64 MiB and 100 bytes a node in use, beside the graph, for a graph of
// 100,000 nodes.
func TestFormatsMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("a big graph")
	}
	const nodes = 100_000
	g := bigGraph(t, nodes)
	for _, f := range Formats() {
		for _, m := range models {
			if m == IVOA && f.Name != "PROV-JSON" && f.Name != "PROV-VOTABLE" {
				continue // the same document
			}
			before := liveHeap()
			watcher := &heapWatcher{}
			if err := f.Write(watcher, g, m); err != nil {
				t.Fatal(err)
			}
			if watcher.peak == 0 {
				t.Errorf("%s, %s: %d bytes, too few to be watched", f.Name, m, watcher.bytes)
			}
			if used := int64(watcher.peak) - int64(before); used > 64<<20+100*nodes {
				t.Errorf("%s, %s: %d bytes in use while writing %d", f.Name, m, used, watcher.bytes)
			} else {
				t.Logf("%s, %s: %d KiB in use while writing %d MiB", f.Name, m, used>>10, watcher.bytes>>20)
			}
		}
	}
	runtime.KeepAlive(g)
}

// bigGraph has datasets, activities that made them, and a parameter of each, a third of the nodes each.
func bigGraph(t testing.TB, nodes int) *Graph {
	g := newTestGraph(t)
	when := time.Date(2026, 11, 20, 10, 0, 0, 0, time.UTC)
	add := func(r Record) {
		if err := g.Add(r); err != nil {
			t.Fatal(err)
		}
	}
	for i := range nodes / 3 {
		n := strconv.Itoa(i)
		id, job, p := QName{"ent", "e" + n}, QName{"job", "j" + n}, QName{"job", "j" + n + ".p.period"}
		add(Record{Kind: Entity, ID: id, Attrs: []Attr{{nameType, Name(typeDataset)}, {nameName, String("file \"" + n + "\"")}, {nameContent, String("image/fits")}, {nameBytes, Long(int64(i))}}})
		add(Record{Kind: Activity, ID: job, Time: when, End: when.Add(time.Second), Attrs: []Attr{{nameLabel, String("a job")}}})
		add(Record{Kind: Entity, ID: p, Attrs: []Attr{{nameType, Name(typeParameter)}, {nameName, String("period")}, {nameValue, Double(float64(i) / 7)}}})
		add(Record{Kind: Generation, Refs: []QName{id, job}, Time: when, Attrs: []Attr{{nameRole, String("image")}}})
		add(Record{Kind: Influence, Refs: []QName{job, p}, Attrs: []Attr{{nameType, Name(typeConfigured)}}})
		add(Record{Kind: Influence, Refs: []QName{p, {"jdl", "d.p.period"}}, Attrs: []Attr{{nameType, Name(typeDescription)}}})
	}
	return g
}
