package registry

import (
	"context"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/bundle"
)

// Finding is one bundle that is attached to an artifact.
type Finding struct {
	// Referrer is the digest of the manifest that holds the bundle.
	Referrer string
	// KID is the key version that the bundle names; empty where it names none,
	// and only worth something where Err is nil.
	KID string
	// Err is nil where the bundle is a valid signature of the artifact by a key
	// that counts, and otherwise says why not.
	Err error
}

// Verify finds the artifact that ref names and verifies every bundle that is
// attached to it, with check saying whose signatures count. It returns the
// artifact's digest and the findings, and no error if at least one bundle
// counts. Otherwise the error is that of the bundle that came closest, or wraps
// [capsign.ArtifactUnknown] where none is attached that cap could verify, or one
// of Sign's codes.
func (c *Client) Verify(ctx context.Context, ref string, check bundle.Check) (artifactDigest string, findings []Finding, err error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	named, err := c.parse(ref)
	if err != nil {
		return "", nil, err
	}
	found, err := named.resolve(ctx)
	if err != nil {
		return "", nil, err
	}
	listed, err := found.referrers(ctx)
	if err != nil {
		return found.desc.Digest.String(), nil, err
	}
	for _, one := range listed {
		finding := Finding{Referrer: one.Digest.String()}
		attached, err := found.fetch(ctx, one)
		if err == nil {
			finding.KID, err = attached.KID(), attached.VerifyDigest(found.sum(), check)
		}
		finding.Err = err
		findings = append(findings, finding)
	}
	return found.desc.Digest.String(), findings, verdict(findings)
}

// verdict returns nil if one bundle counts, and otherwise why none does.
func verdict(findings []Finding) error {
	closest := failed("verify", capsign.ArtifactUnknown)
	for _, finding := range findings {
		if finding.Err == nil {
			return nil
		}
		if closeness(finding.Err) > closeness(closest) {
			closest = finding.Err
		}
	}
	return closest
}

// closeness orders the reasons why a bundle does not count by how much else is
// right with it. Anyone who may push can attach what is worth nothing, which
// must not hide that a key has been retired.
func closeness(err error) int {
	switch capsign.CodeOf(err) {
	case capsign.ArtifactUnknown, capsign.BadRequest, capsign.UnsupportedScheme, capsign.TooLarge:
		return 0
	case capsign.SignatureInvalid:
		return 1
	case capsign.KIDUnknown:
		return 2
	}
	return 3
}
