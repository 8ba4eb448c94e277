package postgres

import (
	"fmt"
	"syscall"
)

// tcpUserTimeout is TCP_USER_TIMEOUT of tcp(7), in milliseconds.
const tcpUserTimeout = 0x12

// boundSilence sets maxSilence for a connection to be made.
func boundSilence(network, _ string, c syscall.RawConn) error {
	if network == "unix" {
		return nil
	}
	var err error
	ctlErr := c.Control(func(fd uintptr) {
		err = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpUserTimeout, int(maxSilence.Milliseconds()))
	})
	if ctlErr != nil {
		return fmt.Errorf("bounding silence: %w", ctlErr)
	}
	if err != nil {
		return fmt.Errorf("bounding silence: %w", err)
	}
	return nil
}
