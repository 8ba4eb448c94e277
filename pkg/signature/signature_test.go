package signature_test

import (
	"encoding/base64"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/crm-webhooks/crm-webhooks/pkg/signature"
)

const (
	secret   = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	other    = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
	id       = "msg_p5jXN8AQM9LWM0D4loKWxJek"
	body     = `{"test": 2432232314}`
	vector   = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
	sentUnix = 1614265330
)

func sentAt() time.Time { return time.Unix(sentUnix, 0) }

func key(t testing.TB, secret string) []byte {
	t.Helper()
	k, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func headers(id, ts, sig string) http.Header {
	h := http.Header{}
	for name, v := range map[string]string{
		signature.HeaderID: id, signature.HeaderTimestamp: ts, signature.HeaderSignature: sig,
	} {
		if v != "" {
			h.Set(name, v)
		}
	}
	return h
}

func TestSign_publishedVector(t *testing.T) {
	t.Parallel()
	if got := signature.Sign(key(t, secret), id, sentAt(), body); got != vector {
		t.Errorf("signature of a string = %s, want %s", got, vector)
	}
	if got := signature.Sign(key(t, secret), id, sentAt(), []byte(body)); got != vector {
		t.Errorf("signature of bytes = %s, want %s", got, vector)
	}
}

func TestSign_agreesWithReferenceLibrary(t *testing.T) {
	t.Parallel()
	wh, err := standardwebhooks.NewWebhook(secret)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	for _, payload := range []string{"", "x", body, strings.Repeat("é{}\n", 100_000)} {
		got := signature.Sign(key(t, secret), "evt_1", now, payload)
		want, err := wh.Sign("evt_1", now, []byte(payload))
		if err != nil {
			t.Fatal(err)
		}
		if got != want {
			t.Errorf("signature of %d bytes = %s, want %s", len(payload), got, want)
		}
		h := headers("evt_1", strconv.FormatInt(now.Unix(), 10), got)
		if err := wh.Verify([]byte(payload), h); err != nil {
			t.Errorf("the reference library refuses our signature of %d bytes: %v", len(payload), err)
		}
		if err := signature.Verify([]string{secret}, h, []byte(payload), now, 0); err != nil {
			t.Errorf("we refuse the reference library's signature of %d bytes: %v", len(payload), err)
		}
	}
}

func TestHeader_rotation(t *testing.T) {
	t.Parallel()
	both := signature.Header([][]byte{key(t, other), key(t, secret)}, id, sentAt(), body)
	if parts := strings.Split(both, " "); len(parts) != 2 || parts[1] != vector {
		t.Fatalf("header = %q, want two signatures, the second %s", both, vector)
	}
	h := headers(id, strconv.Itoa(sentUnix), both)
	for name, secrets := range map[string][]string{
		"receiver with the old secret": {secret},
		"receiver with the new secret": {other},
		"receiver with both":           {secret, other},
		"bare base64":                  {strings.TrimPrefix(secret, "whsec_")},
	} {
		if err := signature.Verify(secrets, h, []byte(body), sentAt(), 0); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	// And a receiver that knows both takes what was signed with either.
	h = headers(id, strconv.Itoa(sentUnix), vector)
	if err := signature.Verify([]string{other, secret}, h, []byte(body), sentAt(), 0); err != nil {
		t.Errorf("old signature, both secrets: %v", err)
	}
}

func TestVerify_refuses(t *testing.T) {
	t.Parallel()
	ts := strconv.Itoa(sentUnix)
	mac := strings.TrimPrefix(vector, "v1,")
	for name, tc := range map[string]struct {
		header http.Header
		body   string
		late   time.Duration
		want   error
	}{
		"no id":                {headers("", ts, vector), body, 0, signature.ErrMissingHeader},
		"no timestamp":         {headers(id, "", vector), body, 0, signature.ErrMissingHeader},
		"no signature":         {headers(id, ts, ""), body, 0, signature.ErrMissingHeader},
		"other body":           {headers(id, ts, vector), body + " ", 0, signature.ErrNoMatch},
		"other id":             {headers(id+"x", ts, vector), body, 0, signature.ErrNoMatch},
		"other timestamp":      {headers(id, "1614265331", vector), body, 0, signature.ErrNoMatch},
		"moved dot":            {headers(id+"."+ts, ts, vector), body, 0, signature.ErrNoMatch},
		"other version":        {headers(id, ts, "v1a,"+mac), body, 0, signature.ErrNoMatch},
		"no version":           {headers(id, ts, mac), body, 0, signature.ErrNoMatch},
		"empty signature":      {headers(id, ts, "v1,"), body, 0, signature.ErrNoMatch},
		"prefix of signature":  {headers(id, ts, vector[:20]), body, 0, signature.ErrNoMatch},
		"too old":              {headers(id, ts, vector), body, 5*time.Minute + time.Second, signature.ErrTimestampTooOld},
		"too new":              {headers(id, ts, vector), body, -5*time.Minute - time.Second, signature.ErrTimestampTooNew},
		"word for a timestamp": {headers(id, "now", vector), body, 0, signature.ErrMalformedHeader},
		"signed timestamp":     {headers(id, "+"+ts, vector), body, 0, signature.ErrMalformedHeader},
		"negative timestamp":   {headers(id, "-1", vector), body, 0, signature.ErrMalformedHeader},
		"fraction":             {headers(id, ts+".5", vector), body, 0, signature.ErrMalformedHeader},
		"huge timestamp":       {headers(id, "99999999999999999999", vector), body, 0, signature.ErrMalformedHeader},
		"far future":           {headers(id, "1099511627775", vector), body, 0, signature.ErrTimestampTooNew},
		"17 signatures":        {headers(id, ts, strings.Repeat("v1,x ", 16)+vector), body, 0, signature.ErrMalformedHeader},
		"a long header":        {headers(id, ts, strings.Repeat(" ", 5000)+vector), body, 0, signature.ErrMalformedHeader},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := signature.Verify([]string{secret, other}, tc.header, []byte(tc.body), sentAt().Add(tc.late), 0)
			if !errors.Is(err, tc.want) {
				t.Errorf("error = %v, want %v", err, tc.want)
			}
		})
	}
}

