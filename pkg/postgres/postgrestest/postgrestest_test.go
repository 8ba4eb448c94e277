package postgrestest_test

import (
	"database/sql"
	"testing"

	"github.com/crm-webhooks/crm-webhooks/pkg/postgres/postgrestest"
)

func TestNew_givesEachTestItsOwn(t *testing.T) {
	t.Parallel()
	for range 8 {
		t.Run("", func(t *testing.T) {
			t.Parallel()
			db, err := sql.Open("postgres", postgrestest.New(t))
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			var webhooks int
			if err := db.QueryRowContext(t.Context(), `SELECT count(*) FROM webhooks`).Scan(&webhooks); err != nil || webhooks != 0 {
				t.Fatalf("%d webhooks, %v, want none in a migrated database", webhooks, err)
			}
			// The same name in each: it would fail in a shared database.
			if _, err := db.ExecContext(t.Context(), `CREATE TABLE mine ()`); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestNew_dropsTheDatabaseAtTheEnd(t *testing.T) {
	t.Parallel()
	var url string
	t.Run("inner", func(t *testing.T) { url = postgrestest.New(t) })
	db, err := sql.Open("postgres", url)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.PingContext(t.Context()); err == nil {
		t.Error("the database is still there")
	}
}
