package sender

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"time"

	"code.dny.dev/ssrf"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

// guard decides which addresses may be connected to. It is asked by the dialer
// about the concrete address, after resolution and before the first packet, so
// no spelling, name, alias or change of mind of a DNS server gets around it (I6).
//
// Two lists by two hands have to agree that an address is public: that of a
// maintained library, and that of the domain, which webhooks are registered by.
type guard struct {
	allowed []netip.Prefix
	blocked []netip.Prefix
	public  *ssrf.Guardian
	own     ownAddresses
}

func newGuard(allowed, blocked []netip.Prefix) (*guard, error) {
	g := &guard{public: ssrf.New(ssrf.WithAnyPort())}
	var err error
	if g.allowed, err = masked("allowed", allowed); err != nil {
		return nil, err
	}
	if g.blocked, err = masked("blocked", blocked); err != nil {
		return nil, err
	}
	if err := g.own.refresh(time.Now()); err != nil {
		return nil, fmt.Errorf("listing this host's addresses: %w", err)
	}
	return g, nil
}

func masked(kind string, networks []netip.Prefix) ([]netip.Prefix, error) {
	out := make([]netip.Prefix, len(networks))
	for i, network := range networks {
		if !network.IsValid() || network.Addr().Is4In6() {
			return nil, fmt.Errorf("%s network %s is not a valid IPv4 or IPv6 prefix", kind, network)
		}
		out[i] = network.Masked()
	}
	return out, nil
}

// blockedError is a refusal to connect. Its text is for the webhook's owner, who
// is not to learn what names of inside networks lead to; the address is for
// operators.
type blockedError struct {
	text    string
	address string // empty when the address is not why
}

func (e *blockedError) Error() string { return e.text }

// control is for net.Dialer.ControlContext.
func (g *guard) control(_ context.Context, _, address string, _ syscall.RawConn) error {
	target, err := netip.ParseAddrPort(address)
	if err != nil {
		return &blockedError{text: "the address cannot be checked"}
	}
	if webhook.ForbiddenPort(int(target.Port())) {
		return &blockedError{text: fmt.Sprintf("port %d belongs to another protocol", target.Port())}
	}
	addr := target.Addr().Unmap()
	if !g.reachable(addr) {
		return &blockedError{"the host name leads to an address that is not public", addr.String()}
	}
	return nil
}

// reachable takes an unmapped address.
func (g *guard) reachable(addr netip.Addr) bool {
	if addr.Zone() != "" {
		return false
	}
	within := func(network netip.Prefix) bool { return network.Contains(addr) }
	if slices.ContainsFunc(g.blocked, within) {
		return false
	}
	if slices.ContainsFunc(g.allowed, within) {
		return true
	}
	return webhook.PublicAddress(addr) && g.public.SafeAddr(addr) == nil &&
		!isCloudHost(addr) && !g.own.contain(addr, time.Now())
}

// isCloudHost knows the one address that looks public and is inside: Azure's
// agent, DNS and health probes answer there to every virtual machine.
func isCloudHost(addr netip.Addr) bool {
	return addr == netip.AddrFrom4([4]byte{168, 63, 129, 16})
}

// ownAddresses are those of this host's interfaces: behind a public one may be
// services that trust local callers.
type ownAddresses struct {
	mu    sync.Mutex
	asOf  time.Time
	addrs map[netip.Addr]bool
}

// ownAddressesAge is how old the list may get: interfaces come and go.
const ownAddressesAge = 10 * time.Second

func (o *ownAddresses) contain(addr netip.Addr, now time.Time) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if now.Sub(o.asOf) > ownAddressesAge {
		_ = o.refresh(now) // the last list is better than none
	}
	return o.addrs[addr]
}

func (o *ownAddresses) refresh(now time.Time) error {
	o.asOf = now
	listed, err := net.InterfaceAddrs()
	if err != nil {
		return err
	}
	addrs := make(map[netip.Addr]bool, len(listed))
	for _, a := range listed {
		network, ok := a.(*net.IPNet)
		if !ok {
			return errors.New("an interface address is not an IP network")
		}
		if addr, ok := netip.AddrFromSlice(network.IP); ok {
			addrs[addr.Unmap()] = true
		}
	}
	o.addrs = addrs
	return nil
}
