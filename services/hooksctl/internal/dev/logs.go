package dev

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/crm-webhooks/crm-webhooks/pkg/env"
	"github.com/crm-webhooks/crm-webhooks/pkg/obs"
)

// logs makes a log file for each component, or sends all of them to standard
// error.
type logs struct {
	dir     string
	verbose bool
	stderr  io.Writer
	config  env.Log
	files   []*os.File
}

// logger returns the log of a component. A file holds the latest run only.
func (l *logs) logger(component string) (*slog.Logger, error) {
	config := l.config
	if l.verbose {
		config.Format = env.Text
		return obs.NewLogger(l.stderr, config, component).With(obs.Component(component)), nil
	}
	f, err := os.OpenFile(filepath.Join(l.dir, component+".log"), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening log file: %w", err)
	}
	l.files = append(l.files, f)
	return obs.NewLogger(f, config, component), nil
}

// where tells a person where to look.
func (l *logs) where() string {
	if l.verbose {
		return "above"
	}
	return filepath.Join(l.dir, "*.log")
}

func (l *logs) close() error {
	var errs []error
	for _, f := range l.files {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}
