package main

import (
	"context"
	"time"

	"github.com/crm-webhooks/crm-webhooks/services/hooksctl/chaos/proxy"
)

// late is how much later answers come over a slow network.
const late = 300 * time.Millisecond

// wireFault is a way in which a network breaks.
type wireFault struct {
	name, what string
	begin      func(*proxy.Proxy) error
	cuts       bool // what is under way is lost
}

func (f wireFault) title() string {
	if f.cuts {
		return "cut (" + f.what + ") for 8 s"
	}
	return f.what + " for 8 s"
}

func cuts() []wireFault {
	return []wireFault{
		{"reset", "RST", (*proxy.Proxy).Refuse, true},
		{"silent", "black hole", (*proxy.Proxy).Swallow, true},
	}
}

func slowness() wireFault {
	return wireFault{"slow", "answers 300 ms late", func(p *proxy.Proxy) error { p.Delay(late); return nil }, false}
}

// wireEnd is a network that breaks.
type wireEnd struct {
	name, title string
	insert      func(context.Context, *scene) error
	refusals    []string
	// ambiguous: a receiver whose answer is lost on its way gets the request again,
	// as a further attempt.
	ambiguous bool
}

// networkFaults: what is between the workers and each of those they speak to is
// cut by resets, cut silently, and slowed down; what is between the apis and
// PostgreSQL is cut.
func networkFaults() []fault {
	var rows []fault
	for _, end := range []wireEnd{
		{name: "redis", title: "workers-Redis", insert: beforeRedis},
		{name: "postgres", title: "workers-PostgreSQL", insert: beforePostgres},
		{name: "receiver", title: "workers-receivers", insert: beforeReceiver, ambiguous: true},
	} {
		for _, how := range append(cuts(), slowness()) {
			rows = append(rows, end.row(how))
		}
	}
	apis := wireEnd{name: "api", title: "apis-PostgreSQL", insert: afterAPIs, refusals: []string{unavailable, noAnswer}}
	for _, how := range cuts() {
		rows = append(rows, apis.row(how))
	}
	return rows
}

func (e wireEnd) row(how wireFault) fault {
	row := fault{
		name: "net-" + e.name + "-" + how.name, title: "network " + e.title + ": " + how.title(), page: "net-" + e.name,
		prepare: e.insert, refusals: e.refusals, strands: e.ambiguous && how.cuts,
	}
	row.strike = func(ctx context.Context, s *scene) error {
		begin := func() error { return s.breakWires(how.begin) }
		switch {
		case row.strands:
			begin = func() error {
				return s.cutOff(ctx, true, func() error { return s.breakWires(how.begin) }, s.workers...)
			}
		case how.cuts:
			begin = func() error { return s.cutAnswers(ctx, how) }
		}
		return during(ctx, cut, begin, s.mendWires)
	}
	return row
}

// cutAnswers cuts while answers are on their way: servers have done what nobody
// hears of.
func (s *scene) cutAnswers(ctx context.Context, how wireFault) error {
	if err := s.breakWires(slowness().begin); err != nil {
		return err
	}
	if err := wait(ctx, 2*late); err != nil {
		return err
	}
	return s.breakWires(how.begin)
}
