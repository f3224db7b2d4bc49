package main

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime/pprof"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// cpuTime returns the CPU time, user and system, that a process has used so
// far; 0 means this process.
func cpuTime(pid int) (time.Duration, error) {
	if pid != 0 {
		return otherCPUTime(pid)
	}
	var usage unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &usage); err != nil {
		return 0, fmt.Errorf("getrusage: %w", err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano()), nil
}

// otherCPUTime reads the CPU clock of another process, whose number is made of
// the process id as clock_getcpuclockid(3) does it.
func otherCPUTime(pid int) (time.Duration, error) {
	const sched = 2 // CPUCLOCK_SCHED
	var now unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|sched), &now); err != nil {
		return 0, fmt.Errorf("cpu clock of %d: %w", pid, err)
	}
	return time.Duration(now.Nano()), nil
}

// machineCPUTime returns the CPU time that everything on the machine has used,
// and what the hypervisor gave to others meanwhile.
func machineCPUTime() (time.Duration, error) {
	data, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, err
	}
	var user, nice, system, idle, iowait, irq, softirq, steal int64
	if _, err := fmt.Sscanf(string(data), "cpu %d %d %d %d %d %d %d %d",
		&user, &nice, &system, &idle, &iowait, &irq, &softirq, &steal); err != nil {
		return 0, fmt.Errorf("/proc/stat: %w", err)
	}
	const tick = time.Second / 100 // USER_HZ
	return time.Duration(user+nice+system+irq+softirq+steal) * tick, nil
}

// startProfile profiles this process into a file of dir named for the row, the
// part of it and the round, until stop is called. An empty dir profiles nothing.
func startProfile(dir string, r row, part string, round int) (stop func(), err error) {
	if dir == "" {
		return func() {}, nil
	}
	name := strings.Map(func(c rune) rune {
		if strings.ContainsRune(" ,/", c) {
			return '-'
		}
		return c
	}, fmt.Sprintf("%s.pprof", strings.Join(strings.Fields(fmt.Sprint(r.id, " ", r.what, " ", r.sync, " ", part, " ", round+1)), " ")))
	file, err := os.Create(filepath.Join(dir, name))
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(file); err != nil {
		return nil, err
	}
	return func() {
		pprof.StopCPUProfile()
		_ = file.Close() // a profile that is cut off will not parse
	}, nil
}
