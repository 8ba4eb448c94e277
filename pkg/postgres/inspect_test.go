package postgres_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jmoiron/sqlx"

	"github.com/crm-webhooks/crm-webhooks/pkg/postgres"
	"github.com/crm-webhooks/crm-webhooks/pkg/postgres/postgrestest"
)

func inspectDB(t *testing.T, url string) *sqlx.DB {
	t.Helper()
	db, err := postgres.Open(postgres.Config{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func TestInspectServer_beforeMigration(t *testing.T) {
	t.Parallel()
	facts, err := postgres.InspectServer(t.Context(), inspectDB(t, postgrestest.NewEmpty(t)))
	if err != nil {
		t.Fatal(err)
	}
	if facts.VersionNumber < 140000 || facts.ReadOnly || facts.Connections < 1 || facts.MaxConnections < 2 ||
		time.Since(facts.Clock).Abs() > time.Minute {
		t.Errorf("facts = %+v", facts)
	}
}

func TestInspectServer_seesSettingsThatLoseCommits(t *testing.T) {
	t.Parallel()
	url := postgrestest.NewEmpty(t)
	db, err := postgres.Open(postgres.Config{URL: url + "&synchronous_commit=off&default_transaction_read_only=on"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	facts, err := postgres.InspectServer(t.Context(), db)
	if err != nil || !strings.Contains(facts.Hasty, "synchronous_commit") || !facts.ReadOnly {
		t.Errorf("facts = %+v, %v", facts, err)
	}
}

func TestInspect_statesLeaderAndPartitions(t *testing.T) {
	t.Parallel()
	db := inspectDB(t, postgrestest.New(t))
	db.MustExecContext(t.Context(), `
INSERT INTO webhooks (id, tenant_id, name, url, events, patterns, secrets_sealed, secrets_expire_at, max_attempts, timeout_ms, initial_backoff_ms, api_version, created_by)
SELECT md5(n::text)::uuid, 't', 'n', 'u', '{}', '{*}', '{s}', '{infinity}', 3, 500, 10, 'v', 'me' FROM generate_series(1, 2) n;
INSERT INTO lanes (webhook_id, tenant_id, open) VALUES (md5('1')::uuid, 't', true), (md5('2')::uuid, 't', false);
INSERT INTO pending_deliveries (delivery_id, webhook_id, tenant_id, event_id, event_type, budget, admitted, due_at, lease_until, lease_holder) VALUES
	(gen_random_uuid(), md5('1')::uuid, 't', gen_random_uuid(), 'a', 3, true, now() - interval '1 hour', NULL, NULL),
	(gen_random_uuid(), md5('1')::uuid, 't', gen_random_uuid(), 'a', 3, true, now(), now() - interval '1 minute', 'w'),
	(gen_random_uuid(), md5('1')::uuid, 't', gen_random_uuid(), 'a', 3, true, now(), now() + interval '1 hour', 'w'),
	(gen_random_uuid(), md5('1')::uuid, 't', gen_random_uuid(), 'a', 3, false, now(), NULL, NULL),
	(gen_random_uuid(), md5('1')::uuid, 't', gen_random_uuid(), 'a', 3, false, now() + interval '1 hour', NULL, NULL),
	(gen_random_uuid(), md5('2')::uuid, 't', gen_random_uuid(), 'a', 3, false, now(), NULL, NULL),
	(gen_random_uuid(), md5('2')::uuid, 't', gen_random_uuid(), 'a', 3, true, now(), now() - interval '1 minute', 'w');
INSERT INTO events_default (id, tenant_id, type, body) VALUES (uuid_floor('2001-01-01'), 't', 'a', '{}')`)
	if _, err := postgres.NewPruner(db).CreatePartitions(t.Context(), time.Now(), 5); err != nil {
		t.Fatal(err)
	}
	leader, err := postgres.Lead(t.Context(), db, postgres.RelayLock)
	if err != nil || leader == nil {
		t.Fatalf("Lead = %v, %v", leader, err)
	}
	pending, err := postgres.InspectPending(t.Context(), db)
	if err != nil {
		t.Fatal(err)
	}
	if pending.OldestRung < time.Hour || pending.OldestRung > 2*time.Hour || pending.Owed() != 5 {
		t.Errorf("oldest rung %s, owed %d", pending.OldestRung, pending.Owed())
	}
	pending.OldestRung = 0
	want := postgres.PendingFacts{Held: 2, Waiting: 1, Parked: 1, Rung: 2, Leased: 1}
	if diff := cmp.Diff(want, pending); diff != "" {
		t.Error(diff)
	}
	partitions, err := postgres.InspectPartitions(t.Context(), db)
	if err != nil || partitions != (postgres.PartitionFacts{DaysAhead: 5, Strays: true}) {
		t.Errorf("partitions = %+v, %v", partitions, err)
	}
	if leaders, err := postgres.InspectLeaders(t.Context(), db); err != nil || leaders.Relay == "" || leaders.Keeper != "" {
		t.Errorf("leaders = %+v, %v", leaders, err)
	}
	if err := leader.Resign(t.Context()); err != nil {
		t.Fatal(err)
	}
	if leader, err = postgres.Lead(t.Context(), db, postgres.KeeperLock); err != nil || leader == nil {
		t.Fatalf("Lead = %v, %v", leader, err)
	}
	if leaders, err := postgres.InspectLeaders(t.Context(), db); err != nil || leaders.Relay != "" || leaders.Keeper == "" {
		t.Errorf("after resigning: %+v, %v", leaders, err)
	}
	if err := leader.Resign(t.Context()); err != nil {
		t.Fatal(err)
	}
}
