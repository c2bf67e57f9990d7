package xmltext_test

import (
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"
	"unicode/utf8"

	"consort/shared/xmltext"
	"pgregory.net/rapid"
)

func TestLegal(t *testing.T) {
	for s, want := range map[string]bool{
		"": true, "plain": true, "\t\n\r": true, "é😀]]>&<": true, "\x7f\u0085": true, "\uFFFD": true,
		"\x00": false, "\b": false, "a\x1b[0m": false, "\uFFFE": false, "\uFFFF": false,
		"\xff": false, "\xed\xa0\x80": false, "\xc3": false,
	} {
		if got := xmltext.Legal(s); got != want {
			t.Errorf("Legal(%q) = %v, want %v", s, got, want)
		}
	}
}

func TestAppend(t *testing.T) {
	const in = "a<b>&\"c'\t\n\r\x00\uFFFE\xffé😀"
	if got, want := string(xmltext.AppendText(nil, in)), "a&lt;b&gt;&amp;\"c'\t\n&#13;\uFFFD\uFFFD\uFFFDé😀"; got != want {
		t.Errorf("text: %q, want %q", got, want)
	}
	if got, want := string(xmltext.AppendAttr([]byte("x"), in)), "xa&lt;b&gt;&amp;&quot;c'&#9;&#10;&#13;\uFFFD\uFFFD\uFFFDé😀"; got != want {
		t.Errorf("attribute: %q, want %q", got, want)
	}
}

type element struct {
	Attr string `xml:"a,attr"`
	Text string `xml:",chardata"`
}

// roundTrip writes s as text and attribute and reads both back.
func roundTrip(t interface{ Fatalf(string, ...any) }, s string) {
	doc := xmltext.AppendAttr([]byte(xmltext.Header+`<e a="`), s)
	doc = xmltext.AppendText(append(doc, `">`...), s)
	doc = append(doc, "</e>"...)
	if !utf8.Valid(doc) {
		t.Fatalf("%q: not UTF-8: %q", s, doc)
	}
	var e element
	if err := xmltext.Unmarshal(strings.NewReader(string(doc)), 1<<20, &e); err != nil {
		t.Fatalf("%q: read %q: %v", s, doc, err)
	}
	if xmltext.Legal(s) && (e.Text != s || e.Attr != s) {
		t.Fatalf("%q: text %q, attribute %q", s, e.Text, e.Attr)
	}
}

func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) { roundTrip(t, rapid.String().Draw(t, "s")) })
}

func FuzzAppend(f *testing.F) {
	for _, s := range []string{"", "]]>", "\r\n", "\xff\x00", "&#0;", "😀\uFFFE"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if len(s) < 1<<16 {
			roundTrip(t, s)
		}
	})
}

func TestUnmarshalRefuses(t *testing.T) {
	deep := strings.Repeat("<e>", 5000) + strings.Repeat("</e>", 5000)
	for name, c := range map[string]struct {
		doc  string
		want error // nil: any error
	}{
		"empty":          {"", io.EOF},
		"doctype":        {`<!DOCTYPE e><e/>`, xmltext.ErrDoctype},
		"late doctype":   {`<e/><!DOCTYPE e>`, xmltext.ErrDoctype},
		"billion laughs": {`<!DOCTYPE e [<!ENTITY a "aa">]><e>&a;</e>`, xmltext.ErrDoctype},
		"entity":         {`<e>&a;</e>`, nil},
		"two roots":      {`<e/><e/>`, xmltext.ErrTrailing},
		"text after":     {`<e/>x`, xmltext.ErrTrailing},
		"deep":           {deep, xmltext.ErrDepth},
		"too large":      {"<e>" + strings.Repeat("x", 1<<16) + "</e>", xmltext.ErrTooLarge},
		"cut":            {`<e>`, nil},
		"mismatch":       {`<e></f>`, nil},
		"charset":        {`<?xml version="1.0" encoding="UTF-16"?><e/>`, nil},
		"not UTF-8":      {"<e>\xff</e>", nil},
	} {
		var e element
		err := xmltext.Unmarshal(strings.NewReader(c.doc), 1<<15, &e)
		if err == nil || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%s: error %v, want %v", name, err, c.want)
		}
	}
}

func TestUnmarshalAtTheLimit(t *testing.T) {
	const doc = "<e a='1'>text</e><!-- c -->\n<?pi?>"
	var e element
	if err := xmltext.Unmarshal(strings.NewReader(doc), int64(len(doc)), &e); err != nil || e.Text != "text" {
		t.Errorf("%+v, %v", e, err)
	}
	if err := xmltext.Unmarshal(strings.NewReader(doc), int64(len(doc)-1), &e); !errors.Is(err, xmltext.ErrTooLarge) {
		t.Errorf("one byte over: %v", err)
	}
}

func TestRefill(t *testing.T) {
	d := xmltext.NewDecoder(strings.NewReader("<l>"+strings.Repeat("<e>0123456789</e>", 1000)+"</l>"), 8192)
	for n := 0; ; n++ {
		tok, err := d.Token()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatalf("token %d: %v", n, err)
		}
		if _, ok := tok.(xml.StartElement); ok {
			d.Refill()
		}
	}
}

func BenchmarkAppendText(b *testing.B) {
	s := strings.Repeat("some plain text, with é and & in it; ", 20)
	b.SetBytes(int64(len(s)))
	var dst []byte
	for b.Loop() {
		dst = xmltext.AppendText(dst[:0], s)
	}
}
