//go:build !linux

package postgres

import "syscall"

// boundSilence leaves it to keepalive and the deadlines.
func boundSilence(_, _ string, _ syscall.RawConn) error { return nil }
