package capsign_test

import (
	"crypto/ed25519"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/capsign/cap/capsign"
)

// at is a row of a rotation's timeline.
type at struct {
	now      time.Time
	stage    int
	active   string
	accepted []string
	retired  []string
}

// check compares the rotation's answers at one instant.
func (want at) check(t *testing.T, what string, r capsign.KeyRotation) {
	t.Helper()
	got := at{want.now, r.Stage(want.now), r.Active(), r.Accepted(want.now), r.Retired(want.now)}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(at{})); diff != "" {
		t.Errorf("%s at %v: %s", what, want.now, diff)
	}
}

// TestStagesAtTheNanosecond is the mission's table: before T1 old and new both
// verify, from T1 on the new one alone; a rollback gives the old answers back.
func TestStagesAtTheNanosecond(t *testing.T) {
	r := rotation(t, "1", "2", "3")
	k := kids(r)
	at{t1.Add(-1), 2, k[2], []string{k[1]}, []string{k[0]}}.check(t, "rotated", r)
	at{t1, 3, k[2], nil, []string{k[0], k[1]}}.check(t, "rotated", r)
	at{t1.Add(1), 3, k[2], nil, []string{k[0], k[1]}}.check(t, "rotated", r)

	r.Revoked = []string{k[1]}
	at{t1.Add(-1), 3, k[2], nil, []string{k[0], k[1]}}.check(t, "accepted kid revoked", r)
	r.Revoked = nil

	r.Back, r.T1 = true, time.Time{}
	for _, now := range []time.Time{t1.Add(-1), t1, t1.Add(1)} {
		at{now, 1, k[1], nil, []string{k[0], k[2]}}.check(t, "rolled back to stage 1", r)
	}

	r.Back, r.At, r.T1 = false, 1, t1.Add(time.Hour) // the third version has left the lineage
	at{t1, 2, k[1], []string{k[0]}, []string{k[2]}}.check(t, "rolled back to the older rotation", r)
	at{t1.Add(time.Hour), 3, k[1], nil, []string{k[0], k[2]}}.check(t, "rolled back to the older rotation", r)

	r.At, r.T1 = 0, time.Time{}
	at{t1, 1, k[0], nil, []string{k[1], k[2]}}.check(t, "never rotated", r)
}

// TestVerifyFollowsTheRotation signs with every version and holds each answer
// to what the stage allows, to the nanosecond.
func TestVerifyFollowsTheRotation(t *testing.T) {
	r := rotation(t, "1", "2", "3", "4")
	k := kids(r)
	r.Revoked = []string{k[0]}
	keyring := ring(rootsOf(1, edRoot(t, "a")), r)
	signatures := make(map[string][]byte)
	for i, label := range []string{"1", "2", "3", "4"} {
		signatures[k[i]] = ed25519.Sign(seeded(label), []byte("message"))
	}
	signatures[someKID] = make([]byte, ed25519.SignatureSize)
	for _, tc := range []struct {
		what string
		now  time.Time
		want [5]capsign.Code // of versions 1 to 4 and a stranger
	}{
		{"before T1", t1.Add(-1), [5]capsign.Code{capsign.KeyRevoked, capsign.KeyRetired, "", "", capsign.KIDUnknown}},
		{"at T1", t1, [5]capsign.Code{capsign.KeyRevoked, capsign.KeyRetired, capsign.KeyRetired, "", capsign.KIDUnknown}},
		{"after T1", t1.Add(1), [5]capsign.Code{capsign.KeyRevoked, capsign.KeyRetired, capsign.KeyRetired, "", capsign.KIDUnknown}},
		{"before it expires", expires.Add(-1), [5]capsign.Code{capsign.KeyRevoked, capsign.KeyRetired, capsign.KeyRetired, "", capsign.KIDUnknown}},
		{"when it expires", expires, [5]capsign.Code{
			capsign.KeyRevoked, capsign.KeyringExpired, capsign.KeyringExpired, capsign.KeyringExpired, capsign.KeyringExpired,
		}},
		{"expired", expires.Add(1), [5]capsign.Code{
			capsign.KeyRevoked, capsign.KeyringExpired, capsign.KeyringExpired, capsign.KeyringExpired, capsign.KeyringExpired,
		}},
	} {
		for i, kid := range []string{k[0], k[1], k[2], k[3], someKID} {
			wantCode(t, tc.what, keyring.Verify(kid, []byte("message"), signatures[kid], tc.now), tc.want[i])
			if tc.want[i] == "" {
				wantCode(t, tc.what, keyring.Verify(kid, []byte("other"), signatures[kid], tc.now), capsign.SignatureInvalid)
			}
		}
	}
}

