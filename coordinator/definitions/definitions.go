// Package definitions publishes job definitions and finds them again: the files go to the content store,
// the version and its digest into the replicated state, where they never change. How a definition is
// written and checked is package definition; who may publish is for the caller to ask.
package definitions

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sort"
	"strings"
	"sync"

	"consort/coordinator/command"
	"consort/coordinator/content"
	"consort/coordinator/state"
	"consort/shared/definition"
)

var (
	// ErrNotFound is returned when no published definition has the name, or the version.
	ErrNotFound = errors.New("no such definition")
	// ErrRefused is returned when a definition can't be published; the message says why.
	ErrRefused = errors.New("the definition is refused")
)

// Log is the replicated log.
type Log interface {
	Propose(ctx context.Context, c *command.Command) (*command.Result, error)
}

// State is the store to read from.
type State interface {
	View(func(*state.View) error) error
	Published() uint64
}

// Files is the content store.
type Files interface {
	Put(ctx context.Context, r io.Reader, limit int64) (content.Blob, error)
	Open(sha256 string) (*os.File, error)
}

// Entry is a published version of a definition.
type Entry struct {
	Record     *state.Definition
	Definition *definition.Definition
}

// Service publishes and finds definitions. Parsed definitions are kept in memory, by digest.
type Service struct {
	log   Log
	state State
	files Files

	mu       sync.Mutex
	parsed   map[string]*definition.Definition
	found    map[string]*Entry // by what Get was asked for, as long as the state's Published is as of
	of       uint64
	problems []string
}

// New returns a Service.
func New(log Log, st State, files Files) *Service {
	return &Service{log: log, state: st, files: files, parsed: map[string]*definition.Definition{}}
}

// Publish stores a definition's files and makes its version known. Publishing the same bytes again changes
// nothing. It fails with ErrRefused when the version exists with other bytes, or the name is taken.
func (s *Service) Publish(ctx context.Context, bundle *definition.Bundle) error {
	d := bundle.Definition
	body := &command.PublishDefinition{
		Name: d.Name, Version: d.Version, Digest: bundle.Digest, Aliases: d.Aliases, Title: d.Title,
		Defaults: defaults(d),
	}
	for _, f := range bundle.Files {
		if _, err := s.files.Put(ctx, bytes.NewReader(f.Data), f.Size); err != nil {
			return fmt.Errorf("store %s of %s: %w", f.Path, d.Name, err)
		}
		body.Files = append(body.Files, &command.BundleFile{Path: f.Path, Sha256: f.SHA256, Size: f.Size})
	}
	result, err := s.log.Propose(ctx, &command.Command{Body: &command.Command_PublishDefinition{PublishDefinition: body}})
	if err != nil {
		return err
	}
	if result.Code != command.Result_OK {
		return fmt.Errorf("%w: %s %s: %s", ErrRefused, d.Name, d.Version, result.Message)
	}
	return nil
}

// maxDefaults bounds the bytes of default values in a command. Jobs of a definition with more are not found by
// the values that they had by default.
const maxDefaults = 16 << 10

// defaults are the values that jobs have when they give none, in the form in which jobs give them.
func defaults(d *definition.Definition) []*command.Parameter {
	values, _ := d.Check(nil, false)
	var all []*command.Parameter
	size := 0
	for v := range values.All() {
		if !v.Default || v.Secret {
			continue
		}
		size += len(v.Name)
		for _, text := range v.Values {
			size += len(text)
		}
		all = append(all, &command.Parameter{Name: v.Name, Values: v.Values})
	}
	if size > maxDefaults {
		return nil
	}
	return all
}

// Problems tells what was wrong with definitions that the last PublishAll left out: one line each, with file, line
// and key.
func (s *Service) Problems() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.problems...)
}

// Get finds a definition by "name", which gives the newest version, or "name@version". Aliases count as
// names.
func (s *Service) Get(ref string) (*Entry, error) {
	published := s.state.Published()
	if e := s.known(ref, published); e != nil {
		return e, nil
	}
	e, err := s.find(ref)
	if err == nil {
		s.keep(ref, e, published)
	}
	return e, err
}

// known returns what was found before, if no definition was published since.
func (s *Service) known(ref string, published uint64) *Entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.of != published {
		return nil
	}
	return s.found[ref]
}

func (s *Service) keep(ref string, e *Entry, published uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.of != published || s.found == nil {
		s.found, s.of = map[string]*Entry{}, published
	}
	s.found[ref] = e
}

func (s *Service) find(ref string) (*Entry, error) {
	name, version, _ := strings.Cut(ref, "@")
	var record *state.Definition
	err := s.state.View(func(v *state.View) (err error) {
		record, err = v.Definition(name, version)
		return err
	})
	if errors.Is(err, state.ErrNotFound) {
		return nil, fmt.Errorf("%w: %q", ErrNotFound, ref)
	}
	if err != nil {
		return nil, err
	}
	return s.entry(record)
}

// Of returns the definition that a job was made of, whose digest the job tells. It is what Get finds by name and
// version, mostly without looking into the state.
func (s *Service) Of(name, version, digest string) (*definition.Definition, error) {
	s.mu.Lock()
	d := s.parsed[digest]
	s.mu.Unlock()
	if d != nil {
		return d, nil
	}
	entry, err := s.Get(name + "@" + version)
	if err != nil {
		return nil, err
	}
	return entry.Definition, nil
}

// List returns the newest version of every definition, by name.
func (s *Service) List() ([]*Entry, error) {
	var records []*state.Definition
	err := s.state.View(func(v *state.View) (err error) {
		records, err = v.Definitions()
		return err
	})
	if err != nil {
		return nil, err
	}
	sort.Slice(records, func(i, j int) bool { return records[i].Name < records[j].Name })
	entries := make([]*Entry, 0, len(records))
	for _, r := range records {
		e, err := s.entry(r)
		if err != nil {
			return nil, err
		}
		entries = append(entries, e)
	}
	return entries, nil
}

// Source returns definition.toml as it was published.
func (s *Service) Source(record *state.Definition) ([]byte, error) {
	for _, f := range record.Files {
		if f.Path != definition.MainFile {
			continue
		}
		file, err := s.files.Open(f.Sha256)
		if err != nil {
			return nil, fmt.Errorf("read %s of %s: %w", f.Path, record.Name, err)
		}
		defer file.Close()
		return io.ReadAll(io.LimitReader(file, definition.MaxFileSize))
	}
	return nil, fmt.Errorf("%s %s holds no %s", record.Name, record.Version, definition.MainFile)
}

func (s *Service) entry(record *state.Definition) (*Entry, error) {
	s.mu.Lock()
	d := s.parsed[record.Digest]
	s.mu.Unlock()
	if d != nil {
		return &Entry{Record: record, Definition: d}, nil
	}
	source, err := s.Source(record)
	if err != nil {
		return nil, err
	}
	d, err = definition.Parse(record.Name+"/"+definition.MainFile, source)
	if err != nil {
		return nil, fmt.Errorf("parse published definition: %w", err)
	}
	s.mu.Lock()
	s.parsed[record.Digest] = d
	s.mu.Unlock()
	return &Entry{Record: record, Definition: d}, nil
}
