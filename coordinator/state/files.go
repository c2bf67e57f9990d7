package state

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
	"google.golang.org/protobuf/proto"
)

// currentFile names the directory, beside it, that holds the database in use. A restore builds a new
// directory and then replaces this file by a rename.
const currentFile = "CURRENT"

var databaseName = regexp.MustCompile(`^db-[1-9][0-9]{0,17}$`)

// handle is an open database with those who read it.
type handle struct {
	db      *badger.DB
	name    string // of its directory: db-<n>
	readers sync.WaitGroup
}

// retire waits for the readers and closes the database. No reader may come any more.
func (h *handle) retire() error {
	h.readers.Wait()
	return h.db.Close()
}

// number is the n of db-<n>.
func (h *handle) number() uint64 {
	n, _ := strconv.ParseUint(strings.TrimPrefix(h.name, "db-"), 10, 64)
	return n
}

// openCurrent opens the database that CURRENT names, or makes the first one.
func openCurrent(cfg Config) (*handle, error) {
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, err
	}
	data, err := os.ReadFile(filepath.Join(cfg.Dir, currentFile))
	if errors.Is(err, os.ErrNotExist) {
		return openFirst(cfg)
	}
	if err != nil {
		return nil, err
	}
	name := strings.TrimSuffix(string(data), "\n")
	if !databaseName.MatchString(name) {
		return nil, fmt.Errorf("%w: file %s does not name a database", ErrCorrupt, currentFile)
	}
	if _, err := os.Stat(filepath.Join(cfg.Dir, name, "MANIFEST")); err != nil {
		return nil, fmt.Errorf("%w: file %s names a database that is not there: %w", ErrCorrupt, currentFile, err)
	}
	h, err := openDatabase(cfg, name, !cfg.unsafeNoSync)
	if err != nil {
		return nil, err
	}
	// Only now is it sure that no other process uses the directory.
	return h, errors.Join(removeOthers(cfg.Dir, name))
}

// openFirst makes the first database of an empty directory. A database without a CURRENT that never applied
// anything is what a crash at this very point leaves behind.
func openFirst(cfg Config) (*handle, error) {
	const name = "db-1"
	entries, err := os.ReadDir(cfg.Dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if e.Name() != name && !strings.HasPrefix(e.Name(), currentFile) {
			return nil, fmt.Errorf("%w: there is %q but no file %s", ErrForeign, e.Name(), currentFile)
		}
	}
	h, err := openDatabase(cfg, name, !cfg.unsafeNoSync)
	if err != nil {
		return nil, err
	}
	if err := initialise(h.db); err != nil {
		return nil, errors.Join(err, h.db.Close())
	}
	if err := writeCurrent(cfg.Dir, name); err != nil {
		return nil, errors.Join(err, h.db.Close())
	}
	return h, nil
}

// initialise writes the first meta record into an empty database.
func initialise(db *badger.DB) error {
	return db.Update(func(txn *badger.Txn) error {
		meta := new(Meta)
		found, err := read(txn, keyMeta(), meta)
		if err != nil {
			return err
		}
		if meta.AppliedIndex != 0 {
			return fmt.Errorf("%w: file %s is missing", ErrCorrupt, currentFile)
		}
		if found {
			return nil
		}
		it := txn.NewIterator(badger.IteratorOptions{})
		defer it.Close()
		if it.Rewind(); it.Valid() {
			return fmt.Errorf("%w: its database has records, but none of consort's", ErrForeign)
		}
		return txn.Set(keyMeta(), encode(&Meta{Format: Format}))
	})
}

func readMeta(txn *badger.Txn) (*Meta, error) {
	meta := new(Meta)
	found, err := read(txn, keyMeta(), meta)
	switch {
	case err != nil:
		return nil, err
	case !found:
		return nil, fmt.Errorf("%w: its database has no meta record", ErrForeign)
	case meta.Format > Format:
		return nil, fmt.Errorf("%w: format %d, this version reads up to %d", ErrNewer, meta.Format, Format)
	case meta.Format == 0:
		return nil, fmt.Errorf("%w: the meta record has no format", ErrCorrupt)
	}
	return meta, nil
}

