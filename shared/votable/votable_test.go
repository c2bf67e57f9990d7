package votable_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"consort/shared/schemas"
	"consort/shared/testenv"
	"consort/shared/votable"
	"consort/shared/xmltext"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// everyType has a column of each datatype and text that needs escapes.
func everyType() votable.Meta {
	return votable.Meta{
		Name: "every <type>", Description: "A & B", Utype: "x:y", Infos: []votable.Info{{Name: "note", Value: `"1"`, Text: "a<b"}, {Name: "n", Value: ""}},
		Fields: []votable.Field{
			{Name: "flag", Datatype: votable.Boolean}, {Name: "byte", Datatype: votable.UnsignedByte},
			{Name: "short", Datatype: votable.Short}, {Name: "int", Datatype: votable.Int}, {Name: "long", Datatype: votable.Long, Unit: "byte"},
			{Name: "float", Datatype: votable.Float}, {Name: "double", Datatype: votable.Double, Unit: "m/s", UCD: "phys.veloc"},
			{Name: "char", Datatype: votable.Char, Arraysize: "*"}, {Name: "text", Datatype: votable.UnicodeChar, Arraysize: "8*", Description: "é"},
			{Name: "time", Datatype: votable.Char, Arraysize: "*", XType: "timestamp", UCD: "time", Utype: "a.b"},
			{Name: "letter", Datatype: votable.Char},
		},
	}
}

var (
	at   = time.Date(2026, 7, 1, 12, 30, 5, 123456000, time.UTC)
	rows = [][]any{
		{true, 255, -32768, math.MinInt32, int64(math.MinInt64), 1.5, 6.02e23, "a]]>b", "é😀", at, "x"},
		{false, 0, 32767, math.MaxInt32, int64(math.MaxInt64), math.NaN(), math.Inf(-1), " <&>\t\r\n ", "", time.Time{}, ""},
		{nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil},
		{true, 1, 1, 1, 1, 7, 7, "", "", at, nil},
	}
	texts = [][]string{
		{"true", "255", "-32768", "-2147483648", "-9223372036854775808", "1.5", "6.02e+23", "a]]>b", "é😀", "2026-07-01T12:30:05.123456Z", "x"},
		{"false", "0", "32767", "2147483647", "9223372036854775807", "NaN", "-Inf", " <&>\t\r\n ", "", "", ""},
		{"", "", "", "", "", "", "", "", "", "", ""},
		{"true", "1", "1", "1", "1", "7", "7", "", "", "2026-07-01T12:30:05.123456Z", ""},
	}
)

// write makes a document of m and cells, ended by end.
func write(t testing.TB, m votable.Meta, cells [][]any, end func(*votable.Writer) error) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := votable.NewWriter(&out, m)
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range cells {
		if err := w.Row(row...); err != nil {
			t.Fatal(err)
		}
	}
	if err := end(w); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func readAll(r *votable.Reader) (rows [][]string, err error) {
	for {
		row, err := r.Row()
		if err != nil {
			return rows, err
		}
		rows = append(rows, row)
	}
}

func TestRoundTrip(t *testing.T) {
	m := everyType()
	r, err := votable.NewReader(bytes.NewReader(write(t, m, rows, (*votable.Writer).Close)))
	if err != nil {
		t.Fatal(err)
	}
	got, err := readAll(r)
	if err != io.EOF || r.Status() != votable.OK {
		t.Errorf("end: %v, status %q", err, r.Status())
	}
	if diff := cmp.Diff(texts, got); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(m, r.Meta()); diff != "" {
		t.Error(diff)
	}
	if _, err := r.Row(); err != io.EOF {
		t.Errorf("after the end: %v", err)
	}
}

