package state

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io/fs"

	"github.com/dgraph-io/badger/v4/fb"
	"github.com/dgraph-io/badger/v4/pb"
	"github.com/klauspost/compress/snappy"
	"google.golang.org/protobuf/proto"
)

// mostBlock bounds the unpacked size of a block: one of 4 KiB and the largest entry.
const mostBlock = 4 << 20

var (
	errShort = errors.New("it is cut off")
	errSum   = errors.New("a sum differs")
	errIndex = errors.New("its index does not fit its blocks")
)

// verifyTable checks a table file and returns the newest version in it. With big endian numbers it is:
//
//	blocks, packed by snappy: entries  u32:offset of each entry  u32:entries  checksum  u32:its length
//	index: a flatbuffers TableIndex
//	u32:length of the index  checksum  u32:its length
//
// A checksum is a protobuf Checksum of all before it in the block, or of the index. Offsets are little endian.
func verifyTable(path string) (version uint64, err error) {
	err = mapped(path, func(data []byte) error {
		version, err = tableVersion(data)
		if err != nil {
			return damaged(path, "%w", err)
		}
		return nil
	})
	if errors.Is(err, fs.ErrNotExist) {
		return 0, damaged(path, "the table is missing")
	}
	return version, err
}

func tableVersion(data []byte) (uint64, error) {
	rest, sum, err := cutChecksum(data)
	if err != nil {
		return 0, err
	}
	blocks, raw, err := cutSized(rest)
	if err != nil {
		return 0, err
	}
	if crc32.Checksum(raw, castagnoli) != sum {
		return 0, errSum
	}
	if len(raw) < 8 {
		return 0, errShort
	}
	index := fb.GetRootAsTableIndex(raw, 0) // its sum was right: it is as Badger wrote it
	var block fb.BlockOffset
	var end uint64
	var unpacked []byte
	for i := range index.OffsetsLength() {
		if !index.Offsets(&block, i) || uint64(block.Offset()) != end || end+uint64(block.Len()) > uint64(len(blocks)) {
			return 0, errIndex
		}
		start := end
		end += uint64(block.Len())
		if unpacked, err = verifyBlock(blocks[start:end], unpacked); err != nil {
			return 0, err
		}
	}
	if end == 0 || end != uint64(len(blocks)) {
		return 0, errIndex
	}
	return index.MaxVersion(), nil
}

// verifyBlock checks a packed block. It unpacks it into buffer, which it returns for the next one.
func verifyBlock(packed, buffer []byte) ([]byte, error) {
	if n, err := snappy.DecodedLen(packed); err != nil || n > mostBlock {
		return nil, errors.New("a block cannot be unpacked")
	}
	block, err := snappy.Decode(buffer[:cap(buffer)], packed)
	if err != nil {
		return nil, errors.New("a block cannot be unpacked")
	}
	body, sum, err := cutChecksum(block)
	if err != nil {
		return nil, err
	}
	if crc32.Checksum(body, castagnoli) != sum {
		return nil, errSum
	}
	return block, nil
}

// cutChecksum takes the checksum from the end of data.
func cutChecksum(data []byte) (rest []byte, sum uint32, err error) {
	rest, raw, err := cutSized(data)
	if err != nil {
		return nil, 0, err
	}
	var checksum pb.Checksum
	if err := proto.Unmarshal(raw, &checksum); err != nil {
		return nil, 0, errSum
	}
	if checksum.Algo != pb.Checksum_CRC32C || checksum.Sum>>32 != 0 || len(checksum.ProtoReflect().GetUnknown()) != 0 {
		return nil, 0, errSum
	}
	return rest, uint32(checksum.Sum), nil
}

// cutSized takes from the end of data what is followed by its length.
func cutSized(data []byte) (rest, part []byte, err error) {
	if len(data) < 4 {
		return nil, nil, errShort
	}
	data, tail := data[:len(data)-4], data[len(data)-4:]
	n := binary.BigEndian.Uint32(tail)
	if uint64(n) > uint64(len(data)) {
		return nil, nil, errShort
	}
	at := len(data) - int(n)
	return data[:at], data[at:], nil
}