func openDatabase(cfg Config, name string, sync bool) (*handle, error) {
	path := filepath.Join(cfg.Dir, name)
	if err := verifyDatabase(path, cfg.Logger); err != nil {
		return nil, err
	}
	db, err := badger.Open(badgerOptions(path, cfg.Logger, sync))
	if err == nil {
		return &handle{db: db, name: name}, nil
	}
	if strings.Contains(err.Error(), "Cannot acquire directory lock") {
		return nil, fmt.Errorf("%w: stop the other process first: %w", ErrLocked, err)
	}
	if pathError := (*os.PathError)(nil); errors.As(err, &pathError) {
		return nil, err
	}
	return nil, fmt.Errorf("%w: Badger cannot open %s: %w", ErrCorrupt, name, err)
}

// badgerOptions keep memory small and writes safe: without SyncWrites a power cut may leave a hole in the
// middle of what was written. Values stay below the threshold of 1 MiB, so that the value log, which has
// lost data where the tables did not, holds nothing of ours.
func badgerOptions(dir string, logger *slog.Logger, sync bool) badger.Options {
	return badger.DefaultOptions(dir).
		WithSyncWrites(sync).
		WithDetectConflicts(false). // one writer only
		WithMemTableSize(16 << 20).
		WithNumMemtables(3).
		WithBlockCacheSize(32 << 20).
		WithIndexCacheSize(16 << 20).
		WithNumCompactors(2).
		WithValueLogFileSize(64 << 20).
		WithChecksumVerificationMode(options.OnBlockRead).
		WithMetricsEnabled(false). // they are global
		WithLogger(badgerLogger{logger})
}

// badgerLogger hands Badger's messages to slog. What it tells of its daily work is for debugging only.
type badgerLogger struct{ log *slog.Logger }

func (l badgerLogger) line(format string, args []any) string {
	return strings.TrimSpace(fmt.Sprintf(format, args...))
}

func (l badgerLogger) Errorf(format string, args ...any)   { l.log.Error(l.line(format, args)) }
func (l badgerLogger) Warningf(format string, args ...any) { l.log.Warn(l.line(format, args)) }
func (l badgerLogger) Infof(format string, args ...any)    { l.log.Debug(l.line(format, args)) }
func (l badgerLogger) Debugf(format string, args ...any)   { l.log.Debug(l.line(format, args)) }

// writeCurrent makes name the database in use, atomically and durably.
func writeCurrent(dir, name string) error {
	tmp := filepath.Join(dir, currentFile+".new")
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(name + "\n")
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(tmp, filepath.Join(dir, currentFile)); err != nil {
		return err
	}
	return syncDir(dir)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// removeOthers removes databases that are not in use: those before a restore, and those of restores that
// did not finish.
func removeOthers(dir, keep string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name() != keep && databaseName.MatchString(e.Name()) {
			if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// encode marshals a record so that its bytes are the same on every node. It cannot fail: the strings of a
// record come from decoded messages, which hold valid UTF-8 only.
func encode(m proto.Message) []byte {
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		panic(fmt.Sprintf("state: cannot encode a record: %v", err))
	}
	return data
}

// read decodes the record at k into m and tells whether there is one.
func read(txn *badger.Txn, k key, m proto.Message) (bool, error) {
	item, err := txn.Get(k)
	if errors.Is(err, badger.ErrKeyNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read %q: %w", []byte(k), err)
	}
	if err := item.Value(func(data []byte) error { return proto.Unmarshal(data, m) }); err != nil {
		return false, fmt.Errorf("%w: record %q: %w", ErrCorrupt, []byte(k), err)
	}
	return true, nil
}
