package content

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"slices"
)

// maxSpans bounds the memory that a client can make a file cost by writing it in scattered pieces.
const maxSpans = 1024

// errScattered refuses one more separate piece of a file.
var errScattered = errors.New("too many separate pieces: write the file roughly from its start to its end")

// span is the half-open range [from, to) of a file's bytes.
type span struct{ from, to int64 }

// prefix hashes a file from its start while its pieces arrive in any order. It remembers which pieces
// beyond the hashed part have been written, and reads them back when the gap before them closes. It is
// not safe for concurrent use: whoever writes the file holds a lock over the write and the call, so that
// what is hashed is what is on disk.
type prefix struct {
	sum   hash.Hash
	n     int64  // bytes hashed so far, all from the start
	ahead []span // written, not yet hashed; sorted, apart from each other, each ending after n
}

func newPrefix() *prefix { return &prefix{sum: sha256.New()} }

// wrote records that b was just written at off ≥ n. Bytes that continue the hashed part are hashed at once.
func (p *prefix) wrote(b []byte, off int64) error {
	if off == p.n {
		p.sum.Write(b)
		p.n += int64(len(b))
		p.trim()
		return nil
	}
	return p.mark(off, off+int64(len(b)))
}

// mark records [from, to), which lies beyond n, as written.
func (p *prefix) mark(from, to int64) error {
	if from >= to {
		return nil
	}
	// i is the first span that touches the new one, j the first that lies wholly after it.
	i, _ := slices.BinarySearchFunc(p.ahead, from, func(s span, at int64) int { return cmpInt(s.to, at) })
	j := i
	for ; j < len(p.ahead) && p.ahead[j].from <= to; j++ {
		from, to = min(from, p.ahead[j].from), max(to, p.ahead[j].to)
	}
	if i == j && len(p.ahead) >= maxSpans {
		return errScattered
	}
	p.ahead = slices.Replace(p.ahead, i, j, span{from, to})
	return nil
}

func cmpInt(a, b int64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// trim forgets what lies ahead no longer.
func (p *prefix) trim() {
	i := 0
	for i < len(p.ahead) && p.ahead[i].to <= p.n {
		i++
	}
	p.ahead = slices.Delete(p.ahead, 0, i)
	if len(p.ahead) > 0 && p.ahead[0].from < p.n {
		p.ahead[0].from = p.n
	}
}

// contiguous is the end of the bytes written without a gap from the start, hashed or not.
func (p *prefix) contiguous() int64 {
	if len(p.ahead) > 0 && p.ahead[0].from == p.n {
		return p.ahead[0].to
	}
	return p.n
}

// catchUp reads back and hashes at most len(buf) bytes of what is contiguous, and tells whether more is left.
func (p *prefix) catchUp(file io.ReaderAt, buf []byte) (more bool, err error) {
	todo := min(p.contiguous()-p.n, int64(len(buf)))
	if todo <= 0 {
		return false, nil
	}
	if n, err := file.ReadAt(buf[:todo], p.n); int64(n) < todo {
		return false, fmt.Errorf("read back what was written: %w", err)
	}
	p.sum.Write(buf[:todo])
	p.n += todo
	p.trim()
	return p.contiguous() > p.n, nil
}

// hex is the SHA-256 of the first n bytes.
func (p *prefix) hex() string { return hex.EncodeToString(p.sum.Sum(nil)) }
