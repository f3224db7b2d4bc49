package tests

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/porttest"
)

// node is one server of a cluster.
type node struct {
	name                   string
	client, route, monitor int // loopback ports
}

// url is where the server's clients connect.
func (n node) url() string { return fmt.Sprintf("nats://127.0.0.1:%d", n.client) }

// newCluster returns a site with three servers that keep everything three times
// and sync before they acknowledge.
func newCluster(t *testing.T) *site {
	t.Helper()
	s := newSite(t)
	var routes []string
	for i := range 3 {
		n := node{fmt.Sprint("n", i), porttest.Free(t), porttest.Free(t), porttest.Free(t)}
		s.nodes = append(s.nodes, n)
		routes = append(routes, fmt.Sprintf("nats://127.0.0.1:%d", n.route))
	}
	for _, n := range s.nodes {
		text := fmt.Sprintf("server_name: %s\nlisten: 127.0.0.1:%d\nhttp: 127.0.0.1:%d\n"+
			"cluster { name: cap, listen: 127.0.0.1:%d, routes: [%s], no_advertise: true }\n"+
			"jetstream { store_dir: %q, sync_interval: always }\n",
			n.name, n.client, n.monitor, n.route, strings.Join(routes, ", "), filepath.Join(s.dir, "store-"+n.name))
		if err := os.WriteFile(filepath.Join(s.dir, n.name+".conf"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		s.run(n.name, "nats-server", "-c", n.name+".conf")
	}
	for _, n := range s.nodes {
		s.awaitHealthy(n)
	}
	return s
}

// startNode starts a server again on its files and waits until it has caught up.
func (s *site) startNode(n node) {
	s.t.Helper()
	s.run(n.name, "nats-server", "-c", n.name+".conf")
	s.awaitHealthy(n)
}

// awaitHealthy waits until a server says that it and all it keeps are up to
// date.
func (s *site) awaitHealthy(n node) {
	s.t.Helper()
	await(s.t, n.name+" is healthy", func() bool {
		ctx, cancel := context.WithTimeout(s.t.Context(), time.Second)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d/healthz", n.monitor), http.NoBody)
		if err != nil {
			s.t.Fatal(err)
		}
		answer, err := http.DefaultClient.Do(req)
		if err != nil {
			return false
		}
		defer answer.Body.Close()
		return answer.StatusCode == http.StatusOK
	})
}

// stopGently ends a process as its operator would, and waits for that.
func (s *site) stopGently(name string) int {
	s.t.Helper()
	s.mu.Lock()
	process := s.processes[name]
	s.mu.Unlock()
	if err := process.Process.Signal(os.Interrupt); err != nil {
		s.t.Fatal(err)
	}
	return s.exit(name)
}

// leader returns the server that leads a stream.
func (s *site) leader(stream string) node {
	s.t.Helper()
	js, err := jetstream.New(s.connect())
	if err != nil {
		s.t.Fatal(err)
	}
	var name string
	await(s.t, stream+" has a leader", func() bool {
		ctx, cancel := context.WithTimeout(s.t.Context(), time.Second)
		defer cancel()
		found, err := js.Stream(ctx, stream)
		if err != nil || found.CachedInfo().Cluster == nil {
			return false
		}
		name = found.CachedInfo().Cluster.Leader
		return name != ""
	})
	for _, n := range s.nodes {
		if n.name == name {
			return n
		}
	}
	s.t.Fatalf("%s is led by %q", stream, name)
	return node{}
}

// checkReplicas says that everything cap keeps on the cluster, and the state of
// its lanes, is kept three times.
func (s *site) checkReplicas() {
	s.t.Helper()
	js, err := jetstream.New(s.connect())
	if err != nil {
		s.t.Fatal(err)
	}
	seen := make(map[string]bool)
	streams := js.ListStreams(s.t.Context())
	for info := range streams.Info() {
		seen[info.Config.Name] = true
		if info.Config.Replicas != 3 || info.Cluster == nil || len(info.Cluster.Replicas) != 2 {
			s.t.Errorf("%s is kept %d times, by %+v", info.Config.Name, info.Config.Replicas, info.Cluster)
		}
	}
	if streams.Err() != nil {
		s.t.Fatal(streams.Err())
	}
	jobs := capsign.JobsStream("default")
	for _, name := range []string{jobs, capsign.ResultsStream, "CAP_DEAD", "KV_" + capsign.KeysBucket, "KV_" + capsign.PoolsBucket,
		"KV_" + capsign.TokensBucket, "KV_" + capsign.KeyringBucket} {
		if !seen[name] {
			s.t.Errorf("there is no %s", name)
		}
	}
	for _, lane := range []capsign.Lane{capsign.Express, capsign.Bulk} {
		consumer, err := js.Consumer(s.t.Context(), jobs, string(lane))
		if err != nil {
			s.t.Fatal(err)
		}
		if cluster := consumer.CachedInfo().Cluster; cluster == nil || len(cluster.Replicas) != 2 {
			s.t.Errorf("the %s lane is kept by %+v", lane, cluster)
		}
	}
}
