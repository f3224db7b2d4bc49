// Package config reads a worker's configuration: one struct, loaded strictly,
// with every fault of a file reported at once. Secrets are not part of it: the
// file names environment variables and files that hold them.
package config

import (
	"log/slog"
	"time"

	"github.com/capsign/cap/capsign"
)

// DefaultListen is where the embedded server listens unless told otherwise.
const DefaultListen = "127.0.0.1:4222"

// DefaultKeyName is the name of a key that nothing else names.
const DefaultKeyName = "cap-signing"

// The vendors of [CloudKMS].
const (
	VendorGCP   = "gcp"
	VendorAWS   = "aws"
	VendorAzure = "azure"
)

// Config is everything a worker is told. Its zero value is not usable; Default
// is. What the OTEL_* environment variables say is said only there.
type Config struct {
	// Key says which key signs, and where it is kept.
	Key Key `yaml:"key"`
	// Purpose is empty, or root: the worker then signs keyrings and nothing else.
	// Any other worker signs anything but keyrings.
	Purpose string `yaml:"purpose"`
	// Pool is the pool the worker serves, 1 to 32 characters out of A-Z, a-z,
	// 0-9, "_" and "-". Default "default".
	Pool string `yaml:"pool"`
	// Data is the directory that keeps what outlives a worker: the embedded
	// server's state and software keys. A relative path starts at the working
	// directory. Default "./data".
	Data string `yaml:"data"`
	// NATS says which broker to use; its zero value is the embedded server.
	NATS NATS `yaml:"nats"`
	// Queue bounds the worker's work and what the broker keeps of it.
	Queue Queue `yaml:"queue"`
	// Keyring says which keyrings decide what signs.
	Keyring Keyring `yaml:"keyring"`
	// Log says what is logged, and how.
	Log Log `yaml:"log"`
}

// Key names one key and the provider that holds it. Only the section of the
// selected provider is used; the others may stand beside it.
type Key struct {
	// Name is the key's logical name, which goes into its kid. Empty means what
	// [Config.KeyName] says.
	Name string `yaml:"name"`
	// Provider is software, pkcs11 or cloudkms. It must be given where there is
	// a key section; without one it is software.
	Provider string `yaml:"provider"`
	// Software keeps keys in files. Its zero value is usable.
	Software Software `yaml:"software"`
	// PKCS11 is an HSM, a token or a TPM behind a PKCS#11 module.
	PKCS11 PKCS11 `yaml:"pkcs11"`
	// CloudKMS is a key in a cloud's key management service.
	CloudKMS CloudKMS `yaml:"cloudkms"`
	// SignTimeout bounds one signature, its provider's retries included, 100 ms
	// to 1 min. Default 5 s.
	SignTimeout time.Duration `yaml:"sign_timeout"`
	// Fallback is empty, or software: a key of Software then signs, under its own
	// kid, while the provider is away. It excludes the provider software.
	Fallback string `yaml:"fallback"`
	// AllowGenerate lets cap keys generate make further versions through the
	// queue. Nil means only behind the embedded server.
	AllowGenerate *bool `yaml:"allow_generate"`
}

// Software says where key files are and how they are protected.
type Software struct {
	// Dir is the directory of the key files; empty means keys under Data.
	Dir string `yaml:"dir"`
	// Alg is the algorithm a generated key gets, Ed25519 or ES256. Default
	// Ed25519.
	Alg capsign.Alg `yaml:"alg"`
	// PassphraseEnv names the environment variable that holds the passphrase of
	// the key files; empty means PassphraseFile.
	PassphraseEnv string `yaml:"passphrase_env"`
	// PassphraseFile is the path of a file that holds it. Where both are empty
	// the key files are not encrypted.
	PassphraseFile string `yaml:"passphrase_file"`
	// Generate makes a key where there is none yet; false refuses to start.
	// Default true.
	Generate bool `yaml:"generate"`
}

