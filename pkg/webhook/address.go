package webhook

import "net/netip"

// Networks that are not the public internet. For IPv6 only global unicast,
// 2000::/3, can be public at all; the list has what is special within it.
//
//nolint:gochecknoglobals // constant tables, read at each dial
var (
	nonPublicIPv4 = prefixes(
		"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
		"192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15",
		"198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/3",
	)
	globalIPv6    = netip.MustParsePrefix("2000::/3")
	nonPublicIPv6 = prefixes("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20", "2620:4f:8000::/48")
)

// PublicAddress reports whether a is an address of the public internet. An
// IPv4-mapped address counts as the IPv4 one; a zone or the zero Addr is not public.
//
// It cannot know the addresses that look public and are not, such as a cloud's
// metadata service or this host's own: the sender adds those.
func PublicAddress(a netip.Addr) bool {
	if !a.IsValid() || a.Zone() != "" {
		return false
	}
	a = a.Unmap()
	if a.Is4() {
		return !within(a, nonPublicIPv4)
	}
	return globalIPv6.Contains(a) && !within(a, nonPublicIPv6)
}

// ReachableAddress reports whether a webhook may lead to a: it is public, or one
// of the allowed networks holds it (I6).
func ReachableAddress(a netip.Addr, allowed []netip.Prefix) bool {
	return PublicAddress(a) || a.Zone() == "" && within(a.Unmap(), allowed)
}

func within(a netip.Addr, networks []netip.Prefix) bool {
	for _, network := range networks {
		if network.Contains(a) {
			return true
		}
	}
	return false
}

func prefixes(texts ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(texts))
	for i, text := range texts {
		out[i] = netip.MustParsePrefix(text)
	}
	return out
}
