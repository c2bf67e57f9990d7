package provenance

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
)

// cursorMark is how many bytes of a cursor tell the question that it belongs to.
const cursorMark = 6

// maxCursor is the greatest length of a cursor that is looked at.
const maxCursor = 8 << 10

// question makes a text of what was asked for, but for the page.
func question(parts ...any) string { return fmt.Sprintf("%q", parts) }

func mark(question string) []byte {
	sum := sha256.Sum256([]byte(question))
	return sum[:cursorMark]
}

// encodeCursor makes a cursor of a position in the answer to a question; no position is no cursor.
func encodeCursor(question string, position []byte) string {
	if position == nil {
		return ""
	}
	return base64.RawURLEncoding.EncodeToString(append(mark(question), position...))
}

// decodeCursor finds the position again; nil for the beginning.
func decodeCursor(question, cursor string) ([]byte, error) {
	if cursor == "" {
		return nil, nil
	}
	raw, err := base64.RawURLEncoding.DecodeString(cursor[:min(len(cursor), maxCursor)])
	if err != nil || !bytes.HasPrefix(raw, mark(question)) {
		return nil, badCursor(cursor)
	}
	return raw[cursorMark:], nil
}

// position is where the next page of a walk begins: after skip jobs, as they were at a time.
type position struct {
	skip int
	asOf int64 // microseconds; jobs created later are not of this walk
}

func (p position) cursor(question string) string {
	raw := binary.AppendUvarint(nil, uint64(p.skip))
	return encodeCursor(question, binary.AppendUvarint(raw, uint64(p.asOf)))
}

func walkPosition(question, cursor string) (position, error) {
	raw, err := decodeCursor(question, cursor)
	if err != nil || raw == nil {
		return position{}, err
	}
	skip, n := binary.Uvarint(raw)
	if n <= 0 || skip > maxWalk {
		return position{}, badCursor(cursor)
	}
	asOf, m := binary.Uvarint(raw[n:])
	if m <= 0 || n+m != len(raw) || asOf > 1<<62 {
		return position{}, badCursor(cursor)
	}
	return position{skip: int(skip), asOf: int64(asOf)}, nil
}
