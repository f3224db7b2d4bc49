package loadtest

import (
	"os"
	"runtime"
	"strings"

	"github.com/capsign/cap/capsign"
)

// Setup is what ran where, for a reader who wants to know what the figures are
// worth. What is not known is empty.
type Setup struct {
	// Cap is cap's version, Go what it was built with, and Broker the version of
	// the NATS server.
	Cap    string `json:"cap"`
	Go     string `json:"go"`
	Broker string `json:"broker"`
	// Platform is the operating system and architecture that cap ran on, CPU the
	// processor's model, Cores how many of it cap may use.
	Platform string `json:"platform"`
	CPU      string `json:"cpu,omitzero"`
	Cores    int    `json:"cores"`
	// Pool, Key, Provider, Class and Alg are what signed.
	Pool     string        `json:"pool"`
	Key      string        `json:"key"`
	Provider string        `json:"provider"`
	Class    capsign.Class `json:"class,omitzero"`
	Alg      capsign.Alg   `json:"alg,omitzero"`
	// Workers is how many served the pool when the run began; 0 where they could
	// not be asked.
	Workers int `json:"workers,omitzero"`
	// BrokerHere and WorkerHere say whether the broker, and a worker, share this
	// machine with cap.
	BrokerHere Place `json:"broker_place"`
	WorkerHere Place `json:"worker_place"`
	// Verified says that cap checked each signature, which takes time too.
	Verified bool `json:"verified"`
}

// Place says whether something runs on the machine that the load came from.
type Place string

// The places.
const (
	SameMachine  Place = "this machine"
	OtherMachine Place = "another machine"
	PlaceUnknown Place = "not known"
)

// ThisMachine returns a setup with what there is to say of this machine.
func ThisMachine() Setup {
	return Setup{
		Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH,
		CPU: processor(), Cores: runtime.GOMAXPROCS(0),
	}
}

// processor returns the model of the processor, or "" where Linux does not say.
func processor() string {
	data, _ := os.ReadFile("/proc/cpuinfo") // missing, the name stays empty
	for line := range strings.Lines(string(data)) {
		if name, value, _ := strings.Cut(line, ":"); strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
