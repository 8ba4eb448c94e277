package httpapi

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/graph-gophers/graphql-go"
	gqlerrors "github.com/graph-gophers/graphql-go/errors"

	"github.com/crm-webhooks/crm-webhooks/pkg/obs"
	"github.com/crm-webhooks/crm-webhooks/services/api/internal/protocol"
)

const (
	// minGzipBytes is where compressing begins to be worth a packet.
	minGzipBytes = 4 << 10
	// retryAfter, in seconds: what is short here, connections or time, is so for moments.
	retryAfter = "1"
)

// answer is a GraphQL response on its way out.
type answer struct {
	// status is set when the request was refused for its HTTP; 0 means that the
	// GraphQL response decides.
	status    int
	mediaType string
	header    http.Header
	response  *graphql.Response
}

func refuse(status int, code, message string) answer {
	return answer{
		status:    status,
		mediaType: mediaTypeJSON,
		header:    http.Header{},
		response:  &graphql.Response{Errors: []*gqlerrors.QueryError{coded(code, message)}},
	}
}

func (a answer) as(mediaType string) answer {
	a.mediaType = mediaType
	return a
}

// outcome is "ok" or the code of the answer's first error.
func (a answer) outcome() string {
	if len(a.response.Errors) == 0 {
		return outcomeOK
	}
	code, _ := a.response.Errors[0].Extensions["code"].(string)
	return code
}

// httpStatus follows the specification: under application/json a request that
// could be read is answered with 200 whatever became of it. Under the GraphQL
// media type data mean 200, be they partial; a response without any has a status
// of its own, and there a fault of ours is one that load balancers and clients'
// retries can see.
func (a answer) httpStatus() int {
	switch {
	case a.status != 0:
		return a.status
	case a.mediaType == mediaTypeJSON || a.hasData():
		return http.StatusOK
	}
	switch a.outcome() {
	case protocol.CodeUnavailable:
		return http.StatusServiceUnavailable
	case protocol.CodeInternal:
		return http.StatusInternalServerError
	case protocol.CodeLimitExceeded:
		if a.retryAfter() > 0 {
			return http.StatusTooManyRequests
		}
	}
	if len(a.response.Data) > 0 {
		return http.StatusOK // executed: null is what came of it
	}
	return http.StatusBadRequest
}

// retryAfter is how long to stay away, 0 when the answer is not about that.
func (a answer) retryAfter() time.Duration {
	if len(a.response.Errors) == 0 {
		return 0
	}
	ms, _ := a.response.Errors[0].Extensions[protocol.KeyRetryAfter].(int64)
	return time.Duration(ms) * time.Millisecond
}

func (a answer) hasData() bool {
	return len(a.response.Data) > 0 && string(a.response.Data) != "null"
}

func (a answer) write(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	for name, values := range a.header {
		h[name] = values
	}
	h.Set("Content-Type", a.mediaType+"; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("Vary", "Accept, Accept-Encoding, Authorization")
	status := a.httpStatus()
	if wait := a.retryAfter(); wait > 0 {
		h.Set("Retry-After", strconv.Itoa(protocol.RetrySeconds(wait)))
	} else if status == http.StatusServiceUnavailable {
		h.Set("Retry-After", retryAfter)
	}
	body := a.body()
	if len(body) >= minGzipBytes && acceptsGzip(r) {
		h.Set("Content-Encoding", "gzip")
		w.WriteHeader(status)
		compressor, _ := gzip.NewWriterLevel(w, gzip.BestSpeed) // the level is valid
		_, _ = compressor.Write(body)
		_ = compressor.Close()
		return
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body) // the caller who has hung up misses nothing
}

// body takes data as it is: the executor has written it, and checking it again
// costs as much as writing it did.
func (a answer) body() []byte {
	var out bytes.Buffer
	out.Grow(len(a.response.Data) + 64)
	out.WriteByte('{')
	write := func(name string, value any) {
		if out.Len() > 1 {
			out.WriteByte(',')
		}
		out.WriteString(`"` + name + `":`)
		encoder := json.NewEncoder(&out)
		encoder.SetEscapeHTML(false)
		if err := encoder.Encode(value); err != nil {
			out.WriteString("null")
			return
		}
		out.Truncate(out.Len() - 1) // the encoder's newline
	}
	if len(a.response.Errors) > 0 {
		write("errors", a.response.Errors)
	}
	if len(a.response.Data) > 0 {
		if out.Len() > 1 {
			out.WriteByte(',')
		}
		out.WriteString(`"data":`)
		out.Write(a.response.Data)
	}
	if len(a.response.Extensions) > 0 {
		write("extensions", a.response.Extensions)
	}
	out.WriteByte('}')
	return out.Bytes()
}

func acceptsGzip(r *http.Request) bool {
	for part := range strings.SplitSeq(r.Header.Get("Accept-Encoding"), ",") {
		name, parameters, _ := strings.Cut(strings.TrimSpace(part), ";")
		if strings.EqualFold(strings.TrimSpace(name), "gzip") {
			return strings.ReplaceAll(parameters, " ", "") != "q=0"
		}
	}
	return false
}

// vet bounds the errors of an executor and hides those that nobody has
// classified, but for what is wrong with the request itself.
func (g *graphQL) vet(ctx context.Context, response *graphql.Response) *graphql.Response {
	if len(response.Errors) > protocol.MaxErrors {
		response.Errors = response.Errors[:protocol.MaxErrors]
	}
	for _, e := range response.Errors {
		if _, classified := e.Extensions["code"].(string); classified {
			continue
		}
		if len(response.Data) == 0 && ctx.Err() == nil {
			e.Message, e.Extensions = protocol.Shortened(e.Message), map[string]any{"code": protocol.CodeBadUserInput}
			continue
		}
		code, message := protocol.CodeInternal, protocol.InternalMessage
		if ctx.Err() != nil {
			code, message = protocol.CodeUnavailable, protocol.UnavailableMessage
		}
		g.config.Log.ErrorContext(ctx, "executing an operation", obs.Err(e), slog.String("code", code))
		e.Message = message
		e.Extensions = map[string]any{"code": code, "requestId": obs.RequestID(ctx)}
	}
	return response
}
