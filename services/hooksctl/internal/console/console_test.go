package console_test

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/crm-webhooks/crm-webhooks/services/hooksctl/internal/console"
)

func TestConsole_plainWithoutATerminal(t *testing.T) {
	t.Parallel()
	c := console.New(nil, nil, nil, nil)
	for _, styled := range []string{c.Good("x"), c.Bad("x"), c.Warn("x"), c.Bold("x"), c.Dim("x")} {
		if styled != "x" {
			t.Errorf("%q has escape sequences", styled)
		}
	}
}

func TestConsole_linesDoNotMix(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	c := console.New(nil, &out, nil, nil)
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() { c.Printf("%s", strings.Repeat(fmt.Sprint(i%10), 30)) })
	}
	wg.Wait()
	for line := range strings.Lines(out.String()) {
		if line = strings.TrimSpace(line); line != strings.Repeat(line[:1], 30) {
			t.Errorf("mixed line %q", line)
		}
	}
}

func TestConsole_lastVariableWins(t *testing.T) {
	t.Parallel()
	c := console.New(nil, nil, nil, []string{"A=1", "B=x=y", "A=2"})
	if c.Getenv("A") != "2" || c.Getenv("B") != "x=y" || c.Getenv("C") != "" {
		t.Errorf("A=%q B=%q C=%q", c.Getenv("A"), c.Getenv("B"), c.Getenv("C"))
	}
}
