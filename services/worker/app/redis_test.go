package app_test

import (
	"testing"
	"time"
)

func TestWorker_finishesWhatDeletedWebhooksOweWithoutRedis(t *testing.T) {
	t.Parallel()
	b := setup(t)
	hook := b.webhook(nil)
	b.accept(5)
	if err := b.config.RedisURL.UnmarshalText([]byte("redis://127.0.0.1:1/0")); err != nil { // nobody is there
		t.Fatal(err)
	}
	b.worker()
	if err := b.hooks.Delete(t.Context(), tenant, hook, time.Now()); err != nil {
		t.Fatal(err)
	}
	b.await("nothing is owed any more", `count(*) = 5 AND bool_and(failure_reason = 'webhook_deleted') AND NOT EXISTS (SELECT FROM lanes) FROM deliveries`)
}
