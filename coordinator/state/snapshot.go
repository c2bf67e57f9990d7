package state

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/pb"
	"github.com/dgraph-io/ristretto/v2/z"
	"github.com/klauspost/compress/zstd"
)

// The snapshot stream, all numbers big endian:
//
//	"consort\n" u32:format
//	blocks: u32:length raw  u32:length stored  u32:CRC-32C of the stored bytes  stored bytes (zstd)
//	u32:0
//	trailer: u64:applied index  u64:applied term  u64:records  u32:CRC-32C over all blocks' sums  u32:CRC-32C of the trailer before it
//
// A raw block is records: uvarint length, key, uvarint length, value; keys increase over the whole stream.
const (
	snapshotMagic = "consort\n"
	blockTarget   = 256 << 10
	blockMost     = 4 << 20
	trailerSize   = 8 + 8 + 8 + 4 + 4
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Snapshot is the state at one applied index. It must be closed, and soon: what it reads cannot be cleaned
// up meanwhile.
type Snapshot struct {
	handle *handle
	txn    *badger.Txn
	meta   *Meta
	closed bool
}

// Snapshot takes a snapshot, which costs next to nothing before it is written.
func (s *Store) Snapshot() (*Snapshot, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	h, err := s.acquire()
	if err != nil {
		return nil, err
	}
	return &Snapshot{handle: h, txn: h.db.NewTransaction(false), meta: s.meta}, nil
}

// Index is the applied index of the snapshot.
func (s *Snapshot) Index() uint64 { return s.meta.AppliedIndex }

// Close lets go of the state. It may be called twice.
func (s *Snapshot) Close() {
	if s.closed {
		return
	}
	s.closed = true
	s.txn.Discard()
	s.handle.readers.Done()
}

// WriteTo writes the snapshot's stream to w, for Restore.
func (s *Snapshot) WriteTo(w io.Writer) (int64, error) {
	encoder, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest))
	if err != nil {
		return 0, fmt.Errorf("write snapshot: %w", err)
	}
	defer encoder.Close()
	sw := &snapshotWriter{w: w, encoder: encoder}
	sw.write(binary.BigEndian.AppendUint32([]byte(snapshotMagic), Format))
	options := badger.DefaultIteratorOptions
	it := s.txn.NewIterator(options)
	defer it.Close()
	for it.Rewind(); it.Valid() && sw.err == nil; it.Next() {
		item := it.Item()
		if err := item.Value(func(value []byte) error { sw.record(item.Key(), value); return nil }); err != nil {
			return sw.n, fmt.Errorf("read for snapshot: %w", err)
		}
	}
	sw.finish(s.meta)
	if sw.err != nil {
		return sw.n, fmt.Errorf("write snapshot: %w", sw.err)
	}
	return sw.n, nil
}

type snapshotWriter struct {
	w       io.Writer
	encoder *zstd.Encoder
	block   []byte
	stored  []byte
	records uint64
	sum     uint32
	n       int64
	err     error
}

func (s *snapshotWriter) write(data []byte) {
	if s.err != nil {
		return
	}
	n, err := s.w.Write(data)
	s.n += int64(n)
	s.err = err
}

func (s *snapshotWriter) record(k, value []byte) {
	s.block = binary.AppendUvarint(s.block, uint64(len(k)))
	s.block = append(s.block, k...)
	s.block = binary.AppendUvarint(s.block, uint64(len(value)))
	s.block = append(s.block, value...)
	s.records++
	if len(s.block) >= blockTarget {
		s.flush()
	}
}

func (s *snapshotWriter) flush() {
	if len(s.block) == 0 {
		return
	}
	s.stored = s.encoder.EncodeAll(s.block, s.stored[:0])
	sum := crc32.Checksum(s.stored, castagnoli)
	s.sum = chain(s.sum, sum)
	header := binary.BigEndian.AppendUint32(nil, uint32(len(s.block)))
	header = binary.BigEndian.AppendUint32(header, uint32(len(s.stored)))
	s.write(binary.BigEndian.AppendUint32(header, sum))
	s.write(s.stored)
	s.block = s.block[:0]
}

// chain adds a block's sum to those before it, so that a block lost or moved is noticed.
func chain(sums, sum uint32) uint32 {
	return crc32.Update(sums, castagnoli, binary.BigEndian.AppendUint32(nil, sum))
}

