// Package apiclient calls the GraphQL API for people at a terminal: one POST a
// call, and errors that say in one line what the server said.
package apiclient

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

const (
	timeout          = 30 * time.Second
	maxResponseBytes = 32 << 20
	excerptBytes     = 200
)

// Client calls one API with one token. It may be used concurrently.
type Client struct {
	url   string
	token string
	http  *http.Client
}

// New makes a client for the API at url: its GraphQL endpoint, or the address
// of the server alone.
func New(url, token string, connections int) *Client {
	url = strings.TrimRight(url, "/")
	if !strings.HasSuffix(url, "/graphql") {
		url += "/graphql"
	}
	return &Client{url: url, token: token, http: &http.Client{
		Timeout:   timeout,
		Transport: &http.Transport{MaxIdleConnsPerHost: max(connections, 1), Proxy: http.ProxyFromEnvironment},
	}}
}

// Close gives idle connections back.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// UserError is what the caller can mend.
type UserError struct {
	Message string   `json:"message"`
	Field   []string `json:"field"`
	Code    string   `json:"code"`
}

// UserErrors is all of them, as one error; none is nil.
type UserErrors []UserError

func (es UserErrors) err() error {
	if len(es) == 0 {
		return nil
	}
	return es
}

func (es UserErrors) Error() string {
	lines := make([]string, len(es))
	for i, e := range es {
		lines[i] = e.Code + " " + strings.Join(e.Field, ".") + ": " + e.Message
	}
	return strings.Join(lines, "; ")
}

type answer struct {
	Data   json.RawMessage `json:"data"`
	Errors []struct {
		Message    string `json:"message"`
		Extensions struct {
			Code      string `json:"code"`
			RequestID string `json:"requestId"`
		} `json:"extensions"`
	} `json:"errors"`
}

func (a answer) err() error {
	var lines []string
	for _, e := range a.Errors {
		line := e.Message
		if e.Extensions.Code != "" {
			line = e.Extensions.Code + ": " + line
		}
		if e.Extensions.RequestID != "" {
			line += " (request " + e.Extensions.RequestID + ")"
		}
		lines = append(lines, line)
	}
	if len(lines) == 0 {
		return nil
	}
	return errors.New(strings.Join(lines, "; "))
}

// call posts one operation and decodes its data. An answer with any error is an
// error as a whole.
func (c *Client) call(ctx context.Context, query string, variables, data any) error {
	body, err := json.Marshal(map[string]any{"query": query, "variables": variables})
	if err != nil {
		return fmt.Errorf("encoding request: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("making request: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/graphql-response+json")
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return fmt.Errorf("calling API: %w", err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxResponseBytes))
	if err != nil {
		return fmt.Errorf("reading answer of API: %w", err)
	}
	var a answer
	if err := json.Unmarshal(text, &a); err != nil {
		return fmt.Errorf("%s is no GraphQL API: HTTP %d %s", c.url, resp.StatusCode, excerpt(text))
	}
	if err := a.err(); err != nil {
		return err
	}
	if len(a.Data) == 0 {
		return fmt.Errorf("%s is no GraphQL API: HTTP %d %s", c.url, resp.StatusCode, excerpt(text))
	}
	if err := json.Unmarshal(a.Data, data); err != nil {
		return fmt.Errorf("decoding answer of API: %w", err)
	}
	return nil
}

func excerpt(text []byte) string {
	s := strings.Join(strings.Fields(string(text)), " ")
	if len(s) > excerptBytes {
		s = s[:excerptBytes] + "..."
	}
	return s
}
