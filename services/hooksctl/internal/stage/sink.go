package stage

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"strconv"
	"sync"
	"time"
)

// Arrival is one request that came.
type Arrival struct {
	// Delivery is the Crm-Delivery-Id header.
	Delivery string `json:"d"`
	// Attempt is the Crm-Attempt header.
	Attempt int `json:"n"`
	// Nanos is when the request's header had come, in nanoseconds since 1970, and
	// Ended when it was to be answered, or its sender was seen to have given up.
	Nanos int64 `json:"t"`
	Ended int64 `json:"e"`
	// Name is what the request's path had behind a question mark.
	Name string `json:"p,omitempty"`
	// Answered tells that a success was written.
	Answered bool `json:"a"`
}

// At is when the request came.
func (a Arrival) At() time.Time { return time.Unix(0, a.Nanos) }

// sink is a receiver that costs little: what is measured is the sender. It
// reads what senders of HTTP/1.1 with a Content-Length write, and knows five paths:
// /slow/<milliseconds> answers after a while, /flaky/<milliseconds> too but refuses
// the first attempt of some deliveries, /refuse answers 500, /hang never, any other
// at once. A query is a name by which requests can be told apart afterwards.
type sink struct {
	mu       sync.Mutex
	arrivals []Arrival
	sum      Tally
}

const (
	answer  = "HTTP/1.1 204 No Content\r\n\r\n"
	failure = "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n"
	refusal = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"
)

// Refuses tells whether a flaky path refuses the first attempt of a delivery.
func Refuses(delivery string) bool {
	return delivery != "" && delivery[len(delivery)-1]&3 == 0
}

func (s *sink) serve(l net.Listener) error {
	for {
		conn, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		go s.converse(conn) // ends with the connection, at the latest with the process
	}
}

func (s *sink) converse(conn net.Conn) {
	defer conn.Close()
	in := bufio.NewReaderSize(conn, 8<<10)
	for {
		req, err := readHead(in)
		if err != nil {
			return
		}
		a := Arrival{Delivery: req.delivery, Attempt: req.attempt, Name: req.name, Nanos: time.Now().UnixNano()}
		if _, err := in.Discard(req.length); err != nil {
			return
		}
		if req.hang {
			_, _ = in.ReadByte() // until the sender gives up
			a.Ended = time.Now().UnixNano()
			s.note(a)
			return
		}
		if req.wait > 0 {
			<-time.After(req.wait)
		}
		reply := answer
		switch {
		case req.refuse:
			reply = failure
		case req.flaky && req.attempt == 1 && Refuses(req.delivery):
			reply = refusal
		}
		a.Ended = time.Now().UnixNano()
		_, err = io.WriteString(conn, reply)
		a.Answered = err == nil && reply == answer
		s.note(a)
		if err != nil {
			return
		}
	}
}

func (s *sink) note(a Arrival) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.arrivals = append(s.arrivals, a)
	if s.sum.Count == 0 || a.Nanos < s.sum.First {
		s.sum.First = a.Nanos
	}
	s.sum.Last = max(s.sum.Last, a.Nanos)
	s.sum.Count++
}

// head is what matters of a request.
type head struct {
	delivery string
	name     string
	attempt  int
	length   int
	hang     bool
	refuse   bool
	flaky    bool
	wait     time.Duration
}

func readHead(in *bufio.Reader) (h head, err error) {
	line, err := in.ReadSlice('\n')
	if err != nil {
		return head{}, err
	}
	h.behave(line)
	for {
		line, err := in.ReadSlice('\n')
		if err != nil {
			return head{}, err
		}
		name, value, found := bytes.Cut(line, []byte(":"))
		switch {
		case len(line) <= len("\r\n"):
			return h, nil
		case !found:
			return head{}, errors.New("not a header line")
		case bytes.EqualFold(name, []byte("Crm-Delivery-Id")):
			h.delivery = string(bytes.TrimSpace(value))
		case bytes.EqualFold(name, []byte("Crm-Attempt")):
			h.attempt, _ = strconv.Atoi(string(bytes.TrimSpace(value)))
		case bytes.EqualFold(name, []byte("Content-Length")):
			if h.length, err = strconv.Atoi(string(bytes.TrimSpace(value))); err != nil {
				return head{}, err
			}
		}
	}
}

// behave reads "POST /slow/30?name HTTP/1.1".
func (h *head) behave(requestLine []byte) {
	_, path, _ := bytes.Cut(requestLine, []byte(" "))
	path, _, _ = bytes.Cut(path, []byte(" "))
	path, name, _ := bytes.Cut(path, []byte("?"))
	h.name = string(name)
	h.hang = bytes.HasPrefix(path, []byte("/hang"))
	h.refuse = bytes.HasPrefix(path, []byte("/refuse"))
	ms, found := bytes.CutPrefix(path, []byte("/slow/"))
	if !found {
		ms, h.flaky = bytes.CutPrefix(path, []byte("/flaky/"))
	}
	if found || h.flaky {
		n, _ := strconv.Atoi(string(ms))
		h.wait = time.Duration(n) * time.Millisecond
	}
}

// Tally sums arrivals up.
type Tally struct {
	Count int   `json:"count"`
	First int64 `json:"first"` // nanoseconds since 1970
	Last  int64 `json:"last"`
}

// Span is the time from the first arrival to the last.
func (t Tally) Span() time.Duration { return time.Duration(t.Last - t.First) }

func (s *sink) tally() Tally {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sum
}

func (s *sink) all() []Arrival {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.arrivals[:len(s.arrivals):len(s.arrivals)]
}

func (s *sink) reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.arrivals, s.sum = nil, Tally{}
}
