package deploy

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/synadia-io/orbit.go/natscontext"

	"github.com/capsign/cap/internal/porttest"
)

// cluster is three NATS servers with the configuration of docker-compose.yml,
// on loopback instead of in containers.
type cluster struct {
	t       *testing.T
	dir     string // of secrets and configuration
	clients []int
	monitor []int
	nodes   []*process
	run     []func() *process
}

// startCluster starts the three and waits until they are well.
func startCluster(t *testing.T) *cluster {
	t.Helper()
	c := &cluster{t: t, dir: filepath.Join(t.TempDir(), "secrets"), clients: porttest.FreeN(t, 3), monitor: porttest.FreeN(t, 3)}
	var urls []string
	for _, port := range c.clients {
		urls = append(urls, loopback("nats", port))
	}
	runCommand(t, root, command(t, "setup"), "-dir", c.dir, "-url", strings.Join(urls, ","))
	write(t, filepath.Join(c.dir, "nats.conf"), read(t, filepath.Join(root, "deploy", "nats", "nats.conf")))
	password := regexp.MustCompile(`password: "([A-Z0-9]+)"`).FindStringSubmatch(read(t, filepath.Join(c.dir, "routes.conf")))[1]
	routes := porttest.FreeN(t, 3)
	var others []string
	for _, port := range routes {
		others = append(others, fmt.Sprintf("nats://cap:%s@127.0.0.1:%d", password, port))
	}
	for i := range 3 {
		store := t.TempDir()
		c.run = append(c.run, func() *process {
			return start(t, c.dir, []string{fmt.Sprintf("NATS_NODE=nats-%d", i+1)}, "nats-server", "-c", "nats.conf", "-sd", store,
				"-a", "127.0.0.1", "-p", fmt.Sprint(c.clients[i]), "-m", fmt.Sprint(c.monitor[i]),
				"--cluster", others[i], "--routes", strings.Join(others, ","))
		})
		c.nodes = append(c.nodes, c.run[i]())
	}
	for i := range 3 {
		c.awaitNode(i)
	}
	return c
}

// awaitNode waits until a node's healthcheck, which is also Compose's, says ok.
func (c *cluster) awaitNode(i int) {
	c.t.Helper()
	eventually(c.t, func() error {
		answer, err := http.Get(loopback("http", c.monitor[i]) + "/healthz")
		if err != nil {
			return err
		}
		defer answer.Body.Close()
		if text, _ := io.ReadAll(answer.Body); answer.StatusCode != http.StatusOK {
			return fmt.Errorf("node %d: %s", i+1, text)
		}
		return nil
	})
}

// context returns the path of a role's context.
func (c *cluster) context(role string) string { return filepath.Join(c.dir, role+".json") }

// cap runs cap as a role and returns what it said.
func (c *cluster) cap(role string, args ...string) (string, error) {
	return tryCommand(c.t, c.dir, command(c.t, "cap"), append(args, "--context", c.context(role))...)
}

// startWorker starts a worker with the configuration of docker-compose.yml's
// first, but for where things are on this machine.
func (c *cluster) startWorker() *process {
	c.t.Helper()
	dir := c.t.TempDir()
	here := strings.NewReplacer("/data", filepath.Join(dir, "data"), "/keys/software", filepath.Join(dir, "keys"), "/etc/cap/worker.json", c.context("worker"))
	write(c.t, filepath.Join(dir, "key.yaml"), here.Replace(read(c.t, filepath.Join(root, "deploy", "workers", "software.yaml"))))
	worker := start(c.t, dir, nil, "worker", "--config", filepath.Join(dir, "key.yaml"))
	eventually(c.t, func() error {
		if !strings.Contains(worker.said.String(), `"msg":"ready"`) {
			return errors.New("the worker is not ready")
		}
		return nil
	})
	return worker
}

// sign signs as the publisher and verifies the signature with the kid that it
// was told.
func (c *cluster) sign() error {
	out, err := c.cap("publisher", "keys", "sign", "--pool", "software", "--in", "message", "--out", "signature")
	if err != nil {
		return fmt.Errorf("sign: %w: %s", err, out)
	}
	kid := strings.TrimSpace(strings.TrimPrefix(out, "kid: "))
	if out, err := c.cap("publisher", "verify-signature", "--in", "message", "--sig", "signature", "--kid", kid); err != nil {
		return fmt.Errorf("verify: %w: %s", err, out)
	}
	return nil
}

