package picture

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"consort/shared/prov"
)

var (
	update   = flag.Bool("update", false, "write the golden files anew")
	pictures = flag.String("pictures", "", "also write the pictures of the tests into this directory, to look at")
)

// readCase reads a graph of the job cases as they are now.
func readCase(t testing.TB, name string) *prov.Graph {
	t.Helper()
	return readGraphFile(t, filepath.Join("..", "testdata", name+".json"))
}

func readGraphFile(t testing.TB, name string) *prov.Graph {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	g, err := prov.ReadJSON(f, prov.DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	return g
}

var cases = []string{"completed", "failed", "aborted", "retried"}

// chain is the lineage of so many jobs, each of which uses the result of the one before.
func chain(t testing.TB, jobs int) *prov.Graph {
	t.Helper()
	g := empty(t)
	begin := time.Date(2026, 11, 20, 10, 0, 0, 0, time.UTC)
	for i := range jobs {
		at := func(s int) time.Time { return begin.Add(time.Duration(i*100+s) * time.Second) }
		rec := prov.JobRecord{
			Job: fmt.Sprintf("j01ke5nzv%02dfghjkmnpqrstvwxy0", i), Phase: "COMPLETED", Owner: prov.UserRecord{ID: "alice", Name: "Alice Ö."},
			Created: at(0), Started: at(1), Ended: at(20),
			Definition: prov.DefinitionRecord{Name: "step", Version: "1"},
			Attempts:   []prov.AttemptRecord{{Epoch: 1, Site: "meudon", Submitted: at(2), Started: at(3), Ended: at(18), Outcome: prov.OutcomeCommitted}},
			Inputs:     []prov.InputRecord{{Role: "image", URL: "https://archive.example/m51.fits"}},
			Results:    []prov.ResultRecord{{ID: "image", Name: fmt.Sprintf("m51-%02d.fits", i+1), MediaType: "image/fits", DerivedFrom: []string{"image"}}},
		}
		if i > 0 {
			rec.Inputs[0] = prov.InputRecord{Role: "image", Job: fmt.Sprintf("j01ke5nzv%02dfghjkmnpqrstvwxy0", i-1), Result: "image"}
		}
		mergeJob(t, g, rec)
	}
	return g
}

// show draws and checks a picture, and writes it to where a developer asked for it.
func show(t testing.TB, name string, g *prov.Graph, o Options) {
	t.Helper()
	svg := svgOf(t, g, o)
	if err := checkSVG(svg); err != nil {
		t.Errorf("%s: %v", name, err)
	}
	if *pictures == "" {
		return
	}
	var png bytes.Buffer
	if err := WritePNG(&png, g, o); err != nil {
		t.Error(err)
	}
	for ext, b := range map[string][]byte{".svg": []byte(svg), ".png": png.Bytes()} {
		if err := os.WriteFile(filepath.Join(*pictures, name+ext), b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func TestGolden(t *testing.T) {
	link := func(q prov.QName) string { return "/id/" + q.Prefix + "/" + q.Local }
	for _, name := range cases {
		for _, model := range []Model{ModelW3C, ModelIVOA} {
			file := fmt.Sprintf("%s-%s.svg", name, model)
			t.Run(file, func(t *testing.T) {
				g := readGraphFile(t, filepath.Join("testdata", name+".json"))
				o := Options{Model: model, Title: "Provenance of a job: " + name, Link: link}
				show(t, name+"-"+string(model), g, o)
				var svg bytes.Buffer
				if err := WriteSVG(&svg, g, o); err != nil {
					t.Fatal(err)
				}
				golden := filepath.Join("testdata", file)
				if *update {
					if err := os.WriteFile(golden, svg.Bytes(), 0o644); err != nil {
						t.Fatal(err)
					}
				}
				want, err := os.ReadFile(golden)
				if err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(want, svg.Bytes()) {
					t.Errorf("%s differs; look at it and run with -update", file)
				}
			})
		}
	}
}

// With -pictures these are the pictures to look at after a change of the layout.
func TestPictures(t *testing.T) {
	last := []prov.QName{prov.JobID("jlast")}
	for name, c := range map[string]struct {
		g *prov.Graph
		o Options
	}{
		"chain31":   {chain(t, 31), Options{Title: "31 jobs in a chain"}},
		"chain4":    {chain(t, 4), Options{Title: "4 jobs in a chain", Direction: BottomTop, Attributes: true, Model: ModelIVOA}},
		"survey12":  {sweep(t, 12, 3), Options{Title: "12 jobs and a match", Model: ModelIVOA}},
		"survey60":  {sweep(t, 60, 10), Options{Title: "60 jobs and a match", Focus: last}},
		"survey600": {sweep(t, 600, 10), Options{Title: "600 jobs and a match", Focus: last}},
		"notes":     {readCase(t, "failed"), Options{Attributes: true, Focus: []prov.QName{prov.ControllerID()}}},
		"tangle40":  {tangle(t, 40, 45, 1), Options{Direction: RightLeft}},
		"tangle150": {tangle(t, 150, 200, 1), Options{Direction: TopBottom}},
	} {
		show(t, name, c.g, c.o)
	}
}
