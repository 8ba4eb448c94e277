package env

import (
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/crm-webhooks/crm-webhooks/pkg/seal"
)

const redacted = "[redacted]"

// Secret is a setting that never prints; Reveal is the only way out.
type Secret struct{ text string }

// NewSecret wraps text that did not come from the environment.
func NewSecret(text string) Secret { return Secret{text} }

// UnmarshalText takes any text.
func (s *Secret) UnmarshalText(text []byte) error {
	s.text = string(text)
	return nil
}

// Reveal returns the text, empty when the variable is not set.
func (s Secret) Reveal() string { return s.text }

func (s Secret) String() string {
	if s.text == "" {
		return ""
	}
	return redacted
}

// GoString redacts %#v.
func (s Secret) GoString() string { return s.String() }

// LogValue redacts logs.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText redacts JSON.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// serverURL is a URL that may hold a password. It is not parsed by net/url,
// which refuses lists of hosts.
type serverURL struct{ text string }

// Reveal returns the URL with its password.
func (u serverURL) Reveal() string { return u.text }

// String returns scheme, user, hosts and path; no password and no query, which
// may hold one too.
func (u serverURL) String() string {
	scheme, rest, found := strings.Cut(u.text, "://")
	if !found {
		return ""
	}
	rest, _, _ = strings.Cut(rest, "#")
	rest, _, _ = strings.Cut(rest, "?")
	if at := strings.LastIndexByte(rest, '@'); at >= 0 {
		user, _, hasPassword := strings.Cut(rest[:at], ":")
		if hasPassword {
			user += ":" + redacted
		}
		rest = user + rest[at:]
	}
	return scheme + "://" + rest
}

// GoString redacts %#v.
func (u serverURL) GoString() string { return u.String() }

// LogValue redacts logs.
func (u serverURL) LogValue() slog.Value { return slog.StringValue(u.String()) }

// MarshalText redacts JSON.
func (u serverURL) MarshalText() ([]byte, error) { return []byte(u.String()), nil }

func parseServerURL(text []byte, schemes ...string) (serverURL, error) {
	scheme, rest, found := strings.Cut(string(text), "://")
	if !found || rest == "" || !slices.Contains(schemes, scheme) {
		return serverURL{}, errors.New("must start with " + strings.Join(schemes, "://, ") + ":// and name a host")
	}
	return serverURL{string(text)}, nil
}

// DatabaseURL is a PostgreSQL URL that prints without its password.
type DatabaseURL struct{ serverURL }

// UnmarshalText checks the scheme only; the driver knows the rest.
func (u *DatabaseURL) UnmarshalText(text []byte) (err error) {
	u.serverURL, err = parseServerURL(text, "postgres", "postgresql")
	return err
}

// RedisURL is a Redis URL that prints without its password.
type RedisURL struct{ serverURL }

// UnmarshalText checks the scheme only; the client knows the rest.
func (u *RedisURL) UnmarshalText(text []byte) (err error) {
	u.serverURL, err = parseServerURL(text, "redis", "rediss", "redis-sentinel", "redis-cluster")
	return err
}

// HTTPURL is an absolute http or https URL without credentials.
type HTTPURL struct{ text string }

// UnmarshalText applies the rule. A URL that breaks it is kept, so that rules
// across variables see that there was one.
func (u *HTTPURL) UnmarshalText(text []byte) error {
	u.text = string(text)
	parsed, err := url.Parse(string(text))
	if err != nil || parsed.Host == "" || parsed.User != nil || (parsed.Scheme != "http" && parsed.Scheme != "https") {
		return errors.New("must be an http or https URL without user and password")
	}
	return nil
}

func (u HTTPURL) String() string { return u.text }

// Address is a "host:port" to listen on; the host may be empty and the port 0.
type Address string

// UnmarshalText applies the rule.
func (a *Address) UnmarshalText(text []byte) error {
	_, port, err := net.SplitHostPort(string(text))
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		return errors.New("must be a listen address such as :8080 or 127.0.0.1:8080")
	}
	*a = Address(text)
	return nil
}

// LogFormat is "json" or "text".
type LogFormat string

// The formats.
const (
	JSON LogFormat = "json"
	Text LogFormat = "text"
)

// UnmarshalText applies the rule.
func (f *LogFormat) UnmarshalText(text []byte) error {
	*f = LogFormat(strings.ToLower(string(text)))
	if *f != JSON && *f != Text {
		return errors.New("must be json or text")
	}
	return nil
}

// EncryptionKeys are the keys that seal secrets at rest, the encrypting one first.
type EncryptionKeys struct{ seal.Keyring }

// UnmarshalText reads comma-separated base64 of 32 bytes each.
func (k *EncryptionKeys) UnmarshalText(text []byte) error {
	ring, err := seal.ParseKeys(string(text))
	if err != nil {
		return errors.New("must be comma-separated base64 of 32 bytes each (openssl rand -base64 32): " + err.Error())
	}
	k.Keyring = ring
	return nil
}

// parseNetworks reads comma-separated CIDRs. Host bits are an error: whoever
// writes 10.0.0.7/8 may mean one host or a whole network.
func parseNetworks(text string) (any, error) {
	var networks []netip.Prefix
	for part := range strings.SplitSeq(text, ",") {
		part = strings.TrimSpace(part)
		network, err := netip.ParsePrefix(part)
		if err != nil {
			return nil, errors.New("must be comma-separated CIDRs such as 127.0.0.0/8, " + strconv.Quote(part) + " is none")
		}
		if network != network.Masked() {
			return nil, errors.New("must be networks: write " + network.Masked().String() + " or " +
				netip.PrefixFrom(network.Addr(), network.Addr().BitLen()).String() + " for " + part)
		}
		networks = append(networks, network)
	}
	return networks, nil
}