func TestClusterOfTheComposeFileSigns(t *testing.T) {
	c := startCluster(t)
	worker := c.startWorker()
	for line := range strings.Lines(worker.said.String()) {
		if strings.Contains(line, "WARN") && !strings.Contains(line, "the broker is not ready") { // which elects
			t.Errorf("the worker has something to complain of:\n%s", line)
		}
	}
	write(t, filepath.Join(c.dir, "message"), "hello")
	eventually(t, c.sign)
	for _, args := range [][]string{{"keys", "info", "--pool", "software"}, {"pool", "status"}} {
		if out, err := c.cap("publisher", args...); err != nil {
			t.Errorf("cap %v: %v: %s", args, err, out)
		}
	}
	for _, args := range [][]string{{"keys", "check", "--pool", "software"}, {"pool", "pause", "software"}, {"pool", "resume", "software"}} {
		if out, err := c.cap("operator", args...); err != nil {
			t.Errorf("cap %v: %v: %s", args, err, out)
		}
	}
	c.nothingElseIsAllowed(t)
	c.strangersAreNotLetIn(t)

	c.nodes[2].kill()
	eventually(t, c.sign)
	c.nodes[2] = c.run[2]()
	c.awaitNode(2)
	eventually(t, c.sign)
}

// nothingElseIsAllowed has each role try what only another may.
func (c *cluster) nothingElseIsAllowed(t *testing.T) {
	t.Helper()
	for role, subjects := range map[string][]string{
		"publisher": {
			"cap.store.local.AAAAAAAAAAAAAAAAAAAAAA.1", "cap.result.local.AAAAAAAAAAAAAAAAAAAAAA.1", "cap.job.other.software.express.cap-signing",
			"$KV.CAP_KEYS.x", "$KV.CAP_POOLS.software", "$KV.CAP_KEYRING.keyring.v1", "cap.admin.software.generate", "cap.dead.software",
			"$JS.API.STREAM.DELETE.CAP_RESULTS", "$JS.API.STREAM.PURGE.CAP_JOBS_software", "$JS.API.CONSUMER.MSG.NEXT.CAP_JOBS_software.express",
			"$JS.API.CONSUMER.CREATE.CAP_JOBS_software.x.y", "$JS.API.DIRECT.GET.CAP_RESULTS.cap.store.other.x.1", "_INBOX.worker.x",
		},
		"worker": {
			"cap.job.local.software.express.cap-signing", "cap.result.local.AAAAAAAAAAAAAAAAAAAAAA.1", "$KV.CAP_KEYRING.keyring.v1",
			"cap.admin.software.generate", "$JS.API.STREAM.DELETE.CAP_RESULTS", "$JS.API.STREAM.PURGE.CAP_JOBS_software", "$JS.API.STREAM.UPDATE.CAP_RESULTS",
		},
	} {
		for _, subject := range subjects {
			if !c.isDenied(t, role, func(nc *nats.Conn) error { return nc.Publish(subject, []byte("{}")) }) {
				t.Errorf("a %s may publish on %s", role, subject)
			}
		}
	}
	for role, subjects := range map[string][]string{
		"publisher": {"_INBOX.>", "_INBOX.worker.>", "cap.job.>", "cap.result.>", "$KV.>", ">"},
		"worker":    {"_INBOX.>", "_INBOX.publisher.>", "cap.result.>", "cap.job.>", ">"},
	} {
		for _, subject := range subjects {
			if !c.isDenied(t, role, func(nc *nats.Conn) error {
				_, err := nc.SubscribeSync(subject)
				return err
			}) {
				t.Errorf("a %s may listen to %s", role, subject)
			}
		}
	}
}

// isDenied reports whether the broker refuses what a role does.
func (c *cluster) isDenied(t *testing.T, role string, do func(*nats.Conn) error) bool {
	t.Helper()
	denied := make(chan struct{}, 1)
	nc, _, err := natscontext.Connect(c.context(role), nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
		if errors.Is(err, nats.ErrPermissionViolation) {
			denied <- struct{}{}
		}
	}))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if err := do(nc); err != nil {
		t.Fatal(err)
	}
	if err := nc.FlushTimeout(10 * time.Second); err != nil {
		t.Fatal(err)
	}
	select {
	case <-denied:
		return true
	case <-time.After(time.Second): // said before the flush was answered; a moment for the handler
		return false
	}
}

// strangersAreNotLetIn has others than the three users try to connect.
func (c *cluster) strangersAreNotLetIn(t *testing.T) {
	t.Helper()
	for name, option := range map[string]nats.Option{
		"nobody":   nats.Name("nobody"),
		"password": nats.UserInfo("worker", "worker"),
		"other's key": func() nats.Option {
			option, err := nats.NkeyOptionFromSeed(filepath.Join(setUp(t), "worker.nk"))
			if err != nil {
				t.Fatal(err)
			}
			return option
		}(),
	} {
		nc, err := nats.Connect(loopback("nats", c.clients[0]), option)
		if err == nil {
			nc.Close()
			t.Errorf("%s is let in", name)
		} else if !errors.Is(err, nats.ErrAuthorization) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
