package main

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	gcpsdk "cloud.google.com/go/kms/apiv1"
	"cloud.google.com/go/kms/apiv1/kmspb"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	awssdk "github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/kmstest/aws"
	"github.com/capsign/cap/internal/kmstest/azure"
	"github.com/capsign/cap/internal/kmstest/gcp"
	"github.com/capsign/cap/internal/providers/awskms"
	"github.com/capsign/cap/internal/providers/azurekms"
	"github.com/capsign/cap/internal/providers/gcpkms"
)

// cloudKey is the name of the one key of each cloud.
const cloudKey = "cap-bench"

// digest is what the SDKs have signed.
var digest = sha256.Sum256([]byte("a message"))

// awsCloud is AWS KMS.
func awsCloud(http1 bool) newCloud {
	return func(ctx context.Context, dir string) (*cloud, error) {
		server, err := aws.New(aws.Options{ServiceTime: serviceTime, HTTP1: http1}) //nolint:contextcheck // the server ends with its Close
		if err != nil {
			return nil, err
		}
		restore := setenv(awsEnvironment(filepath.Join(dir, "none")))
		stop := func() error { restore(); return server.Close() }
		arn, err := server.AddKey("alias/"+cloudKey, aws.P256, nil)
		if err != nil {
			return nil, errors.Join(err, stop())
		}
		provider, err := awskms.Open(ctx, awskms.Config{
			Region: server.Region(), Key: "alias/" + cloudKey, KeyName: cloudKey,
			Endpoint: server.Endpoint(), CAFile: server.Certificates().CAFile,
		})
		if err != nil {
			return nil, errors.Join(err, stop())
		}
		sdk, err := awsDefault(ctx, server, arn)
		if err != nil {
			return nil, errors.Join(err, provider.Close(), stop())
		}
		return &cloud{provider: provider, sdk: sdk, stop: func() error { return errors.Join(provider.Close(), stop()) }}, nil
	}
}

// awsEnvironment has AWS's SDK find one pair of credentials and nothing else.
func awsEnvironment(nowhere string) map[string]string {
	vars := map[string]string{
		"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "not-a-secret", "AWS_EC2_METADATA_DISABLED": "true",
		"AWS_CONFIG_FILE": nowhere, "AWS_SHARED_CREDENTIALS_FILE": nowhere,
	}
	for name := range strings.FieldsSeq(`AWS_SESSION_TOKEN AWS_PROFILE AWS_REGION AWS_DEFAULT_REGION AWS_ENDPOINT_URL
		AWS_ENDPOINT_URL_KMS AWS_CA_BUNDLE AWS_ROLE_ARN AWS_WEB_IDENTITY_TOKEN_FILE`) {
		vars[name] = ""
	}
	return vars
}

// awsDefault signs with AWS's SDK as it comes, but for whom it trusts.
func awsDefault(ctx context.Context, server *aws.Server, arn string) (func(context.Context) error, error) {
	client := awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) {
		t.TLSClientConfig.RootCAs = server.Certificates().Pool
	})
	cfg, err := config.LoadDefaultConfig(ctx, config.WithRegion(server.Region()), config.WithHTTPClient(client))
	if err != nil {
		return nil, err
	}
	endpoint := server.Endpoint()
	sdk := awssdk.NewFromConfig(cfg, func(o *awssdk.Options) { o.BaseEndpoint = &endpoint })
	return func(ctx context.Context) error {
		_, err := sdk.Sign(ctx, &awssdk.SignInput{
			KeyId: &arn, Message: digest[:], MessageType: types.MessageTypeDigest, SigningAlgorithm: types.SigningAlgorithmSpecEcdsaSha256,
		})
		return err
	}, nil
}

