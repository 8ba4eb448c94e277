package webhook_test

import (
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

func TestParseHeaders_accepts(t *testing.T) {
	t.Parallel()
	in := []webhook.Header{
		{"Authorization", "Bearer abc"}, {"x-Api_KEY", "  k\t"}, {"X-Empty", ""}, {"Accept", "*/*"}, {"Idempotency-Key", "1"},
		{"X-Forwarded-For", "1.2.3.4"}, {"Contents", "a"}, {"X-Webhook-Id", "1"}, {"X-Üml", "no"}, {"X-Text", "grüße"},
		{"X-Max", strings.Repeat("v", 4096-5)}, {"Crmish", "x"},
	}
	in = append(in[:8], in[9:]...) // without the name that is no token
	got, err := webhook.ParseHeaders(in)
	if err != nil {
		t.Fatal(err)
	}
	want := append([]webhook.Header{}, in...)
	want[1].Value = "k"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("headers (-want +got):\n%s", diff)
	}
	if in[1].Value != "  k\t" {
		t.Error("the caller's headers were changed")
	}
	if got, err := webhook.ParseHeaders(nil); err != nil || len(got) != 0 {
		t.Errorf("no headers = %v, %v", got, err)
	}
}

func TestParseHeaders_refuses(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		header webhook.Header
		want   string
	}{
		"no name":            {webhook.Header{"", "v"}, "invalid headers.0.name"},
		"space in name":      {webhook.Header{"X A", "v"}, "invalid headers.0.name"},
		"colon in name":      {webhook.Header{"X:A", "v"}, "invalid headers.0.name"},
		"CRLF in name":       {webhook.Header{"X\r\nY", "v"}, "invalid headers.0.name"},
		"NUL in name":        {webhook.Header{"X\x00", "v"}, "invalid headers.0.name"},
		"name not ASCII":     {webhook.Header{"X-Ü", "v"}, "invalid headers.0.name"},
		"pseudo header":      {webhook.Header{":authority", "v"}, "invalid headers.0.name"},
		"CRLF in value":      {webhook.Header{"X-A", "v\r\nEvil: 1"}, "invalid headers.0.value"},
		"LF in value":        {webhook.Header{"X-A", "v\nx"}, "invalid headers.0.value"},
		"CR in value":        {webhook.Header{"X-A", "v\rx"}, "invalid headers.0.value"},
		"NUL in value":       {webhook.Header{"X-A", "\x00"}, "invalid headers.0.value"},
		"DEL in value":       {webhook.Header{"X-A", "a\x7f"}, "invalid headers.0.value"},
		"tab in value":       {webhook.Header{"X-A", "a\tb"}, "invalid headers.0.value"},
		"next line in value": {webhook.Header{"X-A", "a\u0085b"}, "invalid headers.0.value"},
		"not UTF-8":          {webhook.Header{"X-A", "\xff"}, "invalid headers.0.value"},
		"our own mask":       {webhook.Header{"Authorization", "********"}, "invalid headers.0.value"},
		"too large":          {webhook.Header{"X-A", strings.Repeat("v", 4096-2)}, "limit exceeded headers.0.value"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := webhook.ParseHeaders([]webhook.Header{tc.header})
			if diff := cmp.Diff([]string{tc.want}, fields(t, err)); diff != "" {
				t.Errorf("faults (-want +got):\n%s", diff)
			}
		})
	}
}

func TestParseHeaders_refusesReservedNames(t *testing.T) {
	t.Parallel()
	for _, name := range []string{
		"Host", "content-length", "Content-Type", "Content-Encoding", "Transfer-Encoding", "Connection", "Keep-Alive", "TE", "Trailer",
		"Upgrade", "Expect", "Accept-Encoding", "User-Agent", "Webhook-Id", "webhook-signature", "Webhook-Timestamp", "Webhook-Anything",
		"Crm-Delivery-Id", "CRM-Attempt", "traceparent", "TraceState", "Cookie", "Set-Cookie", "Proxy-Authorization", "Proxy-Connection",
		"HTTP2-Settings", "Via", "Date", "webhook_id", "Content_Length", "crm_event-type",
	} {
		_, err := webhook.ParseHeaders([]webhook.Header{{name, "v"}})
		if diff := cmp.Diff([]string{"invalid headers.0.name"}, fields(t, err)); diff != "" {
			t.Errorf("faults of %s (-want +got):\n%s", name, diff)
		}
	}
}

func TestParseHeaders_namesEachFault(t *testing.T) {
	t.Parallel()
	_, err := webhook.ParseHeaders([]webhook.Header{
		{"X-A", "1"}, {"x-a", "2"}, {"Host", "h"}, {"X-B", "a\nb"}, {"X-C", "3"}, {"X-a", "4"},
	})
	want := []string{"invalid headers.1.name", "invalid headers.2.name", "invalid headers.3.value", "invalid headers.5.name"}
	if diff := cmp.Diff(want, fields(t, err)); diff != "" {
		t.Errorf("faults (-want +got):\n%s", diff)
	}
}

func TestParseHeaders_atMost20(t *testing.T) {
	t.Parallel()
	headers := make([]webhook.Header, 21)
	for i := range headers {
		headers[i] = webhook.Header{Name: "X-" + strconv.Itoa(i)}
	}
	if _, err := webhook.ParseHeaders(headers[:20]); err != nil {
		t.Errorf("20 headers: %v", err)
	}
	_, err := webhook.ParseHeaders(headers)
	if diff := cmp.Diff([]string{"limit exceeded headers"}, fields(t, err)); diff != "" {
		t.Errorf("faults of 21 headers (-want +got):\n%s", diff)
	}
}

func TestMaskHeader(t *testing.T) {
	t.Parallel()
	for name, masked := range map[string]bool{
		"Authorization": true, "authorization": true, "X-Auth": true, "Proxy-Authenticate": true, "X-API-Key": true, "apikey": true,
		"X-Access-Token": true, "Client-Secret": true, "X-Password": true, "X-Credential": true, "X-Session-Id": true, "Set-Cookie": true,
		"X-Hub-Signature-256": true, "Webhook-Signature-Old": true,
		"Webhook-Signature": false, "webhook-signature": false, "Webhook-Id": false, "Content-Type": false, "X-Request-Id": false, "Location": false,
	} {
		got := webhook.MaskHeader(webhook.Header{Name: name, Value: "hunter2"})
		want := webhook.Field{Name: name, Value: "hunter2"}
		if masked {
			want.Value = "********"
		}
		if got != want {
			t.Errorf("masked = %v, want %v", got, want)
		}
	}
}
