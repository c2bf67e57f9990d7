package local

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"consort/agent/batch"
)

// tick is the unit of time in /proc/PID/stat: USER_HZ is 100 on every Linux that Go runs on.
const tick = time.Second / 100

// stat is what is needed of /proc/PID/stat.
type stat struct {
	pid, parent, group, session int
	zombie                      bool
	ticks                       uint64 // start since the boot
}

var errStat = errors.New("not a line of /proc/PID/stat")

func readStat(pid int) (stat, error) {
	data, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return stat{}, err
	}
	return parseStat(data)
}

// parseStat reads the line from its right end: the name, in brackets, may hold anything.
func parseStat(data []byte) (st stat, err error) {
	open, end := bytes.IndexByte(data, '('), bytes.LastIndexByte(data, ')')
	if open < 1 || end < open {
		return st, errStat
	}
	fields := strings.Fields(string(data[end+1:])) // from field 3, the state
	if len(fields) < 20 {
		return st, errStat
	}
	st.zombie = fields[0] == "Z" || fields[0] == "X"
	for _, f := range []struct {
		text string
		into *int
	}{{strings.TrimSpace(string(data[:open])), &st.pid}, {fields[1], &st.parent}, {fields[2], &st.group}, {fields[3], &st.session}} {
		if *f.into, err = strconv.Atoi(f.text); err != nil {
			return stat{}, errStat
		}
	}
	if st.ticks, err = strconv.ParseUint(fields[19], 10, 64); err != nil { // field 22
		return stat{}, errStat
	}
	return st, nil
}

// processes returns every process of the machine that has not ended.
func processes() []stat {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(-1) // what could be read counts
	var all []stat
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		if st, err := readStat(pid); err == nil && !st.zombie {
			all = append(all, st)
		}
	}
	return all
}

// attempt is the mark that the wrapper leaves in the environment of all its processes.
type attempt struct{ job, epoch string }

func attemptOf(spec batch.Spec) attempt {
	return attempt{spec.Job, strconv.FormatUint(spec.Epoch, 10)}
}

func markers(spec batch.Spec) []string {
	a := attemptOf(spec)
	return []string{batch.JobVariable + "=" + a.job, batch.EpochVariable + "=" + a.epoch}
}

// attemptIn reads the mark of a process; ok is false when it has none, or is another user's.
func attemptIn(pid int) (a attempt, ok bool) {
	data, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "environ"))
	if err != nil {
		return a, false
	}
	for v := range bytes.SplitSeq(data, []byte{0}) {
		if s, found := bytes.CutPrefix(v, []byte(batch.JobVariable+"=")); found {
			a.job = string(s)
		}
		if s, found := bytes.CutPrefix(v, []byte(batch.EpochVariable+"=")); found {
			a.epoch = string(s)
		}
	}
	return a, a.job != "" && a.epoch != ""
}

// ourselves are this process and its ancestors, which are never killed: the agent may itself run in a job.
func ourselves(all []stat) map[int]bool {
	parent := map[int]int{}
	for _, st := range all {
		parent[st.pid] = st.parent
	}
	own := map[int]bool{0: true, 1: true}
	for pid := os.Getpid(); !own[pid]; pid = parent[pid] {
		own[pid] = true
	}
	return own
}

// tree returns the processes of an attempt: those of its session and group, their descendants, and any that
// carries its mark. leader is the wrapper's pid while that is known to be alive, else 0: only then do
// session and group numbers mean what they meant.
func tree(a attempt, leader int) []stat {
	all := processes()
	own := ourselves(all)
	member := map[int]bool{}
	for _, st := range all {
		if own[st.pid] {
			continue
		}
		if leader != 0 && (st.pid == leader || st.session == leader || st.group == leader) {
			member[st.pid] = true
		} else if mark, ok := attemptIn(st.pid); ok && mark == a {
			member[st.pid] = true
		}
	}
	for grown := true; grown; {
		grown = false
		for _, st := range all {
			if member[st.parent] && !member[st.pid] && !own[st.pid] {
				member[st.pid], grown = true, true
			}
		}
	}
	var found []stat
	for _, st := range all {
		if member[st.pid] {
			found = append(found, st)
		}
	}
	return found
}

// signal sends a signal to a process that was seen, unless its number has passed to another.
func (st stat) signal(sig syscall.Signal) {
	if now, err := readStat(st.pid); err == nil && now.ticks == st.ticks {
		_ = syscall.Kill(st.pid, sig) // it may have ended meanwhile
	}
}

func bootID() (string, error) {
	data, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("read the machine's boot id: %w", err)
	}
	return strings.TrimSpace(string(data)), nil
}

func sinceBoot() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return 0 // there since Linux 2.6.39
	}
	return time.Duration(ts.Nano())
}
