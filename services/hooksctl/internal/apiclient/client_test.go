package apiclient_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/crm-webhooks/crm-webhooks/services/hooksctl/internal/apiclient"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func serve(t *testing.T, status int, answer string) (client *apiclient.Client, got *http.Request, body *string) {
	t.Helper()
	got, body = new(http.Request), new(string)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text, _ := io.ReadAll(r.Body)
		*got, *body = *r, string(text)
		w.WriteHeader(status)
		_, _ = io.WriteString(w, answer)
	}))
	t.Cleanup(server.Close)
	client = apiclient.New(server.URL+"/", "tok", 1)
	t.Cleanup(client.Close)
	return client, got, body
}

func TestDispatch_postsOneOperation(t *testing.T) {
	t.Parallel()
	client, got, body := serve(t, http.StatusOK, `{"data":{"dispatchEvent":{"eventId":"evt_1","deliveryCount":2,"duplicate":true,"userErrors":[]}}}`)
	accepted, err := client.Dispatch(t.Context(), apiclient.Event{CustomEvent: "invoice.paid", ObjectID: "i", Object: json.RawMessage(`{"a":1}`)})
	if err != nil {
		t.Fatal(err)
	}
	if accepted != (apiclient.Accepted{EventID: "evt_1", DeliveryCount: 2, Duplicate: true}) {
		t.Errorf("accepted = %+v", accepted)
	}
	if got.URL.Path != "/graphql" || got.Method != http.MethodPost || got.Header.Get("Authorization") != "Bearer tok" ||
		got.Header.Get("Content-Type") != "application/json" {
		t.Errorf("request = %s %s %v", got.Method, got.URL, got.Header)
	}
	if want := `"variables":{"input":{"customEvent":"invoice.paid","objectId":"i","object":{"a":1}}}`; !strings.Contains(*body, want) {
		t.Errorf("body = %s, want %s in it", *body, want)
	}
}

func TestDispatch_saysWhatTheServerSaid(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		status int
		answer string
		want   string
	}{
		"user errors":   {200, `{"data":{"dispatchEvent":{"userErrors":[{"code":"INVALID","field":["input","objectId"],"message":"is empty"}]}}}`, "INVALID input.objectId: is empty"},
		"top level":     {401, `{"errors":[{"message":"token has expired","extensions":{"code":"UNAUTHENTICATED"}}]}`, "UNAUTHENTICATED: token has expired"},
		"internal":      {200, `{"data":null,"errors":[{"message":"internal error","extensions":{"code":"INTERNAL","requestId":"r1"}}]}`, "INTERNAL: internal error (request r1)"},
		"another site":  {404, "<html>\nnot here</html>", "/graphql is no GraphQL API: HTTP 404 <html> not here</html>"},
		"no data at al": {200, "{}", "is no GraphQL API: HTTP 200 {}"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client, _, _ := serve(t, tc.status, tc.answer)
			if _, err := client.Dispatch(t.Context(), apiclient.Event{}); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error = %v, want %s", err, tc.want)
			}
		})
	}
}

func TestFindWebhook_wantsTheWholeName(t *testing.T) {
	t.Parallel()
	client, _, _ := serve(t, http.StatusOK, `{"data":{"webhooks":{"nodes":[{"id":"whk_1","name":"demo 2"},{"id":"whk_2","name":"demo"}]}}}`)
	if id, err := client.FindWebhook(t.Context(), "demo"); err != nil || id != "whk_2" {
		t.Errorf("id = %q, %v", id, err)
	}
}
