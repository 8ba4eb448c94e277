package e2e_test

import "syscall"

// childAttr lets a child die with the test binary, however that dies.
func childAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
