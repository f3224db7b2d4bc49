package queue_test

import (
	"fmt"
	"testing"

	"github.com/capsign/cap/capsign"
)

func TestOneOffComesBackSigned(t *testing.T) {
	p := newPool(t)
	signed, err := p.client(t, capsign.ClientConfig{}).Sign(t.Context(), []byte("hello"))
	if err != nil {
		t.Fatal(err)
	}
	if signed.KID != p.signer.key.KID {
		t.Errorf("kid %s, want %s", signed.KID, p.signer.key.KID)
	}
	if err := p.signer.key.Verify([]byte("hello"), signed.Bytes); err != nil {
		t.Error(err)
	}
}

func TestManyComeBackInOrder(t *testing.T) {
	p := newPool(t)
	const n = 5000
	items := func(yield func(capsign.Item) bool) {
		for i := range n {
			if !yield(capsign.Item{Ref: fmt.Sprint(i), Message: fmt.Appendf(nil, "message %d", i)}) {
				return
			}
		}
	}
	i := 0
	for signed, err := range p.client(t, capsign.ClientConfig{}).SignAll(t.Context(), items) {
		if err != nil {
			t.Fatal(err)
		}
		if signed.Ref != fmt.Sprint(i) {
			t.Fatalf("outcome %d is of item %s", i, signed.Ref)
		}
		if err := p.signer.key.Verify(fmt.Appendf(nil, "message %d", i), signed.Bytes); err != nil {
			t.Fatal(err)
		}
		i++
	}
	if i != n {
		t.Errorf("%d outcomes, want %d", i, n)
	}
}
