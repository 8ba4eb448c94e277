package devstack

import "syscall"

// childAttr makes a child lead its own process group and get sig when we die.
func childAttr(sig syscall.Signal, cred *syscall.Credential) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: sig, Credential: cred}
}
