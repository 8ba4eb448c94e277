package stage

import "syscall"

// childAttr keeps Ctrl-C away from a child and lets it die with us.
func childAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
