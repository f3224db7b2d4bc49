package p11test

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// RemoteToken is a token on the other side of a socket.
type RemoteToken struct {
	*Token

	server *server
	socket string
}

// P11Kit puts a server between the test and a SoftHSM token, as a stand-in for
// a network HSM. Behind may be a shim's token, to make the network slow. P11-kit
// 0.24 passes on ECDSA and RSA but not Ed25519.
func P11Kit(t testing.TB, behind *Token) *RemoteToken {
	t.Helper()
	client := file(t, "p11-kit", "/usr/lib/*/pkcs11/p11-kit-client.so", "/usr/lib*/pkcs11/p11-kit-client.so")
	kit := program(t, "p11-kit", "p11-kit")
	socket := filepath.Join(socketDir(t), "s")
	r := &RemoteToken{
		Token: behind.Variant(func(tok *Token) {
			tok.Module = client
			tok.env = append(tok.Env(), "P11_KIT_SERVER_ADDRESS=unix:path="+socket)
		}),
		socket: socket,
	}
	r.setenv(t)
	r.server = serve(t, behind.env, kit, "server", "--foreground", "--name", socket,
		"--provider", behind.Module, "pkcs11:token="+behind.Label)
	r.ready(t)
	return r
}

// ready waits until the server listens.
func (r *RemoteToken) ready(t testing.TB) {
	t.Helper()
	within(t, "the server listens", func() bool { return listens("unix", r.socket) })
}

// Kill ends the server and its connections. Calls then give 0x30, after Restart
// too, until C_Finalize and C_Initialize.
func (r *RemoteToken) Kill(t testing.TB) {
	t.Helper()
	r.server.kill()
	_ = os.Remove(r.socket)
}

// Restart starts the server again after Kill.
func (r *RemoteToken) Restart(t testing.TB) {
	t.Helper()
	r.server.start(t)
	r.ready(t)
}

// Stop freezes the server: calls hang until Cont.
func (r *RemoteToken) Stop(t testing.TB) { t.Helper(); r.server.signal(t, syscall.SIGSTOP) }

// Cont undoes Stop.
func (r *RemoteToken) Cont(t testing.TB) { t.Helper(); r.server.signal(t, syscall.SIGCONT) }
