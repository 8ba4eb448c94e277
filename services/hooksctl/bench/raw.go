package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/crm-webhooks/crm-webhooks/pkg/signature"
	"github.com/crm-webhooks/crm-webhooks/services/hooksctl/internal/stage"
)

const (
	rawPart       = "raw"
	rawGoroutines = 64

	// What a part is told by its environment.
	envURL         = "BENCH_URL"
	envCount       = "BENCH_COUNT"
	envRedis       = "BENCH_REDIS_URL"
	envConcurrency = "BENCH_CONCURRENCY"
)

// poster signs and POSTs, and nothing else: no guard, no limit, no record.
type poster struct {
	client *http.Client
	url    string
	key    []byte
}

func newPoster(connections int) *poster {
	return &poster{
		client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: connections, MaxIdleConns: connections}},
		url:    os.Getenv(envURL), key: bytes.Repeat([]byte{1}, 32),
	}
}

func (p *poster) post(ctx context.Context, id string, body []byte) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url, bytes.NewReader(body)) //nolint:gosec // our own receiver
	if err != nil {
		return fmt.Errorf("making request: %w", err)
	}
	now := time.Now()
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Crm-Delivery-Id", id)
	req.Header.Set(signature.HeaderID, id)
	req.Header.Set(signature.HeaderTimestamp, strconv.FormatInt(now.Unix(), 10))
	req.Header.Set(signature.HeaderSignature, signature.Sign(p.key, id, now, body))
	resp, err := p.client.Do(req) //nolint:gosec // our own receiver
	if err != nil {
		return fmt.Errorf("posting: %w", err)
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return fmt.Errorf("reading answer: %w", err)
	}
	if resp.StatusCode != http.StatusNoContent {
		return errors.New("receiver answers " + resp.Status)
	}
	return nil
}

// playRaw is the process of the raw limit. It stays until it is killed, so that
// what it used can be read.
func playRaw(ctx context.Context) error {
	count, err := strconv.ParseInt(os.Getenv(envCount), 10, 64)
	if err != nil {
		return fmt.Errorf("reading %s: %w", envCount, err)
	}
	p, body := newPoster(rawGoroutines), bytes.Repeat([]byte("x"), bodyBytes)
	var next atomic.Int64
	g, posting := errgroup.WithContext(ctx)
	for range rawGoroutines {
		g.Go(func() error {
			for n := next.Add(1); n <= count; n = next.Add(1) {
				if err := p.post(posting, strconv.FormatInt(n, 10), body); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

// measureRaw measures the raw limit.
func (s *suite) measureRaw(ctx context.Context) (rate, error) {
	return s.measurePart(ctx, rawPart, envCount+"="+strconv.Itoa(s.deliveries))
}

// measurePart measures a part of this program that sends s.deliveries.
func (s *suite) measurePart(ctx context.Context, name string, environ ...string) (r rate, err error) {
	ctx, cancel := context.WithTimeout(ctx, measureTimeout)
	defer cancel()
	if err := s.prepare(ctx); err != nil {
		return rate{}, err
	}
	_, redisBefore := s.stage.ServerCPU()
	part, err := stage.StartPart(name, append(environ, envURL+"="+s.receiver.URL("/"))...)
	if err != nil {
		return rate{}, err
	}
	defer func() { err = errors.Join(err, part.Kill()) }()
	tally, err := s.receiver.Await(ctx, s.deliveries)
	if err != nil {
		return rate{}, fmt.Errorf("%s: %w", name, err)
	}
	_, redisAfter := s.stage.ServerCPU()
	r = newRate(s.deliveries, tally.Span(), cost{Process: part.CPU(), Redis: redisAfter - redisBefore})
	arrivals, err := s.receiver.Arrivals(ctx)
	if err == nil {
		err = checkOnce(arrivals, s.deliveries)
	}
	return r, err
}
