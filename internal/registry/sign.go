package registry

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"iter"
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/bundle"
)

// Result is what became of one artifact.
type Result struct {
	// Ref is the reference as it was given.
	Ref string
	// Digest is the artifact's, as in "sha256:…"; empty where it was not found.
	Digest string
	// KID is the key version that has signed; empty where none has.
	KID string
	// Referrer is the digest of the manifest that holds the signature; empty
	// where there is none.
	Referrer string
	// Present means that the signature was there already.
	Present bool
}

// Sign signs the artifact that ref names, by the digest that it has now, and
// attaches the signature. Where a valid signature by the current key version is
// attached already, it signs nothing. On error nothing may be attached, or an
// upload of it may be left over that nothing refers to; the Result tells how far
// it came. Errors wrap [capsign.BadRequest] for what is no reference,
// [capsign.ArtifactUnknown], [capsign.Denied], [capsign.RegistryUnavailable],
// [capsign.TLSUntrusted], [capsign.Integrity] where the registry hands out other
// bytes than the digest's, or are the signer's.
func (c *Client) Sign(ctx context.Context, ref string, signer bundle.Signer) (Result, error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	result := Result{Ref: ref}
	named, err := c.parse(ref)
	if err != nil {
		return result, err
	}
	found, err := named.resolve(ctx)
	if err != nil {
		return result, err
	}
	result.Digest = found.desc.Digest.String()
	unlock, err := c.lock(ctx, found.name+"@"+result.Digest)
	if err != nil {
		return result, failed("sign", err)
	}
	defer unlock()
	err = found.sign(ctx, signer, &result)
	return result, err
}

// sign signs an artifact that was found, unless that has been done.
func (s subject) sign(ctx context.Context, signer bundle.Signer, result *Result) error {
	key, err := signer.Current(ctx)
	if err != nil {
		return err
	}
	present, err := s.signedBy(ctx, key)
	if err != nil {
		return err
	}
	if present != "" {
		result.KID, result.Referrer, result.Present = key.KID, present.String(), true
		return nil
	}
	data, kid, err := bundle.SignDigest(ctx, s.sum(), signer)
	if err != nil {
		return err
	}
	referrer, err := s.attach(ctx, data, kid)
	if err != nil {
		return err
	}
	result.KID, result.Referrer = kid, referrer.String()
	return nil
}

// sum returns the artifact's digest as bytes.
func (s subject) sum() (sum [sha256.Size]byte) {
	_, _ = hex.Decode(sum[:], []byte(s.desc.Digest.Encoded())) // resolve has made it
	return sum
}

// signedBy returns the referrer that holds a valid signature by a key version,
// or "". An annotation alone says nothing: anyone who may push can write it.
func (s subject) signedBy(ctx context.Context, key capsign.Key) (digest.Digest, error) {
	listed, err := s.referrers(ctx)
	if err != nil {
		return "", err
	}
	for _, one := range listed {
		if kid, annotated := one.Annotations[AnnotationKID]; annotated && kid != key.KID {
			continue
		}
		attached, err := s.fetch(ctx, one)
		if err == nil && attached.KID() == key.KID && attached.VerifyDigest(s.sum(), capsign.NewKeySet(key).Verify) == nil {
			return one.Digest, nil
		}
	}
	return "", nil
}

// task is one artifact of many and, once done is closed, what became of it.
type task struct {
	done   chan struct{}
	result Result
	err    error
}

// SignMany signs every artifact that refs names, as Sign does, several at once.
// It yields the outcome of each in the order of refs; an error ends its own
// artifact only. refs is drawn from in another goroutine, which has ended when
// the iteration ends: leaving the loop early, or cancelling ctx, abandons what
// is in flight as soon as refs yields once more.
func (c *Client) SignMany(ctx context.Context, refs iter.Seq[string], signer bundle.Signer) iter.Seq2[Result, error] {
	return func(yield func(Result, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		var running sync.WaitGroup
		defer running.Wait()
		defer cancel()

		tasks := make(chan *task, c.cfg.Jobs-1)
		running.Go(func() { c.start(ctx, &running, refs, signer, tasks) })
		for t := range tasks {
			<-t.done
			if !yield(t.result, t.err) {
				return
			}
		}
	}
}

// start starts a task for each artifact, as many as tasks has room for and the
// one that is waited for. It closes tasks at the end.
func (c *Client) start(ctx context.Context, running *sync.WaitGroup, refs iter.Seq[string], signer bundle.Signer, tasks chan<- *task) {
	defer close(tasks)
	for ref := range refs {
		t := &task{done: make(chan struct{})}
		select {
		case tasks <- t:
		case <-ctx.Done():
			return
		}
		running.Go(func() {
			defer close(t.done)
			t.result, t.err = c.Sign(ctx, ref, signer)
		})
	}
}
