package doctor

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/jmoiron/sqlx"

	"github.com/crm-webhooks/crm-webhooks/pkg/postgres"
	"github.com/crm-webhooks/crm-webhooks/pkg/seal"
)

// seals says which encryption keys stored secrets need.
func (x examination) seals(ctx context.Context, db *sqlx.DB, keys seal.Keyring) []finding {
	if len(keys.IDs()) == 0 {
		return nil
	}
	return x.try(ctx, "looking for the encryption keys in use", func(ctx context.Context) ([]finding, error) {
		needed, err := postgres.InspectSeals(ctx, db)
		if err != nil {
			return nil, err
		}
		return aboutSeals(keys.IDs(), needed), nil
	})
}

// aboutSeals compares the configured keys with those that values need, by the
// number of webhooks.
func aboutSeals(configured []string, needed map[string]int) []finding {
	var findings []finding
	for _, id := range slices.Sorted(maps.Keys(needed)) {
		switch position := slices.Index(configured, id); {
		case position < 0:
			findings = append(findings, finding{
				fail, fmt.Sprintf("%d webhooks need encryption key %q, which is not in HOOKS_ENCRYPTION_KEYS", needed[id], id),
				"put that key back behind the first one, everywhere, and run hooksctl rekey; until then nothing is delivered to them",
			})
		case position > 0:
			findings = append(findings, finding{
				warn, fmt.Sprintf("%d webhooks still need encryption key %d (%s)", needed[id], position+1, id),
				"keep it; run hooksctl rekey once every api and worker has the new key in front",
			})
		}
	}
	if len(findings) > 0 {
		return findings
	}
	if spare := configured[1:]; len(spare) > 0 {
		return []finding{good("encryption key %s is all that is needed: %s can be dropped", configured[0], strings.Join(spare, ", "))}
	}
	return []finding{good("encryption key %s is all that is needed", configured[0])}
}
