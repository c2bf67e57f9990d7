package replica

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
)

// slowStore is a log on a disk that can be held and broken.
type slowStore struct {
	*raft.InmemStore
	hold chan struct{} // nil: no waiting
	err  error
}

func (s *slowStore) StoreLogs(logs []*raft.Log) error {
	if s.hold != nil {
		<-s.hold
	}
	if s.err != nil {
		return s.err
	}
	return s.InmemStore.StoreLogs(logs)
}

func TestLogStore(t *testing.T) {
	for _, tt := range []struct {
		name string
		disk func(*slowStore)
		says string
	}{
		{"good disk", func(*slowStore) {}, ""},
		{"broken disk", func(s *slowStore) { s.err = errors.New("input/output error") }, "input/output error"},
		{"hanging disk", func(s *slowStore) { s.hold = make(chan struct{}) }, "within 10s"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				disk := &slowStore{InmemStore: raft.NewInmemStore()}
				tt.disk(disk)
				var stored int64
				var failure error
				l := newLogStore(disk, 10*time.Second, func(n int64, _ time.Duration) { stored += n }, func(err error) { failure = err })
				entry := &raft.Log{Index: 1, Data: make([]byte, 52)}
				for range 2 { // after a failure the disk may look well again; it is not trusted
					err := l.StoreLog(entry)
					if (err == nil) != (tt.says == "") || err != nil && !strings.Contains(err.Error(), tt.says) {
						t.Errorf("StoreLog: %v, want %q", err, tt.says)
					}
					if !errors.Is(failure, err) {
						t.Errorf("the node was told %v", failure)
					}
					disk.err = nil
				}
				if tt.says == "" && stored != 200 || tt.says != "" && stored != 0 {
					t.Errorf("%d bytes stored", stored)
				}
				if err := l.DeleteRange(1, 1); (err == nil) != (tt.says == "") {
					t.Errorf("DeleteRange: %v", err)
				}
				l.close()
				if disk.hold != nil {
					close(disk.hold)
				}
			})
		})
	}
}
