package command

import (
	"errors"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

func TestEncodeDecode(t *testing.T) {
	want := &Command{Principal: "alice", RequestKey: "k", Body: &Command_RunJob{RunJob: &RunJob{Id: "j1"}}}
	data, err := Encode(want)
	if err != nil {
		t.Fatal(err)
	}
	now := time.UnixMicro(1_700_000_000_123_456)
	got, err := Decode(Stamp(Stamp(data, now.Add(-time.Hour)), now))
	if err != nil {
		t.Fatal(err)
	}
	if got.TimeUs != now.UnixMicro() {
		t.Errorf("time %d, want %d", got.TimeUs, now.UnixMicro())
	}
	got.TimeUs = 0
	if !proto.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestEncodeTooLarge(t *testing.T) {
	c := &Command{Body: &Command_RunJob{RunJob: &RunJob{Id: strings.Repeat("j", MaxSize)}}}
	if _, err := Encode(c); !errors.Is(err, ErrTooLarge) {
		t.Errorf("got %v, want ErrTooLarge", err)
	}
}

func TestDecodeUnknown(t *testing.T) {
	newer := protowire.AppendTag(nil, 9999, protowire.BytesType)
	newer = protowire.AppendBytes(newer, []byte("from the future"))
	for _, data := range [][]byte{nil, newer} {
		if _, err := Decode(data); !errors.Is(err, ErrUnknown) {
			t.Errorf("Decode(%q): got %v, want ErrUnknown", data, err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	data, _ := Encode(&Command{Body: &Command_RunJob{RunJob: &RunJob{Id: "j1"}}})
	f.Add(data)
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := Decode(data)
		if err != nil {
			return
		}
		if _, err := Encode(c); err != nil && !errors.Is(err, ErrTooLarge) {
			t.Errorf("a decoded command cannot be encoded: %v", err)
		}
	})
}
