// Package rocrate packs the record of a job as an RO-Crate 1.1 of the profile Process Run Crate 0.5: a zip file with
// ro-crate-metadata.json, provenance documents and, if wanted, the job's files.
//
// It knows no store and no HTTP: the caller says where files are downloaded and how they are opened.
package rocrate

import (
	"errors"
	"fmt"
	"io"
	"time"

	"consort/shared/prov"
)

var (
	// ErrIncomplete says that the crate lacks what RO-Crate requires.
	ErrIncomplete = errors.New("not enough for an RO-Crate")
	// ErrContent says that a file is not what the record says. What was written so far is no crate.
	ErrContent = errors.New("content differs from its record")
)

// Crate is what goes into the zip file. Only Record and Authority are required.
type Crate struct {
	Record prov.JobRecord
	// Authority is the permanent IRI of the federation, as in prov.FromRecord.
	Authority string
	// Name and Description are for readers; empty, they are made from the record.
	Name, Description string
	// Published is when the results were; zero: when the job ended, or was created.
	Published time.Time
	// Environment lists the variables that the job was given on purpose; never secrets.
	Environment []Variable
	// URL gives the address of a file for download, or nothing. The path is that of a member, or empty.
	URL func(result, path string) string
	// Open opens a file to be packed. Nil: files stay where they are, and the crate refers to them.
	Open func(result, path string) (io.ReadCloser, error)
	// Documents are packed too, such as the provenance as PROV-JSON.
	Documents []Document
}

// Variable is a variable of the environment.
type Variable struct{ Name, Value string }

// Document is a file made while packing.
type Document struct {
	Name        string // of the file
	MediaType   string
	Description string
	Write       func(io.Writer) error
}

// Write writes the zip file. The same crate gives the same bytes. Files are streamed and compared with size and SHA-256
// of the record; a difference is an ErrContent.
func Write(w io.Writer, c Crate) error {
	p, err := newPlan(&c)
	if err != nil {
		return fmt.Errorf("making an RO-Crate: %w", err)
	}
	if err := p.pack(w); err != nil {
		return fmt.Errorf("making the RO-Crate of job %.40q: %w", c.Record.Job, err)
	}
	return nil
}
