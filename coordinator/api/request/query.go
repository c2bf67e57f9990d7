package request

import (
	"iter"
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/gofiber/fiber/v2"

	"consort/coordinator/api/fault"
)

// Pair is a name with a value.
type Pair struct{ Name, Value string }

// Pairs are decoded pairs in the order they came.
type Pairs []Pair

// All yields the pairs in order.
func (p Pairs) All() iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		for _, x := range p {
			if !yield(x.Name, x.Value) {
				return
			}
		}
	}
}

// Single returns the value of a parameter that may be given once; the name matches in any case (DALI 1.1,
// section 3.1).
func (p Pairs) Single(name string) (value string, given bool, err error) {
	for _, x := range p {
		if !strings.EqualFold(x.Name, name) {
			continue
		}
		if given {
			return "", false, fault.BadRequest(name + " is given more than once")
		}
		value, given = x.Value, true
	}
	return value, given, nil
}

// Form gives the pairs as those of a form.
func (p Pairs) Form() *Form {
	f := newForm()
	for _, x := range p {
		f.Add(x.Name, x.Value)
	}
	return f
}

// Query returns the decoded pairs of the query.
func Query(c *fiber.Ctx) (Pairs, error) {
	return parsePairs(string(c.Context().URI().QueryString()), 0)
}

// parsePairs reads application/x-www-form-urlencoded text. A value longer than limit is refused; 0: no
// limit. The text must not be a view into a buffer that is used again.
func parsePairs(text string, limit int) (Pairs, error) {
	var pairs Pairs
	for part := range strings.SplitSeq(text, "&") {
		if part == "" {
			continue
		}
		rawName, rawValue, _ := strings.Cut(part, "=")
		name, err := url.QueryUnescape(rawName)
		if err != nil {
			return nil, fault.BadRequest("a parameter's name has a broken percent-escape")
		}
		value, err := url.QueryUnescape(rawValue)
		if err != nil {
			return nil, badValue(name, "has a broken percent-escape")
		}
		if err := checkPair(name, value, limit); err != nil {
			return nil, err
		}
		if name != "" {
			pairs = append(pairs, Pair{name, value})
		}
	}
	return pairs, nil
}

func checkPair(name, value string, limit int) error {
	if !utf8.ValidString(name) {
		return fault.BadRequest("a parameter's name is not UTF-8")
	}
	if !utf8.ValidString(value) {
		return badValue(name, "is not UTF-8")
	}
	if limit > 0 && len(value) > limit {
		return fault.TooLarge("parameter " + shorten(name) + " is too long; give large values as a file")
	}
	return nil
}

func badValue(name, why string) error {
	return fault.BadRequest("the value of parameter " + shorten(name) + " " + why)
}

// shorten makes a stranger's name fit for a message.
func shorten(name string) string {
	r := []rune(strings.ToValidUTF8(name, "\uFFFD"))
	if len(r) > 60 {
		r = append(r[:60], '…')
	}
	return string(r)
}
