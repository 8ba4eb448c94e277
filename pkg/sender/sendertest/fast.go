package sendertest

import (
	"bytes"
	"io"
	"strconv"
)

// Fast answers 200 at the least cost and records no requests: for benchmarks.
func Fast() Behaviour {
	return Behaviour{Name: "fast", Greet: func(c *Conn) {
		for {
			length, err := c.readHead()
			if err != nil {
				break
			}
			if _, err := c.in.Discard(length); err != nil || !c.Write(ok) {
				break
			}
		}
		c.Hangup()
	}}
}

// readHead reads up to the body and returns the body's length.
func (c *Conn) readHead() (length int, err error) {
	for {
		line, err := c.in.ReadSlice('\n')
		if err != nil {
			return 0, err
		}
		if len(line) <= len("\r\n") {
			return length, nil
		}
		if value, found := bytes.CutPrefix(line, []byte("Content-Length: ")); found {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(value))); err != nil {
				return 0, io.ErrUnexpectedEOF
			}
		}
	}
}
