package prov

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"consort/shared/testenv"
)

// judge loads pairs of documents, checks that python-prov finds the two equal, and validates them against
// the schema given first.
const judge = `
import json, sys, jsonschema, prov.model
schema = json.load(open(sys.argv[1]))
validator = jsonschema.Draft4Validator(schema)
for line in sys.stdin:
    a, b = line.split()
    documents = []
    for path in (a, b):
        text = open(path, encoding="utf-8").read()
        errors = list(validator.iter_errors(json.loads(text)))
        if errors:
            sys.exit("%s: %s" % (path, errors[0]))
        documents.append(prov.model.ProvDocument.deserialize(content=text, format="json"))
    if documents[0] != documents[1]:
        sys.exit("%s and %s differ" % (a, b))
    print(sum(len(d.get_records()) for d in [documents[0]] + list(documents[0].bundles)))
`

// TestThirdParties lets python-prov and the schema of the submission judge PROV-JSON, and PROV-N by way of
// our reader, on the documents of jobs and on random graphs.
func TestThirdParties(t *testing.T) {
	testenv.Need(t, "/usr/bin/python3")
	if out, err := exec.Command("/usr/bin/python3", "-c", "import prov, jsonschema").CombinedOutput(); err != nil {
		testenv.Skip(t, "needs python3-prov and python3-jsonschema: "+string(out))
	}
	var graphs []*Graph
	for _, c := range cases {
		graphs = append(graphs, graphOf(t, c.record()))
	}
	for seed := range 40 {
		graphs = append(graphs, genGraph(true).Example(seed))
	}
	dir := t.TempDir()
	var list strings.Builder
	for i, g := range graphs {
		n, err := ReadN(strings.NewReader(provnOf(t, g)), DefaultLimits())
		if err != nil {
			t.Fatal(err)
		}
		direct, viaN := filepath.Join(dir, fmt.Sprintf("%d.json", i)), filepath.Join(dir, fmt.Sprintf("%d.n.json", i))
		for path, g := range map[string]*Graph{direct: g, viaN: n} {
			if err := os.WriteFile(path, []byte(jsonOf(t, g)), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		fmt.Fprintln(&list, direct, viaN)
	}
	python := exec.Command("/usr/bin/python3", "-c", judge, "testdata/prov-json.schema.json")
	python.Stdin = strings.NewReader(list.String())
	out, err := python.Output()
	if err != nil {
		if exit, ok := err.(*exec.ExitError); ok {
			out = exit.Stderr
		}
		t.Fatalf("%v: %s", err, out)
	}
	counts := strings.Fields(string(out))
	if len(counts) != len(graphs) {
		t.Fatalf("%d of %d documents were judged", len(counts), len(graphs))
	}
	for i, g := range graphs {
		want := g.Len()
		for _, b := range g.Bundles() {
			want += b.Len()
		}
		if counts[i] != fmt.Sprint(want) {
			t.Errorf("python-prov finds %s records in document %d, we wrote %d", counts[i], i, want)
		}
	}
}
