package cli

import (
	"errors"
	"strings"

	"github.com/capsign/cap/capsign"
)

// mending says what an operator can do about what a worker or its key provider
// met. POOL stands for the pool's name.
var mending = map[capsign.Code]string{
	capsign.PassphraseIncorrect: "correct the passphrase that the worker's configuration names, then start the worker.",
	capsign.PINIncorrect:        "correct the PIN (pin_env or pin_file), then 'cap pool resume POOL', then start the workers.",
	capsign.TokenLocked:         "unlock the token's user PIN with its maker's tool, correct the worker's PIN, then 'cap pool resume POOL', then start the workers.",
	capsign.PausedByOperator:    "'cap pool resume POOL' starts it again.",
	capsign.KeyDisabled:         "enable the key version at its provider, or mend its dates; the worker then goes on by itself.",
	capsign.ProviderDenied:      "let the worker's identity use the key; docs/providers has the least policy that does.",
	capsign.CredentialsInvalid:  "renew the worker's credentials for the provider, or restart it where they were set anew.",
	capsign.TLSUntrusted:        "check the endpoint and its certificate; a private authority belongs into key.cloudkms.ca_file.",

	capsign.AuditUnavailable:    "make room for the worker's audit log, or mend its directory's mode, then start the worker.",
	capsign.ProviderTimeout:     "check the network between worker and provider, and the provider's load; key.sign_timeout bounds a signature.",
	capsign.ProviderUnavailable: "check that the provider runs and that the worker's machine reaches it.",
	capsign.ProviderHung:        "the worker replaces itself; where that does not help, restart the token's service or plug the device in anew.",
	capsign.TokenAbsent:         "plug the token in or start its service; the token that the configuration names must be there.",
	capsign.Throttled:           "send less, or have the provider's quota raised; the worker waits as long as it is told to.",
	capsign.NoWorker:            startOne,
	capsign.KeyNotHeld:          "the keyring's active key is not in the worker's backend: bind the worker to it, or publish another keyring.",
	capsign.KeyringExpired:      "renew it: 'cap keyring renew --root FILE --reason TEXT'; the workers then go on by themselves.",
	capsign.KeyringMissing:      "the worker believes certain roots and finds no keyring of theirs: is it on the right broker?",
	capsign.KeyringStale:        "check that the worker reaches the broker, and that the newest keyring has not expired.",

	capsign.KIDUnknown:     "the worker does not hold the key version that the pool signs with: is it bound to another token or key?",
	capsign.KeyUnknown:     "the worker's provider has no such key; 'cap keys info' lists the pool's.",
	capsign.KeyAmbiguous:   "describe the key more closely in the worker's configuration, as by token_serial and key_id.",
	capsign.UnsupportedAlg: "set alg in the worker's configuration to one that the provider offers for this key.",

	capsign.Integrity: "do not use the key; find out what changed it, and only then 'cap pool resume POOL'.",
}

// advised returns err with what there is to do about it: what advice says of its
// code, else what mending does. Errors of cap's own have their hints already.
func advised(err error, pool string, advice map[capsign.Code]string) error {
	if _, isFault := errors.AsType[*fault](err); isFault || err == nil {
		return err
	}
	code := codeOf(err)
	hint := advice[code]
	if hint == "" {
		hint = mending[code]
	}
	if hint == "" {
		return err
	}
	return &fault{code: code, sentence: code.Sentence(), hint: forPool(hint, pool)}
}

// forPool returns a hint about a pool.
func forPool(hint, pool string) string { return strings.ReplaceAll(hint, "POOL", pool) }
