package picture

import (
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	"golang.org/x/image/font"
	"golang.org/x/image/font/gofont/gobold"
	"golang.org/x/image/font/gofont/goregular"
	"golang.org/x/image/font/sfnt"
	"golang.org/x/image/math/fixed"
)

// Sizes of text in pixels.
const (
	sizeTitle = 17.0
	sizeLabel = 12.0
	sizeSmall = 10.0
	sizeEdge  = 9.5
)

// fonts parses the fonts of the Go project once. They are compiled in, so they parse.
var fonts = sync.OnceValue(func() [2]*sfnt.Font {
	var both [2]*sfnt.Font
	for i, data := range [][]byte{goregular.TTF, gobold.TTF} {
		f, err := sfnt.Parse(data)
		if err != nil {
			panic("the compiled-in font does not parse: " + err.Error())
		}
		both[i] = f
	}
	return both
})

func typeface(bold bool) *sfnt.Font {
	if bold {
		return fonts()[1]
	}
	return fonts()[0]
}

// emUnits is the size at which advances are measured.
const emUnits = 1000

// advances caches the advance of the commonest characters in ems, regular and bold.
var advances = sync.OnceValue(func() *[2][0x250]float64 {
	table := new([2][0x250]float64)
	for i := range table {
		for r := range table[i] {
			table[i][r] = measureRune(rune(r), i == 1)
		}
	}
	return table
})

func measureRune(r rune, bold bool) float64 {
	var buf sfnt.Buffer
	f := typeface(bold)
	index, err := f.GlyphIndex(&buf, r)
	if err == nil && index != 0 {
		if a, err := f.GlyphAdvance(&buf, index, fixed.I(emUnits), font.HintingNone); err == nil {
			return float64(a) / 64 / emUnits
		}
	}
	switch {
	case extends(r):
		return 0
	case r >= 0x1100: // ideographs, Hangul, emoji: as wide as they are high
		return 1
	}
	return 0.65
}

// fontSlack is how much wider than Go Regular the sans-serif font of a browser may be.
const fontSlack = 1.1

// textWidth is the width of a text in pixels.
func textWidth(s string, size float64, bold bool) float64 {
	table := &advances()[0]
	if bold {
		table = &advances()[1]
	}
	w := 0.0
	for _, r := range s {
		if int(r) < len(table) {
			w += table[r]
		} else {
			w += measureRune(r, bold)
		}
	}
	return w * size * fontSlack
}

const ellipsis = "…"

// fit cuts a text at the boundary of a grapheme so that it is not wider than max, with an ellipsis.
func fit(s string, max, size float64, bold bool) string {
	if textWidth(s, size, bold) <= max {
		return s
	}
	max -= textWidth(ellipsis, size, bold)
	end, w := 0, 0.0
	for end < len(s) {
		n := grapheme(s[end:])
		w += textWidth(s[end:end+n], size, bold)
		if w > max {
			break
		}
		end += n
	}
	return strings.TrimRight(s[:end], " ") + ellipsis
}

// fitMiddle cuts a name in the middle, since names of one job differ at their ends.
func fitMiddle(s string, max, size float64, bold bool) string {
	if textWidth(s, size, bold) <= max || len(s) != utf8.RuneCountInString(s) {
		return fit(s, max, size, bold)
	}
	for cut := 1; cut < len(s); cut++ {
		head := (len(s) - cut) / 2
		if short := s[:head] + ellipsis + s[head+cut:]; textWidth(short, size, bold) <= max {
			return short
		}
	}
	return ellipsis
}

// grapheme gives the length of the first user-perceived character of s: the common rules of extended grapheme
// clusters (Unicode Standard Annex 29, section 3.1.1), which keep marks, joined emoji, flags and Hangul
// syllables together.
func grapheme(s string) int {
	prev, end := utf8.DecodeRuneInString(s)
	flags := isFlag(prev)
	for end < len(s) {
		r, n := utf8.DecodeRuneInString(s[end:])
		switch {
		case extends(r), prev == zeroWidthJoiner:
			flags = false
		case flags && isFlag(r):
			flags = false
		case joinsHangul(prev, r):
		default:
			return end
		}
		prev = r
		end += n
	}
	return end
}

const zeroWidthJoiner = '\u200d'

// extends tells whether r belongs to the character before it.
func extends(r rune) bool {
	return unicode.In(r, unicode.Mn, unicode.Me, unicode.Mc) || r == zeroWidthJoiner || r == '\u200c' ||
		r >= 0x1F3FB && r <= 0x1F3FF || r >= 0xE0020 && r <= 0xE007F
}

// isFlag tells whether r is a regional indicator, of which two make a flag.
func isFlag(r rune) bool { return r >= 0x1F1E6 && r <= 0x1F1FF }

// joinsHangul tells whether two conjoining jamo or syllables make one syllable.
func joinsHangul(a, b rune) bool {
	leading := func(r rune) bool { return r >= 0x1100 && r <= 0x115F }
	vowel := func(r rune) bool { return r >= 0x1160 && r <= 0x11A7 }
	trailing := func(r rune) bool { return r >= 0x11A8 && r <= 0x11FF }
	syllable := func(r rune) bool { return r >= 0xAC00 && r <= 0xD7A3 }
	switch {
	case leading(b):
		return leading(a)
	case vowel(b):
		return leading(a) || vowel(a) || syllable(a) && (a-0xAC00)%28 == 0
	case trailing(b):
		return vowel(a) || trailing(a) || syllable(a)
	case syllable(b):
		return leading(a)
	}
	return false
}

// clip takes at most about max bytes of a text, at a character's boundary. Attributes may be megabytes long.
func clip(s string, max int) string {
	if len(s) <= max {
		return s
	}
	for max > 0 && !utf8.RuneStart(s[max]) {
		max--
	}
	return s[:max] + ellipsis
}

// plain makes a text of the graph harmless on one line: control characters and line ends become spaces, those
// that XML forbids or that reorder their surroundings become U+FFFD.
func plain(s string) string {
	return strings.TrimSpace(strings.Map(plainRune, s))
}

func plainRune(r rune) rune {
	switch {
	case r == '\t' || r == '\n' || r == '\r' || r == '\u0085' || r == '\u2028' || r == '\u2029':
		return ' '
	case unicode.IsControl(r), r == '\ufffe' || r == '\uffff', reorders(r):
		return utf8.RuneError
	case r == '\ufeff' || r == '\u200b':
		return -1
	}
	return r
}

// reorders tells whether r is a control of the bidirectional algorithm (Unicode Standard Annex 9, section 2).
func reorders(r rune) bool { return unicode.Is(unicode.Bidi_Control, r) }
