package webhook

import (
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

const (
	maxURLLength  = 2048
	maxHostLength = 253
	maxHostLabel  = 63

	schemeHTTP  = "http"
	schemeHTTPS = "https"
)

// badPorts are the ports of the WHATWG Fetch standard that no HTTP request goes
// to: other protocols listen there, and could be made to act on one.
//
//nolint:gochecknoglobals // a constant table
var badPorts = []int{
	0, 1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95,
	101, 102, 103, 104, 109, 110, 111, 113, 115, 117, 119, 123, 135, 137, 139, 143, 161, 179,
	389, 427, 465, 512, 513, 514, 515, 526, 530, 531, 532, 540, 548, 554, 556, 563, 587, 601,
	636, 989, 990, 993, 995, 1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061, 6000, 6566,
	6665, 6666, 6667, 6668, 6669, 6679, 6697, 10080,
}

// URLRules says which webhook URLs an installation accepts. The zero value
// accepts https to public addresses.
type URLRules struct {
	AllowHTTP bool
	// AllowedNetworks may be reached although they are not public.
	AllowedNetworks []netip.Prefix
}

// Parse returns raw in normal form: lower-case scheme and host, no default port.
// A fault is an *Error about the field "url" that never repeats the input.
//
// Refusing addresses that are not public is a courtesy to whoever types them: a
// name may resolve to anything, so what counts is the check at dial time (I6). A
// name without a domain is one of the network that resolves it, and so it is
// refused where no such network is allowed.
func (r URLRules) Parse(raw string) (string, error) {
	if fault := checkURLText(raw); fault != nil {
		return "", fault
	}
	u, err := url.Parse(raw)
	if err != nil {
		return "", Invalid("url", "must be a valid URL")
	}
	if u.Scheme != schemeHTTPS && (u.Scheme != schemeHTTP || !r.AllowHTTP) {
		return "", Invalid("url", r.schemeRule())
	}
	if u.User != nil {
		return "", Invalid("url", "must not contain credentials; use a header")
	}
	host, fault := r.host(u.Hostname())
	if fault != nil {
		return "", fault
	}
	port, fault := normalPort(u)
	if fault != nil {
		return "", fault
	}
	u.Host = host + port
	normal := u.String()
	if len(normal) > maxURLLength {
		return "", Invalid("url", "must have at most 2048 characters")
	}
	return normal, nil
}

func checkURLText(raw string) *Error {
	switch {
	case raw == "":
		return Invalid("url", "must not be empty")
	case len(raw) > maxURLLength:
		return Invalid("url", "must have at most 2048 characters")
	case strings.ContainsFunc(raw, func(c rune) bool { return c <= ' ' || c > '~' }):
		return Invalid("url", "must consist of printable ASCII characters without spaces; write other characters percent-encoded, and host names as xn--")
	case strings.Contains(raw, `\`):
		return Invalid("url", "must not contain a backslash")
	case strings.Contains(raw, "#"):
		return Invalid("url", "must not contain a fragment")
	}
	return nil
}

func (r URLRules) schemeRule() string {
	if r.AllowHTTP {
		return "must start with https:// or http://"
	}
	return "must start with https://"
}

// host returns a host in normal form, IPv6 in brackets.
func (r URLRules) host(raw string) (string, *Error) {
	host := strings.ToLower(raw)
	if strings.Contains(host, ":") || endsInNumber(host) {
		return r.address(host)
	}
	host = strings.TrimSuffix(host, ".")
	if host == "" {
		return "", Invalid("url", "must name a host")
	}
	if !isHostName(host) {
		return "", Invalid("url", "must name a valid host")
	}
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return host, r.reachable(netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback())
	}
	if !strings.Contains(host, ".") && len(r.AllowedNetworks) == 0 {
		return "", Invalid("url", "must name a host with its domain, such as hooks.example.com")
	}
	return host, nil
}

// address returns a literal address in normal form. Octal, hexadecimal, short
// and whole-number spellings are refused: resolvers disagree about them, so they
// serve nobody but those who hide an address.
func (r URLRules) address(host string) (string, *Error) {
	addr, err := netip.ParseAddr(host)
	if err != nil || addr.Zone() != "" {
		return "", Invalid("url", "must spell an address as four decimal numbers or as IPv6 without a zone")
	}
	addr = addr.Unmap()
	if fault := r.reachable(addr); fault != nil {
		return "", fault
	}
	if addr.Is6() {
		return "[" + addr.String() + "]", nil
	}
	return addr.String(), nil
}

// reachable wants one of the addresses to be allowed: a dialer tries them all.
func (r URLRules) reachable(addrs ...netip.Addr) *Error {
	for _, addr := range addrs {
		if ReachableAddress(addr, r.AllowedNetworks) {
			return nil
		}
	}
	return Invalid("url", "must not lead to a private or reserved address")
}

// endsInNumber tells addresses from names as the WHATWG URL standard does: the
// last label is a decimal, octal or hexadecimal number.
func endsInNumber(host string) bool {
	host = strings.TrimSuffix(host, ".")
	last := host[strings.LastIndexByte(host, '.')+1:]
	if digits, hex := strings.CutPrefix(last, "0x"); hex {
		return strings.Trim(digits, "0123456789abcdef") == ""
	}
	return last != "" && strings.Trim(last, "0123456789") == ""
}

func isHostName(host string) bool {
	if len(host) > maxHostLength {
		return false
	}
	for label := range strings.SplitSeq(host, ".") {
		if label == "" || len(label) > maxHostLabel || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for _, c := range []byte(label) {
			if !isAlphanumeric(c) && c != '-' && c != '_' {
				return false
			}
		}
	}
	return true
}

// normalPort returns ":port", or nothing for the scheme's own port.
func normalPort(u *url.URL) (string, *Error) {
	text := u.Port()
	if text == "" {
		return "", nil
	}
	port, err := strconv.Atoi(text)
	if err != nil || port < 0 || port > 65535 {
		return "", Invalid("url", "must have a port between 1 and 65535")
	}
	if slices.Contains(badPorts, port) {
		return "", Invalid("url", "must not use port "+strconv.Itoa(port)+", which belongs to another protocol")
	}
	if u.Scheme == schemeHTTPS && port == 443 || u.Scheme == schemeHTTP && port == 80 {
		return "", nil
	}
	return ":" + strconv.Itoa(port), nil
}
