package command

import (
	"crypto/sha256"
	"encoding/binary"
)

// PartHash is the SHA-256 of one part of a manifest. It is taken over the fields themselves, each with its
// length in front, and not over the protobuf encoding, whose bytes may differ between versions of a library.
func PartHash(files []*File) []byte {
	h := sha256.New()
	var number [8]byte
	put := func(n uint64) {
		binary.BigEndian.PutUint64(number[:], n)
		h.Write(number[:])
	}
	text := func(s string) {
		put(uint64(len(s)))
		h.Write([]byte(s))
	}
	put(uint64(len(files)))
	for _, f := range files {
		text(f.GetOutput())
		text(f.GetPath())
		text(f.GetSha256())
		put(uint64(f.GetSize()))
		text(f.GetContentType())
	}
	return h.Sum(nil)
}

// ManifestHash is the hash that Commit carries: SHA-256 over the hashes of the parts, in order.
func ManifestHash(parts [][]byte) []byte {
	h := sha256.New()
	for _, p := range parts {
		h.Write(p)
	}
	return h.Sum(nil)
}
