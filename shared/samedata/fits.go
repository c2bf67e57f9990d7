package samedata

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"strconv"
	"strings"
)

// The layout of FITS files (FITS 4.0, section 3.1): blocks of 2880 bytes, headers of cards of 80.
const (
	blockSize = 2880
	cardSize  = 80
	maxCards  = 1 << 20 // of one header; a longer one is no header
)

// header is one header without its END and without the cards that only tell when it was written.
type header struct {
	cards []string
	// ended tells that there is no further header.
	ended bool
}

// differFITS compares header by header and data by data, and says where the first difference is.
func differFITS(x, y *source) (string, error) {
	for hdu := 0; ; hdu++ {
		a, err := readHeader(x, hdu)
		if err != nil {
			return "", err
		}
		b, err := readHeader(y, hdu)
		if err != nil {
			return "", err
		}
		switch {
		case a.ended && b.ended:
			return "", nil
		case a.ended || b.ended:
			return fmt.Sprintf("one file ends before HDU %d", hdu), nil
		}
		if card := differCards(a.cards, b.cards); card != "" {
			return fmt.Sprintf("HDU %d: card %s", hdu, card), nil
		}
		size, err := dataSize(a.cards)
		if err != nil {
			return "", err
		}
		if at, err := differBytes(x, y, size); err != nil || at >= 0 {
			return fmt.Sprintf("HDU %d: data at byte %d", hdu, at), err
		}
		padding := (blockSize - size%blockSize) % blockSize
		for _, s := range []*source{x, y} {
			if _, err := io.CopyN(io.Discard, s, padding); err != nil && err != io.EOF { // some writers leave it out at the end
				return "", err
			}
		}
	}
}

// readHeader reads the blocks of one header. What follows the last HDU is nothing, or special records, which no
// current standard has (FITS 4.0, section 3.5): they count as malformed.
func readHeader(s *source, hdu int) (*header, error) {
	if _, err := s.Peek(1); err == io.EOF && hdu > 0 {
		return &header{ended: true}, nil
	}
	h := &header{}
	block := make([]byte, blockSize)
	for read := 0; read < maxCards; read += blockSize / cardSize {
		if _, err := io.ReadFull(s, block); err != nil {
			return nil, short(err, "the header of HDU %d", hdu)
		}
		for i := 0; i < blockSize; i += cardSize {
			card := string(block[i : i+cardSize])
			if read == 0 && i == 0 && hdu > 0 && !strings.HasPrefix(card, "XTENSION= ") {
				return nil, malformed("what follows HDU %d is no extension", hdu-1)
			}
			if strings.TrimRight(card, " ") == "END" {
				return h, nil
			}
			if card, counts := counting(card); counts {
				h.cards = append(h.cards, card)
			}
		}
	}
	return nil, malformed("the header of HDU %d has no end", hdu)
}

// counting leaves out the cards that change whenever a file is written: DATE and CHECKSUM. The value of DATASUM
// counts, its comment is customarily the time at which it was computed.
func counting(card string) (string, bool) {
	switch keyword := strings.TrimRight(card[:8], " "); {
	case keyword == "DATE" || keyword == "CHECKSUM":
		return "", false
	case keyword == "DATASUM" && card[8:10] == "= ":
		value, _, _ := strings.Cut(card[10:], "/")
		return card[:10] + strings.TrimSpace(value), true
	}
	return card, true
}

// differCards names the first card in which two headers differ, nothing when they are the same.
func differCards(a, b []string) string {
	for i := range max(len(a), len(b)) {
		switch {
		case i >= len(a):
			return name(b[i])
		case i >= len(b) || a[i] != b[i]:
			return name(a[i])
		}
	}
	return ""
}

func name(card string) string {
	if keyword := strings.TrimRight(card[:8], " "); keyword != "" {
		return strconv.Quote(keyword)
	}
	return "without a keyword"
}

// dataSize is the number of bytes of the data that follow a header (FITS 4.0, sections 4.4.1.1 and 7).
func dataSize(cards []string) (int64, error) {
	bitpix, err := integer(cards, "BITPIX", 0)
	if err != nil {
		return 0, err
	}
	axes, err := integer(cards, "NAXIS", -1)
	if err != nil {
		return 0, err
	}
	if axes < 0 || axes > 999 {
		return 0, malformed("NAXIS is missing or out of range")
	}
	if axes == 0 {
		return 0, nil
	}
	groups := value(cards, "GROUPS") == "T"
	elements := uint64(1)
	for i := int64(1); i <= axes; i++ {
		n, err := integer(cards, "NAXIS"+strconv.FormatInt(i, 10), -1)
		if err != nil {
			return 0, err
		}
		if i == 1 && n == 0 && groups {
			continue // random groups
		}
		if elements, err = times(elements, n); err != nil {
			return 0, err
		}
	}
	pcount, err := integer(cards, "PCOUNT", 0)
	if err != nil {
		return 0, err
	}
	gcount, err := integer(cards, "GCOUNT", 1)
	if err != nil || pcount < 0 {
		return 0, errors.Join(err, malformed("PCOUNT or GCOUNT"))
	}
	if elements > 1<<62 {
		return 0, malformed("the data would be too large")
	}
	size, err := times(elements+uint64(pcount), gcount)
	if err != nil {
		return 0, err
	}
	size, err = times(size, max(bitpix, -bitpix)/8)
	if err != nil || size > 1<<62 {
		return 0, errors.Join(err, malformed("the data would be too large"))
	}
	return int64(size), nil
}

func times(a uint64, b int64) (uint64, error) {
	high, low := bits.Mul64(a, uint64(b))
	if b < 0 || high > 0 {
		return 0, malformed("the data would be too large")
	}
	return low, nil
}

// value is the text of a card's value without its comment, for values that are no strings.
func value(cards []string, keyword string) string {
	prefix := fmt.Sprintf("%-8s= ", keyword)
	for _, c := range cards {
		if rest, ok := strings.CutPrefix(c, prefix); ok {
			text, _, _ := strings.Cut(rest, "/")
			return strings.TrimSpace(text)
		}
	}
	return ""
}

func integer(cards []string, keyword string, missing int64) (int64, error) {
	text := value(cards, keyword)
	if text == "" {
		return missing, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n == -1<<63 {
		return 0, malformed("%s is no integer", keyword)
	}
	return n, nil
}

// differBytes compares the next size bytes and gives the place of the first difference, -1 when there is none.
func differBytes(x, y *source, size int64) (int64, error) {
	a, b := make([]byte, 64<<10), make([]byte, 64<<10)
	for at := int64(0); at < size; {
		n := min(size-at, int64(len(a)))
		if _, err := io.ReadFull(x, a[:n]); err != nil {
			return -1, short(err, "the data")
		}
		if _, err := io.ReadFull(y, b[:n]); err != nil {
			return -1, short(err, "the data")
		}
		if !bytes.Equal(a[:n], b[:n]) {
			for i := range n {
				if a[i] != b[i] {
					return at + i, nil
				}
			}
		}
		at += n
	}
	return -1, nil
}

// short tells a file that ends early from one that cannot be read.
func short(err error, what string, args ...any) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return malformed(what+" is cut short", args...)
	}
	return err
}