// PKCS11 says where a token's key is found. Module, one of KeyLabel and KeyID,
// and one of PINEnv and PINFile must be given, in URI or beside it.
type PKCS11 struct {
	// Module is the absolute path of the vendor's library.
	Module string `yaml:"module"`
	// URI is a PKCS#11 URI (RFC 7512) that may say the module, the token, the
	// key and the PIN file; what it says must not be said again. [Parse] puts it
	// into those fields and leaves URI empty, as Resolve does. Empty means none.
	URI string `yaml:"uri"`
	// TokenLabel is the token's label; empty means any.
	TokenLabel string `yaml:"token_label"`
	// TokenSerial is the token's serial number; empty means any.
	TokenSerial string `yaml:"token_serial"`
	// Slot is the token's slot id or, where no slot has it, the index among the
	// initialised tokens; nil means any. It excludes TokenLabel and TokenSerial.
	Slot *uint `yaml:"slot"`
	// PINEnv names the environment variable that holds the user PIN; empty
	// means PINFile.
	PINEnv string `yaml:"pin_env"`
	// PINFile is the path of a file that holds it; empty means PINEnv.
	PINFile string `yaml:"pin_file"`
	// KeyLabel is the CKA_LABEL of the key's first version; version n is labelled
	// KeyLabel.n. Empty means KeyID alone.
	KeyLabel string `yaml:"key_label"`
	// KeyID is the key pair's CKA_ID in hexadecimal, 1 to 64 bytes, and pins one
	// version; empty means all versions of KeyLabel.
	KeyID string `yaml:"key_id"`
	// KeyPINEnv and KeyPINFile are where the PIN of a key with
	// CKA_ALWAYS_AUTHENTICATE is, if it differs from the user PIN; empty means
	// the user PIN.
	KeyPINEnv  string `yaml:"key_pin_env"`
	KeyPINFile string `yaml:"key_pin_file"`
	// Alg is the algorithm: of a generated key, and of an RSA key, which offers
	// two. Empty means ES256 for a generated key, PS256 for RSA.
	Alg capsign.Alg `yaml:"alg"`
	// Sessions is how many signatures the token makes at once, within the
	// token's own limit; zero means two per CPU, or one for the class chip.
	Sessions int `yaml:"sessions"`
	// Class is token or chip; empty means what the module looks like.
	Class capsign.Class `yaml:"class"`
	// InitArgs is passed to C_Initialize as its reserved string, which NSS needs;
	// empty means none.
	InitArgs string `yaml:"init_args"`
}

// CloudKMS says where a cloud key is found. Credentials come from the vendor's
// own chain: application default credentials, the AWS credential chain,
// DefaultAzureCredential.
type CloudKMS struct {
	// Vendor is gcp, aws or azure. Default gcp.
	Vendor string `yaml:"vendor"`
	// Endpoint is the URL of a private endpoint; empty means the vendor's own.
	// For azure only the address is taken from it: who answers there must prove
	// to be VaultURL's host. For the others plain http is accepted on loopback,
	// and no credentials are sent there.
	Endpoint string `yaml:"endpoint"`
	// CAFile is a PEM file of the certificates that are trusted instead of the
	// system's; empty means the system's.
	CAFile string `yaml:"ca_file"`
	// Alg is the algorithm, for aws and azure: of a generated key, and of an RSA
	// key, which offers two. Empty means ES256, PS256 for RSA; for azure's
	// further versions, that of the newest. A gcp key has its algorithm itself.
	Alg capsign.Alg `yaml:"alg"`

	// Project is the gcp project that owns the key ring.
	Project string `yaml:"project"`
	// Location is the gcp key ring's location.
	Location string `yaml:"location"`
	// KeyRing is the gcp key ring's name.
	KeyRing string `yaml:"keyring"`
	// Region is the aws region; empty means that of the ARN in Key, else that of
	// the SDK's chain.
	Region string `yaml:"region"`
	// VaultURL is the azure vault, such as https://my-vault.vault.azure.net.
	VaultURL string `yaml:"vault_url"`
	// Key is the key's name in gcp's ring or azure's vault; for aws a key id, a
	// key ARN, an alias such as alias/cap-signer, or an alias ARN.
	Key string `yaml:"key"`
	// Version is gcp's or azure's key version, or "latest", which is resolved
	// once, when the worker starts. Empty means "latest", with all enabled
	// versions; a version alone pins that one.
	Version string `yaml:"version"`
}

