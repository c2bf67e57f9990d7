package samedata

import (
	"errors"
	"io"
	"strings"
	"testing"
)

// TestLargeText: a document is never held whole, and one of many small pieces may be as long as it likes.
func TestLargeText(t *testing.T) {
	const most = 256 << 10
	pieces := "<VOTABLE>" + strings.Repeat("<TD>0123456789</TD>", most/8) + "</VOTABLE>"
	large := "<VOTABLE><TD>" + strings.Repeat("x", 2*most) + "</TD></VOTABLE>"
	differ := func(a, b string) (string, error) {
		return differVOTable(newSource(strings.NewReader(a)), newSource(strings.NewReader(b)), most)
	}
	if where, err := differ(pieces, pieces); where != "" || err != nil {
		t.Errorf("%q %v", where, err)
	}
	if _, err := differ(large, large); !errors.Is(err, errMalformed) || !strings.Contains(err.Error(), "too large") {
		t.Errorf("%v", err)
	}
	endless := io.MultiReader(strings.NewReader("<VOTABLE><!--"), zeros{})
	if _, err := differVOTable(newSource(endless), newSource(strings.NewReader(pieces)), most); !errors.Is(err, errToken) {
		t.Errorf("%v", err)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = '0'
	}
	return len(p), nil
}
