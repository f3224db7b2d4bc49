package capsign

import "errors"

// Code says why nothing was signed or why a signature was not accepted. It is
// an error: operations wrap exactly one Code with the name of what was being
// done, and [errors.AsType] gets it back on either side of the broker.
//
// The set is closed; [Codes] lists it and docs/codes.md describes it.
type Code string

// The closed set of codes, in the order of their exit status.
const (
	// Unpinned goes with a signature that verifies while no keyring is pinned:
	// the kid vouches for its key, but nothing is known of rotation.
	Unpinned Code = "unpinned"

	SignatureInvalid Code = "signature_invalid"
	KeyRetired       Code = "key_retired"
	KeyRevoked       Code = "key_revoked"
	KeyringExpired   Code = "keyring_expired"
	BudgetExceeded   Code = "budget_exceeded"

	BadRequest         Code = "bad_request"
	TooLarge           Code = "too_large"
	UnsupportedVersion Code = "unsupported_version"
	UnsupportedScheme  Code = "unsupported_scheme"
	UnsupportedAlg     Code = "unsupported_alg"
	ExpiryTooFar       Code = "expiry_too_far"
	Ambiguous          Code = "ambiguous"
	RootRefused        Code = "root_refused"
	ArtifactChanged    Code = "artifact_changed"

	Denied     Code = "denied"
	IDConflict Code = "id_conflict"

	PoolUnknown     Code = "pool_unknown"
	KeyUnknown      Code = "key_unknown"
	KIDUnknown      Code = "kid_unknown"
	KeyringMissing  Code = "keyring_missing"
	ArtifactUnknown Code = "artifact_unknown"
	RunUnknown      Code = "run_unknown"
	LetterUnknown   Code = "letter_unknown"

	PassphraseIncorrect Code = "passphrase_incorrect"
	PINIncorrect        Code = "pin_incorrect"
	TokenLocked         Code = "token_locked"
	PausedByOperator    Code = "pool_paused"
	KeyNotHeld          Code = "key_not_held"
	KeyDisabled         Code = "key_disabled"
	ProviderDenied      Code = "provider_denied"
	CredentialsInvalid  Code = "credentials_invalid"
	TLSUntrusted        Code = "tls_untrusted"

	RequestExpired      Code = "request_expired"
	RetriesExhausted    Code = "retries_exhausted"
	RegistryUnavailable Code = "registry_unavailable"
	NoWorker            Code = "no_worker"
	QueueUnavailable    Code = "queue_unavailable"
	AuditUnavailable    Code = "audit_unavailable"
	KeyringStale        Code = "keyring_stale"
	ProviderTimeout     Code = "provider_timeout"
	ProviderUnavailable Code = "provider_unavailable"
	ProviderHung        Code = "provider_hung"
	TokenAbsent         Code = "token_absent"
	Throttled           Code = "throttled"
	BudgetInconclusive  Code = "budget_inconclusive"

	ResultTimeout  Code = "result_timeout"
	OutcomeUnknown Code = "outcome_unknown"

	ConfigInvalid    Code = "config_invalid"
	KeyFileUnsafe    Code = "key_file_unsafe"
	KeyFileInvalid   Code = "key_file_invalid"
	KeyAmbiguous     Code = "key_ambiguous"
	ModuleInvalid    Code = "module_invalid"
	ProviderNotBuilt Code = "provider_not_built"
	ClockSkew        Code = "clock_skew"
	DataDirInUse     Code = "data_dir_in_use"
	QueueMismatch    Code = "queue_mismatch"
	QueueNotDurable  Code = "queue_not_durable"

	BrokerUnreachable Code = "broker_unreachable"

	Integrity        Code = "integrity"
	KeyringUntrusted Code = "keyring_untrusted"
	KeyringFork      Code = "keyring_fork"
	KeyringReplayed  Code = "keyring_replayed"
	AuditBroken      Code = "audit_broken"

	Internal Code = "internal"
)

// Fate is what a worker does with the queued message of a request that it
// refuses.
type Fate string

const (
	// FateAnswered means the refusal is stored as the request's one result and
	// the message leaves the queue.
	FateAnswered Fate = "answered"
	// FateRedelivered means nothing is stored and the message comes back after
	// a growing delay, until the request expires or its tries run out.
	FateRedelivered Fate = "redelivered"
	// FateHeld means the message comes back as well, and that the worker takes
	// no further requests until its provider signs again.
	FateHeld Fate = "held"
	// FateLatched means the message comes back and the whole pool stands still,
	// over restarts too, until an operator resumes it with cap pool resume.
	FateLatched Fate = "latched"
	// FateNone means the code never meets a queued message: it arises at the
	// publisher, at a verifier or when a worker starts.
	FateNone Fate = "none"
)

