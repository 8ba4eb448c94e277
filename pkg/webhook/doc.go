// Package webhook is the domain: what an event, a webhook and a delivery are,
// which changes they may go through, and when a failed request is tried again.
//
// It promises to be pure. It imports the standard library only, does no I/O,
// reads no clock and rolls no dice: times, random bytes and jitter are arguments.
// A value that went through a Parse function is valid; what a caller can mend is
// an *Error or Errors that names the field and the rule.
//
// # Glossary
//
//   - tenant: one customer of the CRM; nothing crosses from one to another.
//   - event: something that happened to a CRM record, accepted once, immutable.
//   - event type: its wire name, such as lead.created; built-in types are in the
//     [Catalogue], others are custom.
//   - platform event: one that the service itself sends about webhooks, such as
//     [WebhookDisabled]. Notice: the fact it tells, written with that fact and made
//     an event right after.
//   - failing: a webhook whose attempts only fail, since some time.
//   - webhook (elsewhere: endpoint): a customer's URL, what it subscribes to, how
//     it is treated.
//   - pattern: what a webhook subscribes to: a type, a prefix such as lead.*, or *.
//   - delivery: what one event owes one webhook.
//   - test send: a delivery that somebody asked for and waits for; one attempt.
//   - attempt: one HTTP request made for a delivery, and its outcome.
//   - budget: the attempts that a delivery has before it fails; a retry by hand
//     grants another one.
//   - backoff: the growing wait between attempts; [Decide] is the only place that
//     knows it.
//   - dead letter: a delivery whose budget is used up. It stays, as Failed, until
//     retention drops it or somebody retries it.
//   - lane: the line of a webhook's unfinished deliveries.
//   - window: how many deliveries of a lane may be under way at a time.
//   - admitted: within the window. Parked: due, and outside of it. Held: its lane
//     is closed, because the webhook is paused or disabled.
//   - quiet: what a lane is while its receiver, by a Retry-After with 429 or 503,
//     wants no requests: nothing is admitted and nothing claimed. A 410 makes it so
//     until its webhook is disabled. After a Retry-After its window opens again step
//     by step. A resume, or another URL, ends it. Test sends go out.
//   - ring: to tell the workers, through Redis, that a delivery is due. A doorbell:
//     losing one delays, it does not lose.
//   - relay: the process that rings for whatever is due and was not heard.
//   - keeper: the process that keeps lanes in order: finishes what deleted webhooks
//     owe, recounts, and disables what only fails.
//   - claim: a worker's right to make one attempt; it comes with a lease.
//   - lease: the time until which nobody else may claim.
//   - idempotency key: the caller's name for a request to accept, so that sending
//     it again accepts nothing twice.
//   - group commit: many requests to accept in one transaction.
//
// # A webhook's status
//
//	            person pauses
//	  ┌────────┐ ───────────▶ ┌────────┐
//	▶ │ active │              │ paused │
//	  └────────┘ ◀─────────── └────────┘
//	    │    ▲  person resumes  │   ▲
//	    │    │                  │   │ person pauses
//	    │    │ person resumes   │   │
//	    ▼    │                  ▼   │
//	  ┌──────────────────────────────┐
//	  │           disabled           │  by a 410 or lasting failure
//	  └──────────────────────────────┘
//
// Deliveries of a paused or disabled webhook are held and go out on resume.
// [Status.CanBecome] is this drawing as a table.
//
// # A delivery's status
//
//	             2xx                ┌─────────┐
//	  ┌─────────┐ ────────────────▶ │ success │
//	▶ │ pending │                   └─────────┘
//	  └─────────┘ ──────┐                ▲
//	    │     ▲         │ budget used,   │ 2xx
//	    │     │         │ 410, deleted,  │
//	    │     │         │ canceled  ┌──────────┐
//	    │     │ retry   ▼           │          │ ─┐ attempt failed,
//	    │     │ by   ┌────────┐ ◀── │ retrying │  │ another is owed
//	    │     └───── │ failed │     │          │ ◀┘
//	    │       hand └────────┘     └──────────┘
//	    │ attempt failed, another is owed ▲
//	    └─────────────────────────────────┘
//
// There is no stored "processing": a delivery under way is a pending or retrying
// one with a lease. [DeliveryStatus.CanBecome] is this drawing as a table.
//
// # Invariants
//
//   - I1: an accepted event is committed, with one delivery for each webhook
//     subscribed at that instant, unique per event and webhook. Fan-out is part of
//     the same transaction. An event that nobody subscribes to is stored, too.
//   - I2: every unfinished delivery is held, parked, rung, leased, or waiting for
//     its next attempt; what is due gets rung whatever Redis forgot. Emptying Redis
//     delays deliveries by seconds and loses none.
//   - I3: a request is sent only under a claim, taken before it. Two rings for one
//     delivery are harmless. The same attempt is sent twice only when a process
//     dies, freezes or is cut off between the request and its record, for longer
//     than its lease.
//   - I4: attempts are numbered 1..n without gaps; status changes by
//     compare-and-set on that number; a finished delivery never changes, except by
//     an explicit retry, which grants a fresh budget and continues the numbering.
//   - I5: every query is scoped by an explicit tenant parameter, never by a context.
//   - I6: no request leaves for an address that is neither public nor allowed,
//     checked on the resolved address at dial time.
//   - I7: a secret is encrypted at rest and never appears in logs, errors, tasks or
//     answers, but for the one answer that creates it.
//   - I8: the stored payload, the signed bytes and the sent bytes are the same on
//     every attempt.
//   - I9: shutdown records no failed attempt; what is in flight finishes or is
//     released.
//   - I10: one webhook, however slow, broken or behind, delays another by no more
//     than its own share.
package webhook
