package samedata_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"consort/shared/samedata"
)

func card(text string) string { return fmt.Sprintf("%-80s", text) }

// hdu is a header of cards with END, padded, and its data, padded.
func hdu(data string, cards ...string) string {
	var b strings.Builder
	for _, c := range append(cards, "END") {
		b.WriteString(card(c))
	}
	pad := func(fill string) { b.WriteString(strings.Repeat(fill, (2880-b.Len()%2880)%2880)) }
	pad(" ")
	b.WriteString(data)
	pad("\x00")
	return b.String()
}

func image(data string, more ...string) string {
	return hdu(data, append([]string{"SIMPLE  =                    T", "BITPIX  =                    8", "NAXIS   =                    1",
		fmt.Sprintf("NAXIS1  = %20d / pixels", len(data))}, more...)...)
}

func extension(data string, more ...string) string {
	return hdu(data, append([]string{"XTENSION= 'BINTABLE'", "BITPIX  =                    8", "NAXIS   =                    2",
		"NAXIS1  =                    2", fmt.Sprintf("NAXIS2  = %20d", len(data)/2), "PCOUNT  =                    0", "GCOUNT  =                    1"}, more...)...)
}

const table = `<?xml version="1.0"?><VOTABLE version="1.4" xmlns="http://www.ivoa.net/xml/VOTable/v1.3"><RESOURCE><TABLE name="t" ID="x"><FIELD datatype="short" name="a"/><DATA><TABLEDATA><TR><TD>1</TD></TR><TR><TD>2</TD></TR></TABLEDATA></DATA></TABLE></RESOURCE></VOTABLE>`

func with(parameter string) string {
	return strings.Replace(table, "<RESOURCE>", "<RESOURCE>"+parameter, 1)
}

func TestCompare(t *testing.T) {
	long := strings.Repeat("0123456789", 20_000)
	for name, c := range map[string]struct {
		a, b   string
		want   samedata.Verdict
		reason string
	}{
		"empty":                  {"", "", samedata.Bytes, ""},
		"empty and not":          {"", "x", samedata.Different, "the bytes differ"},
		"same text":              {"x", "x", samedata.Bytes, ""},
		"other text":             {"x", "y", samedata.Different, "the bytes differ"},
		"fits and text":          {image("a"), "x", samedata.Different, "different kinds"},
		"same fits":              {image("abc"), image("abc"), samedata.Bytes, ""},
		"fits date":              {image("abc", "DATE    = '2026-01-01'"), image("abc", "DATE    = '2026-01-02'"), samedata.Data, ""},
		"fits date missing":      {image("abc", "DATE    = '2026-01-01'"), image("abc"), samedata.Data, ""},
		"fits checksum":          {image("abc", "CHECKSUM= 'a' / at 1", "DATASUM = '17' / at 1"), image("abc", "CHECKSUM= 'b' / at 2", "DATASUM = '17' / at 2"), samedata.Data, ""},
		"fits datasum":           {image("abc", "DATASUM = '17'"), image("abc", "DATASUM = '18'"), samedata.Different, `card "DATASUM"`},
		"fits date-obs":          {image("abc", "DATE-OBS= '2026-01-01'"), image("abc", "DATE-OBS= '2026-01-02'"), samedata.Different, `card "DATE-OBS"`},
		"fits history":           {image("abc", "HISTORY one"), image("abc", "HISTORY two"), samedata.Different, `card "HISTORY"`},
		"fits data":              {image(long), image(long[:150_000] + "x" + long[150_001:]), samedata.Different, "HDU 0: data at byte 150000"},
		"fits last pixel":        {image(long), image(long[:len(long)-1] + "x"), samedata.Different, "data at byte 199999"},
		"fits extension":         {image("a", "DATE    = '1'") + extension("abcd"), image("a", "DATE    = '2'") + extension("abcd"), samedata.Data, ""},
		"fits extension differs": {image("a") + extension("abcd"), image("a") + extension("abce"), samedata.Different, "HDU 1: data at byte 3"},
		"fits fewer HDUs":        {image("a") + extension("abcd"), image("a"), samedata.Different, "ends before HDU 1"},
		"fits many dates":        {image("a", "DATE    = '1'"), image("a", many("DATE    = ", 40)...), samedata.Data, ""},
		"fits cut":               {image("abc"), image("abc")[:2000], samedata.Different, "cut short"},
		"fits data cut":          {image(long, "DATE    = '1'"), image(long, "DATE    = '2'")[:3000], samedata.Different, "the data is cut short"},
		"fits padding":           {image("abc", "DATE    = '1'"), image("abc", "DATE    = '2'")[:2880+3], samedata.Data, ""},
		"fits garbage after":     {image("abc") + "garbage, and long", image("abc") + "garbage, or short", samedata.Different, "HDU 1"},
		"fits huge":              {hdu("", "SIMPLE  =  T", "BITPIX  = 64", "NAXIS   = 2", "NAXIS1  = 9000000000000000000", "NAXIS2  = 9000000000000000000"), image(""), samedata.Different, ""},

		"votable comment":    {table, strings.Replace(table, "<RESOURCE>", "<!-- at noon -->\n <RESOURCE>", 1), samedata.Data, ""},
		"votable attributes": {table, strings.Replace(table, `name="t" ID="x"`, `ID='x'  name="t"`, 1), samedata.Data, ""},
		"votable prefix":     {table, strings.NewReplacer("</", "</v:", "<?", "<?", "<", "<v:", "xmlns=", "xmlns:v=").Replace(table), samedata.Data, ""},
		"votable cell":       {table, strings.Replace(table, "<TD>2<", "<TD>3<", 1), samedata.Different, "row 2"},
		"votable row":        {table, strings.Replace(table, "<TR><TD>2</TD></TR>", "", 1), samedata.Different, "elements"},
		"votable attribute":  {table, strings.Replace(table, `"short"`, `"int"`, 1), samedata.Different, "FIELD"},
		"votable date":       {with(`<PARAM name="Date" ucd="time.event.end;meta.software" value="1"/>`), with(`<PARAM name="Date" ucd="time.event.end;meta.software" value="2"/>`), samedata.Data, ""},
		"votable creation":   {with(`<INFO name="x" ucd="time.creation" value="1"/>`), table, samedata.Data, ""},
		"votable path":       {with(`<PARAM name="Path" ucd="meta.dataset" value="/a"/>`), with(`<PARAM name="Path" ucd="meta.dataset" value="/b"/>`), samedata.Data, ""},
		"votable named":      {with(`<INFO name="created" value="1"/>`), with(`<INFO name="created" value="2"/>`), samedata.Data, ""},
		"votable epoch":      {with(`<PARAM name="date_obs" ucd="time.start" value="1"/>`), with(`<PARAM name="date_obs" ucd="time.start" value="2"/>`), samedata.Different, "PARAM"},
		"votable cut":        {table, table[:len(table)-20], samedata.Different, "not well-formed"},
		"votable base64":     {with(`<STREAM encoding="base64">AB CD</STREAM>`), with("<STREAM encoding=\"base64\">\nABC\nD </STREAM>"), samedata.Data, ""},
		"votable entities":   {"<!DOCTYPE VOTABLE [<!ENTITY a 'b'>]>" + table, table, samedata.Different, "document type"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, pair := range [][2]string{{c.a, c.b}, {c.b, c.a}} {
				got, err := samedata.Compare(strings.NewReader(pair[0]), iotest.HalfReader(strings.NewReader(pair[1])))
				if err != nil || got.Verdict != c.want || !strings.Contains(got.Reason, c.reason) {
					t.Errorf("%v %q %v, want %v %q", got.Verdict, got.Reason, err, c.want, c.reason)
				}
			}
		})
	}
}

