//go:build linux || darwin

package sender

import "syscall"

// pending reports whether a read would not block: there are bytes, an end or an
// error. It takes nothing from the connection.
func pending(raw syscall.RawConn) bool {
	found := false
	// Control, not Read: net/http's reading goroutine holds the lock that Read takes.
	err := raw.Control(func(fd uintptr) {
		var b [1]byte
		_, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		found = err != syscall.EAGAIN && err != syscall.EINTR
	})
	return found || err != nil
}
