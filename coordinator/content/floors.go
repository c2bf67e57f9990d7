package content

import (
	"fmt"
	"sync"
	"syscall"
	"time"
)

// Floor is a least amount of free space. A file system is below it when it has less than the fraction
// and less than the bytes free: a tenth of a huge disk is plenty, five gigabytes of a small one too.
type Floor struct {
	Fraction float64 // of the file system's size, 0 to 1
	Bytes    int64
}

// The floors of DESIGN 12.
var (
	defaultSoft = Floor{Fraction: 0.10, Bytes: 5 << 30}
	defaultHard = Floor{Fraction: 0.03, Bytes: 1 << 30}
)

// Floors are the two free-space floors: below Soft nothing new is taken, below Hard nothing is written.
type Floors struct {
	Soft Floor // zero value: 10 % or 5 GiB
	Hard Floor // zero value: 3 % or 1 GiB
	// Statfs tells free and total bytes of the file system of a path; nil asks the system. Answers are
	// kept for a quarter of a second.
	Statfs func(path string) (free, total int64, err error)
}

// statfsEvery bounds how often the system is asked: writes ask at every packet.
const statfsEvery = 250 * time.Millisecond

// space watches the free space of one file system.
type space struct {
	floors Floors
	path   string

	mu    sync.Mutex
	asked time.Time
	have  int64
	of    int64
	err   error
}

func newSpace(f Floors, path string) *space {
	if f.Soft == (Floor{}) {
		f.Soft = defaultSoft
	}
	if f.Hard == (Floor{}) {
		f.Hard = defaultHard
	}
	if f.Statfs == nil {
		f.Statfs = systemStatfs
	}
	return &space{floors: f, path: path}
}

func (s *space) ask() (have, of int64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.asked.IsZero() || time.Since(s.asked) >= statfsEvery {
		s.have, s.of, s.err = s.floors.Statfs(s.path)
		s.asked = time.Now()
	}
	return s.have, s.of, s.err
}

func systemStatfs(path string) (free, total int64, err error) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(path, &st); err != nil {
		return 0, 0, fmt.Errorf("ask for the free space: %w", err)
	}
	return int64(st.Bavail) * int64(st.Bsize), int64(st.Blocks) * int64(st.Bsize), nil
}

func (s *space) free() (int64, float64, error) {
	have, of, err := s.ask()
	if err != nil || of == 0 {
		return 0, 0, err
	}
	return have, float64(have) / float64(of), nil
}

func (s *space) low() (soft, hard bool, err error) {
	have, fraction, err := s.free()
	if err != nil {
		return false, false, err
	}
	below := func(f Floor) bool { return have < f.Bytes && fraction < f.Fraction }
	return below(s.floors.Soft), below(s.floors.Hard), nil
}

func (s *space) checkSoft() error {
	soft, hard, err := s.low()
	return s.refuse(soft || hard, err)
}

func (s *space) checkHard() error {
	_, hard, err := s.low()
	return s.refuse(hard, err)
}

func (s *space) refuse(low bool, err error) error {
	if err != nil || !low {
		return err
	}
	have, fraction, err := s.free()
	if err != nil {
		return err
	}
	return fmt.Errorf("%d bytes (%.1f %%) are free; make room and try again: %w", have, 100*fraction, ErrDiskLow)
}
