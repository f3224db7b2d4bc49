package tests

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// TestArrowsPointOneWay holds each package to what it may be built from.
func TestArrowsPointOneWay(t *testing.T) {
	const module = "github.com/capsign/cap"
	for _, tc := range []struct {
		pkg       string
		mustNot   []string
		inModule  []string // all of ours that it may use; nil means any
		rationale string
	}{
		{
			"/capsign", []string{"github.com/nats-io/nats-server", "go.opentelemetry.io/otel/sdk", "github.com/spf13", "github.com/sigstore", "filippo.io/age"},
			[]string{}, "publishers link it",
		},
		{"/internal/providers", nil, []string{"/capsign"}, "a contract rests on words alone"},
		{"/internal/config", []string{"github.com/nats-io/nats-server"}, []string{"/capsign"}, "configuration knows no machinery"},
		{"/internal/audit", []string{"github.com/nats-io/nats-server"}, []string{"/capsign"}, "the record knows no broker"},
		{"/internal/loginguard", []string{"github.com/nats-io/nats-server"}, []string{"/capsign"}, "the guard knows no token"},
		{"/internal/rotation", []string{"github.com/nats-io/nats-server"}, []string{"/capsign"}, "rotation knows no provider"},
		{"/internal/queue", []string{"github.com/nats-io/nats-server"}, []string{"/capsign", "/internal/audit", "/internal/deadletter"}, "the queue knows no provider"},
		{"/internal/deadletter", []string{"github.com/nats-io/nats-server"}, []string{"/capsign"}, "a letter knows no worker"},
		{
			"/cmd/cap", []string{
				"github.com/nats-io/nats-server", "github.com/miekg/pkcs11", "cloud.google.com/go/kms",
				"github.com/aws/aws-sdk-go-v2", "github.com/Azure/azure-sdk-for-go", module + "/internal/providers",
			}, nil, "build hosts get no device, cloud or key code",
		},
	} {
		deps := dependencies(t, ".."+tc.pkg)
		for _, dep := range deps {
			for _, banned := range tc.mustNot {
				if dep == banned || strings.HasPrefix(dep, banned+"/") {
					t.Errorf("%s is built from %s: %s", tc.pkg, dep, tc.rationale)
				}
			}
			ours, isOurs := strings.CutPrefix(dep, module)
			if tc.inModule != nil && isOurs && ours != tc.pkg && !slices.Contains(tc.inModule, ours) {
				t.Errorf("%s is built from %s: %s", tc.pkg, dep, tc.rationale)
			}
		}
	}
}

// dependencies returns the import paths that a package is built from.
func dependencies(t *testing.T, pkg string) []string {
	t.Helper()
	out, err := exec.Command("go", "list", "-deps", pkg).Output()
	if err != nil {
		t.Fatalf("go list %s: %v", pkg, err)
	}
	return strings.Fields(string(out))
}
