package jobs

import (
	"bytes"
	"testing"
	"time"

	"consort/coordinator/watch"
)

func TestLiveLogsForgetIdleStreams(t *testing.T) {
	l := newLiveLogs(watch.New())
	now := time.Unix(1_700_000_000, 0)
	lost := stream{"j1", 1, "stdout"}
	l.add(lost, "meudon", 0, []byte("lost"), now)
	l.add(stream{"j2", 1, "stdout"}, "meudon", 0, []byte("x"), now.Add(idleRing/2))
	if data, _, _ := l.read(lost, 0, 10); string(data) != "lost" {
		t.Errorf("kept %q while it may still be read", data)
	}
	l.add(stream{"j3", 1, "stdout"}, "meudon", 0, []byte("x"), now.Add(idleRing+time.Second))
	if data, _, _ := l.read(lost, 0, 10); data != nil {
		t.Errorf("still keeps %q", data)
	}
	if len(l.rings) != 2 {
		t.Errorf("%d streams are kept, want 2", len(l.rings))
	}
}

func TestLiveLogsAreBounded(t *testing.T) {
	l := newLiveLogs(watch.New())
	k, now := stream{"j1", 1, "stdout"}, time.Unix(1_700_000_000, 0)
	chunk := bytes.Repeat([]byte("0123456789abcdef"), 16<<10)
	for i := range int64(8) {
		if answer := l.add(k, "meudon", i*int64(len(chunk)), chunk, now); answer.Next != (i+1)*int64(len(chunk)) {
			t.Fatalf("chunk %d: next is %d", i, answer.Next)
		}
	}
	data, from, first := l.read(k, 0, 10)
	if want := int64(8*len(chunk) - liveRing); from != want || first != want || string(data) != "0123456789" {
		t.Errorf("from %d, first %d, %q", from, first, data)
	}
}
