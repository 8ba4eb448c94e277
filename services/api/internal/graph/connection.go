package graph

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

// pageArgs are the arguments of a connection.
type pageArgs struct {
	First  *integer
	After  *text
	Last   *integer
	Before *text
}

// pageOf checks the arguments of a connection over rows with ids of one kind.
func pageOf[ID any](args pageArgs, parse func(string) (ID, error)) (webhook.Page[ID], error) {
	page := webhook.Page[ID]{Limit: webhook.DefaultPageSize}
	if args.First != nil && args.Last != nil {
		return page, webhook.Invalid("first", "must not be given together with last")
	}
	for name, size := range map[string]*integer{"first": args.First, "last": args.Last} {
		if size == nil {
			continue
		}
		if *size < 1 || *size > webhook.MaxPageSize {
			return page, webhook.Invalid(name, fmt.Sprintf("must be between 1 and %d", webhook.MaxPageSize))
		}
		page.Limit, page.Backward = int(*size), name == "last"
	}
	var err error
	if page.After, err = decodeCursor("after", args.After, parse); err != nil {
		return page, err
	}
	page.Before, err = decodeCursor("before", args.Before, parse)
	return page, err
}

// pageInfo is the type PageInfo.
type pageInfo struct {
	HasNextPage     bool
	HasPreviousPage bool
	StartCursor     *string
	EndCursor       *string
}

// edge pairs a node with its cursor.
type edge[N any] struct {
	Cursor string
	Node   N
}

// connection is a page of rows R shown as nodes N. Rows are read when edges,
// nodes or pageInfo is selected, counted when totalCount is, and each at most
// once.
type connection[R, N any] struct {
	read  func(context.Context) (webhook.Slice[R], error)
	count func(context.Context) (int, error)
	show  func(context.Context, []R) []N
	id    func(R) fmt.Stringer

	page  lazy[page[R, N]]
	total lazy[int]
}

type page[R, N any] struct {
	slice webhook.Slice[R]
	nodes []N
}

func (c *connection[R, N]) load(ctx context.Context) (page[R, N], error) {
	return c.page.get(func() (page[R, N], error) {
		slice, err := c.read(ctx)
		if err != nil {
			return page[R, N]{}, err
		}
		return page[R, N]{slice: slice, nodes: c.show(ctx, slice.Items)}, nil
	})
}

// Edges returns the nodes with their cursors.
func (c *connection[R, N]) Edges(ctx context.Context) ([]edge[N], error) {
	loaded, err := c.load(ctx)
	edges := make([]edge[N], len(loaded.nodes))
	for i, node := range loaded.nodes {
		edges[i] = edge[N]{Cursor: encodeCursor(c.id(loaded.slice.Items[i])), Node: node}
	}
	return edges, err
}

// Nodes returns the nodes.
func (c *connection[R, N]) Nodes(ctx context.Context) ([]N, error) {
	loaded, err := c.load(ctx)
	return loaded.nodes, err
}

// PageInfo returns where the page lies.
func (c *connection[R, N]) PageInfo(ctx context.Context) (pageInfo, error) {
	loaded, err := c.load(ctx)
	info := pageInfo{HasNextPage: loaded.slice.HasNext, HasPreviousPage: loaded.slice.HasPrevious}
	if items := loaded.slice.Items; len(items) > 0 {
		start, end := encodeCursor(c.id(items[0])), encodeCursor(c.id(items[len(items)-1]))
		info.StartCursor, info.EndCursor = &start, &end
	}
	return info, err
}

// TotalCount returns how many rows there are on all pages.
func (c *connection[R, N]) TotalCount(ctx context.Context) (int32, error) {
	total, err := c.total.get(func() (int, error) { return c.count(ctx) })
	return count(total), err
}

// lazy computes a value once, for whoever asks first.
type lazy[T any] struct {
	once  sync.Once
	value T
	err   error
}

var errUnfinished = errors.New("loading ended in a panic")

func (l *lazy[T]) get(load func() (T, error)) (T, error) {
	l.once.Do(func() {
		l.err = errUnfinished // for those who wait, should load panic
		l.value, l.err = load()
	})
	return l.value, l.err
}
