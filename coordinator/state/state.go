// Package state is the replicated state machine: it applies committed commands to Badger and answers
// queries. Applying is pure: the command and the store decide, nothing else. A batch of commands, the
// applied index and the term are one transaction, so that a node that restarts goes on where it was.
//
// It is not the log, knows no network, no clock and no Raft, and reads no files of jobs: it keeps their
// names, sizes and SHA-256. Keys are in keys.go, records in record.proto, commands in package command.
package state

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"
)

var (
	// ErrNotFound is returned by queries for what is not there, or is deleted.
	ErrNotFound = errors.New("not found")
	// ErrNewer is returned for a store or snapshot written by a newer version of this program.
	ErrNewer = errors.New("written by a newer version of consort: upgrade this node")
	// ErrForeign is returned for a directory that is not empty and holds no store of consort.
	ErrForeign = errors.New("not a consort state directory")
	// ErrCorrupt is returned for a store or snapshot that is damaged.
	ErrCorrupt = errors.New("damaged")
	// ErrLocked is returned when another process uses the store.
	ErrLocked = errors.New("in use by another process")
	// ErrClosed is returned after Close.
	ErrClosed = errors.New("state is closed")
	// ErrCursor is returned for a list cursor that no list gave out.
	ErrCursor = errors.New("malformed list cursor")

	errKeyLength = errors.New("key of another length")
)

// Entry is a committed command of the log.
type Entry struct {
	Index uint64
	Term  uint64
	Data  []byte // an encoded command.Command
}

// EventKind tells what an Event is about.
type EventKind int

// The kinds of events.
const (
	JobEvent EventKind = iota
	SiteEvent
	DefinitionEvent
)

// Event is a hint that something changed. It is given out after the change can be read.
type Event struct {
	Kind       EventKind
	Job        string // JobEvent
	Definition string // JobEvent, DefinitionEvent
	Owner      string // JobEvent
	Site       string // SiteEvent; JobEvent: of the current attempt
	Phase      string // JobEvent
	Version    uint64 // JobEvent
	Index      uint64 // of the log entry
}

// Config says where the state lives and whom to tell of changes.
type Config struct {
	// Dir is the directory of the state. It is made when missing; what else is in it is refused.
	Dir string
	// Logger gets warnings and errors of the store. Required.
	Logger *slog.Logger
	// Publish gets the events of each committed batch, in order, from the goroutine that applies. It must
	// not block nor call ApplyBatch. Nil: nobody listens.
	Publish func([]Event)

	// unsafeNoSync leaves writes to the kernel: for tests that do not cut the power.
	unsafeNoSync bool
}

// Store is the state of one node. Its methods may be called from several goroutines.
type Store struct {
	cfg Config

	// applying serialises everything that changes the store.
	applying sync.Mutex
	halted   error // guarded by applying: why nothing more may be applied

	// mu is held for writing while a batch becomes visible (commit and memory together), and for reading
	// while a query takes its snapshot of both.
	mu     sync.RWMutex
	cur    *handle
	meta   *Meta
	raft   *RaftConfiguration
	memory *memory
	closed bool

	retired sync.WaitGroup // handles replaced by a restore that still have readers

	published atomic.Uint64 // see Published
}

// Open opens the state in cfg.Dir, or makes an empty one. Errors are ErrNewer, ErrForeign, ErrCorrupt,
// ErrLocked or those of the file system.
func Open(cfg Config) (*Store, error) {
	if cfg.Publish == nil {
		cfg.Publish = func([]Event) {}
	}
	s := &Store{cfg: cfg}
	h, err := openCurrent(cfg)
	if err != nil {
		return nil, openError(cfg, err)
	}
	l, err := load(h)
	if err != nil {
		return nil, errors.Join(openError(cfg, err), h.db.Close())
	}
	s.install(h, l)
	return s, nil
}

func openError(cfg Config, err error) error {
	if errors.Is(err, ErrCorrupt) {
		return fmt.Errorf("open state in %s: %w; restore the whole data directory from one backup", cfg.Dir, err)
	}
	return fmt.Errorf("open state in %s: %w", cfg.Dir, err)
}

// loaded is what a store keeps in memory of its database.
type loaded struct {
	meta   *Meta
	raft   *RaftConfiguration
	memory *memory
}

// load reads it.
func load(h *handle) (*loaded, error) {
	txn := h.db.NewTransaction(false)
	defer txn.Discard()
	meta, err := readMeta(txn)
	if err != nil {
		return nil, err
	}
	raft := new(RaftConfiguration)
	if _, err := read(txn, keyRaft(), raft); err != nil {
		return nil, err
	}
	m, err := buildMemory(txn)
	if err != nil {
		return nil, err
	}
	return &loaded{meta, raft, m}, nil
}

// install makes h the database in use.
func (s *Store) install(h *handle, l *loaded) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cur, s.meta, s.raft, s.memory = h, l.meta, l.raft, l.memory
	s.published.Add(1)
}

// Published is a number that changes whenever definitions may have changed. Whoever asks it before a View may keep
// what the View told of definitions until the number is another one.
func (s *Store) Published() uint64 { return s.published.Load() }

// Close waits for the queries and snapshots under way, and closes the store.
func (s *Store) Close() error {
	s.applying.Lock()
	defer s.applying.Unlock()
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	h := s.cur
	s.mu.Unlock()

	s.halted = ErrClosed
	s.retired.Wait()
	if err := h.retire(); err != nil {
		return fmt.Errorf("close state: %w", err)
	}
	return nil
}

// acquire returns the current database, which stays open until release.
func (s *Store) acquire() (*handle, error) {
	if s.closed {
		return nil, ErrClosed
	}
	s.cur.readers.Add(1)
	return s.cur, nil
}

// Applied returns index and term of the last entry applied.
func (s *Store) Applied() (index, term uint64) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.meta.AppliedIndex, s.meta.AppliedTerm
}

// LastTime returns the greatest cluster time applied; the zero time when there is none.
func (s *Store) LastTime() time.Time {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.meta.LastTimeUs == 0 {
		return time.Time{}
	}
	return time.UnixMicro(s.meta.LastTimeUs).UTC()
}

// StoreConfiguration keeps the Raft configuration that the entry at index set. An older one is ignored.
func (s *Store) StoreConfiguration(index uint64, configuration []byte) error {
	s.applying.Lock()
	defer s.applying.Unlock()
	if s.halted != nil {
		return s.halted
	}
	if index <= s.raft.Index {
		return nil
	}
	record := &RaftConfiguration{Index: index, Configuration: configuration}
	txn := s.cur.db.NewTransaction(true)
	defer txn.Discard()
	if err := txn.Set(keyRaft(), encode(record)); err != nil {
		return fmt.Errorf("store raft configuration: %w", err)
	}
	if err := txn.Commit(); err != nil {
		return fmt.Errorf("store raft configuration: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.raft = proto.CloneOf(record)
	return nil
}

// Configuration returns the newest Raft configuration stored and the index of its entry, 0 if none.
func (s *Store) Configuration() (index uint64, configuration []byte) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.raft.Index, append([]byte(nil), s.raft.Configuration...)
}