// NATS says which broker to use. URL, Context and Listen exclude one another;
// where all are empty the embedded server runs on [DefaultListen].
type NATS struct {
	// URL is a server, or several of one cluster with commas. It holds no user
	// or password: Creds does. Empty means Context or the embedded server.
	URL string `yaml:"url"`
	// Context is the name of a context of the nats command's, which brings its
	// own credentials. Empty means URL or the embedded server.
	Context string `yaml:"context"`
	// Creds is the path of a credentials file and goes with URL; empty means
	// none.
	Creds string `yaml:"creds"`
	// Listen is the loopback address and port of the embedded server; port 0
	// picks a free one. Empty means [DefaultListen].
	Listen string `yaml:"listen"`
	// AllowLazySync accepts a broker that acknowledges messages before they are
	// on disk: a power cut then loses requests. False refuses to start.
	AllowLazySync bool `yaml:"allow_lazy_sync"`
}

// Queue bounds the work in hand and what the broker keeps. Sizes, ages and
// replicas apply when a stream is created; existing ones stay as they are.
type Queue struct {
	// Parallelism is how many signatures are made at once; zero means one per
	// CPU.
	Parallelism int `yaml:"parallelism"`
	// MaxRate is how many signatures a second this worker asks its provider for
	// at most; zero means as many as there are requests. Workers share a vendor's
	// quota: each gets its part.
	MaxRate int `yaml:"max_rate"`
	// Prefetch is how many requests each lane holds beyond those being signed;
	// zero means twice Parallelism, and at least 64 for software keys.
	Prefetch int `yaml:"prefetch"`
	// ExpressAckWait is how long after a crash a one-off's request is delivered
	// to another worker. Default 1 s.
	ExpressAckWait time.Duration `yaml:"express_ack_wait"`
	// BulkAckWait is the same for a pipeline's. Default 5 s.
	BulkAckWait time.Duration `yaml:"bulk_ack_wait"`
	// MaxDeliveries is after how many deliveries a request is given up and kept
	// as a dead letter. Default 10.
	MaxDeliveries int `yaml:"max_deliveries"`
	// ResultKeep is how long results are kept, and the latest expiry a request
	// may ask for. Default 24 hours.
	ResultKeep time.Duration `yaml:"result_keep"`
	// JobsMaxBytes bounds the pool's queued requests. Default 1 GiB.
	JobsMaxBytes int64 `yaml:"jobs_max_bytes"`
	// ResultsMaxBytes bounds the kept results of all pools. Default 4 GiB.
	ResultsMaxBytes int64 `yaml:"results_max_bytes"`
	// Replicas is how many of a cluster's servers keep each stream, 1 to 5.
	// Default 1.
	Replicas int `yaml:"replicas"`
	// VerifySignatures checks a software key's signatures before they leave,
	// which doubles their cost. Those of other providers are always checked.
	VerifySignatures bool `yaml:"verify_signatures"`
}

// Keyring says which keyrings the worker follows. Where the broker has none, the
// provider's own current key signs.
type Keyring struct {
	// Roots are the fingerprints of the root keys that are believed: the
	// hexadecimal SHA-256 of a root's SubjectPublicKeyInfo. With roots, nothing is
	// signed before there is a keyring of theirs; without, the roots of the first
	// keyring that is seen are believed from then on.
	Roots []string `yaml:"roots"`
	// Threshold is how many of Roots must have signed the first keyring that is
	// followed. Default 1.
	Threshold int `yaml:"threshold"`
	// MaxStale is for how long the worker signs without having been able to make
	// sure that its keyring is the latest. Default 1 minute.
	MaxStale time.Duration `yaml:"max_stale"`
}

// Log says what is logged, and how. No level logs a message or a secret.
type Log struct {
	// Level is the least level that is logged. Its zero value, the default, is
	// info.
	Level slog.Level `yaml:"level"`
	// Format is text or json. Default text.
	Format string `yaml:"format"`
}

// Default returns the configuration of a worker without arguments: a software
// key, made at the first start, behind the embedded server.
func Default() Config {
	return Config{
		Key: Key{Provider: capsign.ProviderSoftware, SignTimeout: 5 * time.Second,
			Software: Software{Alg: capsign.Ed25519, Generate: true}, CloudKMS: CloudKMS{Vendor: VendorGCP}},
		Pool: "default",
		Data: "./data",
		Queue: Queue{
			ExpressAckWait:  time.Second,
			BulkAckWait:     5 * time.Second,
			MaxDeliveries:   10,
			ResultKeep:      24 * time.Hour,
			JobsMaxBytes:    1 << 30,
			ResultsMaxBytes: 4 << 30,
			Replicas:        1,
		},
		Keyring: Keyring{Threshold: 1, MaxStale: time.Minute},
		Log:     Log{Format: "text"},
	}
}
