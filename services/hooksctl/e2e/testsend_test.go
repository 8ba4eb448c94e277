package e2e_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// tested is the answer of testWebhook.
type tested struct {
	Success                    bool
	ResponseStatus, DurationMs *int
	Error                      *string
	Delivery                   *delivery
	UserErrors                 []userError
}

const (
	// beyond is what a test may take besides its webhook's timeout.
	beyond = 2 * time.Second
	// slack is for a machine with other things to do.
	slack = 2 * time.Second
)

func TestTestWebhook_goesThroughAWorkerOnce(t *testing.T) {
	t.Parallel()
	s, r := newSystem(t), newReceiver(t)
	c := s.client(s.api(), tenant)
	s.worker()
	// send makes a webhook whose receiver answers so, and tests it.
	send := func(t *testing.T, path string, answer answering, input, v vars) (tested, string) {
		t.Helper()
		c := c.in(t)
		r.answer(path, answer)
		id := r.subscribe(c, path, input).Webhook.ID
		if input["eventPatterns"] == nil {
			c.update(id, vars{"status": "PAUSED"}) // must not matter
		}
		all := vars{"id": id}
		for name, value := range v {
			all[name] = value
		}
		began := time.Now()
		out := get[tested](c, testHook, all)
		if took, most := time.Since(began), 500*time.Millisecond+beyond+slack; input["timeoutMs"] == 500 && took > most {
			t.Errorf("answered after %s, want at most %s", took, most)
		}
		if len(out.UserErrors) > 0 || out.Delivery == nil || out.Delivery.WebhookID != id {
			t.Fatalf("testing: %+v", out)
		}
		if got := c.stats(id); got.Total != 0 {
			t.Errorf("a test counts: %+v", got)
		}
		return out, id
	}
	active := []string{"lead.created"}

	t.Run("success", func(t *testing.T) {
		t.Parallel()
		got, id := send(t, "/success", status(http.StatusOK), vars{"eventPatterns": active}, nil)
		if !got.Success || text(got.ResponseStatus) != "200" || got.DurationMs == nil || got.Error != nil || got.Delivery.Status != "SUCCESS" {
			t.Errorf("test = %+v", got)
		}
		body := string(got.Delivery.Payload)
		if came := r.requests("/success"); len(came) != 1 || came[0].Body != body || !strings.Contains(body, `"type":"webhook.test"`) || !strings.Contains(body, id) {
			t.Errorf("requests = %v, payload %s", came, body)
		}
	})
	t.Run("paused", func(t *testing.T) {
		t.Parallel()
		if got, _ := send(t, "/paused", status(http.StatusOK), nil, nil); !got.Success {
			t.Errorf("test = %+v", got)
		}
	})
	t.Run("receiver fails", func(t *testing.T) {
		t.Parallel()
		got, _ := send(t, "/500", status(http.StatusInternalServerError), vars{"eventPatterns": active}, nil)
		checkFailedTest(t, got, "500", "STATUS", "500")
		if n := len(r.requests("/500")); n != 1 {
			t.Errorf("%d requests, want 1", n)
		}
	})
	t.Run("timeout", func(t *testing.T) {
		t.Parallel()
		r.hold("/timeout")
		hang := func(_ http.ResponseWriter, req *http.Request, _ int) { <-req.Context().Done() }
		got, _ := send(t, "/timeout", hang, vars{"eventPatterns": active, "timeoutMs": 500}, nil)
		checkFailedTest(t, got, "null", "TIMEOUT", "no answer within 500ms")
	})
	t.Run("example of an event", func(t *testing.T) {
		t.Parallel()
		got, _ := send(t, "/example", status(http.StatusOK), vars{"eventPatterns": active}, vars{"event": "ACCOUNT_MERGED"})
		checkExample(t, c.in(t), got)
	})
}

func checkFailedTest(t *testing.T, got tested, status, class, says string) {
	t.Helper()
	if got.Success || text(got.ResponseStatus) != status || got.DurationMs == nil || !strings.Contains(text(got.Error), says) {
		t.Errorf("test = %+v, error %s", got, text(got.Error))
	}
	d := got.Delivery
	if d.Status != "FAILED" || d.AttemptCount != 1 || d.MaxAttempts != 1 || len(d.Attempts) != 1 || text(d.Attempts[0].ErrorClass) != class {
		t.Errorf("recorded as %+v, want one failed attempt of class %s", d, class)
	}
}

// checkExample compares what was sent with what the catalogue shows.
func checkExample(t *testing.T, c *client, got tested) {
	t.Helper()
	type payload struct {
		Type, APIVersion string
		Data             any
	}
	var sent payload
	if err := json.Unmarshal(got.Delivery.Payload, &sent); err != nil {
		t.Fatal(err)
	}
	for _, entry := range get[[]struct {
		Event          string
		ExamplePayload payload
	}](c, `{webhookEvents{event examplePayload}}`, nil) {
		if entry.Event == "ACCOUNT_MERGED" {
			if diff := cmp.Diff(entry.ExamplePayload, sent); diff != "" {
				t.Errorf("what was sent is not the example: %s", diff)
			}
			return
		}
	}
	t.Error("the catalogue lacks ACCOUNT_MERGED")
}

func TestTestWebhook_withoutAWorkerIsCalledOff(t *testing.T) {
	t.Parallel()
	s, r := newSystem(t), newReceiver(t)
	c := s.client(s.api(), tenant)
	id := r.subscribe(c, "/", vars{"timeoutMs": 500}).Webhook.ID
	began := time.Now()
	got := get[tested](c, testHook, vars{"id": id})
	if took, most := time.Since(began), 500*time.Millisecond+beyond+slack; took > most {
		t.Errorf("answered after %s, want at most %s", took, most)
	}
	if got.Success || got.DurationMs != nil || !strings.Contains(text(got.Error), "no worker") || got.Delivery == nil ||
		got.Delivery.Status != "FAILED" || text(got.Delivery.FailureReason) != "CANCELED" || got.Delivery.AttemptCount != 0 {
		t.Errorf("test = %+v, error %s", got, text(got.Error))
	}
	// A worker that comes later finds it called off. That the next test gets
	// through shows that the worker has looked.
	s.worker()
	await(t, "a test to succeed", func() bool { return get[tested](c, testHook, vars{"id": id}).Success })
	for _, came := range r.requests("/") {
		if came.delivery() == got.Delivery.ID {
			t.Error("the test that was called off was sent later")
		}
	}
	if d := get[delivery](c, queryDelivery, vars{"id": got.Delivery.ID}); text(d.FailureReason) != "CANCELED" {
		t.Errorf("the test that was called off became %+v", d)
	}
	refusedRetry(t, c, got.Delivery.ID, "CONFLICT")
}
