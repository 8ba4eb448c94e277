package postgres_test

import (
	"context"
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

func TestWebhooks_whatIsStoredComesBack(t *testing.T) {
	t.Parallel()
	b := setupManage(t)
	five := int32(5)
	created, _ := webhook.ParseEventType("lead.created")
	s, err := webhook.Draft{
		Name: "Ünï", Description: "two\nlines", URL: "https://example.com/?a=%00&b='", Patterns: []string{"lead.created", "*"},
		Events:      []webhook.EventType{created},
		Headers:     []webhook.Header{{Name: "Authorization", Value: "Bearer top-secret"}, {Name: "X-A", Value: "1"}},
		PolicyDraft: webhook.PolicyDraft{MaxAttempts: &five},
	}.Parse(webhook.URLRules{})
	if err != nil {
		t.Fatal(err)
	}
	want := s.Webhook(webhook.NewWebhookID(time.Now(), random(t)), "acme", "user-1", nowMs())
	b.create(t, want)

	got, err := b.hooks.Get(t.Context(), "acme", want.ID)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, opaque()); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	byID, err := b.hooks.ByID(t.Context(), "acme", []webhook.WebhookID{want.ID})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[webhook.WebhookID]webhook.Webhook{want.ID: want}, byID, opaque()); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	var leaked int
	err = b.db.GetContext(t.Context(), &leaked, `SELECT count(*) FROM webhooks WHERE webhooks::text LIKE '%top-secret%' OR webhooks::text LIKE '%whsec%'`)
	if err != nil || leaked != 0 {
		t.Errorf("rows with readable secrets = %d, %v, want 0", leaked, err)
	}
}

// opaque compares values with unexported fields as == does.
func opaque() cmp.Option {
	return cmp.Options{
		cmp.Comparer(func(a, b webhook.WebhookID) bool { return a == b }),
		cmp.Comparer(func(a, b webhook.DeliveryID) bool { return a == b }),
		cmp.Comparer(func(a, b webhook.EventType) bool { return a == b }),
		cmp.Comparer(func(a, b webhook.Pattern) bool { return a == b }),
	}
}

func TestWebhooks_limitHoldsForParallelCreates(t *testing.T) {
	t.Parallel()
	b := setupManage(t)
	errs := make(chan error)
	const tries = webhook.MaxWebhooksPerTenant + 1
	for range tries {
		w := newWebhook(t, "acme", "*")
		go func() { errs <- b.hooks.Create(context.WithoutCancel(t.Context()), w, secret(t, 1)) }()
	}
	refused := 0
	for range tries {
		if err := <-errs; err != nil {
			wantKind(t, "creating one too many", err, webhook.ErrLimitExceeded)
			refused++
		}
	}
	if n, err := b.hooks.Count(t.Context(), "acme", webhook.WebhookFilter{}); err != nil || n != webhook.MaxWebhooksPerTenant || refused != 1 {
		t.Errorf("webhooks = %d, %v, refused %d, want 100 and 1", n, err, refused)
	}
	b.create(t, newWebhook(t, "other", "*")) // another tenant is not concerned

	page, err := b.hooks.List(t.Context(), "acme", webhook.WebhookFilter{}, webhook.Page[webhook.WebhookID]{Limit: 1})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.hooks.Delete(t.Context(), "acme", page.Items[0].ID, nowMs()); err != nil {
		t.Fatal(err)
	}
	b.create(t, newWebhook(t, "acme", "*")) // a deleted one makes room
}

