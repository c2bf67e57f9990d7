package rocrate

import (
	"archive/zip"
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
)

// pack writes the entries: documents, files, and the metadata last, when everything else is known and checked.
func (p *plan) pack(w io.Writer) error {
	z := zip.NewWriter(w)
	for i := range p.documents {
		if err := p.document(z, &p.documents[i], p.Documents[i].Write); err != nil {
			return err
		}
	}
	for _, f := range p.files {
		if err := p.copy(z, f); err != nil {
			return err
		}
	}
	for _, d := range p.folders {
		if err := p.copyFolder(z, d); err != nil {
			return err
		}
	}
	entry, err := p.entry(z, "ro-crate-metadata.json", zip.Deflate)
	if err != nil {
		return err
	}
	out := bufio.NewWriterSize(entry, 1<<16)
	if err := p.metadata(out); err != nil {
		return err
	}
	if err := out.Flush(); err != nil {
		return fmt.Errorf("writing the metadata: %w", err)
	}
	return z.Close()
}

func (p *plan) entry(z *zip.Writer, path string, method uint16) (io.Writer, error) {
	entry, err := z.CreateHeader(&zip.FileHeader{Name: path, Method: method, Modified: p.when})
	if err != nil {
		return nil, fmt.Errorf("beginning %q: %w", path, err)
	}
	return entry, nil
}

// counter counts and hashes what goes through it.
type counter struct {
	out io.Writer
	sum hash.Hash
	n   int64
}

func (c *counter) Write(b []byte) (int, error) {
	n, err := c.out.Write(b)
	c.sum.Write(b[:n])
	c.n += int64(n)
	return n, err
}

func (c *counter) sha256() string { return hex.EncodeToString(c.sum.Sum(nil)) }

func (p *plan) document(z *zip.Writer, f *file, write func(io.Writer) error) error {
	entry, err := p.entry(z, f.path, zip.Deflate)
	if err != nil {
		return err
	}
	c := &counter{out: entry, sum: sha256.New()}
	if err := write(c); err != nil {
		return fmt.Errorf("writing %q: %w", f.path, err)
	}
	f.sha256, f.size = c.sha256(), &c.n
	return nil
}

// copyFolder packs a collection; its folder is there even when it is empty.
func (p *plan) copyFolder(z *zip.Writer, d folder) error {
	if d.path != "" {
		if _, err := p.entry(z, d.path, zip.Store); err != nil {
			return err
		}
	}
	for _, f := range d.files {
		if err := p.copy(z, f); err != nil {
			return err
		}
	}
	return nil
}

// copy packs a file that the plan wants packed, uncompressed: most data is dense already.
func (p *plan) copy(z *zip.Writer, f file) error {
	if f.path == "" {
		return nil
	}
	in, err := p.Open(f.result, f.part)
	if err != nil {
		return fmt.Errorf("opening %q: %w", f.path, err)
	}
	defer in.Close()
	entry, err := p.entry(z, f.path, zip.Store)
	if err != nil {
		return err
	}
	c := &counter{out: entry, sum: sha256.New()}
	if _, err := io.Copy(c, in); err != nil {
		return fmt.Errorf("packing %q: %w", f.path, err)
	}
	if f.size != nil && *f.size != c.n {
		return fmt.Errorf("packing %q: %w: %d bytes instead of %d", f.path, ErrContent, c.n, *f.size)
	}
	if f.sha256 != "" && f.sha256 != c.sha256() {
		return fmt.Errorf("packing %q: %w: the SHA-256 is another", f.path, ErrContent)
	}
	return nil
}
