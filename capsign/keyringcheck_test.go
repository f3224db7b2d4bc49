package capsign_test

import (
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/capsign/cap/capsign"
)

// TestMalformedKeyringsAreRefused spoils a keyring one way at a time.
func TestMalformedKeyringsAreRefused(t *testing.T) {
	second := func(k *capsign.Keyring) { k.Version, k.Previous, k.Action = 2, someKID, capsign.ActionRenew }
	for name, tc := range map[string]struct {
		spoil func(*capsign.Keyring)
		want  capsign.Code
	}{
		"first":                         {func(*capsign.Keyring) {}, ""},
		"second":                        {second, ""},
		"no format version":             {func(k *capsign.Keyring) { k.V = 0 }, capsign.BadRequest},
		"later format version":          {func(k *capsign.Keyring) { k.V = 2 }, capsign.UnsupportedVersion},
		"version 0":                     {func(k *capsign.Keyring) { k.Version = 0 }, capsign.BadRequest},
		"first with a predecessor":      {func(k *capsign.Keyring) { k.Previous = someKID }, capsign.BadRequest},
		"first that is renewed":         {func(k *capsign.Keyring) { k.Action = capsign.ActionRenew }, capsign.BadRequest},
		"second without a predecessor":  {func(k *capsign.Keyring) { second(k); k.Previous = "" }, capsign.BadRequest},
		"second init":                   {func(k *capsign.Keyring) { second(k); k.Action = capsign.ActionInit }, capsign.BadRequest},
		"predecessor in capitals":       {func(k *capsign.Keyring) { second(k); k.Previous = strings.ToUpper(someKID) }, capsign.BadRequest},
		"predecessor cut short":         {func(k *capsign.Keyring) { second(k); k.Previous = someKID[2:] }, capsign.BadRequest},
		"predecessor not hex":           {func(k *capsign.Keyring) { second(k); k.Previous = "g" + someKID[1:] }, capsign.BadRequest},
		"unknown action":                {func(k *capsign.Keyring) { second(k); k.Action = "replace" }, capsign.BadRequest},
		"not issued":                    {func(k *capsign.Keyring) { k.Issued = time.Time{} }, capsign.BadRequest},
		"issued in another zone":        {func(k *capsign.Keyring) { k.Issued = k.Issued.In(time.FixedZone("", 3600)) }, capsign.BadRequest},
		"never expires":                 {func(k *capsign.Keyring) { k.Expires = time.Time{} }, capsign.BadRequest},
		"expires when issued":           {func(k *capsign.Keyring) { k.Expires = k.Issued }, capsign.BadRequest},
		"expires a nanosecond later":    {func(k *capsign.Keyring) { k.Expires = k.Issued.Add(1) }, ""},
		"expires in the year 10000":     {func(k *capsign.Keyring) { k.Expires = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC) }, capsign.BadRequest},
		"no reason":                     {func(k *capsign.Keyring) { k.Reason = "" }, capsign.BadRequest},
		"longest reason":                {func(k *capsign.Keyring) { k.Reason = strings.Repeat("r", capsign.MaxReason) }, ""},
		"reason too long":               {func(k *capsign.Keyring) { k.Reason = strings.Repeat("r", capsign.MaxReason+1) }, capsign.BadRequest},
		"reason with an escape":         {func(k *capsign.Keyring) { k.Reason = "\x1b[2J" }, capsign.BadRequest},
		"reason in two lines":           {func(k *capsign.Keyring) { k.Reason = "a\nb" }, capsign.BadRequest},
		"reason not UTF-8":              {func(k *capsign.Keyring) { k.Reason = "\xff" }, capsign.BadRequest},
		"no roots":                      {func(k *capsign.Keyring) { k.Roots = capsign.Roots{} }, capsign.BadRequest},
		"threshold 0":                   {func(k *capsign.Keyring) { k.Roots.Threshold = 0 }, capsign.BadRequest},
		"threshold beyond the roots":    {func(k *capsign.Keyring) { k.Roots.Threshold = 3 }, capsign.BadRequest},
		"root twice":                    {func(k *capsign.Keyring) { k.Roots.Keys[1] = k.Roots.Keys[0] }, capsign.BadRequest},
		"root that is no key":           {func(k *capsign.Keyring) { k.Roots.Keys[1].SPKI = []byte("key") }, capsign.BadRequest},
		"root under another algorithm":  {func(k *capsign.Keyring) { k.Roots.Keys[1].Alg = capsign.ES256 }, capsign.UnsupportedAlg},
		"root with RSA":                 {func(k *capsign.Keyring) { k.Roots.Keys[1] = rsaRoot(t) }, capsign.UnsupportedAlg},
		"seventeen roots":               {func(k *capsign.Keyring) { k.Roots = manyRoots(t, 17) }, capsign.BadRequest},
		"sixteen roots":                 {func(k *capsign.Keyring) { k.Roots = manyRoots(t, 16) }, ""},
		"no keys":                       {func(k *capsign.Keyring) { k.Keys = nil }, capsign.BadRequest},
		"keys out of order":             {func(k *capsign.Keyring) { slices.Reverse(k.Keys) }, capsign.BadRequest},
		"key twice":                     {func(k *capsign.Keyring) { k.Keys[1] = k.Keys[0] }, capsign.BadRequest},
		"key without a name":            {func(k *capsign.Keyring) { k.Keys[0].Name = "" }, capsign.BadRequest},
		"key under another name":        {func(k *capsign.Keyring) { k.Keys[0].Name = "a" }, capsign.Integrity},
		"pool with a wildcard":          {func(k *capsign.Keyring) { k.Keys[0].Pool = ">" }, capsign.BadRequest},
		"no versions":                   {func(k *capsign.Keyring) { k.Keys[0].Versions = nil }, capsign.BadRequest},
		"at before the versions":        {func(k *capsign.Keyring) { k.Keys[0].At = -1 }, capsign.BadRequest},
		"at behind the versions":        {func(k *capsign.Keyring) { k.Keys[0].At = 2 }, capsign.BadRequest},
		"version behind at":             {func(k *capsign.Keyring) { k.Keys[0].At, k.Keys[0].T1 = 0, time.Time{} }, ""},
		"back from nowhere":             {func(k *capsign.Keyring) { k.Keys[1].Back = true }, capsign.BadRequest},
		"back":                          {func(k *capsign.Keyring) { k.Keys[0].Back, k.Keys[0].T1 = true, time.Time{} }, ""},
		"back with t1":                  {func(k *capsign.Keyring) { k.Keys[0].Back = true }, capsign.BadRequest},
		"rotation without t1":           {func(k *capsign.Keyring) { k.Keys[0].T1 = time.Time{} }, capsign.BadRequest},
		"t1 in another zone":            {func(k *capsign.Keyring) { k.Keys[0].T1 = t1.In(time.FixedZone("", 1)) }, capsign.BadRequest},
		"t1 without a rotation":         {func(k *capsign.Keyring) { k.Keys[1].T1 = t1 }, capsign.BadRequest},
		"overlap below nothing":         {func(k *capsign.Keyring) { k.Keys[0].Overlap = -1 }, capsign.BadRequest},
		"accepted kid revoked":          {func(k *capsign.Keyring) { k.Keys[0].Revoked = []string{k.Keys[0].Versions[0].KID} }, ""},
		"active kid revoked":            {func(k *capsign.Keyring) { k.Keys[0].Revoked = []string{k.Keys[0].Active()} }, capsign.BadRequest},
		"revoked that is no kid":        {func(k *capsign.Keyring) { k.Keys[0].Revoked = []string{"kid"} }, capsign.BadRequest},
		"revoked twice":                 {func(k *capsign.Keyring) { k.Keys[0].Revoked = []string{someKID, someKID} }, capsign.BadRequest},
		"revoked out of order":          {func(k *capsign.Keyring) { k.Keys[0].Revoked = []string{strings.Repeat("1", 64), someKID} }, capsign.BadRequest},
		"version twice":                 {func(k *capsign.Keyring) { k.Keys[0].Versions[1] = k.Keys[0].Versions[0] }, capsign.BadRequest},
		"version under another kid":     {func(k *capsign.Keyring) { k.Keys[0].Versions[0].KID = someKID }, capsign.Integrity},
		"version of another algorithm":  {func(k *capsign.Keyring) { k.Keys[0].Versions[0].Alg = capsign.ES256 }, capsign.UnsupportedAlg},
		"version of another provider":   {func(k *capsign.Keyring) { k.Keys[0].Versions[0].Provider = "pkcs11" }, capsign.Integrity},
		"version of no provider":        {func(k *capsign.Keyring) { k.Keys[0].Versions[0].Provider = "hsm" }, capsign.BadRequest},
		"version of another public key": {func(k *capsign.Keyring) { k.Keys[0].Versions[0].SPKI = edRoot(t, "x").SPKI }, capsign.Integrity},
		"most versions":                 {func(k *capsign.Keyring) { k.Keys[0] = manyVersions(t, capsign.MaxVersions) }, ""},
		"too many versions":             {func(k *capsign.Keyring) { k.Keys[0] = manyVersions(t, capsign.MaxVersions+1) }, capsign.BadRequest},
	} {
		t.Run(name, func(t *testing.T) {
			l := rotation(t, "9")
			l.Name, l.Versions[0] = "l", capsign.VersionOf(keyOf(t, "l", "9"))
			k := ring(rootsOf(1, edRoot(t, "a"), edRoot(t, "b")), rotation(t, "1", "2"), l)
			tc.spoil(&k)
			wantCode(t, "Check", k.Check(), tc.want)
			_, err := capsign.NewSignedKeyring(k)
			wantCode(t, "NewSignedKeyring", err, tc.want)
		})
	}
}

// manyRoots returns n roots.
func manyRoots(t testing.TB, n int) capsign.Roots {
	t.Helper()
	all := capsign.Roots{Threshold: 1}
	for i := range n {
		all.Keys = append(all.Keys, edRoot(t, strconv.Itoa(i)).RootKey)
	}
	return all
}

// manyVersions returns a key of n versions.
func manyVersions(t testing.TB, n int) capsign.KeyRotation {
	t.Helper()
	labels := make([]string, n)
	for i := range labels {
		labels[i] = strconv.Itoa(i)
	}
	return rotation(t, labels...)
}

// rsaRoot returns the RSA key of the vectors as if it were a root.
func rsaRoot(t testing.TB) capsign.RootKey {
	t.Helper()
	return capsign.RootKey{Alg: capsign.PS256, SPKI: signedWith(t, capsign.PS256).key.SPKI}
}