func TestWebhooks_updateMovesSubscriptions(t *testing.T) {
	t.Parallel()
	b := setupManage(t)
	w := newWebhook(t, "acme", "lead.created")
	b.create(t, w)
	change := func(c webhook.Change) (webhook.Webhook, error) {
		return b.hooks.Update(t.Context(), "acme", w.ID, nowMs().Add(time.Minute), func(w webhook.Webhook) (webhook.Webhook, error) {
			return c.Apply(w, webhook.URLRules{})
		})
	}
	if _, owed := b.accept(t, b.submission(t, "acme", 1)); len(owed) != 1 {
		t.Errorf("before: owed %d, want 1", len(owed))
	}
	changed, err := change(webhook.Change{Patterns: &[]string{"account.*"}})
	if err != nil || !changed.UpdatedAt.After(w.UpdatedAt) {
		t.Error(changed.UpdatedAt, err)
	}
	if _, owed := b.accept(t, b.submission(t, "acme", 1)); len(owed) != 0 {
		t.Errorf("unsubscribed: owed %d, want 0", len(owed))
	}
	if _, err := change(webhook.Change{Patterns: &[]string{"lead.*"}}); err != nil {
		t.Error(err)
	}
	if _, owed := b.accept(t, b.submission(t, "acme", 1)); len(owed) != 1 {
		t.Errorf("after: owed %d, want 1", len(owed))
	}

	empty := ""
	_, err = change(webhook.Change{Patterns: &[]string{"account.*"}, Name: &empty})
	wantKind(t, "a bad name", err, webhook.ErrInvalid)
	got, err := b.hooks.Get(t.Context(), "acme", w.ID)
	if err != nil || got.Patterns[0].String() != "lead.*" {
		t.Errorf("patterns after a refused change = %v, %v, want the former ones", got.Patterns, err)
	}
	again, err := change(webhook.Change{})
	if err != nil || !again.UpdatedAt.Equal(got.UpdatedAt) {
		t.Errorf("updated at = %v, %v, want %v: nothing changed", again.UpdatedAt, err, got.UpdatedAt)
	}
}

func TestWebhooks_pausingHoldsAndResumingReleases(t *testing.T) {
	t.Parallel()
	b := setupManage(t)
	id := b.create(t, newWebhook(t, "acme", "*"))
	_, owed := b.accept(t, b.submission(t, "acme", 8))
	claims, err := b.work.Claim(t.Context(), ids(owed[:1]), "h")
	if err != nil {
		t.Fatal(err)
	}
	want := func(when string, want laneRow) {
		t.Helper()
		if diff := cmp.Diff(want, b.lane(t, id)); diff != "" {
			t.Errorf("%s (-want +got)\n%s", when, diff)
		}
	}
	want("active", laneRow{3, 5, 3, 5})

	b.set(t, "acme", id, webhook.Paused)
	want("paused while one is leased", laneRow{1, 7, 1, 7})
	if held, err := b.work.Claim(t.Context(), ids(owed), "h2"); err != nil || len(held) != 0 {
		t.Errorf("claims of a paused webhook = %d, %v, want 0", len(held), err)
	}
	if _, more := b.accept(t, b.submission(t, "acme", 1)); len(more) != 0 {
		t.Errorf("a paused webhook was rung for: %v", more)
	}
	if _, err := b.work.Record(t.Context(), []webhook.Outcome{outcome(claims[0], webhook.Succeeded)}, webhook.Room{Lease: map[webhook.TenantID]int{"acme": 9}, Ring: webhook.NoLimit, Holder: "h"}); err != nil {
		t.Fatal(err)
	}
	want("paused and quiet", laneRow{0, 8, 0, 8})
	if rung, err := b.work.Fill(t.Context(), []webhook.WebhookID{id}); err != nil || len(rung) != 0 {
		t.Errorf("filling a paused lane rang %d, %v, want 0", len(rung), err)
	}
	if got, err := b.hooks.Get(t.Context(), "acme", id); err != nil || got.StatusReason != "paused by user-2" {
		t.Errorf("reason = %q, %v", got.StatusReason, err)
	}

	b.set(t, "acme", id, webhook.Active)
	rung, err := b.work.Fill(t.Context(), []webhook.WebhookID{id})
	if err != nil || len(rung) != window {
		t.Errorf("resuming rang %d, %v, want the window of %d", len(rung), err, window)
	}
	want("resumed", laneRow{3, 5, 3, 5})
}

func TestWebhooks_resumingWhatTheServiceDisabled(t *testing.T) {
	t.Parallel()
	b := setupManage(t)
	id := b.create(t, newWebhook(t, "acme", "*"))
	b.accept(t, b.submission(t, "acme", 2))
	b.disable(t, id)
	b.set(t, "acme", id, webhook.Paused)
	b.set(t, "acme", id, webhook.Active)
	if rung, err := b.work.Fill(t.Context(), []webhook.WebhookID{id}); err != nil || len(rung) != 2 {
		t.Errorf("resuming rang %d, %v, want 2", len(rung), err)
	}
}

