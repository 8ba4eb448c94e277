package stage

import (
	"context"
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"
)

// TestMain lets the test program play the receiver's part.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == ReceiverCommand {
		if err := Receive(context.Background(), os.Stdin, os.Stdout); err != nil {
			_, _ = fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}
