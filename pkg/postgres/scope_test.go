package postgres_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/crm-webhooks/crm-webhooks/pkg/postgres/postgrestest"
)

// unscoped lists the statements that touch tenants' data without a tenant
// parameter in every query of theirs, by the reason why that is right. Names are
// those of constants, or "function ..." for a text inside one.
func unscoped() map[string][]string {
	return map[string][]string{
		"the worker is told ids by a bell, not by a client, and finds the tenant in their rows": {
			"claimDeliveries", "mayBeSent", "recordOutcomes", "recordedBefore", "admitNext", "admitDue", "lockLanes", "releaseDeliveries", "extendLeases", "releaseHeld",
			"selectDestinations", "disable", "lockActive", "laneFailing", "whoIsGone", "webhooksDue",
		},
		"the relay and the housekeeping look after all tenants alike, and answer nobody": {
			"ringUnclaimed", "lanesWithRoom", "lanesBeyond", "lanesGone", "lanesWithOld", "suspectLanes", "driftOfLane", "mendLane", "forgetOfLane",
			"endTests", "deletedLanes", "buryDeliveries", "dropEmptyLane", "lockDeletedLane", "deleteOldKeys", "deleteOldWebhooks", "selectStrays", "tenantsWithNotices",
		},
		"lanes are locked and closed by the ids of webhooks that a scoped statement of the same transaction has found": {
			"closeLanes", "admittedOf", "lockLanesInOrder", "lockLiveLanes", "lockOneLane",
		},
		"events of several tenants are accepted together, so the tenant is a column of the parameters; every query joins by it, or by ids found so": {
			"acceptEvents", "storeEvents", "storeUnadmitted", "admitFirst", "admitsNew", "insertKeys", "selectKeys", "matching", "owing", "selectStored",
		},
		"what is told about webhooks goes to the tenant that their own rows name":                                {"acceptNotices", "notAboutItself", "noticeNews", "noticeDisabled", "heard"},
		"only the lane of the webhook that the same statement has found for the tenant is counted, or looked at": {"retryDelivery", "retryLane"},
		"an operator's commands count and seal again what all tenants have, and show no data of theirs": {
			"countToRekey", "rekeyColumns", "selectOneAgain", "selectToRekey", "selectSeals", "selectPendingStates",
		},
	}
}

// TestI5_everyStatementIsScopedByTenant reads this package's source: whatever
// reads or writes a table of tenants' data says whose by a parameter, in each
// query that it consists of, or is on the list above. A row on the list that is
// not needed any more fails, too.
func TestI5_everyStatementIsScopedByTenant(t *testing.T) {
	t.Parallel()
	found := map[string][]string{}
	statements := statementsOf(t, ".")
	for name, text := range statements {
		for _, block := range blocks(text) {
			if touchesTenants(block) && !scoped(block) {
				found[name] = append(found[name], strings.Join(strings.Fields(block), " "))
			}
		}
	}
	if len(statements) < 40 {
		t.Errorf("only %d statements were found: the test does not see them any more", len(statements))
	}
	listed := slices.Concat(slices.Collect(maps.Values(unscoped()))...)
	for _, name := range slices.Sorted(maps.Keys(found)) {
		if !slices.Contains(listed, name) {
			t.Errorf("%s is not scoped by a tenant parameter: %s", name, strings.Join(found[name], "\n\tand "))
		}
	}
	for _, name := range listed {
		if len(found[name]) == 0 {
			t.Errorf("%s is on the list, but there is no such statement that needs to be", name)
		}
	}
}

// The walk must see what it is there for.
func TestI5_theWalkSeesUnscopedStatements(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		`SELECT * FROM deliveries d WHERE d.tenant_id = $1 AND d.id = $2`:                                     false,
		`SELECT * FROM deliveries d WHERE d.id = $2`:                                                          true,
		`SELECT * FROM deliveries d WHERE d.tenant_id = 'acme'`:                                               true,
		`SELECT (SELECT count(*) FROM attempts) FROM deliveries WHERE tenant_id = $1`:                         true,
		`SELECT 1 FROM deliveries d WHERE tenant_id = $1 AND EXISTS (SELECT FROM webhooks w WHERE w.id = $2)`: true,
		`WITH x AS (SELECT 1), y AS (DELETE FROM pending_deliveries WHERE delivery_id = $1) SELECT FROM x`:    true,
		`INSERT INTO lanes (tenant_id, webhook_id) VALUES ($1, $2)`:                                           false,
		`INSERT INTO lanes (webhook_id) VALUES ($1)`:                                                          true,
		`SELECT 1 FROM pg_class, deliveries`:                                                                  true,
		`SELECT 1 FROM goose_db_version`:                                                                      false,
	} {
		got := slices.ContainsFunc(blocks(text), func(b string) bool { return touchesTenants(b) && !scoped(b) })
		if got != want {
			t.Errorf("%s: unscoped = %v", text, got)
		}
	}
}

