package local

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"consort/agent/batch"
)

// pollInterval is how often a process is looked at on kernels without pidfd.
const pollInterval = 100 * time.Millisecond

// shell reads the wrapper.
const shell = "/bin/sh"

// process is the wrapper of a running job.
type process struct {
	pid    int
	ticks  uint64   // its start in clock ticks since the boot: with pid, who it is
	child  bool     // ours, to be reaped; else it was adopted after a restart
	handle *os.File // a pidfd, readable when the process has ended; nil on old kernels
}

// spawn starts a job's wrapper in a session of its own.
func spawn(spec batch.Spec) (*process, error) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("start the wrapper: %w", err)
	}
	defer null.Close()
	pidfd := -1
	fd := null.Fd()
	// By way of the shell: executing the file itself can fail with ETXTBSY while another goroutine forks.
	pid, err := syscall.ForkExec(shell, []string{shell, spec.Wrapper}, &syscall.ProcAttr{
		Dir:   spec.Dir,
		Env:   append(markers(spec), "PATH=/usr/bin:/bin"),
		Files: []uintptr{fd, fd, fd},
		Sys:   &syscall.SysProcAttr{Setsid: true, PidFD: &pidfd},
	})
	if err != nil {
		return nil, fmt.Errorf("start the wrapper: %w", err)
	}
	p := &process{pid: pid, child: true, handle: pidfdFile(pidfd)}
	if st, err := readStat(pid); err == nil { // it is there until we reap it
		p.ticks = st.ticks
	}
	return p, nil
}

// adopt takes over a wrapper that an earlier agent started, or returns nil when it has ended.
func adopt(pid int, ticks uint64) *process {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		fd = -1
	}
	p := &process{pid: pid, ticks: ticks, handle: pidfdFile(fd)}
	if p.over() { // looked at after the pidfd was opened, so it is of the same process
		p.release()
		return nil
	}
	return p
}

func pidfdFile(fd int) *os.File {
	if fd < 0 {
		return nil
	}
	if err := unix.SetNonblock(fd, true); err != nil { // so that waiting takes no thread
		unix.Close(fd)
		return nil
	}
	return os.NewFile(uintptr(fd), "pidfd")
}

// over tells whether the process has ended; a zombie has.
func (p *process) over() bool {
	st, err := readStat(p.pid)
	return err != nil || st.ticks != p.ticks || st.zombie
}

// wait returns when the process has ended, or with an error when the context is done.
func (p *process) wait(ctx context.Context) error {
	if p.handle != nil && p.waitHandle(ctx) == nil {
		return nil
	}
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for !p.over() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
	return nil
}

// waitHandle waits for the pidfd in Go's poller.
func (p *process) waitHandle(ctx context.Context) error {
	conn, err := p.handle.SyscallConn()
	if err != nil {
		return err
	}
	cancel := context.AfterFunc(ctx, func() { _ = p.handle.SetReadDeadline(time.Now()) })
	defer cancel()
	return conn.Read(func(fd uintptr) bool {
		ready := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(ready, 0)
		return err == nil && n == 1
	})
}

// reap collects the process when it is our child, and returns its resources. It must have ended.
func (p *process) reap() (usage *syscall.Rusage, status syscall.WaitStatus) {
	if !p.child {
		return nil, 0
	}
	usage = &syscall.Rusage{}
	for {
		_, err := syscall.Wait4(p.pid, &status, 0, usage)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil {
			return nil, 0
		}
		return usage, status
	}
}

func (p *process) release() {
	if p.handle != nil {
		p.handle.Close()
	}
}

// started is the wall time of the process's start.
func (p *process) started() time.Time { return time.Now().Add(-p.age()).UTC() }

// age is how long ago the process started, by the clock that no administrator changes.
func (p *process) age() time.Duration {
	return max(0, sinceBoot()-time.Duration(p.ticks)*tick)
}
