package cli

import (
	"context"
	"errors"

	"github.com/nats-io/nats.go"
	"github.com/spf13/cobra"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/bundle"
	"github.com/capsign/cap/internal/registry"
)

// registryCommand returns "cap registry".
func (a *app) registryCommand() *cobra.Command {
	group := a.group("registry", "Sign artifacts in OCI registries, and verify them")
	group.AddCommand(a.registrySignCommand(), a.registryVerifyCommand())
	return group
}

// registryHints say what to do about a registry's codes.
var registryHints = map[capsign.Code]string{
	capsign.BadRequest:          "name registry, path and tag or digest, as in registry.example/team/app:v1.",
	capsign.ArtifactUnknown:     "is it pushed, under this very tag or digest?",
	capsign.Denied:              "log in to the registry, as with 'docker login'; signing needs the right to push.",
	capsign.ConfigInvalid:       "docker's configuration cannot be read; see DOCKER_CONFIG and ~/.docker/config.json.",
	capsign.TLSUntrusted:        "cap speaks HTTPS to every host but this one; SSL_CERT_FILE names further roots.",
	capsign.RegistryUnavailable: "try again in a moment, or with a longer --timeout.",
	capsign.Integrity:           "do not use the artifact; tell whoever runs the registry.",
}

// registryFault explains an error of a registry's, whose codes mean something
// else where a broker has them. Other errors stay as they are.
func registryFault(err error) error {
	failure, ok := errors.AsType[*registry.Error](err)
	if !ok {
		return err
	}
	f := &fault{code: failure.Code, sentence: failure.Code.Sentence(), hint: registryHints[failure.Code]}
	switch failure.Code {
	case capsign.BadRequest:
		f.sentence = "That is no reference to an artifact in a registry."
	case capsign.TooLarge:
		f.sentence = "More is attached to the artifact than cap reads."
	case capsign.TLSUntrusted:
		f.sentence = "The registry's certificate is not trusted, or it has none."
	case capsign.Denied:
		f.sentence = "The registry does not allow it."
	}
	return f
}

// unbounded returns a RunE like bounded's, for work that --timeout bounds one by
// one.
func (a *app) unbounded(run func(ctx context.Context, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		if a.flags.timeout <= 0 {
			return misuse("--timeout must be positive, as in --timeout %s.", defaultTimeout)
		}
		stop, err := startTelemetry(cmd.Context())
		if err != nil {
			return err
		}
		defer stop()
		return a.deny.explain(coded(run(cmd.Context(), args)))
	}
}

// openQueue connects to the broker and returns a signer over a key there, which
// close gives up. Both take no longer than --timeout.
func (a *app) openQueue(ctx context.Context, kid string) (signer *bundle.Queue, closeQueue func(), err error) {
	soon, cancel := context.WithTimeout(ctx, a.flags.timeout)
	defer cancel()
	nc, err := a.connect(soon)
	if err != nil {
		return nil, nil, err
	}
	client, err := await(soon, func() (*capsign.Client, error) { return a.newClient(ctx, nc, kid) })
	if err != nil {
		nc.Close()
		if errors.Is(err, context.DeadlineExceeded) {
			err = capsign.BrokerUnreachable
		}
		return nil, nil, err
	}
	return bundle.NewQueue(nc, client), func() { client.Close(); nc.Close() }, nil
}

// newClient returns a client of the key that the flags name.
func (a *app) newClient(ctx context.Context, nc *nats.Conn, kid string) (*capsign.Client, error) {
	return capsign.NewClient(ctx, nc, capsign.ClientConfig{
		Pool: a.flags.pool, Key: a.flags.key, KID: kid, Timeout: a.flags.timeout,
	})
}
