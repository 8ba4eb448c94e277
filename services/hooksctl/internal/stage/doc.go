// Package stage sets the whole system up for measuring and for breaking: the
// service binaries, built from this tree and run as real processes; private,
// durable servers; a receiver in a process of its own that remembers when what
// came; and what all of them cost.
//
// It promises that nothing outlives its owner: Close ends every process, and on
// Linux so does the death of the process that staged them, however it dies. Costs are
// read from /proc; where there is none they are zero.
package stage