func (s *snapshotWriter) finish(meta *Meta) {
	s.flush()
	s.write(make([]byte, 4))
	t := binary.BigEndian.AppendUint64(nil, meta.AppliedIndex)
	t = binary.BigEndian.AppendUint64(t, meta.AppliedTerm)
	t = binary.BigEndian.AppendUint64(t, s.records)
	t = binary.BigEndian.AppendUint32(t, s.sum)
	s.write(binary.BigEndian.AppendUint32(t, crc32.Checksum(t, castagnoli)))
}

// Restore replaces the state by a snapshot. It builds a new database beside the one in use and switches when
// the snapshot proved whole and is on disk; on any error, and after a crash at any moment before, the old state
// is as it was. Queries that began before go on with the old state.
func (s *Store) Restore(r io.Reader) error {
	s.applying.Lock()
	defer s.applying.Unlock()
	if s.halted != nil {
		return s.halted
	}
	name := fmt.Sprintf("db-%d", s.cur.number()+1)
	fresh, err := s.build(name, r)
	if err != nil {
		return errors.Join(fmt.Errorf("restore snapshot: %w", err), os.RemoveAll(filepath.Join(s.cfg.Dir, name)))
	}
	old := s.cur
	loaded, err := load(fresh)
	if err == nil {
		err = writeCurrent(s.cfg.Dir, name)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("restore snapshot: %w", err), fresh.db.Close())
	}
	s.install(fresh, loaded)
	s.retired.Go(func() {
		err := errors.Join(old.retire(), os.RemoveAll(filepath.Join(s.cfg.Dir, old.name)))
		if err != nil {
			s.cfg.Logger.Warn("removing the database before a restore", "name", old.name, "error", err)
		}
	})
	return nil
}

// build makes a database of a snapshot, durable and open.
func (s *Store) build(name string, r io.Reader) (*handle, error) {
	if err := os.RemoveAll(filepath.Join(s.cfg.Dir, name)); err != nil {
		return nil, err
	}
	// Without syncs: closing writes all tables, with a sync of each.
	h, err := openDatabase(s.cfg, name, false)
	if err != nil {
		return nil, err
	}
	trailer, err := fill(h.db, r)
	if err := errors.Join(err, h.db.Close()); err != nil {
		return nil, err
	}
	if err := errors.Join(syncDir(filepath.Join(s.cfg.Dir, name)), syncDir(s.cfg.Dir)); err != nil {
		return nil, err
	}
	if h, err = openDatabase(s.cfg, name, !s.cfg.unsafeNoSync); err != nil {
		return nil, err
	}
	txn := h.db.NewTransaction(false)
	defer txn.Discard()
	meta, err := readMeta(txn)
	if err == nil && (meta.AppliedIndex != trailer.index || meta.AppliedTerm != trailer.term) {
		err = fmt.Errorf("%w: the trailer names entry %d, the records are of %d", ErrCorrupt, trailer.index, meta.AppliedIndex)
	}
	if err != nil {
		return nil, errors.Join(err, h.db.Close())
	}
	return h, nil
}

// fill writes the records of a snapshot, which are sorted, into an empty database.
func fill(db *badger.DB, r io.Reader) (trailer, error) {
	writer := db.NewStreamWriter()
	if err := writer.Prepare(); err != nil {
		return trailer{}, err
	}
	buffer := z.NewBuffer(blockTarget, "snapshot")
	defer func() { buffer.Release() }()
	t, err := readSnapshot(r, func(k, value []byte) error {
		badger.KVToBuffer(&pb.KV{Key: k, Value: value, Version: 1, StreamId: 1}, buffer)
		if buffer.LenNoPadding() < blockMost {
			return nil
		}
		defer buffer.Reset()
		return writer.Write(buffer)
	})
	if err == nil && !buffer.IsEmpty() {
		err = writer.Write(buffer)
	}
	if err != nil {
		writer.Cancel()
		return trailer{}, err
	}
	return t, writer.Flush()
}

type trailer struct {
	index, term, records uint64
	sum                  uint32
}

// readSnapshot reads a stream and calls fn with each record; key and value are its own. Errors are
// ErrCorrupt, ErrNewer, those of r and of fn.
func readSnapshot(r io.Reader, fn func(k, value []byte) error) (trailer, error) {
	in := bufio.NewReaderSize(r, 64<<10)
	header := make([]byte, len(snapshotMagic)+4)
	if err := readFull(in, header); err != nil {
		return trailer{}, err
	}
	if string(header[:len(snapshotMagic)]) != snapshotMagic {
		return trailer{}, fmt.Errorf("%w: this is not a snapshot of consort", ErrCorrupt)
	}
	if format := binary.BigEndian.Uint32(header[len(snapshotMagic):]); format != Format {
		return trailer{}, fmt.Errorf("%w: snapshot of format %d, this version reads %d", ErrNewer, format, Format)
	}
	decoder, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(blockMost))
	if err != nil {
		return trailer{}, err
	}
	defer decoder.Close()
	b := &blockReader{in: in, decoder: decoder, fn: fn}
	for {
		more, err := b.block()
		if err != nil {
			return trailer{}, err
		}
		if !more {
			return b.trailer()
		}
	}
}

