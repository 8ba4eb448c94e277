// Package e2e tests the system from outside: real api, worker and monitor
// processes over a real PostgreSQL and Redis, spoken to by GraphQL over HTTP,
// and received from by a receiver that verifies each signature with the
// reference library of Standard Webhooks.
//
// What a single process promises is tested where it lives. Here is what only
// several of them can show: the whole way of an event, and what is left of it
// when processes are killed and servers go away in the middle.
package e2e
