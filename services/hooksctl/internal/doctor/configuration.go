package doctor

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/crm-webhooks/crm-webhooks/pkg/env"
	"github.com/crm-webhooks/crm-webhooks/pkg/seal"
)

// configuration reads each service's settings as the service would.
func configuration(environ, services []string) []finding {
	loaders := map[string]func([]string) error{
		"api":     func(e []string) error { _, err := env.LoadAPI(e); return err },
		"worker":  func(e []string) error { _, err := env.LoadWorker(e); return err },
		"monitor": func(e []string) error { _, err := env.LoadMonitor(e); return err },
	}
	var findings []finding
	var order []string
	affected := map[string][]string{} // by fault: several services read one variable
	for _, service := range services {
		load, known := loaders[service]
		if !known {
			findings = append(findings, finding{fail, "there is no service " + service, "use --service api,worker,monitor"})
			continue
		}
		faults := faultsOf(load(environ))
		if len(faults) == 0 {
			findings = append(findings, good("settings of the %s", service))
		}
		for _, fault := range faults {
			if !slices.Contains(order, fault) {
				order = append(order, fault)
			}
			affected[fault] = append(affected[fault], service)
		}
	}
	for _, fault := range order {
		findings = append(findings, finding{
			fail, fmt.Sprintf("settings of the %s: %s", strings.Join(affected[fault], ", "), fault), adviceFor(fault),
		})
	}
	return append(append(findings, relaxed(environ)...), identity(environ)...)
}

func faultsOf(err error) []string {
	if err == nil {
		return nil
	}
	var faults env.Faults
	if !errors.As(err, &faults) {
		return []string{err.Error()}
	}
	lines := make([]string, len(faults))
	for i, f := range faults {
		lines[i] = f.String()
	}
	return lines
}

func adviceFor(fault string) string {
	name, _, _ := strings.Cut(fault, " ")
	for _, v := range env.Variables() {
		if v.Name == name {
			return "set " + name + ": " + v.Meaning
		}
	}
	return "remove " + name + " or correct its name: no service starts with a name that it does not know"
}

// relaxed points out what is for development only.
func relaxed(environ []string) []finding {
	config, err := env.Load[struct{ env.Destinations }](listed(environ))
	if err != nil {
		return nil // reported above, where a service reads it
	}
	var what []string
	if config.AllowHTTP {
		what = append(what, "HOOKS_ALLOW_HTTP lets payloads travel unencrypted")
	}
	if len(config.AllowedNetworks) > 0 {
		what = append(what, fmt.Sprintf("HOOKS_ALLOWED_NETWORKS opens %v to whoever may create webhooks", config.AllowedNetworks))
	}
	if len(what) == 0 {
		return nil
	}
	return []finding{{warn, strings.Join(what, "; "), "fine for development; unset in production"}}
}

// identity points out keys that somebody on the way could replace by his own.
func identity(environ []string) []finding {
	config, err := env.Load[struct{ env.Identity }](listed(environ))
	if err != nil || !strings.HasPrefix(strings.ToLower(config.JWKSURL.String()), "http://") {
		return nil
	}
	return []finding{{
		warn, "HOOKS_JWKS_URL is http://: whoever is between can put in a key of his own and make tokens for any tenant",
		"use https://, or make sure that the way is yours (a sidecar on localhost)",
	}}
}

// encryptionKeys are the configured ones, none where they are missing or wrong.
func encryptionKeys(environ []string) seal.Keyring {
	config, err := env.Load[struct{ env.Encryption }](listed(environ))
	if err != nil {
		return seal.Keyring{} // reported where a service reads it
	}
	return config.Keys.Keyring
}

// listed leaves out what is no setting, which is reported elsewhere.
func listed(environ []string) []string {
	known := map[string]bool{}
	for _, v := range env.Variables() {
		known[v.Name] = true
	}
	unlisted := func(line string) bool { name, _, _ := strings.Cut(line, "="); return !known[name] }
	return slices.DeleteFunc(slices.Clone(environ), unlisted)
}
