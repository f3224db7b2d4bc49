// Package capsign is the publisher's side of cap: it puts signing requests on
// a NATS JetStream queue, gives back the signatures that the pool's workers
// made, and verifies them offline.
//
// # Words
//
// A pool is the set of workers bound to one provider of keys. A request holds
// 1 to [MaxItems] messages to be signed with one key; its result holds one
// outcome per message. A key has versions, and each version a kid: the
// BLAKE3-256 of its public key, provider id and key name (see [KID]). Because
// the kid is recomputed from the public key wherever it is used, a list of
// public keys may travel over a broker that nobody needs to trust.
//
// # Signing
//
// A [Client] is safe for concurrent use. [Client.Sign] signs one message on the
// express lane, [Client.SignAll] packs a sequence of messages into requests on
// the bulk lane, a [Run] does so and can be taken up again after a crash, and
// [Client.Signer] is a [crypto.Signer] for code that wants
// one.
//
// # Errors
//
// Every failure wraps exactly one [Code] out of a closed set, which says whether
// a retry is safe and which status the cap command exits with:
//
//	if code, ok := errors.AsType[capsign.Code](err); ok && code.Retryable() { … }
//
// The wire format is described in docs/protocol.md.
package capsign
