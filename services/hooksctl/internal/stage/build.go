package stage

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
)

// workspace returns the root of the tree that we are built from.
func workspace(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "env", "GOWORK").Output()
	if err != nil {
		return "", fmt.Errorf("asking go for the workspace: %w", err)
	}
	file := strings.TrimSpace(string(out))
	if file == "" || file == "off" {
		return "", errors.New("the services are built from the tree: run this inside of it, by make")
	}
	return filepath.Dir(file), nil
}

// build compiles services, with flags that say where to.
func build(ctx context.Context, root string, flags []string, services ...string) error {
	args := append([]string{"build", "-buildvcs=false"}, flags...)
	for _, name := range services {
		args = append(args, "./services/"+name)
	}
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("building %s: %w\n%s", strings.Join(services, " and "), err, out)
	}
	return nil
}
