// Package tasks is the doorbell: it tells workers, through Redis and asynq,
// which deliveries to look at. It is the only package that imports asynq (the
// monitor, which embeds asynq's web UI, aside).
//
// A bell carries delivery ids and what an operator may read of them; the truth
// about a delivery is in PostgreSQL. So every promise here is weak on purpose:
// a bell may be lost (Redis forgot), rung twice, or come late. It never comes
// before its time but for a clock that is wrong, and it never decides how
// often something is tried: MaxRetry is set far above every policy and asynq
// only keeps the timer.
//
// Ringer enqueues, Server answers, Canary notices a Redis that forgot, Sweeper
// mends what asynq leaves behind, Stats counts.
package tasks
