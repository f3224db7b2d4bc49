package gcpkms

import (
	"context"

	kms "cloud.google.com/go/kms/apiv1"
	"cloud.google.com/go/kms/apiv1/kmspb"
	"google.golang.org/api/iterator"

	"github.com/capsign/cap/capsign"
)

// versions returns the resource names of the versions to hold, in any order: the
// pinned one, or those that are enabled. It wraps [capsign.KeyUnknown] where the
// key has no version at all and [capsign.KeyDisabled] where none is enabled.
func (k keyPath) versions(ctx context.Context, op string, c *client) ([]string, error) {
	if k.pinned != "" {
		return []string{k.pinned}, nil
	}
	all, err := k.list(ctx, op, c)
	if err != nil {
		return nil, err
	}
	var enabled []string
	for _, v := range all {
		if v.GetState() == kmspb.CryptoKeyVersion_ENABLED {
			enabled = append(enabled, v.GetName())
		}
	}
	switch {
	case len(all) == 0:
		return nil, refuse(op, capsign.KeyUnknown)
	case len(enabled) == 0:
		return nil, refuse(op, capsign.KeyDisabled)
	}
	return enabled, nil
}

// list returns the key's versions in all states, page by page.
func (k keyPath) list(ctx context.Context, op string, c *client) ([]*kmspb.CryptoKeyVersion, error) {
	return call(ctx, op, c, func(ctx context.Context, sdk *kms.KeyManagementClient) ([]*kmspb.CryptoKeyVersion, error) {
		var out []*kmspb.CryptoKeyVersion
		pages := sdk.ListCryptoKeyVersions(ctx, &kmspb.ListCryptoKeyVersionsRequest{Parent: k.resource})
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
}
