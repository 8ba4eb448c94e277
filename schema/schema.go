// Package schema holds the contracts between processes: the GraphQL SDL that
// clients see and the PostgreSQL migrations that every process stands on.
//
// It is a module of its own, without dependencies, because embedding cannot
// reach outside a module and every service needs one half or the other.
package schema
