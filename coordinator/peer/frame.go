package peer

import (
	"encoding/binary"
	"fmt"
	"io"
)

// MaxMessage is the greatest size in bytes of a request or an answer.
const MaxMessage = 16 << 20

// A frame is: length of what follows (uint32), kind (byte), call number (uint64), body. All numbers are
// big-endian. Many calls share a connection; their frames are told apart by the call number.
type frame struct {
	kind frameKind
	call uint64
	body []byte
}

type frameKind byte

const (
	request frameKind = iota + 1 // body: time-out in ms (uint32), length of name (byte), name, request
	answer                       // body: the answer
	failure                      // body: length of code (byte), code, text
	cancel                       // no body: the caller no longer waits
)

const (
	frameHead = 13                // bytes of length, kind and call number
	maxBody   = MaxMessage + 1024 // room for the name and time-out of a request
)

// encode returns the frame as it is sent.
func (f frame) encode() []byte {
	b := make([]byte, frameHead, frameHead+len(f.body))
	binary.BigEndian.PutUint32(b, uint32(frameHead-4+len(f.body)))
	b[4] = byte(f.kind)
	binary.BigEndian.PutUint64(b[5:], f.call)
	return append(b, f.body...)
}

func readFrame(r io.Reader) (frame, error) {
	var head [frameHead]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return frame{}, err
	}
	n := int64(binary.BigEndian.Uint32(head[:])) - (frameHead - 4)
	f := frame{kind: frameKind(head[4]), call: binary.BigEndian.Uint64(head[5:])}
	if n < 0 || n > maxBody || f.kind < request || f.kind > cancel {
		return frame{}, fmt.Errorf("malformed frame: kind %d of %d bytes", f.kind, n)
	}
	// ReadAll grows with what arrives, so a length alone costs no memory.
	body, err := io.ReadAll(io.LimitReader(r, n))
	if err == nil && int64(len(body)) < n {
		err = io.ErrUnexpectedEOF
	}
	f.body = body
	return f, err
}

func encodeRequest(timeoutMS uint32, name string, req []byte) []byte {
	b := make([]byte, 0, 5+len(name)+len(req))
	b = binary.BigEndian.AppendUint32(b, timeoutMS)
	b = append(b, byte(len(name)))
	b = append(b, name...)
	return append(b, req...)
}

func decodeRequest(b []byte) (timeoutMS uint32, name string, req []byte, err error) {
	if len(b) < 5 || len(b) < 5+int(b[4]) {
		return 0, "", nil, fmt.Errorf("malformed request of %d bytes", len(b))
	}
	end := 5 + int(b[4])
	return binary.BigEndian.Uint32(b), string(b[5:end]), b[end:], nil
}

func encodeFailure(e *Error) []byte {
	code := e.Code[:min(len(e.Code), 255)]
	text := e.Text[:min(len(e.Text), 64<<10)]
	return append(append([]byte{byte(len(code))}, code...), text...)
}

func decodeFailure(b []byte) (*Error, error) {
	if len(b) < 1 || len(b) < 1+int(b[0]) {
		return nil, fmt.Errorf("malformed failure of %d bytes", len(b))
	}
	end := 1 + int(b[0])
	return &Error{Code: string(b[1:end]), Text: string(b[end:])}, nil
}
