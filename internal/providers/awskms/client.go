package awskms

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/logging"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/providers/retry"
)

// chainTimeout bounds one request for credentials: the SDK's cache asks for
// them without the caller's deadline.
const chainTimeout = 5 * time.Second

// client speaks to the service about one key.
type client struct {
	kms  *kms.Client
	pool *pool
	ref  reference
	cfg  Config
	log  *slog.Logger
}

// newClient checks the configuration and reads the SDK's. It connects nowhere.
func newClient(ctx context.Context, cfg Config) (*client, error) {
	ref, err := parseReference(cfg.Key)
	if err != nil {
		return nil, err
	}
	if capsign.CheckKeyName(cfg.KeyName) != nil {
		return nil, fmt.Errorf("awskms: key name: %w", capsign.ConfigInvalid)
	}
	plain, err := checkEndpoint(cfg.Endpoint)
	if err != nil {
		return nil, err
	}
	shared, err := loadShared(ctx, cmp.Or(cfg.Region, ref.region), plain)
	if err != nil {
		return nil, err
	}
	if !regionForm.MatchString(shared.Region) || ref.region != "" && ref.region != shared.Region {
		return nil, fmt.Errorf("awskms: region: %w", capsign.ConfigInvalid)
	}
	log := cfg.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	pool, err := newPool(cfg.CAFile, log)
	if err != nil {
		return nil, err
	}
	service := newKMS(shared, cfg.Endpoint, pool)
	if set := service.Options().EndpointOptions; cfg.Endpoint != "" &&
		(set.UseFIPSEndpoint == aws.FIPSEndpointStateEnabled || set.UseDualStackEndpoint == aws.DualStackEndpointStateEnabled) {
		return nil, fmt.Errorf("awskms: endpoint beside a wish for another of aws: %w", capsign.ConfigInvalid)
	}
	return &client{kms: service, pool: pool, ref: ref, cfg: cfg, log: log}, nil
}

// checkEndpoint accepts an https URL of a host, and an http URL of one on
// loopback, for which it reports plain. Empty means AWS's own.
func checkEndpoint(endpoint string) (plain bool, err error) {
	if endpoint == "" {
		return false, nil
	}
	parsed, err := url.Parse(endpoint)
	if err != nil || parsed.Hostname() == "" || parsed.User != nil || parsed.RawQuery != "" || parsed.Fragment != "" {
		return false, fmt.Errorf("awskms: endpoint: %w", capsign.ConfigInvalid)
	}
	switch {
	case parsed.Scheme == "https":
		return false, nil
	case parsed.Scheme == "http" && onLoopback(parsed.Hostname()):
		return true, nil
	}
	return false, fmt.Errorf("awskms: endpoint is neither https nor on loopback: %w", capsign.ConfigInvalid)
}

// loadShared reads the environment and the files that all AWS programs share.
// An empty region means theirs. A plain endpoint gets credentials that are none,
// and the chain is not asked.
func loadShared(ctx context.Context, region string, plain bool) (aws.Config, error) {
	options := []func(*config.LoadOptions) error{
		config.WithRegion(region),
		config.WithLogger(logging.Nop{}),
		config.WithHTTPClient(awshttp.NewBuildableClient().WithTimeout(chainTimeout)),
	}
	if plain {
		options = append(options, config.WithCredentialsProvider(credentials.NewStaticCredentialsProvider("loopback", "loopback", "")))
	}
	shared, err := config.LoadDefaultConfig(ctx, options...)
	if err != nil {
		return aws.Config{}, fmt.Errorf("awskms: shared configuration: %w", capsign.CredentialsInvalid)
	}
	return shared, nil
}

// newKMS returns a client of the SDK's that sends each request once.
func newKMS(shared aws.Config, endpoint string, pool *pool) *kms.Client {
	return kms.NewFromConfig(shared, func(o *kms.Options) {
		o.Retryer = aws.NopRetryer{}
		o.HTTPClient = pool
		o.Credentials = chain{o.Credentials}
		o.BaseEndpoint = nil
		if endpoint != "" {
			o.BaseEndpoint = aws.String(endpoint)
		}
	})
}

// chain is the SDK's chain of credentials. Whatever it fails with, an absent
// metadata service included, is [capsign.CredentialsInvalid].
type chain struct{ aws.CredentialsProvider }

// Retrieve returns credentials that are good now.
func (c chain) Retrieve(ctx context.Context) (aws.Credentials, error) {
	found, err := c.CredentialsProvider.Retrieve(ctx)
	if err != nil {
		return aws.Credentials{}, fmt.Errorf("awskms: credentials: %w", capsign.CredentialsInvalid)
	}
	return found, nil
}

// bound gives ctx the deadline of a call where it has none.
func (c *client) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, cmp.Or(c.cfg.CallTimeout, DefaultCallTimeout))
}

// call tries an operation as often as the policy and ctx allow. Errors of try
// are the SDK's or this package's own.
func (c *client) call(ctx context.Context, policy retry.Policy, op string, try func(context.Context) error) error {
	return policy.Do(ctx, func(ctx context.Context) error {
		err := try(ctx)
		if err == nil {
			return nil
		}
		if _, ours := errors.AsType[capsign.Code](err); ours && !errors.Is(err, capsign.CredentialsInvalid) {
			return err
		}
		code := codeOf(err)
		c.logFault(ctx, op, code, err)
		return fmt.Errorf("awskms: %s: %w", op, code)
	})
}

// logFault tells whoever reads debug logs which request failed, in words that
// are safe to keep: the service's error code and its id of the request.
func (c *client) logFault(ctx context.Context, op string, code, err error) {
	var service, request string
	if api, ok := errors.AsType[smithy.APIError](err); ok {
		service = api.ErrorCode()
	}
	if response, ok := errors.AsType[*awshttp.ResponseError](err); ok {
		request = response.ServiceRequestID()
	}
	c.log.DebugContext(ctx, "aws kms call failed", "operation", op, "code", code.Error(),
		"service_code", service, "request_id", request)
}

// close closes the connections.
func (c *client) close() { c.pool.close() }
