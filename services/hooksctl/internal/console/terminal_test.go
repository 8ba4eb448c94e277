package console

import (
	"os"
	"testing"
)

func TestIsTerminal_notEveryDeviceIsOne(t *testing.T) {
	t.Parallel()
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	if isTerminal(null) {
		t.Error(os.DevNull + " is taken for a terminal")
	}
}