// tenantTables are all there are: each holds what belongs to tenants.
func tenantTables() []string {
	return []string{
		"attempts", "attempts_default", "deliveries", "deliveries_default", "events", "events_default", "idempotency_keys", "lanes",
		"notices", "pending_deliveries", "subscriptions", "webhooks",
	}
}

// A table that the walk does not know would be read and written unseen.
func TestI5_theWalkKnowsAllTables(t *testing.T) {
	t.Parallel()
	var there []string
	err := inspectDB(t, postgrestest.New(t)).SelectContext(t.Context(), &there, `
SELECT table_name FROM information_schema.tables
WHERE table_schema = current_schema() AND table_type = 'BASE TABLE' AND table_name <> 'goose_db_version'
	AND table_name !~ '^(events|deliveries|attempts)_[0-9]{8}$' -- days of the three, named by no statement
ORDER BY table_name COLLATE "C"`)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(tenantTables(), there); diff != "" {
		t.Errorf("tables, as the walk knows them (-) and as they are (+):\n%s", diff)
	}
}

var (
	namesTable   = regexp.MustCompile(`(?is)\b(?:FROM|JOIN|INTO|UPDATE|USING)\s+(?:ONLY\s+)?(?:[a-z_]+(?:\s+(?:AS\s+)?[a-z]+)?\s*,\s*)*(?:` + strings.Join(tenantTables(), "|") + `)\b`)
	tenantParam  = regexp.MustCompile(`(?is)\btenant_id\s*=\s*(?:ANY\s*\(\s*)?\$\d`)
	tenantInsert = regexp.MustCompile(`(?is)\bINSERT\s+INTO\s+\w+(?:\s+\w+)?\s*\([^)]*\btenant_id\b`)
)

func touchesTenants(block string) bool { return namesTable.MatchString(block) }

// scoped: rows are looked for by tenant, or are written with one.
func scoped(block string) bool {
	return tenantParam.MatchString(block) || tenantInsert.MatchString(block)
}

// blocks takes a statement apart: each query in parentheses is a block of its
// own, without those inside it. Other parentheses stay where they are.
func blocks(statement string) []string {
	var out []string
	open := []string{""}
	for _, c := range statement {
		switch c {
		case '(':
			open = append(open, "")
		case ')':
			last := open[len(open)-1]
			open = open[:len(open)-1]
			if len(open) == 0 { // a piece of a statement, which began in another constant
				open = []string{""}
			}
			word, _, _ := strings.Cut(strings.TrimSpace(last)+" ", " ")
			word, _, _ = strings.Cut(strings.ToUpper(word), "\n")
			if slices.Contains([]string{"SELECT", "INSERT", "UPDATE", "DELETE", "WITH"}, word) {
				out = append(out, last)
				last = " "
			}
			open[len(open)-1] += "(" + last + ")"
		default:
			open[len(open)-1] += string(c)
		}
	}
	return append(out, strings.Join(open, "("))
}

// statementsOf returns the texts of a folder's constants, and of the literals in
// its functions, by name.
func statementsOf(t *testing.T, folder string) map[string]string {
	t.Helper()
	files := token.NewFileSet()
	constants, out := map[string]ast.Expr{}, map[string]string{}
	var parsed []*ast.File
	for _, name := range sources(t, folder) {
		file, err := parser.ParseFile(files, name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		parsed = append(parsed, file)
		ast.Inspect(file, func(n ast.Node) bool {
			if spec, ok := n.(*ast.ValueSpec); ok && len(spec.Values) == len(spec.Names) {
				for i, name := range spec.Names {
					constants[name.Name] = spec.Values[i]
				}
			}
			return true
		})
	}
	for name, value := range constants {
		if text := textOf(value, constants); text != "" {
			out[name] = text
		}
	}
	for _, file := range parsed {
		for _, declaration := range file.Decls {
			if function, ok := declaration.(*ast.FuncDecl); ok {
				literalsOf(function, out)
			}
		}
	}
	return out
}

func literalsOf(function *ast.FuncDecl, out map[string]string) {
	ast.Inspect(function, func(n ast.Node) bool {
		if literal, ok := n.(*ast.BasicLit); ok && literal.Kind == token.STRING && touchesTenants(textOf(literal, nil)) {
			out["function "+function.Name.Name] += textOf(literal, nil) + "\n"
		}
		return true
	})
}

func sources(t *testing.T, folder string) []string {
	t.Helper()
	names, err := fs.Glob(os.DirFS(folder), "*.go")
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(names, func(name string) bool { return strings.HasSuffix(name, "_test.go") })
}

// textOf puts together what a constant says; empty for what is no text.
func textOf(e ast.Expr, constants map[string]ast.Expr) string {
	switch e := e.(type) {
	case *ast.BasicLit:
		text, err := strconv.Unquote(e.Value)
		if err != nil || e.Kind != token.STRING {
			return ""
		}
		return text
	case *ast.BinaryExpr:
		return textOf(e.X, constants) + textOf(e.Y, constants)
	case *ast.ParenExpr:
		return textOf(e.X, constants)
	case *ast.Ident:
		if value, ok := constants[e.Name]; ok {
			return textOf(value, constants)
		}
	}
	return ""
}
