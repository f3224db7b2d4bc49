package p11test

import (
	"os"
	"strings"
	"testing"
)

// What is not installed skips a test, or fails it where rigs are required.
func TestMissingPart(t *testing.T) {
	if Role() == "victim" {
		file(t, "some-package", "/nowhere/*.so")
		return
	}
	for require, want := range map[string]string{"": "--- SKIP", "1": "--- FAIL"} {
		cmd := Child(t, "victim")
		cmd.Env = append(cmd.Env, "CAP_TEST_REQUIRE_RIGS="+require)
		out, err := cmd.CombinedOutput()
		if text := string(out); !strings.Contains(text, want) || !strings.Contains(text, "apt-get install some-package") || (err != nil) != (require == "1") {
			t.Errorf("CAP_TEST_REQUIRE_RIGS=%q: %v\n%s", require, err, text)
		}
	}
}

// OwnProcess passes on how its process ended.
func TestOwnProcess(t *testing.T) {
	if Role() == "" {
		for role, want := range map[string]string{"skips": "--- SKIP", "fails": "--- FAIL", "passes": "--- PASS"} {
			out, _ := Child(t, "outer "+role).CombinedOutput()
			if !strings.Contains(string(out), "\n"+want+": TestOwnProcess") { // not indented: its own
				t.Errorf("%s: %s", role, out)
			}
		}
		return
	}
	if role, ok := strings.CutPrefix(Role(), "outer "); ok {
		t.Setenv("INNER", role)
		t.Setenv(childRole, "") // as if go test had started this process
	}
	OwnProcess(t, func(t *testing.T) {
		switch os.Getenv("INNER") {
		case "skips":
			t.Skip("as told")
		case "fails":
			t.Fatal("as told")
		}
	})
}
