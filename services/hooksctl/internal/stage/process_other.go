//go:build !linux

package stage

import "syscall"

// childAttr keeps Ctrl-C away from a child.
func childAttr() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
