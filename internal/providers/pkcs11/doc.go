// Package pkcs11 is the provider whose private keys are on a token: an HSM, a
// TPM or a software token, behind a vendor's PKCS#11 module. The module runs in
// the worker's process, so the package keeps it at arm's length.
//
//   - One state per module and process, shared by all providers: who comes last
//     to leave finalises it, and only when no call is inside.
//   - No caller's goroutine enters a module. A few threads do, each with one
//     session; a call that does not return costs its thread and nothing more.
//   - One login per token. After a wrong PIN nobody tries another before the
//     guard, which knows of all workers, has let them.
//   - Handles, key types and public keys are looked up once. A lost session is
//     opened again, a lost login renewed, a lost device initialised again, each
//     once for all callers, and a key is only used again if its public key is
//     still the one that was pinned.
//
// The first version of a key bears the key's label, version n the label and
// ".n". The highest number is the current version.
//
// Without cgo, or with the build tag nopkcs11, there is a stub in its place.
package pkcs11
