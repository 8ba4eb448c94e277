package postgres_test

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/url"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/crm-webhooks/crm-webhooks/pkg/postgres"
	"github.com/crm-webhooks/crm-webhooks/pkg/postgres/postgrestest"
	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

// interrupter stands between a client and a server, and can end the client's
// connection in order (FIN) in place of an answer.
type interrupter struct {
	target string
	wg     sync.WaitGroup

	mu   sync.Mutex
	next func(answered <-chan struct{}) // nil: the next exchange is let through
}

// newInterrupter returns a proxy and the server's URL through it.
func newInterrupter(t *testing.T, server string) (*interrupter, string) {
	t.Helper()
	u, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &interrupter{target: u.Host}
	u.Host = listener.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	p.wg.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			p.wg.Go(func() { p.serve(ctx, client) })
		}
	})
	t.Cleanup(func() {
		cancel()
		_ = listener.Close()
		p.wg.Wait()
	})
	return p, u.String()
}

// interrupt ends the connection that the next request comes by, when wait has
// returned; the server has got the request then, and answers it or has done so.
func (p *interrupter) interrupt(wait func(answered <-chan struct{})) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.next = wait
}

func (p *interrupter) take() func(<-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	wait := p.next
	p.next = nil
	return wait
}

func (p *interrupter) serve(ctx context.Context, client net.Conn) {
	server, err := net.Dial("tcp", p.target)
	if err != nil {
		_ = client.Close()
		return
	}
	context.AfterFunc(ctx, func() { _, _ = client.Close(), server.Close() })
	answers := &gate{to: client, answered: make(chan struct{})}
	p.wg.Go(func() {
		_, _ = io.Copy(answers, server)
		_, _ = client.Close(), server.Close()
	})
	buf := make([]byte, 64<<10)
	for {
		n, err := client.Read(buf)
		wait := p.take()
		if wait != nil {
			answers.close()
		}
		if _, writeErr := server.Write(buf[:n]); err != nil || writeErr != nil {
			break
		}
		if wait != nil {
			wait(answers.answered)
			_ = client.Close() // what it sent has been read, so this is a FIN
			return             // the server's end stays open: it has to find out
		}
	}
	_, _ = client.Close(), server.Close()
}

// gate forwards answers until it is closed. Then it awaits the end of one.
type gate struct {
	to       io.Writer
	answered chan struct{}

	mu     sync.Mutex
	closed bool
	done   bool
}

func (g *gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
}

func (g *gate) Write(answer []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.closed {
		return g.to.Write(answer)
	}
	if readyForQuery := []byte{'Z', 0, 0, 0, 5, 'I'}; !g.done && bytes.HasSuffix(answer, readyForQuery) {
		g.done = true
		close(g.answered)
	}
	return len(answer), nil
}

// interruptible is a bundle whose events are accepted through an interrupter, by
// one connection that has been used before.
func interruptible(t *testing.T) (*bundle, *interrupter) {
	t.Helper()
	server := postgrestest.New(t)
	direct, err := postgres.Open(postgres.Config{URL: server, HotPath: true})
	if err != nil {
		t.Fatal(err)
	}
	p, address := newInterrupter(t, server)
	db, err := postgres.Open(postgres.Config{URL: address, HotPath: true, MaxConns: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = db.Close(), direct.Close() })
	b := setupOver(t, direct)
	b.events = postgres.NewEvents(db, window)
	b.accept(t, b.submission(t, "nobody", 1))
	return b, p
}

// awaitAnswer lets the server commit, and keeps its answer.
func awaitAnswer(answered <-chan struct{}) { <-answered }

// The connection ends after the commit and before the first byte of the answer:
// database/sql then takes it for one that never worked, and executes once more.
func TestI1_anAcceptanceWhoseAnswerGotLostIsAnswered(t *testing.T) {
	t.Parallel()
	for name, tenants := range map[string][]webhook.TenantID{
		"one submission":                      {"acme"},
		"one that nobody wants":               {"nobody"},
		"a group":                             {"acme", "other", "acme"},
		"a group with one that nobody wants":  {"acme", "nobody", "other"},
		"a group of which nobody wants a bit": {"nobody", "nobody"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, p := interruptible(t)
			b.webhook(t, "acme", "*")
			b.webhook(t, "acme", "lead.*")
			b.webhook(t, "other", "lead.created")
			var batch []webhook.Submission
			for _, tenant := range tenants {
				batch = append(batch, b.submission(t, tenant, 2))
			}
			before := b.number(t, `SELECT count(*) FROM events`)
			p.interrupt(awaitAnswer)
			receipts, owed := b.accept(t, batch...)

			if got := b.number(t, `SELECT count(*) FROM events`) - before; got != 2*len(batch) {
				t.Errorf("stored events = %d, want %d", got, 2*len(batch))
			}
			deliveries := map[webhook.TenantID]int{"acme": 2, "other": 1, "nobody": 0}
			for i, receipt := range receipts {
				if receipt.Err != nil {
					t.Errorf("submission %d was refused, and is stored: %v", i, receipt.Err)
					continue
				}
				for j, e := range receipt.Events {
					want := webhook.AcceptedEvent{ID: batch[i].Events[j].Event.ID, Deliveries: deliveries[tenants[i]]}
					if e != want {
						t.Errorf("event %d of submission %d = %+v, want %+v", j, i, e, want)
					}
				}
			}
			b.checkRung(t, owed)
		})
	}
}

