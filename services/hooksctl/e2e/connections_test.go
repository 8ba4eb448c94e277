package e2e_test

import (
	"fmt"
	"sync"
	"testing"
)

// TestConnections_areAsManyAsIsSaid: a number of processes times the setting must
// fit into PostgreSQL's max_connections.
func TestConnections_areAsManyAsIsSaid(t *testing.T) {
	t.Parallel()
	const most, clients = 8, 20
	s, r := newSystem(t), newReceiver(t)
	limited := func(name string) []string {
		return []string{"HOOKS_DATABASE_CONNECTIONS=8", "DATABASE_URL=" + s.database + "&application_name=" + name}
	}
	api := s.api(limited("the-api")...)
	c := s.client(api, tenant)
	r.subscribe(c, "/", nil)

	// While nobody may read webhooks, requests take all the connections there are.
	tx := s.db.MustBeginTx(t.Context(), nil)
	defer func() { _ = tx.Rollback() }()
	tx.MustExecContext(t.Context(), `LOCK TABLE webhooks IN ACCESS EXCLUSIVE MODE`)
	var wg sync.WaitGroup
	for i := range clients {
		wg.Go(func() { s.client(api, tenant).dispatch(event("1")) })
		// Of many tenants: one may not have that many.
		wg.Go(func() { get[page[hook]](s.client(api, fmt.Sprint(tenant, i)), queryHooks, nil) })
	}
	s.await("queries and events to wait for PostgreSQL",
		`2 < (SELECT count(*) FROM pg_stat_activity WHERE application_name = 'the-api' AND wait_event_type = 'Lock')`)
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	s.worker(limited("the-worker")...)
	s.awaitIdle()
	for _, name := range []string{"the-api", "the-worker"} {
		n := s.count(`SELECT count(*) FROM pg_stat_activity WHERE application_name = $1`, name)
		if n < 3 || n > most {
			t.Errorf("%s has %d connections, want at most %d", name, n, most)
		}
	}
}