func TestEndings(t *testing.T) {
	m := everyType()
	overflow := write(t, m, rows, (*votable.Writer).CloseOverflow)
	if r, err := votable.NewReader(bytes.NewReader(overflow)); err != nil {
		t.Error(err)
	} else if got, err := readAll(r); err != io.EOF || len(got) != len(rows) || r.Status() != votable.Overflow {
		t.Errorf("overflow: %d rows, %v, %q", len(got), err, r.Status())
	}
	failed := write(t, m, rows[:1], func(w *votable.Writer) error { return w.CloseError("disk <gone>") })
	var qe *votable.QueryError
	if r, err := votable.NewReader(bytes.NewReader(failed)); err != nil {
		t.Error(err)
	} else if got, err := readAll(r); !errors.As(err, &qe) || qe.Message != "disk <gone>" || len(got) != 1 {
		t.Errorf("failed: %d rows, %v", len(got), err)
	}
	if _, err := votable.NewReader(bytes.NewReader(votable.AppendError(nil, "no & no"))); !errors.As(err, &qe) || qe.Message != "no & no" {
		t.Errorf("error document: %v", err)
	}
}

// several writes a document of three tables, the second without rows.
func several(w *votable.Writer) error {
	second := votable.Meta{Name: "second", TableUtype: "m:Second", Description: "a <second>", Fields: []votable.Field{{Name: "n", Datatype: votable.Int}}}
	for _, next := range []votable.Meta{second, {Name: "third", Fields: second.Fields}} {
		if err := w.NextTable(next); err != nil {
			return err
		}
	}
	if err := w.Row(7); err != nil {
		return err
	}
	return w.Close()
}

func TestNextTable(t *testing.T) {
	m := everyType()
	document := write(t, m, rows, several)
	r, err := votable.NewReader(bytes.NewReader(document))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := readAll(r); err != io.EOF || !cmp.Equal(texts, got) || !cmp.Equal(m, r.Meta()) {
		t.Errorf("the first table is read as %v with %+v, %v", got, r.Meta(), err)
	}
	for _, want := range []string{`<TABLE name="second" utype="m:Second">`, `<DESCRIPTION>a &lt;second&gt;</DESCRIPTION>`, `<TR><TD>7</TD></TR>` + "\n</TABLEDATA></DATA></TABLE>\n</RESOURCE>"} {
		if !bytes.Contains(document, []byte(want)) {
			t.Errorf("no %s in\n%s", want, document)
		}
	}
	w, err := votable.NewWriter(io.Discard, m)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.NextTable(votable.Meta{Name: "none"}); !errors.Is(err, votable.ErrField) {
		t.Errorf("a table without columns: %v", err)
	}
	if err := errors.Join(w.Row(rows[0]...), w.Close()); err != nil {
		t.Errorf("going on after a refused table: %v", err)
	}
	if err := w.NextTable(m); !errors.Is(err, votable.ErrClosed) {
		t.Errorf("a table after the end: %v", err)
	}
}

// documents are all kinds that the package writes.
func documents(t testing.TB) [][]byte {
	var manifest bytes.Buffer
	m, err := votable.NewManifest(&manifest, "maps", "All <maps>")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if err := m.Add(f); err != nil {
			t.Fatal(err)
		}
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	return [][]byte{
		write(t, everyType(), rows, (*votable.Writer).Close),
		write(t, everyType(), nil, (*votable.Writer).CloseOverflow),
		write(t, everyType(), rows, func(w *votable.Writer) error { return w.CloseError("\x00 broken") }),
		write(t, everyType(), rows, several),
		votable.AppendError(nil, "why\x00<>"), votable.AppendError(nil, ""), manifest.Bytes(),
	}
}

func TestDocumentsAreValid(t *testing.T) {
	schemas.Validate(t, schemas.VOTable, documents(t)...)
}

func TestVotlint(t *testing.T) {
	stilts := testenv.Need(t, "stilts")[0]
	for i, doc := range documents(t) {
		file := filepath.Join(t.TempDir(), "t.vot")
		if err := os.WriteFile(file, doc, 0o600); err != nil {
			t.Fatal(err)
		}
		// votlint exits with 0 whatever it finds.
		out, err := exec.Command(stilts, "votlint", "ucd=true", "unit=true", file).CombinedOutput()
		if err != nil || strings.Contains(string(out), "ERROR") {
			t.Errorf("document %d: %v\n%s", i, err, out)
		}
	}
}

