package registry_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/registry"
)

func TestTwoTagsOfOneArtifactAreSignedOnce(t *testing.T) {
	for kind, referrers := range kinds {
		rig, client := newRig(t, referrers), newClient(t, registry.Config{})
		signer, key := newQueue(t, capsign.ES256)
		var refs []string
		for i := range 16 {
			ref, _ := rig.image("app", fmt.Sprint("v", i), "the same")
			refs = append(refs, ref)
		}
		made := 0
		for result, err := range client.SignMany(t.Context(), slices.Values(refs), signer) {
			if err != nil {
				t.Fatal(err)
			}
			if !result.Present {
				made++
			}
		}
		_, findings, err := client.Verify(t.Context(), refs[0], by(key))
		if err != nil || made != 1 || len(findings) != 1 {
			t.Errorf("%s: made %d, found %d: %v", kind, made, len(findings), err)
		}
	}
}

func TestTwoHundredArtifactsEachHaveAnOutcome(t *testing.T) {
	rig, client := newRig(t, true), newClient(t, registry.Config{})
	signer, key := newQueue(t, capsign.Ed25519)
	var refs []string
	for i := range 200 {
		ref, _ := rig.image("app", fmt.Sprint("v", i), fmt.Sprint("content ", i))
		if i%50 == 7 {
			ref += "-missing"
		}
		refs = append(refs, ref)
	}
	i := 0
	for result, err := range client.SignMany(t.Context(), slices.Values(refs), signer) {
		if result.Ref != refs[i] {
			t.Fatalf("outcome %d is of %s", i, result.Ref)
		}
		if i%50 == 7 {
			wantCode(t, result.Ref, err, capsign.ArtifactUnknown)
		} else if err != nil || result.KID != key.KID {
			t.Errorf("%s: %+v, %v", result.Ref, result, err)
		}
		i++
	}
	if i != len(refs) {
		t.Errorf("%d outcomes", i)
	}
	for _, ref := range []string{refs[0], refs[111], refs[199]} {
		if _, _, err := client.Verify(t.Context(), ref, by(key)); err != nil {
			t.Errorf("%s: %v", ref, err)
		}
	}
}

func TestAtMostSoManyArtifactsAreWorkedOnAtOnce(t *testing.T) {
	rig, client := newRig(t, true), newClient(t, registry.Config{Jobs: 3})
	signer, _ := newQueue(t, capsign.Ed25519)
	var mu sync.Mutex
	open, most := 0, 0
	rig.answer(func(_ http.ResponseWriter, req *http.Request) bool {
		if req.Method != http.MethodGet || !strings.Contains(req.URL.Path, "/manifests/v") {
			return false
		}
		mu.Lock()
		open++
		most = max(most, open)
		mu.Unlock()
		time.Sleep(5 * time.Millisecond) // long enough for the others to come
		mu.Lock()
		open--
		mu.Unlock()
		return false
	})
	var refs []string
	for i := range 12 {
		ref, _ := rig.image("app", fmt.Sprint("v", i), fmt.Sprint(i))
		refs = append(refs, ref)
	}
	for _, err := range client.SignMany(t.Context(), slices.Values(refs), signer) {
		if err != nil {
			t.Error(err)
		}
	}
	if most != 3 {
		t.Errorf("%d at once", most)
	}
}

func TestLeavingEarlyEndsTheRun(t *testing.T) {
	rig, client := newRig(t, true), newClient(t, registry.Config{Jobs: 2})
	signer, _ := newQueue(t, capsign.Ed25519)
	ref, _ := rig.image("app", "v1", "one")
	drawn := 0
	endless := func(yield func(string) bool) {
		for yield(ref) {
			drawn++
		}
	}
	for _, err := range client.SignMany(t.Context(), endless, signer) {
		if err != nil {
			t.Error(err)
		}
		break
	}
	if drawn > 8 { // the iteration's goroutine has ended: no race
		t.Errorf("%d drawn", drawn)
	}
}