// Pausing, resuming, accepting and working at once: counts stay right.
func TestWebhooks_pausingUnderLoadKeepsCounts(t *testing.T) {
	t.Parallel()
	b := setupManage(t)
	id := b.create(t, newWebhook(t, "acme", "*"))
	ctx := context.WithoutCancel(t.Context())
	done := make(chan error)
	go func() {
		for range 20 {
			sub := b.submission(t, "acme", 3)
			_, owed, err := b.events.Accept(ctx, []webhook.Submission{sub})
			if err != nil {
				done <- err
				return
			}
			claims, err := b.work.Claim(ctx, ids(owed), "h")
			if err != nil {
				done <- err
				return
			}
			for _, c := range claims {
				if _, err := b.work.Record(ctx, []webhook.Outcome{outcome(c, webhook.Retrying)}, webhook.Room{Ring: webhook.NoLimit, Holder: "h"}); err != nil {
					done <- err
					return
				}
			}
		}
		done <- nil
	}()
	go func() {
		for i := range 20 {
			status := []webhook.Status{webhook.Paused, webhook.Active}[i%2]
			_, err := b.hooks.Update(ctx, "acme", id, nowMs(), func(w webhook.Webhook) (webhook.Webhook, error) {
				return webhook.Change{Status: &status}.Apply(w, webhook.URLRules{})
			})
			if err != nil {
				done <- err
				return
			}
			if _, err := b.work.Fill(ctx, []webhook.WebhookID{id}); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	for range 2 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	l := b.lane(t, id)
	if l.Admitted != l.RowsAdmitted || l.Queued != l.RowsQueued || l.Admitted+l.Queued != 60 {
		t.Errorf("lane = %+v, want counts that agree and 60 in all", l)
	}
}

func TestWebhooks_deletedIsOutOfSight(t *testing.T) {
	t.Parallel()
	b := setupManage(t)
	id := b.create(t, newWebhook(t, "acme", "*"))
	_, owed := b.accept(t, b.submission(t, "acme", 5))
	if err := b.hooks.Delete(t.Context(), "acme", id, nowMs()); err != nil {
		t.Fatal(err)
	}
	_, err := b.hooks.Get(t.Context(), "acme", id)
	wantKind(t, "getting", err, webhook.ErrNotFound)
	wantKind(t, "deleting again", b.hooks.Delete(t.Context(), "acme", id, nowMs()), webhook.ErrNotFound)
	_, err = b.hooks.Rotate(t.Context(), "acme", id, secret(t, 2), nowMs(), nowMs())
	wantKind(t, "rotating", err, webhook.ErrNotFound)
	_, err = b.deliveries.Stats(t.Context(), "acme", &id, webhook.Period{})
	wantKind(t, "stats", err, webhook.ErrNotFound)
	if n, err := b.hooks.Count(t.Context(), "acme", webhook.WebhookFilter{}); err != nil || n != 0 {
		t.Errorf("count = %d, %v, want 0", n, err)
	}
	if receipts, _ := b.accept(t, b.submission(t, "acme", 1)); receipts[0].Events[0].Deliveries != 0 {
		t.Error("a deleted webhook is owed an event")
	}
	if claims, err := b.work.Claim(t.Context(), ids(owed), "h"); err != nil || len(claims) != 0 {
		t.Errorf("claims for a deleted webhook = %d, %v, want 0", len(claims), err)
	}
	if _, err := b.relay.Bury(t.Context(), id, 100); err != nil {
		t.Fatal(err)
	}
	d, err := b.deliveries.Get(t.Context(), "acme", owed[0].Delivery)
	if err != nil || d.Status != webhook.Failed || d.FailureReason != webhook.WebhookDeleted || d.WebhookID != id {
		t.Errorf("delivery = %+v, %v, want failed with its webhook", d, err)
	}
	_, _, err = b.deliveries.Retry(t.Context(), "acme", d.ID)
	wantKind(t, "retrying", err, webhook.ErrConflict)
}

func TestWebhooks_filters(t *testing.T) {
	t.Parallel()
	b := setupManage(t)
	var names []string
	for i, patterns := range [][]string{{"lead.created"}, {"lead.*"}, {"*"}, {"account.created"}, {"lead.created.eu"}} {
		w := newWebhook(t, "acme", patterns...)
		w.Name = fmt.Sprintf("w%d 100%%_A", i)
		if i == 3 {
			w.Description, w.URL = "the Billing team", "https://billing.example.com"
		}
		names = append(names, w.Name)
		b.create(t, w)
		if i == 0 {
			b.set(t, "acme", w.ID, webhook.Paused)
		}
	}
	lead, _ := webhook.ParseEventType("lead.created")
	for name, tc := range map[string]struct {
		filter webhook.WebhookFilter
		want   []string
	}{
		"none":            {webhook.WebhookFilter{}, []string{names[4], names[3], names[2], names[1], names[0]}},
		"status":          {webhook.WebhookFilter{Statuses: []webhook.Status{webhook.Paused, webhook.Disabled}}, names[:1]},
		"event":           {webhook.WebhookFilter{Event: lead}, []string{names[2], names[1], names[0]}},
		"event, status":   {webhook.WebhookFilter{Event: lead, Statuses: []webhook.Status{webhook.Paused}}, names[:1]},
		"text, any case":  {webhook.WebhookFilter{Search: "bILLING"}, names[3:4]},
		"text is literal": {webhook.WebhookFilter{Search: "w_ 100"}, nil},
		"percent":         {webhook.WebhookFilter{Search: "w1 100%_a"}, names[1:2]},
		"backslash":       {webhook.WebhookFilter{Search: `\`}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			page, err := b.hooks.List(t.Context(), "acme", tc.filter, webhook.Page[webhook.WebhookID]{Limit: 10})
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, w := range page.Items {
				got = append(got, w.Name)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			if n, err := b.hooks.Count(t.Context(), "acme", tc.filter); err != nil || n != len(tc.want) {
				t.Errorf("count = %d, %v, want %d", n, err, len(tc.want))
			}
		})
	}
}

func TestWebhooks_rotationEnds(t *testing.T) {
	t.Parallel()
	b := setupManage(t)
	id := b.create(t, newWebhook(t, "acme", "*")) // secret 1
	start := nowMs()
	type step struct {
		fill  byte
		at    time.Duration // after start
		grace time.Duration
		want  []string // "secret@expiry", the latest first
	}
	for _, s := range []step{
		{2, 0, time.Hour, []string{"2", "1@1h0m0s"}},
		{3, 30 * time.Minute, time.Minute, []string{"3", "2@31m0s", "1@1h0m0s"}},
		{4, 31 * time.Minute, time.Hour, []string{"4", "3@1h31m0s", "1@1h0m0s"}}, // 2 has expired
		{5, 40 * time.Minute, 0, []string{"5"}},                                  // all others end at once
		{6, 41 * time.Minute, time.Hour, []string{"6", "5@1h41m0s"}},
	} {
		at := start.Add(s.at)
		w, err := b.hooks.Rotate(t.Context(), "acme", id, secret(t, s.fill), at, at.Add(s.grace))
		if err != nil || !w.UpdatedAt.Equal(at) {
			t.Fatal(w, err)
		}
		if diff := cmp.Diff(s.want, b.secrets(t, id, start)); diff != "" {
			t.Errorf("secret %d (-want +got)\n%s", s.fill, diff)
		}
	}
	for fill := byte(7); fill < 20; fill++ {
		if _, err := b.hooks.Rotate(t.Context(), "acme", id, secret(t, fill), start.Add(time.Hour), start.Add(2*time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	kept := b.secrets(t, id, start)
	if len(kept) != 10 || kept[0] != "19" || kept[9] != "10@2h0m0s" {
		t.Errorf("kept %v, want the latest ten", kept)
	}
}

// secrets reads what a worker would sign with.
func (b *manageBundle) secrets(t *testing.T, id webhook.WebhookID, start time.Time) []string {
	t.Helper()
	_, owed, err := b.events.Accept(t.Context(), []webhook.Submission{b.submission(t, "acme", 1)})
	if err != nil || len(owed) != 1 {
		t.Fatal(owed, err)
	}
	claims, err := b.work.Claim(t.Context(), ids(owed), "h")
	if err != nil || len(claims) != 1 || claims[0].Webhook != id {
		t.Fatal(claims, err)
	}
	if _, err := b.work.Record(t.Context(), []webhook.Outcome{outcome(claims[0], webhook.Succeeded)}, webhook.Room{Ring: webhook.NoLimit}); err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, s := range claims[0].Secrets {
		text := strconv.Itoa(int(s.Secret.Key()[0]))
		if !s.ExpiresAt.IsZero() {
			text += "@" + s.ExpiresAt.Sub(start).String()
		}
		out = append(out, text)
	}
	return out
}