// checkRung compares what is to be rung for with what is admitted, and lanes with
// their rows.
func (b *bundle) checkRung(t *testing.T, owed []webhook.Owed) {
	t.Helper()
	type row struct{ Delivery, Webhook, Tenant, EventType string }
	var want, got []row
	for _, o := range owed {
		got = append(got, row{o.Delivery.UUID(), o.Webhook.UUID(), string(o.Tenant), o.EventType})
		if o.Attempt != 1 || o.Kind != webhook.KindEvent {
			t.Errorf("to be rung for: %+v, want a first attempt", o)
		}
	}
	err := b.db.SelectContext(t.Context(), &want, `SELECT delivery_id AS delivery, webhook_id AS webhook, tenant_id AS tenant, event_type AS eventtype
		FROM pending_deliveries WHERE admitted AND lease_until IS NULL AND attempts = 0`)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, cmpopts.SortSlices(func(a, b row) bool { return a.Delivery < b.Delivery }), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("rung for (-admitted +rung)\n%s", diff)
	}
	if n := b.number(t, `SELECT count(*) FROM lanes l
		WHERE admitted <> (SELECT count(*) FROM pending_deliveries p WHERE p.webhook_id = l.webhook_id AND p.admitted)
			OR queued <> (SELECT count(*) FROM pending_deliveries p WHERE p.webhook_id = l.webhook_id AND NOT p.admitted)`); n != 0 {
		t.Errorf("%d lanes count wrong", n)
	}
}

// The relay rang and workers were done before the answer was found out.
func TestI1_anAcceptanceFoundOutLateRingsForTheRestOnly(t *testing.T) {
	t.Parallel()
	b, p := interruptible(t)
	b.webhook(t, "acme", "*")
	sub := b.submission(t, "acme", window)
	p.interrupt(func(answered <-chan struct{}) {
		<-answered
		b.sendSome(context.Background(), t)
	})
	receipts, owed := b.accept(t, sub)
	for i, e := range receipts[0].Events {
		if e.Deliveries != 1 {
			t.Errorf("event %d: %+v, want one delivery, whatever became of it", i, e)
		}
	}
	if len(owed) != window-2 {
		t.Errorf("rung for %d, want those that nobody has sent or is sending", len(owed))
	}
	b.checkRung(t, owed)
}

// sendSome finishes a delivery and begins another.
func (b *bundle) sendSome(ctx context.Context, t *testing.T) {
	var pending []string
	if err := b.db.SelectContext(ctx, &pending, `SELECT delivery_id FROM pending_deliveries ORDER BY delivery_id LIMIT 2`); err != nil || len(pending) != 2 {
		t.Error(pending, err)
		return
	}
	both := make([]webhook.DeliveryID, 2)
	for i, id := range pending {
		both[i], _ = webhook.DeliveryIDFromUUID(id)
	}
	claims, err := b.work.Claim(ctx, both, "h")
	if err != nil || len(claims) != 2 {
		t.Error(claims, err)
		return
	}
	if _, err := b.work.Record(ctx, []webhook.Outcome{outcome(claims[0], webhook.Succeeded)}, webhook.Room{}); err != nil {
		t.Error(err)
	}
}

// The connection ends while the server is still at it; both executions meet.
func TestI1_anAcceptanceThatIsStillRunningIsAnswered(t *testing.T) {
	t.Parallel()
	b, p := interruptible(t)
	hook := b.webhook(t, "acme", "*")
	tx := b.db.MustBeginTx(t.Context(), nil)
	defer func() { _ = tx.Rollback() }()
	tx.MustExecContext(t.Context(), `SELECT FROM lanes FOR UPDATE`)
	p.interrupt(func(<-chan struct{}) { b.awaitWaiting(t, 1) })
	done := make(chan error, 1)
	go func() {
		_, _, err := b.events.Accept(context.WithoutCancel(t.Context()), []webhook.Submission{b.submission(t, "acme", 1)})
		done <- err
	}()
	b.awaitWaiting(t, 2)
	_ = tx.Rollback()
	if err := <-done; err != nil {
		t.Errorf("accepting: %v", err)
	}
	if diff := cmp.Diff(laneRow{1, 0, 1, 0}, b.lane(t, hook)); diff != "" {
		t.Error(diff)
	}
}

// Somebody else's event under one of our ids is not ours.
func TestI5_anotherTenantsEventIsNoFormerTry(t *testing.T) {
	t.Parallel()
	b := setup(t)
	theirs := b.submission(t, "other", 1)
	b.accept(t, theirs)
	mine := b.submission(t, "acme", 1)
	mine.Events[0].Event.ID = theirs.Events[0].Event.ID
	if _, _, err := b.events.Accept(t.Context(), []webhook.Submission{mine}); err == nil {
		t.Error("accepted under the id of another tenant's event")
	}
	if n := b.number(t, `SELECT count(*) FROM events WHERE tenant_id = 'acme'`); n != 0 {
		t.Errorf("stored %d events of a refused submission", n)
	}
}
