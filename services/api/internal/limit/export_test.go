package limit

// MaxTenants is for tests.
const MaxTenants = maxTenants

// Tenants returns how many tenants are remembered.
func (l *Limiter) Tenants() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.newer) + len(l.older)
}

// Tenants returns how many tenants have places or wait for some.
func (p *Places) Tenants() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.lines)
}