// codeInfo is one row of the table of codes.
type codeInfo struct {
	code      Code
	retryable bool
	fate      Fate
	exit      int
	sentence  string
}

// codeTable holds every code once. Exit statuses: 0 ok, 1 verification, or a
// budget, says no, 2 usage or bad input, 3 denied, 4 not found, 5 provider needs
// an operator, 6 temporary, 7 outcome unknown, 8 configuration, 9 broker
// unreachable, 10 integrity alarm, 70 bug.
var codeTable = []codeInfo{
	{Unpinned, false, FateNone, 0, "The signature is valid; no keyring is pinned, so nothing is known of the key's rotation."},

	{SignatureInvalid, false, FateNone, 1, "The signature does not belong to this message and key."},
	{KeyRetired, false, FateAnswered, 1, "The key has been retired; its signatures no longer count."},
	{KeyRevoked, false, FateAnswered, 1, "The key has been revoked; its signatures never count again."},
	{KeyringExpired, false, FateHeld, 1, "The keyring has expired; its keys neither sign nor verify before it is renewed."},
	{BudgetExceeded, false, FateNone, 1, "What was measured is not within its budget."},

	{BadRequest, false, FateAnswered, 2, "The request is malformed."},
	{TooLarge, false, FateAnswered, 2, "The message is larger than the queue or the key accepts."},
	{UnsupportedVersion, false, FateAnswered, 2, "The request's version is not one this worker reads."},
	{UnsupportedScheme, false, FateAnswered, 2, "The key does not sign in this scheme."},
	{UnsupportedAlg, false, FateAnswered, 2, "The provider does not offer this algorithm."},
	{ExpiryTooFar, false, FateAnswered, 2, "The request's expiry is later than results are kept."},
	{Ambiguous, false, FateNone, 2, "More than one pool or key fits; name one."},
	{RootRefused, false, FateNone, 2, "The root key cannot be used: its file or its passphrase is not right."},
	{ArtifactChanged, false, FateNone, 2, "The artifact is not what it was when it was first sent, or not what its manifest says."},

	{Denied, false, FateAnswered, 3, "The requester may not do this."},
	{IDConflict, false, FateAnswered, 3, "This request id already belongs to another request."},

	{PoolUnknown, false, FateNone, 4, "No worker has served this pool on this broker."},
	{KeyUnknown, false, FateAnswered, 4, "The pool has no key of this name."},
	{KIDUnknown, false, FateAnswered, 4, "No key with this kid is known."},
	{KeyringMissing, false, FateHeld, 4, "A keyring is required here, and there is none to be found."},
	{ArtifactUnknown, false, FateNone, 4, "The registry has no such artifact, or nothing signed is attached to it."},
	{RunUnknown, false, FateNone, 4, "The broker knows no such run, or knows it no longer."},
	{LetterUnknown, false, FateNone, 4, "There is no dead letter of this number."},

	{PassphraseIncorrect, false, FateNone, 5, "The passphrase does not open the key file."},
	{PINIncorrect, false, FateLatched, 5, "The token refused the worker's PIN; nobody tries again before the pool is resumed."},
	{TokenLocked, false, FateLatched, 5, "The token is locked after wrong PINs; unlock it, then resume the pool."},
	{PausedByOperator, false, FateLatched, 5, "An operator has paused the pool."},
	{KeyNotHeld, false, FateHeld, 5, "The key that the keyring has sign is not in the worker's backend."},
	{KeyDisabled, false, FateHeld, 5, "The key is disabled, expired or not ready at its provider."},
	{ProviderDenied, false, FateHeld, 5, "The key provider does not let the worker use the key."},
	{CredentialsInvalid, false, FateHeld, 5, "The worker's credentials for the key provider are missing, wrong or expired."},
	{TLSUntrusted, false, FateHeld, 5, "The key provider's certificate is not trusted."},

	{RequestExpired, false, FateAnswered, 6, "The request expired before it was signed; send a new one."},
	{RetriesExhausted, false, FateAnswered, 6, "The request was tried too many times without an outcome."},
	{RegistryUnavailable, true, FateNone, 6, "The registry cannot be reached, or does not answer as one."},
	{NoWorker, true, FateNone, 6, "No worker of the pool is running."},
	{QueueUnavailable, true, FateRedelivered, 6, "The queue takes no messages at the moment."},
	{AuditUnavailable, true, FateHeld, 6, "The worker cannot record what it does; it releases nothing."},
	{KeyringStale, true, FateHeld, 6, "The worker cannot make sure that its keyring is the latest; it signs nothing."},
	{ProviderTimeout, true, FateHeld, 6, "The key provider did not answer in time."},
	{ProviderUnavailable, true, FateHeld, 6, "The key provider cannot be reached at the moment."},
	{ProviderHung, true, FateHeld, 6, "A call into the key provider does not return; the worker replaces itself."},
	{TokenAbsent, true, FateHeld, 6, "The token is not there."},
	{Throttled, true, FateHeld, 6, "The key provider's quota is used up for the moment."},
	{BudgetInconclusive, false, FateNone, 6, "Too little was measured to say whether the budget holds."},

	{ResultTimeout, true, FateNone, 7, "The request was accepted, but no result came in time."},
	{OutcomeUnknown, true, FateNone, 7, "It is not known whether the request was accepted."},

	{ConfigInvalid, false, FateNone, 8, "The configuration cannot be used."},
	{KeyFileUnsafe, false, FateNone, 8, "The key file could be read or replaced by others."},
	{KeyFileInvalid, false, FateNone, 8, "The key file does not hold one whole private key."},
	{KeyAmbiguous, false, FateNone, 8, "More than one token or key fits the configuration; describe it more closely."},
	{ModuleInvalid, false, FateNone, 8, "The PKCS#11 module is missing or is not one."},
	{ProviderNotBuilt, false, FateNone, 8, "This worker is built without the provider."},
	{ClockSkew, false, FateNone, 8, "The worker's clock and the broker's differ by more than two seconds."},
	{DataDirInUse, false, FateNone, 8, "Another worker uses this data directory."},
	{QueueMismatch, false, FateNone, 8, "A stream or bucket of this name exists with other settings."},
	{QueueNotDurable, false, FateNone, 8, "The broker acknowledges messages before they are on disk."},

	{BrokerUnreachable, true, FateNone, 9, "The broker cannot be reached."},

	{Integrity, false, FateLatched, 10, "A signature or key failed its check; it was not released."},
	{KeyringUntrusted, false, FateNone, 10, "The keyring is not signed by the roots that are pinned here."},
	{KeyringFork, false, FateNone, 10, "There are two different keyrings of one version, or one that does not continue what was known."},
	{KeyringReplayed, false, FateNone, 10, "The keyring is older than one that was seen here."},
	{AuditBroken, false, FateNone, 10, "The audit log does not hold together: a record was changed, removed or put in between."},

	{Internal, false, FateAnswered, 70, "An unexpected error occurred; this is a bug."},
}

