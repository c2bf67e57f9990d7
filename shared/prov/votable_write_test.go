package prov

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"consort/shared/schemas"
	"consort/shared/testenv"
	"consort/shared/votable"
	"pgregory.net/rapid"
)

var models = []Model{W3C, IVOA}

func votableOf(t rapid.TB, g *Graph, m Model) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := WriteVOTable(&b, g, m); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// votables are the documents of jobs, of random graphs and of odd texts in both models.
func votables(t testing.TB) [][]byte {
	var documents [][]byte
	for _, m := range models {
		for _, c := range cases {
			documents = append(documents, votableOf(t, graphOf(t, c.record()), m))
		}
		for seed := range 20 {
			documents = append(documents, votableOf(t, genGraph(false).Example(seed), m))
		}
		documents = append(documents, votableOf(t, oddGraph(t), m))
	}
	return documents
}

func TestVOTableSchema(t *testing.T) {
	schemas.Validate(t, schemas.VOTable, votables(t)...)
}

func TestVOTableLint(t *testing.T) {
	stilts := testenv.Need(t, "stilts")[0]
	dir := t.TempDir()
	// A job of each model, and odd texts: each run starts a virtual machine.
	for i, document := range [][]byte{
		votableOf(t, graphOf(t, completed()), W3C), votableOf(t, graphOf(t, retried()), IVOA), votableOf(t, oddGraph(t), IVOA),
	} {
		file := filepath.Join(dir, fmt.Sprintf("%d.vot", i))
		if err := os.WriteFile(file, document, 0o600); err != nil {
			t.Fatal(err)
		}
		// votlint exits with 0 whatever it finds.
		out, err := exec.Command(stilts, "votlint", "ucd=true", "unit=true", file).CombinedOutput()
		if err != nil || strings.Contains(string(out), "ERROR") {
			t.Errorf("document %d: %v\n%.2000s", i, err, out)
		}
	}
}

// TestVOTableUtypes checks that the utypes of the IVOA model name what its VO-DML has, and all of that.
func TestVOTableUtypes(t *testing.T) {
	classes := modelClasses(t)
	seen := map[string]bool{}
	for _, table := range Tables(IVOA) {
		utypes := []string{table.Utype}
		for _, c := range table.Columns {
			utypes = append(utypes, c.Utype)
		}
		for _, utype := range utypes {
			name, vo := strings.CutPrefix(utype, "voprov:")
			if !vo {
				continue
			}
			seen[name] = true
			class, role, attribute := strings.Cut(name, ".")
			c, known := classes[class]
			if !known || attribute && !slices.ContainsFunc(slices.Concat(c.Attributes, c.References), func(r vodmlRole) bool { return r.Name == role }) {
				t.Errorf("table %s: the model has no %s", table.Name, utype)
			}
		}
	}
	for name, c := range classes {
		for _, a := range c.Attributes {
			if name != "Collection" && !seen[name+"."+a.Name] { // collections stand among the entities
				t.Errorf("no column for %s.%s", name, a.Name)
			}
		}
	}
}

// TestVOTableRefersToRows checks, on the documents of jobs, that the columns ending in _id refer to rows.
func TestVOTableRefersToRows(t *testing.T) {
	for _, m := range models {
		for _, c := range cases {
			g := graphOf(t, c.record())
			ids, references := map[any]bool{}, map[any]string{}
			for _, table := range Tables(m) {
				for row := range Rows(g, m, table.Name) {
					for i, column := range table.Columns {
						switch {
						case row[i] == nil:
						case column.Name == "id":
							ids[row[i]] = true
						case strings.HasSuffix(column.Name, "_id"), column.Name == "owner":
							references[row[i]] = table.Name + "." + column.Name
						}
					}
				}
			}
			for id, from := range references {
				if !ids[id] {
					t.Errorf("%v, %s: %s refers to %v, which no table has", m, c.name, from, id)
				}
			}
			if len(references) < 10 {
				t.Errorf("%v, %s: %d references", m, c.name, len(references))
			}
		}
	}
}

