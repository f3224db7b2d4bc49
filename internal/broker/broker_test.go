package broker_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/broker"
)

// codeOf returns the code that err wraps, "" for none.
func codeOf(err error) capsign.Code {
	code, _ := errors.AsType[capsign.Code](err)
	return code
}

// serve runs a server with these options until the test ends.
func serve(t *testing.T, opts server.Options) string {
	t.Helper()
	opts.Host, opts.Port, opts.NoSigs, opts.NoLog = "127.0.0.1", server.RANDOM_PORT, true, true
	s, err := server.NewServer(&opts)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("the server does not come up")
	}
	return s.ClientURL()
}

func TestConnectSaysWhatIsWrong(t *testing.T) {
	open := serve(t, server.Options{})
	closed := serve(t, server.Options{Username: "u", Password: "p"})
	for name, tc := range map[string]struct {
		target broker.Target
		want   capsign.Code
	}{
		"reachable":       {broker.Target{URL: open}, ""},
		"nobody listens":  {broker.Target{URL: "nats://127.0.0.1:1"}, capsign.BrokerUnreachable},
		"no such host":    {broker.Target{URL: "nats://broker.invalid:4222"}, capsign.BrokerUnreachable},
		"not let in":      {broker.Target{URL: closed}, capsign.Denied},
		"no credentials":  {broker.Target{URL: open, Creds: filepath.Join(t.TempDir(), "missing.creds")}, capsign.ConfigInvalid},
		"no such context": {broker.Target{Context: "no-such-context"}, capsign.ConfigInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("XDG_CONFIG_HOME", t.TempDir())
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
			defer cancel()
			nc, err := broker.Connect(ctx, tc.target)
			if codeOf(err) != tc.want {
				t.Errorf("error %v, want %q", err, tc.want)
			}
			if err == nil {
				nc.Close()
			}
		})
	}
}

func TestLocalClientFindsItsWorker(t *testing.T) {
	dir := t.TempDir()
	if url, err := broker.ReadLocal(dir); url != "" || err != nil {
		t.Errorf("an empty directory gives %q, %v", url, err)
	}
	if err := broker.WriteLocal(dir, "nats://127.0.0.1:4333"); err != nil {
		t.Fatal(err)
	}
	if url, err := broker.ReadLocal(dir); url != "nats://127.0.0.1:4333" || err != nil {
		t.Errorf("read %q, %v", url, err)
	}
	// A copied directory has the modes that the copier's umask gave.
	if err := os.Chmod(filepath.Join(dir, "client.json"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := broker.WriteLocal(dir, "nats://127.0.0.1:4444"); err != nil {
		t.Fatal(err)
	}
	if url, err := broker.ReadLocal(dir); url != "nats://127.0.0.1:4444" || err != nil {
		t.Errorf("written anew, read %q, %v", url, err)
	}
}

func TestLocalFileThatOthersCouldHaveWrittenIsRefused(t *testing.T) {
	for name, spoil := range map[string]func(path string) error{
		"readable by others": func(path string) error { return os.Chmod(path, 0o644) },
		"writable by group":  func(path string) error { return os.Chmod(path, 0o620) },
		"symlink": func(path string) error {
			return errors.Join(os.Rename(path, path+".real"), os.Symlink(path+".real", path))
		},
		"directory": func(path string) error { return errors.Join(os.Remove(path), os.Mkdir(path, 0o700)) },
		"not JSON":  func(path string) error { return os.WriteFile(path, []byte("nats://x"), 0o600) },
		"version":   func(path string) error { return os.WriteFile(path, []byte(`{"v":2,"url":"nats://x"}`), 0o600) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := broker.WriteLocal(dir, "nats://127.0.0.1:4333"); err != nil {
				t.Fatal(err)
			}
			if err := spoil(filepath.Join(dir, "client.json")); err != nil {
				t.Fatal(err)
			}
			if url, err := broker.ReadLocal(dir); url != "" || codeOf(err) != capsign.ConfigInvalid {
				t.Errorf("read %q, %v", url, err)
			}
		})
	}
}

func TestDurabilityIsKnownToTheSystemAccountAlone(t *testing.T) {
	system, tenant := server.NewAccount("SYS"), server.NewAccount("TENANT")
	for _, always := range []bool{true, false} {
		url := serve(t, server.Options{
			JetStream: true, StoreDir: t.TempDir(), SyncAlways: always, Accounts: []*server.Account{system, tenant}, SystemAccount: "SYS",
			Users: []*server.User{{Username: "admin", Password: "a", Account: system}, {Username: "worker", Password: "w", Account: tenant}},
		})
		for user, known := range map[string]bool{"admin:a": true, "worker:w": false} {
			nc, err := nats.Connect("nats://" + user + "@" + url[len("nats://"):])
			if err != nil {
				t.Fatal(err)
			}
			gotAlways, gotKnown := broker.SyncAlways(t.Context(), nc)
			nc.Close()
			if gotKnown != known || gotAlways != (known && always) {
				t.Errorf("%s, sync always %v: told %v, %v", user, always, gotAlways, gotKnown)
			}
		}
	}
}
