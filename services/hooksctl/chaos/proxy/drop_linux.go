package proxy

import (
	"errors"
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"
)

// drop has the kernel throw away what comes for a socket, before TCP sees it, so
// that it is not even acknowledged. Sockets that a listener accepts inherit it.
func drop(conn syscall.Conn) error {
	filter := unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: 0} // keep 0 bytes
	return control(conn, func(fd int) error {
		return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: 1, Filter: &filter})
	})
}

func undrop(conn syscall.Conn) error {
	return control(conn, func(fd int) error {
		err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DETACH_FILTER, 0)
		if errors.Is(err, unix.ENOENT) { // there was none
			return nil
		}
		return err
	})
}

func control(conn syscall.Conn, set func(fd int) error) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return fmt.Errorf("reaching a socket: %w", err)
	}
	var result error
	if err := raw.Control(func(fd uintptr) { result = set(int(fd)) }); err != nil {
		return nil //nolint:nilerr // it is closed: nothing comes any more
	}
	if result != nil {
		return fmt.Errorf("setting a packet filter: %w", result)
	}
	return nil
}
