package deploy

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"

	"github.com/capsign/cap/internal/config"
)

// manifest is what the tests read of a Kubernetes object.
type manifest struct {
	Kind     string
	Metadata struct {
		Name   string
		Labels map[string]string
	}
	Spec struct {
		Replicas int
		Selector struct {
			MatchLabels map[string]string `yaml:"matchLabels"`
		}
		PodSelector struct {
			MatchLabels map[string]string `yaml:"matchLabels"`
		} `yaml:"podSelector"`
		PolicyTypes []string `yaml:"policyTypes"`
		Template    struct {
			Metadata struct{ Labels map[string]string }
			Spec     podSpec
		}
		ScaleTargetRef  struct{ Kind, Name string } `yaml:"scaleTargetRef"`
		MinReplicaCount int                         `yaml:"minReplicaCount"`
		Triggers        []struct {
			Type     string
			Metadata map[string]string
		}
	}
	ConfigMapGenerator []struct {
		Name  string
		Files []string
	} `yaml:"configMapGenerator"`
	Resources []string
}

// podSpec is what the tests read of a pod.
type podSpec struct {
	AutomountServiceAccountToken *bool `yaml:"automountServiceAccountToken"`
	TerminationGracePeriod       int   `yaml:"terminationGracePeriodSeconds"`
	SecurityContext              struct {
		RunAsNonRoot   bool                  `yaml:"runAsNonRoot"`
		SeccompProfile struct{ Type string } `yaml:"seccompProfile"`
	} `yaml:"securityContext"`
	Containers []struct {
		Name            string
		SecurityContext struct {
			AllowPrivilegeEscalation *bool `yaml:"allowPrivilegeEscalation"`
			ReadOnlyRootFilesystem   bool  `yaml:"readOnlyRootFilesystem"`
			Capabilities             struct{ Drop []string }
		} `yaml:"securityContext"`
		Resources     struct{ Requests, Limits map[string]string }
		LivenessProbe map[string]any `yaml:"livenessProbe"`
	}
	Volumes []struct {
		ConfigMap struct{ Name string } `yaml:"configMap"`
	}
}

// kubernetes is where the manifests are.
var kubernetes = filepath.Join(root, "deploy", "kubernetes")

// manifests returns the objects of a file.
func manifests(t *testing.T, file string) []manifest {
	t.Helper()
	var all []manifest
	decoder := yaml.NewDecoder(bytes.NewReader([]byte(read(t, filepath.Join(kubernetes, file)))))
	for {
		var m manifest
		err := decoder.Decode(&m)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		all = append(all, m)
	}
}

// allManifests returns the kustomization and the objects it names.
func allManifests(t *testing.T) (kustomization manifest, all []manifest) {
	t.Helper()
	kustomization = manifests(t, "kustomization.yaml")[0]
	for _, file := range kustomization.Resources {
		all = append(all, manifests(t, file)...)
	}
	return kustomization, all
}

// ofKind returns the objects of a kind.
func ofKind(all []manifest, kind string) (some []manifest) {
	for _, m := range all {
		if m.Kind == kind {
			some = append(some, m)
		}
	}
	return some
}

// selects reports whether a selector chooses an object with these labels.
func selects(selector, labels map[string]string) bool {
	for name, value := range selector {
		if labels[name] != value {
			return false
		}
	}
	return len(selector) > 0
}

func TestPodsAreRestricted(t *testing.T) {
	_, all := allManifests(t)
	sets := ofKind(all, "StatefulSet")
	if len(sets) != 2 {
		t.Fatalf("%d sets of workers", len(sets))
	}
	for _, set := range sets {
		pod := set.Spec.Template.Spec
		if !pod.SecurityContext.RunAsNonRoot || pod.SecurityContext.SeccompProfile.Type != "RuntimeDefault" ||
			pod.AutomountServiceAccountToken == nil || *pod.AutomountServiceAccountToken || pod.TerminationGracePeriod <= 30 {
			t.Errorf("%s: %+v", set.Metadata.Name, pod)
		}
		for _, container := range pod.Containers {
			context := container.SecurityContext
			if context.AllowPrivilegeEscalation == nil || *context.AllowPrivilegeEscalation || !context.ReadOnlyRootFilesystem ||
				!slices.Equal(context.Capabilities.Drop, []string{"ALL"}) || container.Resources.Limits["memory"] == "" ||
				container.Resources.Requests["cpu"] == "" || container.LivenessProbe == nil {
				t.Errorf("%s: container %+v", set.Metadata.Name, container)
			}
		}
		if !selects(set.Spec.Selector.MatchLabels, set.Spec.Template.Metadata.Labels) {
			t.Errorf("%s does not select its own pods", set.Metadata.Name)
		}
	}
	if name := ofKind(all, "Namespace")[0]; name.Metadata.Labels["pod-security.kubernetes.io/enforce"] != "restricted" {
		t.Errorf("the namespace enforces %v", name.Metadata.Labels)
	}
}