// codeIndex finds a code's row.
var codeIndex = func() map[Code]codeInfo {
	index := make(map[Code]codeInfo, len(codeTable))
	for _, row := range codeTable {
		index[row.code] = row
	}
	return index
}()

// CodeOf returns the code that err wraps, or [Internal] where it wraps none of
// the closed set.
func CodeOf(err error) Code {
	if code, ok := errors.AsType[Code](err); ok && code.Known() {
		return code
	}
	return Internal
}

// Codes returns the closed set of codes, ordered by exit status.
func Codes() []Code {
	codes := make([]Code, len(codeTable))
	for i, row := range codeTable {
		codes[i] = row.code
	}
	return codes
}

// Error returns the code itself, such as "kid_unknown".
func (c Code) Error() string { return string(c) }

// Known reports whether c belongs to the closed set.
func (c Code) Known() bool { _, ok := codeIndex[c]; return ok }

// Retryable reports whether sending the same request again, with the same id,
// can succeed without anything else changing.
func (c Code) Retryable() bool { return c.row().retryable }

// Fate returns what a worker does with the message of a request refused so.
func (c Code) Fate() Fate { return c.row().fate }

// ExitStatus returns the status the cap and worker commands exit with.
func (c Code) ExitStatus() int { return c.row().exit }

// Sentence returns the one fixed English sentence that explains c.
func (c Code) Sentence() string { return c.row().sentence }

// row returns c's row; a code from outside the set is treated as Internal.
func (c Code) row() codeInfo {
	if row, ok := codeIndex[c]; ok {
		return row
	}
	return codeIndex[Internal]
}
