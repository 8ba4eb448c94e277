package sender

import (
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
	"strings"
)

// A traceparent of version 00 is "00-<32 hex>-<16 hex>-<2 hex>".
const (
	traceParentLength = 55
	traceIDStart      = 3
	spanIDStart       = 36
	flagsStart        = 53
)

// childSpan returns the traceparent of a new span in parent's trace, or in a new,
// unsampled trace where parent is none.
func childSpan(parent string) string {
	var out [traceParentLength]byte
	if validTraceParent(parent) {
		copy(out[:], parent)
	} else {
		copy(out[:], "00-")
		appendRandomHex(out[traceIDStart:traceIDStart])
		appendRandomHex(out[traceIDStart+16 : traceIDStart+16])
		out[spanIDStart-1], out[flagsStart-1] = '-', '-'
		copy(out[flagsStart:], "00")
	}
	appendRandomHex(out[spanIDStart:spanIDStart])
	return string(out[:])
}

// appendRandomHex appends 16 hexadecimal digits that are not all zero.
func appendRandomHex(dst []byte) {
	n := rand.Uint64() | 1 //nolint:gosec // span ids need to be distinct, not secret
	var raw [8]byte
	binary.BigEndian.PutUint64(raw[:], n)
	hex.AppendEncode(dst, raw[:])
}

func validTraceParent(s string) bool {
	return len(s) == traceParentLength && strings.HasPrefix(s, "00-") &&
		s[spanIDStart-1] == '-' && s[flagsStart-1] == '-' &&
		isLowerHex(s[traceIDStart:spanIDStart-1]) && isLowerHex(s[spanIDStart:flagsStart-1]) && isLowerHex(s[flagsStart:]) &&
		strings.Trim(s[traceIDStart:spanIDStart-1], "0") != ""
}

func isLowerHex(s string) bool { return strings.Trim(s, "0123456789abcdef") == "" }