// readFull reads data whole; a stream that ends too early is damaged.
func readFull(r io.Reader, data []byte) error {
	_, err := io.ReadFull(r, data)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: the snapshot is cut off", ErrCorrupt)
	}
	return err
}

type blockReader struct {
	in      io.Reader
	decoder *zstd.Decoder
	fn      func(k, value []byte) error
	last    []byte
	records uint64
	sum     uint32
}

// block reads one block; it returns false at the end of the blocks.
func (b *blockReader) block() (bool, error) {
	header := make([]byte, 12)
	if err := readFull(b.in, header[:4]); err != nil {
		return false, err
	}
	raw := binary.BigEndian.Uint32(header)
	if raw == 0 {
		return false, nil
	}
	if err := readFull(b.in, header[4:]); err != nil {
		return false, err
	}
	size, sum := binary.BigEndian.Uint32(header[4:]), binary.BigEndian.Uint32(header[8:])
	if raw > blockMost || size > blockMost {
		return false, fmt.Errorf("%w: a block of %d bytes, stored in %d", ErrCorrupt, raw, size)
	}
	stored := make([]byte, size)
	if err := readFull(b.in, stored); err != nil {
		return false, err
	}
	if crc32.Checksum(stored, castagnoli) != sum {
		return false, fmt.Errorf("%w: the sum of a block differs", ErrCorrupt)
	}
	b.sum = chain(b.sum, sum)
	data, err := b.decoder.DecodeAll(stored, make([]byte, 0, raw))
	if err != nil || len(data) != int(raw) {
		return false, fmt.Errorf("%w: a block cannot be unpacked: %w", ErrCorrupt, errors.Join(err))
	}
	return true, b.recordsOf(data)
}

func (b *blockReader) recordsOf(data []byte) error {
	take := func() ([]byte, bool) {
		n, width := binary.Uvarint(data)
		if width <= 0 || n > uint64(len(data)-width) {
			return nil, false
		}
		part := data[width : width+int(n)]
		data = data[width+int(n):]
		return part, true
	}
	const mostKey = 60_000 // Badger takes up to 65,000 bytes
	for len(data) > 0 {
		k, ok := take()
		if !ok || len(k) == 0 || len(k) > mostKey || bytes.Compare(k, b.last) <= 0 || bytes.HasPrefix(k, []byte("!badger!")) {
			return fmt.Errorf("%w: a key is malformed or out of order", ErrCorrupt)
		}
		value, ok := take()
		if !ok || len(value) > 1<<20-1 {
			return fmt.Errorf("%w: a value is cut off or too long", ErrCorrupt)
		}
		b.last = k
		b.records++
		if err := b.fn(k, value); err != nil {
			return err
		}
	}
	return nil
}

func (b *blockReader) trailer() (trailer, error) {
	data := make([]byte, trailerSize)
	if err := readFull(b.in, data); err != nil {
		return trailer{}, err
	}
	body, sum := data[:trailerSize-4], binary.BigEndian.Uint32(data[trailerSize-4:])
	t := trailer{index: binary.BigEndian.Uint64(data), term: binary.BigEndian.Uint64(data[8:]),
		records: binary.BigEndian.Uint64(data[16:]), sum: binary.BigEndian.Uint32(data[24:])}
	if crc32.Checksum(body, castagnoli) != sum || t.sum != b.sum || t.records != b.records {
		return trailer{}, fmt.Errorf("%w: the snapshot's trailer does not fit its records", ErrCorrupt)
	}
	return t, nil
}

// Hash returns a SHA-256 over all keys and values, but for the Raft configuration: the same on all nodes at
// the same applied index. It reads the whole state and is meant for tests and checks.
func (s *Store) Hash() ([]byte, error) {
	h := sha256.New()
	err := s.View(func(v *View) error {
		return v.each(nil, nil, true, func(item *badger.Item) (bool, error) {
			if item.Key()[0] == tagRaft {
				return true, nil
			}
			return true, item.Value(func(value []byte) error {
				h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(item.Key()))))
				h.Write(item.Key())
				h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(value))))
				h.Write(value)
				return nil
			})
		})
	})
	if err != nil {
		return nil, fmt.Errorf("hash state: %w", err)
	}
	return h.Sum(nil), nil
}
