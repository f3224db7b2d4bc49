package gcpkms

import (
	"context"
	"slices"

	kms "cloud.google.com/go/kms/apiv1"
	"cloud.google.com/go/kms/apiv1/kmspb"
	"google.golang.org/api/iterator"

	"github.com/capsign/cap/capsign"
)

// versions returns the resource names of the versions to hold, oldest first: the
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

// list returns the resource names of the key's versions that pass KMS's filter,
// oldest first.
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
	numbers := make(map[string]int)
	for _, v := range listed {
		n, ok := k.number(v.GetName())
		if !ok {
			return nil, refuse(op, capsign.Integrity)
		}
		if filter != "" && v.GetState() != kmspb.CryptoKeyVersion_ENABLED {
			continue // a KMS that does not know the filter
		}
		numbers[v.GetName()] = n
		resources = append(resources, v.GetName())
	}
	slices.SortFunc(resources, func(a, b string) int { return numbers[a] - numbers[b] })
	return slices.Compact(resources), nil
}
