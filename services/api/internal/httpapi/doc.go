// Package httpapi is the api's HTTP edge: GraphQL over HTTP, GraphiQL, health
// and metrics.
//
// It promises the GraphQL over HTTP specification, MUST, SHOULD and MAY (audits/
// checks that against a running service), and that nothing is parsed for a
// caller who has not been authenticated. What costs before an operation runs is
// bounded here: bytes, aliases, selections, time, and how much of a tenant goes on
// at once. What it costs afterwards is bounded by whoever executes it.
//
// An answer tells a caller what the caller can mend, and a request id about
// everything else. The access log has one line per request, with neither
// variables nor tokens in it.
package httpapi
