// Package env turns the environment into configuration, once, at start.
//
// A process that starts has read every variable it needs, each has passed its
// rule, and no HOOKS_* name was misspelt. All faults are reported together,
// each with the variable's name and the rule it breaks; no message repeats a
// secret. A variable that is set to nothing counts as not set.
//
// The list of variables is in variables.go: one list for all processes, so
// that one file of settings can serve them all.
package env
