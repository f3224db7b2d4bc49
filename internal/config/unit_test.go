package config

import (
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/capsign/cap/capsign"
)

// unit returns the values of the systemd unit that comes with cap, by key.
func unit(t *testing.T) map[string][]string {
	t.Helper()
	data, err := os.ReadFile("../../config/cap-worker.service")
	if err != nil {
		t.Fatal(err)
	}
	values := map[string][]string{}
	for line := range strings.Lines(string(data)) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok && !strings.HasPrefix(key, "#") {
			values[key] = append(values[key], value)
		}
	}
	return values
}

// A worker that has to wait for a person is not started again: each start could
// be one more wrong PIN.
func TestUnitDoesNotRestartWhereNobodyCanHelp(t *testing.T) {
	never := strings.Fields(strings.Join(unit(t)["RestartPreventExitStatus"], " "))
	for _, code := range capsign.Codes() {
		status := strconv.Itoa(code.ExitStatus())
		if code.Fate() == capsign.FateLatched && !slices.Contains(never, status) {
			t.Errorf("%s, exit status %s, would restart", code, status)
		}
		if code.Retryable() && slices.Contains(never, status) {
			t.Errorf("%s, exit status %s, is temporary but would not restart", code, status)
		}
	}
	for _, code := range []capsign.Code{capsign.PINIncorrect, capsign.ConfigInvalid, capsign.BadRequest, capsign.AuditBroken} {
		if !slices.Contains(never, strconv.Itoa(code.ExitStatus())) {
			t.Errorf("%s would restart", code)
		}
	}
	if got := unit(t)["Restart"]; !slices.Equal(got, []string{"on-failure"}) {
		t.Errorf("Restart=%v", got)
	}
}

func TestUnitIsHardened(t *testing.T) {
	values := unit(t)
	for key, want := range map[string]string{
		"NoNewPrivileges": "yes", "ProtectSystem": "strict", "ProtectHome": "yes", "PrivateTmp": "yes",
		"PrivateDevices": "yes", "MemoryDenyWriteExecute": "yes", "CapabilityBoundingSet": "", "LimitCORE": "0",
		"User": "cap", "StateDirectory": "cap", "UMask": "0077",
	} {
		if got := values[key]; !slices.Equal(got, []string{want}) {
			t.Errorf("%s=%v, want %q", key, got, want)
		}
	}
}

// Where the unit puts a secret is where the shipped configuration looks for it.
func TestUnitAndConfigurationAgreeOnSecrets(t *testing.T) {
	data, err := os.ReadFile("../../config/cap-worker.service")
	if err != nil {
		t.Fatal(err)
	}
	loaded := regexp.MustCompile(`(?m)^(?:# )?LoadCredential=([a-z-]+):`).FindAllStringSubmatch(string(data), -1)
	for _, credential := range loaded {
		if path := "_file: /run/credentials/cap-worker.service/" + credential[1] + " "; !strings.Contains(shipped(t), path) {
			t.Errorf("config/key.yaml does not read the credential %s", credential[1])
		}
	}
	if len(loaded) != 3 {
		t.Errorf("%d credentials, want 3", len(loaded))
	}
}
