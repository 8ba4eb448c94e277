// Package graph answers the operations of the GraphQL schema.
//
// It checks permissions, turns arguments into the domain's words and results
// into the schema's, and maps errors: what a caller can mend in a mutation comes
// back as userErrors with the path of the field, everything else as a top-level
// error with extensions.code. It decides nothing else; rules live in the domain
// and in the use cases it calls.
//
// Every call carries the tenant of the verified token, and nothing gets a tenant
// from anywhere else (I5). What the items of a page need is loaded by one call
// for the whole page, whichever item asks first.
//
// A request may ask for a bounded number of items, however deep it nests its
// lists, and for an answer of bounded size, under however many names it asks for
// the same: one that wants more is refused as a whole. budget.go has the numbers.
package graph
