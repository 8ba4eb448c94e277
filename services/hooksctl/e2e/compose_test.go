package e2e_test

import (
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"github.com/crm-webhooks/crm-webhooks/pkg/env"
)

// composeService is what the tests look at in a service of docker-compose.yml.
type composeService struct {
	Image       string
	Build       any
	PullPolicy  string `yaml:"pull_policy"`
	Environment map[string]string
	DependsOn   map[string]struct{ Condition string } `yaml:"depends_on"`
}

func composeServices(t *testing.T) map[string]composeService {
	t.Helper()
	text, err := os.ReadFile("../../../docker-compose.yml")
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ Services map[string]composeService }
	if err := yaml.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	return file.Services
}

func TestCompose_aProcessGetsTheSettingsThatItReadsAndNoOthers(t *testing.T) {
	t.Parallel()
	services := composeServices(t)
	for name, config := range map[string]any{
		"api": env.API{}, "worker": env.Worker{}, "monitor": env.Monitor{}, "migrate": struct{ env.Database }{},
	} {
		var want []string
		for _, attr := range env.Summary(config).Group() {
			if !strings.HasSuffix(attr.Key, "_ADDR") { // in a container nobody else wants the default
				want = append(want, attr.Key)
			}
		}
		slices.Sort(want)
		if diff := cmp.Diff(want, slices.Sorted(maps.Keys(services[name].Environment))); diff != "" {
			t.Errorf("settings of the %s, want those of pkg/env/config.go:\n%s", name, diff)
		}
	}
}

// Compose builds in parallel: of two services that build one image, the second
// finds it there and fails. Who builds none is not to look for it in a registry.
func TestCompose_oneServiceBuildsAnImageAndTheOthersWaitForIt(t *testing.T) {
	t.Parallel()
	services := composeServices(t)
	builder := map[string]string{}
	for name, service := range services {
		if service.Build == nil {
			continue
		}
		if other, built := builder[service.Image]; built {
			t.Errorf("%s and %s both build %s", other, name, service.Image)
		}
		builder[service.Image] = name
	}
	for name, service := range services {
		from, ours := builder[service.Image]
		if !ours || service.Build != nil {
			continue
		}
		if service.PullPolicy != "never" || service.DependsOn[from].Condition != "service_completed_successfully" {
			t.Errorf("%s neither builds %s nor waits for %s, which does", name, service.Image, from)
		}
	}
	if len(builder) == 0 {
		t.Error("nothing is built")
	}
}
