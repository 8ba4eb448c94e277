package webhook

import "slices"

// ForbiddenPort reports whether no webhook may lead to port: it belongs to
// another protocol, whose server could be made to act on a request.
func ForbiddenPort(port int) bool { return slices.Contains(badPorts, port) }

// ReservedHeader reports whether a custom header may not have this name,
// whatever its case: the sender sets it, or it frames the request.
func ReservedHeader(name string) bool { return isReserved(name) }
