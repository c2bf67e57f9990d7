// Package command holds the replicated commands: what may be changed in a cluster, as protobuf messages,
// and their envelope. It says nothing of what a command does; that is package state.
package command

import (
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// MaxSize is the greatest size in bytes of an encoded command (DESIGN section 5.3).
const MaxSize = 64 << 10

// MaxManifestPart is the greatest number of files in one StageManifest.
const MaxManifestPart = 300

var (
	// ErrTooLarge is returned for a command of more than MaxSize bytes.
	ErrTooLarge = errors.New("command is larger than 64 KiB")
	// ErrUnknown is returned for an entry whose body this program does not know: it was written by a newer
	// version. The node must stop, because skipping it would fork the state.
	ErrUnknown = errors.New("unknown command: the log was written by a newer version of consort; upgrade this node")
)

var deterministic = proto.MarshalOptions{Deterministic: true}

// Encode returns the bytes of c. It fails with ErrTooLarge.
func Encode(c *Command) ([]byte, error) {
	data, err := deterministic.Marshal(c)
	if err != nil {
		return nil, fmt.Errorf("encode command: %w", err)
	}
	if len(data) > MaxSize {
		return nil, fmt.Errorf("%w: %d bytes", ErrTooLarge, len(data))
	}
	return data, nil
}

// Decode reads a command. It fails with ErrUnknown when the body is missing or of a kind that this version
// does not know.
func Decode(data []byte) (*Command, error) {
	c := new(Command)
	if err := proto.Unmarshal(data, c); err != nil {
		return nil, fmt.Errorf("decode command: %w", err)
	}
	if c.Body == nil {
		return nil, ErrUnknown
	}
	return c, nil
}

// Stamp returns the encoded command with its time set to now. Only a leader stamps. It appends the field
// anew: of a field given twice, protobuf readers keep the last.
func Stamp(data []byte, now time.Time) []byte {
	stamped := make([]byte, 0, len(data)+11)
	stamped = append(stamped, data...)
	stamped = protowire.AppendTag(stamped, 1, protowire.VarintType)
	return protowire.AppendVarint(stamped, uint64(now.UnixMicro()))
}

// EncodeResult returns the bytes of r, for a node that forwarded the command.
func EncodeResult(r *Result) ([]byte, error) { return deterministic.Marshal(r) }

// DecodeResult reads what EncodeResult wrote.
func DecodeResult(data []byte) (*Result, error) {
	r := new(Result)
	if err := proto.Unmarshal(data, r); err != nil {
		return nil, fmt.Errorf("decode result: %w", err)
	}
	return r, nil
}