func TestVerify_accepts(t *testing.T) {
	t.Parallel()
	ts := strconv.Itoa(sentUnix)
	for name, tc := range map[string]struct {
		signatures string
		late       time.Duration
		tolerance  time.Duration
	}{
		"at the old end":         {vector, 5 * time.Minute, 0},
		"at the new end":         {vector, -5 * time.Minute, 0},
		"another tolerance":      {vector, time.Hour, time.Hour},
		"among other versions":   {"v1a,abc v2,def " + vector + " v9,", 0, 0},
		"last of 16":             {strings.Repeat("v1,x ", 15) + vector, 0, 0},
		"behind several spaces":  {"   " + vector, 0, 0},
		"before trailing spaces": {vector + "  ", 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := headers(id, ts, tc.signatures)
			if err := signature.Verify([]string{secret}, h, []byte(body), sentAt().Add(tc.late), tc.tolerance); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestVerify_badSecrets(t *testing.T) {
	t.Parallel()
	h := headers(id, strconv.Itoa(sentUnix), vector)
	for _, secrets := range [][]string{
		nil, {""}, {"whsec_"}, {"whsec_!!"}, {"whsec_c2hvcnQ="}, {secret, "whsec_c2hvcnQ="},
		{"whsec_" + base64.StdEncoding.EncodeToString(make([]byte, 65))},
	} {
		err := signature.Verify(secrets, h, []byte(body), sentAt(), 0)
		if err == nil {
			t.Errorf("Verify took the secrets %q", secrets)
			continue
		}
		for _, s := range secrets {
			if enc := strings.TrimPrefix(s, "whsec_"); enc != "" && strings.Contains(err.Error(), enc) {
				t.Errorf("the error %q repeats a secret", err)
			}
		}
	}
	if err := signature.Verify([]string{secret}, h, []byte(body), sentAt(), -time.Second); err == nil {
		t.Error("Verify took a negative tolerance")
	}
}

func BenchmarkSign(b *testing.B) {
	k, payload := key(b, secret), strings.Repeat("x", 1024)
	b.ReportAllocs()
	for b.Loop() {
		signature.Sign(k, id, sentAt(), payload)
	}
}
