// Package run is the life of a process: start, wait for what it needs, serve,
// stop.
//
// A process is a Group of named components, each a Run(ctx) error that returns
// when its context ends and its work is finished or released. The first one to
// fail ends the others: a process that does half of its job is worse than one
// that the orchestrator restarts. Every wait has an end, and what was still
// running at that end is named in the error.
package run
