// Package console is the terminal that commands talk to: where they read and
// write, what the environment says, and whether colour is welcome.
//
// It promises whole lines: whoever prints at the same time, lines do not mix.
package console

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"golang.org/x/term"
)

// Console is one command's terminal. Its methods may be called concurrently.
type Console struct {
	In  io.Reader
	Err io.Writer
	// Environ holds "NAME=value" lines, as os.Environ does.
	Environ []string
	// Terminal tells that a person is watching Out.
	Terminal bool

	mu     *sync.Mutex
	out    io.Writer
	colour bool
}

// Standard is the process's own terminal.
func Standard() *Console {
	c := New(os.Stdin, os.Stdout, os.Stderr, os.Environ())
	c.Terminal = isTerminal(os.Stdout)
	c.colour = c.Terminal && c.Getenv("NO_COLOR") == "" && c.Getenv("TERM") != "dumb"
	return c
}

// New makes a console without a terminal: no colour, no progress.
func New(in io.Reader, out, err io.Writer, environ []string) *Console {
	return &Console{In: in, Err: err, Environ: environ, out: out, mu: new(sync.Mutex)}
}

// isTerminal asks for more than a character device: /dev/null is one.
func isTerminal(f *os.File) bool { return term.IsTerminal(int(f.Fd())) }

// Getenv returns a variable's value, the last one where it is repeated.
func (c *Console) Getenv(name string) string {
	for i := len(c.Environ) - 1; i >= 0; i-- {
		if value, ok := strings.CutPrefix(c.Environ[i], name+"="); ok {
			return value
		}
	}
	return ""
}

// Write writes to standard output.
func (c *Console) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.out.Write(p)
}

// Printf writes one line to standard output. A terminal that has gone away is
// nothing a command could mend.
func (c *Console) Printf(format string, args ...any) {
	_, _ = fmt.Fprintf(c, format+"\n", args...)
}

// Good styles what is as it should be. Like its siblings it adds colour only
// where that is welcome.
func (c *Console) Good(text string) string { return c.style("32", text) }

// Bad is for what failed.
func (c *Console) Bad(text string) string { return c.style("31;1", text) }

// Warn is for what may become trouble.
func (c *Console) Warn(text string) string { return c.style("33", text) }

// Bold is for what the eye should find.
func (c *Console) Bold(text string) string { return c.style("1", text) }

// Dim is for what it may skip.
func (c *Console) Dim(text string) string { return c.style("2", text) }

func (c *Console) style(code, text string) string {
	if !c.colour {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}