// TestVOTableKeepsAll checks that every record has a row and every attribute a place.
func TestVOTableKeepsAll(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := genGraph(false).Draw(t, "graph")
		for _, m := range models {
			records, made := 0, 0
			texts := map[string]bool{}
			for _, table := range Tables(m) {
				for row := range Rows(g, m, table.Name) {
					if table.Name != attributeTable && table.Name != bundleTable {
						records++
					}
					if len(row) != len(table.Columns) {
						t.Fatalf("table %s: %d cells for %d columns", table.Name, len(row), len(table.Columns))
					}
					for _, cell := range row {
						if text, ok := cell.(string); ok {
							texts[text] = true
						}
					}
				}
			}
			want := 0
			for _, v := range views(g, m) {
				want += v.graph.Len()
				if m == IVOA {
					for k := Entity; k <= lastKind; k++ {
						made -= len(v.graph.records[k])
						for range v.records(k) {
							made++
						}
					}
				}
				for r := range v.graph.All() {
					for _, a := range r.Attrs {
						// Several names become one JSON array in the IVOA model.
						if !texts[a.Value.text] && (m == W3C || a.Name != nameName) {
							t.Fatalf("%v: no cell has %q of %v(%s)", m, a.Value.text, r.Kind, r.ID)
						}
					}
				}
			}
			if records != want+made {
				t.Fatalf("%v: %d rows for %d records", m, records, want+made)
			}
		}
	})
}

// TestWriteTable reads single tables back.
func TestWriteTable(t *testing.T) {
	g := graphOf(t, retried())
	for _, m := range models {
		for _, table := range Tables(m) {
			var b bytes.Buffer
			if err := WriteTable(&b, g, m, table.Name, false); err != nil {
				t.Fatal(err)
			}
			r, err := votable.NewReader(&b)
			if err != nil {
				t.Fatal(err)
			}
			for row := range Rows(g, m, table.Name) {
				got, err := r.Row()
				if err != nil {
					t.Fatalf("%s: %v", table.Name, err)
				}
				for i, cell := range row {
					if want := cellText(cell); got[i] != want {
						t.Errorf("%s.%s is %q, want %q", table.Name, table.Columns[i].Name, got[i], want)
					}
				}
			}
			if _, err := r.Row(); err != io.EOF {
				t.Errorf("%s: %v after the rows", table.Name, err)
			}
		}
	}
	var part bytes.Buffer
	if err := WriteTable(&part, g, IVOA, "used", true); err != nil || !strings.HasSuffix(part.String(), "<INFO name=\"QUERY_STATUS\" value=\"OVERFLOW\"></INFO>\n</RESOURCE></VOTABLE>\n") {
		t.Errorf("a part of a table, %v: %s", err, part.String())
	}
	for row := range Rows(g, IVOA, "nothing") {
		t.Errorf("a row of no table: %v", row)
	}
	if err := WriteTable(io.Discard, g, IVOA, "nothing", false); !errors.Is(err, ErrNotFound) {
		t.Errorf("a table that is not: %v", err)
	}
	if err := WriteVOTable(failing{}, g, W3C); !errors.Is(err, os.ErrClosed) {
		t.Errorf("writing to a closed file: %v", err)
	}
}

// cellText is a cell as the document shows it.
func cellText(cell any) string {
	switch cell := cell.(type) {
	case string:
		return xmlSafe(cell)
	case time.Time:
		if !cell.IsZero() {
			return cell.UTC().Format("2006-01-02T15:04:05.000000Z")
		}
	}
	return ""
}

func TestRows(t *testing.T) {
	g := graphOf(t, completed())
	for _, c := range []struct{ table, want string }{
		{"activityDescription", "[jdl:periodogram.v1.2.0 periodogram 1.2.0 <nil> https://doc.example/p Analysis <nil> <nil>]"},
		{"wasConfiguredBy", " job:j01ke5nzv0fghjkmnpqrstvwxy0 job:j01ke5nzv0fghjkmnpqrstvwxy0.p.min_period Parameter job:j01ke5nzv0fghjkmnpqrstvwxy0.p.min_period <nil> <nil>]"},
		{"used", "[job:j01ke5nzv0fghjkmnpqrstvwxy0.u.series job:j01ke5nzv0fghjkmnpqrstvwxy0 ent:up.01ke5nzuzz 2026-11-20 10:00:06.5 +0000 UTC series jdl:periodogram.v1.2.0.u.series <nil>]"},
		{attributeTable, "[data:sha256-fd61a03af4f77d870fc21e05e7e80678095c92d808cfb3b5c279ee04c74aca13 entity fed:bytes 1000 xsd:long <nil> <nil>]"},
	} {
		var got []string
		for row := range Rows(g, IVOA, c.table) {
			got = append(got, fmt.Sprint(row))
		}
		if !slices.ContainsFunc(got, func(row string) bool { return strings.HasSuffix(row, c.want) }) {
			t.Errorf("%s has not %s but\n%s", c.table, c.want, strings.Join(got, "\n"))
		}
	}
}
