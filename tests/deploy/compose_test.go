// Package deploy checks what runs cap elsewhere: the Compose file, the
// Kubernetes manifests, the broker's configuration, alerts and dashboard. None
// of it needs an engine, a cluster or a network.
package deploy

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"

	"github.com/capsign/cap/internal/config"
)

// root is the repository's directory.
const root = "../.."

// loadCompose reads docker-compose.yml as Compose does, with all profiles and
// without anything of this machine's environment.
func loadCompose(t *testing.T) *types.Project {
	t.Helper()
	options, err := cli.NewProjectOptions([]string{filepath.Join(root, "docker-compose.yml")},
		cli.WithProfiles([]string{"*"}), cli.WithWorkingDirectory(root))
	if err != nil {
		t.Fatal(err)
	}
	project, err := options.LoadProject(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return project
}

func TestEveryContainerIsConfined(t *testing.T) {
	for name, service := range loadCompose(t).Services {
		if !service.ReadOnly || !slices.Equal(service.CapDrop, []string{"ALL"}) || !slices.Contains(service.SecurityOpt, "no-new-privileges:true") {
			t.Errorf("%s: read_only %v, cap_drop %v, security_opt %v", name, service.ReadOnly, service.CapDrop, service.SecurityOpt)
		}
		user, _, _ := strings.Cut(service.User, ":")
		prepares := name == "volumes" // gives volumes away, without a network, and ends
		if (user == "" || user == "0") != prepares || (len(service.CapAdd) > 0) != prepares || service.Privileged {
			t.Errorf("%s: user %q, cap_add %v, privileged %v", name, service.User, service.CapAdd, service.Privileged)
		}
		if prepares && service.NetworkMode != "none" {
			t.Errorf("%s has network %q", name, service.NetworkMode)
		}
		if service.Deploy == nil || service.Deploy.Resources.Limits == nil || service.Deploy.Resources.Limits.MemoryBytes == 0 ||
			service.Deploy.Resources.Limits.NanoCPUs == 0 || service.Deploy.Resources.Limits.Pids == 0 {
			t.Errorf("%s has no limits of memory, CPUs and processes", name)
		}
	}
}

func TestNothingListensBeyondThisMachine(t *testing.T) {
	for name, service := range loadCompose(t).Services {
		for _, port := range service.Ports {
			if port.HostIP != "127.0.0.1" || port.Published == "" {
				t.Errorf("%s publishes %q:%q", name, port.HostIP, port.Published)
			}
		}
		if service.NetworkMode == "host" {
			t.Errorf("%s uses the machine's own network", name)
		}
	}
}

func TestEveryImageIsPinnedAndCanBeReplaced(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "docker-compose.yml"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.SplitSeq(string(text), "\n") {
		_, image, found := strings.Cut(strings.TrimSpace(line), "image: ")
		if found && !strings.HasPrefix(image, "*") && !strings.Contains(image, "${") {
			t.Errorf("no variable replaces %q", image)
		}
	}
	for name, service := range loadCompose(t).Services {
		if _, tag, tagged := strings.Cut(service.Image, ":"); !tagged || tag == "" || tag == "latest" {
			t.Errorf("%s runs %q", name, service.Image)
		}
	}
}

func TestTheCoreIsAClusterAndWorkersOfEveryProvider(t *testing.T) {
	options, err := cli.NewProjectOptions([]string{filepath.Join(root, "docker-compose.yml")}, cli.WithWorkingDirectory(root))
	if err != nil {
		t.Fatal(err)
	}
	project, err := options.LoadProject(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"cloud", "kms", "nats-1", "nats-2", "nats-3", "softhsm", "software-1", "software-2", "volumes"}
	if got := slices.Sorted(slices.Values(project.ServiceNames())); !slices.Equal(got, want) {
		t.Errorf("services without a profile: %v", got)
	}
	for _, worker := range []string{"software-1", "software-2", "softhsm", "cloud"} {
		for _, node := range []string{"nats-1", "nats-2", "nats-3"} {
			if project.Services[worker].DependsOn[node].Condition != types.ServiceConditionHealthy {
				t.Errorf("%s does not wait for %s", worker, node)
			}
		}
	}
	// Two workers that shared a data directory would not both start.
	one, two := dataVolume(project.Services["software-1"]), dataVolume(project.Services["software-2"])
	if one == "" || one == two {
		t.Errorf("the workers keep their data in %q and %q", one, two)
	}
}

// TestEveryServerHasAnExporterOfItsOwn: an exporter waits for each server that it
// is given, so that one that hung would hide the others.
func TestEveryServerHasAnExporterOfItsOwn(t *testing.T) {
	project := loadCompose(t)
	scraped := read(t, filepath.Join(root, "deploy", "prometheus", "prometheus.yml"))
	for _, n := range []string{"1", "2", "3"} {
		var watched []string
		for _, arg := range project.Services["nats-exporter-"+n].Command {
			if strings.HasPrefix(arg, "http://") {
				watched = append(watched, arg)
			}
		}
		if !slices.Equal(watched, []string{"http://nats-" + n + ":8222"}) || !strings.Contains(scraped, `"nats-exporter-`+n+`:7777"`) {
			t.Errorf("nats-exporter-%s watches %v, or Prometheus does not ask it", n, watched)
		}
	}
}

// dataVolume returns the volume mounted on /data.
func dataVolume(service types.ServiceConfig) string {
	for _, volume := range service.Volumes {
		if volume.Target == "/data" {
			return volume.Source
		}
	}
	return ""
}

func TestEveryMountedFileIsThere(t *testing.T) {
	project := loadCompose(t)
	for name, file := range project.Configs {
		if info, err := os.Stat(file.File); err != nil || !info.Mode().IsRegular() {
			t.Errorf("config %s: %v", name, err)
		}
	}
	made := setUp(t)
	for name, secret := range project.Secrets {
		if _, err := os.Stat(filepath.Join(made, filepath.Base(secret.File))); err != nil {
			t.Errorf("secret %s is nothing that setup makes: %v", name, err)
		}
	}
}

func TestEveryWorkersConfigurationIsValid(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(root, "deploy", "workers", "*.yaml"))
	if err != nil || len(files) < 4 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, file := range files {
		cfg, err := config.Load(file)
		if err != nil {
			t.Errorf("%s: %v", filepath.Base(file), err)
			continue
		}
		if cfg.Queue.Replicas != 3 || cfg.NATS.AllowLazySync || cfg.Data != "/data" {
			t.Errorf("%s: %d replicas, lazy sync %v, data %s", filepath.Base(file), cfg.Queue.Replicas, cfg.NATS.AllowLazySync, cfg.Data)
		}
	}
}

func TestSetupMakesSecretsOnceAndForNobodyElse(t *testing.T) {
	dir := setUp(t)
	info, err := os.Stat(dir)
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Fatalf("mode %v, %v", info.Mode(), err)
	}
	seed := read(t, filepath.Join(dir, "worker.nk"))
	runCommand(t, root, command(t, "setup"), "-dir", dir)
	if read(t, filepath.Join(dir, "worker.nk")) != seed {
		t.Error("a second run has replaced a key that may be in use")
	}
	if other := read(t, filepath.Join(setUp(t), "worker.nk")); other == seed {
		t.Error("two installations share a key")
	}
	err = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() && strings.HasSuffix(path, ".conf") && strings.Contains(read(t, path), seed) {
			t.Errorf("%s holds a seed", entry.Name())
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// setUp makes secrets for a test and returns their directory.
func setUp(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "secrets")
	runCommand(t, root, command(t, "setup"), "-dir", dir, "-url", "nats://127.0.0.1:1")
	return dir
}
