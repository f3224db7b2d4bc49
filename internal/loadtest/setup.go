package loadtest

import "github.com/capsign/cap/capsign"

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
