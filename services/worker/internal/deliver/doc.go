// Package deliver is the delivery path of a worker: claim, send, record.
//
// It promises that a request is made only under a claim that is still good
// (I3), that a task is answered only after the outcome of its deliveries is
// committed, and that a stop neither loses nor invents an attempt (I9).
//
// Its memory is bounded by its slots. One is taken before a delivery is claimed and
// given back when its response has been read and its payload let go. What is left,
// the outcome, waits to be recorded, and there are eight places for each slot: when
// they are taken, because PostgreSQL does not record, nothing more is claimed.
//
// One goroutine claims, one admits deliveries whose timers rang, one goroutine per
// claimed delivery sends, two record, each for its share of the webhooks, and have
// one more at their side for tenants with much to record. What they cannot record
// they set apart and try again webhook by webhook, so that a locked lane delays its
// own only. Claims and records are batched by what has piled up while the last one
// ran.
//
// A worker that cannot claim, because PostgreSQL does not answer it, fetches no bells
// until it can: others may be better off, and whoever hears a bell first has it.
//
// Slots go round the tenants that wait for some (I10), and one that holds many
// gets no more before there are many free ones: see greed. Deliveries that have
// to wait for their tenant's share do so here, without a bell, so that however
// many they are, they keep no bell from being answered; they are still unclaimed,
// and any other worker that is rung for them may have them.
//
// Recording a webhook's outcomes frees places in its window, and the same
// statement claims its next deliveries, as far as their tenant's share allows and
// slots are free that nobody has been waiting for: so a backlog moves without
// Redis, and yet does not push ahead of those who were rung for.
package deliver
