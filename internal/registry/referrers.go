package registry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/registry/remote"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/bundle"
)

// AnnotationKID is the annotation of an attached bundle that names its kid. It
// is there to be looked at: only the bundle itself proves anything.
const AnnotationKID = "io.github.capsign.kid"

// The annotations that cosign v3 writes.
const (
	annotationContent   = "dev.sigstore.bundle.content"
	annotationPredicate = "dev.sigstore.bundle.predicateType"
)

// The most that is read of what is attached to an artifact: who may push there
// must not keep a verifier busy for ever.
const (
	maxManifest  = 4 << 20 // bytes, also of an artifact
	maxPages     = 16
	maxReferrers = 1000
	maxListings  = 3 // that a listing is written, where others overwrite it
)

// bundleTypes is how the types of all versions of bundles start.
const bundleTypes = "application/vnd.dev.sigstore.bundle"

// subject is an artifact's manifest in its repository.
type subject struct {
	artifact
	desc ocispec.Descriptor
}

// resolve finds an artifact and makes sure that its manifest has the digest by
// which it is called from here on.
func (a artifact) resolve(ctx context.Context) (subject, error) {
	desc, body, err := a.repo.FetchReference(ctx, a.ref)
	if err != nil {
		return subject{}, failed("resolve", err)
	}
	defer body.Close()
	data, err := readAll(body, desc)
	if err != nil {
		return subject{}, failed("resolve", err)
	}
	desc = ocispec.Descriptor{MediaType: desc.MediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}
	return subject{a, desc}, nil
}

// readAll reads what a descriptor describes, in full and of its digest.
func readAll(body io.Reader, desc ocispec.Descriptor) ([]byte, error) {
	if desc.Size > maxManifest {
		return nil, capsign.TooLarge
	}
	return content.ReadAll(body, desc)
}

// referrers lists what may be a bundle that is attached to the artifact.
func (s subject) referrers(ctx context.Context) ([]ocispec.Descriptor, error) {
	var found []ocispec.Descriptor
	err := s.repo.Referrers(ctx, s.desc, "", func(page []ocispec.Descriptor) error {
		for _, one := range page {
			if mayBeBundle(one.ArtifactType) {
				found = append(found, one)
			}
		}
		if len(found) > maxReferrers {
			return capsign.TooLarge
		}
		return nil
	})
	if err != nil {
		return nil, failed("list", err)
	}
	return found, nil
}

// mayBeBundle reports whether a listed type can be a bundle's. Some registries
// list the type of a manifest's configuration, which is empty.
func mayBeBundle(artifactType string) bool {
	return artifactType == "" || artifactType == ocispec.MediaTypeEmptyJSON || strings.HasPrefix(artifactType, bundleTypes)
}

// fetch returns the bundle that a referrer holds. What is no bundle that cap
// could verify wraps [capsign.UnsupportedScheme] or [capsign.BadRequest]. What
// it is attached to does not matter: the statement in it says what it is about.
func (s subject) fetch(ctx context.Context, referrer ocispec.Descriptor) (*bundle.Bundle, error) {
	manifest, err := s.fetchManifest(ctx, referrer)
	if err != nil {
		return nil, err
	}
	if len(manifest.Layers) != 1 || !strings.HasPrefix(manifest.Layers[0].MediaType, bundleTypes) {
		return nil, failed("bundle", capsign.UnsupportedScheme)
	}
	layer := manifest.Layers[0]
	if layer.Size > bundle.MaxSize {
		return nil, failed("bundle", capsign.TooLarge)
	}
	data, err := content.FetchAll(ctx, s.repo.Blobs(), layer)
	if err != nil {
		return nil, failed("bundle", err)
	}
	return bundle.Parse(data)
}

// fetchManifest returns a referrer's manifest.
func (s subject) fetchManifest(ctx context.Context, referrer ocispec.Descriptor) (ocispec.Manifest, error) {
	var manifest ocispec.Manifest
	if referrer.MediaType != ocispec.MediaTypeImageManifest {
		return manifest, failed("bundle", capsign.UnsupportedScheme)
	}
	if referrer.Size > maxManifest {
		return manifest, failed("bundle", capsign.TooLarge)
	}
	data, err := content.FetchAll(ctx, s.repo.Manifests(), referrer)
	if err != nil {
		return manifest, failed("bundle", err)
	}
	if json.Unmarshal(data, &manifest) != nil {
		return manifest, failed("bundle", capsign.BadRequest)
	}
	return manifest, nil
}

// attach pushes a bundle as a referrer of the artifact and returns the digest of
// the referrer's manifest.
func (s subject) attach(ctx context.Context, data []byte, kid string) (digest.Digest, error) {
	layer := content.NewDescriptorFromBytes(bundle.MediaType, data)
	config := content.NewDescriptorFromBytes(ocispec.MediaTypeEmptyJSON, []byte("{}"))
	manifest, err := json.Marshal(s.manifest(layer, config, kid))
	if err != nil {
		return "", failed("attach", capsign.Internal)
	}
	for _, blob := range []struct {
		desc ocispec.Descriptor
		data []byte
	}{{config, []byte("{}")}, {layer, data}} {
		if err := s.pushBlob(ctx, blob.desc, blob.data); err != nil {
			return "", failed("attach", err)
		}
	}
	desc := content.NewDescriptorFromBytes(ocispec.MediaTypeImageManifest, manifest)
	return desc.Digest, s.pushListed(ctx, desc, manifest)
}

// manifest returns the manifest of a bundle. It says nothing of the time, which
// nothing would vouch for: equal bundles are one referrer.
func (s subject) manifest(layer, config ocispec.Descriptor, kid string) ocispec.Manifest {
	return ocispec.Manifest{
		Versioned:    specs.Versioned{SchemaVersion: 2},
		MediaType:    ocispec.MediaTypeImageManifest,
		ArtifactType: bundle.MediaType,
		Config:       config,
		Layers:       []ocispec.Descriptor{layer},
		Subject:      &s.desc,
		Annotations: map[string]string{
			annotationContent: "dsse-envelope", annotationPredicate: bundle.PredicateType, AnnotationKID: kid,
		},
	}
}

// pushBlob uploads a blob that is not there yet.
func (s subject) pushBlob(ctx context.Context, desc ocispec.Descriptor, data []byte) error {
	there, err := s.repo.Blobs().Exists(ctx, desc)
	if err != nil || there {
		return err
	}
	return s.repo.Blobs().Push(ctx, desc, bytes.NewReader(data))
}

// pushListed pushes a referrer's manifest until it is listed. A registry with a
// referrers API sees to that itself; under a fallback tag, someone who writes
// the listing at the same time takes the entry out again.
func (s subject) pushListed(ctx context.Context, desc ocispec.Descriptor, manifest []byte) error {
	for range maxListings {
		if err := s.repo.Manifests().Push(ctx, desc, bytes.NewReader(manifest)); err != nil {
			return failed("attach", err)
		}
		if s.hasReferrersAPI() {
			return nil
		}
		listed, err := s.referrers(ctx)
		if err != nil {
			return err
		}
		if slices.ContainsFunc(listed, func(one ocispec.Descriptor) bool { return one.Digest == desc.Digest }) {
			return nil
		}
	}
	return failed("attach", capsign.RegistryUnavailable)
}

// hasReferrersAPI reports whether the registry, which has been asked for a
// listing, has an API for it.
func (s subject) hasReferrersAPI() bool {
	return !errors.Is(s.repo.SetReferrersCapability(true), remote.ErrReferrersCapabilityAlreadySet)
}
