package schema

import (
	"io/fs"
	"regexp"
	"strings"
	"testing"
)

func TestGraphQL_holdsEveryFile(t *testing.T) {
	t.Parallel()
	sdl := GraphQL()
	for _, want := range []string{"type Query {", "type Mutation {", "enum WebhookEvent {", "type WebhookDelivery {"} {
		if strings.Count(sdl, want) != 1 {
			t.Errorf("SDL has %d times %q, want once", strings.Count(sdl, want), want)
		}
	}
}

func TestPostgres_isRootedAtTheMigrations(t *testing.T) {
	t.Parallel()
	entries, err := fs.ReadDir(Postgres(), ".")
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) == 0 {
		t.Fatal("no migration embedded")
	}
	name := regexp.MustCompile(`^\d{4}_[a-z0-9_]+\.sql$`)
	numbers := map[string]string{}
	for _, entry := range entries {
		if !name.MatchString(entry.Name()) {
			t.Errorf("migration %s is not named NNNN_name.sql", entry.Name())
			continue
		}
		number := entry.Name()[:4]
		if other, taken := numbers[number]; taken {
			t.Errorf("migrations %s and %s have the same number", other, entry.Name())
		}
		numbers[number] = entry.Name()
	}
}