func TestStateTellsEveryAnswer(t *testing.T) {
	r := rotation(t, "1", "2", "3")
	k := kids(r)
	r.Revoked = []string{someKID} // a version that was forgotten since
	keyring := ring(rootsOf(1, edRoot(t, "a")), r)
	for _, tc := range []struct {
		kid  string
		want capsign.State
		code capsign.Code
	}{
		{k[0], capsign.Retired, ""},
		{k[1], capsign.Accepted, ""},
		{k[2], capsign.Active, ""},
		{someKID, "", capsign.KeyRevoked},
		{"", "", capsign.KIDUnknown},
	} {
		state, err := keyring.State(tc.kid, t1.Add(-1))
		wantCode(t, "State of "+tc.kid, err, tc.code)
		if state != tc.want {
			t.Errorf("State of %q = %q, want %q", tc.kid, state, tc.want)
		}
	}
	if _, err := keyring.Rotation("k"); err != nil {
		t.Error(err)
	}
	_, err := keyring.Rotation("other")
	wantCode(t, "Rotation", err, capsign.KeyUnknown)
}

// A person may type a fingerprint; one that several key names share says
// nothing about which is meant, but a revoked kid is refused under any name.
func TestFingerprintsStandForKIDs(t *testing.T) {
	r, same := rotation(t, "1", "2"), rotation(t, "1")
	same.Name, same.Versions[0] = "l", capsign.VersionOf(keyOf(t, "l", "1"))
	keyring := ring(rootsOf(1, edRoot(t, "a")), r, same)
	second := keyOf(t, "k", "2")
	for _, id := range []string{second.KID, second.SPKISHA256(), second.Thumbprint()} {
		if key, err := keyring.Key(id); err != nil || key.KID != second.KID || key.Pool != "default" {
			t.Errorf("Key(%s) = %v, %v", id, key.KID, err)
		}
		if err := keyring.Verify(id, []byte("m"), ed25519.Sign(seeded("2"), []byte("m")), issued); err != nil {
			t.Errorf("Verify(%s): %v", id, err)
		}
	}
	_, err := keyring.State(keyOf(t, "k", "1").SPKISHA256(), issued)
	wantCode(t, "shared fingerprint", err, capsign.Ambiguous)

	keyring.Keys[0].Revoked = []string{r.Versions[0].KID}
	keyring.Keys = keyring.Keys[:1]
	_, err = keyring.State(keyOf(t, "k", "1").Thumbprint(), issued)
	wantCode(t, "fingerprint of a revoked kid", err, capsign.KeyRevoked)
}

// A keyring that nobody has checked may hold anything under a kid.
func TestWhatIsNoKeyVerifiesNothing(t *testing.T) {
	keyring := ring(rootsOf(1, edRoot(t, "a")), rotation(t, "1"))
	keyring.Keys[0].Versions[0].SPKI = []byte("key")
	kid := keyring.Keys[0].Versions[0].KID
	wantCode(t, "Verify", keyring.Verify(kid, nil, nil, issued), capsign.BadRequest)
	_, err := keyring.Key(keyOf(t, "k", "1").Thumbprint())
	wantCode(t, "Key", err, capsign.KIDUnknown)
}