func many(prefix string, n int) []string {
	var cards []string
	for i := range n {
		cards = append(cards, fmt.Sprintf("%s'%d'", prefix, i))
	}
	return cards
}

func TestReadErrors(t *testing.T) {
	broken := errors.New("disk")
	for _, text := range []string{"x", image("abc")[:2000], image("abc"), table[:100]} {
		for _, pair := range [][2]io.Reader{
			{strings.NewReader(text), io.MultiReader(strings.NewReader(text), iotest.ErrReader(broken))},
			{io.MultiReader(strings.NewReader(text), iotest.ErrReader(broken)), strings.NewReader(text)},
		} {
			if _, err := samedata.Compare(pair[0], pair[1]); !errors.Is(err, broken) {
				t.Errorf("%.20q: %v", text, err)
			}
		}
	}
}

// FuzzCompare: a file is always itself, and order does not matter.
func FuzzCompare(f *testing.F) {
	for _, seed := range []string{"", "x", image("abc"), image("a") + extension("abcd"), table, with(`<INFO name="date"/>`), table[:80]} {
		f.Add([]byte(seed), []byte(table))
		f.Add([]byte(seed), []byte(image("abc", "DATE    = '1'")))
	}
	f.Fuzz(func(t *testing.T, a, b []byte) {
		compare := func(x, y []byte) samedata.Verdict {
			got, err := samedata.Compare(bytes.NewReader(x), bytes.NewReader(y))
			if err != nil {
				t.Fatal(err)
			}
			return got.Verdict
		}
		if got := compare(a, a); got != samedata.Bytes {
			t.Errorf("a file differs from itself: %v", got)
		}
		one, other := compare(a, b), compare(b, a)
		if one != other || (one == samedata.Bytes) != bytes.Equal(a, b) {
			t.Errorf("%v and %v", one, other)
		}
	})
}
