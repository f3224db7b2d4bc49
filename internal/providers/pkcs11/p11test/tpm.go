package p11test

import (
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// TPMToken is a token in a TPM, which swtpm emulates, behind tpm2-pkcs11. A
// resource manager stands between, so that several keys and processes work.
type TPMToken struct {
	*Token

	device *server // swtpm
	broker *server // the resource manager
	port   int     // of the device; its control channel has the next
}

// busConfig is the private message bus that the resource manager offers itself
// on.
const busConfig = `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>session</type><listen>unix:path=SOCKET</listen><auth>EXTERNAL</auth>
<policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/></policy>
</busconfig>
`

// TPM makes a TPM with an initialised token. It signs with P-256, P-384 and RSA,
// about 150 times a second.
func TPM(t testing.TB) *TPMToken {
	t.Helper()
	module := file(t, "libtpm2-pkcs11-1", "/usr/lib/*/pkcs11/libtpm2_pkcs11.so", "/usr/lib*/pkcs11/libtpm2_pkcs11.so", "/usr/lib/*/libtpm2_pkcs11.so.1")
	file(t, "libtss2-tcti-tabrmd0", "/usr/lib/*/libtss2-tcti-tabrmd.so.0", "/usr/lib*/libtss2-tcti-tabrmd.so.0")
	file(t, "libtss2-tcti-swtpm0", "/usr/lib/*/libtss2-tcti-swtpm.so.0", "/usr/lib*/libtss2-tcti-swtpm.so.0")
	program(t, "tpm2-tools", "tpm2_dictionarylockout")
	bus := startBus(t)
	tcti := "tabrmd:bus_type=session"
	tpm := &TPMToken{Token: &Token{
		Module: module, admin: module, Label: "cap-tpm", PIN: UserPIN, SOPIN: soPIN,
		env: []string{
			"DBUS_SESSION_BUS_ADDRESS=unix:path=" + bus,
			"TPM2_PKCS11_TCTI=" + tcti, "TPM2TOOLS_TCTI=" + tcti, "TPM2_PKCS11_STORE=" + t.TempDir(),
			"TPM2_PKCS11_LOG_LEVEL=0", "TSS2_LOG=all+NONE", // or it writes to our standard error
		},
	}}
	tpm.setenv(t)
	tpm.startDevice(t)
	tpm.startBroker(t)
	tpm.initToken(t)
	return tpm
}

// startBus starts a message bus and returns its socket.
func startBus(t testing.TB) string {
	t.Helper()
	dir := socketDir(t)
	socket, config := filepath.Join(dir, "bus"), filepath.Join(dir, "bus.conf")
	if err := os.WriteFile(config, []byte(strings.Replace(busConfig, "SOCKET", socket, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	serve(t, nil, program(t, "dbus", "dbus-daemon"), "--config-file="+config, "--nofork", "--nopidfile")
	within(t, "the message bus listens", func() bool { return listens("unix", socket) })
	return socket
}

// startDevice starts swtpm on a free pair of ports, or on the next where
// somebody else took one first.
func (tpm *TPMToken) startDevice(t testing.TB) {
	t.Helper()
	swtpm, state := program(t, "swtpm", "swtpm"), t.TempDir()
	for range 5 {
		tpm.port = freePorts(t)
		tpm.device = serve(t, nil, swtpm, "socket", "--tpm2", "--tpmstate", "dir="+state,
			"--server", "type=tcp,bindaddr=127.0.0.1,port="+strconv.Itoa(tpm.port),
			"--ctrl", "type=tcp,bindaddr=127.0.0.1,port="+strconv.Itoa(tpm.port+1),
			"--flags", "not-need-init,startup-clear")
		if tpm.deviceListens(t) {
			return
		}
	}
	t.Fatal("p11test: swtpm does not start")
}

// deviceListens waits for the device and reports whether it is there.
func (tpm *TPMToken) deviceListens(t testing.TB) bool {
	t.Helper()
	there := false
	within(t, "swtpm listens", func() bool {
		// Its control channel: the other takes one connection only, the broker's.
		there = listens("tcp", loopback(tpm.port+1))
		return there || tpm.device.ended()
	})
	return there && !tpm.device.ended()
}

// startBroker starts the resource manager and waits until it answers.
func (tpm *TPMToken) startBroker(t testing.TB) {
	t.Helper()
	args := []string{"--session", "--tcti=swtpm:host=127.0.0.1,port=" + strconv.Itoa(tpm.port)}
	if os.Geteuid() == 0 {
		args = append(args, "--allow-root")
	}
	tpm.broker = serve(t, tpm.env, program(t, "tpm2-abrmd", "tpm2-abrmd"), args...)
	tpm.ready(t)
}

// ready waits until the TPM answers through the resource manager.
func (tpm *TPMToken) ready(t testing.TB) {
	t.Helper()
	within(t, "the TPM answers", func() bool {
		_, err := tpm.try(t, "tpm2_getrandom", "--hex", "1")
		return err == nil
	})
}

// initToken makes the token and its PINs.
func (tpm *TPMToken) initToken(t testing.TB) {
	t.Helper()
	program(t, "opensc", "pkcs11-tool")
	tpm.run(t, "pkcs11-tool", "--module", tpm.admin, "--slot-index", "0", "--init-token", "--label", tpm.Label, "--so-pin", tpm.SOPIN)
	tpm.run(t, "pkcs11-tool", "--module", tpm.admin, "--token-label", tpm.Label, "--init-pin", "--so-pin", tpm.SOPIN,
		"--login", "--login-type", "so", "--pin", tpm.PIN, "--new-pin", tpm.PIN)
	for serial := range tpm.serials(t) {
		tpm.Serial = serial
	}
}

// Kill ends the TPM and its resource manager. Signatures then give 0x5, after
// Restart too, until C_Finalize and C_Initialize.
func (tpm *TPMToken) Kill(t testing.TB) {
	t.Helper()
	tpm.broker.kill()
	tpm.device.kill()
}

// Restart starts them again after Kill, with the same keys.
func (tpm *TPMToken) Restart(t testing.TB) {
	t.Helper()
	tpm.device.start(t)
	if !tpm.deviceListens(t) {
		t.Fatal("p11test: swtpm does not start again")
	}
	tpm.broker.start(t)
	tpm.ready(t)
}

// Stop freezes the TPM: calls hang until Cont.
func (tpm *TPMToken) Stop(t testing.TB) { t.Helper(); tpm.device.signal(t, syscall.SIGSTOP) }

// Cont undoes Stop.
func (tpm *TPMToken) Cont(t testing.TB) { t.Helper(); tpm.device.signal(t, syscall.SIGCONT) }

// Lock locks the whole TPM for 1000 s, as its protection from dictionary attacks
// does after wrong PINs, given in processes of their own. The right PIN then
// gives 0xA4. A process that is logged in gets 0x5 for a signature with a key it
// has used before, 0xA4 with another.
func (tpm *TPMToken) Lock(t testing.TB) {
	t.Helper()
	for range 8 {
		out, err := tpm.try(t, "pkcs11-tool", "--module", tpm.admin, "--token-label", tpm.Label, "--login", "--pin", WrongPIN, "--list-objects")
		if err == nil {
			t.Fatalf("p11test: logged in with a wrong PIN\n%s", out)
		}
		if strings.Contains(out, "CKR_PIN_LOCKED") {
			return
		}
	}
	t.Fatal("p11test: wrong PINs do not lock the TPM")
}

// Unlock ends the lock-out.
func (tpm *TPMToken) Unlock(t testing.TB) {
	t.Helper()
	tpm.run(t, "tpm2_dictionarylockout", "--clear-lockout")
}

// freePorts returns a port of which, and of its successor, nobody listens on.
func freePorts(t testing.TB) int {
	t.Helper()
	for range 20 {
		first, err := net.Listen("tcp", loopback(0))
		if err != nil {
			t.Fatal(err)
		}
		port := first.Addr().(*net.TCPAddr).Port
		next, err := net.Listen("tcp", loopback(port+1))
		_ = first.Close()
		if err == nil {
			_ = next.Close()
			return port
		}
	}
	t.Fatal("p11test: no two free ports in a row")
	return 0
}
