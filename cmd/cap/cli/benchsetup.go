package cli

import (
	"context"
	"net"
	"path/filepath"

	"github.com/nats-io/nats.go"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/loadtest"
)

// benchSetup says what runs where.
func (a *app) benchSetup(ctx context.Context, nc *nats.Conn, client *capsign.Client) (loadtest.Setup, error) {
	ctx, cancel := context.WithTimeout(ctx, a.flags.timeout)
	defer cancel()
	setup := loadtest.ThisMachine()
	setup.Cap, setup.Broker = Version, nc.ConnectedServerVersion()
	setup.Pool, setup.Key = client.Pool(), client.KeyName()
	setup.BrokerHere = placeOf(nc.ConnectedAddr())
	setup.WorkerHere = loadtest.PlaceUnknown
	if _, origin, err := a.flags.target(); err == nil && filepath.Base(origin) == "client.json" {
		setup.WorkerHere = setup.BrokerHere // the worker that wrote it has the broker inside
	}
	pools, err := capsign.FetchPools(ctx, nc)
	if err != nil {
		return setup, err
	}
	setup.Provider = pools[setup.Pool].Provider
	ring, err := capsign.FetchKeySet(ctx, nc)
	if err != nil {
		return setup, err
	}
	if key, err := ring.Key(pools[setup.Pool].Current[setup.Key]); err == nil {
		setup.Class, setup.Alg = key.Class, key.Alg
	}
	workers, err := capsign.FetchWorkers(ctx, nc, setup.Pool)
	if err == nil && !a.deny.any.Load() {
		setup.Workers = len(workers)
	}
	return setup, nil
}

// placeOf says whether an address is this machine's.
func placeOf(address string) loadtest.Place {
	host, _, err := net.SplitHostPort(address)
	ip := net.ParseIP(host)
	if err != nil || ip == nil {
		return loadtest.PlaceUnknown
	}
	if ip.IsLoopback() {
		return loadtest.SameMachine
	}
	own, err := net.InterfaceAddrs()
	if err != nil {
		return loadtest.PlaceUnknown
	}
	for _, address := range own {
		if prefix, ok := address.(*net.IPNet); ok && prefix.IP.Equal(ip) {
			return loadtest.SameMachine
		}
	}
	return loadtest.OtherMachine
}
