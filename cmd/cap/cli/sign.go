package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/capsign/cap/capsign"
)

// signCommand returns "cap keys sign".
func (a *app) signCommand() *cobra.Command {
	var kid, out string
	in := input{flag: "--in"}
	cmd := &cobra.Command{
		Use:   "sign --in FILE",
		Short: "Sign a message",
		Long: "sign has a worker sign the bytes of a file, up to 760 KiB. The signature goes to\n" +
			"--out or stdout as raw bytes, to a terminal as base64; the kid goes to stderr.",
		Example: "  cap keys sign --in msg.bin --out msg.sig",
		Args:    noArgs,
		RunE:    a.bounded(func(ctx context.Context) error { return a.sign(ctx, in, kid, out) }),
	}
	cmd.Flags().StringVar(&in.path, "in", "", "sign the bytes of `FILE`; - is stdin")
	cmd.Flags().StringVar(&kid, "kid", "", "sign with key version `KID`; finds its pool and key by itself")
	cmd.Flags().StringVar(&out, "out", "", "write the signature to `FILE`; - is stdout")
	return required(cmd, "in")
}

// signature is what "cap keys sign --json" prints.
type signature struct {
	KID       string      `json:"kid"`
	Alg       capsign.Alg `json:"alg"`
	Signature []byte      `json:"signature"`
	RequestID string      `json:"request_id"`
}

// sign has the message signed and writes the signature.
func (a *app) sign(ctx context.Context, in input, kid, out string) error {
	if err := a.checkOutput(out, in); err != nil {
		return err
	}
	msg, err := a.read(ctx, in, capsign.MaxMessageSize)
	if err != nil {
		return err
	}
	signed, err := a.requestSignature(ctx, kid, msg)
	if err != nil {
		return err
	}
	if !a.flags.json {
		if err := a.writeRaw(ctx, out, signed.Bytes); err != nil {
			return err
		}
		fmt.Fprintf(a.stderr, "kid: %s\n", signed.KID)
		return nil
	}
	if !isStdout(out) {
		if err := a.write(ctx, out, signed.Bytes); err != nil {
			return err
		}
	}
	return a.printJSON(signature{signed.KID, signed.Alg, signed.Bytes, signed.RequestID})
}

// requestSignature sends one request through the queue and waits for its
// result.
func (a *app) requestSignature(ctx context.Context, kid string, msg []byte) (capsign.Signed, error) {
	nc, err := a.connect(ctx)
	if err != nil {
		return capsign.Signed{}, err
	}
	defer nc.Close()
	client, err := await(ctx, func() (*capsign.Client, error) {
		return capsign.NewClient(ctx, nc, capsign.ClientConfig{
			Pool: a.flags.pool, Key: a.flags.key, KID: kid, Timeout: a.flags.timeout,
		})
	})
	if errors.Is(err, context.DeadlineExceeded) {
		return capsign.Signed{}, capsign.BrokerUnreachable
	}
	if err != nil {
		return capsign.Signed{}, err
	}
	defer client.Close()
	return client.Sign(ctx, msg)
}