func TestNewWriterRefuses(t *testing.T) {
	for name, f := range map[string]votable.Field{
		"no name": {Datatype: votable.Int}, "no datatype": {Name: "a"}, "datatype": {Name: "a", Datatype: "complex"},
		"array of int": {Name: "a", Datatype: votable.Int, Arraysize: "*"}, "arraysize": {Name: "a", Datatype: votable.Char, Arraysize: "2x*"},
		"zero": {Name: "a", Datatype: votable.Char, Arraysize: "0"}, "ucd": {Name: "a", Datatype: votable.Int, UCD: "a b"},
	} {
		var out bytes.Buffer
		if _, err := votable.NewWriter(&out, votable.Meta{Fields: []votable.Field{f}}); !errors.Is(err, votable.ErrField) || out.Len() > 0 {
			t.Errorf("%s: %v, wrote %q", name, err, out.String())
		}
	}
	if _, err := votable.NewWriter(io.Discard, votable.Meta{}); !errors.Is(err, votable.ErrField) {
		t.Errorf("no fields: %v", err)
	}
}

func TestRowRefusesAndGoesOn(t *testing.T) {
	var out bytes.Buffer
	w, err := votable.NewWriter(&out, everyType())
	if err != nil {
		t.Fatal(err)
	}
	for column, bad := range map[int][]any{
		0: {1, "true"}, 1: {-1, 256, 1.0}, 2: {1 << 15}, 3: {1 << 31, true}, 4: {1.5, "1"}, 5: {1e300, "1"}, 6: {"1", true},
		7: {"é", "\x00", 1, []byte("x")}, 8: {"123456789", "😀😀😀😀😀", "\xff"}, 10: {"xy"},
	} {
		for _, cell := range bad {
			row := make([]any, len(everyType().Fields))
			row[column] = cell
			if err := w.Row(row...); !errors.Is(err, votable.ErrCell) {
				t.Errorf("column %d, %v: %v", column, cell, err)
			}
		}
	}
	if err := w.Row(1); !errors.Is(err, votable.ErrCell) {
		t.Errorf("short row: %v", err)
	}
	if err := errors.Join(w.Row(rows[0]...), w.Close(), w.Close()); err != nil {
		t.Error(err)
	}
	if err := w.Row(rows[0]...); !errors.Is(err, votable.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	if want := write(t, everyType(), rows[:1], (*votable.Writer).Close); !bytes.Equal(out.Bytes(), want) {
		t.Errorf("refused rows left traces: %s", out.String())
	}
}

// fullDisk fails after some bytes.
type fullDisk struct{ left int }

func (d *fullDisk) Write(p []byte) (int, error) {
	if d.left -= len(p); d.left < 0 {
		return 0, io.ErrShortWrite
	}
	return len(p), nil
}

func TestWriteErrorSticks(t *testing.T) {
	w, err := votable.NewWriter(&fullDisk{left: 100_000}, everyType())
	if err != nil {
		t.Fatal(err)
	}
	for n := 0; err == nil; n++ {
		if n > 10_000 {
			t.Fatal("no error")
		}
		err = w.Row(rows[0]...)
	}
	if !errors.Is(err, io.ErrShortWrite) || !errors.Is(w.Row(rows[0]...), io.ErrShortWrite) || !errors.Is(w.Close(), io.ErrShortWrite) {
		t.Errorf("%v", err)
	}
}

func TestReaderTakesOtherDialects(t *testing.T) {
	doc := `<?xml version="1.0"?><!-- c -->
<v:VOTABLE xmlns:v="http://www.ivoa.net/xml/VOTable/v1.2" version="1.2"><v:DESCRIPTION>doc</v:DESCRIPTION><v:INFO name="a" value="b"/>
<v:RESOURCE><v:TABLE><v:FIELD name="old" datatype="int"/></v:TABLE><x xmlns="urn:x"><TABLEDATA><TR/></TABLEDATA></x>
<v:TABLE name="t"><v:PARAM name="p" datatype="int" value="1"/><v:GROUP><v:FIELDref ref="x"/></v:GROUP>
<v:FIELD name="a" datatype="int"><v:VALUES null="-1"/></v:FIELD><v:DATA><v:TABLEDATA>
<v:TR><v:TD><![CDATA[1<2]]></v:TD></v:TR> <!-- c --> <v:TR><v:TD/></v:TR></v:TABLEDATA></v:DATA></v:TABLE>
<v:TABLE><v:FIELD name="b" datatype="int"/><v:DATA><v:TABLEDATA><v:TR><v:TD>9</v:TD></v:TR></v:TABLEDATA></v:DATA></v:TABLE></v:RESOURCE></v:VOTABLE>`
	r, err := votable.NewReader(strings.NewReader(doc))
	if err != nil {
		t.Fatal(err)
	}
	got, err := readAll(r)
	if diff := cmp.Diff([][]string{{"1<2"}, {""}}, got); err != io.EOF || diff != "" {
		t.Error(err, diff)
	}
	want := votable.Meta{Name: "t", Infos: []votable.Info{{Name: "a", Value: "b"}}, Fields: []votable.Field{{Name: "a", Datatype: "int"}}}
	if diff := cmp.Diff(want, r.Meta()); diff != "" {
		t.Error(diff)
	}
}

func TestReaderRefuses(t *testing.T) {
	table := func(data string) string {
		return `<VOTABLE><RESOURCE><TABLE><FIELD name="a" datatype="int"/>` + data + `</TABLE></RESOURCE></VOTABLE>`
	}
	for name, c := range map[string]struct {
		doc  string
		want error // nil: any
	}{
		"empty": {"", votable.ErrSyntax}, "html": {"<html/>", votable.ErrSyntax}, "namespace": {`<VOTABLE xmlns="urn:x"/>`, votable.ErrSyntax},
		"no table": {"<VOTABLE><RESOURCE/></VOTABLE>", votable.ErrSyntax}, "binary": {table("<DATA><BINARY2/></DATA>"), votable.ErrSyntax},
		"no field":    {"<VOTABLE><RESOURCE><TABLE><DATA><TABLEDATA/></DATA></TABLE></RESOURCE></VOTABLE>", votable.ErrSyntax},
		"few cells":   {table("<DATA><TABLEDATA><TR></TR></TABLEDATA></DATA>"), votable.ErrSyntax},
		"many cells":  {table("<DATA><TABLEDATA><TR><TD/><TD/></TR></TABLEDATA></DATA>"), votable.ErrSyntax},
		"no TR":       {table("<DATA><TABLEDATA><TD/></TABLEDATA></DATA>"), votable.ErrSyntax},
		"inner":       {table("<DATA><TABLEDATA><TR><TD><b/></TD></TR></TABLEDATA></DATA>"), votable.ErrSyntax},
		"encoding":    {table(`<DATA><TABLEDATA><TR><TD encoding="base64">x</TD></TR></TABLEDATA></DATA>`), votable.ErrSyntax},
		"cut in row":  {`<VOTABLE><RESOURCE><TABLE><FIELD name="a"/><DATA><TABLEDATA><TR><TD>1`, nil},
		"cut after":   {`<VOTABLE><RESOURCE><TABLE><FIELD name="a"/><DATA><TABLEDATA><TR><TD>1</TD></TR></TABLEDATA></DATA>`, nil},
		"trailing":    {table("<DATA><TABLEDATA/></DATA>") + "<x/>", xmltext.ErrTrailing},
		"doctype":     {"<!DOCTYPE VOTABLE>" + table(""), xmltext.ErrDoctype},
		"huge cell":   {table("<DATA><TABLEDATA><TR><TD>" + strings.Repeat("x", 17<<20) + "</TD></TR></TABLEDATA></DATA>"), xmltext.ErrTooLarge},
		"huge header": {"<VOTABLE><DESCRIPTION>" + strings.Repeat("x", 17<<20) + "</DESCRIPTION></VOTABLE>", xmltext.ErrTooLarge},
	} {
		r, err := votable.NewReader(strings.NewReader(c.doc))
		if err == nil {
			_, err = readAll(r)
		}
		if err == io.EOF || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

func TestRandomTextRoundTrip(t *testing.T) {
	m := votable.Meta{Fields: []votable.Field{{Name: "a", Datatype: votable.UnicodeChar, Arraysize: "*"}, {Name: "b", Datatype: votable.Double}}}
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.String().Filter(xmltext.Legal).Draw(t, "text")
		number := rapid.Float64().Draw(t, "number")
		var out bytes.Buffer
		w, err := votable.NewWriter(&out, m)
		if err == nil {
			err = errors.Join(w.Row(text, number), w.Close())
		}
		if err != nil {
			t.Fatal(err)
		}
		r, err := votable.NewReader(&out)
		if err != nil {
			t.Fatal(err)
		}
		row, err := r.Row()
		if err != nil || row[0] != text {
			t.Fatalf("%q, %v", row, err)
		}
		if got, err := strconv.ParseFloat(row[1], 64); err != nil || got != number {
			t.Fatalf("%q, %v", row, err)
		}
	})
}

func FuzzReader(f *testing.F) {
	for _, doc := range documents(f) {
		f.Add(string(doc))
	}
	f.Fuzz(func(t *testing.T, doc string) {
		r, err := votable.NewReader(strings.NewReader(doc))
		if err != nil {
			return
		}
		got, _ := readAll(r)
		for _, row := range got {
			if len(row) != len(r.Meta().Fields) {
				t.Fatalf("%d cells for %d fields", len(row), len(r.Meta().Fields))
			}
		}
	})
}

var files = []votable.File{
	{Path: "a/é 😀.fits", Size: 1 << 40, SHA256: strings.Repeat("0f", 32), ContentType: "image/fits", URL: "https://x/results/maps/a/%C3%A9?b&c"},
	{Path: "b", URL: "https://x/b", SHA256: strings.Repeat("ab", 32)},
}

func TestManifestRoundTrip(t *testing.T) {
	docs := documents(t)
	var got []votable.File
	err := votable.ReadManifest(bytes.NewReader(docs[len(docs)-1]), func(f votable.File) error { got = append(got, f); return nil })
	if diff := cmp.Diff(files, got); err != nil || diff != "" {
		t.Error(err, diff)
	}
}

func TestReadManifestRefuses(t *testing.T) {
	docs := documents(t)
	good := string(docs[len(docs)-1])
	stop := errors.New("stop")
	for name, c := range map[string]struct {
		doc  string
		each error
		want error
	}{
		"column": {strings.Replace(good, `name="size"`, `name="length"`, 1), nil, votable.ErrSyntax},
		"size":   {strings.Replace(good, "<TD>0</TD>", "<TD>-1</TD>", 1), nil, votable.ErrSyntax},
		"each":   {good, stop, stop}, "error": {string(votable.AppendError(nil, "x")), nil, nil},
	} {
		err := votable.ReadManifest(strings.NewReader(c.doc), func(votable.File) error { return c.each })
		if err == nil || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestStreamsManyRows sends more rows through a pipe than either side holds at once.
func TestStreamsManyRows(t *testing.T) {
	const n = 20_000
	in, out := io.Pipe()
	done := make(chan error, 1)
	go func() {
		m, err := votable.NewManifest(out, "many", "")
		for i := 0; i < n && err == nil; i++ {
			err = m.Add(votable.File{Path: fmt.Sprintf("f/%06d", i), Size: int64(i), SHA256: strings.Repeat("0", 64), URL: "https://x"})
		}
		if err == nil {
			err = m.Close()
		}
		out.CloseWithError(err)
		done <- err
	}()
	var count, sum int64
	err := votable.ReadManifest(in, func(f votable.File) error { count++; sum += f.Size; return nil })
	in.CloseWithError(err)
	if werr := <-done; err != nil || werr != nil || count != n || sum != n*(n-1)/2 {
		t.Errorf("%d rows, sum %d, read %v, write %v", count, sum, err, werr)
	}
}

func BenchmarkManifest(b *testing.B) {
	m, err := votable.NewManifest(io.Discard, "many", "")
	if err != nil {
		b.Fatal(err)
	}
	f := files[0]
	b.ReportAllocs()
	for b.Loop() {
		if err := m.Add(f); err != nil {
			b.Fatal(err)
		}
	}
}
