package tasks

import "sync"

// Gate keeps a Server from fetching bells while nobody could answer them: what it
// leaves in Redis, others hear at once. It is open at first. Bells that were being
// fetched when it shut still come.
type Gate struct {
	mu sync.Mutex
	// opened is closed when the gate opens; nil: it is open.
	opened chan struct{}
}

// NewGate makes an open gate.
func NewGate() *Gate { return &Gate{} }

// Shut stops fetching. A gate that is shut stays so.
func (g *Gate) Shut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.opened == nil {
		g.opened = make(chan struct{})
	}
}

// Open goes on with fetching.
func (g *Gate) Open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.opened != nil {
		close(g.opened)
		g.opened = nil
	}
}

// passage returns what to wait for; nil: the gate is open.
func (g *Gate) passage() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.opened
}