// gcpCloud is Google Cloud KMS.
func gcpCloud(ctx context.Context, dir string) (*cloud, error) {
	file, err := gcp.WriteCredentials(dir)
	if err != nil {
		return nil, err
	}
	server, err := gcp.Start(gcp.Options{ServiceTime: serviceTime})
	if err != nil {
		return nil, err
	}
	restore := setenv(map[string]string{"GOOGLE_APPLICATION_CREDENTIALS": file})
	stop := func() error { restore(); return server.Close() }
	version, err := server.AddKey(cloudKey, gcp.P256, nil)
	if err != nil {
		return nil, errors.Join(err, stop())
	}
	provider, err := gcpkms.Open(ctx, gcpkms.Config{
		Project: gcp.Project, Location: gcp.Location, KeyRing: gcp.KeyRing, Key: cloudKey, KeyName: cloudKey,
		Endpoint: server.Endpoint, CAFile: server.CAFile,
	})
	if err != nil {
		return nil, errors.Join(err, stop())
	}
	sdk, err := gcpDefault(ctx, server)
	if err != nil {
		return nil, errors.Join(err, provider.Close(), stop())
	}
	sign := func(ctx context.Context) error {
		_, err := sdk.AsymmetricSign(ctx, &kmspb.AsymmetricSignRequest{
			Name: version, Digest: &kmspb.Digest{Digest: &kmspb.Digest_Sha256{Sha256: digest[:]}},
		})
		return err
	}
	return &cloud{provider: provider, sdk: sign, stop: func() error { return errors.Join(provider.Close(), sdk.Close(), stop()) }}, nil
}

// gcpDefault is Google's client as it comes, but for whom it trusts.
func gcpDefault(ctx context.Context, server *gcp.Server) (*gcpsdk.KeyManagementClient, error) {
	trusted, err := trust(server.CAFile)
	if err != nil {
		return nil, err
	}
	return gcpsdk.NewKeyManagementClient(ctx, option.WithEndpoint(strings.TrimPrefix(server.Endpoint, "https://")),
		option.WithGRPCDialOption(grpc.WithTransportCredentials(credentials.NewTLS(trusted))))
}

// azureCloud is Azure Key Vault.
func azureCloud(http1 bool) newCloud {
	return func(ctx context.Context, _ string) (*cloud, error) {
		if http1 {
			defer setenv(map[string]string{"GODEBUG": "http2server=0"})() // looked at when the server starts
		}
		vault, err := azure.New(azure.Options{})
		if err != nil {
			return nil, err
		}
		version, err := vault.AddKey(cloudKey, capsign.ES256, nil)
		if err != nil {
			vault.Close()
			return nil, err
		}
		vault.SetServiceTime(serviceTime)
		provider, err := azurekms.Open(ctx, azurekms.Config{
			VaultURL: vault.VaultURL(), Endpoint: vault.Endpoint(), CAFile: vault.CAFile(), Credential: vault.Credential(),
			Key: cloudKey, KeyName: cloudKey,
		})
		if err != nil {
			vault.Close()
			return nil, err
		}
		sdk, err := azureDefault(vault, version)
		if err != nil {
			vault.Close()
			return nil, errors.Join(err, provider.Close())
		}
		stop := func() error {
			defer vault.Close()
			return provider.Close()
		}
		return &cloud{provider: provider, sdk: sdk, stop: stop}, nil
	}
}

// azureDefault signs with Azure's SDK as it comes, but for whom it dials and
// trusts: its default transport cannot be had to change that, and is copied
// here.
func azureDefault(vault *azure.Server, version string) (func(context.Context) error, error) {
	trusted, err := trust(vault.CAFile())
	if err != nil {
		return nil, err
	}
	dialer := &net.Dialer{Timeout: 30 * time.Second, KeepAlive: 30 * time.Second}
	client := &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, network, vault.Addr())
		},
		TLSClientConfig: trusted, ForceAttemptHTTP2: true, MaxIdleConns: 100, MaxIdleConnsPerHost: 10,
		IdleConnTimeout: 90 * time.Second, TLSHandshakeTimeout: 10 * time.Second, ExpectContinueTimeout: time.Second,
	}}
	keys, err := azkeys.NewClient(vault.VaultURL(), vault.Credential(), &azkeys.ClientOptions{ClientOptions: policy.ClientOptions{Transport: client}})
	if err != nil {
		return nil, err
	}
	alg := azkeys.SignatureAlgorithmES256
	return func(ctx context.Context) error {
		_, err := keys.Sign(ctx, cloudKey, version, azkeys.SignParameters{Algorithm: &alg, Value: digest[:]}, nil)
		return err
	}, nil
}

// trust returns the configuration of a client that trusts the certificates in a
// file.
func trust(caFile string) (*tls.Config, error) {
	text, err := os.ReadFile(caFile)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(text) {
		return nil, errors.New("no certificate in the CA file")
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots}, nil
}
