package gcpkms

import (
	"context"

	kms "cloud.google.com/go/kms/apiv1"
	"cloud.google.com/go/kms/apiv1/kmspb"
	"google.golang.org/api/iterator"

	"github.com/capsign/cap/capsign"
)

// versions returns the resource names of the versions to hold, in any order: the
// pinned one, or those that are enabled.
func (k keyPath) versions(ctx context.Context, op string, c *client) ([]string, error) {
	if k.pinned != "" {
		return []string{k.pinned}, nil
	}
	enabled, err := k.list(ctx, op, c, "state=ENABLED")
	if err != nil || len(enabled) > 0 {
		return enabled, err
	}
	all, err := k.list(ctx, op, c, "")
	if err != nil {
		return nil, err
	}
	if len(all) > 0 {
		return nil, refuse(op, capsign.KeyDisabled)
	}
	return nil, refuse(op, capsign.KeyUnknown)
}

// list returns the resource names of the key's versions that pass KMS's filter; an
// empty one passes all.
func (k keyPath) list(ctx context.Context, op string, c *client, filter string) ([]string, error) {
	listed, err := call(ctx, op, c, func(ctx context.Context, sdk *kms.KeyManagementClient) ([]*kmspb.CryptoKeyVersion, error) {
		var out []*kmspb.CryptoKeyVersion
		pages := sdk.ListCryptoKeyVersions(ctx, &kmspb.ListCryptoKeyVersionsRequest{Parent: k.resource, Filter: filter})
		for {
			v, err := pages.Next()
			if err == iterator.Done { //nolint:errorlint // the SDK returns it bare
				return out, nil
			}
			if err != nil {
				return nil, err
			}
			out = append(out, v)
		}
	})
	if err != nil {
		return nil, err
	}
	var resources []string
	for _, v := range listed {
		if _, ok := k.number(v.GetName()); !ok {
			return nil, refuse(op, capsign.Integrity)
		}
		resources = append(resources, v.GetName())
	}
	return resources, nil
}
