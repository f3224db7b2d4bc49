package cli

import (
	"errors"
	"strings"

	"github.com/spf13/cobra"

	"github.com/capsign/cap/capsign"
)

// hints say what a person can do about the codes that need nothing else to be
// said.
var hints = map[capsign.Code]string{
	capsign.SignatureInvalid: "compare file, signature and kid with what was signed; a trailing newline counts.",

	capsign.KeyRetired:       standings,
	capsign.KeyRevoked:       standings,
	capsign.KeyringExpired:   "its operator renews it: 'cap keyring renew'.",
	capsign.KeyringMissing:   "there is none on this broker; 'cap keyring init' begins one, and --keyring FILE names an exported one.",
	capsign.KeyringUntrusted: "'cap keyring show' shows who signed; ask its operator for the roots' fingerprints.",
	capsign.KeyringFork:      "another change came first: see 'cap rotate log', then make this one again.",
	capsign.KeyringReplayed:  "it may be an old copy: export it anew with 'cap keyring export', and find out who gave you this one.",
	capsign.RootRefused:      "'cap keyring show' lists the roots.",

	capsign.Denied: "the broker's permissions do not allow it; check --creds, or ask its operator.",

	capsign.PoolUnknown: "'cap keys info' lists the pools; a worker makes one when it starts: 'worker --pool NAME'.",
	capsign.KeyUnknown:  "'cap keys info' lists the pool's keys.",
	capsign.RunUnknown:  "'cap jobs list' shows the jobs that there are; the broker forgets them after two days.",
	capsign.KIDUnknown:  "'cap keys info' lists the kids; a kid of another pool or key needs another --pool or --key.",

	capsign.PassphraseIncorrect: "the pool waits for its operator; the worker's log says more.",
	capsign.PINIncorrect:        waitsForOperator,
	capsign.TokenLocked:         waitsForOperator,
	capsign.PausedByOperator:    waitsForOperator,
	capsign.KeyDisabled:         waitsForOperator,
	capsign.ProviderDenied:      waitsForOperator,
	capsign.CredentialsInvalid:  waitsForOperator,
	capsign.TLSUntrusted:        waitsForOperator,
	capsign.KeyNotHeld:          waitsForOperator,

	capsign.RequestExpired:      "try again, with a longer --timeout.",
	capsign.RetriesExhausted:    "the worker's log says why; then try again.",
	capsign.QueueUnavailable:    "try again in a moment.",
	capsign.ProviderTimeout:     "try again in a moment; the worker's log says more.",
	capsign.ProviderUnavailable: "try again in a moment; the worker's log says more.",
	capsign.ProviderHung:        soonOver,
	capsign.TokenAbsent:         soonOver,
	capsign.Throttled:           soonOver,
	capsign.AuditUnavailable:    soonOver,
	capsign.KeyringStale:        soonOver,
	capsign.NoWorker:            startOne,

	capsign.ResultTimeout:  "is a worker of this pool running? Signing again is safe.",
	capsign.OutcomeUnknown: "signing again is safe: nobody has seen a signature of this request.",

	capsign.Integrity: "use neither the key nor the signature; tell the pool's operator.",
	capsign.Internal:  "please report it, with the output of 'cap version'.",
}

// What several codes have in common.
const (
	waitsForOperator = "the pool waits for its operator; 'cap pool status' says why."
	standings        = "'cap rotate status' shows which kids count, and until when."
	soonOver         = "try again in a moment; 'cap pool status' says more."
	startOne         = "start one: 'systemctl start cap-worker', or 'worker'."
	noneRunning      = "No worker of the pool is running; " + startOne
)

// hint returns what a person can do about err, or "".
func (a *app) hint(cmd *cobra.Command, err error) string {
	f, isFault := errors.AsType[*fault](err)
	which, isAmbiguous := errors.AsType[*capsign.AmbiguousError](err)
	code, isCode := errors.AsType[capsign.Code](err)
	switch {
	case isFault && f.hint != "":
		return f.hint
	case (isFault && f.misuse || !isCode) && cmd != nil:
		return "run '" + cmd.CommandPath() + " --help'."
	case isFault:
		return ""
	case isAmbiguous:
		return "choose with --" + which.What + ": " + strings.Join(which.Choices, ", ")
	case code == capsign.BrokerUnreachable:
		return "tried " + a.tried + "; start a worker with 'worker', or name the broker with --nats URL."
	case code == capsign.ConfigInvalid:
		return "check the broker's address, context and credentials; cap has them from " + a.tried + "."
	}
	return hints[code]
}
