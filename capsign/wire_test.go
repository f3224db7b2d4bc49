package capsign_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/capsign/cap/capsign"
)

const (
	someID  = "AAAAAAAAAAAAAAAAAAAAAA.1"
	someKID = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
)

// wellFormed is a request body that is accepted, to be spoilt one way at a time.
const wellFormed = `{"v":1,"id":"` + someID + `","exp":"2026-11-23T12:00:00Z","tenant":"local","pool":"default",` +
	`"key":"cap-signing","scheme":"raw","items":["aGVsbG8="]}`

// codeOf returns the code that err wraps, "" for none.
func codeOf(err error) capsign.Code {
	code, _ := errors.AsType[capsign.Code](err)
	return code
}

func TestRequestRoundTrip(t *testing.T) {
	want := capsign.Request{
		V: 1, ID: someID, Expires: time.Date(2026, 11, 23, 12, 0, 0, 123e6, time.UTC), Tenant: "local", Pool: "default",
		Key: "clé 1", KID: someKID, Scheme: capsign.SchemeRaw, Items: [][]byte{{}, []byte("hello"), {0, 255}},
	}
	body, err := want.Encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := capsign.DecodeRequest(body)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestRequestBodiesThatAreRefused(t *testing.T) {
	if _, err := capsign.DecodeRequest([]byte(wellFormed)); err != nil {
		t.Fatalf("the well-formed body: %v", err)
	}
	change := func(was, is string) string { return strings.Replace(wellFormed, was, is, 1) }
	for name, tc := range map[string]struct {
		body string
		want capsign.Code
	}{
		"empty":                 {"", capsign.BadRequest},
		"null":                  {"null", capsign.BadRequest},
		"array":                 {"[" + wellFormed + "]", capsign.BadRequest},
		"truncated":             {wellFormed[:len(wellFormed)-1], capsign.BadRequest},
		"trailing data":         {wellFormed + "{}", capsign.BadRequest},
		"unknown member":        {change(`{"v"`, `{"x":1,"v"`), capsign.BadRequest},
		"duplicate member":      {change(`{"v":1`, `{"v":1,"v":1`), capsign.BadRequest},
		"member in other case":  {change(`"scheme"`, `"Scheme"`), capsign.BadRequest},
		"member missing":        {change(`"exp":"2026-11-23T12:00:00Z",`, ""), capsign.BadRequest},
		"invalid UTF-8":         {change("cap-signing", "cap\xff"), capsign.BadRequest},
		"NUL in a name":         {change("cap-signing", `cap\u0000`), capsign.BadRequest},
		"escape in a name":      {change("cap-signing", `\u001b[31m`), capsign.BadRequest},
		"bidi in a name":        {change("cap-signing", "\u202ecap"), capsign.BadRequest},
		"deep":                  {strings.Repeat("[", 20000), capsign.BadRequest},
		"deep member":           {change(`["aGVsbG8="]`, strings.Repeat("[", 20000)), capsign.BadRequest},
		"number for string":     {change(`"raw"`, "1"), capsign.BadRequest},
		"huge number":           {change(`"v":1`, `"v":1e999`), capsign.BadRequest},
		"fraction":              {change(`"v":1`, `"v":1.5`), capsign.BadRequest},
		"other version":         {change(`"v":1`, `"v":2`), capsign.UnsupportedVersion},
		"no version":            {change(`"v":1,`, ""), capsign.BadRequest},
		"time without zone":     {change("12:00:00Z", "12:00:00"), capsign.BadRequest},
		"time in another zone":  {change("12:00:00Z", "12:00:00+01:00"), capsign.BadRequest},
		"time as number":        {change(`"2026-11-23T12:00:00Z"`, "1795435200"), capsign.BadRequest},
		"id without count":      {change(someID, "AAAAAAAAAAAAAAAAAAAAAA"), capsign.BadRequest},
		"id with leading zero":  {change(someID, "AAAAAAAAAAAAAAAAAAAAAA.01"), capsign.BadRequest},
		"id with wildcard":      {change(someID, "AAAAAAAAAAAAAAAAAAAAA*.1"), capsign.BadRequest},
		"id with three tokens":  {change(someID, "AAAAAAAAAAAAAAAAAAAAAA.1.2"), capsign.BadRequest},
		"short client":          {change(someID, "A.1"), capsign.BadRequest},
		"tenant with dot":       {change("local", "a.b"), capsign.BadRequest},
		"pool with wildcard":    {change("default", ">"), capsign.BadRequest},
		"empty key":             {change("cap-signing", ""), capsign.BadRequest},
		"unpadded item":         {change("aGVsbG8=", "aGVsbG8"), capsign.BadRequest},
		"base64url item":        {change("aGVsbG8=", "__8="), capsign.BadRequest},
		"item with a line end":  {change("aGVsbG8=", `aGVs\nbG8=`), capsign.BadRequest},
		"no items":              {change(`["aGVsbG8="]`, "[]"), capsign.BadRequest},
		"null items":            {change(`["aGVsbG8="]`, "null"), capsign.BadRequest},
		"too many items":        {change(`"aGVsbG8="`, strings.Repeat(`"",`, capsign.MaxItems)+`""`), capsign.BadRequest},
		"unknown scheme":        {change(`"raw"`, `"ssh"`), capsign.UnsupportedScheme},
		"kid in capitals":       {change(`"scheme"`, `"kid":"`+strings.ToUpper(someKID)+`","scheme"`), capsign.BadRequest},
		"one byte over":         {wellFormed + strings.Repeat(" ", capsign.MaxRequestSize-len(wellFormed)+1), capsign.TooLarge},
		"gzip":                  {"\x1f\x8b\x08\x00", capsign.BadRequest},
		"id of another's shape": {change(`"`+someID+`"`, `{"a":1}`), capsign.BadRequest},
	} {
		t.Run(name, func(t *testing.T) {
			req, err := capsign.DecodeRequest([]byte(tc.body))
			if codeOf(err) != tc.want {
				t.Errorf("error %v, want %s", err, tc.want)
			}
			req.ID = ""
			if diff := cmp.Diff(capsign.Request{}, req); diff != "" {
				t.Errorf("a refused request has more than its id: %s", diff)
			}
		})
	}
}

func TestLargestMessageFits(t *testing.T) {
	req := capsign.Request{
		V: 1, ID: capsign.RequestID(capsign.NewClientID(), 1<<63), Expires: time.Now().UTC(), Tenant: strings.Repeat("t", 32),
		Pool: strings.Repeat("p", 32), Key: strings.Repeat("\"", capsign.MaxKeyName), KID: someKID,
		Scheme: capsign.SchemeRaw, Items: [][]byte{make([]byte, capsign.MaxMessageSize)},
	}
	if _, err := req.Encode(); err != nil {
		t.Error(err)
	}
	req.Items[0] = make([]byte, capsign.MaxRequestSize)
	if _, err := req.Encode(); codeOf(err) != capsign.TooLarge {
		t.Errorf("error %v, want %s", err, capsign.TooLarge)
	}
}

func TestResultBodiesThatAreRefused(t *testing.T) {
	const hash = someKID
	const signed = `{"v":1,"id":"` + someID + `","request_sha256":"` + hash + `","kid":"` + someKID + `","alg":"Ed25519",` +
		`"outcomes":[{"signature":"AA=="},{"code":"too_large"}]}`
	const refused = `{"v":1,"id":"` + someID + `","request_sha256":"` + hash + `","code":"key_unknown"}`
	for _, body := range []string{signed, refused} {
		if _, err := capsign.DecodeResult([]byte(body)); err != nil {
			t.Fatalf("%s: %v", body, err)
		}
	}
	for name, body := range map[string]string{
		"code outside the set":     strings.Replace(refused, "key_unknown", "no_reason", 1),
		"code and outcomes":        strings.Replace(signed, `"kid"`, `"code":"denied","kid"`, 1),
		"neither":                  strings.Replace(refused, `,"code":"key_unknown"`, "", 1),
		"outcome with both":        strings.Replace(signed, `"AA=="`, `"AA==","code":"denied"`, 1),
		"outcome with neither":     strings.Replace(signed, `"signature":"AA=="`, "", 1),
		"outcome code outside set": strings.Replace(signed, "too_large", "other", 1),
		"no kid":                   strings.Replace(signed, `"kid":"`+someKID+`",`, "", 1),
		"no hash":                  strings.Replace(signed, hash, "", 1),
		"unknown member":           strings.Replace(signed, `{"v"`, `{"y":0,"v"`, 1),
	} {
		t.Run(name, func(t *testing.T) {
			if res, err := capsign.DecodeResult([]byte(body)); err == nil || res.ID != "" {
				t.Errorf("accepted as %+v", res)
			}
		})
	}
}

func TestJobSubjects(t *testing.T) {
	for _, key := range []string{"cap-signing", "release 2026", "a.b.>", "=", "é", strings.Repeat("k", capsign.MaxKeyName)} {
		subject := capsign.JobSubject("acme", "hsm", capsign.Bulk, key)
		want := capsign.Job{Tenant: "acme", Pool: "hsm", Lane: capsign.Bulk, Key: key}
		if got, err := capsign.ParseJobSubject(subject); err != nil || got != want {
			t.Errorf("%s: %+v, %v", subject, got, err)
		}
		if strings.ContainsAny(strings.TrimPrefix(subject, "cap.job.acme.hsm.bulk."), ".*> ") {
			t.Errorf("%q is not one token", subject)
		}
	}
	for _, subject := range []string{
		"", "cap.job", "cap.job.a.b.bulk", "cap.job.a.b.bulk.k.k", "x.job.a.b.bulk.k",
		"cap.job.a.b.bulk.=!!", "cap.job.a.b.bulk.=Y2Fw", "cap.job.a.b.bulk.=",
	} {
		if job, err := capsign.ParseJobSubject(subject); err == nil {
			t.Errorf("%q is accepted as %+v", subject, job)
		}
	}
}

func FuzzDecodeRequest(f *testing.F) {
	f.Add([]byte(wellFormed))
	f.Add([]byte(strings.Replace(wellFormed, `"v":1`, `"v":2`, 1)))
	f.Fuzz(func(t *testing.T, body []byte) {
		req, err := capsign.DecodeRequest(body)
		if err != nil {
			if !codeOf(err).Known() {
				t.Fatalf("error without a code: %v", err)
			}
			return
		}
		again, err := req.Encode()
		if err != nil {
			t.Fatalf("an accepted request does not encode: %v", err)
		}
		if twice, err := capsign.DecodeRequest(again); err != nil || !cmp.Equal(req, twice) {
			t.Fatalf("%v: %s", err, cmp.Diff(req, twice))
		}
	})
}

func FuzzDecodeResult(f *testing.F) {
	f.Add([]byte(`{"v":1,"id":"` + someID + `","request_sha256":"` + someKID + `","code":"denied"}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		res, err := capsign.DecodeResult(body)
		if err != nil {
			return
		}
		again, err := res.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := capsign.DecodeResult(again); err != nil {
			t.Fatalf("%s: %v", again, err)
		}
	})
}

func FuzzParseJobSubject(f *testing.F) {
	f.Add("cap.job.local.default.express.cap-signing")
	f.Fuzz(func(t *testing.T, subject string) {
		job, err := capsign.ParseJobSubject(subject)
		if err == nil && capsign.JobSubject(job.Tenant, job.Pool, job.Lane, job.Key) != subject {
			t.Fatalf("%q has a second spelling", subject)
		}
	})
}

func FuzzDecodeRecords(f *testing.F) {
	f.Add([]byte(`{"v":1,"pool":"default","provider":"software","state":"ready","since":"2026-11-23T12:00:00Z","current":{}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if pool, err := capsign.DecodePool(data); err == nil {
			if _, err := pool.Encode(); err != nil {
				t.Fatal(err)
			}
		}
		if key, err := capsign.DecodeKey(data); err == nil {
			again, err := key.Encode()
			if err != nil {
				t.Fatal(err)
			}
			if twice, err := capsign.DecodeKey(again); err != nil || twice.KID != key.KID || !bytes.Equal(twice.SPKI, key.SPKI) {
				t.Fatalf("%s: %v", again, err)
			}
		}
	})
}

// TestClientIDsAreArguments draws so many that one in 64 would be sure to show.
func TestClientIDsAreArguments(t *testing.T) {
	t.Parallel()
	for range 10_000 {
		if id := capsign.NewClientID(); id[0] == '-' || capsign.CheckRequestID(id+".1") != nil {
			t.Fatalf("id %s", id)
		}
	}
}
