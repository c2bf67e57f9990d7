// Package samedata tells whether two files hold the same data although their bytes may differ: FITS files that
// differ in when they were written, VOTables that differ in how they are spelled. It is what makes "run again, the
// same came out" an answer; it knows nothing of jobs.
//
// What it does not understand, or what is damaged, is the same only when the bytes are.
package samedata

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
)

// Verdict is how alike two files are.
type Verdict uint8

// Verdicts.
const (
	Different Verdict = iota
	Data              // the bytes differ, the data are the same
	Bytes             // the bytes are the same
)

// String is the verdict as people read it.
func (v Verdict) String() string {
	switch v {
	case Bytes:
		return "identical bytes"
	case Data:
		return "identical data"
	}
	return "different"
}

// Result is a verdict with its reason.
type Result struct {
	Verdict Verdict
	// Reason says where the files differ first, or why only their bytes were compared; empty where there is nothing
	// to say.
	Reason string
}

// errMalformed is the error of a file that is not what its beginning promised. The bytes decide then.
var errMalformed = errors.New("not well-formed")

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{errMalformed}, args...)...)
}

// Compare reads two files to their ends, in pieces, and says how alike they are. The error is one of reading.
func Compare(a, b io.Reader) (Result, error) {
	x, y := newSource(a), newSource(b)
	difference, err := differ(x, y)
	switch {
	case x.in.failed != nil:
		return Result{}, x.in.failed
	case y.in.failed != nil:
		return Result{}, y.in.failed
	case err != nil && !errors.Is(err, errMalformed):
		return Result{}, err
	}
	if err := errors.Join(x.drain(), y.drain()); err != nil {
		return Result{}, err
	}
	switch {
	case x.in.size == y.in.size && bytes.Equal(x.in.sum.Sum(nil), y.in.sum.Sum(nil)):
		return Result{Verdict: Bytes}, nil
	case err != nil:
		return Result{Verdict: Different, Reason: err.Error()}, nil
	case difference != "":
		return Result{Verdict: Different, Reason: difference}, nil
	}
	return Result{Verdict: Data}, nil
}

// differ says in what the data differ, nothing when they are the same.
func differ(x, y *source) (string, error) {
	kind := x.kind()
	switch {
	case kind != y.kind():
		return "the files are of different kinds", nil
	case kind == fits:
		return differFITS(x, y)
	case kind == votable:
		return differVOTable(x, y, maxToken)
	}
	return "the bytes differ", nil
}

type kind uint8

const (
	other kind = iota
	fits
	votable
)

// sniffed is how far kind looks into a file: VOTables may begin with a comment.
const sniffed = 4 << 10

// source is a file being read.
type source struct {
	*bufio.Reader
	in *counted
}

func newSource(r io.Reader) *source {
	in := &counted{below: r, sum: sha256.New()}
	return &source{bufio.NewReaderSize(in, 64<<10), in}
}

// counted keeps hash and length of what was read.
type counted struct {
	below  io.Reader
	sum    hash.Hash
	size   int64
	failed error // of the reader below, but for its end
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.below.Read(p)
	c.sum.Write(p[:n])
	c.size += int64(n)
	if err != nil && err != io.EOF {
		c.failed = err
	}
	return n, err
}

func (s *source) kind() kind {
	begin, _ := s.Peek(sniffed) // a short file, or an error that the next read tells again
	switch {
	case bytes.HasPrefix(begin, []byte("SIMPLE  = ")):
		return fits
	case bytes.HasPrefix(bytes.TrimLeft(begin, "\uFEFF \t\r\n"), []byte("<")) && bytes.Contains(begin, []byte("VOTABLE")):
		return votable
	}
	return other
}

// drain reads the rest, so that the hash is that of the whole file.
func (s *source) drain() error {
	_, err := io.Copy(io.Discard, s.Reader)
	return err
}
