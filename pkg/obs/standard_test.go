package obs_test

import (
	"bytes"
	"log"
	"log/slog"
	"strings"
	"testing"

	"github.com/crm-webhooks/crm-webhooks/pkg/env"
	"github.com/crm-webhooks/crm-webhooks/pkg/obs"
)

//nolint:paralleltest // there is one standard log
func TestTakeStandardLog_leavesOutWhatStrangersSay(t *testing.T) {
	before, output, flags := slog.Default(), log.Writer(), log.Flags()
	t.Cleanup(func() {
		slog.SetDefault(before)
		log.SetOutput(output)
		log.SetFlags(flags)
	})
	var out bytes.Buffer
	obs.TakeStandardLog(obs.NewLogger(&out, env.Log{Format: env.JSON}, "worker"))
	// As net/http words it.
	log.Printf("Unsolicited response received on idle HTTP channel starting with %q; err=%v", "whsec_\x1b[2J", nil)
	log.Print("plain words")
	got := out.String()
	if strings.Contains(got, "whsec_") || strings.Count(got, "\n") != 2 || !strings.Contains(got, `"level":"WARN"`) ||
		!strings.Contains(got, "idle HTTP channel") || !strings.Contains(got, `"error":"plain words"`) {
		t.Error(got)
	}
}
