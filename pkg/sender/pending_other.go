//go:build !linux && !darwin

package sender

import "syscall"

// pending cannot tell here; net/http's own check has to do.
func pending(syscall.RawConn) bool { return false }
