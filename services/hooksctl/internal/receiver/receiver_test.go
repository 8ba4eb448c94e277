package receiver_test

import (
	"bytes"
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/crm-webhooks/crm-webhooks/pkg/signature"
	"github.com/crm-webhooks/crm-webhooks/services/hooksctl/internal/console"
	"github.com/crm-webhooks/crm-webhooks/services/hooksctl/internal/receiver"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	secret  = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	another = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
)

// signed is a request as our sender makes it.
func signed(t *testing.T, secret string, at time.Time, body string) *http.Request {
	t.Helper()
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body))
	r.Header.Set(signature.HeaderID, "evt_1")
	r.Header.Set(signature.HeaderTimestamp, strconv.FormatInt(at.Unix(), 10))
	r.Header.Set(signature.HeaderSignature, signature.Sign(key, "evt_1", at, body))
	r.Header.Set("Crm-Event-Type", "lead.created")
	r.Header.Set("Crm-Attempt", "2")
	r.Header.Set("Crm-Delivery-Id", "dlv_1")
	return r
}

func post(h http.Handler, r *http.Request) int {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Code
}

func trusting(t *testing.T, wrong receiver.Misbehaviour, seen func(receiver.Request), secrets ...string) *receiver.Receiver {
	t.Helper()
	r := receiver.New(wrong, seen)
	if err := r.Trust(secrets...); err != nil {
		t.Fatal(err)
	}
	return r
}

func TestReceiver_verifies(t *testing.T) {
	t.Parallel()
	tampered := signed(t, secret, time.Now(), `{"a":1}`)
	tampered.Body = http.NoBody
	for name, tc := range map[string]struct {
		secrets  []string
		request  *http.Request
		status   int
		verified bool
	}{
		"good":             {[]string{secret}, signed(t, secret, time.Now(), `{"a":1}`), 204, true},
		"during rotation":  {[]string{another, secret}, signed(t, secret, time.Now(), `{"a":1}`), 204, true},
		"another's secret": {[]string{another}, signed(t, secret, time.Now(), `{"a":1}`), 401, false},
		"another body":     {[]string{secret}, tampered, 401, false},
		"old":              {[]string{secret}, signed(t, secret, time.Now().Add(-time.Hour), `{"a":1}`), 401, false},
		"not signed":       {[]string{secret}, httptest.NewRequest(http.MethodPost, "/", http.NoBody), 401, false},
		"without a secret": {nil, signed(t, secret, time.Now(), `{"a":1}`), 204, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got receiver.Request
			r := trusting(t, receiver.Misbehaviour{}, func(r receiver.Request) { got = r }, tc.secrets...)
			if status := post(r, tc.request); status != tc.status || got.Verified != tc.verified || got.Status != tc.status {
				t.Errorf("status %d, saw %+v", status, got)
			}
		})
	}
}

func TestReceiver_tellsWhatCame(t *testing.T) {
	t.Parallel()
	var got receiver.Request
	r := trusting(t, receiver.Misbehaviour{}, func(r receiver.Request) { got = r }, secret)
	post(r, signed(t, secret, time.Now(), `{"a":1}`))
	got.At = time.Time{}
	want := receiver.Request{
		EventID: "evt_1", EventType: "lead.created", Delivery: "dlv_1", Attempt: "2", Body: []byte(`{"a":1}`), Verified: true, Status: 204,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestReceiver_failsEveryNth(t *testing.T) {
	t.Parallel()
	r := trusting(t, receiver.Misbehaviour{Status: 503, Every: 3}, nil, secret)
	var got []int
	for i := range 7 {
		if i == 1 { // a stranger does not count
			post(r, signed(t, another, time.Now(), "{}"))
		}
		got = append(got, post(r, signed(t, secret, time.Now(), "{}")))
	}
	if diff := cmp.Diff([]int{204, 204, 503, 204, 204, 503, 204}, got); diff != "" {
		t.Error(diff)
	}
}

func TestReceiver_delays(t *testing.T) {
	t.Parallel()
	const delay = 30 * time.Millisecond
	r := trusting(t, receiver.Misbehaviour{Delay: delay}, nil)
	began := time.Now()
	post(r, signed(t, secret, time.Now(), "{}"))
	if took := time.Since(began); took < delay {
		t.Errorf("answered after %s", took)
	}
}

func TestReceiver_getIsASignOfLife(t *testing.T) {
	t.Parallel()
	r := receiver.New(receiver.Misbehaviour{Status: 500}, func(receiver.Request) { t.Error("a GET is no webhook") })
	if status := post(r, httptest.NewRequest(http.MethodGet, "/", http.NoBody)); status != 200 {
		t.Errorf("status %d", status)
	}
}

func TestTrust_neverRepeatsASecret(t *testing.T) {
	t.Parallel()
	err := receiver.New(receiver.Misbehaviour{}, nil).Trust("whsec_not base64, hunter2")
	if err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("error = %v", err)
	}
}

func TestLine(t *testing.T) {
	t.Parallel()
	c := console.New(nil, nil, nil, nil)
	at := time.Date(2026, 11, 23, 10, 0, 0, 0, time.Local)
	for _, tc := range []struct {
		request receiver.Request
		want    string
	}{
		{
			receiver.Request{At: at, EventType: "lead.created", EventID: "evt_1", Attempt: "1", Body: []byte("{}"), Verified: true, Status: 204},
			"10:00:00  ok    lead.created  evt_1  attempt 1  2 bytes  verified, answered 204",
		},
		{
			receiver.Request{At: at, EventType: "\x1b[2Jx", Fault: http.ErrNoCookie, Status: 401},
			`10:00:00  FAIL  "\x1b[2Jx"  -  attempt -  0 bytes  http: named cookie not present, answered 401`,
		},
	} {
		if got := receiver.Line(c, tc.request); got != tc.want {
			t.Errorf("line = %s\nwant   %s", got, tc.want)
		}
	}
}

func TestBody_isReadableAndHarmless(t *testing.T) {
	t.Parallel()
	if got := receiver.Body(receiver.Request{Body: []byte(`{"a":[1]}`)}); !strings.Contains(got, "\n  \"a\": [") {
		t.Errorf("JSON is shown as %s", got)
	}
	if got := receiver.Body(receiver.Request{Body: []byte("\x1b[2J")}); bytes.ContainsRune([]byte(got), 0x1b) {
		t.Errorf("rubbish is shown as %s", got)
	}
}
