// Package devstack runs a private PostgreSQL and a private Redis as child
// processes, for `make run`, the tests, the benchmarks and the fault suite.
//
// It promises: free loopback ports, a random password for each server, nothing
// outside the given folder (but see Config.Dir), readiness proved by a
// connection, and no server left behind when this process ends, however it
// ends (on Linux; elsewhere a SIGKILL leaves them running). A server that is
// already on the machine is never touched.
//
// It is no production supervisor: a server that dies is not restarted.
package devstack
