package xmltext

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
)

var (
	// ErrTooLarge: the document, or one part of a streamed document, is over the reader's limit.
	ErrTooLarge = errors.New("XML over the size limit")

	// ErrDoctype: the document has a DOCTYPE or another declaration. None of our documents needs one,
	// and they are the root of most attacks by XML.
	ErrDoctype = errors.New("XML with a DOCTYPE is not accepted")

	// ErrDepth: elements are nested deeper than MaxDepth.
	ErrDepth = errors.New("XML nested too deeply")

	// ErrTrailing: something follows the root element.
	ErrTrailing = errors.New("content after the root element")
)

// MaxDepth is how deep elements may nest. Our documents need less than ten levels; encoding/xml skips
// unknown elements with no limit of its own.
const MaxDepth = 100

// Decoder is an xml.Decoder for documents of strangers: it refuses declarations and deep nesting and
// stops at a size limit. External and custom entities are errors already in encoding/xml.
type Decoder struct {
	*xml.Decoder
	in *budget
}

// NewDecoder returns a Decoder that reads at most limit bytes of r, or more after Refill.
func NewDecoder(r io.Reader, limit int64) *Decoder {
	in := &budget{r: r, limit: limit, left: limit}
	return &Decoder{Decoder: xml.NewTokenDecoder(&guard{raw: xml.NewDecoder(in)}), in: in}
}

// Refill grants the full limit again. A streaming reader calls it at each row, so that the limit
// bounds its memory but not the document.
func (d *Decoder) Refill() { d.in.left = d.in.limit }

// End reads to the end of the input and returns ErrTrailing if anything but white space, comments and
// processing instructions is left.
func (d *Decoder) End() error {
	for {
		t, err := d.Token()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		switch t := t.(type) {
		case xml.StartElement:
			return fmt.Errorf("%w: <%s>", ErrTrailing, t.Name.Local)
		case xml.CharData:
			if len(bytes.TrimSpace(t)) > 0 {
				return ErrTrailing
			}
		}
	}
}

// Unmarshal decodes the one document in r, of at most limit bytes, into v.
func Unmarshal(r io.Reader, limit int64, v any) error {
	d := NewDecoder(r, limit)
	if err := d.Decode(v); err != nil {
		return err
	}
	return d.End()
}

// guard passes raw tokens on to the outer decoder, which matches tags and resolves namespaces.
type guard struct {
	raw   *xml.Decoder
	depth int
}

// Token implements xml.TokenReader.
func (g *guard) Token() (xml.Token, error) {
	t, err := g.raw.RawToken()
	switch t.(type) {
	case xml.Directive:
		return nil, ErrDoctype
	case xml.StartElement:
		if g.depth++; g.depth > MaxDepth {
			return nil, ErrDepth
		}
	case xml.EndElement:
		g.depth--
	}
	return t, err
}

// budget is a reader that fails, rather than ends, when its allowance is spent.
type budget struct {
	r     io.Reader
	limit int64
	left  int64
}

// Read implements io.Reader.
func (b *budget) Read(p []byte) (int, error) {
	if b.left <= 0 {
		// A document of exactly the limit is fine: only a byte more is not.
		var one [1]byte
		n, err := b.r.Read(one[:])
		if n > 0 {
			return 0, ErrTooLarge
		}
		return 0, err
	}
	if int64(len(p)) > b.left {
		p = p[:b.left]
	}
	n, err := b.r.Read(p)
	b.left -= int64(n)
	return n, err
}
