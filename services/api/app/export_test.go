package app

import "github.com/jmoiron/sqlx"

// MaxOperations is for tests.
const MaxOperations = maxOperations

// Pool returns the connections that everything but accepting uses.
func (a *App) Pool() *sqlx.DB { return a.db }
