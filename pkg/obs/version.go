package obs

// version is set by the linker: -X github.com/crm-webhooks/crm-webhooks/pkg/obs.version=1.2.3.
var version = "dev"

// Version returns the release that was built, "dev" for a plain go build.
func Version() string { return version }
