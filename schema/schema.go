// Package schema holds the contracts between processes: the GraphQL SDL that
// clients see and the PostgreSQL migrations that every process stands on.
//
// It is a module of its own, without dependencies, because embedding cannot
// reach outside a module and every service needs one half or the other.
package schema

import (
	"embed"
	"io/fs"
	"path"
	"strings"
)

//go:embed graphql/*.graphql
var graphqlFiles embed.FS

//go:embed postgres/*.sql
var postgresFiles embed.FS

// GraphQL returns the SDL: the files of graphql/, in the order of their names.
func GraphQL() string {
	entries, err := graphqlFiles.ReadDir("graphql") // sorted by name
	if err != nil {
		panic(err) // embedded: it would not have compiled
	}
	var sdl strings.Builder
	for _, entry := range entries {
		text, err := graphqlFiles.ReadFile(path.Join("graphql", entry.Name()))
		if err != nil {
			panic(err) // embedded: it would not have compiled
		}
		sdl.Write(text)
		sdl.WriteByte('\n')
	}
	return sdl.String()
}

// Postgres returns the migrations, NNNN_name.sql, at the root of a file system.
func Postgres() fs.FS {
	files, err := fs.Sub(postgresFiles, "postgres")
	if err != nil {
		panic(err) // a constant, valid path
	}
	return files
}
