package main

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"golang.org/x/sys/unix"
)

// machine is what the figures were measured on, and with.
type machine struct {
	cores, procs  int
	cpu, kernel   string
	goVersion     string
	serverVersion string
	date          string
	size          int           // of a message
	fsync         time.Duration // median of a small append and fsync
	rounds        int
}

// describeMachine looks at the machine.
func describeMachine(cfg settings) machine {
	return machine{
		cores: runtime.NumCPU(), procs: cfg.procs, cpu: cpuModel(), kernel: kernel(),
		goVersion: runtime.Version(), serverVersion: server.VERSION,
		date: time.Now().UTC().Format(time.DateOnly), size: cfg.size,
		fsync: fsyncTime(), rounds: cfg.pace.rounds,
	}
}

// String returns the machine in one line.
func (m machine) String() string {
	return fmt.Sprintf("%d cores, %s, Linux %s, %s, nats-server %s, GOMAXPROCS %d, append and fsync %s, %s",
		m.cores, m.cpu, m.kernel, m.goVersion, m.serverVersion, m.procs, m.fsync.Round(time.Microsecond), m.date)
}

// cpuModel returns the first processor's name, family and model: virtual
// machines give several generations one name.
func cpuModel() string {
	data, _ := os.ReadFile("/proc/cpuinfo") // missing, the name stays empty
	found := make(map[string]string)
	for line := range strings.Lines(string(data)) {
		name, value, _ := strings.Cut(line, ":")
		if name = strings.TrimSpace(name); found[name] == "" {
			found[name] = strings.TrimSpace(value)
		}
	}
	return fmt.Sprintf("%s (family %s, model %s)", found["model name"], found["cpu family"], found["model"])
}

// kernel returns the kernel's release.
func kernel() string {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return "unknown"
	}
	return unix.ByteSliceToString(name.Release[:])
}

// fsyncTime returns the median time of appending 160 bytes and syncing them,
// where the rows keep their files; 0 where that fails.
func fsyncTime() time.Duration {
	dir, err := os.MkdirTemp("", "cap-bench-")
	if err != nil {
		return 0
	}
	defer func() { _ = os.RemoveAll(dir) }()
	file, err := os.Create(filepath.Join(dir, "file"))
	if err != nil {
		return 0
	}
	defer func() { _ = file.Close() }()
	var times []float64
	for range 100 {
		began := time.Now()
		if _, err := file.Write(make([]byte, 160)); err != nil || file.Sync() != nil {
			return 0
		}
		times = append(times, float64(time.Since(began)))
	}
	return time.Duration(median(times))
}
