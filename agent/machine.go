package agent

import "golang.org/x/sys/unix"

// machineMemory is the main memory of this machine in bytes, zero when the kernel does not say.
func machineMemory() int64 {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return 0
	}
	return int64(info.Totalram) * int64(info.Unit)
}
