//go:build unix && !linux

package devstack

import "syscall"

// childAttr makes a child lead its own process group. There is no
// parent-death signal here: a SIGKILL leaves the servers running.
func childAttr(_ syscall.Signal, cred *syscall.Credential) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Credential: cred}
}