func TestManifestsFitTogether(t *testing.T) {
	kustomization, all := allManifests(t)
	var maps []string
	for _, generated := range kustomization.ConfigMapGenerator {
		maps = append(maps, generated.Name)
		for _, file := range generated.Files {
			_, path, named := strings.Cut(file, "=")
			if !named {
				path = file
			}
			if _, err := os.Stat(filepath.Join(kubernetes, path)); err != nil {
				t.Errorf("%s: %v", generated.Name, err)
			}
		}
	}
	sets := ofKind(all, "StatefulSet")
	for _, set := range sets {
		for _, volume := range set.Spec.Template.Spec.Volumes {
			if name := volume.ConfigMap.Name; name != "" && !slices.Contains(maps, name) {
				t.Errorf("%s mounts %s, which nothing makes", set.Metadata.Name, name)
			}
		}
		covered := slices.ContainsFunc(ofKind(all, "NetworkPolicy"), func(policy manifest) bool {
			return slices.Equal(policy.Spec.PolicyTypes, []string{"Ingress", "Egress"}) &&
				selects(policy.Spec.PodSelector.MatchLabels, set.Spec.Template.Metadata.Labels)
		})
		if !covered {
			t.Errorf("no policy confines %s", set.Metadata.Name)
		}
	}
	for _, budget := range ofKind(all, "PodDisruptionBudget") {
		if !slices.ContainsFunc(sets, func(set manifest) bool {
			return selects(budget.Spec.Selector.MatchLabels, set.Spec.Template.Metadata.Labels) && leastPods(all, set) > 1
		}) {
			t.Errorf("%s protects nothing, or what can never be drained", budget.Metadata.Name)
		}
	}
	for _, file := range []string{"software.key.yaml", "cloud.key.yaml"} {
		if _, err := config.Load(filepath.Join(kubernetes, file)); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
}

// leastPods returns how many pods a set has at least, as its scaler says or, where
// it has none, it says itself.
func leastPods(all []manifest, set manifest) int {
	for _, scaler := range ofKind(all, "ScaledObject") {
		if scaler.Spec.ScaleTargetRef.Name == set.Metadata.Name {
			return scaler.Spec.MinReplicaCount
		}
	}
	return set.Spec.Replicas
}

func TestScalerReadsTheLanesOfItsPool(t *testing.T) {
	_, all := allManifests(t)
	cfg, err := config.Load(filepath.Join(kubernetes, "cloud.key.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	scaler := ofKind(all, "ScaledObject")[0]
	if !slices.ContainsFunc(ofKind(all, "StatefulSet"), func(set manifest) bool {
		return set.Metadata.Name == scaler.Spec.ScaleTargetRef.Name && scaler.Spec.ScaleTargetRef.Kind == "StatefulSet"
	}) {
		t.Errorf("it scales %+v", scaler.Spec.ScaleTargetRef)
	}
	var lanes []string
	for _, trigger := range scaler.Spec.Triggers {
		if trigger.Type != "nats-jetstream" || trigger.Metadata["stream"] != "CAP_JOBS_"+cfg.Pool || trigger.Metadata["account"] != "CAP" ||
			trigger.Metadata["natsServerMonitoringEndpoint"] == "" || trigger.Metadata["lagThreshold"] == "" {
			t.Errorf("trigger %+v", trigger)
		}
		lanes = append(lanes, trigger.Metadata["consumer"])
	}
	if !slices.Equal(lanes, []string{"express", "bulk"}) || scaler.Spec.MinReplicaCount < 2 {
		t.Errorf("lanes %v, at least %d workers", lanes, scaler.Spec.MinReplicaCount)
	}
}
