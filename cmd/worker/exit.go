package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/capsign/cap/capsign"
)

// errUsage is a command line that cannot be obeyed.
var errUsage = errors.New("usage")

// checkFlags refuses flags that exclude one another.
func checkFlags(changed func(string) bool) error {
	brokers := 0
	for _, name := range []string{"nats", "context", "listen"} {
		if changed(name) {
			brokers++
		}
	}
	if brokers > 1 {
		return fmt.Errorf("%w: --nats, --context and --listen exclude one another", errUsage)
	}
	return nil
}

// hints say what to do about the codes a worker can end with.
var hints = map[capsign.Code]string{
	capsign.BrokerUnreachable:   "is the NATS server running, and is --nats right? Without --nats the worker brings its own.",
	capsign.DataDirInUse:        "stop the other worker, or give this one its own --data DIR.",
	capsign.QueueMismatch:       "the broker needs JetStream, and cap's streams their own settings: see docs/operations.md.",
	capsign.QueueNotDurable:     "set sync_interval: always on the broker, or nats.allow_lazy_sync: true to accept losses.",
	capsign.AuditBroken:         "keep the audit log as it is, and find out who could write to it.",
	capsign.AuditUnavailable:    "free space on the disk of the data directory, then start the worker again.",
	capsign.KeyUnknown:          "make the key with 'worker keys generate', or correct its name in the configuration.",
	capsign.KeyFileUnsafe:       "the key file must belong to the worker's user, chmod 600, in a directory nobody else can write to.",
	capsign.KeyFileInvalid:      "restore the key file from a copy; the worker does not repair or replace keys.",
	capsign.PassphraseIncorrect: "check key.software.passphrase_env or passphrase_file.",
	capsign.PINIncorrect:        "correct the PIN, resume the pool ('cap pool resume POOL', or 'worker resume' for the embedded server), then start the worker.",
	capsign.TokenLocked:         "unlock the token with its own tools, resume the pool ('cap pool resume POOL', or 'worker resume' for the embedded server), then start the worker.",
	capsign.TokenAbsent:         "is the token plugged in, and are token_label, token_serial or slot right? See docs/providers/README.md.",
	capsign.ModuleInvalid:       "key.pkcs11.module must be the absolute path of the vendor's PKCS#11 library.",
	capsign.ProviderNotBuilt:    "build the worker with CGO_ENABLED=1, or use the provider software or cloudkms.",
	capsign.KeyAmbiguous:        "name the token by token_label or token_serial, and the key by key_id.",
	capsign.KeyDisabled:         "enable the key version at its provider, or name another in key.cloudkms.version.",
	capsign.ProviderDenied:      "the worker's identity needs the permissions in docs/providers.",
	capsign.CredentialsInvalid:  "the worker finds its credentials as the vendor's own tools do: see docs/providers.",
	capsign.TLSUntrusted:        "name the endpoint's certificate authority in key.cloudkms.ca_file.",
	capsign.ClockSkew:           "set the clocks of this machine and of the broker's, by NTP.",
	capsign.KeyringUntrusted:    "keyring.json in the data directory was changed by others, or keyring.roots names other roots.",
	capsign.UnsupportedAlg:      "see docs/providers/README.md for what each provider signs with.",
}

// exitStatus prints err, if any, for a person and returns the exit status.
func exitStatus(err error, stderr io.Writer) int {
	if err == nil {
		return 0
	}
	code, coded := errors.AsType[capsign.Code](err)
	switch {
	case code == capsign.ConfigInvalid, code == capsign.AuditBroken: // these say where
		fmt.Fprintf(stderr, "worker: %v\n", err)
	case coded:
		fmt.Fprintf(stderr, "worker: %s (%s)\n", code.Sentence(), code)
	default: // cobra's own
		fmt.Fprintf(stderr, "worker: %v\nhint: run 'worker --help'\n", err)
		return capsign.BadRequest.ExitStatus()
	}
	if hint, ok := hints[code]; ok {
		fmt.Fprintf(stderr, "hint: %s\n", hint)
	}
	return code.ExitStatus()
}
